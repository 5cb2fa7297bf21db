//! The writer's inbox: two bounded queues with one wake-up.
//!
//! Appends and all other tasks have separate queues, each with its own bound: however many appends wait, a settlement
//! waits only for the current round and its own.

use std::{sync::Arc, time::Duration};

use parking_lot::{Condvar, Mutex};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{incoming::Append, task::Task};
use crate::{
    JournalError, Result,
    limits::{APPEND_QUEUE_BYTES, JOURNAL_TASK_QUEUE},
};

/// Bytes of the append queue per permit.
const PERMIT_BYTES: usize = 256;
const APPEND_PERMITS: usize = APPEND_QUEUE_BYTES / PERMIT_BYTES;

/// The writer's inbox.
pub(super) struct Inbox {
    waiting: Mutex<Waiting>,
    arrived: Condvar,
    append_room: Arc<Semaphore>,
    task_room: Arc<Semaphore>,
}

#[derive(Default)]
struct Waiting {
    appends: Vec<(Append, OwnedSemaphorePermit)>,
    tasks: Vec<(Task, Option<OwnedSemaphorePermit>)>,
    asleep: bool,
    closed: bool,
}

/// What the writer takes at once. Permits are released once the round is answered.
#[derive(Default)]
pub(super) struct Round {
    pub(super) appends: Vec<(Append, OwnedSemaphorePermit)>,
    /// The permits of appends that were moved out.
    pub(super) permits: Vec<OwnedSemaphorePermit>,
    pub(super) tasks: Vec<(Task, Option<OwnedSemaphorePermit>)>,
    /// No round follows this one.
    pub(super) last: bool,
}

impl Inbox {
    pub(super) fn new() -> Self {
        Self {
            waiting: Mutex::default(),
            arrived: Condvar::new(),
            append_room: Arc::new(Semaphore::new(APPEND_PERMITS)),
            task_room: Arc::new(Semaphore::new(JOURNAL_TASK_QUEUE)),
        }
    }

    /// Queues an append of that many bytes; waits while the queue is full.
    pub(super) async fn append(&self, append: Append, bytes: usize) -> Result<()> {
        let permits = (bytes / PERMIT_BYTES + 1).min(APPEND_PERMITS);
        let permits = u32::try_from(permits).unwrap_or(u32::MAX);
        let permit = self.append_room.clone().acquire_many_owned(permits).await.map_err(|_| JournalError::Closed)?;
        self.push(|waiting| waiting.appends.push((append, permit)))
    }

    /// Queues any other task; waits while the queue is full.
    pub(super) async fn task(&self, task: Task) -> Result<()> {
        let permit = self.room().await?;
        self.task_with(task, permit)
    }

    /// Queues a task of the keeper. The keeper waits for each task before the next, so these tasks need no bound.
    pub(super) fn keeper_task(&self, task: Task) -> Result<()> {
        self.push(|waiting| waiting.tasks.push((task, None)))
    }

    /// Waits for room for a task.
    pub(super) async fn room(&self) -> Result<OwnedSemaphorePermit> {
        self.task_room.clone().acquire_owned().await.map_err(|_| JournalError::Closed)
    }

    /// Queues a task with a permit obtained before.
    pub(super) fn task_with(&self, task: Task, permit: OwnedSemaphorePermit) -> Result<()> {
        self.push(|waiting| waiting.tasks.push((task, Some(permit))))
    }

    /// Queues a task without waiting for its result, or drops it if the queue is full: it will be offered again.
    pub(super) fn offer(&self, task: Task) {
        if let Ok(permit) = self.task_room.clone().try_acquire_owned() {
            let _ = self.push(|waiting| waiting.tasks.push((task, Some(permit))));
        }
    }

    fn push(&self, push: impl FnOnce(&mut Waiting)) -> Result<()> {
        let mut waiting = self.waiting.lock();
        if waiting.closed {
            return Err(JournalError::Closed);
        }
        push(&mut waiting);
        if std::mem::take(&mut waiting.asleep) {
            self.arrived.notify_one();
        }
        Ok(())
    }

    /// Moves everything queued into `round`, which must be empty; sleeps while the queues are empty, at most for
    /// `patience`.
    pub(super) fn take(&self, round: &mut Round, patience: Option<Duration>) {
        let mut waiting = self.waiting.lock();
        while waiting.appends.is_empty() && waiting.tasks.is_empty() && !waiting.closed {
            waiting.asleep = true;
            match patience {
                None => self.arrived.wait(&mut waiting),
                Some(patience) => {
                    if self.arrived.wait_for(&mut waiting, patience).timed_out() {
                        break;
                    }
                }
            }
        }
        waiting.asleep = false;
        std::mem::swap(&mut waiting.appends, &mut round.appends);
        std::mem::swap(&mut waiting.tasks, &mut round.tasks);
        round.last = waiting.closed;
    }

    /// Returns the bytes of queued appends, rounded up, and the number of other queued tasks.
    pub(super) fn waiting(&self) -> (u64, u64) {
        let appends = APPEND_PERMITS.saturating_sub(self.append_room.available_permits()) * PERMIT_BYTES;
        let tasks = JOURNAL_TASK_QUEUE.saturating_sub(self.task_room.available_permits());
        (appends as u64, tasks as u64)
    }

    /// Closes the inbox to new tasks. Queued tasks are still done.
    pub(super) fn close(&self) {
        self.append_room.close();
        self.task_room.close();
        self.waiting.lock().closed = true;
        self.arrived.notify_one();
    }
}
