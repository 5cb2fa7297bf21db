//! Write unavailability: causes, reporting, recovery.
//!
//! - A write or a sync failed. It is unknown which pages reached the disk, and a later sync may succeed without them.
//!   So nothing more is written to that segment: the round and all later tasks fail with the error until a new segment
//!   can be begun, with the whole state at its head. The new head says where the previous segment ends, so that
//!   unacknowledged data does not reappear.
//! - The volume is nearly full. Appends are rejected while there is still room for settlements and retention, which
//!   continue and can free the volume.
//! - `max_bytes` is reached and no settled event is left to remove early.
//!
//! While any of these lasts, the writer checks again every [`JOURNAL_HEAL_INTERVAL`] by itself: a sender that sees the
//! journal reject events stops sending.
//!
//! Here are the decisions, without I/O and clock; [`recovery`](super::recovery) carries them out.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use super::{endpoint::Endpoint, files::Volume};
use crate::{
    JournalError, ShareScope,
    limits::{JOURNAL_HEAL_INTERVAL, JOURNAL_RESERVE_BYTES, JOURNAL_RESERVE_SHARE, JOURNAL_SPACE_STEP},
};

/// The causes that currently prevent writes.
#[derive(Default)]
pub(super) struct WriterHealth {
    broken: Option<Broken>,
    /// Exhausted shares.
    pub(super) shares: BTreeMap<ShareScope, RefusedShare>,
    /// Bytes of the smallest append rejected under `max_bytes` since one last fitted.
    refused: Option<u64>,
    space: Space,
    /// A reported cause is not over yet.
    reported: bool,
}

/// The smallest append that an exhausted share rejected.
#[derive(Clone)]
pub(super) struct RefusedShare {
    pub(super) endpoint: Arc<Endpoint>,
    pub(super) wanted: u64,
    pub(super) max_bytes: u64,
}

/// Why nothing can be written, and since when.
struct Broken {
    reason: String,
    full: bool,
    tried: Instant,
    /// The error of the last attempt to begin a new segment.
    said: String,
}

/// The free space of the volume, as far as known.
#[derive(Default)]
struct Space {
    looked: Option<Instant>,
    /// Bytes that appends may take before the next check.
    left: u64,
    /// The free bytes, if the volume is nearly full.
    low: Option<u64>,
}

/// What to report about rejected appends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Report {
    /// Appends are rejected from now on.
    Began,
    /// Appends are still rejected, perhaps for another cause.
    Lasts,
    /// Appends are accepted again.
    Ended,
}

impl WriterHealth {
    /// Returns how long to wait for work before checking whether the cause is over.
    pub(super) fn look_again(&self) -> Option<Duration> {
        let any = self.broken.is_some() || self.refused.is_some() || self.is_low() || !self.shares.is_empty();
        any.then_some(JOURNAL_HEAL_INTERVAL)
    }

    /// Returns whether the current segment cannot be written.
    pub(super) fn is_broken(&self) -> bool {
        self.broken.is_some()
    }

    /// Returns whether the volume was nearly full when it was last checked.
    pub(super) fn is_low(&self) -> bool {
        self.space.low.is_some()
    }

    /// Returns the size of the smallest append that was rejected under `max_bytes`, if none has fitted since.
    pub(super) fn refused(&self) -> Option<u64> {
        self.refused
    }

    /// Records that events of that many bytes have been stored.
    pub(super) fn stored(&mut self, bytes: u64) {
        self.refused = None;
        self.space.left = self.space.left.saturating_sub(bytes + bytes / 8);
    }

    /// Records that an append of that many bytes was rejected under `max_bytes`.
    pub(super) fn refuse(&mut self, wanted: u64) {
        self.refused = Some(self.refused.map_or(wanted, |smallest| smallest.min(wanted)));
    }

    /// Records that the rejected append would fit now.
    pub(super) fn fits(&mut self) {
        self.refused = None;
    }

    /// Records that a share rejected an append.
    pub(super) fn refuse_share(&mut self, scope: ShareScope, endpoint: &Arc<Endpoint>, wanted: u64, max_bytes: u64) {
        let refused = RefusedShare { endpoint: Arc::clone(endpoint), wanted, max_bytes };
        let known = self.shares.entry(scope).or_insert_with(|| refused.clone());
        if wanted <= known.wanted || max_bytes != known.max_bytes {
            *known = refused;
        }
    }

    /// Returns why nothing can be written.
    pub(super) fn write_error(&self) -> Option<JournalError> {
        self.broken.as_ref().map(Broken::error)
    }

    /// Returns why every append is rejected, whatever its size.
    pub(super) fn append_error(&self) -> Option<JournalError> {
        self.write_error().or_else(|| self.space.error())
    }

    /// Returns why appends are currently rejected; `full` is the error of a journal that has reached its maximum size.
    pub(super) fn error(&self, full: impl FnOnce() -> JournalError) -> Option<JournalError> {
        // A smaller append may still fit under the maximum.
        self.append_error().or_else(|| self.refused.map(|_| full()))
    }

    /// Rejects writes from now on.
    pub(super) fn break_off(&mut self, now: Instant, error: &JournalError) {
        let reason = match error.clone_for_caller() {
            JournalError::Io(why, _) | JournalError::Full(why) => why,
            other => other.to_string(),
        };
        let full = matches!(error, JournalError::Full(_));
        self.broken = Some(Broken { reason, full, tried: now, said: String::new() });
    }

    /// Returns whether to try to begin a new segment now. If so, the next attempt is a [`JOURNAL_HEAL_INTERVAL`] later.
    pub(super) fn try_to_heal(&mut self, now: Instant) -> bool {
        let broken = self.broken.as_mut();
        let due = broken.filter(|broken| now.saturating_duration_since(broken.tried) >= JOURNAL_HEAL_INTERVAL);
        due.map(|broken| broken.tried = now).is_some()
    }

    /// Records that a new segment has been begun.
    pub(super) fn healed(&mut self) {
        self.broken = None;
    }

    /// Records that no new segment can be begun. Returns whether the error is not the one of the attempt before.
    pub(super) fn not_healed(&mut self, error: &str) -> bool {
        let Some(broken) = self.broken.as_mut().filter(|broken| broken.said != error) else { return false };
        error.clone_into(&mut broken.said);
        true
    }

    /// Returns whether to check the free space of the volume: at most once per [`JOURNAL_HEAL_INTERVAL`], unless much has
    /// been written since.
    pub(super) fn must_look(&self, now: Instant) -> bool {
        let recent = |looked: Instant| now.saturating_duration_since(looked) < JOURNAL_HEAL_INTERVAL;
        self.space.left == 0 || !self.space.looked.is_some_and(recent)
    }

    /// Records the free space of the volume; `None` if the volume does not report it, in which case a failing write
    /// shows that it is full.
    pub(super) fn looked(&mut self, now: Instant, volume: Option<Volume>) {
        let left = volume.map_or(JOURNAL_SPACE_STEP, |volume| {
            let reserve = JOURNAL_RESERVE_BYTES.min(volume.size / JOURNAL_RESERVE_SHARE);
            JOURNAL_SPACE_STEP.min(volume.free.saturating_sub(reserve))
        });
        let low = volume.map(|volume| volume.free).filter(|_| left == 0);
        self.space = Space { looked: Some(now), left, low };
    }

    /// Returns what to report, given whether appends are rejected.
    pub(super) fn report(&mut self, rejected: bool) -> Option<Report> {
        match (rejected, std::mem::replace(&mut self.reported, rejected)) {
            (true, false) => Some(Report::Began),
            (true, true) => Some(Report::Lasts),
            (false, true) => Some(Report::Ended),
            (false, false) => None,
        }
    }
}

impl Broken {
    fn error(&self) -> JournalError {
        if self.full {
            JournalError::Full(self.reason.clone())
        } else {
            JournalError::Io(format!("a write failed ({}) and is retried", self.reason), None)
        }
    }
}

impl Space {
    fn error(&self) -> Option<JournalError> {
        let free = self.low? >> 20;
        Some(JournalError::Full(format!("only {free} MiB are free on its volume; free space or enlarge it")))
    }
}

#[cfg(test)]
mod tests;
