//! The state of a connection that outlives a request: its age, and whether an answer to the last request has begun.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use http::Extensions;
use hyper_util::client::legacy::connect::Connected;
use tokio::time::Instant;

/// What is known about a connection.
#[derive(Debug)]
pub(super) struct Track {
    /// Distinguishes connections that are due at the same time.
    pub(super) id: u64,
    /// When it was established.
    pub(super) born: Instant,
    /// When it becomes too old for further requests.
    pub(super) due: Instant,
    /// Whether bytes have been received since the last bytes were sent. An HTTP/1 connection is silent between two
    /// requests, so `false` after a request means that no byte of its answer has arrived.
    answered: AtomicBool,
}

impl Track {
    pub(super) fn new(id: u64, born: Instant, due: Instant) -> Self {
        Self { id, born, due, answered: AtomicBool::new(false) }
    }

    /// The track of a connection that the client has used.
    pub(super) fn of(connected: &Connected) -> Option<Arc<Self>> {
        let mut extras = Extensions::new();
        connected.get_extras(&mut extras);
        extras.remove()
    }

    /// Records that bytes are sent.
    pub(super) fn sent(&self) {
        self.answered.store(false, Ordering::Relaxed);
    }

    /// Records that bytes have been received.
    pub(super) fn received(&self) {
        self.answered.store(true, Ordering::Relaxed);
    }

    /// Whether bytes have been received since the last bytes were sent.
    pub(super) fn is_answered(&self) -> bool {
        self.answered.load(Ordering::Relaxed)
    }
}
