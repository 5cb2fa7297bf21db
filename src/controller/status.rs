//! Writes statuses: only as the leader, only changes, by server-side apply with one field manager.
//!
//! A pass over all objects finds the conditions that have changed; `schedule` decides which object is written when,
//! `contest` what happens if another writer overwrites a status. Here is the loop that connects them, and the requests.
//! Nothing is queued: a status is computed when it is written, so no outdated one is ever written.

mod contest;
mod difference;
mod memo;
mod request;

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::{FutureExt, StreamExt, future::BoxFuture, stream, stream::FuturesUnordered};
use grapnel_api::ObjectKey;
use grapnel_journal::Journal;
use grapnel_values::clock::Clock;
use kube::Client;
use serde_json::Value;
use tokio::{sync::watch, time};
use tokio_util::sync::CancellationToken;

use self::{
    contest::Contest,
    memo::{Material, Memo},
    request::StatusPatch,
};
use super::{
    api_access::{ApiAccess, Need},
    events::{self, Announcer},
    lease::Leadership,
    observed_state::ObservedState,
    schedule::{Due, Schedule},
    tally::Tally,
    write::{self, WriteError},
    write_budget::WriteBudget,
};
use crate::{
    catalog::{
        EndpointReading, Facts, JournalReading, ObjectKind, ObjectView, ObjectViews, ReplayReading, SubscriptionReading,
    },
    controller::limits,
    telemetry::metrics::Metrics,
};

/// The field manager of every status, as in `metadata.managedFields`.
pub const FIELD_MANAGER: &str = "grapnel";

/// Writes the statuses of all objects.
pub struct StatusWriter {
    /// Must not retry by itself.
    pub client: Client,
    /// Every object as programmed.
    pub objects: watch::Receiver<ObjectViews>,
    /// The objects as the API server last showed them.
    pub sightings: ObservedState,
    /// The journal, for the counts of deliveries.
    pub journal: Arc<dyn Journal>,
    /// Whether this replica may write.
    pub leadership: Leadership,
    /// Publishes Kubernetes Events about changes.
    pub announcer: Announcer,
    /// Reports refused writes.
    pub access: ApiAccess,
    /// Minimum time between two writes of an object's counters.
    pub interval: Duration,
    /// The budget of counters.
    pub budget: WriteBudget,
    /// The clock, for transition times.
    pub clock: Arc<dyn Clock>,
    /// Counts writes.
    pub metrics: Metrics,
}

/// The name of an object in the schedule.
type Object = (ObjectKind, ObjectKey);

/// The objects that a Role concerns together.
type Lane = (ObjectKind, Arc<str>);

/// A write in flight, with the version of the object that it made.
type Flight = BoxFuture<'static, (Write, Result<Option<String>, WriteError>)>;

/// A write that is due.
struct Write {
    patch: StatusPatch,
    made_of: Material,
    /// The last known status on the API server.
    before: Option<Value>,
}

/// What the writer keeps while it leads.
struct State {
    schedule: Schedule<Object, Lane>,
    memos: HashMap<Object, Memo>,
    views: ObjectViews,
    /// Where each object is in `views`.
    places: HashMap<Object, usize>,
    flights: FuturesUnordered<Flight>,
    /// Other writers that were reported.
    rivals: HashSet<Arc<str>>,
    failures: Tally,
}

impl StatusWriter {
    /// Writes until `shutdown`, and then a last time, so that counters are right after a restart.
    pub async fn run(mut self, shutdown: CancellationToken) {
        let mut state = self.state();
        let mut leading = false;
        let mut ticks = time::interval(limits::STATUS_PASS);
        ticks.set_missed_tick_behavior(time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = shutdown.cancelled() => break,
                Some((write, result)) = state.flights.next() => self.settle(&mut state, write, result),
                _ = ticks.tick() => self.look(&mut state),
                () = self.leadership.changed() => {}
                changed = self.objects.changed() => if changed.is_err() { break } else { self.look(&mut state) },
                () = sleep_until(state.schedule.wake()), if leading => {}
            }
            let held = self.leadership.held();
            if held && !leading {
                // Another replica may have written since, so the state of the API server counts.
                state = self.state();
                self.resume();
                self.look(&mut state);
            }
            if leading && !held {
                self.retire();
            }
            leading = held;
            if held {
                self.begin(&mut state);
            }
        }
        if self.leadership.held() && time::timeout(limits::SHUTDOWN_STATUS, self.finish(&mut state)).await.is_err() {
            tracing::warn!("not every status could be written before the end");
        }
    }

    fn state(&self) -> State {
        State {
            schedule: Schedule::new(self.interval, self.budget.clone(), |(kind, key)| {
                (*kind, Arc::clone(&key.namespace))
            }),
            memos: HashMap::new(),
            views: Arc::default(),
            places: HashMap::new(),
            flights: FuturesUnordered::new(),
            rivals: HashSet::new(),
            failures: Tally::default(),
        }
    }

    /// Takes over the counters of the previous writer where they are ahead.
    fn resume(&self) {
        for view in self.objects.borrow().iter() {
            let Some(status) = self.sightings.get(view.kind, &view.key).and_then(|sighting| sighting.status) else {
                continue;
            };
            match &view.facts {
                Facts::Endpoint(facts) => {
                    if let Ok(status) = serde_json::from_str(&status) {
                        facts.resume(EndpointReading::of(&status));
                    }
                }
                Facts::Subscription(facts) => {
                    if let Ok(status) = serde_json::from_str(&status) {
                        facts.resume(SubscriptionReading::of(&status));
                    }
                }
                Facts::Replay(facts) => {
                    if let Ok(status) = serde_json::from_str(&status) {
                        facts.resume(ReplayReading::of(&status));
                    }
                }
            }
        }
    }

    /// Ends what only a leader can know: another replica writes the statuses now, or none.
    fn retire(&self) {
        for kind in ObjectKind::ALL {
            self.access.forget(&need(kind));
        }
        for view in self.objects.borrow().iter() {
            view.contested(None);
        }
    }

    /// Schedules every object whose conditions have changed.
    fn look(&mut self, state: &mut State) {
        if !self.leadership.held() {
            return;
        }
        self.follow(state);
        let now = Instant::now();
        let views = Arc::clone(&state.views);
        for view in views.iter() {
            self.compare(state, view, now);
        }
        for (object, rival) in self.sightings.take_overwritten() {
            contested(state, &object, &rival, now);
        }
        end_contests(state, now);
        if let Some((failures, last)) = state.failures.line(now) {
            tracing::warn!(failures, last, "statuses were not written; retrying");
        }
    }

    /// Adds new objects to the schedule, and removes those that are gone.
    fn follow(&mut self, state: &mut State) {
        let views = Arc::clone(&self.objects.borrow_and_update());
        if Arc::ptr_eq(&views, &state.views) {
            return;
        }
        let now = Instant::now();
        let object = |view: &ObjectView| (view.kind, view.key.clone());
        state.places = views.iter().enumerate().map(|(place, view)| (object(view), place)).collect();
        let gone: Vec<Object> =
            state.memos.keys().filter(|object| !state.places.contains_key(object)).cloned().collect();
        for object in gone {
            state.memos.remove(&object);
            state.schedule.remove(&object);
        }
        for view in views.iter() {
            let object = object(view);
            state.schedule.add_with_counters(&object, now);
            let memo = state.memos.entry(object).or_default();
            if memo.uid != view.uid {
                *memo = Memo::of(view.uid.clone());
            }
        }
        state.views = views;
    }

    /// Schedules an object if its conditions have changed.
    fn compare(&self, state: &mut State, view: &ObjectView, now: Instant) {
        let object = (view.kind, view.key.clone());
        let Some(memo) = state.memos.get_mut(&object) else { return };
        let made_of = Material::of(view, self.is_storing(view));
        if let Some(at) = memo.changed(&made_of, now) {
            state.schedule.conditions_changed(&object, at);
        }
    }

    /// Begins every write that may begin now.
    fn begin(&mut self, state: &mut State) {
        let now = Instant::now();
        while let Some((object, due)) = state.schedule.next(now) {
            match self.write(state, &object, due) {
                Some(write) => {
                    state.schedule.began(&object, now);
                    state.flights.push(self.send(write));
                }
                None => state.schedule.unchanged(&object, now),
            }
        }
    }

    /// The write that an object needs, if any.
    fn write(&self, state: &mut State, object: &Object, due: Due) -> Option<Write> {
        let view = state.places.get(object).and_then(|place| state.views.get(*place))?;
        let memo = state.memos.get_mut(object)?;
        let made_of = Material::of(view, self.is_storing(view));
        if due == Due::Counters && memo.waits(&made_of) {
            return None;
        }
        // This also detects and repairs a status that another writer has changed.
        let sighting = self.sightings.get(view.kind, &view.key).filter(|sighting| sighting.uid == view.uid);
        let before = sighting.and_then(|sighting| sighting.status);
        let before: Option<Value> = before.as_deref().and_then(|text| serde_json::from_str(text).ok());
        let reading = JournalReading::of(&*self.journal, view);
        let mut status = view.typed_status(&reading, self.clock.now(), &events::conditions(before.as_ref()));
        status.written_by(self.sightings.writer());
        // These types can always be serialized.
        let status = serde_json::to_value(status).unwrap_or_default();
        if before.as_ref().is_some_and(|before| difference::is_same(before, &status)) {
            memo.made_of = Some(made_of);
            return None;
        }
        let (kind, key, uid) = (view.kind, view.key.clone(), view.uid.clone());
        Some(Write { patch: StatusPatch { kind, key, uid, status }, made_of, before })
    }

    /// Whether no storage share blocks the endpoint's events.
    fn is_storing(&self, view: &ObjectView) -> bool {
        view.kind != ObjectKind::Endpoint || self.journal.storage(&view.incarnation()).exhausted.is_none()
    }

    fn send(&self, write: Write) -> Flight {
        let (client, leadership) = (self.client.clone(), self.leadership.clone());
        async move {
            let result = match leadership.held() {
                true => write.patch.send(write.before.as_ref(), &client, leadership.write_timeout()).await,
                false => Err(WriteError::NotLeader),
            };
            (write, result)
        }
        .boxed()
    }

    /// Records the result of a write.
    fn settle(&self, state: &mut State, write: Write, result: Result<Option<String>, WriteError>) {
        let now = Instant::now();
        let object = (write.patch.kind, write.patch.key.clone());
        self.metrics.cluster().status_written(result.as_ref().map_or_else(WriteError::kind, |_| "ok"));
        match result {
            Ok(version) => {
                state.schedule.written(&object, now);
                let kind = write.patch.kind;
                if !state.schedule.lacks_right(|(of, _)| *of == kind) {
                    self.access.recovered(&need(kind));
                }
                let StatusPatch { kind, key, uid, status } = write.patch;
                events::changes(kind, &key, uid.as_deref(), write.before.as_ref(), &status)
                    .for_each(|event| self.announcer.announce(event));
                self.sightings.wrote(kind, &key, uid.as_deref(), status.to_string().into(), version);
                if let Some(memo) = state.memos.get_mut(&object).filter(|memo| memo.uid == uid) {
                    memo.made_of = Some(write.made_of);
                }
            }
            Err(WriteError::Gone) => {
                state.schedule.written(&object, now);
                if let Some(memo) = state.memos.get_mut(&object).filter(|memo| memo.uid == write.patch.uid) {
                    memo.made_of = Some(write.made_of);
                }
            }
            Err(WriteError::NotLeader) => state.schedule.unchanged(&object, now),
            Err(error) => {
                let is_general = state.schedule.failed(&object, now, error.refusal(), write::random());
                if is_general && self.leadership.held() {
                    self.access.failed(need(write.patch.kind), &error);
                }
                state.failures.failed(now, format!("{} {}: {error}", object.0.as_str(), object.1));
            }
        }
    }

    /// Writes every status that has changed, without a schedule, until a write fails.
    async fn finish(&mut self, state: &mut State) {
        // Interrupted writes are repeated, here or by the next leader.
        state.flights.clear();
        self.follow(state);
        let objects: Vec<Object> = state.places.keys().cloned().collect();
        let due: Vec<Write> = objects.iter().filter_map(|object| self.write(state, object, Due::Conditions)).collect();
        let mut results =
            stream::iter(due).map(|write| self.send(write)).buffer_unordered(limits::STATUS_WRITES_AT_ONCE);
        while let Some((write, result)) = results.next().await {
            let has_failed = !matches!(result, Ok(_) | Err(WriteError::Gone));
            self.settle(state, write, result);
            if has_failed {
                return;
            }
        }
    }
}

/// Records that another writer has overwritten a status.
fn contested(state: &mut State, object: &Object, rival: &Arc<str>, now: Instant) {
    let Some(memo) = state.memos.get_mut(object) else { return };
    let contest = Contest::overwritten(memo.contest.as_ref(), Arc::clone(rival), now);
    state.schedule.hold(object, contest.until());
    if let Some(rival) = contest.rival() {
        if let Some(view) = state.places.get(object).and_then(|place| state.views.get(*place)) {
            view.contested(Some(Arc::clone(rival)));
        }
        if state.rivals.insert(Arc::clone(rival)) {
            tracing::warn!(
                kind = object.0.as_str(), object = %object.1, writer = %rival,
                "another writer overwrites the statuses of this operator's objects; they are written less often. Two \
                 operators must not serve the same objects: give each its own --class or --watch-namespaces"
            );
        }
    }
    memo.contest = Some(contest);
}

/// Ends the contests in which nothing was overwritten for a while.
fn end_contests(state: &mut State, now: Instant) {
    for (object, memo) in &mut state.memos {
        if memo.contest.take_if(|contest| contest.is_over(now)).is_some() {
            if let Some(view) = state.places.get(object).and_then(|place| state.views.get(*place)) {
                view.contested(None);
            }
            state.schedule.hold(object, now);
        }
    }
    if !state.rivals.is_empty() {
        let contests = state.memos.values().filter_map(|memo| memo.contest.as_ref()?.rival().cloned());
        let remaining: HashSet<Arc<str>> = contests.collect();
        state.rivals.retain(|rival| {
            let remains = remaining.contains(rival);
            if !remains {
                tracing::info!(writer = %rival, "the other writer no longer overwrites statuses");
            }
            remains
        });
    }
}

/// The right that writing statuses of this kind takes.
fn need(kind: ObjectKind) -> Need {
    match kind {
        ObjectKind::Endpoint => Need::new("patch", "webhookendpoints/status"),
        ObjectKind::Subscription => Need::new("patch", "webhooksubscriptions/status"),
        ObjectKind::Replay => Need::new("patch", "webhookreplays/status"),
    }
}

/// Resolves at a time, if there is one.
async fn sleep_until(time: Option<Instant>) {
    match time {
        Some(time) => time::sleep_until(time.into()).await,
        None => std::future::pending().await,
    }
}
