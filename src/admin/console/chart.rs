//! Charts of the last hour: SVG with presentation attributes only, because the page forbids inline styles.

use maud::{Markup, html};

use super::rates::Hour;

/// Width of a minute in units of the chart.
const BAR: usize = 4;
/// Height in units of the chart.
const HEIGHT: u64 = 40;

/// A chart of an hour. `good` and `bad` name what is counted, as in "accepted" and "rejected".
pub(super) fn hour(hour: &Hour, good: &str, bad: &str) -> Markup {
    let totals = || hour.iter().map(|minute| u64::from(minute.good) + u64::from(minute.bad));
    let peak = totals().max().unwrap_or_default();
    let of = |count: fn(&super::rates::Counts<u32>) -> u32| hour.iter().map(|it| u64::from(count(it))).sum::<u64>();
    let (all_good, all_bad) = (of(|it| it.good), of(|it| it.bad));
    let label = format!("Last hour: {all_good} {good}, {all_bad} {bad}, at most {peak} in a minute");
    // Something is never invisible beside much more.
    let height = |count: u32| match u64::from(count) {
        0 => 0,
        count => (count * HEIGHT / peak.max(1)).max(1),
    };
    html! {
        svg.chart role="img" aria-label=(label) viewBox=(format!("0 0 {} {HEIGHT}", BAR * hour.len()))
            preserveAspectRatio="none" {
            title { (label) }
            @for (at, minute) in hour.iter().enumerate() {
                @let (good, bad) = (height(minute.good), height(minute.bad));
                @let good = good.min(HEIGHT.saturating_sub(bad));
                @if good > 0 {
                    rect.good x=(at * BAR) y=(HEIGHT - good) width=(BAR - 1) height=(good) {}
                }
                @if bad > 0 {
                    rect.bad x=(at * BAR) y=(HEIGHT.saturating_sub(good + bad)) width=(BAR - 1) height=(bad) {}
                }
            }
        }
    }
}

/// A chart with its numbers in words, or a note that there is none.
pub(super) fn figure(title: &str, data: Option<&Hour>, good: &str, bad: &str) -> Markup {
    let sum =
        |data: &Hour, of: fn(&super::rates::Counts<u32>) -> u32| data.iter().map(|it| u64::from(of(it))).sum::<u64>();
    html! {
        figure {
            figcaption { (title) }
            @match data {
                Some(data) => {
                    (hour(data, good, bad))
                    p.numbers { (sum(data, |it| it.good)) " " (good) ", " (sum(data, |it| it.bad)) " " (bad) }
                }
                None => p.numbers { "There are more objects than charts are kept for." },
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::console::rates::Counts;

    #[test]
    fn a_chart_is_read_aloud_and_stays_within_its_frame() {
        let mut data = vec![Counts { good: 0, bad: 0 }; 58];
        data.extend([Counts { good: 1_000_000, bad: 1 }, Counts { good: u32::MAX, bad: u32::MAX }]);
        let shown = hour(&data, "accepted", "rejected").into_string();
        assert!(
            shown.contains("aria-label=\"Last hour: 4295967295 accepted, 4294967296 rejected, at most 8589934590"),
            "{shown}"
        );
        assert_eq!(shown.matches("<rect").count(), 4, "{shown}");
        assert!(!shown.contains("style="), "{shown}");
        let attribute = |rect: &str, name: &str| -> u64 {
            let rest = rect.split_once(&format!(" {name}=\"")).unwrap().1;
            rest.split_once('"').unwrap().0.parse().unwrap()
        };
        for rect in shown.split("<rect").skip(1) {
            assert!(attribute(rect, "y") + attribute(rect, "height") <= HEIGHT, "{rect}");
        }
        assert!(!hour(&vec![Counts::default(); 60], "a", "b").into_string().contains("<rect"));
        assert!(figure("Events", None, "a", "b").into_string().contains("more objects"));
    }
}
