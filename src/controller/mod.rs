//! The Kubernetes side: watches the cluster into the catalog and writes the results back to the objects.
//!
//! [`watch`] turns watch streams into changes of the index and publishes configuration; [`status`] writes statuses,
//! [`events`] writes Kubernetes Events, [`route`] manages HTTPRoutes, [`drain`] delays the deletion of subscriptions that
//! request it, and [`replay`] deletes replays that have ended, all of them only while this replica holds the [`lease`]. `schedule` and [`write_budget`] bound their
//! requests. Deliveries abandoned by a deletion are announced by the replica that had them, whether it holds the lease or
//! not. The data plane waits for none of this: while the API server is unavailable, webhooks are accepted and delivered
//! as last configured; [`api_access`] reports what it refuses. Only callers authenticated by their ServiceAccount, and
//! users of the admin API, need its [`reviews`].

pub mod api_access;
pub mod connect;
pub mod drain;
pub mod events;
pub mod lease;
pub mod limits;
pub mod live_subscriptions;
pub mod observed_state;
mod reference_fetcher;
pub mod replay;
pub mod reviews;
pub mod route;
mod schedule;
pub mod status;
mod streams;
mod tally;
pub mod watch;
mod write;
pub mod write_budget;

use std::sync::Arc;

use grapnel_api::ObjectKey;
use kube::core::ObjectMeta;

/// The key of an object from the API server.
fn key_of(metadata: &ObjectMeta) -> ObjectKey {
    let part = |part: &Option<String>| Arc::<str>::from(part.as_deref().unwrap_or_default());
    ObjectKey::new(part(&metadata.namespace), part(&metadata.name))
}
