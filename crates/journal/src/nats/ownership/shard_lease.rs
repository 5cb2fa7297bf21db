//! The lease of one shard, as one replica sees it.

use std::time::Duration;

use super::{
    clock::BootTime,
    registry::Row,
    rows::{self, LeaseRow},
    tenancy::Tenancy,
};

/// Who holds a lease, by its row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Holder {
    /// The row is absent, or the last owner has given the shard back.
    Free,
    /// This replica.
    Own,
    /// Another replica, or a row that cannot be read.
    Other,
}

/// The row of a lease as last seen.
#[derive(Debug)]
struct SeenLease {
    /// 0 if it is absent.
    revision: u64,
    /// The replica in the row.
    replica: Option<String>,
    holder: Holder,
    /// When it was seen first.
    since: BootTime,
}

/// One replica's view of one lease.
#[derive(Debug, Default)]
pub(super) struct ShardLease {
    /// `None` before it has been read.
    seen: Option<SeenLease>,
    /// This replica's tenancy.
    pub(super) tenancy: Option<Owned>,
    /// Whether a call for this lease is in progress: there is one at a time.
    pub(super) busy: bool,
    /// The number of the last beginning or end of a write. Reads that began before it say nothing.
    pub(super) written: u64,
    /// Whether the row must be read before the next write, because it is not what it was thought to be.
    pub(super) doubtful: bool,
    /// When the next write may be tried after one that failed.
    pub(super) retry: BootTime,
    /// This replica does not take the shard before, because it could not load it.
    pub(super) declined_until: Option<BootTime>,
    /// How long the shard is declined when it is given back next.
    pub(super) decline: Duration,
}

/// A tenancy of this replica.
#[derive(Debug)]
pub(super) struct Owned {
    pub(super) tenancy: Tenancy,
    /// When it began.
    pub(super) taken: BootTime,
    /// When the last renewal that succeeded was sent.
    pub(super) renewed: BootTime,
    /// Since when it has been closing.
    pub(super) closing: Option<BootTime>,
}

impl ShardLease {
    /// Takes the row as read. `now` is when the read ended. `newest`: it is certainly the newest one.
    pub(super) fn observe(&mut self, row: Option<&Row>, replica: &str, newest: bool, now: BootTime) {
        let revision = row.map_or(0, |row| row.revision);
        match &self.seen {
            Some(seen) if seen.revision == revision => {}
            Some(seen) if !newest && seen.revision > revision => return,
            _ => {
                let row = row.map(|row| rows::decode::<LeaseRow>(&row.value));
                let (holder, holds) = match row {
                    None => (Holder::Free, None),
                    // The replica that wrote it may be alive.
                    Some(None) => (Holder::Other, None),
                    Some(Some(LeaseRow { replica: None, .. })) => (Holder::Free, None),
                    Some(Some(LeaseRow { replica: Some(it), .. })) if it == replica => (Holder::Own, Some(it)),
                    Some(Some(LeaseRow { replica: Some(it), .. })) => (Holder::Other, Some(it)),
                };
                self.seen = Some(SeenLease { revision, replica: holds, holder, since: now });
            }
        }
        self.doubtful &= !newest;
        if self.holder() != Some(Holder::Own) {
            self.end();
        }
    }

    /// Takes a row that this replica has written.
    pub(super) fn wrote(&mut self, revision: u64, replica: Option<&str>, now: BootTime) {
        let holder = if replica.is_some() { Holder::Own } else { Holder::Free };
        let replica = replica.map(str::to_owned);
        self.seen = Some(SeenLease { revision, replica, holder, since: now });
        self.doubtful = false;
    }

    /// Who holds it; `None` if it has not been read.
    pub(super) fn holder(&self) -> Option<Holder> {
        self.seen.as_ref().map(|seen| seen.holder)
    }

    /// The revision of its row.
    pub(super) fn revision(&self) -> u64 {
        self.seen.as_ref().map_or(0, |seen| seen.revision)
    }

    /// The epoch of the next tenancy. It is higher than that of every earlier one: an epoch is at most the revision of
    /// the row that began it, and revisions ascend.
    pub(super) fn next_epoch(&self) -> u64 {
        self.revision() + 1
    }

    /// The replica in the row, if it is another one whose lease has expired.
    pub(super) fn expired(&self, expiry: Duration, now: BootTime) -> Option<&str> {
        let seen = self.seen.as_ref()?;
        let expired = seen.holder == Holder::Other && now.since(seen.since) >= expiry;
        seen.replica.as_deref().filter(|_| expired)
    }

    /// How long any replica has been allowed to take the shard; `None` if it may not be taken.
    pub(super) fn takeable(&self, expiry: Duration, now: BootTime) -> Option<Duration> {
        let seen = self.seen.as_ref()?;
        let since = match seen.holder {
            // Every earlier tenancy of this replica has ended, and no other replica has written since.
            Holder::Free | Holder::Own => seen.since,
            Holder::Other => seen.since.after(expiry),
        };
        (now >= since).then(|| now.since(since))
    }

    /// Whether this replica declines the shard at present.
    pub(super) fn declines(&self, now: BootTime) -> bool {
        self.declined_until.is_some_and(|until| now < until)
    }

    /// Ends the tenancy, if there is one.
    pub(super) fn end(&mut self) -> Option<Owned> {
        let owned = self.tenancy.take()?;
        owned.tenancy.end();
        Some(owned)
    }
}

impl Drop for ShardLease {
    /// Without renewals it ends by itself; this ends it at once.
    fn drop(&mut self) {
        self.end();
    }
}
