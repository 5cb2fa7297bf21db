//! What the index knows of an event.

use std::sync::Arc;

use grapnel_api::ObjectKey;

use crate::{Sequence, machine::Micros};

/// A kept event, without its content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Head {
    /// Its position in the event stream of the shard.
    pub(crate) sequence: Sequence,
    /// The endpoint that accepted it.
    pub(crate) endpoint: ObjectKey,
    /// The uid of that endpoint.
    pub(crate) uid: Arc<str>,
    /// When the request was received.
    pub(crate) received: Micros,
    /// The end of its deduplication window; `received` without a window.
    pub(crate) until: Micros,
    /// Bytes that it counts for.
    pub(crate) bytes: u32,
}
