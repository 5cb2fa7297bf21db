//! Errors common to all engines.

use std::fmt;

use grapnel_api::ObjectKey;

/// The result of a journal call.
pub type Result<T, E = JournalError> = std::result::Result<T, E>;

/// Why a call failed. The kind is also the metric label.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JournalError {
    /// The journal is full, and no kept event may be removed.
    #[error("the journal is full: {0}")]
    Full(String),
    /// The endpoint or its namespace has reached its share, and none of its events may be removed.
    #[error(transparent)]
    ShareExhausted(#[from] ShareExhausted),
    /// The event is larger than the engine can store.
    #[error("the event takes {bytes} bytes, the journal stores at most {max}")]
    TooLarge {
        /// Size of the event in bytes.
        bytes: u64,
        /// Maximum size in bytes.
        max: u64,
    },
    /// The store cannot be reached or does not confirm at present. It may nevertheless have stored the event.
    #[error("the journal is unavailable: {0}")]
    Unavailable(String),
    /// Reading or writing failed.
    #[error("the journal cannot be read or written: {0}")]
    Io(String, #[source] Option<Box<dyn std::error::Error + Send + Sync>>),
    /// The data read is damaged.
    #[error("the journal is damaged: {0}")]
    Damaged(String),
    /// The endpoint was deleted, and another one of the same name has taken its place.
    #[error("endpoint {0} has been replaced by a newer object of the same name")]
    EndpointReplaced(ObjectKey),
    /// No such consumer is attached: it never was, or it belonged to an earlier object of the same name.
    #[error("no consumer {0} in the journal")]
    UnknownConsumer(ObjectKey),
    /// Another process now delivers this consumer's events.
    #[error("consumer {0} is delivered by another replica")]
    Moved(ObjectKey),
    /// The consumer reads another endpoint, whose undelivered events would be lost.
    #[error(
        "subscription {consumer} reads endpoint {endpoint}; endpointRef cannot be changed, delete the subscription and create a new one"
    )]
    EndpointChanged {
        /// The subscription.
        consumer: ObjectKey,
        /// The endpoint that it reads.
        endpoint: ObjectKey,
    },
    /// The journal is shutting down.
    #[error("the journal is closed")]
    Closed,
}

/// An exhausted share of the journal.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, serde::Serialize, serde::Deserialize)]
#[error(
    "{scope} uses {bytes} of its share of {max_bytes} bytes, and no settled event is left to remove; raise {knob}, or \
     fix the subscriptions with the backlog"
, knob = scope.knob())]
pub struct ShareExhausted {
    /// The owner of the share.
    pub scope: ShareScope,
    /// Bytes that it keeps.
    pub bytes: u64,
    /// Maximum bytes that it may keep.
    pub max_bytes: u64,
}

/// The owner of a share of the journal.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub enum ShareScope {
    /// All endpoints of a namespace together: `--namespace-share`.
    Namespace(String),
    /// One endpoint: `spec.storage.maxBytes`.
    Endpoint(ObjectKey),
}

impl ShareScope {
    fn knob(&self) -> &'static str {
        match self {
            Self::Namespace(_) => "--namespace-share",
            Self::Endpoint(_) => "spec.storage.maxBytes",
        }
    }
}

impl fmt::Display for ShareScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Namespace(namespace) => write!(f, "namespace {namespace}"),
            Self::Endpoint(endpoint) => write!(f, "endpoint {endpoint}"),
        }
    }
}

impl JournalError {
    /// Returns the metric label and log field.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Full(_) => "full",
            Self::ShareExhausted(_) => "share_exhausted",
            Self::TooLarge { .. } => "too_large",
            Self::Unavailable(_) => "unavailable",
            Self::Io(..) => "io",
            Self::Damaged(_) => "damaged",
            Self::EndpointReplaced(_) => "endpoint_replaced",
            Self::UnknownConsumer(_) => "unknown_consumer",
            Self::Moved(_) => "moved",
            Self::EndpointChanged { .. } => "endpoint_changed",
            Self::Closed => "closed",
        }
    }

    /// Returns the same error for another caller that waited for the same write. Its source becomes text.
    pub fn clone_for_caller(&self) -> Self {
        match self {
            Self::Full(why) => Self::Full(why.clone()),
            Self::ShareExhausted(share) => Self::ShareExhausted(share.clone()),
            Self::TooLarge { bytes, max } => Self::TooLarge { bytes: *bytes, max: *max },
            Self::Unavailable(why) => Self::Unavailable(why.clone()),
            Self::Io(why, None) => Self::Io(why.clone(), None),
            Self::Io(why, Some(cause)) => Self::Io(format!("{why}: {cause}"), None),
            Self::Damaged(what) => Self::Damaged(what.clone()),
            Self::EndpointReplaced(key) => Self::EndpointReplaced(key.clone()),
            Self::UnknownConsumer(key) => Self::UnknownConsumer(key.clone()),
            Self::Moved(key) => Self::Moved(key.clone()),
            Self::EndpointChanged { consumer, endpoint } => {
                Self::EndpointChanged { consumer: consumer.clone(), endpoint: endpoint.clone() }
            }
            Self::Closed => Self::Closed,
        }
    }
}
