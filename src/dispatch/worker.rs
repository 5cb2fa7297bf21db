//! The worker of one subscription.
//!
//! Claiming, sending and settling run concurrently: while some deliveries are in flight, the next are claimed, and
//! those that ended are settled together. A claimed event is in flight, about to be begun ([`limits::CLAIM_AHEAD`], or
//! [`limits::CLAIM_SCAN`] after a search), or ended and waiting to be settled ([`limits::UNSETTLED`], beyond which
//! nothing new is begun). Bodies are bounded by [`limits::HELD_BYTES`], so memory does not grow with the backlog.
//!
//! While the circuit to the receiver is open, only its probe is claimed: an ordinary attempt of the delivery that is
//! due first. With `ordering: Ordered` each event is claimed when the one before it is settled. In both cases one event
//! is claimed at a time.

use std::{
    collections::{HashMap, VecDeque},
    future::{Future, pending},
    sync::Arc,
    time::Duration,
};

use futures_util::future::BoxFuture;
use grapnel_api::Ordering;
use grapnel_delivery::breaker::{CircuitState, Permit};
use grapnel_journal::{Delivery, JournalError, Sequence, Settlement, SkipReason};
use jiff::Timestamp;
use tokio::{
    sync::watch,
    task::{JoinError, JoinSet},
    time::{Instant, sleep_until},
};

use super::{
    attempt::{Context, Ended, attempt},
    backoff::{Backoff, settle, warn_throttled},
    circuit::Circuit,
    filter::{FilteredClaim, claim, is_ahead, skip},
};
use crate::{catalog::Subscription, dispatch::limits};

/// A delivery in flight.
struct InFlight {
    /// The circuit's permit for the attempt.
    permit: Permit,
    /// Size of its body.
    bytes: usize,
}

/// Delivers the events of one subscription until its configuration's sender is dropped.
pub(super) struct Worker {
    context: Arc<Context>,
    config: watch::Receiver<Arc<Subscription>>,
    subscription: Arc<Subscription>,
    /// Nothing is sent: the subscription is suspended, rejected by the journal, or ending.
    parked: bool,
    /// Claimed deliveries to be sent, in order.
    waiting: VecDeque<Delivery>,
    /// The attempts in flight.
    sending: JoinSet<Ended>,
    /// The deliveries in flight, by sequence number.
    in_flight: HashMap<Sequence, InFlight>,
    /// Ended deliveries to be settled.
    ended: Vec<(Sequence, Settlement)>,
    /// Whether another claim may find something.
    more: bool,
    /// Whether the last claim was in order.
    in_order: bool,
    /// Whether the last claim found only events of types that are not delivered.
    scanning: bool,
    /// Pauses deliveries to a receiver that keeps failing.
    circuit: Circuit,
    /// When the next retry falls due.
    next_due: Option<Timestamp>,
    /// When to check whether it is due.
    due_check: Instant,
    /// No attempt is begun before this time, by the rate limit.
    rate_pause: Option<Instant>,
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
            context,
            config,
            parked: is_parked(&subscription),
            circuit: Circuit::new(Arc::clone(&subscription)),
            subscription,
            waiting: VecDeque::new(),
            sending: JoinSet::new(),
            in_flight: HashMap::new(),
            ended: Vec::new(),
            more: true,
            in_order: false,
            scanning: false,
            next_due: None,
            due_check: Instant::now(),
            rate_pause: None,
            claim_pause: None,
            claim_backoff: Backoff::default(),
            deadline: None,
        }
    }

    pub(super) async fn run(mut self) {
        let context = Arc::clone(&self.context);
        let journal = &*context.journal;
        let consumer = self.subscription.incarnation();
        let (consumer, key) = (&consumer, &consumer.key);
        // A claim is never dropped: its deliveries would stay in flight.
        let mut claiming: Option<BoxFuture<'_, Result<FilteredClaim, JournalError>>> = None;
        let mut settling: Option<BoxFuture<'_, Option<Timestamp>>> = None;
        let mut ready: Option<BoxFuture<'_, ()>> = None;
        loop {
            // The clock is read once for all decisions before the sleep. If the pause of the circuit ended between two
            // reads, neither would begin the probe and nothing would wake the worker for it.
            let clock = self.context.clock.now();
            self.begin(clock);
            if settling.is_none() && !self.ended.is_empty() {
                settling = Some(Box::pin(settle(journal, consumer, std::mem::take(&mut self.ended))));
            }
            if claiming.is_none()
                && let Some(limit) = self.claim_limit(settling.is_none(), clock)
            {
                self.in_order = self.is_ordered();
                // Anything learned while the claim runs counts for the next one: this one may have read before.
                self.more = false;
                let subscription = Arc::clone(&self.subscription);
                claiming = Some(Box::pin(claim(&context, subscription, limit, self.in_order)));
            }
            if !self.more && !self.parked && claiming.is_none() && ready.is_none() {
                ready = Some(journal.ready(consumer));
            }
            let ending = self.deadline.is_some();
            if ending && self.sending.is_empty() && self.ended.is_empty() && claiming.is_none() && settling.is_none() {
                return;
            }
            let wake = self.wake(clock);
            tokio::select! {
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
    }

    /// Begins attempts while there are permits. `clock` is the current time.
    fn begin(&mut self, clock: Timestamp) {
        let now = Instant::now();
        if self.parked || self.rate_pause.is_some_and(|pause| now < pause) {
            return;
        }
        self.rate_pause = None;
        let most = self.subscription.max_in_flight.get();
        while self.sending.len() < most && self.ended.len() < limits::UNSETTLED && !self.waiting.is_empty() {
            if let CircuitState::Open(_) = self.circuit.circuit_state(clock) {
                return;
            }
            if let Some(rate) = &self.subscription.rate_limit
                && let Err(wait) = rate.try_acquire()
            {
                self.rate_pause = Some(now + wait.clamp(Duration::from_millis(1), limits::DUE_CHECK));
                return;
            }
            let Some(permit) = self.circuit.acquire(clock) else { return };
            let Some(delivery) = self.waiting.pop_front() else { return };
            let in_flight = InFlight { permit, bytes: delivery.event.body.len() };
            self.in_flight.insert(delivery.event.sequence, in_flight);
            self.sending.spawn(attempt(Arc::clone(&self.context), Arc::clone(&self.subscription), delivery));
        }
    }

    /// How many events to claim now, if any. Some are claimed ahead, so that a freed permit finds its event in memory.
    /// `settled` means that nothing is being settled.
    fn claim_limit(&mut self, settled: bool, clock: Timestamp) -> Option<usize> {
        if self.claim_pause.is_some_and(|pause| Instant::now() < pause) {
            return None;
        }
        self.claim_pause = None;
        if self.parked || !self.more || self.ended.len() >= limits::UNSETTLED {
            return None;
        }
        let scan = if self.scanning { limits::CLAIM_SCAN } else { 1 };
        if self.is_ordered() {
            let nothing_held = settled && self.ended.is_empty() && self.sending.is_empty() && self.waiting.is_empty();
            let open = !matches!(self.circuit.circuit_state(clock), CircuitState::Open(_));
            return (nothing_held && open).then_some(scan);
        }
        match self.circuit.circuit_state(clock) {
            CircuitState::Closed => {}
            CircuitState::HalfOpen => return self.waiting.is_empty().then_some(scan),
            CircuitState::Open(_) => return None,
        }
        let most = self.subscription.max_in_flight.get();
        let ahead = most.min(limits::CLAIM_AHEAD);
        if self.waiting.len() > ahead / 2 || self.held_bytes() >= limits::HELD_BYTES {
            return None;
        }
        let room = (most + ahead).saturating_sub(self.waiting.len() + self.sending.len());
        let limit = if self.scanning { room.max(scan) } else { room };
        (limit > 0).then_some(limit)
    }

    /// Bytes of the bodies in flight and claimed ahead.
    fn held_bytes(&self) -> usize {
        let waiting = self.waiting.iter().map(|delivery| delivery.event.body.len());
        let in_flight = self.in_flight.values().map(|in_flight| in_flight.bytes);
        waiting.chain(in_flight).sum()
    }

    /// Takes the result of a claim.
    fn take(&mut self, sifted: Result<FilteredClaim, JournalError>) {
        let FilteredClaim { claimed, ended, by } = match sifted {
            Ok(sifted) => sifted,
            Err(error) => {
                // A deletion detaches the consumer before it ends the worker.
                let expected = self.deadline.is_some() || matches!(error, JournalError::UnknownConsumer(_));
                let first = self.claim_backoff.is_reset();
                self.claim_pause = Some(Instant::now() + self.claim_backoff.next());
                self.more = true;
                warn_throttled(&self.subscription.key, "claim", &error, first && !expected);
                return;
            }
        };
        self.claim_backoff.reset();
        // A short claim may be due to the byte limit; only an empty one is the end.
        let found = !claimed.deliveries.is_empty() || !ended.is_empty();
        self.more |= found;
        self.ended.extend(ended);
        self.expect_due(claimed.next_due);
        let before = self.waiting.len();
        self.waiting.extend(claimed.deliveries);
        // Events that passed another filter have to be evaluated again.
        let stale = self.subscription.filter.is_some() && !Arc::ptr_eq(&by, &self.subscription);
        // A claim that began before ordering was enabled may not be in order.
        if self.parked || stale || (self.is_ordered() && !self.in_order) {
            self.release_waiting(0);
        } else {
            self.skip(before);
            self.scanning = found && self.waiting.len() == before;
            self.hold_back();
        }
    }

    /// Releases what is not to be sent now: all but one while the circuit probes or deliveries are ordered, all while
    /// the circuit is open.
    fn hold_back(&mut self) {
        match self.circuit.circuit_state(self.context.clock.now()) {
            CircuitState::Closed if !self.is_ordered() => {}
            CircuitState::Closed | CircuitState::HalfOpen => self.release_waiting(1),
            CircuitState::Open(_) => self.release_waiting(0),
        }
    }

    fn is_ordered(&self) -> bool {
        self.subscription.ordering == Ordering::Ordered
    }

    /// Settles the waiting deliveries from `from` on whose type is not delivered.
    fn skip(&mut self, from: usize) {
        if self.subscription.event_types.is_empty() {
            return;
        }
        let fresh = self.waiting.split_off(from.min(self.waiting.len()));
        for delivery in fresh {
            if self.subscription.event_types.admits(&delivery.event.kind) {
                self.waiting.push_back(delivery);
            } else {
                let skip = skip(&self.subscription, SkipReason::Type, self.context.clock.now());
                self.ended.push((delivery.event.sequence, skip));
            }
        }
    }

    /// Releases all waiting deliveries but the first `kept`.
    fn release_waiting(&mut self, kept: usize) {
        let waiting = self.waiting.split_off(kept.min(self.waiting.len()));
        // Released deliveries can be claimed again.
        self.more |= !waiting.is_empty();
        self.ended.extend(waiting.into_iter().map(|delivery| (delivery.event.sequence, Settlement::Released)));
    }

    /// Probes the receiver at once if its circuit is open.
    fn probe(&mut self) {
        self.circuit.probe_now(self.context.clock.now());
        self.more = true;
    }

    /// Takes a new configuration, or begins to end if there is none any more.
    fn reconfigure(&mut self, exists: bool) {
        if exists {
            self.subscription = Arc::clone(&self.config.borrow_and_update());
            self.circuit.reconfigure(&self.subscription, self.context.clock.now());
            self.parked = is_parked(&self.subscription);
        } else {
            self.parked = true;
            self.deadline = Some(Instant::now() + limits::SHUTDOWN_DELIVERIES);
        }
        self.rate_pause = None;
        self.more = true;
        // What was claimed before may be out of order or rejected by the new filter.
        if self.parked || self.is_ordered() || self.subscription.filter.is_some() {
            self.release_waiting(0);
        } else {
            self.skip(0);
        }
    }

    /// Records the end of an attempt.
    fn book(&mut self, ended: Result<Ended, JoinError>) {
        match ended {
            Ok(Ended { sequence, settlement, failed, asked }) => {
                // A delivery released at the deadline is not settled twice.
                let Some(InFlight { permit, .. }) = self.in_flight.remove(&sequence) else { return };
                self.ended.push((sequence, settlement));
                if asked {
                    self.circuit.ended(permit, failed);
                } else {
                    self.circuit.released(permit);
                }
                if failed.is_some() {
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

    fn expect_due(&mut self, due: Option<Timestamp>) {
        let Some(due) = due else { return };
        if self.next_due.is_none_or(|next| due < next) {
            self.next_due = Some(due);
            self.due_check = self.next_check(due);
        }
    }

    /// When to check for the retry: when it should be due, but often enough to notice that the clock was set.
    fn next_check(&self, due: Timestamp) -> Instant {
        let wait = Duration::try_from(due.duration_since(self.context.clock.now())).unwrap_or_default();
        Instant::now() + wait.clamp(Duration::from_millis(1), limits::DUE_CHECK)
    }

    /// When the worker has to wake without an event.
    fn wake(&mut self, clock: Timestamp) -> Option<Instant> {
        if let Some(deadline) = self.deadline {
            return Some(if self.in_flight.is_empty() { deadline + limits::SHUTDOWN_SETTLE } else { deadline });
        }
        if self.parked {
            return None;
        }
        let rate = self.rate_pause.filter(|_| !self.waiting.is_empty());
        let due = self.next_due.map(|_| self.due_check);
        let probe = match self.circuit.circuit_state(clock) {
            CircuitState::Open(Some(until)) => Some(self.next_check(until)),
            _ => None,
        };
        [rate, due, probe, self.claim_pause].into_iter().flatten().min()
    }

    /// Does what has become due. Returns true if the deadline has passed.
    fn tick(&mut self) -> bool {
        let now = Instant::now();
        if let Some(deadline) = self.deadline {
            if now >= deadline {
                self.sending.abort_all();
                for (sequence, in_flight) in self.in_flight.drain() {
                    self.circuit.released(in_flight.permit);
                    self.ended.push((sequence, Settlement::Released));
                }
            }
            return now >= deadline + limits::SHUTDOWN_SETTLE;
        }
        if let Some(due) = self.next_due
            && now >= self.due_check
        {
            let clock = self.context.clock.now();
            if clock >= due || is_ahead(due, clock, &self.subscription.retry) {
                self.next_due = None;
                self.more = true;
            } else {
                self.due_check = self.next_check(due);
            }
        }
        false
    }
}

/// Whether nothing may be sent.
fn is_parked(subscription: &Subscription) -> bool {
    // A rejected consumer may still read another endpoint, whose events are not for this target.
    subscription.suspended || subscription.facts.read().refusal.is_some()
}

/// Waits for a future that may be absent.
async fn maybe<F: Future + Unpin>(slot: &mut Option<F>) -> F::Output {
    match slot {
        Some(future) => future.await,
        None => pending().await,
    }
}
