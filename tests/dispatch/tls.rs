//! Deliveries over TLS.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use grapnel::{
    dispatch::{
        Client, ClientOptions, SendError,
        client::{Outgoing, Response},
    },
    rules::egress::{EgressPolicy, Reach},
};
use http::{HeaderMap, StatusCode, Version};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::{
    RootCertStore, ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer},
};
use tokio::{net::TcpListener, sync::mpsc};
use tokio_rustls::TlsAcceptor;
use url::Url;

struct Secure {
    port: u16,
    certificate: CertificateDer<'static>,
    versions: mpsc::UnboundedReceiver<Version>,
}

/// A receiver by the name of localhost that offers these protocols and tells which it was called by.
async fn secure(protocols: &[&[u8]]) -> Secure {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let certificate = made.cert.der().clone();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let mut config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.clone()], key)
        .unwrap();
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (seen, versions) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((connection, _)) = listener.accept().await {
            let (acceptor, seen) = (acceptor.clone(), seen.clone());
            tokio::spawn(async move {
                let Ok(secured) = acceptor.accept(connection).await else { return };
                let service = hyper::service::service_fn(move |request: http::Request<hyper::body::Incoming>| {
                    // The test may have seen enough.
                    let _ = seen.send(request.version());
                    async { Ok::<_, std::convert::Infallible>(http::Response::new(String::new())) }
                });
                let server = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
                let _ = server.serve_connection(TokioIo::new(secured), service).await;
            });
        }
    });
    Secure { port, certificate, versions }
}

async fn post(roots: RootCertStore, host: &str, port: u16) -> Result<Response, SendError> {
    let client = Client::with_roots(ClientOptions::new(EgressPolicy::default().allowing_loopback()), roots).unwrap();
    let url = Url::parse(&format!("https://{host}:{port}/hook")).unwrap();
    let timeout = Duration::from_secs(30);
    client
        .post(Outgoing {
            url,
            secret_url: false,
            oauth: None,
            tls: None,
            reach: Reach::Url,
            headers: HeaderMap::new(),
            body: Bytes::from_static(b"{}"),
            timeout,
        })
        .await
}

fn trusting(certificate: &CertificateDer<'static>) -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add(certificate.clone()).unwrap();
    roots
}

#[tokio::test]
async fn http_2_is_used_where_it_is_offered() {
    for (protocols, version) in [(&[&b"h2"[..], b"http/1.1"][..], Version::HTTP_2), (&[b"http/1.1"], Version::HTTP_11)]
    {
        let mut receiver = secure(protocols).await;
        let answer = post(trusting(&receiver.certificate), "localhost", receiver.port).await.unwrap();
        assert_eq!(answer.status, StatusCode::OK);
        assert_eq!(receiver.versions.recv().await, Some(version));
    }
}

#[tokio::test]
async fn unknown_issuers_and_other_names_are_refused() {
    let mut receiver = secure(&[b"http/1.1"]).await;
    let other = secure(&[b"http/1.1"]).await;
    let untrusted = post(trusting(&other.certificate), "localhost", receiver.port).await.unwrap_err();
    assert_eq!(untrusted.reason(), "tls", "{untrusted}");
    let misnamed = post(trusting(&receiver.certificate), "127.0.0.1", receiver.port).await.unwrap_err();
    assert_eq!(misnamed.reason(), "tls", "{misnamed}");
    assert!(receiver.versions.try_recv().is_err(), "nothing was sent");
}
