//! Compiled receivers: address, credentials and TLS identity.

use std::{fmt, sync::Arc, time::Duration};

use grapnel_delivery::egress::Reach;
use grapnel_values::secret::Secret;
use http::HeaderMap;
use rustls::{
    InconsistentKeys, RootCertStore,
    crypto::ring,
    pki_types::{
        CertificateDer, PrivateKeyDer, ServerName,
        pem::{self, PemObject},
    },
    sign::CertifiedKey,
};
use sha2::{Digest, Sha256};
use url::Url;
use zeroize::Zeroizing;

/// A receiver.
#[derive(PartialEq)]
pub struct DeliveryTarget {
    /// The URL of POST requests.
    pub url: Url,
    /// Whether the URL is secret: if so, neither it nor anything that may repeat it is shown.
    pub secret_url: bool,
    /// Whether it is named by a URL or as a Service in the subscription's namespace.
    pub reach: Reach,
    /// Headers from the object and from Secrets, ready to send; those from Secrets are marked sensitive.
    pub headers: HeaderMap,
    /// The OAuth client that provides tokens for `Authorization`, if configured.
    pub oauth: Option<Arc<OAuthClient>>,
    /// The TLS identity, if not the default.
    pub tls: Option<Arc<TlsIdentity>>,
    /// Timeout of the whole exchange.
    pub timeout: Duration,
}

/// A digest of a configuration, including its secrets: equal for equal content, and never shown.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint([u8; 32]);

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// The operator as a client of an authorization server (RFC 6749, 2.3.1).
pub struct OAuthClient {
    /// The token endpoint.
    pub token_url: Url,
    /// The client's id.
    pub id: Secret,
    /// The client's secret.
    pub secret: Secret,
    /// Whether both are sent in the body instead of `Authorization`.
    pub in_body: bool,
    /// Scopes, separated by spaces; empty to let the server decide.
    pub scope: String,
    /// The parameter `audience`.
    pub audience: Option<String>,
    /// The TLS identity for the token endpoint.
    pub tls: Option<Arc<TlsIdentity>>,
}

impl OAuthClient {
    /// Equal for clients that receive the same tokens.
    pub fn fingerprint(&self) -> Fingerprint {
        let mut digest = Sha256::new();
        let tls = self.tls.as_ref().map(|tls| tls.fingerprint().0);
        for part in [
            Some(self.token_url.as_str().as_bytes()),
            Some(self.id.expose()),
            Some(self.secret.expose()),
            Some(&[u8::from(self.in_body)][..]),
            Some(self.scope.as_bytes()),
            self.audience.as_deref().map(str::as_bytes),
            tls.as_ref().map(|tls| &tls[..]),
        ] {
            add(&mut digest, part);
        }
        Fingerprint(digest.finalize().into())
    }
}

impl PartialEq for OAuthClient {
    fn eq(&self, other: &Self) -> bool {
        self.fingerprint() == other.fingerprint()
    }
}

impl fmt::Debug for OAuthClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OAuthClient").finish_non_exhaustive()
    }
}

/// The TLS settings of a connection: trusted authorities, client certificate and server name. The default is standard
/// TLS.
#[derive(Clone, Default)]
pub struct TlsIdentity {
    roots: Option<Arc<RootCertStore>>,
    shown: Option<Arc<CertifiedKey>>,
    server_name: Option<ServerName<'static>>,
    digest: Sha256,
}

/// Why a value cannot be part of a [`TlsIdentity`].
#[derive(Debug, thiserror::Error)]
pub enum TlsProblem {
    /// The certificates are not valid PEM.
    #[error("is incomplete PEM")]
    Certificates(#[source] pem::Error),
    /// There is no certificate.
    #[error("holds no certificate in PEM")]
    NoCertificate,
    /// A certificate cannot be trusted.
    #[error("certificate {number} of it cannot be used: {source}")]
    Authority {
        /// Its number, from 1.
        number: usize,
        /// The cause.
        source: rustls::Error,
    },
    /// The key is not valid.
    #[error("holds no private key in PEM (PKCS#8, PKCS#1 or SEC1)")]
    Key(#[source] pem::Error),
    /// The certificate and the key do not match.
    #[error("cannot use the certificate with the key: {0}")]
    Pair(#[source] rustls::Error),
    /// The name is neither a DNS name nor an address.
    #[error("`{0}` is neither a DNS name nor an IP address")]
    Name(String),
}

impl TlsIdentity {
    /// Trusts only the certificate authorities of a PEM text.
    ///
    /// # Errors
    /// Returns an error if it contains none, or one that cannot be used.
    pub fn trusting(mut self, authorities: &[u8]) -> Result<Self, TlsProblem> {
        let mut roots = RootCertStore::empty();
        for (number, certificate) in certificates(authorities)?.into_iter().enumerate() {
            roots
                .add(certificate)
                .map_err(|source| TlsProblem::Authority { number: number.saturating_add(1), source })?;
        }
        self.roots = Some(Arc::new(roots));
        self.note("roots", &[authorities]);
        Ok(self)
    }

    /// Presents a certificate chain, its own certificate first, when the server requests one; both texts are PEM.
    ///
    /// # Errors
    /// Returns an error if the certificate or the key is missing, or they do not match.
    pub fn showing(mut self, chain: &[u8], key: &[u8]) -> Result<Self, TlsProblem> {
        let certificates = certificates(chain)?;
        let secret = Zeroizing::new(PrivateKeyDer::from_pem_slice(key).map_err(TlsProblem::Key)?);
        let signing = ring::sign::any_supported_type(&secret).map_err(TlsProblem::Pair)?;
        let pair = CertifiedKey::new(certificates, signing);
        match pair.keys_match() {
            // rustls itself accepts keys whose public half cannot be determined.
            Ok(()) | Err(rustls::Error::InconsistentKeys(InconsistentKeys::Unknown)) => {}
            Err(error) => return Err(TlsProblem::Pair(error)),
        }
        self.shown = Some(Arc::new(pair));
        self.note("shown", &[chain, key]);
        Ok(self)
    }

    /// Requests this server name, and requires a certificate for it, instead of the URL's host.
    ///
    /// # Errors
    /// Returns an error if it is neither a DNS name nor an address.
    pub fn calling(mut self, name: &str) -> Result<Self, TlsProblem> {
        let server_name = ServerName::try_from(name.to_owned()).map_err(|_| TlsProblem::Name(name.to_owned()))?;
        self.server_name = Some(server_name);
        self.note("name", &[name.as_bytes()]);
        Ok(self)
    }

    /// The trusted certificate authorities; `None` means the platform's.
    pub fn roots(&self) -> Option<&Arc<RootCertStore>> {
        self.roots.as_ref()
    }

    /// The certificate to present.
    pub fn shown(&self) -> Option<&Arc<CertifiedKey>> {
        self.shown.as_ref()
    }

    /// The server name; `None` means the URL's host.
    pub fn server_name(&self) -> Option<&ServerName<'static>> {
        self.server_name.as_ref()
    }

    /// Equal for identities made of the same texts in the same order.
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint(self.digest.clone().finalize().into())
    }

    fn note(&mut self, what: &str, texts: &[&[u8]]) {
        add(&mut self.digest, Some(what.as_bytes()));
        for text in texts {
            add(&mut self.digest, Some(text));
        }
    }
}

impl PartialEq for TlsIdentity {
    fn eq(&self, other: &Self) -> bool {
        self.fingerprint() == other.fingerprint()
    }
}

impl fmt::Debug for TlsIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsIdentity").finish_non_exhaustive()
    }
}

fn certificates(text: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsProblem> {
    let found =
        CertificateDer::pem_slice_iter(text).collect::<Result<Vec<_>, _>>().map_err(TlsProblem::Certificates)?;
    if found.is_empty() { Err(TlsProblem::NoCertificate) } else { Ok(found) }
}

/// Adds a part by its own digest, so that moving a byte from one part to the next changes the result.
fn add(digest: &mut Sha256, part: Option<&[u8]>) {
    match part {
        None => digest.update([0]),
        Some(part) => {
            digest.update([1]);
            digest.update(Sha256::digest(part));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(id: &str, secret: &str) -> OAuthClient {
        OAuthClient {
            token_url: Url::parse("https://id.example/token").unwrap(),
            id: Secret::from(id),
            secret: Secret::from(secret),
            in_body: false,
            scope: String::new(),
            audience: None,
            tls: None,
        }
    }

    #[test]
    fn oauth_clients_are_distinguished_by_all_their_fields() {
        assert_eq!(client("a", "b"), client("a", "b"));
        for other in [
            client("ab", ""),
            client("a", "c"),
            OAuthClient { in_body: true, ..client("a", "b") },
            OAuthClient { scope: "read".into(), ..client("a", "b") },
            OAuthClient { audience: Some(String::new()), ..client("a", "b") },
            OAuthClient { token_url: Url::parse("https://id.example/").unwrap(), ..client("a", "b") },
            OAuthClient { tls: Some(Arc::new(TlsIdentity::default())), ..client("a", "b") },
        ] {
            assert_ne!(client("a", "b"), other);
        }
    }

    #[test]
    fn identities_are_distinguished_by_certificate_and_key() {
        let named = |name: &str| TlsIdentity::default().calling(name).unwrap();
        assert_eq!(named("a.test"), named("a.test"));
        assert_ne!(named("a.test"), named("b.test"));
        assert_ne!(named("a.test"), TlsIdentity::default());
        assert!(matches!(TlsIdentity::default().calling("not a name"), Err(TlsProblem::Name(_))));
    }

    #[test]
    fn nothing_of_a_secret_is_shown() {
        let shown = format!("{:?} {:?}", client("the-id", "hunter2"), client("the-id", "hunter2").fingerprint());
        assert_eq!(shown, "OAuthClient { .. } ***");
    }
}
