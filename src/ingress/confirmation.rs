//! Handshakes that ask for more than a response: a URL that has to be visited, or the end of a subscription.

use futures_util::future::BoxFuture;
use grapnel_signature::{HandshakeReply, Task};
use tokio::time::timeout_at;
use url::Url;

use super::{accept::Shared, inbound::Inbound, reject::Rejected};

/// Visits the URLs by which senders have their subscriptions confirmed.
pub trait Visits: Send + Sync + 'static {
    /// Visits a URL, at most until it has been visited once. The URL is verified, and belongs to the sender.
    ///
    /// # Errors
    /// Returns [`NotVisited`] if the response is not a success.
    fn visit(&self, url: Url) -> BoxFuture<'_, Result<(), NotVisited>>;
}

/// The URL could not be visited. The cause has been logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the URL cannot be visited")]
pub struct NotVisited;

impl Shared {
    /// Does what a verified handshake asks for, and returns its response.
    pub(super) async fn complete(&self, inbound: &Inbound, reply: HandshakeReply) -> Result<HandshakeReply, Rejected> {
        let key = &inbound.endpoint.key;
        let (namespace, endpoint) = (&*key.namespace, &*key.name);
        match &reply.task {
            None => {}
            Some(Task::ReportEnd) => {
                tracing::warn!(
                    namespace,
                    endpoint,
                    "the sender has ended its subscription, and will send no more events"
                );
            }
            Some(Task::Visit(url)) => {
                let Some(visits) = &self.ingress.visits else { return Err(Rejected::Unconfirmed) };
                match timeout_at(inbound.deadline, visits.visit(url.clone())).await {
                    Ok(Ok(())) => tracing::info!(namespace, endpoint, "subscription at the sender confirmed"),
                    Ok(Err(NotVisited)) | Err(_) => return Err(Rejected::Unconfirmed),
                }
            }
        }
        Ok(reply)
    }
}
