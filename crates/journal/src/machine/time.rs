//! The time representation of the machine.

use jiff::Timestamp;

/// Microseconds since 1970: eight bytes that order like the times they represent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Micros(pub(crate) i64);

impl Micros {
    pub(crate) const MAX: Self = Self(i64::MAX);

    /// Returns the last microsecond that is not after `time`.
    pub(crate) fn floor(time: Timestamp) -> Self {
        let micros = time.as_microsecond();
        let early = time.subsec_nanosecond() < 0 && time.subsec_nanosecond() % 1000 != 0;
        Self(micros - i64::from(early))
    }

    /// Returns the first microsecond that is not before `time`, so that what is due then is never early.
    pub(crate) fn ceil(time: Timestamp) -> Self {
        let micros = time.as_microsecond();
        let late = time.subsec_nanosecond() > 0 && time.subsec_nanosecond() % 1000 != 0;
        Self(micros + i64::from(late))
    }

    pub(crate) fn timestamp(self) -> Timestamp {
        Timestamp::from_microsecond(self.0).unwrap_or(if self.0 < 0 { Timestamp::MIN } else { Timestamp::MAX })
    }

    /// Returns `self + span`, saturating at the maximum.
    pub(crate) fn after(self, span: std::time::Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(span.as_micros()).unwrap_or(i64::MAX)))
    }

    /// Returns `self - span`, saturating at the minimum.
    pub(crate) fn before(self, span: std::time::Duration) -> Self {
        Self(self.0.saturating_sub(i64::try_from(span.as_micros()).unwrap_or(i64::MAX)))
    }
}
