//! The rules of the election for one replica: what to request next, and until when it may act as the holder.
//!
//! There is no I/O and no clock here. A turn begins with [`Election::begin`]; each [`Step`] says what to request, and the
//! answer leads to the next step. A request that fails or times out just ends the turn: whether it was applied is
//! unknown, and the next turn reads the Lease.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::MicroTime,
};
use kube::core::ObjectMeta;

use crate::controller::limits;

/// One replica's view of the election.
pub(super) struct Election {
    name: String,
    identity: String,
    duration: Duration,
    /// The Lease as last read, and when it was seen to change.
    seen: Option<(Lease, Instant)>,
    /// Until when this replica may act as the holder.
    until: Option<Instant>,
    /// When the last write of the Lease began.
    writing: Option<Instant>,
}

/// A time by both clocks. Only the monotonic one decides anything; the other is for readers of the Lease.
#[derive(Debug, Clone, Copy)]
pub(super) struct Now {
    pub(super) monotonic: Instant,
    pub(super) wall: Timestamp,
}

/// What a turn does next.
#[derive(Debug)]
pub(super) enum Step {
    /// Read the Lease, and call [`Election::read`].
    Read,
    /// Create the Lease, and call [`Election::written`] or [`Election::outrun`].
    Create(Box<Lease>),
    /// Replace the Lease in the version that it has, and call [`Election::written`] or [`Election::outrun`].
    Replace(Box<Lease>),
    /// The turn is over, with a change to publish, if any.
    End(Option<Change>),
}

/// A change of [`Election::until`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    /// This replica is the holder now.
    Acquired,
    /// This replica is the holder for longer.
    Renewed,
    /// Another replica holds the Lease.
    Taken,
    /// The Lease could not be renewed in time.
    Expired,
}

impl Election {
    /// An election for the Lease `name`, which lasts `duration` without renewal.
    pub(super) fn new(name: String, identity: String, duration: Duration) -> Self {
        Self { name, identity, duration, seen: None, until: None, writing: None }
    }

    /// Until when this replica may act as the holder, if it is.
    pub(super) fn until(&self) -> Option<Instant> {
        self.until
    }

    /// The holder of the Lease as last read, if another replica holds it.
    pub(super) fn holder(&self) -> Option<&str> {
        let (lease, _) = self.seen.as_ref()?;
        let holder = lease.spec.as_ref()?.holder_identity.as_deref()?;
        (holder != self.identity && !holder.is_empty()).then_some(holder)
    }

    /// Begins a turn.
    pub(super) fn begin(&mut self, now: Now) -> Step {
        // While this replica holds the Lease no other writes it, so the version read last is current.
        match self.seen.take_if(|_| self.until.is_some()) {
            Some((lease, _)) => self.take(lease, now),
            None => Step::Read,
        }
    }

    /// Continues with the Lease as it was read; `None` if it does not exist.
    pub(super) fn read(&mut self, lease: Option<Lease>, now: Now) -> Step {
        let Some(lease) = lease else { return self.create(now) };
        let holder = lease.spec.as_ref().and_then(|spec| spec.holder_identity.as_deref()).unwrap_or_default();
        if holder == self.identity || holder.is_empty() || self.expired(&lease, now.monotonic) {
            self.take(lease, now)
        } else {
            self.remember(lease, now.monotonic);
            self.lose(Change::Taken)
        }
    }

    /// Continues with the Lease as this replica has written it.
    pub(super) fn written(&mut self, lease: Lease) -> Step {
        let Some(began) = self.writing.take() else { return Step::End(None) };
        self.seen = Some((lease, began));
        let before = self.until.replace(began + self.duration * 2 / 3);
        Step::End(Some(if before.is_none() { Change::Acquired } else { Change::Renewed }))
    }

    /// Continues after a write was rejected: another replica was faster, or the Lease was deleted. The next turn reads
    /// it.
    pub(super) fn outrun(&mut self) -> Step {
        self.seen = None;
        self.lose(Change::Taken)
    }

    /// Ends the time as the holder if it is over.
    pub(super) fn expire(&mut self, now: Instant) -> Option<Change> {
        self.until.take_if(|until| now >= *until).map(|_| Change::Expired)
    }

    /// Ends the time as the holder. Returns the Lease to write, so that the next replica need not wait until it expires.
    pub(super) fn release(&mut self) -> Option<Lease> {
        let held = self.until.take().is_some();
        let (mut lease, _) = self.seen.take().filter(|_| held)?;
        if let Some(spec) = &mut lease.spec {
            spec.holder_identity = None;
            spec.acquire_time = None;
            // Not null: validation requires a positive number once it is set.
            spec.lease_duration_seconds = Some(1);
        }
        Some(lease)
    }

    fn create(&mut self, now: Now) -> Step {
        self.writing = Some(now.monotonic);
        Step::Create(Box::new(Lease {
            metadata: ObjectMeta { name: Some(self.name.clone()), ..ObjectMeta::default() },
            spec: Some(self.spec(None, now.wall)),
        }))
    }

    fn take(&mut self, mut lease: Lease, now: Now) -> Step {
        self.writing = Some(now.monotonic);
        lease.spec = Some(self.spec(lease.spec.as_ref(), now.wall));
        Step::Replace(Box::new(lease))
    }

    fn lose(&mut self, change: Change) -> Step {
        Step::End(self.until.take().map(|_| change))
    }

    /// Whether the holder has not renewed the Lease for its whole duration, by this replica's clock.
    fn expired(&self, lease: &Lease, now: Instant) -> bool {
        let seconds = lease.spec.as_ref().and_then(|spec| spec.lease_duration_seconds).unwrap_or_default();
        let duration = Duration::from_secs(u64::try_from(seconds).unwrap_or_default()).max(limits::LEASE_DURATION_MIN);
        self.seen.as_ref().is_some_and(|(seen, since)| same(seen, lease) && now.duration_since(*since) >= duration)
    }

    /// Records the Lease, and the time only if it has changed.
    fn remember(&mut self, lease: Lease, now: Instant) {
        let since = match &self.seen {
            Some((seen, since)) if same(seen, &lease) => *since,
            _ => now,
        };
        self.seen = Some((lease, since));
    }

    fn spec(&self, previous: Option<&LeaseSpec>, wall: Timestamp) -> LeaseSpec {
        let mine = previous.filter(|spec| spec.holder_identity.as_deref() == Some(self.identity.as_str()));
        let transitions = previous.and_then(|spec| spec.lease_transitions).unwrap_or_default();
        let another = i32::from(mine.is_none() && previous.is_some());
        LeaseSpec {
            holder_identity: Some(self.identity.clone()),
            lease_duration_seconds: Some(i32::try_from(self.duration.as_secs()).unwrap_or(i32::MAX)),
            acquire_time: mine.and_then(|spec| spec.acquire_time.clone()).or(Some(MicroTime(wall))),
            renew_time: Some(MicroTime(wall)),
            lease_transitions: Some(transitions.saturating_add(another)),
            ..LeaseSpec::default()
        }
    }
}

/// Whether the Lease has not been written in between.
fn same(one: &Lease, other: &Lease) -> bool {
    one.metadata.resource_version == other.metadata.resource_version && one.metadata.uid == other.metadata.uid
}

#[cfg(test)]
mod tests;
