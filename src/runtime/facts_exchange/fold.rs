//! What is to be changed in the totals: the rows of dead replicas are added, new objects get an entry.
//!
//! ```text
//!   row of a dead replica ──seal──▶ sealed row ──add──▶ total, names its revision ──remove──▶ the row is gone
//! ```
//!
//! Each arrow is one write that succeeds only on what was read. If a replica stops in between, the next one goes on: a row
//! counts until the total names its revision, and then no more. A replica that was only paused cannot change its sealed
//! row, and learns from it what the total has of its counts.

use std::collections::{BTreeMap, BTreeSet};

use grapnel_api::Incarnation;

use super::{
    row::{Bucket, Counts, Folded, ReplicaRow, TotalRow},
    view::{BoardView, BucketView},
};

/// A change of one row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    /// Replaces the row of a dead replica by the same one, sealed.
    Seal { replica: String, bucket: Bucket, revision: u64, row: ReplicaRow },
    /// Replaces a total.
    Total { bucket: Bucket, revision: u64, row: TotalRow },
    /// Removes a row that the total contains.
    Remove { replica: String, bucket: Bucket, revision: u64 },
}

/// What decides about the changes.
pub(super) struct Situation<'a> {
    /// Replicas that no longer run.
    pub(super) dead: &'a BTreeSet<String>,
    /// Every object, with the counts of the status that it had before the first replica counted its requests.
    pub(super) objects: &'a BTreeMap<Bucket, Counts>,
    /// Objects that no longer exist.
    pub(super) gone: &'a BTreeSet<Incarnation>,
    /// Now, in microseconds since the Unix epoch.
    pub(super) now: i64,
    /// How long a total names a row that it contains, in microseconds.
    pub(super) remembered: i64,
}

/// The changes of a bucket.
pub(super) fn steps(view: &BoardView, bucket: Bucket, situation: &Situation<'_>) -> Vec<Step> {
    let nothing = BucketView::default();
    let rows = view.bucket(bucket).unwrap_or(&nothing);
    if rows.is_unreadable {
        return Vec::new();
    }
    let mut steps: Vec<Step> = rows
        .contained
        .iter()
        .map(|(replica, revision)| Step::Remove { replica: replica.clone(), bucket, revision: *revision })
        .collect();
    let dead =
        rows.replicas.iter().filter(|(replica, revised)| !revised.row.sealed && situation.dead.contains(*replica));
    for (replica, revised) in dead {
        let row = ReplicaRow { sealed: true, ..revised.row.clone() };
        steps.push(Step::Seal { replica: replica.clone(), bucket, revision: revised.revision, row });
    }
    let (revision, before) = rows.total.as_ref().map_or((0, TotalRow::default()), |it| (it.revision, it.row.clone()));
    let mut total = before.clone();
    total.adopt(bucket, situation);
    // Also of a replica that runs again: it can write its row only when the sealed one is gone.
    for (replica, revised) in rows.replicas.iter().filter(|(_, revised)| revised.row.sealed) {
        total.fold(&revised.row);
        total.folded.insert(replica.clone(), Folded { revision: revised.revision, at: situation.now });
    }
    total.forget(rows, situation);
    if total != before {
        steps.push(Step::Total { bucket, revision, row: total });
    }
    steps
}

impl TotalRow {
    /// Adds entries of new objects.
    fn adopt(&mut self, bucket: Bucket, situation: &Situation<'_>) {
        for (object, earlier) in situation.objects.get(&bucket).into_iter().flatten() {
            self.counts.entry(object.clone()).or_insert_with(|| earlier.clone());
        }
    }

    /// Adds the counts of a row. Replicas count only what has an entry: an object without one is forgotten.
    fn fold(&mut self, row: &ReplicaRow) {
        for (object, reading) in &row.counts {
            if let Some(sum) = self.counts.get_mut(object) {
                sum.add(reading);
            }
        }
    }

    /// Removes the entries of deleted objects, and the names of rows that every replica knows to be removed.
    fn forget(&mut self, rows: &BucketView, situation: &Situation<'_>) {
        self.counts.retain(|object, _| !situation.gone.contains(object));
        let is_recent = |folded: &Folded| situation.now.saturating_sub(folded.at) < situation.remembered;
        self.folded.retain(|replica, folded| is_recent(folded) || rows.contained.contains_key(replica));
    }
}
