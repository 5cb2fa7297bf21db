//! The part of a kubelet that forwards ports, as the API server calls it: a WebSocket of the subprotocol
//! `v4.channel.k8s.io`, where channel 0 is a port's bytes and channel 1 its errors, and the first message on each is the
//! port's number.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::SeqCst},
};

use futures_util::{SinkExt, StreamExt};
use grapnel_test_support::certificates::Pair;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
};
use tokio_rustls::server::TlsStream;
use tokio_tungstenite::{
    accept_hdr_async,
    tungstenite::{
        Message,
        handshake::server::{Request, Response},
    },
};

/// It serves until it is dropped.
pub(crate) struct Kubelet {
    pub(crate) port: u16,
    connections: Arc<AtomicUsize>,
    cut: watch::Sender<()>,
    _server: JoinSet<()>,
}

impl Kubelet {
    pub(crate) async fn start() -> Self {
        let acceptor = Pair::self_signed("localhost").acceptor(&[]);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let connections = Arc::new(AtomicUsize::new(0));
        let cut = watch::Sender::new(());
        let mut server = JoinSet::new();
        let (counted, ended) = (Arc::clone(&connections), cut.subscribe());
        server.spawn(async move {
            let mut serving = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (acceptor, counted, mut ended) = (acceptor.clone(), Arc::clone(&counted), ended.clone());
                serving.spawn(async move {
                    let Ok(stream) = acceptor.accept(stream).await else { return };
                    counted.fetch_add(1, SeqCst);
                    ended.mark_unchanged();
                    tokio::select! {
                        () = forward(stream) => {}
                        _ = ended.changed() => {}
                    }
                });
            }
        });
        Self { port, connections, cut, _server: server }
    }

    /// Connections so far.
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(SeqCst)
    }

    /// Ends those that are open.
    pub(crate) fn cut(&self) {
        self.cut.send_replace(());
    }
}

async fn forward(stream: TlsStream<TcpStream>) {
    let mut port = None;
    #[allow(clippy::result_large_err, reason = "the type of the callback is the library's")]
    let answer = |request: &Request, mut response: Response| {
        assert!(request.uri().path().starts_with("/portForward/"), "{}", request.uri());
        let query = request.uri().query().and_then(|query| query.strip_prefix("port="));
        port = query.and_then(|port| port.parse::<u16>().ok());
        response.headers_mut().insert("sec-websocket-protocol", "v4.channel.k8s.io".parse().unwrap());
        Ok(response)
    };
    let socket = accept_hdr_async(stream, answer).await.unwrap();
    let port = port.expect("the port is in the query");
    let (mut to_client, mut from_client) = socket.split();
    let message = |channel: u8, bytes: &[u8]| Message::binary([&[channel], bytes].concat());
    for channel in [0, 1] {
        to_client.send(message(channel, &port.to_le_bytes())).await.unwrap();
    }
    let Ok(pod) = TcpStream::connect(("127.0.0.1", port)).await else {
        // After the request, and read to the end: what a client sends into a connection that is closed fails, and its
        // library, or the API server, then forgets what it was told before.
        let _ = from_client.next().await;
        let _ = to_client.send(message(1, b"nothing listens at the port")).await;
        let _ = to_client.close().await;
        while let Some(Ok(_)) = from_client.next().await {}
        return;
    };
    let (mut from_pod, mut to_pod) = pod.into_split();
    let out = async {
        while let Some(Ok(received)) = from_client.next().await {
            match received {
                Message::Binary(bytes) => to_pod.write_all(&bytes[1..]).await.unwrap(),
                Message::Close(_) => break,
                _ => {}
            }
        }
    };
    let back = async {
        let mut buffer = vec![0; 4096];
        while let Ok(length @ 1..) = from_pod.read(&mut buffer).await {
            if to_client.send(message(0, &buffer[..length])).await.is_err() {
                break;
            }
        }
        let _ = to_client.close().await;
    };
    tokio::select! {
        () = out => {}
        () = back => {}
    }
}
