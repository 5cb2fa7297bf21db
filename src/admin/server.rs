//! Connections: bounded in number, in time and in the size of a request's head.

use std::{convert::Infallible, pin::pin, sync::Arc, time::Duration};

use axum::{
    Router,
    extract::Request,
    response::{IntoResponse, Response},
};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    time::{Instant, sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::ServiceExt;

use super::{authn::Peer, response::Problem, stream::WriteTimeoutStream, tracked_body::TrackedBody};
use crate::{
    admin::limits::{ADMIN_CONNECTIONS, ADMIN_DRAIN, ADMIN_HEAD_BYTES, ADMIN_HEAD_TIMEOUT, ADMIN_REQUEST_TIMEOUT},
    connections::{
        Activity, ConnectionLimiter,
        limits::{CROWD_GRACE, CROWD_PATIENCE},
    },
};

/// Pause after a failed accept: usually the process is out of file descriptors, and an immediate retry would fail
/// again.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves connections until `shutdown`, then waits a bounded time for requests in flight.
pub(super) async fn run(router: Router, listener: TcpListener, shutdown: CancellationToken) {
    let crowd = ConnectionLimiter::new("admin", ADMIN_CONNECTIONS);
    let connections = TaskTracker::new();
    let accepting = async {
        loop {
            match listener.accept().await {
                Ok((socket, peer)) => {
                    // While this one waits for a slot, the others wait in the kernel's queue.
                    let Some(place) = crowd.place().await else { return };
                    let (router, shutdown) = (router.clone(), shutdown.clone());
                    connections.spawn(async move {
                        converse(router, socket, Peer(peer), place.activity(), shutdown).await;
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "the admin server cannot accept a connection");
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    };
    tokio::select! {
        biased;
        () = shutdown.cancelled() => {}
        () = accepting => {}
    }
    drop(listener);
    connections.close();
    if timeout(ADMIN_DRAIN, connections.wait()).await.is_err() {
        tracing::warn!(connections = connections.len(), "the admin server leaves connections that did not end in time");
    }
}

/// Handles one connection to its end.
async fn converse(
    router: Router,
    socket: TcpStream,
    peer: Peer,
    activity: &Arc<Activity>,
    shutdown: CancellationToken,
) {
    let service = service_fn(|request| answer(router.clone(), peer, activity, request));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(ADMIN_HEAD_TIMEOUT)
        .max_buf_size(ADMIN_HEAD_BYTES)
        .serve_connection(TokioIo::new(WriteTimeoutStream::new(socket, Arc::clone(activity))), service);
    let mut connection = pin!(connection);
    let mut look = pin!(sleep(CROWD_GRACE));
    let mut leaving = false;
    let waits_for = || activity.waits_for_client(Instant::now());
    let ended = loop {
        tokio::select! {
            ended = connection.as_mut() => break ended,
            () = shutdown.cancelled() => {
                connection.as_mut().graceful_shutdown();
                // A client that does not read its response must not delay the shutdown.
                match timeout(ADMIN_DRAIN, connection).await {
                    Ok(ended) => break ended,
                    Err(_) => return,
                }
            }
            () = activity.close_requested(), if !leaving => {
                if waits_for().is_none_or(|waited| waited < CROWD_PATIENCE) {
                    activity.stay();
                    continue;
                }
                connection.as_mut().graceful_shutdown();
                leaving = true;
                look.set(sleep(CROWD_GRACE));
            }
            () = &mut look, if leaving => {
                if waits_for().is_some_and(|waited| waited >= CROWD_GRACE) {
                    tracing::debug!(peer = %peer.0, "an admin connection is closed to make room");
                    return;
                }
                look.set(sleep(CROWD_GRACE));
            }
        }
    };
    if let Err(error) = ended {
        tracing::debug!(peer = %peer.0, %error, "an admin connection ended badly");
    }
}

async fn answer(
    router: Router,
    peer: Peer,
    activity: &Arc<Activity>,
    mut request: Request<Incoming>,
) -> Result<Response, Infallible> {
    let guard = Arc::new(activity.request(request.version()));
    request.extensions_mut().insert(peer);
    let request = request.map(|body| TrackedBody::new(body, Arc::clone(&guard)));
    let answered = timeout(ADMIN_REQUEST_TIMEOUT, router.oneshot(request)).await;
    Ok(answered.unwrap_or_else(|_| Ok(Problem::timeout().into_response())).unwrap_or_else(|never| match never {}))
}
