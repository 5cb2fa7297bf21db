//! A board of rows that the replicas of an installation share.

use async_trait::async_trait;
use bytes::Bytes;

use crate::Result;

/// A row of a [`Board`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BoardRow {
    /// Who wrote it: a replica, or what several replicas write in turn.
    pub author: String,
    /// Its name among the author's rows: letters, digits, `-` and `_`.
    pub key: String,
    /// Its content.
    pub value: Bytes,
    /// Ascends with every write of any row.
    pub revision: u64,
}

/// Rows that the replicas of an installation share: each replica writes its own, and reads those of all. A row is durable
/// when the call that writes it returns. Rows are small (64 KiB) and few.
#[async_trait]
pub trait Board: Send + Sync + 'static {
    /// Returns the name of this replica: different for each process that has ever been one.
    fn replica(&self) -> &str;

    /// Returns the names of the live replicas, this one included.
    async fn replicas(&self) -> Result<Vec<String>>;

    /// Returns every row that was written after the revision `after`, in the order of their revisions; 0 for all of
    /// them.
    async fn read(&self, after: u64) -> Result<Vec<BoardRow>>;

    /// Writes a row of `author`, if its revision is `expected` (0: there is none; `None`: whatever it is). Returns the
    /// new revision, or `None` if the revision is another.
    async fn write(&self, author: &str, key: &str, value: Bytes, expected: Option<u64>) -> Result<Option<u64>>;

    /// Removes a row of `author`, if it has this revision.
    async fn remove(&self, author: &str, key: &str, revision: u64) -> Result<()>;
}
