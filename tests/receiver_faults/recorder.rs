//! A receiver that remembers who came, and nothing of what they brought.

use std::sync::{Arc, Mutex};

use futures_util::future::BoxFuture;
use grapnel_test_support::receiver::Receiver;

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
    _receiver: Receiver,
}

impl Recorder {
    /// Remembers of each delivery its id and this header, if it has it; answers the n-th (from 0) as told.
    pub(crate) async fn new(
        header: &'static str,
        answer: impl Fn(usize) -> BoxFuture<'static, u16> + Send + Sync + 'static,
    ) -> Self {
        let seen = Arc::new(Mutex::new(Vec::<Seen>::new()));
        let log = Arc::clone(&seen);
        let receiver = Receiver::setup().keeping_nothing().script(move |number, request| {
            let (log, status) = (Arc::clone(&log), answer(number));
            async move {
                let extra = request.headers.get(header).map_or("", |value| value.to_str().unwrap()).to_owned();
                let id = request.header("webhook-id").to_owned();
                // Not held while the answer is waited for.
                drop(request);
                let status = status.await;
                log.lock().unwrap().push(Seen { id, extra, status });
                status
            }
        });
        let receiver = receiver.await;
        Self { url: receiver.url.clone(), seen, _receiver: receiver }
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
