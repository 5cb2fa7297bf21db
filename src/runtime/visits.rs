//! Visits of the URLs by which senders have their subscriptions confirmed.
//!
//! Only the verified message of a sender makes a visit, to a host of this sender. Each URL is visited until that
//! succeeds once; concurrent requests for one URL share one visit.

use std::sync::Arc;

use futures_util::{FutureExt, future::BoxFuture};
use url::Url;

use super::keys::Documents;
use crate::{
    cache::{BoundedCache, SingleFlight},
    ingress::{NotVisited, Visits},
    runtime::limits,
};

/// Visits URLs, and remembers those that have been visited.
pub(super) struct Confirmations<D> {
    documents: Arc<D>,
    visited: Arc<BoundedCache<Url, ()>>,
    flights: SingleFlight<Url, Result<(), NotVisited>>,
}

/// Why no visit begins.
enum NoVisit {
    Visited,
    TooMany,
}

impl<D: Documents> Confirmations<D> {
    pub(super) fn new(documents: D) -> Self {
        let visited = BoundedCache::new(limits::CONFIRMATIONS);
        Self { documents: Arc::new(documents), visited: Arc::new(visited), flights: SingleFlight::default() }
    }

    /// The visit of a URL.
    fn begin(&self, url: Url) -> BoxFuture<'static, Result<(), NotVisited>> {
        let (documents, visited) = (Arc::clone(&self.documents), Arc::clone(&self.visited));
        async move {
            match documents.document(url.clone()).await {
                Ok(_) => {
                    visited.insert(url, ());
                    Ok(())
                }
                Err(error) => {
                    // The rest of the URL has the token of the subscription.
                    let host = url.host_str().unwrap_or_default();
                    tracing::warn!(host, %error, "a subscription cannot be confirmed");
                    Err(NotVisited)
                }
            }
        }
        .boxed()
    }
}

impl<D: Documents> Visits for Confirmations<D> {
    fn visit(&self, url: Url) -> BoxFuture<'_, Result<(), NotVisited>> {
        let flight = self.flights.join(&url, |in_flight| {
            if self.visited.get(&url).is_some() {
                return Err(NoVisit::Visited);
            }
            if in_flight >= limits::CONFIRMATIONS_AT_ONCE {
                return Err(NoVisit::TooMany);
            }
            Ok(self.begin(url.clone()))
        });
        async move {
            match flight {
                Ok(flight) => flight.await,
                Err(NoVisit::Visited) => Ok(()),
                Err(NoVisit::TooMany) => Err(NotVisited),
            }
        }
        .boxed()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

    use bytes::Bytes;

    use super::*;
    use crate::dispatch::FetchError;

    /// Answers with success from the given visit on.
    struct Host {
        visits: AtomicUsize,
        fails: usize,
    }

    impl Documents for Host {
        fn document(&self, _: Url) -> BoxFuture<'_, Result<Bytes, FetchError>> {
            let failed = self.visits.fetch_add(1, SeqCst) < self.fails;
            async move {
                // A second caller can join meanwhile.
                tokio::task::yield_now().await;
                if failed { Err(FetchError::Status(http::StatusCode::FORBIDDEN)) } else { Ok(Bytes::new()) }
            }
            .boxed()
        }
    }

    #[tokio::test]
    async fn a_url_is_visited_until_that_succeeds_once() {
        let confirmations = Confirmations::new(Host { visits: AtomicUsize::new(0), fails: 1 });
        let url = || Url::parse("https://sns.eu-west-1.amazonaws.com/?Action=ConfirmSubscription").unwrap();
        assert_eq!(confirmations.visit(url()).await, Err(NotVisited));
        let both = futures_util::future::join(confirmations.visit(url()), confirmations.visit(url())).await;
        assert_eq!(both, (Ok(()), Ok(())));
        assert_eq!(confirmations.visit(url()).await, Ok(()));
        assert_eq!(confirmations.documents.visits.load(SeqCst), 2);
    }
}
