//! A request as it arrived.

use std::sync::{Arc, OnceLock};

use axum::http::{HeaderMap, Method, Uri, Version, request::Parts};
use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use hmac::{Hmac, KeyInit, Mac};
use rustls::ServerConnection;
use sha2::Sha256;
use tokio::time::Instant;

/// A request as it arrived.
#[derive(Debug, Clone)]
pub struct Received {
    /// When its body was complete.
    pub at: Instant,
    /// The method.
    pub method: Method,
    /// As the request line or the pseudo-headers of HTTP/2 have it.
    pub uri: Uri,
    /// The path without the query.
    pub path: String,
    /// The path with the query.
    pub target: String,
    /// The version of HTTP.
    pub version: Version,
    /// The headers.
    pub headers: HeaderMap,
    /// The whole body.
    pub body: Bytes,
    /// What the client's TLS said; the default without TLS.
    pub tls: Session,
    pub(super) status: Arc<OnceLock<u16>>,
}

/// What the TLS handshake of a connection said.
#[derive(Debug, Clone, Default)]
pub struct Session {
    /// The name that the client asked for (SNI).
    pub server_name: Option<String>,
    /// Certificates that the client has shown.
    pub certificates: usize,
}

impl From<&ServerConnection> for Session {
    fn from(connection: &ServerConnection) -> Self {
        let server_name = connection.server_name().map(str::to_owned);
        Self { server_name, certificates: connection.peer_certificates().map_or(0, <[_]>::len) }
    }
}

impl Received {
    pub(super) fn new(parts: Parts, body: Bytes, tls: Session) -> Self {
        Self {
            at: Instant::now(),
            method: parts.method,
            path: parts.uri.path().to_owned(),
            target: parts.uri.path_and_query().map_or("/", |target| target.as_str()).to_owned(),
            version: parts.version,
            uri: parts.uri,
            headers: parts.headers,
            body,
            tls,
            status: Arc::default(),
        }
    }

    /// The value of a header.
    ///
    /// # Panics
    ///
    /// If the request does not have it, so that an assertion about what the value is not cannot hold for that reason.
    pub fn header(&self, name: &str) -> &str {
        let value = self.headers.get(name).unwrap_or_else(|| panic!("no header {name}: {:?}", self.headers));
        value.to_str().unwrap()
    }

    /// The status that it was answered with: none until then, and if the connection was closed.
    ///
    /// If the script answers at once, the status is known when [`Receiver::next`](super::Receiver::next) returns the request.
    pub fn status(&self) -> Option<u16> {
        self.status.get().copied()
    }

    /// Checks the Standard Webhooks signature, not with the code under test.
    ///
    /// # Panics
    ///
    /// If no signature of the request is by `secret`.
    pub fn assert_signed(&self, secret: &str) {
        let key = STANDARD.decode(secret.strip_prefix("whsec_").unwrap()).unwrap();
        let mut mac = Hmac::<Sha256>::new_from_slice(&key).unwrap();
        mac.update(format!("{}.{}.", self.header("webhook-id"), self.header("webhook-timestamp")).as_bytes());
        mac.update(&self.body);
        let expected = format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()));
        assert!(self.header("webhook-signature").split(' ').any(|signature| signature == expected), "{self:?}");
    }
}
