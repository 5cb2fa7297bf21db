//! The time of signing, and the check of its age.

use std::time::Duration;

use bytes::Bytes;
use grapnel_payload::{json::FoundValue, payload::Payload, reading::Reading};
use grapnel_values::{duration, pointer::JsonPointer};
use http::HeaderName;
use jiff::Timestamp;

use super::Refusal;
use crate::limits::TIMESTAMP_DIGITS;

/// Location of the time of signing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TimestampSource {
    /// A separate header, with whole seconds since 1970 in decimal digits.
    Header(HeaderName),
    /// The same in the signature header, under the timestamp key of [`Shape::Pairs`](super::Shape::Pairs).
    InSignature,
    /// A JSON pointer into the signed body, to whole milliseconds since 1970. It is read after the signature is
    /// verified.
    Milliseconds(&'static str),
}

/// Parses seconds since 1970. A value beyond 64 bits counts as the largest, which is outside every tolerance. `None`
/// when it is not a plain decimal number of at most [`TIMESTAMP_DIGITS`].
pub(super) fn number(text: &[u8]) -> Option<u64> {
    if text.is_empty() || text.len() > TIMESTAMP_DIGITS || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let digit = |byte: &u8| u64::from(byte.saturating_sub(b'0'));
    Some(text.iter().fold(0u64, |sum, byte| sum.saturating_mul(10).saturating_add(digit(byte))))
}

/// Checks that a signed time, in nanoseconds since 1970, is within the tolerance. `place` names its location for the
/// error.
pub(super) fn recent(place: &str, nanoseconds: i128, tolerance: Duration, now: Timestamp) -> Result<(), Refusal> {
    let now = now.as_nanosecond();
    if nanoseconds.saturating_sub(now).unsigned_abs() <= tolerance.as_nanos() {
        return Ok(());
    }
    let way = if nanoseconds < now { "too long ago" } else { "in the future" };
    let tolerance = duration::format(tolerance);
    let sentence = format!("the timestamp in {place} is {way}; it must be within {tolerance} of now");
    Err(Refusal::StaleTimestamp(sentence))
}

/// Converts seconds to nanoseconds.
pub(super) fn from_seconds(seconds: u64) -> i128 {
    i128::from(seconds).saturating_mul(1_000_000_000)
}

/// Checks a time in milliseconds in a body whose signature is valid.
pub(super) fn recent_in_body(
    pointer: &'static str,
    body: &Bytes,
    tolerance: Duration,
    now: Timestamp,
) -> Result<(), Refusal> {
    let text = JsonPointer::parse(pointer).ok().and_then(|place| {
        match Payload::read(&Reading::default(), None, body).find(&place)? {
            FoundValue::Text(text) => Some(text.into_owned()),
            FoundValue::Unusable | FoundValue::Nothing => None,
        }
    });
    let milliseconds = text.and_then(|text| number(text.as_bytes())).ok_or_else(|| {
        Refusal::InvalidSignature(format!("the body has no signing time at {pointer} (milliseconds since 1970)"))
    })?;
    recent(&format!("{pointer} of the body"), i128::from(milliseconds).saturating_mul(1_000_000), tolerance, now)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamps_are_plain_decimal_numbers() {
        assert_eq!(number(b"0"), Some(0));
        assert_eq!(number(b"1614265330"), Some(1_614_265_330));
        assert_eq!(number(b"0001614265330"), Some(1_614_265_330));
        assert_eq!(number(b"18446744073709551615"), Some(u64::MAX));
        assert_eq!(number(b"99999999999999999999"), Some(u64::MAX), "saturates");
        let too_long = [b'1'; TIMESTAMP_DIGITS + 1];
        for text in [&b""[..], b"-1", b"+1", b" 1", b"1 ", b"1.5", b"1e9", b"0x1", b"\xff", "١".as_bytes(), &too_long]
        {
            assert_eq!(number(text), None, "{text:?}");
        }
    }

    #[test]
    fn the_edge_of_the_tolerance_is_within() {
        let now = Timestamp::from_second(1000).unwrap();
        let minute = Duration::from_secs(60);
        let judge = |time: u64| recent("t", from_seconds(time), minute, now);
        for time in [940, 1000, 1060] {
            assert!(judge(time).is_ok(), "{time}");
        }
        for time in [0, 939, 1061, u64::MAX] {
            assert!(matches!(judge(time), Err(Refusal::StaleTimestamp(_))), "{time}");
        }
        assert!(recent("t", 0, Duration::ZERO, Timestamp::UNIX_EPOCH).is_ok());
    }
}
