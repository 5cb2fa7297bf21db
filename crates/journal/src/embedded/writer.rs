//! The writer's state, and what all of its work goes through: records are written, then changes are made.
//!
//! When a write or a sync fails, it is unknown what reached the disk: see [`writer_health`](super::writer_health).

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Instant,
};

use super::{
    Engine, batch::OpenSegment, endpoint::Recency, error::from_io, pending::Pending, staged::Staged,
    writer_health::WriterHealth,
};
use crate::{JournalError, Result};

/// A change of the state, made once the records of the round are written or have failed.
pub(super) type StateChange = Box<dyn FnOnce(&Engine, Result<(), &JournalError>) + Send>;

/// The writer's own state.
pub(super) struct Writer {
    pub(super) engine: Arc<Engine>,
    pub(super) log: OpenSegment,
    pub(super) pending: Pending<StateChange>,
    pub(super) staged: Staged,
    /// Counts changes that may have made events removable: ended attempts, detached consumers.
    pub(super) settled: u64,
    /// The value of `settled` when settled events of an endpoint were last searched for in vain.
    pub(super) searched: HashMap<u32, u64>,
    /// The size of the directory when the round began, and the log position at that time.
    pub(super) disk: Option<(u64, u64)>,
    pub(super) recency: Recency,
    pub(super) health: WriterHealth,
}

impl Writer {
    pub(super) fn new(engine: Arc<Engine>, log: OpenSegment) -> Self {
        Self {
            engine,
            log,
            pending: Pending::default(),
            staged: Staged::default(),
            settled: 1,
            searched: HashMap::new(),
            disk: None,
            recency: Recency::default(),
            health: WriterHealth::default(),
        }
    }

    /// Registers a change for when the records of the round are written or have failed.
    pub(super) fn effect(&mut self, effect: impl FnOnce(&Engine, Result<(), &JournalError>) + Send + 'static) {
        self.pending.push(Box::new(effect));
    }

    /// Writes the records of the round so far, and applies their changes.
    pub(super) fn flush(&mut self) -> Result<(), Arc<JournalError>> {
        let was_broken = self.health.is_broken();
        let written = self.pending.write(&mut self.log, &mut self.health, Instant::now());
        if let Some(error) = written.as_ref().err().filter(|_| !was_broken) {
            tracing::error!(%error, "the journal rejects writes until it can start a new segment");
        }
        self.end(written.as_ref().copied());
        written.map_err(Arc::new)
    }

    /// Applies the changes that wait, or answers them with the error.
    pub(super) fn end(&mut self, outcome: Result<(), &JournalError>) {
        for effect in self.pending.end() {
            effect(&self.engine, outcome);
        }
        let stored = self.staged.finish(&self.engine, &self.log.segment, &mut self.recency, outcome);
        if stored > 0 {
            self.health.stored(stored);
        }
    }

    pub(super) fn next_endpoint(&self) -> u32 {
        next(&self.engine.next_endpoint)
    }

    pub(super) fn next_consumer(&self) -> u32 {
        next(&self.engine.next_consumer)
    }

    /// Makes everything written so far durable.
    pub(super) fn sync(&mut self) -> Result<()> {
        self.log.sync().map_err(|error| {
            let error = from_io(self.log.segment.path().display(), error);
            self.health.break_off(Instant::now(), &error);
            error
        })
    }
}

fn next(number: &AtomicU32) -> u32 {
    number.fetch_add(1, Ordering::AcqRel)
}
