//! The facts of subscriptions: each is told by the replica that delivers it, and learned by the others.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use grapnel_api::{Incarnation, ObjectKey};
use grapnel_delivery::breaker::OpenCircuit;
use grapnel_journal::{BoardRow, Tenure};

use super::{
    row::{Bucket, RowError},
    standing_row::{self, Standing},
    view::Revised,
};
use crate::{
    catalog::{
        SubscriptionFacts,
        observed::{LastResult, RemoteStanding},
    },
    runtime::limits::FACTS_URGENT,
};

/// The facts of subscriptions that this replica tells and has learned.
#[derive(Debug, Default)]
pub(super) struct Standings {
    subscriptions: BTreeMap<Incarnation, Told>,
    /// The rows of all replicas.
    rows: BTreeMap<(String, Bucket), Revised<Vec<Standing>>>,
    /// What this replica has written.
    written: BTreeMap<Bucket, Vec<Standing>>,
}

/// A subscription.
#[derive(Debug)]
struct Told {
    facts: Arc<SubscriptionFacts>,
    endpoint: Option<ObjectKey>,
    /// Since when this replica delivers it.
    serving: Option<i64>,
    /// Whether this replica has ever delivered it.
    has_served: bool,
}

/// What of a standing is told at once.
type Urgent = (Incarnation, LastResult, Option<OpenCircuitSince>, Option<i64>);
type OpenCircuitSince = jiff::Timestamp;

/// The key of the standings of a bucket.
pub(super) fn key_of(bucket: Bucket) -> String {
    format!("subscriptions-{:02x}", bucket.0)
}

fn bucket_of(key: &str) -> Option<Bucket> {
    u8::from_str_radix(key.strip_prefix("subscriptions-")?, 16).ok().map(Bucket)
}

impl Standings {
    /// Takes over the present subscriptions.
    pub(super) fn follow<'a>(
        &mut self,
        present: impl Iterator<Item = (Incarnation, Option<&'a ObjectKey>, &'a Arc<SubscriptionFacts>)>,
    ) {
        let mut before = std::mem::take(&mut self.subscriptions);
        for (object, endpoint, facts) in present {
            let known = before.remove(&object).filter(|known| Arc::ptr_eq(&known.facts, facts));
            let told = match known {
                Some(known) => Told { endpoint: endpoint.cloned(), ..known },
                None => {
                    let (facts, endpoint) = (Arc::clone(facts), endpoint.cloned());
                    Told { facts, endpoint, serving: None, has_served: false }
                }
            };
            self.subscriptions.insert(object, told);
        }
    }

    /// Takes over which subscriptions this replica delivers.
    pub(super) fn serve(&mut self, tenure: &Tenure, now: i64) {
        for told in self.subscriptions.values_mut() {
            let serves = told.endpoint.as_ref().is_some_and(|endpoint| tenure.serves(endpoint));
            if serves != told.serving.is_some() {
                told.serving = serves.then_some(now);
                told.has_served |= serves;
            }
        }
    }

    /// Applies a row of standings; other rows are ignored. Returns whether it is news.
    pub(super) fn apply(&mut self, row: &BoardRow) -> Result<bool, RowError> {
        let Some(bucket) = bucket_of(&row.key) else { return Ok(false) };
        let name = (row.author.clone(), bucket);
        if self.rows.get(&name).is_some_and(|known| known.revision >= row.revision) {
            return Ok(false);
        }
        self.rows.remove(&name);
        let standings = standing_row::decode(&row.value)?;
        self.rows.insert(name, Revised { revision: row.revision, row: standings });
        Ok(true)
    }

    /// Forgets every row, before all are read again.
    pub(super) fn forget_rows(&mut self) {
        self.rows.clear();
    }

    /// Every replica that has rows.
    pub(super) fn replicas(&self) -> BTreeSet<&str> {
        self.rows.keys().map(|(replica, _)| replica.as_str()).collect()
    }

    /// The rows of dead replicas. Every other replica has learned from them.
    pub(super) fn obsolete(&self, dead: &BTreeSet<String>) -> Vec<(String, Bucket, u64)> {
        let rows = self.rows.iter().filter(|((replica, _), _)| dead.contains(replica));
        rows.map(|((replica, bucket), row)| (replica.clone(), *bucket, row.revision)).collect()
    }

    /// Records that a row was removed.
    pub(super) fn removed(&mut self, replica: String, bucket: Bucket) {
        self.rows.remove(&(replica, bucket));
    }

    /// Tells every subscription what other replicas know of it.
    pub(super) fn publish(&self, replica: &str) {
        let mut owners: BTreeMap<&Incarnation, &Standing> = BTreeMap::new();
        let others = self.rows.iter().filter(|((author, _), _)| author != replica);
        for standing in others.flat_map(|(_, row)| &row.row) {
            let Some(told) = self.subscriptions.get(&standing.subscription) else { continue };
            told.facts.learn(&standing.reading);
            let owner = owners.entry(&standing.subscription).or_insert(standing);
            if owner.serving < standing.serving {
                *owner = standing;
            }
        }
        for (object, told) in &self.subscriptions {
            let owner = owners.get(object).filter(|owner| owner.serving.is_some());
            let remote = || {
                owner.map_or_else(RemoteStanding::default, |owner| RemoteStanding {
                    circuit: owner.reading.circuit,
                    pause: owner.reading.pause,
                })
            };
            told.facts.delivered_elsewhere(told.serving.is_none().then(remote));
        }
    }

    /// The rows that have changed: all if `is_due`, otherwise a few in which something has to be known at once.
    pub(super) fn drafts(&self, is_due: bool) -> Vec<(Bucket, Vec<Standing>)> {
        let mut all: BTreeMap<Bucket, Vec<Standing>> =
            self.written.keys().map(|bucket| (*bucket, Vec::new())).collect();
        for (object, told) in self.subscriptions.iter().filter(|(_, told)| told.has_served) {
            let reading = told.facts.told();
            let standing = Standing { subscription: object.clone(), serving: told.serving, reading };
            all.entry(Bucket::of(&object.key)).or_default().push(standing);
        }
        let changed = all.into_iter().filter(|(bucket, standings)| {
            let written = self.written.get(bucket).map(Vec::as_slice).unwrap_or_default();
            match is_due {
                true => written != standings.as_slice(),
                false => urgent(written) != urgent(standings),
            }
        });
        changed.take(if is_due { usize::MAX } else { FACTS_URGENT }).collect()
    }

    /// Records that a row was written.
    pub(super) fn wrote(&mut self, bucket: Bucket, standings: Vec<Standing>) {
        self.written.insert(bucket, standings);
    }
}

fn urgent(standings: &[Standing]) -> Vec<Urgent> {
    let since = |circuit: Option<OpenCircuit>| circuit.map(|circuit| circuit.since);
    let of = |standing: &Standing| {
        let reading = &standing.reading;
        (standing.subscription.clone(), reading.outcome, since(reading.circuit), standing.serving)
    };
    standings.iter().map(of).collect()
}
