//! Segments that are begun, deleted and replaced.

use std::{
    io,
    sync::{Arc, atomic::Ordering},
    time::Instant,
};

use jiff::Timestamp;

use super::{
    Engine,
    batch::OpenSegment,
    entry::{ConsumerRow, SegmentHead, StateEnd},
    error::from_io,
    frame::Kind,
    index::Index,
    keeper_inbox::Work,
    live::live,
    segment_name::SegmentName,
    task::Rewritten,
    writer::Writer,
};
use crate::{
    JournalError, Result,
    limits::{SEGMENT_BYTES_MOST, SEGMENT_EVENTS, SEGMENT_OUTCOMES, SEGMENTS_SEALING},
    machine::Micros,
};

impl Writer {
    pub(super) fn rotate_if_full(&mut self) {
        let rows = self.log.segment.index(|index| match index {
            Index::Active(active) => active.rows(),
            Index::Sealed(_) => (0, 0),
        });
        if !is_full(self.log.position(), self.log.head_bytes(), rows, self.engine.limits.segment_bytes) {
            return;
        }
        // The writer's health has the error.
        let _ = self.rotate();
    }

    /// Begins a new segment. Unacknowledged data in the previous segment is no longer part of the log.
    ///
    /// # Errors
    /// Nothing more may be written to the previous segment: its end is in the head of the next one, which may be on disk.
    pub(super) fn rotate(&mut self) -> Result<()> {
        let rotated = self.begin_next();
        if let Err(error) = rotated.as_ref().map_err(JournalError::clone_for_caller)
            && !self.health.is_broken()
        {
            tracing::error!(%error, "the journal rejects writes until it can start a new segment");
            self.health.break_off(Instant::now(), &error);
        }
        rotated
    }

    fn begin_next(&mut self) -> Result<()> {
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
            self.engine.layout.remove(segment.name).map_err(|error| from_io(segment.path().display(), error))?;
            dropped += 1;
        }
        Ok(dropped)
    }

    /// Replaces segments by a rewritten one, and deletes them.
    ///
    /// # Errors
    /// If the segments still count, the rewritten one is deleted. It is complete: the next start would take it for a part
    /// of the log, although they may have been rewritten differently since.
    pub(super) fn replace_segments(&mut self, rewritten: Rewritten) -> Result<()> {
        let name = rewritten.segment.name;
        let replaced = self.can_write().and_then(|()| self.replace(rewritten));
        if replaced.is_err() && !self.engine.segments.has(name) {
            self.engine.layout.remove(name).map_err(|error| from_io(name, error))?;
        }
        replaced
    }

    fn replace(&mut self, rewritten: Rewritten) -> Result<()> {
        let Rewritten { segment, replaced } = rewritten;
        let live = live(&self.engine, &segment).map_err(|error| from_io(segment.path().display(), error))?;
        for live in live {
            segment.add_live(live.own.events + live.former.events, live.own.bytes + live.former.bytes);
            // Events to be removed from the old segments are now in the new one.
            if let Some(endpoint) = self.engine.endpoint_numbered(live.endpoint) {
                endpoint.next_epoch();
            }
        }
        self.engine.segments.replace(&replaced, segment);
        for old in replaced {
            self.engine.layout.remove(old.name).map_err(|error| from_io(old.path().display(), error))?;
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
    use crate::{
        Journal,
        embedded::{
            small_journal::{arrival, block_rotation, object, open},
            task::Task,
        },
    };

    /// The head of the new segment says where the one before ends. If it is on disk although the rotation failed, the next
    /// start cuts off what was written behind that end.
    #[tokio::test]
    async fn nothing_is_written_after_a_failed_rotation() {
        let directory = tempfile::tempdir().unwrap();
        let journal = open(directory.path());
        journal.append(vec![arrival("in", "before")]).await.unwrap();
        let obstacle = block_rotation(&journal);
        journal.engine.ask(Task::Rotate).await.unwrap_err();
        journal.append(vec![arrival("in", "meanwhile")]).await.unwrap_err();
        std::fs::remove_dir(obstacle).unwrap();
        while journal.append(vec![arrival("in", "after")]).await.is_err() {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        drop(journal);
        let journal = open(directory.path());
        for (id, kept) in [("before", true), ("meanwhile", false), ("after", true)] {
            assert_eq!(journal.event(&object("in"), id).await.unwrap().is_some(), kept, "{id}");
        }
    }

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
