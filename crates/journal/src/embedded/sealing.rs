//! Sealing: the index and the ids of a full segment become files. Whoever waits for the writer does it meanwhile, because
//! the writer may itself wait for segments to be sealed.

use std::{io, sync::Arc, time::Duration};

use tokio::sync::oneshot;

use super::{
    Engine,
    error::from_io,
    ids::{ActiveIds, Run, RunName},
    segments::Segment,
    task::{Answer, Task},
};
use crate::{JournalError, Result, limits::ID_FILTER_BYTES};

/// Sends a task to the writer and waits for its result. The writer may itself wait for segments to be sealed.
pub(super) fn ask<T>(engine: &Engine, task: impl FnOnce(Answer<T>) -> Task) -> Result<T> {
    let (answer, mut answered) = oneshot::channel();
    engine.inbox.keeper_task(task(answer))?;
    loop {
        match answered.try_recv() {
            Ok(outcome) => return outcome,
            Err(oneshot::error::TryRecvError::Closed) => return Err(JournalError::Closed),
            Err(oneshot::error::TryRecvError::Empty) => {}
        }
        seal_waiting(engine).map_err(|error| from_io("the index", error))?;
        let mut state = engine.keeper.state.lock();
        engine.keeper.arrived.wait_for(&mut state, Duration::from_millis(2));
    }
}

/// Seals segments that have become full in the meantime: the writer must not wait for long work.
pub(super) fn seal_waiting(engine: &Engine) -> io::Result<()> {
    loop {
        let Some(segment) = engine.keeper.state.lock().seals.pop_front() else { return Ok(()) };
        if let Err(error) = seal(engine, &segment) {
            engine.keeper.state.lock().seals.push_front(segment);
            return Err(error);
        }
        engine.keeper.done.notify_all();
    }
}

/// Writes the index and the ids of a full segment to files.
pub(super) fn seal(engine: &Engine, segment: &Arc<Segment>) -> io::Result<()> {
    let full = engine.ids.read().sealing.iter().find(|(id, _)| *id == segment.name.id).cloned();
    if let Some((id, full)) = full {
        let run = if full.is_empty() { None } else { Some(write_ids(engine, segment, &full)?) };
        let mut ids = engine.ids.write();
        ids.sealing.retain(|(other, _)| *other != id);
        ids.runs.extend(run);
    }
    if engine.segments.all().iter().any(|other| other.name == segment.name) {
        segment.seal(&engine.layout)?;
        // The head of the next segment has its own copy.
        let _ = std::fs::remove_file(engine.layout.copy_file(segment.name));
    }
    Ok(())
}

/// Writes the ids of one segment to a run.
pub(super) fn write_ids(engine: &Engine, segment: &Segment, ids: &ActiveIds) -> io::Result<Arc<Run>> {
    let name = RunName { first: segment.name.id, last: segment.last };
    let sorted = ids.sorted();
    let (most, keep_until) = (sorted.len() as u64, ids.keep_until());
    let run =
        Run::write(&engine.layout.index(), engine.layout.salt, name, sorted.into_iter().map(Ok), most, keep_until)?;
    load(run, filter_bytes(engine))
}

/// Returns the size of all filters in bytes.
pub(super) fn filter_bytes(engine: &Engine) -> u64 {
    engine.ids.read().runs.iter().map(|run| run.filter_bytes()).sum()
}

/// Loads the filter of a run, if memory allows it in addition to `others` bytes of other filters.
pub(super) fn load(mut run: Run, others: u64) -> io::Result<Arc<Run>> {
    if others + run.filter_bytes() <= ID_FILTER_BYTES {
        run.load_filter()?;
    }
    Ok(Arc::new(run))
}
