//! The worker of one subscription.
//!
//! Claiming, sending and settling run concurrently: while some deliveries are in flight, the next are claimed, and
//! those that ended are settled together. A claimed event is in flight, about to be begun ([`limits::CLAIM_AHEAD`], or
//! [`limits::CLAIM_SCAN`] after a search), or ended and waiting to be settled ([`limits::UNSETTLED`], beyond which
//! nothing new is begun). Bodies and parsed events are bounded by [`limits::HELD_BYTES`], so memory does not grow with the
//! backlog.
//!
//! [`DeliveryAdmission`] decides when attempts begin and how many events are claimed; the worker does what it says. While
//! the circuit to the receiver is open, only its probe is claimed: an ordinary attempt of the delivery that is due first.
//! With `ordering: Ordered` each event is claimed when the one before it is settled. In both cases one event is claimed at
//! a time.

use std::{
    collections::{HashMap, VecDeque},
    future::{Future, pending},
    sync::Arc,
    time::Duration,
};

use futures_util::future::BoxFuture;
use grapnel_api::Ordering;
use grapnel_delivery::breaker::Permit;
use grapnel_journal::{JournalError, Sequence, Settlement, SkipReason, Tenure};
use jiff::Timestamp;
use tokio::{
    sync::watch,
    task::{JoinError, JoinSet},
    time::{Instant, sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{
    admission::{AdmissionSettings, AdmissionTime, AttemptDecision, DeliveryAdmission, Load},
    attempt::attempt,
    backoff::{Backoff, settle, warn_throttled},
    circuit::CircuitReport,
    claim::{ClaimRequest, FilteredClaim, claim, skip},
    claimed_delivery::ClaimedDelivery,
    conclusion::{AttemptResult, Context},
    due_time::{DueTime, next_check},
    pause_report::PauseReport,
    shadow::{ShadowScope, rehearse},
};
use crate::{catalog::Subscription, dispatch::limits};

/// A delivery in flight.
struct InFlight {
    /// The circuit's permit for the attempt.
    permit: Permit,
    /// Size of its body.
    bytes: usize,
    /// The number of the target that it goes to.
    target: u64,
}

/// Delivers the events of one subscription until its configuration's sender is dropped.
pub(super) struct Worker {
    context: Arc<Context>,
    tenure: watch::Receiver<Tenure>,
    config: watch::Receiver<Arc<Subscription>>,
    subscription: Arc<Subscription>,
    /// Claimed deliveries to be sent, in order.
    waiting: VecDeque<ClaimedDelivery>,
    /// The attempts in flight.
    sending: JoinSet<AttemptResult>,
    /// The deliveries in flight, by sequence number.
    in_flight: HashMap<Sequence, InFlight>,
    /// How many times the target has changed.
    target: u64,
    /// Ended deliveries to be settled.
    ended: Vec<(Sequence, Settlement)>,
    /// Which events are not sent.
    shadow: ShadowScope,
    /// Whether another claim may find something.
    more: bool,
    /// Whether the last claim was in order.
    in_order: bool,
    /// Whether the last claim found only events of types that are not delivered.
    scanning: bool,
    /// Decides what may begin.
    admission: DeliveryAdmission,
    circuit: CircuitReport,
    pause: PauseReport,
    /// The next retry.
    next_due: DueTime,
    /// No claim is made before this time, because the journal failed.
    claim_pause: Option<Instant>,
    claim_backoff: Backoff,
    /// Set when the worker has to end: in-flight deliveries are released at this time.
    deadline: Option<Instant>,
}

impl Worker {
    pub(super) fn new(context: Arc<Context>, mut config: watch::Receiver<Arc<Subscription>>) -> Self {
        let subscription = Arc::clone(&config.borrow_and_update());
        Self {
            tenure: context.journal.tenure(),
            context,
            config,
            admission: DeliveryAdmission::new(settings(&subscription)),
            circuit: CircuitReport::new(Arc::clone(&subscription)),
            pause: PauseReport::new(&subscription),
            shadow: ShadowScope::of(&subscription),
            subscription,
            waiting: VecDeque::new(),
            sending: JoinSet::new(),
            in_flight: HashMap::new(),
            target: 0,
            ended: Vec::new(),
            more: true,
            in_order: false,
            scanning: false,
            next_due: DueTime::default(),
            claim_pause: None,
            claim_backoff: Backoff::default(),
            deadline: None,
        }
    }

    /// Runs until there is no configuration any more, or until `lost`: the events are then another process's, which
    /// attempts again what is not settled.
    pub(super) async fn run(mut self, lost: CancellationToken) {
        let context = Arc::clone(&self.context);
        let journal = &*context.journal;
        let consumer = self.subscription.incarnation();
        let (consumer, key) = (&consumer, &consumer.key);
        // A claim is not dropped: its deliveries would stay in flight.
        let mut claiming: Option<BoxFuture<'_, Result<FilteredClaim, JournalError>>> = None;
        let mut settling: Option<BoxFuture<'_, Option<Timestamp>>> = None;
        let mut ready: Option<BoxFuture<'_, ()>> = None;
        loop {
            if lost.is_cancelled() {
                break;
            }
            // The clock is read once for all decisions before the sleep. If the pause of the circuit ended between two
            // reads, neither would begin the probe and nothing would wake the worker for it.
            let clock = self.context.clock.now();
            self.begin(clock);
            // Another process may deliver after this worker; nothing is paused here then.
            let paused = self.admission.paused_until(clock).filter(|_| self.deadline.is_none());
            self.pause.update(&self.subscription, paused);
            if settling.is_none() && !self.ended.is_empty() {
                settling = Some(Box::pin(settle(journal, consumer, std::mem::take(&mut self.ended))));
            }
            if claiming.is_none()
                && let Some(limit) = self.claim_limit(settling.is_some(), clock)
            {
                self.in_order = self.admission.settings().ordered;
                // Anything learned while the claim runs counts for the next one: this one may have read before.
                self.more = false;
                let budget = limits::HELD_BYTES.saturating_sub(self.held_bytes());
                let request = ClaimRequest { limit, in_order: self.in_order, shadow: self.shadow, budget };
                claiming = Some(Box::pin(claim(&context, Arc::clone(&self.subscription), request)));
            }
            if !self.more && !self.is_parked() && claiming.is_none() && ready.is_none() {
                ready = Some(journal.ready(consumer));
            }
            let ending = self.deadline.is_some();
            if ending && self.sending.is_empty() && self.ended.is_empty() && claiming.is_none() && settling.is_none() {
                return;
            }
            let wake = self.wake(clock);
            tokio::select! {
                () = lost.cancelled() => break,
                changed = self.config.changed(), if !ending => self.reconfigure(changed.is_ok()),
                Some(ended) = self.sending.join_next() => {
                    self.book(ended);
                    while let Some(ended) = self.sending.try_join_next() {
                        self.book(ended);
                    }
                }
                due = maybe(&mut settling) => {
                    settling = None;
                    self.expect_due(due);
                }
                claimed = maybe(&mut claiming) => {
                    claiming = None;
                    self.take(claimed);
                }
                () = maybe(&mut ready) => {
                    ready = None;
                    self.more = true;
                }
                () = self.subscription.facts.probe_requested(), if !ending => self.probe(),
                () = sleep_until(wake.unwrap_or_else(Instant::now)), if wake.is_some() => {
                    if self.tick() {
                        tracing::warn!(
                            namespace = %key.namespace,
                            subscription = %key.name,
                            "attempts were not settled in time; their events will be delivered again"
                        );
                        return;
                    }
                }
            }
        }
        let mut released = self.abandon();
        // The tenure may have begun anew before this was noticed, and what was claimed since then must not stay in
        // flight. Otherwise the journal ignores it.
        let release = async {
            if let Some(claiming) = claiming
                && let Ok(FilteredClaim { deliveries, ended, .. }) = claiming.await
            {
                released.extend(deliveries.iter().map(ClaimedDelivery::sequence));
                released.extend(ended.into_iter().map(|(sequence, _)| sequence));
            }
            if let Some(settling) = settling {
                settling.await;
            }
            let released: Vec<_> = released.into_iter().map(|sequence| (sequence, Settlement::Released)).collect();
            if !released.is_empty() {
                // After an error another process has the events.
                let _ = journal.settle(consumer, released).await;
            }
        };
        let _ = timeout(limits::SHUTDOWN_SETTLE, release).await;
    }

    /// Aborts the attempts in flight, and returns everything that is claimed and not settled.
    fn abandon(&mut self) -> Vec<Sequence> {
        self.sending.abort_all();
        self.pause.update(&self.subscription, None);
        self.circuit.renew(&self.subscription, None);
        let aborted = self.in_flight.len();
        if aborted > 0 {
            tracing::info!(
                namespace = %self.subscription.key.namespace,
                subscription = %self.subscription.key.name,
                aborted,
                "another replica delivers the subscription's events now; attempts in flight are aborted and repeated there"
            );
        }
        let waiting = self.waiting.drain(..).map(|claimed| claimed.sequence());
        let ended = self.ended.drain(..).map(|(sequence, _)| sequence);
        self.in_flight.drain().map(|(sequence, _)| sequence).chain(waiting).chain(ended).collect()
    }

    /// Begins attempts while they may begin. `clock` is the current time.
    fn begin(&mut self, clock: Timestamp) {
        let now = AdmissionTime { clock, instant: Instant::now() };
        while let Some(next) = self.waiting.front() {
            let shadowed = self.shadow.covers(next.sequence());
            let (load, rate) = (self.load(), self.subscription.rate_limit.as_ref().filter(|_| !shadowed));
            // A process that was paused may have lost its tenure and not have noticed yet.
            if !self.tenure.borrow().serves(&self.subscription.endpoint.key) {
                return;
            }
            let decision = self.admission.decide(load, now, || rate.map_or(Ok(()), |rate| rate.try_acquire()));
            let AttemptDecision::Start(permit) = decision else { return };
            let Some(claimed) = self.waiting.pop_front() else { return };
            let in_flight = InFlight { permit, bytes: claimed.delivery.event.body.len(), target: self.target };
            self.in_flight.insert(claimed.sequence(), in_flight);
            let (context, subscription) = (Arc::clone(&self.context), Arc::clone(&self.subscription));
            if shadowed {
                self.sending.spawn(rehearse(context, subscription, claimed));
            } else {
                self.sending.spawn(attempt(context, subscription, claimed));
            }
        }
    }

    /// How many events to claim now, if any.
    fn claim_limit(&mut self, settling: bool, clock: Timestamp) -> Option<usize> {
        if self.claim_pause.is_some_and(|pause| Instant::now() < pause) {
            return None;
        }
        self.claim_pause = None;
        if !self.more {
            return None;
        }
        let load = Load { settling, bytes: self.held_bytes(), ..self.load() };
        self.admission.claim_limit(load, self.scanning, clock)
    }

    /// What an attempt has to wait for.
    fn load(&self) -> Load {
        let (waiting, in_flight, ended) = (self.waiting.len(), self.sending.len(), self.ended.len());
        Load { waiting, in_flight, ended, ..Load::default() }
    }

    /// Bytes of the bodies in flight, and of the bodies and parsed events claimed ahead.
    fn held_bytes(&self) -> usize {
        let waiting = self.waiting.iter().map(ClaimedDelivery::held_bytes);
        let in_flight = self.in_flight.values().map(|in_flight| in_flight.bytes);
        waiting.chain(in_flight).sum()
    }

    /// Takes the result of a claim.
    fn take(&mut self, filtered: Result<FilteredClaim, JournalError>) {
        let FilteredClaim { deliveries, next_due, ended, shadow, by } = match filtered {
            Ok(filtered) => filtered,
            Err(error) => {
                // A deletion detaches the consumer before it ends the worker, and a tenure may end during a claim.
                let lost = matches!(error, JournalError::UnknownConsumer(_) | JournalError::Moved(_));
                let expected = self.deadline.is_some() || lost;
                let first = self.claim_backoff.is_reset();
                self.claim_pause = Some(Instant::now() + self.claim_backoff.next());
                self.more = true;
                warn_throttled(&self.subscription.key, "claim", &error, first && !expected);
                return;
            }
        };
        self.claim_backoff.reset();
        // A short claim may be due to the byte limit; only an empty one is the end.
        let found = !deliveries.is_empty() || !ended.is_empty();
        self.more |= found;
        // A claim that began before the mode changed knows the scope of that time.
        let remoded = by.mode != self.subscription.mode;
        if !remoded {
            let ended = ended.iter().map(|(sequence, _)| *sequence);
            let held = self.waiting.iter().chain(&deliveries).map(ClaimedDelivery::sequence);
            self.shadow = shadow.after_claim(held.chain(ended));
        }
        self.ended.extend(ended);
        self.expect_due(next_due);
        let before = self.waiting.len();
        self.waiting.extend(deliveries);
        // Events that passed another filter have to be evaluated again.
        let stale = remoded || (self.subscription.filter.is_some() && !Arc::ptr_eq(&by, &self.subscription));
        // A claim that began before ordering was enabled may not be in order.
        if self.is_parked() || stale || (self.admission.settings().ordered && !self.in_order) {
            self.release_waiting(0);
        } else {
            self.skip(before);
            self.scanning = found && self.waiting.len() == before;
            self.hold_back();
        }
    }

    /// Releases what is not to be sent now: all but one while the circuit probes or deliveries are ordered, all while
    /// no attempt may begin.
    fn hold_back(&mut self) {
        let kept = self.admission.kept(self.context.clock.now());
        self.release_waiting(kept);
    }

    fn is_parked(&self) -> bool {
        self.admission.settings().parked
    }

    /// Settles the waiting deliveries from `from` on whose type is not delivered.
    fn skip(&mut self, from: usize) {
        if self.subscription.event_types.is_empty() {
            return;
        }
        let fresh = self.waiting.split_off(from.min(self.waiting.len()));
        for claimed in fresh {
            if self.subscription.event_types.admits(&claimed.delivery.event.kind) {
                self.waiting.push_back(claimed);
            } else {
                let skip = skip(&self.subscription, SkipReason::Type, self.context.clock.now());
                self.ended.push((claimed.sequence(), skip));
            }
        }
    }

    /// Releases all waiting deliveries but the first `kept`.
    fn release_waiting(&mut self, kept: usize) {
        let waiting = self.waiting.split_off(kept.min(self.waiting.len()));
        // Released deliveries can be claimed again.
        self.more |= !waiting.is_empty();
        self.ended.extend(waiting.into_iter().map(|claimed| (claimed.sequence(), Settlement::Released)));
    }

    /// Ends the pauses of the receiver and of its circuit.
    fn probe(&mut self) {
        self.admission.probe_now(self.context.clock.now());
        self.circuit.renew(&self.subscription, self.admission.circuit());
        self.more = true;
    }

    /// Takes a new configuration, or begins to end if there is none any more.
    fn reconfigure(&mut self, exists: bool) {
        let now = self.context.clock.now();
        let mut reads_otherwise = false;
        if exists {
            let subscription = Arc::clone(&self.config.borrow_and_update());
            let target_changed = subscription.target != self.subscription.target;
            self.target += u64::from(target_changed);
            reads_otherwise =
                subscription.reading != self.subscription.reading || subscription.mode != self.subscription.mode;
            self.shadow = self.shadow.changed(&subscription);
            self.subscription = subscription;
            self.admission.reconfigure(settings(&self.subscription), target_changed, now);
            self.circuit.renew(&self.subscription, self.admission.circuit());
        } else {
            let parked = AdmissionSettings { parked: true, ..self.admission.settings() };
            self.admission.reconfigure(parked, false, now);
            self.deadline = Some(Instant::now() + limits::SHUTDOWN_DELIVERIES);
        }
        let AdmissionSettings { parked, ordered, .. } = self.admission.settings();
        self.more = true;
        // What was claimed before may be out of order, rejected by the new filter, parsed in the earlier way, or of the
        // other mode.
        if parked || ordered || reads_otherwise || self.subscription.filter.is_some() {
            self.release_waiting(0);
        } else {
            self.skip(0);
        }
    }

    /// Records the end of an attempt.
    fn book(&mut self, ended: Result<AttemptResult, JoinError>) {
        match ended {
            Ok(AttemptResult { sequence, settlement, at, failed, contacted, pause }) => {
                // A delivery released at the deadline is not settled twice.
                let Some(InFlight { permit, target, .. }) = self.in_flight.remove(&sequence) else { return };
                // An earlier target does not pause this one.
                let pause = pause.filter(|_| target == self.target);
                self.ended.push((sequence, settlement));
                if contacted {
                    self.admission.ended(permit, failed, at);
                } else {
                    self.admission.released(permit);
                }
                self.circuit.update(self.admission.circuit());
                if let Some(pause) = pause {
                    self.pause(pause, at);
                }
                if failed || pause.is_some() {
                    self.hold_back();
                }
            }
            Err(error) => {
                // A panic is a bug that the supervisor has to see; an abort is not.
                if let Ok(panic) = error.try_into_panic() {
                    std::panic::resume_unwind(panic);
                }
            }
        }
    }

    /// Pauses deliveries for the duration of `Retry-After`.
    fn pause(&mut self, length: Duration, now: Timestamp) {
        if self.admission.pause(length, now) {
            tracing::info!(
                namespace = %self.subscription.key.namespace,
                subscription = %self.subscription.key.name,
                pause = ?length,
                "the receiver responded with Retry-After; deliveries pause"
            );
        }
    }

    fn expect_due(&mut self, due: Option<Timestamp>) {
        if let Some(due) = due {
            let now = self.now();
            self.next_due.expect(due, now);
        }
    }

    fn now(&self) -> AdmissionTime {
        AdmissionTime { clock: self.context.clock.now(), instant: Instant::now() }
    }

    /// When the worker has to wake without an event.
    fn wake(&mut self, clock: Timestamp) -> Option<Instant> {
        if let Some(deadline) = self.deadline {
            return Some(if self.in_flight.is_empty() { deadline + limits::SHUTDOWN_SETTLE } else { deadline });
        }
        if self.is_parked() {
            // Its end is reported, though nothing begins.
            return self.admission.paused_until(clock).map(|until| next_check(until, self.now()));
        }
        let rate = self.admission.rate_pause().filter(|_| !self.waiting.is_empty());
        let due = self.next_due.check();
        let gate = self.admission.gate_opens(clock).map(|until| next_check(until, self.now()));
        [rate, due, gate, self.claim_pause].into_iter().flatten().min()
    }

    /// Does what has become due. Returns true if the deadline has passed.
    fn tick(&mut self) -> bool {
        let now = Instant::now();
        if let Some(deadline) = self.deadline {
            if now >= deadline {
                self.sending.abort_all();
                for (sequence, in_flight) in self.in_flight.drain() {
                    self.admission.released(in_flight.permit);
                    self.ended.push((sequence, Settlement::Released));
                }
            }
            return now >= deadline + limits::SHUTDOWN_SETTLE;
        }
        if self.next_due.check().is_some_and(|check| now >= check) {
            let now = self.now();
            self.more |= self.next_due.passed(now, &self.subscription.retry);
        }
        false
    }
}

/// What a subscription allows.
fn settings(subscription: &Subscription) -> AdmissionSettings {
    AdmissionSettings {
        // A rejected consumer may still read another endpoint, whose events are not for this target.
        shadow: subscription.is_shadow(),
        parked: subscription.suspended || subscription.facts.is_refused(),
        ordered: subscription.ordering == Ordering::Ordered,
        max_in_flight: subscription.max_in_flight.get(),
        max_pause: subscription.retry.max_delay,
        breaker: subscription.breaker,
    }
}

/// Waits for a future that may be absent.
async fn maybe<F: Future + Unpin>(slot: &mut Option<F>) -> F::Output {
    match slot {
        Some(future) => future.await,
        None => pending().await,
    }
}
