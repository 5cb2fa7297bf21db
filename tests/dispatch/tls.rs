//! Deliveries over TLS.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use grapnel::dispatch::{
    Client, ClientOptions, SendError,
    client::{Outgoing, ReceiverResponse},
};
use grapnel_delivery::egress::{EgressPolicy, Reach};
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

/// TLS as localhost with these protocols, and the certificate to trust.
pub(crate) fn localhost(protocols: &[&[u8]]) -> (TlsAcceptor, CertificateDer<'static>) {
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
    (TlsAcceptor::from(Arc::new(config)), certificate)
}

/// A receiver by the name of localhost that offers these protocols and tells which it was called by.
async fn secure(protocols: &[&[u8]]) -> Secure {
    let (acceptor, certificate) = localhost(protocols);
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

async fn post(roots: RootCertStore, host: &str, port: u16) -> Result<ReceiverResponse, SendError> {
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

/// TLS for localhost with a certificate that is valid between these years.
fn valid(from: i32, until: i32) -> (CertificateDer<'static>, TlsAcceptor) {
    let (certificate, config) = certified(from, until);
    (certificate, TlsAcceptor::from(Arc::new(config)))
}

fn certified(from: i32, until: i32) -> (CertificateDer<'static>, ServerConfig) {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    params.not_before = rcgen::date_time_ymd(from, 1, 1);
    params.not_after = rcgen::date_time_ymd(until, 1, 1);
    let certificate = params.self_signed(&key).unwrap().der().clone();
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.clone()], PrivateKeyDer::try_from(key.serialize_der()).unwrap())
        .unwrap();
    (certificate, config)
}

#[tokio::test]
async fn certificates_out_of_their_time_are_refused() {
    for (from, until, part) in [(2001, 2002, "expired"), (4001, 4002, "not valid yet")] {
        let (certificate, acceptor) = valid(from, until);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            let (connection, _) = listener.accept().await.unwrap();
            let _ = acceptor.accept(connection).await;
        });
        let refused = post(trusting(&certificate), "localhost", port).await.unwrap_err();
        assert_eq!(refused.reason(), "tls", "{refused}");
        assert!(refused.to_string().contains(part), "{refused}");
    }
}

#[tokio::test]
async fn broken_tls_ends_in_a_failure_with_its_reason() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    let (certificate, acceptor) = valid(2001, 4001);
    for (fault, reason) in [
        ("says nothing", "timeout"),
        ("closes", "connect"),
        ("alerts", "tls"),
        ("closes in the body", "io"),
        ("speaks plainly in the body", "tls"),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let acceptor = acceptor.clone();
        let server = tokio::spawn(async move {
            let (mut connection, _) = listener.accept().await.unwrap();
            let mut hello = [0; 4096];
            match fault {
                "says nothing" => std::future::pending().await,
                "closes" => drop(connection.read(&mut hello).await.unwrap()),
                "alerts" => {
                    let _ = connection.read(&mut hello).await.unwrap();
                    // Fatal, handshake_failure.
                    connection.write_all(b"\x15\x03\x03\x00\x02\x02\x28").await.unwrap();
                    let _ = connection.read(&mut hello).await;
                }
                _ => {
                    let mut secured = acceptor.accept(connection).await.unwrap();
                    let _ = secured.read(&mut hello).await.unwrap();
                    secured.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf").await.unwrap();
                    secured.flush().await.unwrap();
                    // Without saying goodbye, or in plain text.
                    let (mut connection, _) = secured.into_inner();
                    if fault == "speaks plainly in the body" {
                        connection.write_all(&[b'x'; 96]).await.unwrap();
                        let _ = connection.read(&mut hello).await;
                    }
                }
            }
        });
        let client =
            Client::with_roots(ClientOptions::new(EgressPolicy::default().allowing_loopback()), trusting(&certificate))
                .unwrap();
        let url = Url::parse(&format!("https://localhost:{port}/hook")).unwrap();
        let timeout = Duration::from_millis(if reason == "timeout" { 300 } else { 30_000 });
        let request = Outgoing {
            url,
            reach: Reach::Url,
            headers: HeaderMap::new(),
            body: Bytes::from_static(b"{}"),
            timeout,
            secret_url: false,
            tls: None,
            oauth: None,
        };
        let failed = client.post(request).await.unwrap_err();
        assert_eq!(failed.reason(), reason, "{fault}: {failed}");
        server.abort();
    }
}

#[tokio::test]
async fn a_connection_that_has_gone_silent_is_given_up_for_a_new_one() {
    for protocol in [&b"h2"[..], b"http/1.1"] {
        let (certificate, mut config) = certified(2001, 4001);
        config.alpn_protocols = vec![protocol.to_vec()];
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let silence = Arc::new(tokio::sync::Notify::new());
        let server = tokio::spawn({
            let silence = silence.clone();
            async move {
                for number in 0.. {
                    let (connection, _) = listener.accept().await.unwrap();
                    let (acceptor, silence) = (acceptor.clone(), silence.clone());
                    tokio::spawn(async move {
                        let secured = acceptor.accept(connection).await.unwrap();
                        let service = hyper::service::service_fn(|_| async {
                            Ok::<_, std::convert::Infallible>(http::Response::new(String::new()))
                        });
                        let server = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
                        let mut serving = std::pin::pin!(server.serve_connection(TokioIo::new(secured), service));
                        tokio::select! {
                            _ = &mut serving => {}
                            // The first one is held open, and not looked at any more: as a process that is stuck.
                            () = silence.notified(), if number == 0 => std::future::pending().await,
                        }
                    });
                }
            }
        });
        let client =
            Client::with_roots(ClientOptions::new(EgressPolicy::default().allowing_loopback()), trusting(&certificate))
                .unwrap();
        let post = async |timeout: Duration| {
            let url = Url::parse(&format!("https://localhost:{port}/hook")).unwrap();
            let body = Bytes::from_static(b"{}");
            client
                .post(Outgoing {
                    url,
                    reach: Reach::Url,
                    headers: HeaderMap::new(),
                    body,
                    timeout,
                    secret_url: false,
                    tls: None,
                    oauth: None,
                })
                .await
        };
        post(Duration::from_secs(30)).await.unwrap();
        silence.notify_one();
        crate::stage::eventually("another connection is made", async || post(Duration::from_millis(500)).await.is_ok())
            .await;
        server.abort();
    }
}
