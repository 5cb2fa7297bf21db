//! Deliveries over TLS.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use grapnel::dispatch::{
    Client, ClientOptions, SendError,
    client::{Outgoing, ReceiverResponse},
};
use grapnel_delivery::egress::{EgressPolicy, Reach};
use grapnel_test_support::{
    certificates::{Pair, trusting},
    receiver::Receiver,
};
use http::{HeaderMap, StatusCode, Version};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::{RootCertStore, pki_types::CertificateDer};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use url::Url;

/// TLS as localhost with these protocols, and the certificate to trust.
pub(crate) fn localhost(protocols: &[&[u8]]) -> (TlsAcceptor, CertificateDer<'static>) {
    let pair = Pair::self_signed("localhost");
    (pair.acceptor(protocols), pair.certificate())
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

#[tokio::test]
async fn http_2_is_used_where_it_is_offered() {
    for (protocols, version) in [(&[&b"h2"[..], b"http/1.1"][..], Version::HTTP_2), (&[b"http/1.1"], Version::HTTP_11)]
    {
        let (acceptor, certificate) = localhost(protocols);
        let receiver = Receiver::setup().tls(acceptor).start().await;
        let answer = post(trusting(&certificate), "localhost", receiver.address.port()).await.unwrap();
        assert_eq!(answer.status, StatusCode::OK);
        assert_eq!(receiver.next().await.version, version);
    }
}

#[tokio::test]
async fn unknown_issuers_and_other_names_are_refused() {
    let (acceptor, certificate) = localhost(&[b"http/1.1"]);
    let receiver = Receiver::setup().tls(acceptor).start().await;
    let (_, other) = localhost(&[]);
    let port = receiver.address.port();
    let untrusted = post(trusting(&other), "localhost", port).await.unwrap_err();
    assert_eq!(untrusted.reason(), "tls", "{untrusted}");
    let misnamed = post(trusting(&certificate), "127.0.0.1", port).await.unwrap_err();
    assert_eq!(misnamed.reason(), "tls", "{misnamed}");
    assert!(receiver.rest().is_empty(), "nothing was sent");
}

/// A certificate for localhost that is valid between these years.
fn valid(from: i32, until: i32) -> Pair {
    let mut params = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    params.not_before = rcgen::date_time_ymd(from, 1, 1);
    params.not_after = rcgen::date_time_ymd(until, 1, 1);
    Pair::self_signed_by(params)
}

#[tokio::test]
async fn certificates_out_of_their_time_are_refused() {
    for (from, until, part) in [(2001, 2002, "expired"), (4001, 4002, "not valid yet")] {
        let pair = valid(from, until);
        let acceptor = pair.acceptor(&[]);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            let (connection, _) = listener.accept().await.unwrap();
            let _ = acceptor.accept(connection).await;
        });
        let refused = post(trusting(&pair.certificate()), "localhost", port).await.unwrap_err();
        assert_eq!(refused.reason(), "tls", "{refused}");
        assert!(refused.to_string().contains(part), "{refused}");
    }
}

#[tokio::test]
async fn broken_tls_ends_in_a_failure_with_its_reason() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    let pair = valid(2001, 4001);
    let acceptor = pair.acceptor(&[]);
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
        let client = Client::with_roots(
            ClientOptions::new(EgressPolicy::default().allowing_loopback()),
            trusting(&pair.certificate()),
        )
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
        let (acceptor, certificate) = localhost(&[protocol]);
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
