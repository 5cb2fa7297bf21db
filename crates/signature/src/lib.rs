//! Signatures: creation, and verification over the raw bytes in constant time.
//!
//! A [`Scheme`] describes how a sender signs, as plain data; [`provider()`] is the table of known senders. A
//! [`Verifier`] is a scheme with its keys prepared, and the only way to a [`Verified`] body. In the other direction,
//! [`Signer`] signs deliveries, and [`sign_request`] signs a request as a sender of any scheme would.
//!
//! A request is checked in this order: presence of the headers, form of the timestamp, signature, and only then age of
//! the timestamp. A caller without a secret therefore learns nothing about the clock or the tolerance.

#![warn(missing_docs)]
// Input from outside must never cause a panic: every rejection is an error with a response.
#![deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

mod abuse_protection;
mod basic;
mod certificate;
mod content;
mod handshake;
mod header_format;
mod header_signature;
mod jwks;
pub mod jws;
mod jwt;
mod key;
pub mod limits;
mod mac;
mod private_key;
mod provider;
mod public_key;
mod request;
mod service_account;
mod signature_or_token;
mod signed_url;
mod signer;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
#[cfg(test)]
mod tests;
mod timestamp;
mod token;

use std::{fmt, sync::Arc};

use bytes::Bytes;
pub use grapnel_values::provider::ProviderName;
use grapnel_values::secret::Secret;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use jiff::Timestamp;

use crate::{
    basic::BasicVerifier, header_signature::SignatureVerifier, signature_or_token::SignatureOrTokenVerifier,
    signed_url::UrlVerifier, token::TokenVerifier,
};
pub use crate::{
    basic::credentials,
    certificate::CertificateScheme,
    content::{Content, ContentError},
    handshake::{Handshake, HandshakeReply},
    header_signature::{Algorithm, Encoding, HeaderNames, Shape, SignatureScheme},
    jwks::{KeySet, KeySetError, KeySource},
    jwt::JwtScheme,
    key::{KeyError, KeyForm, KeyProblem},
    provider::{PROVIDERS, Place, Provider, Retries, names, provider},
    request::{sign_request, sign_request_to},
    service_account::{Review, ServiceAccountScheme},
    signature_or_token::SignatureOrTokenScheme,
    signed_url::{CalledUrl, UrlScheme},
    signer::{Signer, SigningScheme},
    timestamp::TimestampSource,
    token::TokenScheme,
};

/// How a sender authenticates its requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scheme {
    /// A signature over the body.
    Signature(SignatureScheme),
    /// A signature over the URL and the fields of a form.
    Url(UrlScheme),
    /// A shared secret in a header.
    Token(TokenScheme),
    /// A signature over the body or a shared secret in a header, depending on the secret.
    SignatureOrToken(SignatureOrTokenScheme),
    /// A username and a password (RFC 7617). Every secret is both, separated by a colon; see [`credentials`].
    Basic,
    /// A bearer token signed by an issuer.
    Jwt(JwtScheme),
    /// A signature by the key of a certificate that the request names.
    Certificate(CertificateScheme),
    /// A ServiceAccount token, reviewed by the cluster.
    ServiceAccount(ServiceAccountScheme),
    /// No authentication.
    None,
}

impl Scheme {
    /// Returns whether the scheme has secrets.
    pub fn needs_secrets(&self) -> bool {
        match self {
            Self::Signature(_) | Self::Url(_) | Self::Token(_) | Self::SignatureOrToken(_) | Self::Basic => true,
            Self::Jwt(_) | Self::Certificate(_) | Self::ServiceAccount(_) | Self::None => false,
        }
    }
}

/// A scheme with its keys prepared.
#[derive(Debug)]
pub struct Verifier(Kind);

#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "most are the largest, and there is one an endpoint")]
enum Kind {
    Signature(SignatureVerifier),
    Url(UrlVerifier),
    Token(TokenVerifier),
    SignatureOrToken(SignatureOrTokenVerifier),
    Basic(BasicVerifier),
    Jwt(JwtScheme),
    Certificate(CertificateScheme),
    ServiceAccount(ServiceAccountScheme),
    None,
}

/// What a scheme requires in addition to headers and body.
#[derive(Debug, Clone, Copy)]
pub enum RequiredContext<'a> {
    /// Nothing.
    Nothing,
    /// The URL that the sender called.
    Url,
    /// The sender's public keys; see [`Verifier::keys_for`].
    Keys,
    /// The cluster's review of the caller's token.
    Review(&'a ServiceAccountScheme),
}

/// The keys needed to verify a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeysWanted {
    /// Where the keys are.
    pub source: KeySource,
    /// The id of the required key, if the request names it. A key missing from a cached set may be new.
    pub id: Option<String>,
}

/// What is known of a request in addition to its headers and its body.
#[derive(Debug, Clone)]
pub enum VerificationContext {
    /// Nothing.
    Nothing,
    /// The URL that the sender called.
    Url(CalledUrl),
    /// The sender's public keys.
    Keys(Arc<KeySet>),
    /// The cluster's review of the caller's token.
    Review(Review),
}

/// A body with a valid signature. Only [`Verifier::verify`] and related methods create one.
#[derive(Clone)]
pub struct Verified {
    body: Bytes,
    /// Index of the secret that signed it, from 0; 0 where that makes no difference.
    key: usize,
}

impl Verified {
    /// Returns the raw body.
    pub fn body(&self) -> &Bytes {
        &self.body
    }

    /// Returns the raw body.
    pub fn into_body(self) -> Bytes {
        self.body
    }

    /// Returns a part of the body, which is verified as the whole is; `None` when `piece` does not belong to the body.
    pub fn part(&self, piece: &str) -> Option<Self> {
        let begin = (piece.as_ptr() as usize).checked_sub(self.body.as_ptr() as usize)?;
        let end = begin.checked_add(piece.len())?;
        (end <= self.body.len()).then(|| Self { body: self.body.slice(begin..end), key: self.key })
    }
}

impl fmt::Debug for Verified {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verified").field("bytes", &self.body.len()).finish()
    }
}

/// Why a request is rejected. The sentence names the header and what is wrong with it, and holds nothing of its value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// A header that the scheme requires is absent.
    #[error("{0}")]
    MissingSignature(String),
    /// A header is empty or malformed, or no signature in it is valid.
    #[error("{0}")]
    InvalidSignature(String),
    /// The signature is valid, but its time is outside the tolerance.
    #[error("{0}")]
    StaleTimestamp(String),
}

impl Refusal {
    /// Returns the code for the response and the metric.
    pub fn code(&self) -> &'static str {
        match self {
            Self::MissingSignature(_) => "missing_signature",
            Self::InvalidSignature(_) => "invalid_signature",
            Self::StaleTimestamp(_) => "stale_timestamp",
        }
    }
}

impl Verifier {
    /// Prepares the keys of a scheme. Any of several secrets may match, for rotation. Schemes without
    /// [secrets](Scheme::needs_secrets) ignore those given.
    ///
    /// # Errors
    ///
    /// [`KeyError`] when a secret is not a key of the scheme, when there are none or more than
    /// [`SECRETS`](crate::limits::SECRETS), or when the scheme contradicts itself.
    pub fn new(scheme: Scheme, secrets: Vec<Secret>) -> Result<Self, KeyError> {
        Ok(Self(match scheme {
            Scheme::Signature(scheme) => Kind::Signature(SignatureVerifier::new(scheme, &secrets)?),
            Scheme::Url(scheme) => Kind::Url(UrlVerifier::new(scheme, &secrets)?),
            Scheme::Token(scheme) => Kind::Token(TokenVerifier::new(scheme, &secrets)?),
            Scheme::SignatureOrToken(scheme) => {
                Kind::SignatureOrToken(SignatureOrTokenVerifier::new(scheme, &secrets)?)
            }
            Scheme::Basic => Kind::Basic(BasicVerifier::new(&secrets)?),
            Scheme::Jwt(scheme) => Kind::Jwt(scheme),
            Scheme::Certificate(scheme) => Kind::Certificate(scheme),
            Scheme::ServiceAccount(scheme) => Kind::ServiceAccount(scheme),
            Scheme::None => Kind::None,
        }))
    }

    /// Returns what must be known of a request, in addition to its headers and its body, to verify it.
    pub fn needs(&self) -> RequiredContext<'_> {
        match &self.0 {
            Kind::Url(_) => RequiredContext::Url,
            Kind::Jwt(_) | Kind::Certificate(_) => RequiredContext::Keys,
            Kind::ServiceAccount(scheme) => RequiredContext::Review(scheme),
            Kind::Signature(_) | Kind::Token(_) | Kind::SignatureOrToken(_) | Kind::Basic(_) | Kind::None => {
                RequiredContext::Nothing
            }
        }
    }

    /// Returns the keys required to verify a request, for a scheme that [needs](Self::needs) keys. The request is still
    /// untrusted, so the caller must limit how often it fetches keys.
    ///
    /// # Errors
    ///
    /// [`Refusal`] when the request names no key, or one that is not the sender's.
    pub fn keys_for(&self, headers: &HeaderMap) -> Result<KeysWanted, Refusal> {
        match &self.0 {
            Kind::Jwt(scheme) => Ok(KeysWanted { source: scheme.keys.clone(), id: JwtScheme::key_id(headers)? }),
            Kind::Certificate(_) => Ok(KeysWanted { source: CertificateScheme::source(headers)?, id: None }),
            _ => Err(keys_unknown()),
        }
    }

    /// Verifies a request without further context. See [`Self::verify_with`].
    ///
    /// # Errors
    ///
    /// [`Refusal`]; see the [module](self) for the order of checks.
    pub fn verify(&self, headers: &HeaderMap, body: Bytes, now: Timestamp) -> Result<Verified, Refusal> {
        self.verify_with(&VerificationContext::Nothing, headers, body, now)
    }

    /// Verifies a request. On success the body is not copied, and an HMAC over it allocates nothing. Without the
    /// context that the scheme [needs](Self::needs), every request is rejected; any other context is ignored.
    ///
    /// # Errors
    ///
    /// [`Refusal`]; see the [module](self) for the order of checks.
    pub fn verify_with(
        &self,
        evidence: &VerificationContext,
        headers: &HeaderMap,
        body: Bytes,
        now: Timestamp,
    ) -> Result<Verified, Refusal> {
        let key = match (&self.0, evidence) {
            (Kind::Signature(verifier), _) => return verifier.verify(headers, body, now),
            (Kind::SignatureOrToken(verifier), _) => return verifier.verify(headers, body, now),
            (Kind::Url(verifier), VerificationContext::Url(url)) => verifier.verify(url, headers, &body)?,
            (Kind::Url(_), _) => return Err(signed_url::unknown()),
            (Kind::Token(verifier), _) => verifier.verify(headers).map(|()| 0)?,
            (Kind::Basic(verifier), _) => verifier.verify(headers).map(|()| 0)?,
            (Kind::Jwt(scheme), VerificationContext::Keys(keys)) => scheme.verify(keys, headers, now).map(|()| 0)?,
            (Kind::Certificate(scheme), VerificationContext::Keys(keys)) => {
                scheme.verify(keys, headers, &body, now).map(|()| 0)?
            }
            (Kind::Jwt(_) | Kind::Certificate(_), _) => return Err(keys_unknown()),
            (Kind::ServiceAccount(scheme), VerificationContext::Review(review)) => scheme.verify(review).map(|()| 0)?,
            (Kind::ServiceAccount(_), _) => return Err(service_account::not_reviewed()),
            (Kind::None, _) => 0,
        };
        Ok(Verified { body, key })
    }

    /// Returns the HMAC of a text by one of the secrets, for the response to a handshake; `None` when there is no such
    /// secret, or it does not make HMACs.
    fn tag(&self, key: usize, text: &[u8]) -> Option<Vec<u8>> {
        match &self.0 {
            Kind::Signature(verifier) => verifier.macs()?.tag(key, &[text]),
            _ => None,
        }
    }

    /// Iterates over the headers that carry a signature or a token, which are never stored. Headers of the timestamp
    /// and the id are not credentials.
    pub fn credential_headers(&self) -> impl Iterator<Item = &HeaderName> {
        let (first, second) = match &self.0 {
            Kind::Signature(verifier) => {
                let scheme = verifier.scheme();
                (Some(&scheme.header), scheme.alternative.as_ref().map(|names| &names.signature))
            }
            Kind::Url(verifier) => (Some(verifier.header()), None),
            Kind::Token(verifier) => (Some(verifier.header()), None),
            Kind::SignatureOrToken(verifier) => {
                let [signature, token] = verifier.headers();
                (Some(signature), Some(token))
            }
            Kind::Basic(_) | Kind::Jwt(_) | Kind::ServiceAccount(_) => (Some(&header::AUTHORIZATION), None),
            Kind::Certificate(_) => (Some(&certificate::SIGNATURE), None),
            Kind::None => (None, None),
        };
        first.into_iter().chain(second)
    }
}

fn keys_unknown() -> Refusal {
    Refusal::InvalidSignature("the sender's public keys are not known".into())
}

/// Returns the value of a header that must occur exactly once and must not be empty.
fn single<'a>(headers: &'a HeaderMap, name: &HeaderName, what: &str) -> Result<&'a HeaderValue, Refusal> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else {
        return Err(Refusal::MissingSignature(format!("header {name} ({what}) is missing")));
    };
    if values.next().is_some() {
        return Err(Refusal::InvalidSignature(format!("header {name} ({what}) occurs more than once")));
    }
    if value.as_bytes().trim_ascii().is_empty() {
        return Err(Refusal::InvalidSignature(format!("header {name} ({what}) is empty")));
    }
    Ok(value)
}
