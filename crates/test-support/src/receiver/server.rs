//! The connections of a receiver.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::Poll,
};

use axum::{
    body::Body,
    http::{Request, Response},
};
use futures_util::{future::BoxFuture, poll};
use http_body_util::BodyExt;
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::{mpsc::UnboundedSender, watch},
};
use tokio_rustls::TlsAcceptor;

use super::{Received, Reply, received::Session};

type BoxError = Box<dyn std::error::Error + Send + Sync>;

pub(super) type Script = Box<dyn Fn(usize, Received) -> BoxFuture<'static, Reply> + Send + Sync>;

pub(super) struct Server {
    pub(super) connections: Arc<AtomicUsize>,
    tls: Option<TlsAcceptor>,
    /// Where requests go that are kept.
    kept: Option<UnboundedSender<Received>>,
    open: watch::Sender<usize>,
    requests: AtomicUsize,
    script: Script,
}

impl Server {
    pub(super) fn new(
        tls: Option<TlsAcceptor>,
        kept: Option<UnboundedSender<Received>>,
        open: watch::Sender<usize>,
        script: Script,
    ) -> Self {
        Self { connections: Arc::default(), tls, kept, open, requests: AtomicUsize::new(0), script }
    }

    pub(super) async fn listen(self: Arc<Self>, listener: TcpListener) {
        while let Ok((connection, _)) = listener.accept().await {
            self.connections.fetch_add(1, Ordering::SeqCst);
            tokio::spawn(Arc::clone(&self).accept(connection));
        }
    }

    async fn accept(self: Arc<Self>, connection: TcpStream) {
        let _ = connection.set_nodelay(true);
        match self.tls.clone() {
            None => self.serve(connection, Session::default()).await,
            Some(tls) => {
                let Ok(connection) = tls.accept(connection).await else { return };
                let session = Session::from(connection.get_ref().1);
                self.serve(connection, session).await;
            }
        }
    }

    async fn serve(
        self: Arc<Self>,
        connection: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
        session: Session,
    ) {
        self.open.send_modify(|open| *open += 1);
        let server = Arc::clone(&self);
        let service = service_fn(move |request| Arc::clone(&server).answer(request, session.clone()));
        // An error of a connection is the client's to see.
        let _ = auto::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(connection), service).await;
        self.open.send_modify(|open| *open -= 1);
    }

    async fn answer(self: Arc<Self>, request: Request<Incoming>, session: Session) -> Result<Response<Body>, BoxError> {
        let (parts, body) = request.into_parts();
        let received = Received::new(parts, body.collect().await?.to_bytes(), session);
        let number = self.requests.fetch_add(1, Ordering::SeqCst);
        let mut reply = (self.script)(number, received.clone());
        // What is answered at once has its status when the test sees it; what is not is seen while it waits.
        if let Poll::Ready(now) = poll!(&mut reply) {
            let now = settle(now, &received);
            self.keep(received);
            return now;
        }
        self.keep(received.clone());
        settle(reply.await, &received)
    }

    fn keep(&self, received: Received) {
        if let Some(kept) = &self.kept {
            // The test may have seen enough.
            let _ = kept.send(received);
        }
    }
}

fn settle(reply: Reply, received: &Received) -> Result<Response<Body>, BoxError> {
    match reply {
        Reply::Respond(response) => {
            let _ = received.status.set(response.status().as_u16());
            Ok(response)
        }
        Reply::Close => Err(io::Error::other("the script closes the connection").into()),
    }
}
