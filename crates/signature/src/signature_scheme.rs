//! Schemes of signatures in a header, as plain data.

use std::time::Duration;

use http::HeaderName;

use super::{
    ContentTemplate, KeyForm, TimestampSource,
    content::STANDARD_WEBHOOKS,
    header_format::{Shape, SignatureEncoding},
    mac::Hash,
    public_key::Curve,
};
use crate::limits::DEFAULT_TOLERANCE;

/// The signature scheme of a sender.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignatureScheme {
    /// Header that carries the signature.
    pub header: HeaderName,
    /// Algorithm.
    pub algorithm: SignatureAlgorithm,
    /// Encoding of a signature.
    pub encoding: SignatureEncoding,
    /// Layout of the header.
    pub shape: Shape,
    /// The signed content.
    pub content: ContentTemplate,
    /// Location of the time of signing.
    pub timestamp: Option<TimestampSource>,
    /// Header that carries the id, if the id is signed.
    pub id_header: Option<HeaderName>,
    /// Alternative names of the same headers, used when a request lacks [`Self::header`].
    pub alternative: Option<HeaderNames>,
    /// Maximum distance of the timestamp from now, in either direction; `None` disables the check.
    pub tolerance: Option<Duration>,
    /// Encoding of the secrets.
    pub key_form: KeyForm,
}

/// The header names of a signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeaderNames {
    /// Header of the signature.
    pub signature: HeaderName,
    /// Header of the time of signing.
    pub timestamp: HeaderName,
    /// Header of the id.
    pub id: HeaderName,
}

/// Algorithm of a signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SignatureAlgorithm {
    /// HMAC with SHA-1. SHA-1 is broken for collisions, but not for HMAC (RFC 6151, 2.3 argues the same for MD5).
    Sha1,
    /// HMAC with SHA-256.
    Sha256,
    /// HMAC with SHA-512.
    Sha512,
    /// Ed25519 (RFC 8032).
    Ed25519,
    /// ECDSA on the curve P-256 with SHA-256, with signatures in ASN.1 DER (RFC 3279, 2.2.3).
    EcdsaP256,
}

/// Returns the most common scheme: hexadecimal HMAC-SHA256 of the body, with the secret used as it is.
pub(super) fn plain(header: &'static str) -> SignatureScheme {
    SignatureScheme {
        header: HeaderName::from_static(header),
        algorithm: SignatureAlgorithm::Sha256,
        encoding: SignatureEncoding::Hex,
        shape: prefixed(""),
        content: ContentTemplate::body(),
        timestamp: None,
        id_header: None,
        alternative: None,
        tolerance: None,
        key_form: KeyForm::Raw,
    }
}

/// Returns the scheme of Standard Webhooks
/// (<https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md#signature-scheme>).
pub(super) fn standard_webhooks() -> SignatureScheme {
    SignatureScheme {
        encoding: SignatureEncoding::Base64,
        shape: Shape::List { version: "v1".into(), public_version: "v1a".into() },
        content: ContentTemplate::of(STANDARD_WEBHOOKS),
        timestamp: from_header("webhook-timestamp"),
        id_header: Some(HeaderName::from_static("webhook-id")),
        tolerance: Some(DEFAULT_TOLERANCE),
        key_form: KeyForm::WhsecBase64,
        ..plain("webhook-signature")
    }
}

/// Returns the layout of one signature after a prefix.
pub(super) fn prefixed(prefix: &'static str) -> Shape {
    Shape::Prefixed(prefix.into())
}

/// Returns the layout of pairs, with the key of the signatures and that of the timestamp.
pub(super) fn pairs(signature: &'static str, timestamp: Option<&'static str>) -> Shape {
    Shape::Pairs { signature: signature.into(), timestamp: timestamp.map(Into::into) }
}

/// Returns the time in a header of its own.
pub(super) fn from_header(name: &'static str) -> Option<TimestampSource> {
    Some(TimestampSource::Header(HeaderName::from_static(name)))
}

impl HeaderNames {
    /// The names of Standard Webhooks.
    pub(super) const STANDARD_WEBHOOKS: Self = Self {
        signature: HeaderName::from_static("webhook-signature"),
        timestamp: HeaderName::from_static("webhook-timestamp"),
        id: HeaderName::from_static("webhook-id"),
    };
}

impl SignatureAlgorithm {
    /// Returns the hash function of an HMAC algorithm.
    pub(super) fn hash(self) -> Option<Hash> {
        match self {
            Self::Sha1 => Some(Hash::Sha1),
            Self::Sha256 => Some(Hash::Sha256),
            Self::Sha512 => Some(Hash::Sha512),
            Self::Ed25519 | Self::EcdsaP256 => None,
        }
    }

    /// Returns the curve of a public-key algorithm.
    pub(super) fn curve(self) -> Option<Curve> {
        match self {
            Self::Ed25519 => Some(Curve::Ed25519),
            Self::EcdsaP256 => Some(Curve::P256),
            Self::Sha1 | Self::Sha256 | Self::Sha512 => None,
        }
    }
}
