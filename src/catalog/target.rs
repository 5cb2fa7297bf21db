//! Receivers as they are called: where, with which credentials, and whom to trust.

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
pub struct Target {
    /// Where to post.
    pub url: Url,
    /// Whether the URL is a secret: then neither it nor anything that may repeat it is shown.
    pub secret_url: bool,
    /// Whether it is named by a URL or as a Service of the subscription's namespace.
    pub reach: Reach,
    /// Headers of the object and of Secrets, ready to send; those of Secrets are marked sensitive.
    pub headers: HeaderMap,
    /// Who gives the tokens for `Authorization`, if any are asked for.
    pub oauth: Option<Arc<OAuthClient>>,
    /// How TLS is spoken, if otherwise than by default.
    pub tls: Option<Arc<TlsIdentity>>,
    /// Timeout of one attempt.
    pub timeout: Duration,
}

/// What tells two of a kind apart, secrets included: equal for equal content, and shown to nobody.
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
    /// Whether both are sent in the body rather than in `Authorization`.
    pub in_body: bool,
    /// Scopes, separated by spaces; empty when the server is to decide.
    pub scope: String,
    /// The parameter `audience`.
    pub audience: Option<String>,
    /// How TLS is spoken to the token endpoint.
    pub tls: Option<Arc<TlsIdentity>>,
}

impl OAuthClient {
    /// Equal for clients that get the same tokens.
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

/// Whom to trust over TLS, what to show, and what to ask for. Without any of them it is TLS as by default.
#[derive(Clone, Default)]
pub struct TlsIdentity {
    roots: Option<Arc<RootCertStore>>,
    shown: Option<Arc<CertifiedKey>>,
    server_name: Option<ServerName<'static>>,
    digest: Sha256,
}

/// Why something cannot be part of a [`TlsIdentity`].
#[derive(Debug, thiserror::Error)]
pub enum TlsProblem {
    /// Certificates that are no PEM.
    #[error("is incomplete PEM")]
    Certificates(#[source] pem::Error),
    /// None at all.
    #[error("holds no certificate in PEM")]
    NoCertificate,
    /// A certificate that cannot be trusted.
    #[error("certificate {number} of it cannot be used: {source}")]
    Authority {
        /// Which, from 1.
        number: usize,
        /// Why.
        source: rustls::Error,
    },
    /// A key that is none.
    #[error("holds no private key in PEM (PKCS#8, PKCS#1 or SEC1)")]
    Key(#[source] pem::Error),
    /// A certificate and a key that are not of one pair.
    #[error("cannot use the certificate with the key: {0}")]
    Pair(#[source] rustls::Error),
    /// Neither a DNS name nor an address.
    #[error("`{0}` is neither a DNS name nor an IP address")]
    Name(String),
}

impl TlsIdentity {
    /// Trusts the certificate authorities of a PEM text, and no others.
    ///
    /// # Errors
    /// When there is none in it, or one that cannot be used.
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

    /// Shows a chain of certificates, the own one first, when it is asked for one; both texts are PEM.
    ///
    /// # Errors
    /// When there is no certificate or no key in them, or they are not of one pair.
    pub fn showing(mut self, chain: &[u8], key: &[u8]) -> Result<Self, TlsProblem> {
        let certificates = certificates(chain)?;
        let secret = Zeroizing::new(PrivateKeyDer::from_pem_slice(key).map_err(TlsProblem::Key)?);
        let signing = ring::sign::any_supported_type(&secret).map_err(TlsProblem::Pair)?;
        let pair = CertifiedKey::new(certificates, signing);
        match pair.keys_match() {
            // Of a kind whose public half cannot be told, as rustls itself has it.
            Ok(()) | Err(rustls::Error::InconsistentKeys(InconsistentKeys::Unknown)) => {}
            Err(error) => return Err(TlsProblem::Pair(error)),
        }
        self.shown = Some(Arc::new(pair));
        self.note("shown", &[chain, key]);
        Ok(self)
    }

    /// Asks for this name, and wants a certificate for it, instead of the URL's host.
    ///
    /// # Errors
    /// When it is neither a DNS name nor an address.
    pub fn calling(mut self, name: &str) -> Result<Self, TlsProblem> {
        let server_name = ServerName::try_from(name.to_owned()).map_err(|_| TlsProblem::Name(name.to_owned()))?;
        self.server_name = Some(server_name);
        self.note("name", &[name.as_bytes()]);
        Ok(self)
    }

    /// Certificate authorities to trust; the platform's when there are none.
    pub fn roots(&self) -> Option<&Arc<RootCertStore>> {
        self.roots.as_ref()
    }

    /// What to show.
    pub fn shown(&self) -> Option<&Arc<CertifiedKey>> {
        self.shown.as_ref()
    }

    /// What to ask for; the URL's host when it is not said.
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

/// Adds a part with a digest of its own, so that no byte can move from one to the next unseen.
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
    fn clients_are_told_apart_by_all_that_they_are() {
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
    fn identities_are_told_apart_by_what_they_are_made_of() {
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
