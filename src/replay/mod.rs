//! Replays: makes subscriptions deliver events again, as `WebhookReplay` objects ask for.
//!
//! A replay goes through the events that it selects in bounded steps. Each step asks the journal which events come next
//! (a dry run of a redelivery), evaluates the filter for them, and remembers the matching ones; they are then queued, as
//! fast as the rate allows. From then on they are ordinary deliveries. At most
//! [`REPLAY_WAITING`](crate::catalog::limits::REPLAY_WAITING) events of a replay wait at a time; what becomes of them is
//! read from the journal's list of deliveries, whenever the counts of the subscription have changed. The replay is
//! complete when every selected event has been examined and every queued one is settled.
//!
//! The progress is a value ([`ReplayReading`](crate::catalog::ReplayReading)) that says exactly where to continue. It is
//! kept in the status of the object, or in a file ([`FileStore`]); a [`ProgressStore`] hides which. A crash loses what
//! happened since it was last kept. What was queued since then and still waits is found waiting, and left as it is; what
//! was delivered since then may be delivered again, under the same id.
//!
//! Only the process that its [`ProgressStore`] names acts, so that one replica runs a replay at a time. A replay ends when
//! its object is deleted: nothing more is queued.

mod dead_letters;
mod file_store;
pub mod limits;
mod matching;
mod outcomes;
mod store;
#[cfg(test)]
mod tests;
mod visit;

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use grapnel_api::ObjectKey;
use grapnel_journal::Journal;
use grapnel_values::clock::Clock;
use tokio::{sync::watch, time};
use tokio_util::sync::CancellationToken;

use self::visit::{Continuation, Visit};
pub use self::{
    file_store::{FileStore, FileStoreError},
    store::ProgressStore,
};
use crate::catalog::{Facts, ObjectViews, ReplayFacts, Snapshot};

/// Runs all replays.
pub struct Replayer {
    /// The live configuration.
    pub snapshot: watch::Receiver<Arc<Snapshot>>,
    /// Every object as programmed.
    pub objects: watch::Receiver<ObjectViews>,
    /// The events and their deliveries.
    pub journal: Arc<dyn Journal>,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// Where the progress is kept.
    pub store: Arc<dyn ProgressStore>,
}

/// State kept while this process runs replays.
#[derive(Default)]
struct State {
    /// The replays whose earlier progress is known.
    recalled: HashMap<ObjectKey, Arc<ReplayFacts>>,
    visits: HashMap<ObjectKey, Visit>,
    /// Whether there is progress that is not kept yet, and when it was kept last.
    unkept: bool,
    kept: Option<Instant>,
}

impl Replayer {
    /// Runs replays until `shutdown`.
    pub async fn run(mut self, shutdown: CancellationToken) {
        let mut state = State::default();
        loop {
            // Not interrupted, so that what was queued is recorded.
            let pause = self.pass(&mut state, &shutdown).await;
            tokio::select! {
                () = shutdown.cancelled() => break,
                changed = self.snapshot.changed() => if changed.is_err() { break },
                () = time::sleep(pause) => {}
            }
        }
        if state.unkept {
            self.store.keep(&self.views()).await;
        }
    }

    /// Continues every replay. Returns how long to wait before the next time.
    async fn pass(&mut self, state: &mut State, shutdown: &CancellationToken) -> Duration {
        if !self.store.may_act() {
            // Another process acts, and what it has done counts.
            *state = State::default();
            return limits::REPLAY_LOOK;
        }
        let snapshot = Arc::clone(&self.snapshot.borrow_and_update());
        if !snapshot.synced() {
            return limits::REPLAY_LOOK;
        }
        self.recall(state);
        let mut visits = std::mem::take(&mut state.visits);
        let mut pause = limits::REPLAY_LOOK;
        for replay in snapshot.replays() {
            let is_recalled = state.recalled.get(&replay.key).is_some_and(|facts| Arc::ptr_eq(facts, &replay.facts));
            if !is_recalled {
                // The views are about to follow.
                pause = limits::REPLAY_TICK;
                continue;
            }
            let visit =
                visits.remove(&replay.key).filter(|visit| visit.is_of(replay)).unwrap_or_else(|| Visit::new(replay));
            let visit = state.visits.entry(replay.key.clone()).or_insert(visit);
            let before = replay.facts.read();
            if before.ended.is_some() {
                continue;
            }
            let mut reading = before.clone();
            let next = visit.advance(replay, &snapshot, &*self.journal, self.clock.now(), &mut reading).await;
            pause = pause.min(match next {
                Continuation::AtOnce => Duration::ZERO,
                Continuation::Soon => limits::REPLAY_TICK,
                Continuation::Later => limits::REPLAY_LOOK,
            });
            if reading != before {
                state.unkept = true;
                if reading.ended.is_some() {
                    state.kept = None;
                }
                replay.facts.set(reading);
            }
            if shutdown.is_cancelled() || !self.store.may_act() {
                return Duration::ZERO;
            }
        }
        self.keep(state).await;
        pause
    }

    /// Reads the earlier progress of replays that are new here.
    fn recall(&self, state: &mut State) {
        let mut recalled = std::mem::take(&mut state.recalled);
        for view in self.views().iter() {
            let Facts::Replay(facts) = &view.facts else { continue };
            let known = recalled.remove(&view.key).filter(|known| Arc::ptr_eq(known, facts));
            if known.is_none()
                && let Some(earlier) = self.store.recall(view)
            {
                facts.resume(earlier);
            }
            state.recalled.insert(view.key.clone(), Arc::clone(facts));
        }
        // One that is gone is forgotten.
        state.unkept |= !recalled.is_empty();
    }

    /// Keeps the progress, if there is any and it is time.
    async fn keep(&self, state: &mut State) {
        let is_early = state.kept.is_some_and(|kept| kept.elapsed() < limits::REPLAY_RECORD);
        if state.unkept && !is_early && self.store.keep(&self.views()).await {
            (state.unkept, state.kept) = (false, Some(Instant::now()));
        }
    }

    fn views(&self) -> ObjectViews {
        Arc::clone(&self.objects.borrow())
    }
}
