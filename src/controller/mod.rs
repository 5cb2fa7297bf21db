//! The Kubernetes side: watches the cluster into the catalog and writes back what became of the objects.
//!
//! [`watch`] turns watch streams into changes of the index and publishes configuration; [`status`] writes statuses and
//! [`events`] Kubernetes Events, and [`drain`] holds the deletion of subscriptions that ask for it, all of them only while
//! this replica holds the [`lease`]. Deliveries that a deletion abandoned are announced by the replica that had them,
//! whether it holds the lease or not. Nothing of the data plane waits for any of it: when the API server is gone, webhooks
//! go on coming in and going out as they were last configured. Only callers who are known by their ServiceAccount, and
//! users of the admin API, need its [`reviews`].

pub mod connect;
pub mod drain;
pub mod events;
pub mod lease;
pub mod limits;
pub mod observed_state;
mod reference_fetcher;
pub mod reviews;
pub mod status;
mod streams;
pub mod watch;

use std::sync::Arc;

use grapnel_api::ObjectKey;
use kube::core::ObjectMeta;

/// The key of an object that an API server has sent.
fn key_of(metadata: &ObjectMeta) -> ObjectKey {
    let part = |part: &Option<String>| Arc::<str>::from(part.as_deref().unwrap_or_default());
    ObjectKey::new(part(&metadata.namespace), part(&metadata.name))
}
