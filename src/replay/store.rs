//! Where the progress of replays is kept.

use std::sync::Arc;

use async_trait::async_trait;

use crate::catalog::{ObjectView, ReplayReading};

/// Where the progress of replays is kept, and which process runs them.
#[async_trait]
pub trait ProgressStore: Send + Sync + 'static {
    /// Whether this process runs the replays now.
    fn may_act(&self) -> bool;

    /// The progress of a replay that was last kept, if there is any.
    fn recall(&self, replay: &ObjectView) -> Option<ReplayReading>;

    /// Keeps the progress of all replays among these objects, and forgets all others. Returns whether it is kept.
    async fn keep(&self, objects: &[Arc<ObjectView>]) -> bool;
}
