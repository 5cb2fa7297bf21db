//! The worker of one subscription.
//!
//! Claiming, sending and settling go on at the same time: while some deliveries are under way, the next are claimed
//! and those that ended are settled together. What is claimed is under way, about to be begun ([`limits::CLAIM_AHEAD`],
//! or [`limits::CLAIM_SCAN`] after a search), or ended and waiting to be settled ([`limits::UNSETTLED`], beyond which
//! nothing new is begun): memory stays flat however many events wait.

use std::{
    collections::{HashSet, VecDeque},
    future::{Future, pending},
    sync::Arc,
    time::Duration,
};

use futures_util::future::BoxFuture;
use jiff::Timestamp;
use tokio::{
    sync::watch,
    task::{JoinError, JoinSet},
    time::{Instant, sleep_until},
};

use super::attempt::{Context, attempt};
use crate::{
    api::ObjectKey,
    catalog::Subscription,
    journal::{Claimed, Delivery, Journal, JournalError, Sequence, Settlement},
    rules::limits,
};

/// Delivers the events of one subscription until its configuration's sender is dropped.
pub(super) struct Worker {
    context: Arc<Context>,
    config: watch::Receiver<Arc<Subscription>>,
    subscription: Arc<Subscription>,
    /// Nothing is sent: suspended, refused by the journal, or about to end.
    parked: bool,
    /// Claimed and to be sent, in order.
    waiting: VecDeque<Delivery>,
    /// Under way.
    sending: JoinSet<(Sequence, Settlement)>,
    /// The sequences of those under way.
    in_flight: HashSet<Sequence>,
    /// Ended, to be settled.
    ended: Vec<(Sequence, Settlement)>,
    /// Whether a claim may find something.
    more: bool,
    /// Whether the last claim found only events of types that are not delivered.
    scanning: bool,
    /// When the next retry falls due.
    next_due: Option<Timestamp>,
    /// When to look whether it has.
    due_check: Instant,
    /// No attempt is begun before, by the rate limit.
    rate_pause: Option<Instant>,
    /// No claim is made before, because the journal failed.
    claim_pause: Option<Instant>,
    claim_backoff: Backoff,
    /// Set when the worker is to end: by then deliveries under way are given back.
    deadline: Option<Instant>,
}

impl Worker {
    pub(super) fn new(context: Arc<Context>, mut config: watch::Receiver<Arc<Subscription>>) -> Self {
        let subscription = Arc::clone(&config.borrow_and_update());
        Self {
            context,
            config,
            parked: is_parked(&subscription),
            subscription,
            waiting: VecDeque::new(),
            sending: JoinSet::new(),
            in_flight: HashSet::new(),
            ended: Vec::new(),
            more: true,
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
        let key = self.subscription.key.clone();
        let key = &key;
        // A claim is never dropped: what it has claimed would stay in flight.
        let mut claiming: Option<BoxFuture<'_, Result<Claimed, JournalError>>> = None;
        let mut settling: Option<BoxFuture<'_, Option<Timestamp>>> = None;
        let mut ready: Option<BoxFuture<'_, ()>> = None;
        loop {
            self.begin();
            if settling.is_none() && !self.ended.is_empty() {
                settling = Some(Box::pin(settle(journal, key, std::mem::take(&mut self.ended))));
            }
            if claiming.is_none()
                && let Some(limit) = self.claim_limit()
            {
                claiming = Some(journal.claim(key, limit, context.clock.now()));
            }
            if !self.more && !self.parked && ready.is_none() {
                ready = Some(journal.ready(key));
            }
            let ending = self.deadline.is_some();
            if ending && self.sending.is_empty() && self.ended.is_empty() && claiming.is_none() && settling.is_none() {
                return;
            }
            let wake = self.wake();
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
                () = sleep_until(wake.unwrap_or_else(Instant::now)), if wake.is_some() => {
                    if self.tick() {
                        tracing::warn!(
                            namespace = %key.namespace,
                            subscription = %key.name,
                            "the journal did not take what ended in time; it will be delivered again"
                        );
                        return;
                    }
                }
            }
        }
    }

    /// Begins attempts while there are permits.
    fn begin(&mut self) {
        let now = Instant::now();
        if self.parked || self.rate_pause.is_some_and(|pause| now < pause) {
            return;
        }
        self.rate_pause = None;
        let most = self.subscription.max_in_flight.get();
        while self.sending.len() < most && self.ended.len() < limits::UNSETTLED && !self.waiting.is_empty() {
            if let Some(rate) = &self.subscription.rate_limit
                && let Err(wait) = rate.try_acquire()
            {
                self.rate_pause = Some(now + wait.clamp(Duration::from_millis(1), limits::DUE_CHECK));
                return;
            }
            let Some(delivery) = self.waiting.pop_front() else { return };
            self.in_flight.insert(delivery.event.sequence);
            self.sending.spawn(attempt(Arc::clone(&self.context), Arc::clone(&self.subscription), delivery));
        }
    }

    /// How many to claim now, if any. Some are claimed ahead, so that a permit that falls free finds its event in memory.
    fn claim_limit(&mut self) -> Option<usize> {
        if self.claim_pause.is_some_and(|pause| Instant::now() < pause) {
            return None;
        }
        self.claim_pause = None;
        if self.parked || !self.more || self.ended.len() >= limits::UNSETTLED {
            return None;
        }
        let most = self.subscription.max_in_flight.get();
        let ahead = most.min(limits::CLAIM_AHEAD);
        if self.waiting.len() > ahead / 2 {
            return None;
        }
        let room = (most + ahead).saturating_sub(self.waiting.len() + self.sending.len());
        let limit = if self.scanning { room.max(limits::CLAIM_SCAN) } else { room };
        (limit > 0).then_some(limit)
    }

    /// Takes what was claimed.
    fn take(&mut self, claimed: Result<Claimed, JournalError>) {
        let claimed = match claimed {
            Ok(claimed) => claimed,
            Err(error) => {
                let first = self.claim_backoff.is_reset();
                self.claim_pause = Some(Instant::now() + self.claim_backoff.next());
                complain(&self.subscription.key, "claim", &error, first && self.deadline.is_none());
                return;
            }
        };
        self.claim_backoff.reset();
        // Less than was asked for may be a matter of bytes; nothing at all is the end.
        self.more = !claimed.deliveries.is_empty();
        self.expect_due(claimed.next_due);
        let before = self.waiting.len();
        self.waiting.extend(claimed.deliveries);
        if self.parked {
            self.release_waiting();
        } else {
            self.skip(before);
            self.scanning = self.more && self.waiting.len() == before;
        }
    }

    /// Settles those of the waiting, from the given place on, whose type is not delivered.
    fn skip(&mut self, from: usize) {
        if self.subscription.event_types.is_empty() {
            return;
        }
        let fresh = self.waiting.split_off(from.min(self.waiting.len()));
        for delivery in fresh {
            if self.subscription.event_types.matches(&delivery.event.kind) {
                self.waiting.push_back(delivery);
            } else {
                self.ended.push((delivery.event.sequence, Settlement::Skipped));
            }
        }
    }

    fn release_waiting(&mut self) {
        let waiting = self.waiting.drain(..);
        self.ended.extend(waiting.map(|delivery| (delivery.event.sequence, Settlement::Released)));
        // What was given back is found again.
        self.more = true;
    }

    /// Takes a new configuration, or begins to end when there is none any more.
    fn reconfigure(&mut self, exists: bool) {
        if exists {
            self.subscription = Arc::clone(&self.config.borrow_and_update());
            self.parked = is_parked(&self.subscription);
        } else {
            self.parked = true;
            self.deadline = Some(Instant::now() + limits::SHUTDOWN_DELIVERIES);
        }
        self.rate_pause = None;
        self.more = true;
        if self.parked {
            self.release_waiting();
        } else {
            self.skip(0);
        }
    }

    /// Books the end of an attempt.
    fn book(&mut self, ended: Result<(Sequence, Settlement), JoinError>) {
        match ended {
            // What was given back at the deadline is not settled twice.
            Ok((sequence, settlement)) if self.in_flight.remove(&sequence) => self.ended.push((sequence, settlement)),
            Ok(_) => {}
            Err(error) => {
                // A panic is a defect that the supervisor has to see; being aborted is not.
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

    /// Looks at the clock when the retry should be due, and often enough to notice that the clock was set.
    fn next_check(&self, due: Timestamp) -> Instant {
        let wait = Duration::try_from(due.duration_since(self.context.clock.now())).unwrap_or_default();
        Instant::now() + wait.clamp(Duration::from_millis(1), limits::DUE_CHECK)
    }

    /// When there is something to do although nothing happens.
    fn wake(&self) -> Option<Instant> {
        if let Some(deadline) = self.deadline {
            return Some(if self.in_flight.is_empty() { deadline + limits::SHUTDOWN_SETTLE } else { deadline });
        }
        if self.parked {
            return None;
        }
        let rate = self.rate_pause.filter(|_| !self.waiting.is_empty());
        let due = self.next_due.map(|_| self.due_check);
        [rate, due, self.claim_pause].into_iter().flatten().min()
    }

    /// Does what the time has come for. True when it is time to give up.
    fn tick(&mut self) -> bool {
        let now = Instant::now();
        if let Some(deadline) = self.deadline {
            if now >= deadline {
                self.sending.abort_all();
                self.ended.extend(self.in_flight.drain().map(|sequence| (sequence, Settlement::Released)));
            }
            return now >= deadline + limits::SHUTDOWN_SETTLE;
        }
        if let Some(due) = self.next_due
            && now >= self.due_check
        {
            if self.context.clock.now() >= due {
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
    // A refused consumer may still read another endpoint, whose events are not for this target.
    subscription.suspended || subscription.facts.read().refusal.is_some()
}

/// Waits for a future that may not be there.
async fn maybe<F: Future + Unpin>(slot: &mut Option<F>) -> F::Output {
    match slot {
        Some(future) => future.await,
        None => pending().await,
    }
}

/// Settles, however often the journal fails, and says when the earliest of the retries among it falls due.
async fn settle(journal: &dyn Journal, key: &ObjectKey, ended: Vec<(Sequence, Settlement)>) -> Option<Timestamp> {
    let due = ended.iter().filter_map(|(_, settlement)| match settlement {
        Settlement::Retry { due, .. } => Some(*due),
        _ => None,
    });
    let due = due.min();
    let mut backoff = Backoff::default();
    loop {
        match journal.settle(key, ended.clone()).await {
            Ok(()) => return due,
            // The subscription was deleted, and with it everything that could be said about its events.
            Err(JournalError::UnknownConsumer(_)) => return None,
            Err(error) => {
                let closed = matches!(error, JournalError::Closed);
                complain(key, "settle", &error, backoff.is_reset());
                if closed {
                    // Invariant 4: it is claimable again after a restart.
                    return None;
                }
                tokio::time::sleep(backoff.next()).await;
            }
        }
    }
}

/// Only the first of failures in a row is worth a line.
fn complain(key: &ObjectKey, action: &'static str, error: &JournalError, loud: bool) {
    let kind = error.kind();
    if loud {
        tracing::warn!(namespace = %key.namespace, subscription = %key.name, action, kind, %error, "the journal failed");
    } else {
        tracing::debug!(namespace = %key.namespace, subscription = %key.name, action, kind, %error, "the journal failed");
    }
}

/// Pauses after failures of the journal.
#[derive(Default)]
struct Backoff {
    last: Option<Duration>,
}

impl Backoff {
    fn is_reset(&self) -> bool {
        self.last.is_none()
    }

    fn reset(&mut self) {
        self.last = None;
    }

    fn next(&mut self) -> Duration {
        let next = match self.last {
            None => limits::JOURNAL_PAUSE,
            Some(last) => last.saturating_mul(2).min(limits::JOURNAL_PAUSE_MAX),
        };
        self.last = Some(next);
        next
    }
}
