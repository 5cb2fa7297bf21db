//! When nothing can be taken in: why, who is told, and what ends it.
//!
//! - A write or sync failed. `fjall` accepts no further write until it is opened again, because nobody
//!   can tell which pages reached the disk. The batch at hand is answered with the error, and so is
//!   everything later, until a file can be written beside the log and opening the log again succeeds.
//! - The volume is nearly full. Appends are refused while there is still room for what ends other
//!   people's waiting: settlements, retention and compaction go on, and can free the volume.
//! - `max_bytes` is reached and nothing settled is left that could go early.
//!
//! While any of these lasts the committer looks again every [`JOURNAL_HEAL_INTERVAL`] by itself:
//! whoever is told that the journal takes nothing sends nothing either, so it must not wait for
//! somebody to ask.

use std::{
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use jiff::Timestamp;

use super::{
    Engine,
    commit::{Committer, Incoming, event_cost},
    store::Store,
};
use crate::{
    journal::{JournalError, Result},
    rules::limits::{
        JOURNAL_HEAL_INTERVAL, JOURNAL_ORDINARY_BYTES, JOURNAL_RESERVE_BYTES, JOURNAL_RESERVE_SHARE,
        JOURNAL_SPACE_STEP, RECLAIM_BYTES, RECLAIM_SHARE,
    },
};

/// What stands in the way.
#[derive(Default)]
pub(super) struct Trouble {
    broken: Option<Broken>,
    /// The smallest append refused under `max_bytes` since one fitted, and when its events were received.
    refused: Option<(u64, Timestamp)>,
    space: Space,
    /// Something has been reported that is not over.
    reported: bool,
}

/// Why nothing can be written, and since when.
struct Broken {
    reason: String,
    full: bool,
    tried: Instant,
    /// What went wrong at the last attempt to open the files again.
    said: String,
}

/// What is left on the volume, as far as is known.
#[derive(Default)]
struct Space {
    looked: Option<Instant>,
    /// Bytes that appends may take before somebody has to look again.
    left: u64,
    /// The volume is nearly full; this much was free.
    low: Option<u64>,
}

impl Trouble {
    /// How long to wait for work before looking whether the trouble is over.
    pub(super) fn look_again(&self) -> Option<Duration> {
        let any = self.broken.is_some() || self.refused.is_some() || self.space.low.is_some();
        any.then_some(JOURNAL_HEAL_INTERVAL)
    }

    /// Events of that many bytes have been stored.
    pub(super) fn stored(&mut self, bytes: u64) {
        self.refused = None;
        // Written to the log now, and to a table later.
        self.space.left = self.space.left.saturating_sub(2 * bytes);
    }

    /// Why appends are refused now.
    fn error(&self, engine: &Engine) -> Option<JournalError> {
        if let Some(broken) = &self.broken {
            return Some(broken.error());
        }
        if let Some(free) = self.space.low {
            let free = free >> 20;
            return Some(JournalError::Full(format!("only {free} MiB are left on its volume")));
        }
        self.refused.is_some().then(|| full(engine.live_bytes.load(Ordering::Acquire), engine.max_bytes))
    }
}

impl Committer {
    /// Refuses appends while nothing can be written or the volume is nearly full.
    pub(super) fn can_append(&mut self) -> Result<()> {
        if self.trouble.broken.is_none() {
            self.trouble.space.look(&self.engine);
        }
        // `max_bytes` is another matter: a smaller event may fit.
        match self.trouble.error(&self.engine) {
            Some(error) if self.trouble.broken.is_some() || self.trouble.space.low.is_some() => Err(error),
            _ => Ok(()),
        }
    }

    /// Full, unless the events fit beside `staged` bytes, if need be after settled ones went early.
    pub(super) fn make_room(&mut self, events: &[Incoming], staged: u64) -> Result<()> {
        if self.engine.max_bytes == 0 {
            return Ok(());
        }
        let wanted = events.iter().map(|e| event_cost(e.row.len(), e.index_key.len())).sum();
        let received = events.iter().map(|event| event.received).max().unwrap_or_default();
        let outcome = self.make_room_for(wanted, received, staged);
        // A large event that does not fit says nothing about others.
        if let Err(JournalError::Full(_)) = &outcome
            && wanted <= JOURNAL_ORDINARY_BYTES.min(self.engine.max_bytes)
            && self.trouble.refused.is_none_or(|(smallest, _)| wanted < smallest)
        {
            self.trouble.refused = Some((wanted, received));
        }
        outcome
    }

    fn make_room_for(&mut self, wanted: u64, now: Timestamp, staged: u64) -> Result<()> {
        let max = self.engine.max_bytes;
        let used = |engine: &Engine| engine.live_bytes.load(Ordering::Acquire) + staged;
        let over = (used(&self.engine) + wanted).saturating_sub(max);
        if over > 0 {
            // Some more than this append needs, so that not every one has to look for what can go.
            self.reclaim_settled(over + (max / RECLAIM_SHARE).min(RECLAIM_BYTES), now)?;
        }
        let used = used(&self.engine);
        if used + wanted > max { Err(full(used, max)) } else { Ok(()) }
    }

    /// Writes, unless an earlier write failed; a failure is remembered.
    pub(super) fn write<T>(&mut self, write: impl FnOnce(&Store) -> Result<T>) -> Result<T> {
        if let Some(broken) = &self.trouble.broken {
            return Err(broken.error());
        }
        let outcome = self.engine.read(write);
        if let Err(error @ (JournalError::Io(..) | JournalError::Full(_))) = &outcome {
            let why = again(error);
            tracing::error!(error = %why, "the journal refuses writes until its files can be opened again");
            self.fail_since(Instant::now(), error);
        }
        outcome
    }

    /// From now on writes are refused.
    pub(super) fn fail_since(&mut self, tried: Instant, error: &JournalError) {
        let reason = match again(error) {
            JournalError::Io(why, _) | JournalError::Full(why) => why,
            other => other.to_string(),
        };
        let full = matches!(error, JournalError::Full(_));
        self.trouble.broken = Some(Broken { reason, full, tried, said: String::new() });
    }

    /// Looks whether what stands in the way has gone.
    pub(super) fn ease(&mut self) {
        self.heal();
        if self.trouble.broken.is_some() {
            return;
        }
        if self.trouble.space.low.is_some() {
            self.trouble.space.look(&self.engine);
        }
        if let Some((wanted, received)) = self.trouble.refused
            && self.make_room_for(wanted, received, 0).is_ok()
        {
            self.trouble.refused = None;
        }
    }

    /// Opens the files again after a failed write.
    fn heal(&mut self) {
        let Some(broken) = &mut self.trouble.broken else { return };
        if broken.tried.elapsed() < JOURNAL_HEAL_INTERVAL {
            return;
        }
        broken.tried = Instant::now();
        match self.engine.probe().and_then(|()| self.engine.reopen()) {
            Ok(()) => {
                tracing::info!("the journal takes writes again");
                self.trouble.broken = None;
            }
            Err(error) => {
                let said = again(&error).to_string();
                if said != broken.said {
                    tracing::error!(error = said, "the journal cannot be opened again; that is tried every second");
                    broken.said = said;
                }
            }
        }
    }

    /// Tells everybody else what stands in the way.
    pub(super) fn report(&mut self) {
        let error = self.trouble.error(&self.engine);
        if error.is_none() && !self.trouble.reported {
            return;
        }
        match (&error, self.trouble.reported) {
            (Some(error), false) => tracing::warn!(kind = error.kind(), %error, "events are refused"),
            (None, true) => tracing::info!("events are taken again"),
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
            JournalError::Io(format!("writing failed before ({}) and is tried again soon", self.reason), None)
        }
    }
}

impl Space {
    /// Asks the volume, at most once in [`JOURNAL_HEAL_INTERVAL`] unless much has been written since.
    fn look(&mut self, engine: &Engine) {
        if self.left > 0 && self.looked.is_some_and(|looked| looked.elapsed() < JOURNAL_HEAL_INTERVAL) {
            return;
        }
        self.looked = Some(Instant::now());
        self.left = JOURNAL_SPACE_STEP;
        // A volume that does not tell is found full by the write that fails.
        let Ok(volume) = engine.volume() else {
            self.low = None;
            return;
        };
        let reserve = JOURNAL_RESERVE_BYTES.min(volume.size / JOURNAL_RESERVE_SHARE);
        self.left = self.left.min(volume.free.saturating_sub(reserve));
        self.low = (self.left == 0).then_some(volume.free);
    }
}

fn full(used: u64, max: u64) -> JournalError {
    JournalError::Full(format!("{used} of {max} bytes are events that are not settled yet"))
}

/// Held by the committer. Should it panic, memory and disk may differ, and nobody would answer any more: the process ends at
/// once, and the next start takes everything from the disk, as after a crash.
pub(super) struct CrashOnly;

impl Drop for CrashOnly {
    fn drop(&mut self) {
        if std::thread::panicking() {
            tracing::error!("the journal's writer panicked; the process ends, so that it starts from what is on disk");
            std::process::abort();
        }
    }
}

/// An error for each of several callers, its cause in words.
pub(super) fn again(error: &JournalError) -> JournalError {
    match error {
        JournalError::Full(why) => JournalError::Full(why.clone()),
        JournalError::Corrupt(why) => JournalError::Corrupt(why.clone()),
        JournalError::Closed => JournalError::Closed,
        JournalError::Io(why, Some(cause)) => JournalError::Io(format!("{why}: {cause}"), None),
        JournalError::Io(why, None) => JournalError::Io(why.clone(), None),
        other => JournalError::Io(other.to_string(), None),
    }
}
