//! Sealing: the index and the ids of a full segment become files. A task that waits for the writer seals meanwhile, because
//! the writer may itself wait for segments to be sealed.

use std::{io, sync::Arc, time::Duration};

use tokio::sync::oneshot;

use super::{
    Engine,
    ids::{ActiveIds, Run, RunName},
    segments::Segment,
    task::{Answer, Task},
};
use crate::{JournalError, Result, limits::ID_FILTER_BYTES};

/// Sends a task to the writer and waits for its result. The writer may itself wait for segments to be sealed. If that
/// fails, it waits for a bounded time only. This function waits all the same: a task whose sender goes on could delete
/// files that the sender works with by then.
pub(super) fn ask<T>(engine: &Engine, task: impl FnOnce(Answer<T>) -> Task) -> Result<T> {
    let (answer, mut answered) = oneshot::channel();
    engine.inbox.keeper_task(task(answer))?;
    let mut sealed = Ok(());
    loop {
        match answered.try_recv() {
            Ok(outcome) => return outcome,
            Err(oneshot::error::TryRecvError::Closed) => return Err(JournalError::Closed),
            Err(oneshot::error::TryRecvError::Empty) => {}
        }
        if sealed.is_ok() {
            // The keeper tries again later, and reports it.
            sealed = seal_waiting(engine);
        }
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
    if engine.segments.has(segment.name) {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Journal,
        embedded::{
            entry::SegmentHead,
            index::{ActiveIndex, Index},
            small_journal::{arrival, open},
        },
        machine::Micros,
    };

    /// A task of the keeper is never left behind in the inbox of the writer, although a segment cannot be sealed meanwhile.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_task_is_awaited_although_sealing_fails() {
        let directory = tempfile::tempdir().unwrap();
        let journal = open(directory.path());
        journal.append(vec![arrival("in", "a")]).await.unwrap();
        journal.engine.ask(Task::Rotate).await.unwrap();
        let engine = Arc::clone(&journal.engine);
        let asked = tokio::task::spawn_blocking(move || {
            let sealed = Arc::clone(&engine.segments.all()[0]);
            engine.keeper.wait_until(|| sealed.is_sealed());
            let head = SegmentHead { last: sealed.last, time: Micros(0), previous: 0, previous_end: 0 };
            let index = Index::Active(ActiveIndex::default());
            let unsealable = Segment::new(&engine.layout, sealed.name, head, sealed.len(), index);
            let index = engine.layout.index_file(sealed.name);
            std::fs::remove_file(&index).unwrap();
            std::fs::create_dir(&index).unwrap();
            engine.keeper.state.lock().seals.push_back(Arc::new(unsealable));
            // A rotation takes the writer far longer than the first attempt to seal takes here.
            ask(&engine, Task::Rotate)
        });
        asked.await.unwrap().unwrap();
    }
}
