//! Standard output: lines and tables.

use std::io::{self, Write};

/// Prints one line and flushes it.
///
/// # Errors
/// Returns an error if standard output is closed.
pub(super) fn line(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.write_all(b"\n")?;
    out.flush()
}

/// Prints columns with titles, two spaces apart.
///
/// # Errors
/// Returns an error if standard output is closed.
pub(super) fn table<const N: usize>(titles: [&str; N], rows: &[[String; N]]) -> io::Result<()> {
    let mut widths = titles.map(width);
    for row in rows {
        for (most, cell) in widths.iter_mut().zip(row) {
            *most = (*most).max(width(cell));
        }
    }
    line(&columns(&titles.map(str::to_owned), &widths))?;
    rows.iter().try_for_each(|row| line(&columns(row, &widths)))
}

/// One row, without trailing spaces.
fn columns<const N: usize>(cells: &[String; N], widths: &[usize; N]) -> String {
    let mut text = String::new();
    for (cell, most) in cells.iter().zip(widths) {
        let cell = clean(cell);
        let padding = most.saturating_sub(width(&cell)) + 2;
        text.push_str(&cell);
        text.extend(std::iter::repeat_n(' ', padding));
    }
    text.truncate(text.trim_end().len());
    text
}

fn width(text: &str) -> usize {
    text.chars().count()
}

/// Untrusted text on one line, without terminal control sequences.
pub(super) fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// The same for text of several lines.
pub(super) fn clean_lines(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\n' && c != '\t' { '\u{fffd}' } else { c }).collect()
}

/// The value, or a dash for an empty table cell.
pub(super) fn or_dash(value: Option<impl ToString>) -> String {
    value.map_or_else(|| "-".into(), |value| value.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_harmless() {
        let row = ["ä".to_owned(), "\u{1b}[31mred".to_owned()];
        assert_eq!(columns(&row, &[3, 4]), "ä     [31mred");
        assert_eq!(columns(&["a".into(), String::new()], &[1, 9]), "a");
        assert_eq!(clean_lines("a\n\u{7}b"), "a\n\u{fffd}b");
    }
}
