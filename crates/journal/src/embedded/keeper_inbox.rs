//! The keeper's inbox: what waits for it.

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::{Condvar, Mutex};

use super::{ids::RunName, segments::Segment};
use crate::{limits::SEAL_PATIENCE, machine::Micros};

/// A task of the keeper.
pub(super) enum Work {
    /// A segment is full: write its index and its ids to files.
    Seal(Arc<Segment>),
    /// Delete and merge what is worth it.
    Tidy,
    /// Rewrite whatever frees space, because the journal is full.
    Compact,
    /// A file of ids is damaged.
    RebuildIds(RunName),
}

/// The tasks that wait for the keeper.
#[derive(Default)]
pub(super) struct KeeperInbox {
    pub(super) state: Mutex<Waiting>,
    pub(super) arrived: Condvar,
    pub(super) done: Condvar,
}

/// What waits.
#[derive(Default)]
pub(super) struct Waiting {
    pub(super) seals: VecDeque<Arc<Segment>>,
    pub(super) tidy: bool,
    pub(super) compact: bool,
    pub(super) rebuilds: Vec<RunName>,
    pub(super) now: Micros,
    pub(super) closed: bool,
}

impl KeeperInbox {
    pub(super) fn send(&self, work: Work) {
        let mut state = self.state.lock();
        match work {
            Work::Seal(segment) => state.seals.push_back(segment),
            Work::Tidy => state.tidy = true,
            Work::Compact => state.compact = true,
            Work::RebuildIds(name) if !state.rebuilds.contains(&name) => state.rebuilds.push(name),
            Work::RebuildIds(_) => {}
        }
        self.arrived.notify_one();
    }

    /// Sets the current time, by which ids expire.
    pub(super) fn set_time(&self, now: Micros) {
        self.state.lock().now = now;
    }

    /// Prevents new work from starting.
    pub(super) fn close(&self) {
        self.state.lock().closed = true;
        self.arrived.notify_one();
        self.done.notify_all();
    }

    /// Waits until the keeper has caught up, for a bounded time: on a failing disk it cannot.
    pub(super) fn wait_until(&self, caught_up: impl Fn() -> bool) {
        let deadline = Instant::now() + SEAL_PATIENCE;
        let mut state = self.state.lock();
        while !caught_up() && !state.closed && Instant::now() < deadline {
            self.done.wait_for(&mut state, Duration::from_millis(20));
        }
    }
}
