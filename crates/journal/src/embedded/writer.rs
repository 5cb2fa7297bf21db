//! The writer: the one thread that writes the log.
//!
//! A round takes everything that waits, turns it into records, writes them with one call, and syncs once if anything in
//! it has to be durable; meanwhile, the next round gathers. There is no timer: a lone append pays for its own sync;
//! under load, hundreds share one.
//!
//! A single writer also simplifies the rest: no two appends can look up the same id concurrently, sequences are
//! assigned in commit order, and memory changes only after the write succeeded.
//!
//! When a write or a sync fails, it is unknown what reached the disk: see [`writer_health`](super::writer_health).

use std::{
    collections::HashMap,
    io,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Instant,
};

use jiff::Timestamp;

use super::{
    Engine,
    append::Staged,
    batch::OpenSegment,
    endpoint::Recency,
    entry::{ConsumerRow, SegmentHead, StateEnd},
    error::from_io,
    files::Layout,
    frame::Kind,
    inbox::Round,
    index::Index,
    keeper::Work,
    open,
    pending::Pending,
    recovery::CrashOnly,
    rewrite::Rewritten,
    segment_name::SegmentName,
    tasks::Effect,
    writer_health::WriterHealth,
};
use crate::{
    JournalError, Result,
    limits::{SEGMENT_BYTES_MOST, SEGMENT_EVENTS, SEGMENT_OUTCOMES, SEGMENTS_SEALING},
    machine::Micros,
};

/// The writer's own state.
pub(super) struct Writer {
    pub(super) engine: Arc<Engine>,
    pub(super) log: OpenSegment,
    pub(super) pending: Pending<Effect>,
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

    /// Runs until the inbox is closed, then releases the directory.
    pub(super) fn run(mut self) {
        let _crash_only = CrashOnly;
        let engine = Arc::clone(&self.engine);
        let mut round = Round::default();
        while !round.last {
            engine.inbox.take(&mut round, self.health.look_again());
            *engine.busy.lock() = Some(Instant::now());
            self.round(&mut round);
            *engine.busy.lock() = None;
        }
        engine.keeper.close();
        *engine.directory.lock() = None;
    }

    /// Handles and answers all tasks of the round, and empties it.
    pub(super) fn round(&mut self, round: &mut Round) {
        self.disk = None;
        self.ease();
        if self.health.is_broken() {
            self.refuse(round);
        } else {
            self.rotate_if_full();
            for (task, _permit) in round.tasks.drain(..) {
                self.stage_task(task);
            }
            match self.can_append() {
                Ok(()) => {
                    if !round.appends.is_empty() {
                        self.log.mark();
                    }
                    for (append, _) in round.appends.iter_mut() {
                        // The events are moved; the permit stays until the round is over.
                        self.stage_append(append.take());
                    }
                }
                Err(error) => {
                    for (append, _) in round.appends.drain(..) {
                        let _ = append.answer.send(Err(error.clone_for_caller()));
                    }
                }
            }
            let _ = self.flush();
        }
        round.tasks.clear();
        round.appends.clear();
        self.report();
    }

    /// Answers all tasks with the error when writing is not possible.
    fn refuse(&mut self, round: &mut Round) {
        let Some(error) = self.health.write_error() else { return };
        for (append, _) in round.appends.drain(..) {
            let _ = append.answer.send(Err(error.clone_for_caller()));
        }
        for (task, _permit) in round.tasks.drain(..) {
            self.stage_task(task);
            self.end(Err(&error));
            self.log.discard();
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
    fn end(&mut self, outcome: Result<(), &JournalError>) {
        for effect in self.pending.end() {
            effect(&self.engine, outcome);
        }
        self.finish_appends(outcome);
    }

    pub(super) fn next_endpoint(&self) -> u32 {
        next(&self.engine.next_endpoint)
    }

    pub(super) fn next_consumer(&self) -> u32 {
        next(&self.engine.next_consumer)
    }

    fn rotate_if_full(&mut self) {
        let rows = self.log.segment.index(|index| match index {
            Index::Active(active) => active.rows(),
            Index::Sealed(_) => (0, 0),
        });
        if !is_full(self.log.position(), self.log.head_bytes(), rows, self.engine.limits.segment_bytes) {
            return;
        }
        if let Err(error) = self.rotate() {
            tracing::error!(%error, "the journal rejects writes until it can start a new segment");
            self.health.break_off(Instant::now(), &error);
        }
    }

    /// Begins a new segment. Unacknowledged data in the previous segment is no longer part of the log.
    pub(super) fn rotate(&mut self) -> Result<()> {
        let engine = Arc::clone(&self.engine);
        let sync = |log: &mut OpenSegment| log.sync().map_err(|error| from_io(log.segment.path().display(), error));
        if !self.health.is_broken() {
            sync(&mut self.log)?;
        }
        let before = Arc::clone(&self.log.segment);
        let name = SegmentName { id: before.last.max(before.name.id) + 1, generation: 0 };
        self.log = begin(&engine, name, Some((before.name.id, before.len())))
            .map_err(|error| from_io(engine.layout.log_file(name).display(), error))?;
        self.disk = None;
        engine.segments.push(Arc::clone(&self.log.segment));
        let mut ids = engine.ids.write();
        let full = std::mem::take(&mut ids.active);
        ids.sealing.push((before.name.id, Arc::new(full)));
        let sealing = ids.sealing.len();
        drop(ids);
        engine.keeper.send(Work::Seal(before));
        if sealing > SEGMENTS_SEALING {
            // Bounds memory: the keeper comes first.
            engine.keeper.wait_until(|| engine.ids.read().sealing.len() <= SEGMENTS_SEALING);
        }
        Ok(())
    }

    /// Makes everything written so far durable.
    pub(super) fn sync(&mut self) -> Result<()> {
        self.log.sync().map_err(|error| {
            let error = from_io(self.log.segment.path().display(), error);
            self.health.break_off(Instant::now(), &error);
            error
        })
    }

    /// Deletes segments without kept events.
    pub(super) fn drop_segments(&mut self, names: &[SegmentName]) -> Result<usize> {
        // It must be durable that nothing of them is kept before they are deleted.
        self.sync()?;
        let mut dropped = 0;
        for segment in self.engine.segments.all() {
            if !names.contains(&segment.name) || segment.live_events() > 0 || segment.name == self.log.segment.name {
                continue;
            }
            self.engine.segments.remove(segment.name);
            remove_files(&self.engine.layout, segment.name)
                .map_err(|error| from_io(segment.path().display(), error))?;
            dropped += 1;
        }
        Ok(dropped)
    }

    /// Replaces segments by a rewritten one, and deletes them.
    pub(super) fn replace_segments(&mut self, rewritten: Rewritten) -> Result<()> {
        let Rewritten { segment, replaced } = rewritten;
        let live = open::live(&self.engine, &segment).map_err(|error| from_io(segment.path().display(), error))?;
        for live in live {
            segment.add_live(live.own.events + live.former.events, live.own.bytes + live.former.bytes);
            // Events to be removed from the old segments are now in the new one.
            if let Some(endpoint) = self.engine.endpoint_numbered(live.endpoint) {
                endpoint.next_epoch();
            }
        }
        self.engine.segments.replace(&replaced, segment);
        for old in replaced {
            remove_files(&self.engine.layout, old.name).map_err(|error| from_io(old.path().display(), error))?;
        }
        Ok(())
    }
}

/// Returns whether a segment of that many bytes, with a head of `head` bytes and that many events and outcomes, is full.
fn is_full(bytes: u64, head: u64, (events, outcomes): (usize, usize), segment_bytes: u64) -> bool {
    // The state at the head must not make up most of a segment.
    let most = segment_bytes.max((8 * head).min(SEGMENT_BYTES_MOST));
    bytes >= most || events >= SEGMENT_EVENTS || outcomes >= SEGMENT_OUTCOMES
}

/// Deletes the files of a segment.
pub(super) fn remove_files(layout: &Layout, name: SegmentName) -> io::Result<()> {
    let gone = |outcome: io::Result<()>| match outcome {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    };
    gone(std::fs::remove_file(layout.log_file(name)))?;
    gone(std::fs::remove_file(layout.copy_file(name)))?;
    gone(std::fs::remove_file(layout.index_file(name)))
}

fn next(number: &AtomicU32) -> u32 {
    number.fetch_add(1, Ordering::AcqRel)
}

/// Creates a segment with the whole state at its head, durably. `before` is the previous segment and its end.
pub(super) fn begin(engine: &Engine, name: SegmentName, before: Option<(u64, u64)>) -> io::Result<OpenSegment> {
    let layout = &engine.layout;
    let now = Micros::floor(Timestamp::now());
    let (previous, previous_end) = before.unwrap_or_default();
    let head = SegmentHead { last: name.id, time: now, previous, previous_end };
    let mut log = OpenSegment::create(layout, name, head)?;
    log.create_copy(layout)?;
    log.identity(Kind::Segment, 0, &head.encode());
    let endpoints = engine.endpoints.read().all();
    for endpoint in &endpoints {
        log.identity(Kind::EndpointState, endpoint.number, &endpoint.stored().encode());
    }
    let consumers = engine.consumers.read().all();
    for consumer in &consumers {
        let row = ConsumerRow {
            consumer: consumer.object.clone(),
            endpoint: consumer.endpoint.number,
            state: consumer.state().durable(),
        };
        log.identity(Kind::ConsumerState, consumer.number, &row.encode());
        if log.end() - log.position() > 4 << 20 {
            log.write(false)?;
        }
    }
    let end = StateEnd {
        endpoints: endpoints.len() as u64,
        consumers: consumers.len() as u64,
        next_endpoint: engine.next_endpoint.load(Ordering::Acquire),
        next_consumer: engine.next_consumer.load(Ordering::Acquire),
        retired_head: engine.retired_head.load(Ordering::Acquire),
    };
    log.identity(Kind::StateEnd, 0, &end.encode());
    log.write(true)?;
    log.end_of_head();
    layout.sync_log_directory()?;
    engine.checkpoint.store(now.0 as u64, Ordering::Release);
    Ok(log)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_segment_is_full_by_its_size_its_events_or_its_outcomes() {
        for (bytes, head, rows, full) in [
            (999, 0, (0, 0), false),
            (1000, 0, (0, 0), true),
            (0, 0, (SEGMENT_EVENTS - 1, SEGMENT_OUTCOMES - 1), false),
            (0, 0, (SEGMENT_EVENTS, 0), true),
            (0, 0, (0, SEGMENT_OUTCOMES), true),
            // A large head needs a larger segment, within the limit.
            (1000, 500, (0, 0), false),
            (4000, 500, (0, 0), true),
            (SEGMENT_BYTES_MOST - 1, SEGMENT_BYTES_MOST, (0, 0), false),
            (SEGMENT_BYTES_MOST, SEGMENT_BYTES_MOST, (0, 0), true),
        ] {
            assert_eq!(is_full(bytes, head, rows, 1000), full, "{bytes} {head} {rows:?}");
        }
    }
}
