//! Asks the API server whether a subscription exists, past the watch, which may lag.

use std::time::Duration;

use futures_util::{FutureExt, future::BoxFuture};
use grapnel_api::{Incarnation, WebhookSubscription};
use kube::{Api, Client, api::ListParams};
use tokio::time::timeout;

use crate::{catalog::Class, controller::limits::LIVE_SUBSCRIPTION_TIMEOUT, dispatch::LiveSubscriptions};

/// The subscriptions of the cluster that this installation serves.
pub struct ClusterSubscriptions {
    client: Client,
    class: Class,
}

impl ClusterSubscriptions {
    /// Asks with `client`, which must not retry by itself.
    pub fn new(client: Client, class: Class) -> Self {
        Self { client, class }
    }

    async fn find(&self, subscription: &Incarnation) -> Result<bool, kube::Error> {
        let api: Api<WebhookSubscription> = Api::namespaced(self.client.clone(), &subscription.key.namespace);
        // A list without a resource version is as new as a read of the object, and the watch needs this permission too.
        let named = ListParams::default().fields(&format!("metadata.name={}", subscription.key.name));
        let found = api.list(&named).await?;
        let is_it = |object: &WebhookSubscription| {
            let uid = object.metadata.uid.as_deref().unwrap_or_default();
            // Written without a uid by an earlier version: any object of the name.
            let same = subscription.uid.is_empty() || uid == &*subscription.uid;
            same && self.class.serves(object.spec.class_name.as_deref())
        };
        Ok(found.items.iter().any(is_it))
    }
}

impl LiveSubscriptions for ClusterSubscriptions {
    fn exists<'a>(&'a self, subscription: &'a Incarnation) -> BoxFuture<'a, Option<bool>> {
        async move {
            let wait: Duration = LIVE_SUBSCRIPTION_TIMEOUT;
            match timeout(wait, self.find(subscription)).await {
                Ok(Ok(exists)) => Some(exists),
                Ok(Err(error)) => {
                    let (namespace, name) = (&*subscription.key.namespace, &*subscription.key.name);
                    tracing::debug!(namespace, subscription = name, %error, "cannot find out whether it exists");
                    None
                }
                Err(_) => None,
            }
        }
        .boxed()
    }
}
