//! The live replicas, and which of them should own a shard.

use std::{collections::BTreeMap, time::Duration};

use sha2::{Digest, Sha256};

use super::{
    clock::BootTime,
    registry::Row,
    rows::{self, MemberRow},
};

/// The other replicas, as seen in their member rows.
#[derive(Debug, Default)]
pub(super) struct Membership {
    seen: BTreeMap<String, Seen>,
    /// When the last successful read began.
    read: Option<BootTime>,
}

/// The member row of another replica.
#[derive(Debug)]
struct Seen {
    revision: u64,
    /// When it was seen alive first, without an interruption since.
    first: BootTime,
    /// When it was last seen to change.
    changed: BootTime,
    declined: Vec<u16>,
}

impl Membership {
    /// Takes the rows of the other replicas from a read that `began` then and ended `now`.
    pub(super) fn observe<'a>(
        &mut self,
        rows: impl Iterator<Item = (&'a str, &'a Row)>,
        (began, now): (BootTime, BootTime),
        expiry: Duration,
    ) {
        let last = self.read.replace(began);
        // While the rows could not be read, they could not be written either: the replicas that were alive then have time to
        // show that they still are.
        let silence = last.is_some_and(|last| began.since(last) > expiry / 2);
        let mut before = std::mem::take(&mut self.seen);
        for (replica, row) in rows {
            let MemberRow { declined } = rows::decode(&row.value).unwrap_or_default();
            let seen = match before.remove(replica) {
                None => Seen { revision: row.revision, first: now, changed: now, declined },
                Some(seen) => {
                    let was_alive = last.is_some_and(|last| last.since(seen.changed) < expiry);
                    // A read may return an older row than the one before.
                    let (revision, written) = (seen.revision.max(row.revision), row.revision > seen.revision);
                    let changed = if written || (silence && was_alive) { now } else { seen.changed };
                    let first = if written && !was_alive { now } else { seen.first };
                    let declined = if row.revision < seen.revision { seen.declined } else { declined };
                    Seen { revision, first, changed, declined }
                }
            };
            self.seen.insert(replica.to_owned(), seen);
        }
    }

    /// Whether the rows have ever been read.
    pub(super) fn is_known(&self) -> bool {
        self.read.is_some()
    }

    /// The other replicas that are alive.
    fn alive(&self, expiry: Duration) -> impl Iterator<Item = (&str, &Seen)> {
        let read = self.read.unwrap_or_default();
        let alive = move |seen: &Seen| read.since(seen.changed) < expiry;
        self.seen.iter().filter(move |(_, seen)| alive(seen)).map(|(replica, seen)| (replica.as_str(), seen))
    }

    /// How many other replicas are alive.
    pub(super) fn count(&self, expiry: Duration) -> usize {
        self.alive(expiry).count()
    }

    /// How long another replica has been alive.
    pub(super) fn age(&self, replica: &str, now: BootTime) -> Duration {
        self.seen.get(replica).map_or(Duration::ZERO, |seen| now.since(seen.first))
    }

    /// A row that has not changed for `age`, with its revision: its replica has ended without removing it.
    pub(super) fn forgotten(&self, age: Duration) -> Option<(&str, u64)> {
        let read = self.read?;
        let forgotten = self.seen.iter().find(|(_, seen)| read.since(seen.changed) >= age);
        forgotten.map(|(replica, seen)| (replica.as_str(), seen.revision))
    }

    /// Who should own the shard: of the live replicas that do not decline it, the one with the highest weight. `own` is
    /// this replica, unless it declines; `except` is a replica that is known not to be alive.
    pub(super) fn desired<'a>(
        &'a self,
        shard: u16,
        own: Option<&'a str>,
        except: Option<&str>,
        expiry: Duration,
    ) -> Option<&'a str> {
        let others = self.alive(expiry).filter(|(_, seen)| !seen.declined.contains(&shard)).map(|(replica, _)| replica);
        let candidates = others.chain(own).filter(|replica| except != Some(*replica));
        candidates.max_by_key(|replica| (weight(replica, shard), *replica))
    }
}

/// The weight of a replica for a shard (rendezvous hashing): when a replica comes or goes, only its shards move.
fn weight(replica: &str, shard: u16) -> [u8; 32] {
    Sha256::new().chain_update(replica).chain_update([0]).chain_update(shard.to_be_bytes()).finalize().into()
}
