//! The right to act as the owner of a shard, for as long as the lease lasts.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::{Notify, watch},
    time::sleep,
};

use super::clock::{BootClock, BootTime};

/// The shards that this replica owns.
#[derive(Debug, Clone, Default)]
pub(crate) struct Held {
    /// The tenancy of each shard.
    pub(crate) shards: BTreeMap<u16, Tenancy>,
}

impl Held {
    /// The shards with the epochs of their tenancies.
    pub(super) fn epochs(&self) -> impl Iterator<Item = (u16, u64)> {
        self.shards.iter().map(|(shard, tenancy)| (*shard, tenancy.epoch))
    }
}

/// One uninterrupted ownership of a shard. Once it is invalid, it never becomes valid again: the same replica may
/// take the shard again, as another tenancy with a higher epoch.
#[derive(Clone)]
pub(crate) struct Tenancy {
    /// Ascends with every change of the owner.
    pub(crate) epoch: u64,
    shared: Arc<Shared>,
}

struct Shared {
    clock: BootClock,
    /// Until when it is valid, in microseconds of the clock; 0 when it has ended.
    until: AtomicU64,
    /// Wakes those who wait for the end.
    ended: Notify,
    /// Set when the shard is to be handed over: nothing new is begun.
    closing: watch::Sender<bool>,
    /// Set when nothing that was begun is left.
    is_drained: AtomicBool,
}

/// The maximum time that [`Tenancy::ended`] sleeps: the timers of tokio do not count the time for which the machine is
/// suspended.
const LOOK: Duration = Duration::from_secs(1);

impl Tenancy {
    /// A tenancy that is valid until `until`.
    pub(super) fn new(epoch: u64, clock: BootClock, until: BootTime) -> Self {
        let until = AtomicU64::new(until.as_micros());
        Self {
            epoch,
            shared: Arc::new(Shared {
                clock,
                until,
                ended: Notify::new(),
                closing: watch::Sender::new(false),
                is_drained: AtomicBool::new(false),
            }),
        }
    }

    /// Whether this replica may act as the owner now.
    pub(crate) fn is_valid(&self) -> bool {
        self.is_valid_at(self.shared.clock.now())
    }

    /// Resolves once it is invalid.
    pub(crate) async fn ended(&self) {
        loop {
            let ended = self.shared.ended.notified();
            tokio::pin!(ended);
            ended.as_mut().enable();
            let now = self.shared.clock.now();
            if !self.is_valid_at(now) {
                return;
            }
            let until = self.shared.until.load(Ordering::Acquire);
            let left = Duration::from_micros(until.saturating_sub(now.as_micros()));
            tokio::select! {
                () = ended => {}
                () = sleep(left.min(LOOK)) => {}
            }
        }
    }

    /// Asks the owner to begin nothing new, because the shard is to be handed over.
    pub(super) fn close(&self) {
        self.shared.closing.send_replace(true);
    }

    /// Whether the owner is to begin nothing new.
    pub(crate) fn is_closing(&self) -> bool {
        *self.shared.closing.borrow()
    }

    /// Resolves once the owner is to begin nothing new.
    pub(crate) async fn closing(&self) {
        // The sender lives as long as `self`.
        let _ = self.shared.closing.subscribe().wait_for(|closing| *closing).await;
    }

    /// Tells that nothing is left of what was begun.
    pub(crate) fn drained(&self) {
        self.shared.is_drained.store(true, Ordering::Release);
    }

    /// Whether nothing is left of what was begun.
    pub(super) fn is_drained(&self) -> bool {
        self.shared.is_drained.load(Ordering::Acquire)
    }

    /// Whether it is valid at `now`. If it is not, nothing can extend it afterwards.
    pub(super) fn is_valid_at(&self, now: BootTime) -> bool {
        self.update(|until| if until > now.as_micros() { until } else { 0 }) != 0
    }

    /// Moves its end to `until`, unless that is earlier. Returns false if it is already invalid at `now`.
    pub(super) fn extend(&self, until: BootTime, now: BootTime) -> bool {
        self.update(|current| if current > now.as_micros() { current.max(until.as_micros()) } else { 0 }) != 0
    }

    /// Ends it.
    pub(super) fn end(&self) {
        self.shared.until.store(0, Ordering::Release);
        self.shared.ended.notify_waiters();
    }

    /// Replaces the end by `new` of it, and returns the new one. Writes only what changes.
    fn update(&self, new: impl Fn(u64) -> u64) -> u64 {
        let mut current = self.shared.until.load(Ordering::Acquire);
        loop {
            let next = new(current);
            if next == current {
                return next;
            }
            match self.shared.until.compare_exchange(current, next, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return next,
                Err(changed) => current = changed,
            }
        }
    }
}

impl fmt::Debug for Tenancy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tenancy").field("epoch", &self.epoch).field("valid", &self.is_valid()).finish_non_exhaustive()
    }
}
