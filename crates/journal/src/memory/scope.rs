//! Scopes in which the number of kept bytes is bounded.

use grapnel_api::Incarnation;

use super::kept_event::KeptEvent;
use crate::{JournalError, ShareExhausted, ShareScope};

/// The scope of a bound.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum RoomScope {
    /// The events of one endpoint. Those of an earlier object of the same name count only for its namespace.
    Endpoint(Incarnation),
    /// The events of a namespace.
    Namespace(String),
    /// Every event.
    Journal,
}

/// What an append adds to one endpoint.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Needed {
    pub(super) bytes: u64,
    /// The endpoint's share.
    pub(super) max_bytes: Option<u64>,
}

/// An append that was rejected for lack of room.
#[derive(Debug, Clone, Copy)]
pub(super) struct RejectedAppend {
    /// Bytes that it needed.
    pub(super) needed: u64,
    pub(super) max_bytes: u64,
}

impl Needed {
    pub(super) fn add(&mut self, bytes: u64, max_bytes: Option<u64>) {
        self.bytes += bytes;
        self.max_bytes = max_bytes;
    }
}

impl RoomScope {
    pub(super) fn holds(&self, kept: &KeptEvent) -> bool {
        match self {
            Self::Endpoint(endpoint) => kept.endpoint == *endpoint,
            Self::Namespace(namespace) => *kept.endpoint.key.namespace == **namespace,
            Self::Journal => true,
        }
    }

    /// Returns why an append is rejected that needs more than is left of `max_bytes`.
    pub(super) fn error(&self, bytes: u64, max_bytes: u64) -> JournalError {
        let scope = match self {
            Self::Endpoint(endpoint) => ShareScope::Endpoint(endpoint.key.clone()),
            Self::Namespace(namespace) => ShareScope::Namespace(namespace.clone()),
            Self::Journal => {
                return JournalError::Full(format!(
                    "it uses {bytes} of {max_bytes} bytes, and no settled event is left to remove"
                ));
            }
        };
        ShareExhausted { scope, bytes, max_bytes }.into()
    }
}
