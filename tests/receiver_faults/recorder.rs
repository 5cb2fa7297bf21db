//! A receiver that remembers who came, and nothing of what they brought.

use std::sync::{Arc, Mutex};

use axum::{
    Router,
    body::{Body, Bytes},
    http::{HeaderMap, StatusCode},
};
use futures_util::future::BoxFuture;
use tokio::net::TcpListener;

/// A delivery: its id, a header that was asked for, and the answer it got.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Seen {
    pub(crate) id: String,
    pub(crate) extra: String,
    pub(crate) status: u16,
}

/// Listens until it is dropped.
pub(crate) struct Recorder {
    pub(crate) url: String,
    seen: Arc<Mutex<Vec<Seen>>>,
    server: tokio::task::JoinHandle<()>,
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Recorder {
    /// Remembers of each delivery its id and this header; answers the n-th (from 0) as told.
    pub(crate) async fn new(
        header: &'static str,
        answer: impl Fn(usize) -> BoxFuture<'static, u16> + Clone + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let seen = Arc::new(Mutex::new(Vec::<Seen>::new()));
        let number = Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let router = Router::new().fallback({
            let seen = seen.clone();
            move |headers: HeaderMap, _body: Bytes| {
                let (seen, number, answer) = (seen.clone(), number.clone(), answer.clone());
                async move {
                    let text = |name: &str| headers.get(name).map_or("", |value| value.to_str().unwrap()).to_owned();
                    let (id, extra) = (text("webhook-id"), text(header));
                    let status = answer(number.fetch_add(1, std::sync::atomic::Ordering::SeqCst)).await;
                    seen.lock().unwrap().push(Seen { id, extra, status });
                    (StatusCode::from_u16(status).unwrap(), Body::empty())
                }
            }
        });
        let router = router.layer(axum::extract::DefaultBodyLimit::disable());
        let server = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { url, seen, server }
    }

    /// What has been answered so far, in order.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    /// How many have been answered so far.
    pub(crate) fn count(&self) -> usize {
        self.seen.lock().unwrap().len()
    }

    /// How many of those answered were called so.
    pub(crate) fn count_of(&self, id: &str) -> usize {
        self.seen.lock().unwrap().iter().filter(|seen| seen.id == id).count()
    }
}
