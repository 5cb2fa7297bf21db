//! A receiver of deliveries that can be told to fail.

use std::sync::{
    Arc,
    atomic::{AtomicU16, Ordering},
};

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode, Uri},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use tokio::{
    net::TcpListener,
    sync::{
        Mutex,
        mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
    },
    time::{Instant, timeout},
};

use super::PATIENCE;

/// One delivery as it arrived.
#[derive(Debug)]
pub(crate) struct Arrived {
    pub(crate) at: Instant,
    pub(crate) path: String,
    /// The path with the query.
    pub(crate) target: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    /// What it was answered with.
    pub(crate) status: u16,
}

impl Arrived {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// Checks the Standard Webhooks signature, with code of this test's own.
    pub(crate) fn assert_signed(&self, secret: &str) {
        let key = STANDARD.decode(secret.strip_prefix("whsec_").unwrap()).unwrap();
        let mut mac = Hmac::<Sha256>::new_from_slice(&key).unwrap();
        mac.update(format!("{}.{}.", self.header("webhook-id"), self.header("webhook-timestamp")).as_bytes());
        mac.update(&self.body);
        let expected = format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()));
        assert!(self.header("webhook-signature").split(' ').any(|signature| signature == expected), "{self:?}");
    }
}

/// Listens until it is dropped.
pub(crate) struct Receiver {
    pub(crate) url: String,
    status: Arc<AtomicU16>,
    arrivals: Mutex<UnboundedReceiver<Arrived>>,
}

impl Receiver {
    pub(crate) async fn start() -> Self {
        let (sender, arrivals) = unbounded_channel();
        let status = Arc::new(AtomicU16::new(200));
        let app = Router::new().fallback(receive).with_state((sender, Arc::clone(&status)));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { url, status, arrivals: Mutex::new(arrivals) }
    }

    /// From now on every delivery is answered with this.
    pub(crate) fn answer(&self, status: u16) {
        self.status.store(status, Ordering::SeqCst);
    }

    /// The next delivery.
    pub(crate) async fn next(&self) -> Arrived {
        timeout(PATIENCE, self.arrivals.lock().await.recv()).await.expect("no delivery arrived").unwrap()
    }

    /// What has arrived and was not asked for.
    pub(crate) async fn rest(&self) -> Vec<Arrived> {
        let mut arrivals = self.arrivals.lock().await;
        std::iter::from_fn(|| arrivals.try_recv().ok()).collect()
    }
}

async fn receive(
    State((sender, status)): State<(UnboundedSender<Arrived>, Arc<AtomicU16>)>,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> StatusCode {
    let status = status.load(Ordering::SeqCst);
    let (path, target) = (uri.path().into(), uri.to_string());
    let arrived = Arrived { at: Instant::now(), path, target, headers, body, status };
    let _ = sender.send(arrived);
    StatusCode::from_u16(status).unwrap()
}

/// A receiver that refuses everything, and shows what it got; its URL.
pub(crate) async fn echoing() -> String {
    async fn refuse(headers: HeaderMap) -> (StatusCode, String) {
        let mut shown: Vec<String> =
            headers.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect();
        // Only the beginning of an answer is kept: what matters comes first.
        shown.sort_by_key(|line| !["signature", "key", "authorization"].iter().any(|word| line.contains(word)));
        (StatusCode::FORBIDDEN, format!("what is this?\n{}", shown.join("\n")))
    }
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, Router::new().fallback(refuse)).await.unwrap() });
    url
}
