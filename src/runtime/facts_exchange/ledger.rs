//! What this replica has counted, and how much of it is in its rows and in the totals.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Instant,
};

use grapnel_api::Incarnation;

use super::{
    row::{Bucket, Counts, ReplicaRow},
    view::{BoardView, Revised},
};
use crate::{
    catalog::{EndpointFacts, EndpointReading},
    runtime::limits::FACTS_GONE,
};

/// The counts of this replica.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    objects: BTreeMap<Incarnation, Entry>,
    rows: BTreeMap<Bucket, OwnRow>,
}

/// An endpoint.
#[derive(Debug)]
struct Entry {
    /// Its facts; they begin at zero if the object is unknown to this replica for a while.
    facts: Arc<EndpointFacts>,
    /// What was counted before by facts that were dropped, or by a process of the same name.
    carried: EndpointReading,
    /// What the totals have of this replica's counts.
    folded: EndpointReading,
    /// Since when the object has been absent.
    absent: Option<Instant>,
}

/// This replica's row of one bucket.
#[derive(Debug, Default)]
struct OwnRow {
    /// Its revision; 0 if there is none.
    revision: u64,
    /// What it contains.
    written: Counts,
    /// What it contains instead, if the last write was stored although it failed: at least as much as with an earlier
    /// one that failed.
    attempted: Option<Counts>,
    /// The revision of the last row that was added to the total. What it has of this replica's counts is known.
    settled: u64,
    /// The last write was refused: the row is not the one that was written last.
    is_lost: bool,
}

/// A row to write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Draft {
    pub(super) bucket: Bucket,
    /// The revision that it replaces.
    pub(super) revision: u64,
    pub(super) row: ReplicaRow,
}

/// The result of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Written {
    /// Stored with this revision.
    Stored(u64),
    /// Not stored: the row has another revision.
    Refused,
    /// It may have been stored.
    Unknown,
}

impl Entry {
    fn of(facts: Arc<EndpointFacts>) -> Self {
        Self { facts, carried: EndpointReading::default(), folded: EndpointReading::default(), absent: None }
    }

    /// What this replica has counted, without what the totals have of it.
    fn net(&self) -> EndpointReading {
        let mut net = self.facts.own();
        net.add(&self.carried);
        net.subtract(&self.folded);
        net
    }
}

impl OwnRow {
    /// No row, after one of this revision.
    fn settled(settled: u64) -> Self {
        Self { settled, ..Self::default() }
    }
}

impl Ledger {
    /// Takes over the present objects.
    pub(super) fn follow<'a>(
        &mut self,
        objects: impl Iterator<Item = (Incarnation, &'a Arc<EndpointFacts>)>,
        now: Instant,
    ) {
        let mut present = BTreeSet::new();
        for (object, facts) in objects {
            present.insert(object.clone());
            let entry = self.objects.entry(object).or_insert_with(|| Entry::of(Arc::clone(facts)));
            entry.absent = None;
            if !Arc::ptr_eq(&entry.facts, facts) {
                entry.carried.add(&entry.facts.own());
                entry.facts = Arc::clone(facts);
            }
        }
        for (object, entry) in &mut self.objects {
            if !present.contains(object) {
                entry.absent.get_or_insert(now);
            }
        }
    }

    /// Forgets objects that have been absent for long.
    pub(super) fn forget_absent(&mut self, now: Instant) {
        self.objects.retain(|_, entry| entry.absent.is_none_or(|since| now.duration_since(since) < FACTS_GONE));
    }

    /// Every present object with the counts of its earlier status.
    pub(super) fn present(&self) -> BTreeMap<Bucket, Counts> {
        let mut present: BTreeMap<Bucket, Counts> = BTreeMap::new();
        for (object, entry) in self.objects.iter().filter(|(_, entry)| entry.absent.is_none()) {
            let bucket = present.entry(Bucket::of(&object.key)).or_default();
            bucket.insert(object.clone(), entry.facts.earlier());
        }
        present
    }

    /// Whether an object is present, or was until recently.
    pub(super) fn knows(&self, object: &Incarnation) -> bool {
        self.objects.contains_key(object)
    }

    /// Whether the total of a bucket lacks an entry of a present object.
    pub(super) fn lacks_base(&self, view: &BoardView) -> bool {
        self.objects.iter().any(|(object, entry)| entry.absent.is_none() && !view.has_base(object))
    }

    /// Compares this replica's rows with those of the board. Returns whether one of them is still lost.
    pub(super) fn compare(&mut self, view: &BoardView, replica: &str, now: Instant) -> bool {
        let known: Vec<Bucket> = self.rows.keys().copied().collect();
        let buckets: BTreeSet<Bucket> = view.buckets().map(|(bucket, _)| bucket).chain(known).collect();
        for bucket in buckets {
            let rows = view.bucket(bucket);
            let stored = rows.and_then(|rows| rows.replicas.get(replica));
            let total = rows.and_then(|rows| rows.total.as_ref());
            let named = total.and_then(|total| total.row.folded.get(replica)).map_or(0, |folded| folded.revision);
            let own = self.rows.remove(&bucket).unwrap_or_default();
            let own = self.compared(own, stored, named, now);
            self.rows.insert(bucket, own);
        }
        self.has_lost_rows()
    }

    /// Whether the write of a row was refused, and it is not known yet why.
    pub(super) fn has_lost_rows(&self) -> bool {
        self.rows.values().any(|own| own.is_lost)
    }

    /// What is known of a row after it was read from the board, or was not found there. `named` is the revision of this
    /// replica's last row that the total contains, as long as it tells.
    fn compared(&mut self, own: OwnRow, stored: Option<&Revised<ReplicaRow>>, named: u64, now: Instant) -> OwnRow {
        let is_mine = own.revision != 0 || own.attempted.is_some();
        match stored {
            // Read before the last write.
            Some(stored) if stored.revision < own.revision => own,
            Some(stored) if stored.row.sealed => {
                // While it is there, nothing else was stored.
                if is_mine && stored.revision > own.settled {
                    self.folded(&stored.row.counts);
                }
                OwnRow::settled(own.settled.max(stored.revision))
            }
            Some(stored) if stored.revision == own.revision => own,
            Some(stored) => {
                if !is_mine {
                    self.adopt(&stored.row.counts, now);
                }
                let (revision, written) = (stored.revision, stored.row.counts.clone());
                OwnRow { revision, written, ..OwnRow::settled(own.settled) }
            }
            None if !is_mine => OwnRow { settled: own.settled.max(named), ..own },
            None => self.compared_to_none(own, named),
        }
    }

    /// What is known of a row that this replica has written, or tried to write, and that is not there.
    fn compared_to_none(&mut self, own: OwnRow, named: u64) -> OwnRow {
        // Written rows are in the view until they are removed, and that is done only with what the total contains.
        if own.revision != 0 || named > own.settled {
            // Of a write whose result is not known, it is assumed that it was stored: nothing counts twice.
            self.folded(&own.attempted.unwrap_or(own.written));
            return OwnRow::settled(own.settled.max(named));
        }
        OwnRow { is_lost: false, ..own }
    }

    /// Counts what a process of the same name has counted.
    fn adopt(&mut self, counts: &Counts, now: Instant) {
        for (object, reading) in counts {
            // If the object is not known, it may appear soon.
            let unknown = || Entry { absent: Some(now), ..Entry::of(Arc::default()) };
            self.objects.entry(object.clone()).or_insert_with(unknown).carried.add(reading);
        }
    }

    /// Notes what the totals have of this replica's counts.
    fn folded(&mut self, counts: &Counts) {
        for (object, reading) in counts {
            if let Some(entry) = self.objects.get_mut(object) {
                entry.folded.add(reading);
            }
        }
    }

    /// The rows that have changed.
    pub(super) fn drafts(&self, view: &BoardView) -> Vec<Draft> {
        let mut all: BTreeMap<Bucket, Counts> = BTreeMap::new();
        for (object, entry) in &self.objects {
            let net = entry.net();
            if net.received + net.rejected + net.duplicates > 0 && view.has_base(object) {
                all.entry(Bucket::of(&object.key)).or_default().insert(object.clone(), net);
            }
        }
        for (bucket, own) in &self.rows {
            // A row stays as it is while it is not known which objects exist.
            if !own.written.is_empty() && view.bucket(*bucket).is_some_and(|rows| rows.total.is_some()) {
                all.entry(*bucket).or_default();
            }
        }
        let nothing = OwnRow::default();
        let drafts = all.into_iter().filter_map(|(bucket, counts)| {
            let own = self.rows.get(&bucket).unwrap_or(&nothing);
            let is_due = !own.is_lost && (own.written != counts || own.attempted.is_some());
            let row = ReplicaRow { counts, sealed: false };
            is_due.then_some(Draft { bucket, revision: own.revision, row })
        });
        drafts.collect()
    }

    /// Records the result of a write.
    pub(super) fn wrote(&mut self, draft: Draft, result: Written) {
        let own = self.rows.entry(draft.bucket).or_default();
        match result {
            Written::Stored(revision) => {
                *own = OwnRow { revision, written: draft.row.counts, ..OwnRow::settled(own.settled) };
            }
            // The sealed row of this replica is still there.
            Written::Refused if own.revision == 0 && own.attempted.is_none() => {}
            Written::Refused => own.is_lost = true,
            Written::Unknown => own.attempted = Some(draft.row.counts),
        }
    }

    /// Tells every endpoint what was counted elsewhere.
    pub(super) fn publish(&self, view: &BoardView, replica: &str) {
        for (object, entry) in self.objects.iter().filter(|(_, entry)| entry.absent.is_none()) {
            if let Some(mut elsewhere) = view.counted(object, replica) {
                elsewhere.add(&entry.carried);
                elsewhere.subtract(&entry.folded);
                entry.facts.counted_elsewhere(elsewhere);
            }
        }
    }
}
