//! Texts of strangers, numbers and times, for people.

use grapnel_values::age;
use jiff::{SignedDuration, Timestamp};
use maud::{Markup, html};

/// A text of a stranger as it is, except that characters that a reader cannot see are named: controls, zero-width
/// characters, and marks that change the direction of what follows (<https://trojansource.codes>).
pub(super) fn visible(text: &str) -> Markup {
    let mut rest = text;
    let mut parts: Vec<(&str, Option<(char, usize)>)> = Vec::new();
    while !rest.is_empty() {
        let plain = rest.find(is_invisible).unwrap_or(rest.len());
        let (before, after) = rest.split_at(plain);
        let mark = after.chars().next();
        let same = after.chars().take_while(|next| Some(*next) == mark).count();
        parts.push((before, mark.map(|mark| (mark, same))));
        rest = after.trim_start_matches(|next| Some(next) == mark);
    }
    html! {
        @for (plain, mark) in parts {
            (plain)
            @if let Some((mark, count)) = mark {
                span.invisible { (code_point(mark)) @if count > 1 { "×" (count) } }
            }
        }
    }
}

/// The same within a line: set apart from its surroundings, whatever its direction.
pub(super) fn inline(text: &str) -> Markup {
    html! { bdi { (visible(text)) } }
}

/// The same as plain text, for a script that shows it.
pub(super) fn named(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for mark in text.chars() {
        match mark {
            mark if is_invisible(mark) => shown.push_str(&code_point(mark)),
            mark => shown.push(mark),
        }
    }
    shown
}

fn code_point(mark: char) -> String {
    format!("U+{:04X}", u32::from(mark))
}

fn is_invisible(mark: char) -> bool {
    match mark {
        '\n' | '\t' => false,
        _ if mark.is_control() => true,
        '\u{ad}'
        | '\u{61c}'
        | '\u{180e}'
        | '\u{200b}'..='\u{200f}'
        | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' => true,
        '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}' => true,
        _ => false,
    }
}

/// How long ago a time was; the time itself is in the markup and in a tooltip.
pub(super) fn ago(time: Timestamp, now: Timestamp) -> Markup {
    let exact = format!("{time:.3}");
    html! { time datetime=(exact) title=(exact) { (age::since(time, now)) " ago" } }
}

/// How long it takes until a time, or that it has come.
pub(super) fn until(time: Timestamp, now: Timestamp) -> Markup {
    let exact = format!("{time:.3}");
    html! {
        time datetime=(exact) title=(exact) {
            @if time <= now { "now" } @else { "in " (age::until(time, now)) }
        }
    }
}

/// A duration as an age has it.
pub(super) fn short(time: SignedDuration) -> String {
    age::short(time)
}

/// A size with its unit.
pub(super) fn bytes(bytes: u64) -> String {
    const UNITS: [(u64, &str); 4] = [(1 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    match UNITS.iter().find(|(size, _)| bytes >= *size) {
        None => format!("{bytes} B"),
        Some((size, unit)) => {
            let tenths = u128::from(bytes) * 10 / u128::from(*size);
            format!("{}.{} {unit}", tenths / 10, tenths % 10)
        }
    }
}

/// A number and its noun: `1 event`, `2 events`.
pub(super) fn count(number: u64, noun: &str) -> String {
    match number {
        1 => format!("1 {noun}"),
        number => format!("{number} {noun}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_seen_is_named() {
        let shown = |text: &str| visible(text).into_string();
        assert_eq!(shown("plain text\n\tof two lines"), "plain text\n\tof two lines");
        assert_eq!(shown("<b onclick=\"x\">&'"), "&lt;b onclick=&quot;x&quot;&gt;&amp;'");
        let mark = |name: &str| format!("<span class=\"invisible\">{name}</span>");
        assert_eq!(shown("a\u{202e}b"), format!("a{}b", mark("U+202E")));
        assert_eq!(shown("\0\0\0\u{7f}"), format!("{}{}", mark("U+0000×3"), mark("U+007F")));
        assert_eq!(shown("\u{2066}\u{feff}\u{e0041}"), ["U+2066", "U+FEFF", "U+E0041"].map(mark).concat());
        assert_eq!(shown("größe 数 שלום 👍"), "größe 数 שלום 👍");
        assert_eq!(shown(""), "");
    }

    #[test]
    fn sizes_have_units() {
        for (size, text) in
            [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (1 << 20, "1.0 MiB"), (u64::MAX, "16777215.9 TiB")]
        {
            assert_eq!(bytes(size), text);
        }
        assert_eq!((count(1, "event"), count(0, "event")), ("1 event".into(), "0 events".into()));
    }
}
