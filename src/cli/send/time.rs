//! Times on the command line.

use std::time::Duration;

use grapnel_values::duration;
use jiff::Timestamp;

/// A time, as given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Moment {
    At(Timestamp),
    Ago(Duration),
    Ahead(Duration),
}

/// Parses seconds since 1970, an RFC 3339 timestamp, `-10m` or `+10m`.
pub(super) fn parse(text: &str) -> Result<Moment, String> {
    if let Some(seconds) = text.parse().ok().filter(|_| !text.starts_with('+')) {
        return Timestamp::from_second(seconds).map(Moment::At).map_err(|error| error.to_string());
    }
    if let Ok(time) = text.parse() {
        return Ok(Moment::At(time));
    }
    let relative = match (text.strip_prefix('-'), text.strip_prefix('+')) {
        (Some(ago), _) => duration::parse(ago).map(Moment::Ago),
        (_, Some(ahead)) => duration::parse(ahead).map(Moment::Ahead),
        _ => return Err("write seconds since 1970, a time such as 2026-01-31T12:00:00Z, -10m or +10m".into()),
    };
    relative.map_err(|error| error.to_string())
}

impl Moment {
    /// The time, with offsets relative to now.
    pub(super) fn resolve(self) -> Timestamp {
        let now = Timestamp::now();
        match self {
            Self::At(time) => time,
            Self::Ago(duration) => now.checked_sub(duration).unwrap_or(Timestamp::MIN),
            Self::Ahead(duration) => now.checked_add(duration).unwrap_or(Timestamp::MAX),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read() {
        let at = |seconds| Ok(Moment::At(Timestamp::from_second(seconds).unwrap()));
        assert_eq!(parse("1614265330"), at(1_614_265_330));
        assert_eq!(parse("-5"), at(-5));
        assert_eq!(parse("1970-01-01T00:01:00Z"), at(60));
        assert_eq!(parse("-10m"), Ok(Moment::Ago(Duration::from_secs(600))));
        assert_eq!(parse("+1h30m"), Ok(Moment::Ahead(Duration::from_secs(5400))));
        for wrong in ["", "noon", "10m", "-noon", "+5", "99999999999999999"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
