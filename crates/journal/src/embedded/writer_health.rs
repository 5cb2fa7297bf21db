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

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use super::{Engine, endpoint::Endpoint, writer::Writer};
use crate::{
    JournalError, Result, ShareScope,
    limits::{JOURNAL_HEAL_INTERVAL, JOURNAL_RESERVE_BYTES, JOURNAL_RESERVE_SHARE, JOURNAL_SPACE_STEP},
};

/// The causes that currently prevent writes.
#[derive(Default)]
pub(super) struct WriterHealth {
    broken: Option<Broken>,
    /// Exhausted shares.
    pub(super) shares: BTreeMap<ShareScope, RefusedShare>,
    /// Bytes of the smallest append rejected under `max_bytes` since one last fitted.
    pub(super) refused: Option<u64>,
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

impl WriterHealth {
    /// Returns how long to wait for work before checking whether the cause is over.
    pub(super) fn look_again(&self) -> Option<Duration> {
        let any =
            self.broken.is_some() || self.refused.is_some() || self.space.low.is_some() || !self.shares.is_empty();
        any.then_some(JOURNAL_HEAL_INTERVAL)
    }

    /// Returns whether the current segment cannot be written.
    pub(super) fn is_broken(&self) -> bool {
        self.broken.is_some()
    }

    /// Records that events of that many bytes have been stored.
    pub(super) fn stored(&mut self, bytes: u64) {
        self.refused = None;
        self.space.left = self.space.left.saturating_sub(bytes + bytes / 8);
    }

    /// Returns why appends are currently rejected.
    pub(super) fn error(&self, engine: &Engine) -> Option<JournalError> {
        if let Some(broken) = &self.broken {
            return Some(broken.error());
        }
        if let Some(free) = self.space.low {
            let free = free >> 20;
            return Some(JournalError::Full(format!(
                "only {free} MiB are free on its volume; free space or enlarge it"
            )));
        }
        self.refused.is_some().then(|| full(engine))
    }

    /// Records that a share rejected an append.
    pub(super) fn refuse_share(&mut self, scope: ShareScope, endpoint: &Arc<Endpoint>, wanted: u64, max_bytes: u64) {
        let refused = RefusedShare { endpoint: Arc::clone(endpoint), wanted, max_bytes };
        let known = self.shares.entry(scope).or_insert_with(|| refused.clone());
        if wanted <= known.wanted || max_bytes != known.max_bytes {
            *known = refused;
        }
    }

    /// Rejects writes from now on.
    pub(super) fn break_off(&mut self, tried: Instant, error: &JournalError) {
        let reason = match error.clone_for_caller() {
            JournalError::Io(why, _) | JournalError::Full(why) => why,
            other => other.to_string(),
        };
        let full = matches!(error, JournalError::Full(_));
        self.broken = Some(Broken { reason, full, tried, said: String::new() });
    }
}

impl Writer {
    /// Checks that writing is possible.
    pub(super) fn can_write(&self) -> Result<()> {
        self.trouble.broken.as_ref().map_or(Ok(()), |broken| Err(broken.error()))
    }

    /// Rejects appends while writing is not possible or the volume is nearly full.
    pub(super) fn can_append(&mut self) -> Result<()> {
        if !self.trouble.is_broken() {
            self.trouble.space.look(&self.engine);
        }
        // `max_bytes` is different: a smaller event may fit.
        match self.trouble.error(&self.engine) {
            Some(error) if self.trouble.is_broken() || self.trouble.space.low.is_some() => Err(error),
            _ => Ok(()),
        }
    }

    /// Checks whether the causes are gone.
    pub(super) fn ease(&mut self) {
        self.heal();
        if self.trouble.is_broken() {
            return;
        }
        if self.trouble.space.low.is_some() {
            self.trouble.space.look(&self.engine);
        }
        self.ease_shares();
        if let Some(wanted) = self.trouble.refused
            && self.make_journal_room(wanted).is_ok()
        {
            self.trouble.refused = None;
        }
    }

    /// Begins a new segment after a failed write.
    fn heal(&mut self) {
        let Some(broken) = &mut self.trouble.broken else { return };
        if broken.tried.elapsed() < JOURNAL_HEAL_INTERVAL {
            return;
        }
        broken.tried = Instant::now();
        match self.engine.layout.probe().and_then(|()| self.rotate()) {
            Ok(()) => {
                tracing::info!("the journal accepts writes again");
                self.trouble.broken = None;
            }
            Err(error) => {
                let said = error.to_string();
                if let Some(broken) = &mut self.trouble.broken
                    && said != broken.said
                {
                    tracing::error!(error = said, "cannot start a new segment; retrying every second");
                    broken.said = said;
                }
            }
        }
    }

    /// Publishes the current cause.
    pub(super) fn report(&mut self) {
        let error = self.trouble.error(&self.engine);
        if error.is_none() && !self.trouble.reported {
            return;
        }
        match (&error, self.trouble.reported) {
            (Some(error), false) => tracing::warn!(kind = error.kind(), %error, "events are rejected"),
            (None, true) => tracing::info!("events are accepted again"),
            _ => {}
        }
        self.trouble.reported = error.is_some();
        *self.engine.trouble.lock() = error;
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
    /// Checks the free space of the volume, at most once per [`JOURNAL_HEAL_INTERVAL`] unless much has been written
    /// since.
    fn look(&mut self, engine: &Engine) {
        if self.left > 0 && self.looked.is_some_and(|looked| looked.elapsed() < JOURNAL_HEAL_INTERVAL) {
            return;
        }
        self.looked = Some(Instant::now());
        self.left = JOURNAL_SPACE_STEP;
        // If the volume does not report its space, a failing write shows that it is full.
        let Ok(volume) = engine.layout.volume() else {
            self.low = None;
            return;
        };
        let reserve = JOURNAL_RESERVE_BYTES.min(volume.size / JOURNAL_RESERVE_SHARE);
        self.left = self.left.min(volume.free.saturating_sub(reserve));
        self.low = (self.left == 0).then_some(volume.free);
    }
}

/// Returns the error of a journal that has reached its maximum size.
pub(super) fn full(engine: &Engine) -> JournalError {
    let ((log, index), max) = (engine.disk(), engine.limits.max_bytes);
    JournalError::Full(format!(
        "it uses {} of {max} bytes, and no settled event is left to remove; raise --journal-max-bytes, or fix the \
         subscriptions with the backlog",
        log + index
    ))
}

/// A guard held by the writer. If the writer panics, memory and disk may differ, and no caller would be answered: the
/// process ends at once, and the next start recovers from disk, as after a crash.
pub(super) struct CrashOnly;

impl Drop for CrashOnly {
    fn drop(&mut self) {
        if std::thread::panicking() {
            tracing::error!(
                "the journal's writer panicked; the process exits, and the next start recovers from the disk"
            );
            std::process::abort();
        }
    }
}
