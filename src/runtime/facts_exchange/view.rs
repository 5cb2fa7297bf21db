//! The rows of the board as this replica has read them.

use std::collections::{BTreeMap, BTreeSet};

use grapnel_api::Incarnation;
use grapnel_journal::BoardRow;

use super::row::{Bucket, ReplicaRow, RowError, TotalRow};
use crate::catalog::EndpointReading;

/// The author of the totals. No replica has this name: it has an underscore.
pub(super) const TOTAL: &str = "_total";

/// A row and its revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Revised<T> {
    pub(super) revision: u64,
    pub(super) row: T,
}

/// The rows of one bucket.
#[derive(Debug, Default)]
pub(super) struct BucketView {
    /// The total, if there is one.
    pub(super) total: Option<Revised<TotalRow>>,
    /// The rows of replicas that the total does not contain.
    pub(super) replicas: BTreeMap<String, Revised<ReplicaRow>>,
    /// The revisions of rows that the total contains, and that may still have to be removed.
    pub(super) contained: BTreeMap<String, u64>,
    /// The total cannot be read, so it must not be changed.
    pub(super) is_unreadable: bool,
}

/// The rows of the board. They are applied in the order of their revisions; rows that were removed are noticed by the
/// total that contains them.
#[derive(Debug, Default)]
pub(super) struct BoardView {
    /// The revision of the last row read.
    pub(super) read: u64,
    buckets: BTreeMap<Bucket, BucketView>,
}

/// The key of the counts of a bucket.
pub(super) fn key_of(bucket: Bucket) -> String {
    format!("endpoints-{:02x}", bucket.0)
}

/// The bucket of a key.
fn bucket_of(key: &str) -> Option<Bucket> {
    u8::from_str_radix(key.strip_prefix("endpoints-")?, 16).ok().map(Bucket)
}

impl BoardView {
    /// Applies a row of counts; other rows are ignored. Returns the bucket that has changed.
    ///
    /// # Errors
    ///
    /// A row that cannot be read. It does not count.
    pub(super) fn apply(&mut self, row: &BoardRow) -> Result<Option<Bucket>, RowError> {
        let Some(bucket) = bucket_of(&row.key) else { return Ok(None) };
        let view = self.buckets.entry(bucket).or_default();
        let is_news = match row.author.as_str() {
            TOTAL => view.set_total(row)?,
            _ => view.set_replica(row)?,
        };
        Ok(is_news.then_some(bucket))
    }

    /// The rows of a bucket.
    pub(super) fn bucket(&self, bucket: Bucket) -> Option<&BucketView> {
        self.buckets.get(&bucket)
    }

    /// Records that a row that the total contains was removed.
    pub(super) fn removed(&mut self, bucket: Bucket, replica: &str, revision: u64) {
        if let Some(rows) = self.buckets.get_mut(&bucket)
            && rows.contained.get(replica) == Some(&revision)
        {
            rows.contained.remove(replica);
        }
    }

    /// Every bucket with rows.
    pub(super) fn buckets(&self) -> impl Iterator<Item = (Bucket, &BucketView)> {
        self.buckets.iter().map(|(bucket, view)| (*bucket, view))
    }

    /// Every replica that has rows.
    pub(super) fn replicas(&self) -> BTreeSet<&str> {
        let views = self.buckets.values();
        views.flat_map(|view| view.replicas.keys().chain(view.contained.keys())).map(String::as_str).collect()
    }

    /// Whether the total has an entry of the object: only then replicas count what they have counted themselves.
    pub(super) fn has_base(&self, object: &Incarnation) -> bool {
        let total = self.bucket(Bucket::of(&object.key)).and_then(|view| view.total.as_ref());
        total.is_some_and(|total| total.row.counts.contains_key(object))
    }

    /// What all replicas have counted, without the row of `replica` unless that is sealed. `None` while the total has no
    /// entry of the object.
    pub(super) fn counted(&self, object: &Incarnation, without: &str) -> Option<EndpointReading> {
        let view = self.bucket(Bucket::of(&object.key))?;
        let mut sum = view.total.as_ref()?.row.counts.get(object)?.clone();
        for (replica, revised) in &view.replicas {
            if let Some(reading) = revised.row.counts.get(object)
                && (replica != without || revised.row.sealed)
            {
                sum.add(reading);
            }
        }
        Some(sum)
    }
}

impl BucketView {
    fn set_total(&mut self, row: &BoardRow) -> Result<bool, RowError> {
        if self.total.as_ref().is_some_and(|total| total.revision >= row.revision) {
            return Ok(false);
        }
        self.total = None;
        self.is_unreadable = true;
        let total = TotalRow::decode(&row.value)?;
        self.is_unreadable = false;
        self.contained.retain(|replica, _| total.folded.contains_key(replica));
        for (replica, folded) in &total.folded {
            if self.replicas.get(replica).is_some_and(|revised| revised.revision <= folded.revision) {
                self.replicas.remove(replica);
                self.contained.insert(replica.clone(), folded.revision);
            }
        }
        self.total = Some(Revised { revision: row.revision, row: total });
        Ok(true)
    }

    fn set_replica(&mut self, row: &BoardRow) -> Result<bool, RowError> {
        let known = self.replicas.get(&row.author).map(|revised| revised.revision);
        if known.is_some_and(|known| known >= row.revision) {
            return Ok(false);
        }
        let folded = self.total.as_ref().and_then(|total| total.row.folded.get(&row.author));
        if let Some(folded) = folded.filter(|folded| folded.revision >= row.revision) {
            self.contained.insert(row.author.clone(), folded.revision);
            return Ok(false);
        }
        self.replicas.remove(&row.author);
        let decoded = ReplicaRow::decode(&row.value)?;
        self.replicas.insert(row.author.clone(), Revised { revision: row.revision, row: decoded });
        Ok(true)
    }
}
