//! Rates of events.

use std::time::Duration;

/// Events per second.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Rate(f64);

/// Parses `50/s`, `30/m`, or `50`, which means per second.
///
/// # Errors
/// Returns an error if it is not a rate, or not greater than zero.
pub(super) fn parse(text: &str) -> Result<Rate, String> {
    let (number, unit) = text.split_once('/').unwrap_or((text, "s"));
    let seconds = match unit {
        "s" => 1.0,
        "m" => 60.0,
        _ => return Err("a rate is a number of events per second (50/s) or per minute (30/m)".into()),
    };
    match number.parse::<u32>() {
        Ok(number) if number > 0 => Ok(Rate(f64::from(number) / seconds)),
        _ => Err("a rate is an integer greater than zero, per second (50/s) or per minute (30/m)".into()),
    }
}

impl Rate {
    /// How many events to request at once: those of one second, at least one and at most `most`.
    pub(super) fn at_once(self, most: usize) -> usize {
        // A cast from a float saturates.
        (self.0 as usize).clamp(1, most)
    }

    /// The time that this many events take.
    pub(super) fn time_for(self, events: u64) -> Duration {
        Duration::from_secs_f64(events as f64 / self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_a_seconds_or_a_minutes() {
        for (text, at_once, seconds) in [("50/s", 50, 2), ("50", 50, 2), ("30/m", 1, 200), ("1/s", 1, 100)] {
            let rate = parse(text).unwrap();
            assert_eq!((rate.at_once(1000), rate.time_for(100)), (at_once, Duration::from_secs(seconds)), "{text}");
        }
        assert_eq!(parse("5000/s").unwrap().at_once(1000), 1000);
        for wrong in ["", "0", "-1", "0/s", "1.5/s", "50/h", "50/", "/s", "fast", "5000000000"] {
            assert!(parse(wrong).is_err(), "{wrong:?}");
        }
    }
}
