//! When a consumer may be detached from a journal that several processes share.
//!
//! Another process may have attached it for a subscription that this process has not seen yet: its watch may lag, or its
//! files may be older. A consumer detached by mistake loses its events, so this process must deliver the endpoint, must
//! have seen the consumer for a while, and must have asked the source of the objects.

use std::time::Duration;

use futures_util::future::BoxFuture;
use grapnel_api::{Incarnation, ObjectKey};
use grapnel_journal::Tenure;
use tokio::time::Instant;

use crate::dispatch::limits::{DETACH_AFTER, DETACH_UNCONFIRMED_AFTER};

/// Asks the source of the objects, past everything that may lag.
pub trait LiveSubscriptions: Send + Sync + 'static {
    /// Whether this incarnation of a subscription exists. `None` if it cannot be found out now.
    fn exists<'a>(&'a self, subscription: &'a Incarnation) -> BoxFuture<'a, Option<bool>>;
}

/// A consumer in the journal.
#[derive(Debug, Clone)]
pub(super) struct PresentConsumer {
    pub(super) consumer: Incarnation,
    /// The endpoint that it reads.
    pub(super) endpoint: ObjectKey,
    /// When this process first saw it, so that it was attached before.
    pub(super) since: Instant,
}

/// Whether a consumer whose subscription this process does not know may be detached from a shared journal.
pub(super) async fn may_detach(
    present: &PresentConsumer,
    tenure: &Tenure,
    live: Option<&dyn LiveSubscriptions>,
) -> bool {
    let least: Duration = if live.is_some() { DETACH_AFTER } else { DETACH_UNCONFIRMED_AFTER };
    if !tenure.serves(&present.endpoint) || present.since.elapsed() < least {
        return false;
    }
    match live {
        Some(live) => live.exists(&present.consumer).await == Some(false),
        None => true,
    }
}
