//! Connections: bounded in number, in time and in the size of a request's head.

use std::{convert::Infallible, sync::Arc, time::Duration};

use axum::{
    Router,
    extract::Request,
    response::{IntoResponse, Response},
};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::timeout,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::ServiceExt;

use super::{access::Peer, answer::Problem, stream::Stream};
use crate::rules::limits::{
    ADMIN_CONNECTIONS, ADMIN_DRAIN, ADMIN_HEAD_BYTES, ADMIN_HEAD_TIMEOUT, ADMIN_REQUEST_TIMEOUT,
};

/// Pause after a failed accept: most often the process is out of file descriptors, and trying at once fails again.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves connections until `shutdown`, then waits for those that are under way, but not for long.
pub(super) async fn run(router: Router, listener: TcpListener, shutdown: CancellationToken) {
    let slots = Arc::new(Semaphore::new(ADMIN_CONNECTIONS));
    let connections = TaskTracker::new();
    loop {
        let accepted = async {
            let slot = Arc::clone(&slots).acquire_owned().await.ok()?;
            match listener.accept().await {
                Ok((stream, peer)) => Some((stream, Peer(peer), slot)),
                Err(error) => {
                    tracing::warn!(%error, "the admin server cannot accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    None
                }
            }
        };
        tokio::select! {
            biased;
            () = shutdown.cancelled() => break,
            accepted = accepted => {
                let Some((stream, peer, slot)) = accepted else { continue };
                let (router, shutdown) = (router.clone(), shutdown.clone());
                connections.spawn(async move {
                    connection(router, stream, peer, shutdown).await;
                    drop(slot);
                });
            }
        }
    }
    drop(listener);
    connections.close();
    if timeout(ADMIN_DRAIN, connections.wait()).await.is_err() {
        tracing::warn!(connections = connections.len(), "the admin server leaves connections that did not end in time");
    }
}

async fn connection(router: Router, stream: TcpStream, peer: Peer, shutdown: CancellationToken) {
    let service = service_fn(move |request: Request<Incoming>| answer(router.clone(), peer, request));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(ADMIN_HEAD_TIMEOUT)
        .max_buf_size(ADMIN_HEAD_BYTES)
        .serve_connection(TokioIo::new(Stream::new(stream)), service);
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = shutdown.cancelled() => {
            connection.as_mut().graceful_shutdown();
            // Whoever does not read its answer must not hold up the end.
            match timeout(ADMIN_DRAIN, connection).await {
                Ok(ended) => ended,
                Err(_) => return,
            }
        }
    };
    if let Err(error) = ended {
        tracing::debug!(peer = %peer.0, %error, "an admin connection ended badly");
    }
}

async fn answer(router: Router, peer: Peer, mut request: Request<Incoming>) -> Result<Response, Infallible> {
    request.extensions_mut().insert(peer);
    let answered = timeout(ADMIN_REQUEST_TIMEOUT, router.oneshot(request)).await;
    Ok(answered.unwrap_or_else(|_| Ok(Problem::timeout().into_response())).unwrap_or_else(|never| match never {}))
}
