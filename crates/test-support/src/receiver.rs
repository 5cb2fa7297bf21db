//! A receiver of deliveries that follows a script.
//!
//! The script gets each request with its number (from 0) and returns a future of the [`Reply`], so that it can answer with
//! any status, headers and body, late (`sleep`), when the test lets it (a semaphore), never (`pending`), or close the
//! connection ([`Reply::Close`]). The receiver speaks HTTP/1.1 and HTTP/2, and TLS if it has a certificate.

mod received;
mod server;

use std::{
    future::{Future, ready},
    net::{IpAddr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicU16, AtomicUsize, Ordering},
    },
};

use axum::{
    body::Body,
    http::{HeaderMap, Response, StatusCode},
};
use futures_util::FutureExt;
use tokio::{
    net::TcpListener,
    sync::{
        Mutex,
        mpsc::{UnboundedReceiver, unbounded_channel},
        watch,
    },
    task::JoinHandle,
    time::timeout,
};
use tokio_rustls::TlsAcceptor;

pub use self::received::Received;
use self::server::{Script, Server};
use crate::PATIENCE;

/// What the receiver does with a request.
pub enum Reply {
    /// Sends a response.
    Respond(Response<Body>),
    /// Closes the connection without a response.
    Close,
}

impl<B: Into<Body>> From<Response<B>> for Reply {
    fn from(response: Response<B>) -> Self {
        Self::Respond(response.map(Into::into))
    }
}

impl From<u16> for Reply {
    fn from(code: u16) -> Self {
        Self::Respond(status(code))
    }
}

/// A response without a body.
pub fn status(code: u16) -> Response<Body> {
    Response::builder().status(StatusCode::from_u16(code).unwrap()).body(Body::empty()).unwrap()
}

/// A receiver that rejects everything and repeats the headers that it got, the secret ones first: only the start of a
/// response is stored.
pub async fn echoing() -> Receiver {
    Receiver::setup().respond(|request| rejection(&request.headers, "")).await
}

/// A rejection that repeats headers after `text`.
pub fn rejection(headers: &HeaderMap, text: &str) -> Response<Body> {
    let mut shown: Vec<_> =
        headers.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect();
    shown.sort_by_key(|line| !["signature", "key", "authorization"].iter().any(|word| line.contains(word)));
    let text = format!("what is this?\n{text}{}", shown.join("\n"));
    Response::builder().status(StatusCode::FORBIDDEN).body(text.into()).unwrap()
}

/// Listens until it is dropped.
pub struct Receiver {
    /// Its URL, without a path.
    pub url: String,
    /// Where it listens.
    pub address: SocketAddr,
    /// Connections that are open now; only with TLS after the handshake.
    pub open: watch::Receiver<usize>,
    scheme: &'static str,
    connections: Arc<AtomicUsize>,
    status: Arc<AtomicU16>,
    received: Mutex<UnboundedReceiver<Received>>,
    server: JoinHandle<()>,
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Receiver {
    /// Answers every request with the status that [`Self::answer`] has set last, 200 at first.
    pub async fn start() -> Self {
        Self::setup().start().await
    }

    /// Answers the n-th request (from 0) as `script` says.
    pub async fn scripted<F, R>(script: impl Fn(usize) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = R> + Send + 'static,
        R: Into<Reply> + 'static,
    {
        Self::setup().script(move |number, _| script(number)).await
    }

    /// Answers with these statuses, and from then on with the last one.
    pub async fn statuses(statuses: &'static [u16]) -> Self {
        Self::scripted(move |number| ready(statuses[number.min(statuses.len() - 1)])).await
    }

    /// A receiver with TLS, or one whose script looks at the requests.
    pub fn setup() -> Setup {
        Setup { tls: None, keeps: true }
    }

    /// Answers every request with this status from now on, if it has no script.
    pub fn answer(&self, status: u16) {
        self.status.store(status, Ordering::SeqCst);
    }

    /// Connections so far.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// The URL of a path for a host, which is a name or an address of this machine.
    pub fn url_of(&self, host: &str, path: &str) -> String {
        let host = match host.parse::<IpAddr>() {
            Ok(IpAddr::V6(address)) => format!("[{address}]"),
            _ => host.to_owned(),
        };
        format!("{}://{host}:{}{path}", self.scheme, self.address.port())
    }

    /// Waits for the next request.
    pub async fn next(&self) -> Received {
        timeout(PATIENCE, self.received.lock().await.recv()).await.expect("no request arrived").unwrap()
    }

    /// Every request that has arrived and was not asked for.
    pub fn rest(&self) -> Vec<Received> {
        let mut received = self.received.try_lock().expect("nothing waits for the next request meanwhile");
        std::iter::from_fn(|| received.try_recv().ok()).collect()
    }
}

/// How a receiver listens.
pub struct Setup {
    tls: Option<TlsAcceptor>,
    keeps: bool,
}

impl Setup {
    /// With TLS.
    #[must_use]
    pub fn tls(mut self, acceptor: TlsAcceptor) -> Self {
        self.tls = Some(acceptor);
        self
    }

    /// Keeps no request: [`Receiver::next`] and [`Receiver::rest`] return none. For long runs.
    #[must_use]
    pub fn keeping_nothing(mut self) -> Self {
        self.keeps = false;
        self
    }

    /// Listens, and answers as [`Receiver::start`] does.
    pub async fn start(self) -> Receiver {
        let status = Arc::new(AtomicU16::new(200));
        let now = Arc::clone(&status);
        self.listen(status, Box::new(move |_, _| ready(now.load(Ordering::SeqCst).into()).boxed())).await
    }

    /// Listens, and answers each request at once as `respond` says.
    pub async fn respond<R>(self, respond: impl Fn(&Received) -> R + Send + Sync + 'static) -> Receiver
    where
        R: Into<Reply> + Send + 'static,
    {
        self.script(move |_, request| ready(respond(&request))).await
    }

    /// Listens, and answers as `script` says, which gets the number of the request (from 0) and the request.
    pub async fn script<F, R>(self, script: impl Fn(usize, Received) -> F + Send + Sync + 'static) -> Receiver
    where
        F: Future<Output = R> + Send + 'static,
        R: Into<Reply> + 'static,
    {
        let script: Script = Box::new(move |number, request| script(number, request).map(Into::into).boxed());
        self.listen(Arc::default(), script).await
    }

    async fn listen(self, status: Arc<AtomicU16>, script: Script) -> Receiver {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        let (sender, received) = unbounded_channel();
        let (now_open, open) = watch::channel(0);
        let server = Arc::new(Server::new(self.tls, self.keeps.then_some(sender), now_open, script));
        let connections = Arc::clone(&server.connections);
        let server = tokio::spawn(server.listen(listener));
        let (url, received) = (format!("{scheme}://{address}"), Mutex::new(received));
        Receiver { url, address, open, scheme, connections, status, received, server }
    }
}

#[cfg(test)]
mod tests;
