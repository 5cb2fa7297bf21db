//! The state of a connection that outlives a request: its age, and whether an answer to the last request has begun.
//!
//! The HTTP client chooses connections by itself and does not tell them apart. The transport therefore carries a
//! [`Track`], which the client hands back with the connection that it used for a request.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
};

use futures_util::future::BoxFuture;
use http::{Extensions, Uri};
use hyper_rustls::MaybeHttpsStream;
use hyper_util::{
    client::legacy::connect::{Connected, Connection},
    rt::TokioIo,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    time::Instant,
};
use tower::{BoxError, Service};

use super::{connect::Connector, connection_age::ConnectionAges};

type Inner = TokioIo<MaybeHttpsStream<TokioIo<TcpStream>>>;

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

    /// The track of a connection that a [`TrackingConnector`] has made.
    pub(super) fn of(connected: &Connected) -> Option<Arc<Self>> {
        let mut extras = Extensions::new();
        connected.get_extras(&mut extras);
        extras.remove()
    }

    /// Whether bytes have been received since the last bytes were sent.
    pub(super) fn is_answered(&self) -> bool {
        self.answered.load(Ordering::Relaxed)
    }
}

/// Makes connections that carry a [`Track`].
#[derive(Clone)]
pub(super) struct TrackingConnector {
    inner: Connector,
    ages: Arc<ConnectionAges>,
}

impl TrackingConnector {
    pub(super) fn new(inner: Connector, ages: Arc<ConnectionAges>) -> Self {
        Self { inner, ages }
    }
}

impl Service<Uri> for TrackingConnector {
    type Response = TokioIo<TrackedStream>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Self::Response, BoxError>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, target: Uri) -> Self::Future {
        let connecting = self.inner.call(target);
        let ages = Arc::clone(&self.ages);
        Box::pin(async move {
            let inner = TokioIo::new(connecting.await?);
            let track = Arc::new(ages.opened(Instant::now()));
            Ok(TokioIo::new(TrackedStream { inner, track, ages }))
        })
    }
}

/// A connection, encrypted or not, whose content is tracked.
pub(super) struct TrackedStream {
    inner: Inner,
    track: Arc<Track>,
    ages: Arc<ConnectionAges>,
}

impl TrackedStream {
    fn inner(self: Pin<&mut Self>) -> Pin<&mut Inner> {
        Pin::new(&mut self.get_mut().inner)
    }

    /// The transport for a write, which may fail because the peer has closed the connection.
    fn writing(self: Pin<&mut Self>) -> Pin<&mut Inner> {
        self.track.answered.store(false, Ordering::Relaxed);
        self.inner()
    }
}

impl Drop for TrackedStream {
    fn drop(&mut self) {
        self.ages.closed(&self.track);
    }
}

impl Connection for TrackedStream {
    fn connected(&self) -> Connected {
        self.inner.inner().connected().extra(Arc::clone(&self.track))
    }
}

impl AsyncRead for TrackedStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(self.as_mut().inner().poll_read(cx, buffer))?;
        if buffer.filled().len() > before {
            self.track.answered.store(true, Ordering::Relaxed);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for TrackedStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.writing().poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.writing().poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.inner().poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.inner().poll_shutdown(cx)
    }
}
