//! Accepts connections and bounds them.

use std::{io, net::SocketAddr, pin::pin, sync::Arc, time::Duration};

use axum::handler::Handler;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
    service::TowerToHyperService,
};
use rustls::ServerConfig;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    time::{Instant, sleep, timeout},
};
use tokio_rustls::TlsAcceptor;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    Ingress, IngressError,
    accept::{Caller, Shared, accept},
    stream::LingeringStream,
};
use crate::{
    connections::{Activity, ConnectionLimiter, Patience, limits::CROWD_GRACE},
    ingress::limits,
};

/// Serves until `shutdown`, then waits for requests in flight for at most
/// [`shutdown_timeout`](super::IngressOptions::shutdown_timeout), and returns.
///
/// HTTP/1.1 and HTTP/2 share one port: with `tls` the client negotiates the version (ALPN), without it HTTP/2 is
/// recognized by its preface (RFC 9113 section 3.3).
///
/// # Errors
/// Returns an error if the options are invalid. Errors of single connections never end the server.
pub async fn serve(
    ingress: Ingress,
    listener: TcpListener,
    tls: Option<Arc<ServerConfig>>,
    shutdown: CancellationToken,
) -> Result<(), IngressError> {
    let options = ingress.options.clone();
    if options.max_connections == 0 {
        return Err(IngressError::NoConnections);
    }
    let server = Arc::new(Server {
        shared: Arc::new(Shared::new(ingress)?),
        http: http(),
        tls: tls.map(TlsAcceptor::from),
        head_timeout: options.head_timeout,
        idle_timeout: options.idle_timeout,
    });
    let crowd = ConnectionLimiter::new("ingress", options.max_connections);
    let connections = TaskTracker::new();
    let end = CancellationToken::new();

    let accepting = async {
        loop {
            match listener.accept().await {
                Ok((socket, peer)) => {
                    // While this one waits for a slot, the others wait in the kernel's queue.
                    let Some(place) = crowd.place().await else { return };
                    let (server, stop, end) = (Arc::clone(&server), shutdown.child_token(), end.child_token());
                    connections.spawn(async move {
                        tokio::select! {
                            () = server.converse(socket, peer, place.activity(), stop) => {}
                            () = end.cancelled() => {}
                        }
                    });
                }
                Err(error) if is_of_one_connection(&error) => {
                    tracing::debug!(%error, "connection lost before it was accepted")
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept connections; trying again");
                    sleep(limits::ACCEPT_BACKOFF).await;
                }
            }
        }
    };
    tokio::select! {
        () = accepting => {}
        () = shutdown.cancelled() => {}
    }
    drop(listener);
    connections.close();
    if timeout(options.shutdown_timeout, connections.wait()).await.is_err() {
        tracing::warn!(connections = connections.len(), "requests did not end in time; their connections are closed");
        end.cancel();
        connections.wait().await;
    }
    Ok(())
}

/// Whether an error of `accept` concerns one connection only, not the listener (accept(2)).
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}

fn http() -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    // `Activity` enforces the timeout for heads, since it distinguishes an idle connection from a slow head.
    // `max_headers` keeps its default, which is `limits::MAX_HEADERS`: setting it costs an allocation per request. A
    // client that closes its side or disconnects after its request does not cancel the request, so a stored event is
    // always counted and logged.
    builder.http1().half_close(true).header_read_timeout(None).max_buf_size(limits::CONNECTION_BUFFER_BYTES);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits::H2_STREAMS)
        .max_header_list_size(limits::HEADER_LIST_BYTES)
        .initial_stream_window_size(limits::H2_STREAM_WINDOW)
        .initial_connection_window_size(limits::H2_CONNECTION_WINDOW)
        .max_pending_accept_reset_streams(limits::H2_PENDING_RESETS)
        .max_local_error_reset_streams(limits::H2_LOCAL_RESETS)
        .keep_alive_interval(limits::H2_PING_INTERVAL)
        .keep_alive_timeout(limits::H2_PING_TIMEOUT);
    builder
}

struct Server {
    shared: Arc<Shared>,
    http: auto::Builder<TokioExecutor>,
    tls: Option<TlsAcceptor>,
    head_timeout: Duration,
    idle_timeout: Duration,
}

impl Server {
    /// Handles one connection, from the handshake to its end.
    async fn converse(&self, socket: TcpStream, peer: SocketAddr, activity: &Arc<Activity>, stop: CancellationToken) {
        if let Err(error) = socket.set_nodelay(true) {
            tracing::debug!(%peer, %error, "connection lost");
            return;
        }
        let stream = LingeringStream::new(socket, Arc::clone(activity));
        let Some(tls) = &self.tls else {
            return self.requests(stream, peer, activity, stop).await;
        };
        let handshake = tokio::select! {
            handshake = timeout(self.head_timeout, tls.accept(stream)) => handshake,
            () = stop.cancelled() => return,
            () = activity.close_requested() => {
                tracing::debug!(%peer, "TLS handshake ended to make room");
                return;
            }
        };
        match handshake {
            Ok(Ok(stream)) => self.requests(stream, peer, activity, stop).await,
            Ok(Err(error)) => tracing::debug!(%peer, %error, "TLS handshake failed"),
            Err(_) => tracing::debug!(%peer, "TLS handshake took too long"),
        }
    }

    /// Handles the requests of one connection.
    async fn requests<S>(&self, stream: S, peer: SocketAddr, activity: &Arc<Activity>, stop: CancellationToken)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let caller = Caller::new(Arc::clone(&self.shared), Arc::clone(activity), peer.ip());
        let service = TowerToHyperService::new(accept.with_state(caller));
        let mut connection = pin!(self.http.serve_connection(TokioIo::new(stream), service));
        let mut stopped = pin!(stop.cancelled());
        let mut look = pin!(sleep(self.head_timeout));
        // Set when the connection has been asked to end after its requests in flight.
        let mut ending = false;
        // Set when it must not wait for requests whose bodies have not been read.
        let mut leaving = false;
        loop {
            tokio::select! {
                end = connection.as_mut() => {
                    if let Err(error) = end {
                        tracing::debug!(%peer, error = %error, "connection ended");
                    }
                    return;
                }
                () = &mut stopped, if !ending => {
                    connection.as_mut().graceful_shutdown();
                    ending = true;
                    look.set(sleep(limits::CLOSE_TIMEOUT));
                }
                () = activity.close_requested(), if !leaving => {
                    if activity.waits_for_client(Instant::now()).is_none() {
                        activity.stay();
                        continue;
                    }
                    connection.as_mut().graceful_shutdown();
                    (ending, leaving) = (true, true);
                    look.set(sleep(CROWD_GRACE));
                }
                () = &mut look => {
                    let now = Instant::now();
                    if leaving && activity.waits_for_client(now).is_some() {
                        tracing::debug!(%peer, "connection closed to make room");
                        return;
                    }
                    let again = match activity.patience(now, self.head_timeout, self.idle_timeout) {
                        Patience::Busy if leaving => CROWD_GRACE,
                        Patience::Busy => self.head_timeout.min(limits::CLOSE_TIMEOUT),
                        // The head of another request may begin in the meantime.
                        Patience::Until(until) if !ending => {
                            until.saturating_duration_since(now).min(self.head_timeout)
                        }
                        Patience::Idle if !ending => {
                            connection.as_mut().graceful_shutdown();
                            ending = true;
                            limits::CLOSE_TIMEOUT
                        }
                        Patience::Until(_) | Patience::Idle | Patience::Stalled => {
                            tracing::debug!(%peer, "connection too slow, closed");
                            return;
                        }
                    };
                    look.set(sleep(again));
                }
            }
        }
    }
}
