//! Retry policy: when a failed delivery is attempted again.
//!
//! ```
//! use std::time::Duration;
//! use grapnel_delivery::retry::{RetryJitter, RetryPolicy};
//!
//! let policy = RetryPolicy {
//!     max_attempts: 4,
//!     initial: Duration::from_secs(10),
//!     multiplier: 2.0,
//!     jitter: RetryJitter::None,
//!     ..RetryPolicy::default()
//! };
//! let delays: Vec<_> = (1..=4).map(|attempt| policy.delay(attempt, 0.0).map(|delay| delay.as_secs())).collect();
//! assert_eq!(delays, [Some(10), Some(20), Some(40), None]);
//! ```

use std::time::Duration;

use jiff::{Timestamp, civil, tz::TimeZone};

use super::limits::{DEFAULT_ATTEMPTS, DEFAULT_INITIAL_DELAY, DEFAULT_MAX_DELAY, DEFAULT_MULTIPLIER};

/// How a delay is randomized, so that deliveries that failed together are not retried together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetryJitter {
    /// Between zero and the whole delay.
    Full,
    /// Between half the delay and the whole delay.
    Equal,
    /// The delay itself.
    None,
}

/// When to retry, and when to stop.
#[derive(Debug, Clone, PartialEq)]
pub struct RetryPolicy {
    /// Total number of attempts, including the first.
    pub max_attempts: u32,
    /// Delay after the first failure.
    pub initial: Duration,
    /// Factor by which the delay grows from one failure to the next; less than 1 counts as 1.
    pub multiplier: f64,
    /// Maximum delay.
    pub max_delay: Duration,
    /// How delays are randomized.
    pub jitter: RetryJitter,
    /// Statuses after which no further attempt is made.
    pub stop_on: Vec<u16>,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            max_attempts: DEFAULT_ATTEMPTS,
            initial: DEFAULT_INITIAL_DELAY,
            multiplier: DEFAULT_MULTIPLIER,
            max_delay: DEFAULT_MAX_DELAY,
            jitter: RetryJitter::Equal,
            stop_on: vec![410],
        }
    }
}

impl RetryPolicy {
    /// Returns how long to wait after the given attempt (the first is 1) has failed: min(initial · multiplierⁿ⁻¹,
    /// maximum), with jitter derived from `entropy`, a number between 0 and 1. `None` after the last attempt.
    pub fn delay(&self, attempt: u32, entropy: f64) -> Option<Duration> {
        if attempt >= self.max_attempts {
            return None;
        }
        let whole = self.unspread(attempt);
        let entropy = if entropy.is_nan() { 0.5 } else { entropy.clamp(0.0, 1.0) };
        Some(match self.jitter {
            RetryJitter::Full => part(whole, entropy),
            RetryJitter::Equal => whole / 2 + part(whole / 2, entropy),
            RetryJitter::None => whole,
        })
    }

    fn unspread(&self, attempt: u32) -> Duration {
        let exponent = i32::try_from(attempt.saturating_sub(1)).unwrap_or(i32::MAX);
        let factor = self.multiplier.max(1.0).powi(exponent);
        let seconds = self.initial.as_secs_f64() * factor;
        // Infinity and values out of range exceed any maximum; 0 · ∞ is 0.
        match Duration::try_from_secs_f64(seconds) {
            Ok(delay) => delay.min(self.max_delay),
            Err(_) if seconds.is_nan() => Duration::ZERO,
            Err(_) => self.max_delay,
        }
    }

    /// Returns whether a status ends the attempts.
    pub fn stops_on(&self, status: u16) -> bool {
        self.stop_on.contains(&status)
    }
}

/// Returns a fraction of a duration, with `fraction` between 0 and 1. Uses integers, because a duration times a float
/// may come out longer and panics at the end of the range.
fn part(whole: Duration, fraction: f64) -> Duration {
    const ONE: u32 = 1 << 31;
    let nanos = whole.as_nanos() * ((fraction * f64::from(ONE)) as u128) / u128::from(ONE);
    let seconds = u64::try_from(nanos / 1_000_000_000).unwrap_or(u64::MAX);
    Duration::new(seconds, u32::try_from(nanos % 1_000_000_000).unwrap_or(0))
}

/// Parses a `Retry-After` header (RFC 9110, 10.2.3): seconds, or an HTTP date in any of its three formats. A past date
/// is a zero delay, and seconds out of range saturate. `None` when it is neither.
pub fn retry_after(value: &str, now: Timestamp) -> Option<Duration> {
    let value = value.trim_matches([' ', '\t']);
    if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        return Some(Duration::from_secs(value.parse().unwrap_or(u64::MAX)));
    }
    let date = http_date(value, now)?;
    Some(Duration::try_from(date.duration_since(now)).unwrap_or(Duration::ZERO))
}

/// Parses an HTTP date (RFC 9110, 5.6.7): `Sun, 06 Nov 1994 08:49:37 GMT`, `Sunday, 06-Nov-94 08:49:37 GMT` or `Sun Nov
/// 6 08:49:37 1994`. The weekday is not compared with the date.
fn http_date(text: &str, now: Timestamp) -> Option<Timestamp> {
    if !text.is_ascii() || text.len() > 40 {
        return None;
    }
    let fields: Vec<&str> = text.split([' ', ',', '-']).filter(|field| !field.is_empty()).collect();
    let (weekday, day, month, year, time) = match fields.as_slice() {
        [weekday, day, month, year, time, "GMT"] => (weekday, day, month, year, time),
        [weekday, month, day, time, year] => (weekday, day, month, year, time),
        _ => return None,
    };
    if !["sun", "mon", "tue", "wed", "thu", "fri", "sat"]
        .iter()
        .any(|name| weekday.get(..3).is_some_and(|start| start.eq_ignore_ascii_case(name)))
    {
        return None;
    }
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let month = MONTHS.iter().zip(1i8..).find(|(name, _)| name == &month)?.1;
    let year: i16 = match year.len() {
        4 => number(year)?,
        2 => full_year(number(year)?, now),
        _ => return None,
    };
    let mut clock = time.split(':');
    let mut next = || clock.next().filter(|part| part.len() == 2).and_then(number::<i8>);
    let (hour, minute, second) = (next()?, next()?, next()?);
    if clock.next().is_some() {
        return None;
    }
    // A leap second counts as the second before it, as in POSIX.
    let time = civil::Time::new(hour, minute, if second == 60 { 59 } else { second }, 0).ok()?;
    let date = civil::Date::new(year, month, number(day)?).ok()?;
    // The last hours of the year 9999, which some servers send for "never", exceed the range of a timestamp.
    Some(date.to_datetime(time).to_zoned(TimeZone::UTC).map_or(Timestamp::MAX, |zoned| zoned.timestamp()))
}

/// Returns the year of two digits: at most 50 years ahead (RFC 9110, 5.6.7).
fn full_year(digits: i16, now: Timestamp) -> i16 {
    let this_year = now.to_zoned(TimeZone::UTC).year();
    let year = this_year - this_year % 100 + digits;
    if year > this_year + 50 { year - 100 } else { year }
}

fn number<N: std::str::FromStr>(text: &str) -> Option<N> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn policy(
        max_attempts: u32,
        initial: Duration,
        multiplier: f64,
        max_delay: Duration,
        jitter: RetryJitter,
    ) -> RetryPolicy {
        RetryPolicy { max_attempts, initial, multiplier, max_delay, jitter, stop_on: vec![410] }
    }

    #[test]
    fn three_attempts_from_one_second_wait_one_and_two() {
        let policy = policy(3, Duration::from_secs(1), 2.0, DEFAULT_MAX_DELAY, RetryJitter::None);
        let delays: Vec<_> = (1..=4).map(|attempt| policy.delay(attempt, 0.3)).collect();
        assert_eq!(delays, [Some(Duration::from_secs(1)), Some(Duration::from_secs(2)), None, None]);
    }

    #[test]
    fn the_default_goes_on_for_about_a_day() {
        let policy = RetryPolicy::default();
        let total: Duration = (1..).map_while(|attempt| policy.delay(attempt, 1.0)).sum();
        assert!((Duration::from_secs(20 * 3600)..Duration::from_secs(48 * 3600)).contains(&total), "{total:?}");
        assert!(policy.stops_on(410) && !policy.stops_on(500));
    }

    #[test]
    fn jitter_spreads_within_its_range() {
        let of = |jitter, entropy| policy(9, Duration::from_secs(8), 2.0, DEFAULT_MAX_DELAY, jitter).delay(1, entropy);
        assert_eq!(of(RetryJitter::Full, 0.0), Some(Duration::ZERO));
        assert_eq!(of(RetryJitter::Full, 0.5), Some(Duration::from_secs(4)));
        assert_eq!(of(RetryJitter::Equal, 0.0), Some(Duration::from_secs(4)));
        assert_eq!(of(RetryJitter::Equal, 1.0), Some(Duration::from_secs(8)));
        assert_eq!(of(RetryJitter::Equal, f64::NAN), Some(Duration::from_secs(6)));
        assert_eq!(of(RetryJitter::Full, f64::INFINITY), Some(Duration::from_secs(8)));
    }

    #[test]
    fn retry_after_in_seconds() {
        let now = Timestamp::UNIX_EPOCH;
        for (value, seconds) in [("0", 0), ("120", 120), (" 7 ", 7), ("18446744073709551616", u64::MAX)] {
            assert_eq!(retry_after(value, now), Some(Duration::from_secs(seconds)), "{value}");
        }
        for value in ["", " ", "-1", "+1", "1.5", "1e3", "soon", "120s", "1 2"] {
            assert_eq!(retry_after(value, now), None, "{value}");
        }
    }

    #[test]
    fn retry_after_as_a_date() {
        // The three examples of RFC 9110, 5.6.7, all of one time: 784111777.
        let before = Timestamp::from_second(784_111_777 - 30).unwrap();
        for value in ["Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"] {
            assert_eq!(retry_after(value, before), Some(Duration::from_secs(30)), "{value}");
            let after = Timestamp::from_second(784_111_777 + 30).unwrap();
            assert_eq!(retry_after(value, after), Some(Duration::ZERO), "{value}");
        }
        let far = retry_after("Fri, 31 Dec 9999 23:59:59 GMT", before).unwrap();
        assert!(far > Duration::from_secs(8000 * 365 * 86400));
        for value in [
            "Sun, 06 Nov 1994 08:49:37",
            "Sun, 06 Nov 1994 08:49:37 CET",
            "Sun, 31 Feb 1994 08:49:37 GMT",
            "Sun, 06 Nov 1994 24:49:37 GMT",
            "Sun, 06 Nov 1994 8:49:37 GMT",
            "Sun, 06 Nov 1994 08:49:37:00 GMT",
            "Xyz, 06 Nov 1994 08:49:37 GMT",
            "Sun, 06 Foo 1994 08:49:37 GMT",
            "Sun, 06 Nov 19945 08:49:37 GMT",
            "Sün, 06 Nov 1994 08:49:37 GMT",
        ] {
            assert_eq!(retry_after(value, before), None, "{value}");
        }
    }

    #[test]
    fn two_digit_years_are_near() {
        let now: Timestamp = "2026-11-24T00:00:00Z".parse().unwrap();
        for (digits, year) in [(26, 2026), (27, 2027), (76, 2076), (77, 1977), (94, 1994), (0, 2000)] {
            assert_eq!(full_year(digits, now), year, "{digits}");
        }
    }

    proptest! {
        #[test]
        fn delays_stay_within_their_bounds(
            attempt in any::<u32>(),
            max_attempts in any::<u32>(),
            initial in any::<u64>().prop_map(Duration::from_nanos),
            multiplier in prop_oneof![any::<f64>(), 1.0..10.0f64],
            max_delay in any::<u64>().prop_map(Duration::from_nanos),
            entropy in any::<f64>(),
            jitter in prop_oneof![Just(RetryJitter::Full), Just(RetryJitter::Equal), Just(RetryJitter::None)],
        ) {
            let policy = policy(max_attempts, initial, multiplier, max_delay, jitter);
            let delay = policy.delay(attempt, entropy);
            prop_assert_eq!(delay.is_none(), attempt >= max_attempts);
            if let Some(delay) = delay {
                prop_assert!(delay <= max_delay);
                if jitter == RetryJitter::None {
                    // Seconds as a float are exact to about 10⁻⁷ of these durations.
                    prop_assert!(delay.mul_f64(1.000_001) + Duration::from_nanos(1) >= initial.min(max_delay));
                }
            }
        }

        #[test]
        fn delays_grow(attempt in 1u32..40, multiplier in 1.0..4.0f64) {
            let policy = policy(99, Duration::from_secs(1), multiplier, Duration::from_secs(86400), RetryJitter::None);
            prop_assert!(policy.delay(attempt, 0.0) <= policy.delay(attempt + 1, 0.0));
        }

        #[test]
        fn retry_after_never_panics(
            value in prop_oneof![
                any::<String>(),
                "[A-Z][a-z]{2},? [0-9]{1,3}[ -][A-Z][a-z]{2}[ -][0-9]{1,5} [0-9]{2}:[0-9]{2}:[0-9]{2}( GMT)?",
                "(Sun|Mon), [0-9]{2} (Jan|Feb|Dec) [0-9]{4} [0-6][0-9]:[0-6][0-9]:[0-6][0-9] GMT",
            ],
            now in -60_000_000_000i64..250_000_000_000,
        ) {
            let _ = retry_after(&value, Timestamp::from_second(now).unwrap());
        }
    }
}
