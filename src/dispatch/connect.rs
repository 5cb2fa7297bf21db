//! Connections: guarded name resolution, TCP, and TLS according to the identity.

use std::{
    sync::Arc,
    task::{Context, Poll},
};

use futures_util::{TryFutureExt, future::BoxFuture};
use grapnel_delivery::egress_proxy::EgressProxy;
use http::Uri;
use hyper_rustls::{FixedServerNameResolver, HttpsConnector};
use hyper_util::{client::legacy::connect::HttpConnector, rt::TokioIo};
use rustls::{ClientConfig, RootCertStore, client::ResolvesClientCert, sign::SingleCertAndKey};
use tokio::net::TcpStream;
use tower::{BoxError, Service};

use super::{proxy_connect::Tunnel, resolver::GuardedResolver};
use crate::{catalog::TlsIdentity, dispatch::limits};

/// Connects to the host of a URL.
pub(super) type Connector = HttpsConnector<Way>;

/// How a TCP connection to a target is made: directly or through a proxy.
#[derive(Clone)]
pub(super) enum Way {
    Direct(HttpConnector<GuardedResolver>),
    Tunnel(Arc<Tunnel>),
}

impl Service<Uri> for Way {
    type Response = TokioIo<TcpStream>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Self::Response, BoxError>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        match self {
            Self::Direct(tcp) => tcp.poll_ready(cx).map_err(Into::into),
            Self::Tunnel(_) => Poll::Ready(Ok(())),
        }
    }

    fn call(&mut self, target: Uri) -> Self::Future {
        match self {
            Self::Direct(tcp) => Box::pin(tcp.call(target).map_err(Into::into)),
            Self::Tunnel(tunnel) => {
                let tunnel = Arc::clone(tunnel);
                Box::pin(async move { Ok(TokioIo::new(tunnel.connect(&target).await?)) })
            }
        }
    }
}

/// A connector that uses TLS according to `config` and `identity`, through the proxy if there is one.
pub(super) fn connector(
    resolver: GuardedResolver,
    proxy: Option<&Arc<EgressProxy>>,
    config: Arc<ClientConfig>,
    identity: &TlsIdentity,
) -> Connector {
    let way = match proxy {
        Some(proxy) => Way::Tunnel(Arc::new(Tunnel::new(Arc::clone(proxy), resolver))),
        None => Way::Direct(direct(resolver)),
    };
    match identity.server_name() {
        None => HttpsConnector::from((way, config)),
        Some(name) => HttpsConnector::new(way, config, false, Arc::new(FixedServerNameResolver::new(name.clone()))),
    }
}

fn direct(resolver: GuardedResolver) -> HttpConnector<GuardedResolver> {
    let mut tcp = HttpConnector::new_with_resolver(resolver);
    // The connector is used for both schemes.
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_keepalive(Some(limits::TARGET_KEEPALIVE));
    tcp.set_keepalive_interval(Some(limits::TARGET_KEEPALIVE));
    tcp.set_keepalive_retries(Some(limits::TARGET_KEEPALIVE_PROBES));
    tcp
}

/// TLS with HTTP/2 if the server offers it, according to `identity`; `platform` is trusted unless the identity names
/// the certificates to trust.
pub(super) fn tls(platform: &Arc<RootCertStore>, identity: &TlsIdentity) -> Result<ClientConfig, rustls::Error> {
    let roots = identity.roots().unwrap_or(platform);
    // The provider is named because a process-wide default may be missing or be another provider.
    let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(Arc::clone(roots));
    let mut config = match identity.shown() {
        None => builder.with_no_client_auth(),
        Some(pair) => {
            let pair: Arc<dyn ResolvesClientCert> = Arc::new(SingleCertAndKey::from(Arc::clone(pair)));
            builder.with_client_cert_resolver(pair)
        }
    };
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

/// The platform's certificates, or those of Mozilla if the image has none.
pub(crate) fn platform_roots() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    let (_, refused) = roots.add_parsable_certificates(found.certs);
    for error in &found.errors {
        tracing::debug!(%error, "platform certificates could not all be read");
    }
    if refused > 0 {
        tracing::debug!(refused, "some platform certificates do not parse");
    }
    if roots.is_empty() {
        tracing::debug!("the platform has no certificates, using Mozilla's");
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    }
    roots
}
