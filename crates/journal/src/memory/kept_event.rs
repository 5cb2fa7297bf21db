//! An event that is kept.

use std::sync::Arc;

use grapnel_api::Incarnation;

use crate::StoredEvent;

/// An event that is kept.
#[derive(Clone)]
pub(super) struct KeptEvent {
    pub(super) event: Arc<StoredEvent>,
    /// The endpoint that accepted it.
    pub(super) endpoint: Incarnation,
    pub(super) bytes: u64,
}
