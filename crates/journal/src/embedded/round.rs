//! The writer: the one thread that writes the log.
//!
//! A round takes everything that waits, turns it into records, writes them with one call, and syncs once if anything in
//! it has to be durable; meanwhile, the next round gathers. There is no timer: a lone append pays for its own sync;
//! under load, hundreds share one.
//!
//! A single writer also simplifies the rest: no two appends can look up the same id concurrently, sequences are
//! assigned in commit order, and memory changes only after the write succeeded.

use std::{sync::Arc, time::Instant};

use super::{inbox::Round, recovery::CrashOnly, writer::Writer};

impl Writer {
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
                    for (append, permit) in round.appends.drain(..) {
                        round.permits.push(permit);
                        self.stage_append(append);
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
        round.permits.clear();
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
}
