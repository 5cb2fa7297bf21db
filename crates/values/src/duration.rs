//! Durations in the syntax of Go, as used by Kubernetes objects.
//!
//! ```
//! use std::time::Duration;
//! use grapnel_values::duration;
//!
//! assert_eq!(duration::parse("1h30m"), Ok(Duration::from_secs(5400)));
//! assert_eq!(duration::format(Duration::from_millis(1500)), "1.5s");
//! assert!(duration::parse("5").is_err(), "a unit is needed");
//! ```

use std::{fmt::Write, time::Duration};

use super::limits::{MAX_DURATION, SCALAR_BYTES};

/// The syntax that [`parse`] accepts, as a regular expression for the rules of a CRD. Only [`parse`] checks the upper bound.
pub const PATTERN: &str = "^([0-9]+([.][0-9]+)?(ns|us|ms|s|m|h))+$";

/// Why a text is not a duration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DurationError {
    /// The text is empty.
    #[error("a duration is empty; write one such as 10s, 1h30m or 250ms")]
    Empty,
    /// The text is longer than any duration needs to be.
    #[error("a duration has more than {SCALAR_BYTES} characters; write one such as 10s, 1h30m or 250ms")]
    TooLong,
    /// A number is missing or malformed.
    #[error("`{0}` is not a duration; write numbers with units, such as 10s, 1h30m or 250ms")]
    Number(String),
    /// The unit is missing or unknown.
    #[error("`{text}` has {unit} where a unit is expected; the units are h, m, s, ms, us and ns, as in 1h30m")]
    Unit {
        /// The whole text.
        text: String,
        /// The text in place of the unit.
        unit: String,
    },
    /// The duration exceeds [`MAX_DURATION`].
    #[error("`{0}` is too long; the longest duration is {max}", max = format(MAX_DURATION))]
    TooLarge(String),
}

/// Parses a duration: one or more decimal numbers, each with a unit (`h`, `m`, `s`, `ms`, `us`, `ns`), as Go's
/// `time.ParseDuration` does, but without a sign and without the unitless `0`. Fractions of a nanosecond are truncated.
///
/// # Errors
///
/// [`DurationError`] says what is wrong and what a duration looks like.
pub fn parse(text: &str) -> Result<Duration, DurationError> {
    if text.is_empty() {
        return Err(DurationError::Empty);
    }
    if text.len() > SCALAR_BYTES {
        return Err(DurationError::TooLong);
    }
    let too_large = || DurationError::TooLarge(text.into());
    let mut nanos: u128 = 0;
    let mut rest = text;
    while !rest.is_empty() {
        let (whole, after) = digits(rest);
        let (fraction, after) = match after.strip_prefix('.') {
            Some(after) => digits(after),
            None => ("0", after),
        };
        if whole.is_empty() || fraction.is_empty() {
            return Err(DurationError::Number(text.into()));
        }
        let end = after.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(after.len());
        let (unit, after) = after.split_at_checked(end).unwrap_or((after, ""));
        let scale: u128 = match unit {
            "ns" => 1,
            "us" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            other => {
                let unit = if other.is_empty() { "nothing".into() } else { format!("`{other}`") };
                return Err(DurationError::Unit { text: text.into(), unit });
            }
        };
        let whole: u128 = whole.parse().map_err(|_| too_large())?;
        nanos = whole.checked_mul(scale).and_then(|part| nanos.checked_add(part)).ok_or_else(too_large)?;
        let mut place = scale;
        for digit in fraction.bytes() {
            // Exact because every scale is a multiple of the relevant powers of ten; the last digits of minutes and
            // hours lose less than a nanosecond, as in Go.
            let weight = u128::from(digit.saturating_sub(b'0')) * place;
            nanos = nanos.saturating_add(weight / 10);
            place /= 10;
        }
        rest = after;
    }
    let seconds = u64::try_from(nanos / 1_000_000_000).map_err(|_| too_large())?;
    let subsecond = u32::try_from(nanos % 1_000_000_000).unwrap_or(0);
    let duration = Duration::new(seconds, subsecond);
    if duration > MAX_DURATION { Err(too_large()) } else { Ok(duration) }
}

fn digits(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    text.split_at_checked(end).unwrap_or((text, ""))
}

/// Formats a duration so that [`parse`] returns the same value: `1h30m`, `1.5s`, `250ms`, `0s`.
pub fn format(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let nanos = duration.subsec_nanos();
    let mut text = String::new();
    // Writing to a string cannot fail.
    if seconds == 0 && nanos > 0 {
        let (scale, unit) = match nanos {
            1_000_000.. => (1_000_000, "ms"),
            1_000.. => (1_000, "us"),
            _ => (1, "ns"),
        };
        let _ = write!(text, "{}", nanos / scale);
        fraction(&mut text, nanos % scale, scale);
        text.push_str(unit);
        return text;
    }
    for (count, unit) in [(seconds / 3600, "h"), (seconds / 60 % 60, "m")] {
        if count > 0 {
            let _ = write!(text, "{count}{unit}");
        }
    }
    if !seconds.is_multiple_of(60) || nanos > 0 || text.is_empty() {
        let _ = write!(text, "{}", seconds % 60);
        fraction(&mut text, nanos, 1_000_000_000);
        text.push('s');
    }
    text
}

fn fraction(text: &mut String, mut part: u32, mut scale: u32) {
    if part > 0 {
        text.push('.');
    }
    while part > 0 {
        scale /= 10;
        let _ = write!(text, "{}", part / scale);
        part %= scale;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_usual_ones() {
        for (text, duration) in [
            ("10s", Duration::from_secs(10)),
            ("1h30m", Duration::from_secs(5400)),
            ("72h", Duration::from_secs(72 * 3600)),
            ("1.5s", Duration::from_millis(1500)),
            ("0.5h", Duration::from_secs(1800)),
            ("250ms", Duration::from_millis(250)),
            ("3us", Duration::from_micros(3)),
            ("7ns", Duration::from_nanos(7)),
            ("0s", Duration::ZERO),
            ("1m1m", Duration::from_secs(120)),
            ("0.25m", Duration::from_secs(15)),
            ("1.0000000009s", Duration::from_secs(1)),
        ] {
            assert_eq!(parse(text), Ok(duration), "{text}");
        }
    }

    #[test]
    fn the_wrong_ones_say_what_is_wrong() {
        assert_eq!(parse(""), Err(DurationError::Empty));
        for text in ["s", "-1s", "+1s", ".5s", "1.s", "1..5s", " 1s", "1s ", "abc"] {
            let error = parse(text).unwrap_err();
            assert!(matches!(error, DurationError::Number(_) | DurationError::Unit { .. }), "{text}: {error}");
        }
        for text in ["5", "1h30", "0", "5d", "5S", "5µs", "1 s"] {
            assert!(matches!(parse(text), Err(DurationError::Unit { .. })), "{text}");
        }
        for text in
            ["876601h", "99999999999999999999999999999999999999999999h", "340282366920938463463374607431768211455h"]
        {
            assert!(matches!(parse(text), Err(DurationError::TooLarge(_))), "{text}");
        }
        assert_eq!(parse(&"1s".repeat(100)), Err(DurationError::TooLong));
        assert_eq!(parse("876600h"), Ok(MAX_DURATION));
    }

    #[test]
    fn formats_are_short() {
        for text in ["0s", "10s", "1h30m", "72h", "1.5s", "250ms", "1h0.000000001s", "1.5ms", "3us", "7ns", "5m"] {
            assert_eq!(format(parse(text).unwrap()), text);
        }
    }

    fn matches_pattern(text: &str) -> bool {
        let schema = serde_json::json!({ "pattern": PATTERN });
        jsonschema::validator_for(&schema).unwrap().is_valid(&text.into())
    }

    proptest! {
        #[test]
        fn format_and_parse_are_inverse(seconds in 0..=MAX_DURATION.as_secs() - 1, nanos in 0u32..1_000_000_000) {
            let duration = Duration::new(seconds, nanos);
            prop_assert_eq!(parse(&format(duration)), Ok(duration));
        }

        #[test]
        fn short_ones_too(nanos in 0u64..3_000_000_000) {
            let duration = Duration::from_nanos(nanos);
            prop_assert_eq!(parse(&format(duration)), Ok(duration));
        }

        #[test]
        fn what_parses_matches_the_pattern(text in r"([0-9]{0,3}(\.[0-9]{0,3})?(ns|us|ms|s|m|h|d)?){0,3}") {
            let in_form = matches!(parse(&text), Ok(_) | Err(DurationError::TooLarge(_)));
            prop_assert_eq!(in_form, matches_pattern(&text), "{}", text);
        }

        #[test]
        fn anything_else_never_panics(text in any::<String>()) {
            let _ = parse(&text);
        }
    }
}
