//! Signatures: creation, and verification over the raw bytes in constant time.
//!
//! A [`Scheme`] describes how a sender signs, as plain data; [`provider()`] is the table of known senders. A
//! [`Verifier`] is a scheme with its keys prepared, and the only way to a [`Verified`] body. In the other direction,
//! [`Signer`] signs deliveries, and [`sign_request`] signs a request as a sender of any scheme would.
//!
//! A request is checked in this order: presence of the headers, form of the timestamp, signature, and only then age of
//! the timestamp. A caller without a secret therefore learns nothing about the clock or the tolerance.
//!
//! ```
//! use bytes::Bytes;
//! use grapnel_signature::{Signer, DeliveryScheme, Verifier, provider};
//! use grapnel_values::secret::Secret;
//! use http::{HeaderMap, HeaderValue};
//! use jiff::Timestamp;
//!
//! let secret = || vec![Secret::from("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")];
//! let (now, body) = (Timestamp::now(), Bytes::from_static(b"{}"));
//! let mut headers = HeaderMap::from_iter(Signer::new(DeliveryScheme::StandardWebhooks, secret())?.sign(
//!     "evt_1",
//!     now.as_second(),
//!     &body,
//! ));
//! headers.insert("webhook-id", HeaderValue::from_static("evt_1"));
//! headers.insert("webhook-timestamp", now.as_second().into());
//!
//! let sender = provider("StandardWebhooks").unwrap();
//! let verifier = Verifier::new(sender.scheme(), secret())?;
//! assert!(verifier.verify(&headers, body, now).is_ok());
//! assert!(verifier.verify(&headers, Bytes::from_static(b"[]"), now).is_err(), "another body");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

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
mod open;
mod private_key;
mod proof;
mod provider;
mod public_key;
mod request;
mod service_account;
mod signature_or_token;
mod signature_scheme;
mod signed_url;
mod signer;
mod sns;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
#[cfg(test)]
mod tests;
mod timestamp;
mod token;

use std::{fmt, sync::Arc, time::Duration};

use bytes::Bytes;
pub use grapnel_values::provider::ProviderName;
use grapnel_values::secret::Secret;
use http::{HeaderMap, HeaderName, HeaderValue};
use jiff::Timestamp;

use crate::proof::{Proof, ProofKind, UnverifiedRequest};
pub use crate::{
    basic::credentials,
    certificate::CertificateScheme,
    content::{ContentError, ContentTemplate},
    handshake::{Handshake, HandshakeReply, Question, Task},
    header_format::{Shape, SignatureEncoding},
    jwks::{KeySet, KeySetError, KeySource},
    jwt::JwtScheme,
    key::{KeyError, KeyForm, KeyProblem},
    proof::{Parameter, Parameters},
    provider::{Bodies, PROVIDERS, Provider, RequestField, Retries, names, provider},
    request::{sign_request, sign_request_to},
    service_account::{Review, ServiceAccountScheme},
    signature_or_token::SignatureOrTokenScheme,
    signature_scheme::{HeaderNames, SignatureAlgorithm, SignatureScheme},
    signed_url::{CalledUrl, Covered, UrlScheme},
    signer::{DeliveryScheme, Signer},
    sns::SnsScheme,
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
    /// A signature in the message of Amazon SNS, by the key of a certificate that it names.
    Sns(SnsScheme),
    /// A ServiceAccount token, reviewed by the cluster.
    ServiceAccount(ServiceAccountScheme),
    /// No authentication.
    None,
}

impl Scheme {
    /// Returns what the kind of proof says of itself. This is the only place that lists the kinds.
    fn kind(&self) -> &dyn ProofKind {
        match self {
            Self::Signature(scheme) => scheme,
            Self::Url(scheme) => scheme,
            Self::Token(scheme) => scheme,
            Self::SignatureOrToken(scheme) => scheme,
            Self::Basic => &basic::BasicScheme,
            Self::Jwt(scheme) => scheme,
            Self::Certificate(scheme) => scheme,
            Self::Sns(scheme) => scheme,
            Self::ServiceAccount(scheme) => scheme,
            Self::None => &open::Open,
        }
    }

    /// Returns whether the scheme has secrets.
    pub fn needs_secrets(&self) -> bool {
        self.kind().needs_secrets()
    }

    /// Returns what an endpoint must configure besides secrets, for a scheme of the provider table.
    pub fn parameters(&self) -> &'static [Parameter] {
        self.kind().parameters()
    }

    /// Returns the scheme with those of the parameters that it takes.
    #[must_use]
    pub fn configured(self, parameters: &Parameters) -> Self {
        self.kind().configured(parameters).unwrap_or(self)
    }

    /// Returns the scheme with another tolerance; `None` when it signs no timestamp.
    pub fn tolerating(&self, tolerance: Duration) -> Option<Self> {
        self.kind().tolerating(tolerance)
    }

    /// Returns the JSON pointer of the time of signing, in milliseconds since 1970, if it is in the body.
    pub fn time_in_body(&self) -> Option<&'static str> {
        self.kind().time_in_body()
    }

    /// Reads keys that are otherwise fetched from the sender, such as a JSON Web Key Set; `None` when the scheme fetches
    /// none.
    ///
    /// # Errors
    ///
    /// [`KeySetError`] when the document holds no keys.
    pub fn fetched_keys(&self, document: &[u8]) -> Option<Result<KeySet, KeySetError>> {
        self.kind().fetched_keys(document)
    }
}

/// A scheme with its keys prepared.
#[derive(Debug)]
pub struct Verifier(Box<dyn Proof>);

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
        scheme.kind().with_keys(&secrets).map(Self)
    }

    /// Returns what must be known of a request, in addition to its headers and its body, to verify it.
    pub fn needs(&self) -> RequiredContext<'_> {
        self.0.needs()
    }

    /// Returns the keys required to verify a request, for a scheme that [needs](Self::needs) keys. The request is still
    /// untrusted, so the caller must limit how often it fetches keys.
    ///
    /// # Errors
    ///
    /// [`Refusal`] when the request names no key, or one that is not the sender's.
    pub fn keys_for(&self, headers: &HeaderMap, body: &[u8]) -> Result<KeysWanted, Refusal> {
        self.0.keys_for(headers, body)
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
        let request = UnverifiedRequest { context: evidence, headers, body: &body, now };
        let key = self.0.verify(&request)?;
        Ok(Verified { body, key })
    }

    /// Returns the HMAC of a text by one of the secrets, for the response to a handshake; `None` when there is no such
    /// secret, or it does not make HMACs.
    fn tag(&self, key: usize, text: &[u8]) -> Option<Vec<u8>> {
        self.0.tag(key, text)
    }

    /// Iterates over the headers that carry a signature or a token, which are never stored. Headers of the timestamp
    /// and the id are not credentials.
    pub fn credential_headers(&self) -> impl Iterator<Item = &HeaderName> {
        self.0.credential_headers().into_iter().flatten()
    }
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
