//! TLS from files.

use std::{path::Path, sync::Arc};

use grapnel::ingress::tls::{self, TlsError, TlsFiles};
use grapnel_test_support::certificates::{Pair, client};
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};
use tokio_util::sync::CancellationToken;

use super::{
    client::{Post, Wire},
    fixture::{Plan, Served, endpoint},
};

/// Writes a new certificate for `localhost` and its key.
pub(crate) fn write(directory: &Path) -> CertificateDer<'static> {
    let pair = Pair::self_signed("localhost");
    std::fs::write(directory.join("tls.crt"), &pair.chain).unwrap();
    std::fs::write(directory.join("tls.key"), &pair.key).unwrap();
    pair.certificate()
}

pub(crate) fn files(directory: &Path) -> TlsFiles {
    TlsFiles::new(directory.join("tls.crt"), directory.join("tls.key"))
}

pub(crate) async fn connect(
    served: &Served,
    trusted: &CertificateDer<'static>,
    protocols: &[&str],
) -> std::io::Result<TlsStream<TcpStream>> {
    let protocols: Vec<_> = protocols.iter().map(|protocol| protocol.as_bytes()).collect();
    let config = client(trusted, &protocols);
    let socket = TcpStream::connect(served.address).await?;
    TlsConnector::from(Arc::new(config)).connect(ServerName::try_from("localhost").unwrap(), socket).await
}

async fn serve(files: &TlsFiles) -> Served {
    let mut plan = Plan::of([endpoint("orders")]);
    plan.tls = Some(files.load().unwrap());
    plan.serve().await
}

#[tokio::test]
async fn requests_come_in_over_tls_and_the_protocol_is_negotiated() {
    let directory = tempfile::tempdir().unwrap();
    let certificate = write(directory.path());
    let served = serve(&files(directory.path())).await;
    let stream = connect(&served, &certificate, &["http/1.1"]).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
    let mut wire = Wire::over(stream);
    wire.exchange(&Post::signed("/shop/orders", r#"{"id":"1"}"#).bytes()).await.accepted();
    let large = Post::signed("/shop/orders", vec![b'x'; 2 * 1024 * 1024]);
    wire.exchange(&large.bytes()).await.refused(413, "body_too_large");

    let stream = connect(&served, &certificate, &["h2", "http/1.1"]).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));

    // Without TLS nothing is answered.
    let mut plain = Wire::open(served.address).await;
    plain.send(&Post::signed("/shop/orders", "{}").bytes()).await;
    let mut rest = Vec::new();
    let _ = tokio::io::AsyncReadExt::read_to_end(&mut plain.stream, &mut rest).await;
    assert!(!rest.starts_with(b"HTTP"), "{rest:?}");
    assert_eq!(served.stored("orders").await.len(), 1);
}

#[tokio::test]
async fn a_renewed_certificate_is_served_without_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let old = write(directory.path());
    let files = files(directory.path());
    let served = serve(&files).await;
    let mut open = Wire::over(connect(&served, &old, &[]).await.unwrap());

    let shutdown = CancellationToken::new();
    let watch = tokio::spawn(tls::watch(files, shutdown.clone()));
    let new = write(directory.path());
    while connect(&served, &new, &[]).await.is_err() {}
    assert!(connect(&served, &old, &[]).await.is_err());
    open.exchange(&Post::signed("/shop/orders", "{}").bytes()).await.accepted();
    shutdown.cancel();
    watch.await.unwrap();
}

#[test]
fn files_that_cannot_be_used_say_why() {
    let directory = tempfile::tempdir().unwrap();
    let (cert, key) = (directory.path().join("tls.crt"), directory.path().join("tls.key"));
    let error = || files(directory.path()).load().unwrap_err();
    assert!(matches!(error(), TlsError::Read { path, .. } if path == cert));
    write(directory.path());
    let right = std::fs::read(&key).unwrap();
    std::fs::write(&key, "no key").unwrap();
    assert!(matches!(error(), TlsError::Key { path, .. } if path == key));
    let other = tempfile::tempdir().unwrap();
    write(other.path());
    std::fs::copy(other.path().join("tls.key"), &key).unwrap();
    assert!(matches!(error(), TlsError::Pair { .. }));
    std::fs::write(&key, right).unwrap();
    std::fs::write(&cert, "no certificate").unwrap();
    assert!(matches!(error(), TlsError::NoCertificate(path) if path == cert));
    std::fs::write(&cert, vec![b'x'; 2 * 1024 * 1024]).unwrap();
    assert!(matches!(error(), TlsError::TooLarge(path) if path == cert));
}
