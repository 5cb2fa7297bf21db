//! The keeper: a thread that keeps the directory small and memory bounded, without delaying the writer.
//!
//! It turns the indexes of full segments into files, merges files of ids, deletes segments without kept events,
//! rewrites segments of which little is kept, and checks old segments for damage before they are needed. It asks the
//! writer for every change of the log.

use std::{io, sync::Arc, time::Instant};

use super::{
    Engine,
    error::from_io,
    eventless,
    ids::{self, ActiveIds, Run, RunName},
    index::Index,
    keeper_inbox::Waiting,
    rewrite,
    sealing::{ask, filter_bytes, load, seal, seal_waiting},
    segment::{Found, Scan},
    segment_name::SegmentName,
    segments::{Segment, scan},
    task::Task,
};
use crate::{
    JournalError, Result,
    limits::{COMPACT_BYTES, JOURNAL_HEAL_INTERVAL, SCRUB_BYTES, SCRUB_INTERVAL},
    machine::Micros,
};

/// The keeper's own state.
pub(super) struct Keeper {
    engine: Arc<Engine>,
    /// The position of the damage check.
    scrubbed: (SegmentName, u64),
    scrub_at: Instant,
    /// The last failure that was logged.
    said: String,
}

impl Keeper {
    pub(super) fn new(engine: Arc<Engine>) -> Self {
        Self {
            engine,
            scrubbed: (SegmentName { id: 0, generation: 0 }, 0),
            scrub_at: Instant::now() + SCRUB_INTERVAL,
            said: String::new(),
        }
    }

    /// Runs until the inbox is closed.
    pub(super) fn run(mut self) {
        let engine = Arc::clone(&self.engine);
        loop {
            let mut state = engine.keeper.state.lock();
            let idle = |state: &Waiting| {
                state.seals.is_empty() && !state.tidy && !state.compact && state.rebuilds.is_empty() && !state.closed
            };
            while idle(&state) {
                if engine.keeper.arrived.wait_until(&mut state, self.scrub_at).timed_out() {
                    break;
                }
            }
            if state.closed {
                return;
            }
            let work = Waiting {
                seals: std::mem::take(&mut state.seals),
                tidy: std::mem::take(&mut state.tidy),
                compact: std::mem::take(&mut state.compact),
                rebuilds: std::mem::take(&mut state.rebuilds),
                now: state.now,
                ..Waiting::default()
            };
            drop(state);
            match self.work(&work) {
                Ok(()) => self.said.clear(),
                Err(JournalError::Closed) => return,
                Err(error) => {
                    self.warn_throttled(&error);
                    // Unfinished work is done later.
                    let mut state = engine.keeper.state.lock();
                    state.tidy |= work.tidy;
                    engine.keeper.arrived.wait_for(&mut state, JOURNAL_HEAL_INTERVAL);
                    let left = work.seals.into_iter().filter(|segment| !segment.is_sealed());
                    let later = std::mem::take(&mut state.seals);
                    state.seals = left.chain(later).collect();
                }
            }
            engine.keeper.done.notify_all();
            if Instant::now() >= self.scrub_at {
                self.scrub_at = Instant::now() + SCRUB_INTERVAL;
                if let Err(error) = self.scrub() {
                    self.warn_throttled(&JournalError::Io(error.to_string(), None));
                }
            }
        }
    }

    fn warn_throttled(&mut self, error: &JournalError) {
        let said = error.to_string();
        if said != self.said {
            tracing::warn!(error = said, "journal maintenance failed; retrying");
            self.said = said;
        }
    }

    fn work(&mut self, work: &Waiting) -> Result<()> {
        let io = |error: io::Error| from_io("the index", error);
        for segment in &work.seals {
            seal(&self.engine, segment).map_err(io)?;
            self.engine.keeper.done.notify_all();
        }
        for name in &work.rebuilds {
            rebuild_ids(&self.engine, *name).map_err(io)?;
        }
        merge_ids(&self.engine).map_err(io)?;
        if work.tidy || work.compact {
            eventless::reduce(&self.engine)?;
            drop_ids(&self.engine, work.now).map_err(io)?;
            compact(&self.engine, work.compact)?;
        }
        Ok(())
    }

    /// Checks part of an old segment, and reports damage.
    fn scrub(&mut self) -> io::Result<()> {
        let segments = self.engine.segments.all();
        let Some((_, full)) = segments.split_last() else { return Ok(()) };
        let (name, offset) = self.scrubbed;
        let next = full.iter().find(|segment| segment.name >= name).or_else(|| full.first());
        let Some(segment) = next.filter(|segment| segment.is_sealed()) else { return Ok(()) };
        let from = if segment.name == name { offset } else { 0 };
        let reader = segment.reader()?;
        let mut found = Scan::new(&reader, from, segment.len());
        let mut read = from;
        while read < from + SCRUB_BYTES {
            match found.next()? {
                Found::Record(record) => read = record.end(),
                Found::Damage { from, to } => {
                    self.damaged(segment, from, to)?;
                    read = to;
                }
                Found::End { at, rest } => {
                    if at < segment.len() {
                        self.damaged(segment, at, at + rest.max(1))?;
                    }
                    self.scrubbed = (SegmentName { id: segment.last + 1, generation: 0 }, 0);
                    return Ok(());
                }
            }
        }
        self.scrubbed = (segment.name, read);
        Ok(())
    }

    fn damaged(&self, segment: &Arc<Segment>, from: u64, to: u64) -> io::Result<()> {
        for part in segment.index(Index::parts) {
            let Some(endpoint) = self.engine.endpoint_numbered(part.endpoint) else { continue };
            for position in segment.index(|index| index.positions(part.endpoint, part.first, part.last, usize::MAX))? {
                let inside = (from..to).contains(&u64::from(position.offset));
                if inside && !endpoint.state.lock().removed.contains(position.sequence) {
                    self.engine.report_damage(&endpoint, position.sequence, Some((segment, &position)));
                }
            }
        }
        Ok(())
    }
}

fn merge_ids(engine: &Engine) -> io::Result<()> {
    loop {
        let runs = engine.ids.read().runs.clone();
        let Some(range) = ids::next_merge(&runs) else { return Ok(()) };
        let Some(parts) = runs.get(range) else { return Ok(()) };
        let replaced: u64 = parts.iter().map(|run| run.filter_bytes()).sum();
        let others = filter_bytes(engine).saturating_sub(replaced);
        let merged = load(ids::merge(&engine.layout.index(), engine.layout.salt, parts)?, others)?;
        engine.ids.write().replace(|run| parts.iter().any(|part| part.name == run.name), merged);
        for part in parts {
            std::fs::remove_file(part.path())?;
        }
    }
}

/// Deletes files of ids whose windows have ended and whose events are removed.
fn drop_ids(engine: &Engine, now: Micros) -> io::Result<()> {
    // What is left of a segment without kept events needs no ids.
    let mut segments = engine.segments.all();
    segments.retain(|segment| segment.live_events() > 0);
    let expired = |run: &Arc<Run>| run.keep_until <= now && !segments.iter().any(|segment| run.name.touches(segment));
    let expired: Vec<_> = engine.ids.read().runs.iter().filter(|run| expired(run)).cloned().collect();
    for run in expired {
        engine.ids.write().runs.retain(|other| other.name != run.name);
        std::fs::remove_file(run.path())?;
    }
    Ok(())
}

/// Rebuilds a file of ids from the events that are still kept.
fn rebuild_ids(engine: &Engine, name: RunName) -> io::Result<()> {
    let mut found = ActiveIds::default();
    for segment in engine.segments.all() {
        if !name.touches(&segment) {
            continue;
        }
        let scanned = scan(&segment.reader()?, segment.len(), &mut |_, _| {})?;
        for (id, known) in scanned.ids.sorted() {
            found.insert(id, known, scanned.ids.keep_until());
        }
    }
    let sorted = found.sorted();
    let most = sorted.len() as u64;
    tracing::error!(file = %name, ids = most, "a file of ids was damaged and is rebuilt from the retained events");
    let (directory, salt) = (engine.layout.index(), engine.layout.salt);
    let run = Run::write(&directory, salt, name, sorted.into_iter().map(Ok), most, found.keep_until())?;
    let run = load(run, filter_bytes(engine))?;
    engine.ids.write().replace(|other| other.name == name, run);
    Ok(())
}

/// Rewrites segments of which little is kept, if that frees enough.
fn compact(engine: &Arc<Engine>, forced: bool) -> Result<()> {
    loop {
        let segments = engine.segments.all();
        let Some((active, full)) = segments.split_last() else { return Ok(()) };
        // The segment being written may hold little that is kept, with no writes to fill it.
        let garbage = active.garbage_bytes();
        if garbage >= COMPACT_BYTES && garbage > active.live_bytes() {
            ask(engine, Task::Rotate)?;
            seal_waiting(engine).map_err(|error| from_io("the index", error))?;
            eventless::reduce(engine)?;
            continue;
        }
        let garbage: u64 = full.iter().map(|segment| segment.garbage_bytes()).sum();
        let live: u64 = full.iter().map(|segment| segment.live_bytes()).sum();
        if !forced && garbage < COMPACT_BYTES.max(live / 4) {
            return Ok(());
        }
        let Some(group) = rewrite::choose(engine, full)? else { return Ok(()) };
        if let Some(rewritten) = rewrite::rewrite(engine, &group)? {
            ask(engine, |answer| Task::Replace { rewritten, answer })?;
        } else {
            return Ok(());
        }
    }
}
