//! Timestamps and durations as CEL defines them: their ranges, their text forms and their arithmetic.

use std::fmt;

use jiff::{
    SignedDuration, Timestamp,
    civil::{self, DateTime},
};

/// 0001-01-01T00:00:00Z.
const MIN_NANOS: i128 = -62_135_596_800 * NANOS_PER_SECOND;

/// The first nanosecond after 9999-12-31T23:59:59.999999999Z.
const END_NANOS: i128 = 253_402_300_800 * NANOS_PER_SECOND;

const NANOS_PER_SECOND: i128 = 1_000_000_000;

const EPOCH: DateTime = civil::date(1970, 1, 1).at(0, 0, 0, 0);

/// A timestamp in the years 1 to 9999, the range of CEL. The range of [`Timestamp`] ends a day earlier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct CelTimestamp {
    /// Nanoseconds since 1970-01-01T00:00:00Z.
    nanos: i128,
}

impl CelTimestamp {
    fn from_nanos(nanos: i128) -> Option<Self> {
        (MIN_NANOS..END_NANOS).contains(&nanos).then_some(Self { nanos })
    }

    pub(super) fn from_seconds(seconds: i64) -> Option<Self> {
        Self::from_nanos(i128::from(seconds) * NANOS_PER_SECOND)
    }

    /// Parses RFC 3339, such as `2026-03-01T12:00:00.5+01:00`. Digits below a nanosecond are dropped.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (date, rest) = text.split_at_checked(10)?;
        let (time, rest) = rest.strip_prefix(['T', 't'])?.split_at_checked(8)?;
        let [year, month, day] = numbers(date, '-', [4, 2, 2])?;
        let [hour, minute, second] = numbers(time, ':', [2, 2, 2])?;
        let (nanos, zone) = match rest.strip_prefix('.') {
            Some(fraction) => {
                let end = fraction.find(|next: char| !next.is_ascii_digit())?;
                let (digits, zone) = fraction.split_at_checked(end)?;
                (nanos_of(digits)?, zone)
            }
            None => (0, rest),
        };
        let offset = if matches!(zone, "Z" | "z") { 0 } else { parse_offset(zone)? };
        let [month, day, hour, minute, second] =
            [month, day, hour, minute, second].map(|part| i8::try_from(part).unwrap_or(i8::MAX));
        let local = DateTime::new(year, month, day, hour, minute, second, nanos).ok()?;
        let nanos = local.duration_since(EPOCH).as_nanos();
        Self::from_nanos(nanos - i128::from(offset) * NANOS_PER_SECOND)
    }

    /// Seconds since 1970, rounded down.
    #[allow(clippy::cast_possible_truncation)]
    pub(super) fn seconds(self) -> i64 {
        // The range of timestamps fits.
        self.nanos.div_euclid(NANOS_PER_SECOND) as i64
    }

    #[allow(clippy::cast_possible_truncation)]
    fn since_epoch(self) -> SignedDuration {
        SignedDuration::new(self.seconds(), self.nanos.rem_euclid(NANOS_PER_SECOND) as i32)
    }

    /// Date and time at an offset from UTC. `None` if this is after the year 9999.
    pub(super) fn local(self, offset: i32) -> Option<DateTime> {
        let since = self.since_epoch().checked_add(SignedDuration::from_secs(i64::from(offset)))?;
        EPOCH.checked_add(since).ok()
    }

    /// The same instant, or the nearest one that jiff can represent: enough to find the offset of a time zone.
    pub(super) fn to_jiff(self) -> Timestamp {
        let nearest = if self.nanos < 0 { Timestamp::MIN } else { Timestamp::MAX };
        Timestamp::from_nanosecond(self.nanos).unwrap_or(nearest)
    }

    pub(super) fn checked_add(self, duration: SignedDuration) -> Option<Self> {
        Self::from_nanos(self.nanos.checked_add(duration.as_nanos())?)
    }

    pub(super) fn checked_sub(self, duration: SignedDuration) -> Option<Self> {
        Self::from_nanos(self.nanos.checked_sub(duration.as_nanos())?)
    }

    /// The duration from another timestamp to this one, if it is in the range of durations.
    pub(super) fn since(self, other: Self) -> Option<SignedDuration> {
        duration(self.nanos - other.nanos)
    }

    /// Whether it is 0001-01-01T00:00:00Z, the zero value of timestamps.
    pub(super) fn is_zero(self) -> bool {
        self.nanos == MIN_NANOS
    }
}

/// The nearest timestamp in the range.
impl From<Timestamp> for CelTimestamp {
    fn from(time: Timestamp) -> Self {
        Self { nanos: time.as_nanosecond().clamp(MIN_NANOS, END_NANOS - 1) }
    }
}

/// RFC 3339 in UTC, with as many decimals as needed.
impl fmt::Display for CelTimestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}Z", self.local(0).unwrap_or(DateTime::MAX))
    }
}

/// Three numbers of fixed widths with a separator between them.
fn numbers(text: &str, separator: char, widths: [usize; 3]) -> Option<[i16; 3]> {
    let mut parts = text.split(separator);
    let mut found = [0; 3];
    for (number, width) in found.iter_mut().zip(widths) {
        *number = digits(parts.next()?, width)?;
    }
    parts.next().is_none().then_some(found)
}

/// A number of exactly so many digits.
fn digits(text: &str, width: usize) -> Option<i16> {
    (text.len() == width && text.bytes().all(|next| next.is_ascii_digit())).then(|| text.parse().ok()).flatten()
}

/// The digits behind a decimal point, in nanoseconds.
fn nanos_of(digits: &str) -> Option<i32> {
    if digits.is_empty() {
        return None;
    }
    let nine: String = digits.chars().chain(std::iter::repeat('0')).take(9).collect();
    nine.parse().ok()
}

/// Seconds of an offset with its sign, such as `+02:00`.
pub(super) fn parse_offset(text: &str) -> Option<i32> {
    let (sign, rest) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text.strip_prefix('+')?),
    };
    let (hours, minutes) = rest.split_once(':')?;
    let (hours, minutes) = (i32::from(digits(hours, 2)?), i32::from(digits(minutes, 2)?));
    (hours < 24 && minutes < 60).then_some(sign * (hours * 3600 + minutes * 60))
}

/// A duration of so many nanoseconds. The range is that of 64 bits, about 292 years, as in other implementations of CEL.
fn duration(nanos: i128) -> Option<SignedDuration> {
    i64::try_from(nanos).ok().map(SignedDuration::from_nanos)
}

pub(super) fn add_durations(left: SignedDuration, right: SignedDuration) -> Option<SignedDuration> {
    duration(left.as_nanos().checked_add(right.as_nanos())?)
}

pub(super) fn subtract_durations(left: SignedDuration, right: SignedDuration) -> Option<SignedDuration> {
    duration(left.as_nanos().checked_sub(right.as_nanos())?)
}

/// Parses a duration as Go does: decimal numbers with units (`h`, `m`, `s`, `ms`, `us`, `ns`) and an optional sign, or `0`.
/// Fractions of a nanosecond are dropped.
pub(super) fn parse_duration(text: &str) -> Option<SignedDuration> {
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Some(SignedDuration::ZERO);
    }
    if rest.is_empty() {
        return None;
    }
    let mut nanos: i128 = 0;
    while !rest.is_empty() {
        let (whole, after) = split_digits(rest);
        let (fraction, after) = after.strip_prefix('.').map_or(("", after), split_digits);
        if whole.is_empty() && fraction.is_empty() {
            return None;
        }
        let (unit, after) = split_at(after, |next| next == '.' || next.is_ascii_digit());
        let unit: i128 = match unit {
            "ns" => 1,
            "us" | "\u{b5}s" | "\u{3bc}s" => 1_000,
            "ms" => 1_000_000,
            "s" => NANOS_PER_SECOND,
            "m" => 60 * NANOS_PER_SECOND,
            "h" => 3600 * NANOS_PER_SECOND,
            _ => return None,
        };
        let whole = if whole.is_empty() { 0 } else { i128::from(whole.parse::<u64>().ok()?) };
        nanos = nanos.checked_add(whole.checked_mul(unit)?)?;
        let mut place = unit;
        for digit in fraction.bytes() {
            // Exact: every unit of more than a nanosecond is a multiple of the powers of ten that matter.
            place /= 10;
            nanos = nanos.checked_add(i128::from(digit - b'0') * place)?;
        }
        rest = after;
    }
    duration(if negative { -nanos } else { nanos })
}

fn split_digits(text: &str) -> (&str, &str) {
    split_at(text, |next| !next.is_ascii_digit())
}

/// The text before and from the first character that ends it.
fn split_at(text: &str, ends: impl Fn(char) -> bool) -> (&str, &str) {
    text.split_at_checked(text.find(ends).unwrap_or(text.len())).unwrap_or((text, ""))
}
