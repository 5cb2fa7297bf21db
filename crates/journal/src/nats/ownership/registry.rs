//! The rows that replicas share.

use async_trait::async_trait;
use bytes::Bytes;

/// A row and its version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Row {
    /// Its value.
    pub(crate) value: Bytes,
    /// Ascends with every write of any row; at least 1.
    pub(crate) revision: u64,
}

/// Why a call of the registry failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RegistryError {
    /// The row has another revision than expected.
    #[error("the row has been written by another replica")]
    Conflict,
    /// The registry cannot be reached or does not answer. A write may nevertheless have been stored, now or later.
    #[error("the registry is unavailable: {0}")]
    Unavailable(String),
}

/// Rows with compare-and-set.
///
/// A read may return an older row than the newest, except [`Registry::read`]. A write compares with the newest row.
#[async_trait]
pub(crate) trait Registry: Send + Sync + 'static {
    /// Returns the newest row of `key`.
    async fn read(&self, key: &str) -> Result<Option<Row>, RegistryError>;

    /// Returns every row whose key begins with `prefix`, with its whole key.
    async fn read_all(&self, prefix: &str) -> Result<Vec<(String, Row)>, RegistryError>;

    /// Writes a row whose revision is `expected` (0: absent), and returns the new revision.
    async fn write(&self, key: &str, value: Bytes, expected: u64) -> Result<u64, RegistryError>;

    /// Removes a row unless it has been written after `revision`. A row that is absent is not an error.
    async fn remove(&self, key: &str, revision: u64) -> Result<(), RegistryError>;

    /// Tries to reach the registry in another way: no call has been answered for a while.
    async fn go_around(&self) {}
}
