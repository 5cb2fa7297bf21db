//! Connections that carry a [`Track`].
//!
//! The HTTP client chooses connections by itself and does not tell them apart. The transport therefore carries the
//! track, which the client hands back with the connection that it used for a request.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use futures_util::future::BoxFuture;
use http::Uri;
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

use super::{connect::Connector, connection_age::ConnectionAges, track::Track};

type Inner = TokioIo<MaybeHttpsStream<TokioIo<TcpStream>>>;

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
        self.track.sent();
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
            self.track.received();
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
