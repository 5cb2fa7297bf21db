//! Delays the deletion of subscriptions with `spec.deletionPolicy: Drain`, by a finalizer, until their events are
//! settled.
//!
//! The finalizer is added while the object is not being deleted. It is removed when the policy is no longer `Drain`, or
//! when the object is being deleted and its events are settled: delivered, skipped or dead-lettered. Until then the
//! object is compiled and delivered like any other, and still takes new events; those received after the deletion do
//! not delay it.
//!
//! The finalizer belongs to this operator (`finalizer` says which that is). When an object gets another class, this
//! operator removes its finalizer once its journal has no unsettled events of the object.
//!
//! An object that does not compile and has no earlier version in use, such as one whose endpoint or Secret was deleted
//! with its namespace, delivers nothing. After [`limits::DRAIN_UNUSABLE_FOR`] in that state, which leaves time to replace
//! a Secret, its finalizer is removed, and its events are abandoned as with the policy `Drop`. An object that waits for
//! the API server to return a reference is not in that state.
//!
//! Only the leader writes. Failed writes follow the rules of statuses (`schedule`).

mod finalizer;
mod settled;

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::{Duration, Instant},
};

use grapnel_api::{Incarnation, ObjectKey};
use grapnel_journal::{Journal, Progress};
use jiff::Timestamp;
use kube::Client;
use tokio::{sync::watch, time};
use tokio_util::sync::CancellationToken;

pub use self::finalizer::{finalizer_of, is_held_by, serving_class};
use self::settled::is_drained;
use super::{
    api_access::{ApiAccess, Need},
    lease::Leadership,
    observed_state::{Finalizer, FinalizerList, ObservedState, Unfinished},
    schedule::Schedule,
    tally::Tally,
    write::{self, WriteError},
    write_budget::WriteBudget,
};
use crate::{
    catalog::{Class, Facts, ObjectKind, ObjectView, ObjectViews},
    controller::limits,
};

/// Manages the finalizers.
pub struct Drain {
    /// Must not retry by itself.
    pub client: Client,
    /// The class of this operator.
    pub class: Class,
    /// Every object as programmed: its consumer is attached.
    pub objects: watch::Receiver<ObjectViews>,
    /// The objects as the API server last showed them.
    pub sightings: ObservedState,
    /// The journal, which knows what is settled.
    pub journal: Arc<dyn Journal>,
    /// Whether this replica may write.
    pub leadership: Leadership,
    /// Reports refused writes.
    pub access: ApiAccess,
    /// The budget of writes that are not urgent. Finalizers are.
    pub budget: WriteBudget,
}

/// State kept between passes.
struct Memory {
    /// Decides when each finalizer is written. Its lanes are namespaces.
    schedule: Schedule<ObjectKey, Arc<str>>,
    /// The writes that are needed.
    tasks: HashMap<ObjectKey, Task>,
    /// Drains in progress, with the time since which the object can deliver nothing.
    draining: HashMap<Incarnation, Option<Instant>>,
    failures: Tally,
}

/// A finalizer to add or to remove.
struct Task {
    subscription: Incarnation,
    /// The finalizers that it has.
    finalizers: Arc<FinalizerList>,
    /// Why it is removed; `None` adds it.
    end: Option<End>,
    /// Whether the object is being deleted.
    is_deleted: bool,
}

/// Why a drain ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// Every event is settled.
    Settled,
    /// Nothing can be delivered.
    Unusable,
    /// The policy is no longer `Drain`.
    Unwanted,
}

impl End {
    fn as_str(self) -> &'static str {
        match self {
            Self::Settled => "its events are settled",
            Self::Unusable => "nothing can be delivered: the object's conditions say why",
            Self::Unwanted => "spec.deletionPolicy is no longer Drain",
        }
    }
}

impl Drain {
    /// Adds and removes finalizers until `shutdown`.
    pub async fn run(self, shutdown: CancellationToken) {
        let mut memory = self.memory();
        let mut ticks = time::interval(limits::STATUS_PASS);
        ticks.set_missed_tick_behavior(time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                _ = ticks.tick() => {}
            }
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = self.pass(&mut memory) => {}
            }
        }
    }

    fn memory(&self) -> Memory {
        // Finalizers have no counters, so there is no interval.
        let schedule = Schedule::new(Duration::ZERO, self.budget.clone(), |key: &ObjectKey| Arc::clone(&key.namespace));
        Memory { schedule, tasks: HashMap::new(), draining: HashMap::new(), failures: Tally::default() }
    }

    /// Handles every subscription that needs it.
    async fn pass(&self, memory: &mut Memory) {
        if !self.leadership.held() {
            if !memory.tasks.is_empty() {
                *memory = self.memory();
                self.access.forget(&need());
            }
            return;
        }
        self.look(memory).await;
        while let Some((key, _)) = memory.schedule.next(Instant::now()) {
            let Some(task) = memory.tasks.remove(&key) else {
                memory.schedule.unchanged(&key, Instant::now());
                continue;
            };
            if !self.leadership.held() {
                return;
            }
            // Read before the object, and with it the consumer, is gone.
            let progress = self.journal.progress(&task.subscription).unwrap_or_default();
            memory.schedule.began(&key, Instant::now());
            let result = self.write(&task).await;
            self.settle(memory, task, result, progress);
        }
        if let Some((failures, last)) = memory.failures.line(Instant::now()) {
            tracing::warn!(failures, last, "finalizers were not written; retrying");
        }
    }

    /// Finds the finalizers to write, and schedules them.
    async fn look(&self, memory: &mut Memory) {
        let unfinished = self.sightings.unfinished();
        if !memory.draining.is_empty() {
            let alive: HashSet<_> = unfinished.iter().map(|Unfinished { key, uid, .. }| (key, uid)).collect();
            memory.draining.retain(|subscription, _| alive.contains(&(&subscription.key, &subscription.uid)));
        }
        let mut tasks = HashMap::new();
        for Unfinished { key, uid, finalizer, finalizers } in unfinished {
            let subscription = Incarnation::new(key, uid);
            let end = match finalizer {
                Finalizer { held: false, .. } => None,
                Finalizer { wanted: true, is_elsewhere: true, .. } => match self.has_unsettled(&subscription) {
                    true => continue,
                    false => Some(End::Settled),
                },
                Finalizer { wanted: true, is_elsewhere: false, deleted: Some(deleted), .. } => {
                    match self.end(&subscription, deleted, &mut memory.draining).await {
                        None => continue,
                        end => end,
                    }
                }
                Finalizer { .. } => Some(End::Unwanted),
            };
            let is_deleted = finalizer.deleted.is_some();
            tasks.insert(subscription.key.clone(), Task { subscription, finalizers, end, is_deleted });
        }
        let gone = memory.tasks.keys().filter(|key| !tasks.contains_key(*key));
        gone.for_each(|key| memory.schedule.remove(key));
        let now = Instant::now();
        for key in tasks.keys() {
            memory.schedule.add(key);
            memory.schedule.conditions_changed(key, now);
        }
        memory.tasks = tasks;
    }

    /// Whether the journal has events of a subscription that are not settled.
    fn has_unsettled(&self, subscription: &Incarnation) -> bool {
        // Of a journal that several replicas share, nothing may be known yet.
        let Some(progress) = self.journal.progress(subscription) else { return self.journal.is_shared() };
        progress.pending + progress.in_flight + progress.retrying > 0
    }

    /// Adds the finalizer to the object, or removes it.
    async fn write(&self, task: &Task) -> Result<(), WriteError> {
        let request = finalizer::request(&self.class, &task.subscription, &task.finalizers, task.end.is_none());
        let request = request.map_err(kube::Error::BuildRequest)?;
        write::send(&self.client, request, self.leadership.write_timeout()).await.map(drop)
    }

    /// Records the result of a write.
    fn settle(&self, memory: &mut Memory, task: Task, result: Result<(), WriteError>, progress: Progress) {
        let Task { subscription, finalizers, end, is_deleted } = task;
        let (key, now) = (&subscription.key, Instant::now());
        match result {
            Ok(()) | Err(WriteError::Gone) => {
                memory.schedule.written(key, now);
                if !memory.schedule.lacks_right(|_| true) {
                    self.access.recovered(&need());
                }
                // If the object needs another write, it is added again.
                memory.schedule.remove(key);
                if result.is_ok() {
                    let hold = end.is_none();
                    tracing::info!(namespace = %key.namespace, subscription = %key.name, hold, "finalizer written");
                }
                if let Some(end) = end.filter(|_| is_deleted) {
                    memory.draining.remove(&subscription);
                    if let Some(view) = self.view(&subscription) {
                        mark(&view, false);
                    }
                    log_end(key, end, progress);
                }
            }
            // The object has changed: the next pass has its new version.
            Err(WriteError::Refused { code: 409, .. }) => memory.schedule.remove(key),
            Err(error) => {
                if memory.schedule.failed(key, now, error.refusal(), write::random()) {
                    self.access.failed(need(), &error);
                }
                memory.failures.failed(now, format!("{key}: {error}"));
                memory.tasks.insert(key.clone(), Task { subscription, finalizers, end, is_deleted });
            }
        }
    }

    /// Why the drain of a subscription that is being deleted ends now, if it does.
    async fn end(
        &self,
        subscription: &Incarnation,
        deleted: Timestamp,
        draining: &mut HashMap<Incarnation, Option<Instant>>,
    ) -> Option<End> {
        let view = self.view(subscription)?;
        if is_drained(&*self.journal, subscription, deleted).await {
            return Some(End::Settled);
        }
        let unusable_since = draining.entry(subscription.clone()).or_insert_with(|| {
            log_begin(&subscription.key, self.journal.progress(subscription).unwrap_or_default());
            None
        });
        mark(&view, true);
        if !view.unusable {
            *unusable_since = None;
            return None;
        }
        let since = unusable_since.get_or_insert_with(Instant::now);
        (since.elapsed() >= limits::DRAIN_UNUSABLE_FOR).then_some(End::Unusable)
    }

    /// The subscription as programmed: its consumer is attached.
    fn view(&self, subscription: &Incarnation) -> Option<Arc<ObjectView>> {
        let objects = self.objects.borrow();
        objects
            .iter()
            .find(|view| view.kind == ObjectKind::Subscription && view.incarnation() == *subscription)
            .cloned()
    }
}

/// The right that writing finalizers takes.
fn need() -> Need {
    Need::new("patch", "webhooksubscriptions").without_it("deletionPolicy Drain does not work")
}

/// Records for the status whether the subscription drains.
fn mark(view: &ObjectView, draining: bool) {
    if let Facts::Subscription(facts) = &view.facts {
        facts.draining(draining);
    }
}

fn log_begin(key: &ObjectKey, Progress { pending, in_flight, retrying, .. }: Progress) {
    tracing::info!(
        namespace = %key.namespace,
        subscription = %key.name,
        left = pending + in_flight + retrying,
        "draining: the subscription is deleted when its events are settled"
    );
}

fn log_end(key: &ObjectKey, end: End, Progress { pending, in_flight, retrying, dead, .. }: Progress) {
    tracing::info!(
        namespace = %key.namespace,
        subscription = %key.name,
        reason = end.as_str(),
        left = pending + in_flight + retrying,
        dead_letters = dead,
        "the drain has ended: the subscription is deleted, and its dead letters with it"
    );
}
