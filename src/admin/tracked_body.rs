//! Tracks whether a request waits for its client, which is the case until its body has arrived.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use axum::body::{Bytes, HttpBody};
use http_body::{Frame, SizeHint};
use hyper::body::Incoming;

use crate::connections::RequestGuard;

/// A request body that records when it has been read to its end or dropped.
pub(super) struct TrackedBody {
    inner: Incoming,
    guard: Arc<RequestGuard>,
}

impl TrackedBody {
    pub(super) fn new(inner: Incoming, guard: Arc<RequestGuard>) -> Self {
        if inner.is_end_stream() {
            guard.has_been_read();
        }
        Self { inner, guard }
    }
}

impl HttpBody for TrackedBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<hyper::Result<Frame<Bytes>>>> {
        let frame = ready!(Pin::new(&mut self.inner).poll_frame(cx));
        if frame.is_none() || self.inner.is_end_stream() {
            self.guard.has_been_read();
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

impl Drop for TrackedBody {
    /// The rest is not needed.
    fn drop(&mut self) {
        self.guard.has_been_read();
    }
}
