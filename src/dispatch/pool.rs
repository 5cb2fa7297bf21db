//! Connections to receivers that are kept for later requests, and the idle race.
//!
//! A receiver closes a connection that was idle for some time, and the next request may already be on its way: it was
//! lost, although nothing is wrong. Such a request is sent again at once, on a new connection. To the caller it is one
//! request, within the caller's timeout.
//!
//! A request is sent again only if its connection was established before the request began, and ended before the first
//! byte of an answer. The receiver may have processed the first request all the same, as after every failed attempt:
//! delivery is at least once.

use std::{error::Error, io, pin::pin, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_util::{
    client::legacy::{
        self,
        connect::{CaptureConnection, capture_connection},
    },
    rt::{TokioExecutor, TokioTimer},
};
use tokio::time::Instant;

use super::{
    connect::Connector,
    connection::TrackingConnector,
    connection_age::{ConnectionAges, poison},
    send_error::Causes,
    track::Track,
};
use crate::dispatch::limits;

type HttpClient = legacy::Client<TrackingConnector, Full<Bytes>>;

/// A pool of connections.
pub(super) struct Pool {
    kept: HttpClient,
    /// Makes a connection for each request.
    unpooled: HttpClient,
    ages: Arc<ConnectionAges>,
}

/// A connection that was chosen for a request.
struct Chosen {
    track: Arc<Track>,
    is_http2: bool,
}

impl Pool {
    /// A pool whose connections reach at most the age `longest`.
    pub(super) fn new(connector: Connector, longest: Duration) -> Self {
        let ages = Arc::new(ConnectionAges::new(longest));
        let connector = TrackingConnector::new(connector, Arc::clone(&ages));
        Self { kept: client(connector.clone(), limits::POOL_IDLE_PER_HOST), unpooled: client(connector, 0), ages }
    }

    /// Sends a request. Sends it a second time if the kept connection that was chosen for it ends before the first byte
    /// of an answer.
    ///
    /// # Errors
    /// Returns an error if no head of a response is received.
    pub(super) async fn send(&self, mut request: Request<Full<Bytes>>) -> Result<Response<Incoming>, legacy::Error> {
        let started = Instant::now();
        self.ages.expire(started);
        let again = request.clone();
        let mut captured = capture_connection(&mut request);
        let mut sending = pin!(self.kept.request(request));
        let sent = tokio::select! {
            biased;
            sent = &mut sending => sent,
            () = chosen(&mut captured) => {
                self.register(&captured);
                sending.await
            }
        };
        let chosen = self.register(&captured);
        match (sent, chosen) {
            (Err(error), Some(chosen)) if chosen.track.born < started && chosen.ended_unanswered(&error) => {
                tracing::debug!(%error, "a kept connection ended before an answer; the request is sent again");
                poison(&captured);
                self.send_again(again, &chosen).await
            }
            (sent, _) => sent,
        }
    }

    /// Registers the connection that was chosen for a request, if there is one.
    fn register(&self, captured: &CaptureConnection) -> Option<Chosen> {
        let chosen = {
            let metadata = captured.connection_metadata();
            let connected = metadata.as_ref()?;
            Chosen { track: Track::of(connected)?, is_http2: connected.is_negotiated_h2() }
        };
        self.ages.used(&chosen.track, captured);
        Some(chosen)
    }

    /// Sends a request on another connection than the chosen one.
    async fn send_again(
        &self,
        request: Request<Full<Bytes>>,
        chosen: &Chosen,
    ) -> Result<Response<Incoming>, legacy::Error> {
        // The pool has one HTTP/2 connection to a receiver, so the next is new; requests that were lost together share
        // it. Another kept HTTP/1 connection may have ended as well.
        let client = if chosen.is_http2 { &self.kept } else { &self.unpooled };
        client.request(request).await
    }
}

impl Chosen {
    /// Whether the connection ended before the first byte of an answer.
    fn ended_unanswered(&self, error: &legacy::Error) -> bool {
        let mut causes = Causes::of(error);
        if self.is_http2 {
            causes.any(|cause| is_unsent(cause) || is_lost_stream(cause))
        } else {
            !self.track.is_answered() || causes.any(is_unsent)
        }
    }
}

/// Whether the request never left, because the connection had ended.
fn is_unsent(cause: &(dyn Error + 'static)) -> bool {
    cause.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_canceled)
}

/// Whether an HTTP/2 connection ended, or the receiver did not process the request (RFC 9113, 8.7). A stream that the
/// receiver resets for any other reason is its answer.
fn is_lost_stream(cause: &(dyn Error + 'static)) -> bool {
    let refused = |error: &h2::Error| error.is_remote() && error.reason() == Some(h2::Reason::REFUSED_STREAM);
    let lost = |error: &h2::Error| error.is_io() || (error.is_remote() && error.is_go_away()) || refused(error);
    cause.is::<io::Error>() || cause.downcast_ref().is_some_and(lost)
}

/// Waits until a connection has been chosen; forever if there is none.
async fn chosen(captured: &mut CaptureConnection) {
    // The lock of the result must not be held across an await.
    drop(captured.wait_for_connection_metadata().await);
}

fn client(connector: TrackingConnector, idle: usize) -> HttpClient {
    legacy::Client::builder(TokioExecutor::new())
        .timer(TokioTimer::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(limits::POOL_IDLE)
        .pool_max_idle_per_host(idle)
        .http1_max_headers(limits::RESPONSE_HEADERS)
        .http2_max_header_list_size(limits::RESPONSE_HEADER_BYTES)
        .http2_keep_alive_interval(limits::RECEIVER_PING_INTERVAL)
        .http2_keep_alive_timeout(limits::RECEIVER_PING_TIMEOUT)
        .http2_keep_alive_while_idle(true)
        // It would retry without bound, and only requests that never left.
        .retry_canceled_requests(false)
        .build(connector)
}
