//! Receivers over TLS, with certificate authorities of their own.

use std::{
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use grapnel::catalog::TlsIdentity;
use http::{Request, Response, Version};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::{
    RootCertStore, ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::WebPkiClientVerifier,
};
use tokio::{
    net::TcpListener,
    sync::{mpsc, watch},
};
use tokio_rustls::TlsAcceptor;

/// Longest that a request is waited for; only a test that fails waits as long.
const PATIENCE: Duration = Duration::from_secs(60);

/// A certificate authority that nobody knows of.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    /// Its certificate.
    pub(crate) pem: String,
}

/// A certificate with its key, in PEM.
pub(crate) struct Pair {
    pub(crate) chain: String,
    pub(crate) key: String,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    /// A certificate for a name or an address.
    pub(crate) fn issue(&self, name: &str) -> Pair {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        Pair { chain: params.signed_by(&key, &self.issuer).unwrap().pem(), key: key.serialize_pem() }
    }

    /// Trusts this one only.
    pub(crate) fn trusted(&self) -> TlsIdentity {
        TlsIdentity::default().trusting(self.pem.as_bytes()).unwrap()
    }

    fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.pem.as_bytes()).unwrap()).unwrap();
        roots
    }
}

/// A request as it came over TLS.
#[derive(Debug)]
pub(crate) struct SecureRequest {
    pub(crate) version: Version,
    /// The name that was asked for (SNI).
    pub(crate) server_name: Option<String>,
    /// Certificates that the client has shown.
    pub(crate) shown: usize,
    pub(crate) request: Request<Bytes>,
}

/// A server over TLS on the loopback.
pub(crate) struct Secure {
    pub(crate) address: std::net::SocketAddr,
    received: mpsc::UnboundedReceiver<SecureRequest>,
    /// Connections that are open now.
    pub(crate) open: watch::Receiver<usize>,
    pub(crate) connections: Arc<AtomicUsize>,
}

impl Secure {
    /// Serves with `pair`, asks for certificates of `clients` if there is one, and answers as told.
    pub(crate) async fn start(
        pair: &Pair,
        clients: Option<&Authority>,
        answer: impl Fn(&Request<Bytes>) -> Response<String> + Clone + Send + Sync + 'static,
    ) -> Self {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions();
        let builder = match clients {
            None => builder.unwrap().with_no_client_auth(),
            Some(authority) => {
                let roots = Arc::new(authority.roots());
                let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider).build().unwrap();
                builder.unwrap().with_client_cert_verifier(verifier)
            }
        };
        let chain = CertificateDer::pem_slice_iter(pair.chain.as_bytes()).collect::<Result<_, _>>().unwrap();
        let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).unwrap();
        let mut config = builder.with_single_cert(chain, key).unwrap();
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (seen, received) = mpsc::unbounded_channel();
        let (now_open, open) = watch::channel(0);
        let now_open = Arc::new(now_open);
        let connections = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&connections);
        tokio::spawn(async move {
            while let Ok((connection, _)) = listener.accept().await {
                let (acceptor, seen, answer, now_open) =
                    (acceptor.clone(), seen.clone(), answer.clone(), Arc::clone(&now_open));
                counted.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(async move {
                    let Ok(secured) = acceptor.accept(connection).await else { return };
                    now_open.send_modify(|open| *open += 1);
                    let session = secured.get_ref().1;
                    let server_name = session.server_name().map(str::to_owned);
                    let shown = session.peer_certificates().map_or(0, <[_]>::len);
                    let service = hyper::service::service_fn(move |request: Request<Incoming>| {
                        let (seen, answer, server_name) = (seen.clone(), answer.clone(), server_name.clone());
                        async move {
                            let (parts, body) = request.into_parts();
                            let request = Request::from_parts(parts, body.collect().await?.to_bytes());
                            let answer = answer(&request).map(|text| Full::new(Bytes::from(text)));
                            // The test may have seen enough.
                            let _ =
                                seen.send(SecureRequest { version: request.version(), server_name, shown, request });
                            Ok::<_, hyper::Error>(answer)
                        }
                    });
                    let server = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
                    let _ = server.serve_connection(TokioIo::new(secured), service).await;
                    now_open.send_modify(|open| *open -= 1);
                });
            }
        });
        Self { address, received, open, connections }
    }

    pub(crate) fn url(&self, host: &str) -> url::Url {
        let host = match host.parse::<IpAddr>() {
            Ok(IpAddr::V6(address)) => format!("[{address}]"),
            _ => host.to_owned(),
        };
        url::Url::parse(&format!("https://{host}:{}/hook", self.address.port())).unwrap()
    }

    pub(crate) async fn next(&mut self) -> SecureRequest {
        tokio::time::timeout(PATIENCE, self.received.recv()).await.expect("no request came").unwrap()
    }

    /// Everything that has come and was not looked at.
    pub(crate) fn rest(&mut self) -> Vec<SecureRequest> {
        std::iter::from_fn(|| self.received.try_recv().ok()).collect()
    }
}

/// An answer without content.
pub(crate) fn fine(_: &Request<Bytes>) -> Response<String> {
    Response::new(String::new())
}
