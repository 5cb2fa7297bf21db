//! The rules of the ownership for one replica: what to request next, and what it owns.
//!
//! There is no I/O and no clock here. [`Contender::next`] says what to request, the most urgent call first, and
//! [`Contender::done`] takes what came of it. A call may fail with its effect in doubt, and may take effect later.
//!
//! Why two replicas never own a shard at the same time: an owner counts its tenancy from the moment at which it *sent*
//! the last renewal that succeeded, for `deadline`. Another replica takes the lease only by compare-and-set on a
//! revision that it has seen for `expiry`, so the last renewal was sent at least `expiry` ago, and `deadline` is
//! shorter. A row that is given back is written after the tenancy has ended.

use std::{sync::Arc, time::Duration};

use super::{
    call::{LeaseWrite, RegistryAnswer, RegistryCall},
    clock::{BootClock, BootTime},
    membership::Membership,
    registry::{RegistryError, Row},
    rows::{self, LeaseRow, MemberRow},
    shard_lease::{Holder, Owned, ShardLease},
    tenancy::{Held, Tenancy},
    timings::Timings,
};
use crate::limits::MEMBER_FORGET;

/// The member row of this replica.
#[derive(Debug, Default)]
struct Presence {
    /// 0 if it is absent.
    revision: u64,
    /// When the last write was begun, and what it says.
    sent: Option<(BootTime, Vec<u16>)>,
    /// Whether it must be read before the next write, because the last one failed.
    doubtful: bool,
    /// When the next call may be made after one that failed.
    retry: BootTime,
    busy: bool,
    /// Whether it has been removed at shutdown.
    removed: bool,
}

impl Presence {
    fn is_idle(&self, now: BootTime) -> bool {
        !self.busy && !self.doubtful && now >= self.retry
    }

    fn failed(&mut self, retry: BootTime) {
        (self.doubtful, self.retry) = (true, retry);
    }
}

/// A call that is repeated periodically.
#[derive(Debug, Default)]
struct Poll {
    busy: bool,
    last: Option<BootTime>,
}

impl Poll {
    fn is_due(&self, every: Duration, now: BootTime) -> bool {
        !self.busy && self.last.is_none_or(|last| now.since(last) >= every)
    }

    fn begin(&mut self, now: BootTime) {
        (self.busy, self.last) = (true, Some(now));
    }
}

/// One replica's part in the ownership.
pub(super) struct Contender {
    replica: Arc<str>,
    timings: Timings,
    clock: BootClock,
    shards: Vec<ShardLease>,
    members: Membership,
    presence: Presence,
    read_leases: Poll,
    read_members: Poll,
    remove_members: Poll,
    /// Counts beginnings and ends of writes of leases.
    written: u64,
    /// When the last tenancy was closed to hand its shard over.
    closed: Option<BootTime>,
    /// Set at shutdown: everything is given back.
    leaving: bool,
}

impl Contender {
    pub(super) fn new(replica: Arc<str>, shards: u16, timings: Timings, clock: BootClock) -> Self {
        let shards = std::iter::repeat_with(ShardLease::default).take(usize::from(shards)).collect();
        Self {
            replica,
            timings,
            clock,
            shards,
            members: Membership::default(),
            presence: Presence::default(),
            read_leases: Poll::default(),
            read_members: Poll::default(),
            remove_members: Poll::default(),
            written: 0,
            closed: None,
            leaving: false,
        }
    }

    /// The shards that this replica owns.
    pub(super) fn held(&self) -> Held {
        let owned = self.numbered().filter_map(|(shard, lease)| Some((shard, lease.tenancy.as_ref()?.tenancy.clone())));
        Held { shards: owned.collect() }
    }

    /// How many replicas are alive, with this one.
    pub(super) fn members(&self) -> usize {
        self.members.count(self.timings.expiry) + 1
    }

    /// Ends the tenancy of a shard, and does not take it again for a while: this replica cannot use it.
    pub(super) fn give_back(&mut self, shard: u16, now: BootTime) {
        let Timings { renew, join, .. } = self.timings;
        let Some(lease) = self.shards.get_mut(usize::from(shard)) else { return };
        let lasted = lease.end().map_or(Duration::ZERO, |owned| now.since(owned.taken));
        let pause = if lasted >= join { renew } else { lease.decline.max(renew) };
        lease.declined_until = Some(now.after(pause));
        lease.decline = (pause * 2).min(join);
    }

    /// Ends every tenancy; from now on leases are only given back.
    pub(super) fn leave(&mut self) {
        self.leaving = true;
        for lease in &mut self.shards {
            lease.end();
        }
    }

    /// Whether nothing in the registry names this replica any more.
    pub(super) fn has_left(&self) -> bool {
        let free = |lease: &ShardLease| !lease.busy && !lease.doubtful && lease.holder() != Some(Holder::Own);
        self.leaving && self.shards.iter().all(free) && self.presence.removed
    }

    /// The next call to begin now, if any. [`Contender::done`] must be called for each.
    pub(super) fn next(&mut self, now: BootTime) -> Option<RegistryCall> {
        for lease in &mut self.shards {
            if lease.tenancy.as_ref().is_some_and(|owned| !owned.tenancy.is_valid_at(now)) {
                lease.end();
            }
        }
        if self.leaving {
            // The member row goes first: no other replica expects this one to take what it gives back.
            return self.be_absent(now).or_else(|| self.read_doubtful(now)).or_else(|| self.give_back_one(now));
        }
        self.renew(now)
            .or_else(|| self.read_doubtful(now))
            .or_else(|| self.hand_over_one(now))
            .or_else(|| self.give_back_one(now))
            .or_else(|| self.be_present(now))
            .or_else(|| self.poll(now))
            .or_else(|| self.take_one(now))
            .or_else(|| self.forget_one(now))
    }

    fn renew(&mut self, now: BootTime) -> Option<RegistryCall> {
        let every = self.timings.renew;
        let due = |lease: &ShardLease| {
            let renewed = lease.tenancy.as_ref().map(|owned| owned.renewed);
            !lease.busy && !lease.doubtful && now >= lease.retry && renewed.is_some_and(|it| now.since(it) >= every)
        };
        let (shard, lease) = self.numbered().find(|(_, lease)| due(lease))?;
        let epoch = lease.tenancy.as_ref()?.tenancy.epoch;
        Some(self.write(shard, Some(epoch), LeaseWrite::Renew))
    }

    fn read_doubtful(&mut self, now: BootTime) -> Option<RegistryCall> {
        if self.presence.doubtful && !self.presence.busy && now >= self.presence.retry {
            self.presence.busy = true;
            return Some(RegistryCall::ReadMember { replica: Arc::clone(&self.replica) });
        }
        let doubtful = |lease: &ShardLease| lease.doubtful && !lease.busy && now >= lease.retry;
        let shard = self.numbered().find(|(_, lease)| doubtful(lease))?.0;
        self.shards.get_mut(usize::from(shard))?.busy = true;
        Some(RegistryCall::ReadLease { shard })
    }

    /// Closes the tenancy of a shard that another replica should own, one at a time, so that the successor loads them one
    /// after the other.
    fn close_one(&mut self, now: BootTime) {
        let Timings { join, poll, expiry, .. } = self.timings;
        if self.closed.is_some_and(|last| now.since(last) < poll) {
            return;
        }
        let own = Some(&*self.replica);
        let moves = |(shard, lease): &(u16, &ShardLease)| {
            let open = lease.tenancy.as_ref().filter(|owned| owned.closing.is_none());
            let long_held = open.is_some_and(|owned| now.since(owned.taken) >= join);
            let desired = || self.members.desired(*shard, own, None, expiry).filter(|desired| own != Some(*desired));
            long_held && desired().is_some_and(|successor| self.members.age(successor, now) >= join)
        };
        let Some((shard, _)) = self.numbered().find(moves) else { return };
        if let Some(owned) = self.shards.get_mut(usize::from(shard)).and_then(|lease| lease.tenancy.as_mut()) {
            owned.tenancy.close();
            owned.closing = Some(now);
            self.closed = Some(now);
        }
    }

    /// Ends the tenancy of a shard that is closing, as soon as nothing is in flight or its time is over. Its lease is
    /// given back.
    fn hand_over_one(&mut self, now: BootTime) -> Option<RegistryCall> {
        self.close_one(now);
        let closed = |lease: &ShardLease| {
            let owned = lease.tenancy.as_ref();
            let over = |since: BootTime| now.since(since) >= self.timings.hand_over;
            owned.is_some_and(|owned| owned.closing.is_some_and(|since| owned.tenancy.is_drained() || over(since)))
        };
        let shard = self.numbered().find(|(_, lease)| !lease.busy && closed(lease))?.0;
        self.shards.get_mut(usize::from(shard))?.end();
        Some(self.write(shard, None, LeaseWrite::GiveBack))
    }

    /// Gives back a lease that is this replica's by its row, while it has no tenancy and does not want one.
    fn give_back_one(&mut self, now: BootTime) -> Option<RegistryCall> {
        let unwanted = |(shard, lease): &(u16, &ShardLease)| {
            let idle = !lease.busy && !lease.doubtful && now >= lease.retry && lease.tenancy.is_none();
            idle && lease.holder() == Some(Holder::Own) && !self.wants(*shard, lease, now)
        };
        let shard = self.numbered().find(unwanted)?.0;
        Some(self.write(shard, None, LeaseWrite::GiveBack))
    }

    fn be_present(&mut self, now: BootTime) -> Option<RegistryCall> {
        if !self.presence.is_idle(now) {
            return None;
        }
        let declined: Vec<u16> = self.numbered().filter(|(_, lease)| lease.declines(now)).map(|(it, _)| it).collect();
        let said = |(sent, said): &(BootTime, Vec<u16>)| now.since(*sent) < self.timings.member && *said == declined;
        if self.presence.revision != 0 && self.presence.sent.as_ref().is_some_and(said) {
            return None;
        }
        self.presence.busy = true;
        let value = rows::encode(&MemberRow { declined: declined.clone() });
        self.presence.sent = Some((now, declined));
        let (replica, expected) = (Arc::clone(&self.replica), self.presence.revision);
        Some(RegistryCall::WriteMember { replica, value, expected })
    }

    /// Removes the member row at shutdown.
    fn be_absent(&mut self, now: BootTime) -> Option<RegistryCall> {
        if self.presence.removed || !self.presence.is_idle(now) {
            return None;
        }
        let (replica, revision) = (Arc::clone(&self.replica), self.presence.revision);
        if revision == 0 {
            self.presence.removed = true;
            return None;
        }
        self.presence.busy = true;
        Some(RegistryCall::RemoveMember { replica, revision })
    }

    fn poll(&mut self, now: BootTime) -> Option<RegistryCall> {
        let every = self.timings.poll;
        if self.read_leases.is_due(every, now) {
            self.read_leases.begin(now);
            return Some(RegistryCall::ReadLeases { written: self.written });
        }
        if self.read_members.is_due(every, now) {
            self.read_members.begin(now);
            return Some(RegistryCall::ReadMembers);
        }
        None
    }

    fn take_one(&mut self, now: BootTime) -> Option<RegistryCall> {
        let wanted = |(shard, lease): &(u16, &ShardLease)| {
            let idle = !lease.busy && !lease.doubtful && now >= lease.retry && lease.tenancy.is_none();
            idle && self.wants(*shard, lease, now)
        };
        let (shard, lease) = self.numbered().find(wanted)?;
        let epoch = lease.next_epoch();
        Some(self.write(shard, Some(epoch), LeaseWrite::Take { epoch }))
    }

    /// Whether this replica takes a shard now.
    fn wants(&self, shard: u16, lease: &ShardLease, now: BootTime) -> bool {
        let expiry = self.timings.expiry;
        let ready = !self.leaving && self.presence.revision != 0 && self.members.is_known() && !lease.declines(now);
        let Some(free) = lease.takeable(expiry, now).filter(|_| ready) else { return false };
        let desired = self.members.desired(shard, Some(&self.replica), lease.expired(expiry, now), expiry);
        // The replica that should take it has had enough time.
        desired == Some(&*self.replica) || free >= expiry
    }

    fn forget_one(&mut self, now: BootTime) -> Option<RegistryCall> {
        if !self.remove_members.is_due(self.timings.member, now) {
            return None;
        }
        let (replica, revision) = self.members.forgotten(self.timings.expiry * MEMBER_FORGET)?;
        let replica = replica.into();
        self.remove_members.begin(now);
        Some(RegistryCall::RemoveMember { replica, revision })
    }

    /// Begins to write a lease; `epoch` is `None` to give it back.
    fn write(&mut self, shard: u16, epoch: Option<u64>, write: LeaseWrite) -> RegistryCall {
        self.written += 1;
        let written = self.written;
        let mut expected = 0;
        let mut row = LeaseRow { replica: epoch.map(|_| self.replica.to_string()), epoch: epoch.unwrap_or_default() };
        if let Some(lease) = self.shards.get_mut(usize::from(shard)) {
            expected = lease.revision();
            row.epoch = epoch.unwrap_or(expected);
            (lease.busy, lease.written) = (true, written);
        }
        RegistryCall::WriteLease { shard, value: rows::encode(&row), expected, write }
    }

    /// Takes the answer of a call that was sent at `sent`. `now` is when the answer came.
    pub(super) fn done(&mut self, call: RegistryCall, sent: BootTime, answer: RegistryAnswer, now: BootTime) {
        match call {
            RegistryCall::ReadLeases { written } => {
                self.read_leases.busy = false;
                if let RegistryAnswer::Rows(read) = answer {
                    self.observe_leases(&read, written, now);
                }
            }
            RegistryCall::ReadMembers => {
                self.read_members.busy = false;
                if let RegistryAnswer::Rows(read) = answer {
                    let others = read.iter().filter_map(|(key, row)| Some((rows::replica_of(key)?, row)));
                    let others = others.filter(|(replica, _)| *replica != &*self.replica);
                    self.members.observe(others, (sent, now), self.timings.expiry);
                }
            }
            RegistryCall::ReadLease { shard } => {
                let Some(lease) = self.shards.get_mut(usize::from(shard)) else { return };
                lease.busy = false;
                lease.retry = now.after(self.timings.poll);
                if let RegistryAnswer::Row(row) = answer {
                    lease.retry = now;
                    lease.observe(row.as_ref(), &self.replica, true, now);
                }
            }
            RegistryCall::ReadMember { .. } => {
                self.presence.busy = false;
                if let RegistryAnswer::Row(row) = answer {
                    self.presence.doubtful = false;
                    self.presence.revision = row.map_or(0, |row| row.revision);
                } else {
                    self.presence.retry = now.after(self.timings.poll);
                }
            }
            RegistryCall::WriteMember { .. } => {
                self.presence.busy = false;
                match answer {
                    RegistryAnswer::Written(revision) => self.presence.revision = revision,
                    // This or an earlier write in doubt has been stored, or the row was removed as forgotten.
                    _ => self.presence.failed(now.after(self.timings.poll)),
                }
            }
            RegistryCall::RemoveMember { replica, .. } => {
                if replica != self.replica {
                    self.remove_members.busy = false;
                    return;
                }
                self.presence.busy = false;
                if matches!(answer, RegistryAnswer::Removed) {
                    self.presence.removed = true;
                } else {
                    self.presence.failed(now.after(self.timings.poll));
                }
            }
            RegistryCall::WriteLease { shard, write, .. } => self.lease_written(shard, write, sent, answer, now),
        }
    }

    fn observe_leases(&mut self, read: &[(String, Row)], written: u64, now: BootTime) {
        for (shard, lease) in (0..).zip(&mut self.shards) {
            // What was written during the read may be in it or not.
            if !lease.busy && lease.written <= written {
                let row = read.iter().find(|(key, _)| rows::shard_of(key) == Some(shard)).map(|(_, row)| row);
                lease.observe(row, &self.replica, false, now);
            }
        }
    }

    fn lease_written(&mut self, shard: u16, write: LeaseWrite, sent: BootTime, answer: RegistryAnswer, now: BootTime) {
        self.written += 1;
        let Timings { deadline, poll, .. } = self.timings;
        let leaving = self.leaving;
        let Some(lease) = self.shards.get_mut(usize::from(shard)) else { return };
        (lease.busy, lease.written) = (false, self.written);
        let RegistryAnswer::Written(revision) = answer else {
            // After a conflict the row is another one; otherwise the write may have been stored, now or later. A
            // renewal can be repeated as it is: if it has been stored, that is a conflict.
            let conflict = matches!(answer, RegistryAnswer::Failed(RegistryError::Conflict));
            lease.doubtful |= conflict || write != LeaseWrite::Renew;
            lease.retry = if conflict { now } else { now.after(poll) };
            return;
        };
        let replica = (write != LeaseWrite::GiveBack).then_some(&*self.replica);
        lease.wrote(revision, replica, now);
        let until = sent.after(deadline);
        match write {
            LeaseWrite::GiveBack => {}
            LeaseWrite::Renew => {
                // It may have been given back while the renewal was in progress.
                let extended = lease.tenancy.as_mut().is_some_and(|owned| {
                    owned.renewed = owned.renewed.max(sent);
                    owned.tenancy.extend(until, now)
                });
                if !extended {
                    lease.end();
                }
            }
            LeaseWrite::Take { epoch } => {
                // An answer that comes after the deadline is of no use, but the row is this replica's.
                if now < until && !leaving && !lease.declines(now) {
                    let tenancy = Tenancy::new(epoch, self.clock, until);
                    lease.tenancy = Some(Owned { tenancy, taken: now, renewed: sent, closing: None });
                }
            }
        }
    }

    /// The leases with the numbers of their shards.
    fn numbered(&self) -> impl Iterator<Item = (u16, &ShardLease)> {
        (0..).zip(&self.shards)
    }
}
