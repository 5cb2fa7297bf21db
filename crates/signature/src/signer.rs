//! Signing of deliveries.

use std::fmt;

use ed25519_dalek::{Signer as _, SigningKey};
use grapnel_values::secret::Secret;
use http::{HeaderName, HeaderValue};

use super::{
    ContentTemplate, KeyError, KeyForm, SignatureEncoding,
    content::{Message as _, PlaceholderValues, STANDARD_WEBHOOKS, TemplatePart},
    key,
    mac::{Hash, MacKeys},
};

/// Header of a Standard Webhooks signature.
const SIGNATURE: HeaderName = HeaderName::from_static("webhook-signature");

/// How deliveries are signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeliveryScheme {
    /// Standard Webhooks, symmetric: `webhook-signature: v1,<base64>` of `id.timestamp.body`.
    StandardWebhooks,
    /// The hexadecimal HMAC-SHA256 of the body alone, in a configured header.
    HmacSha256Hex {
        /// Name of the header.
        header: HeaderName,
    },
    /// Standard Webhooks, asymmetric: `webhook-signature: v1a,<base64>` of `id.timestamp.body` (RFC 8032).
    Ed25519,
}

/// A signing scheme with its keys.
pub struct Signer(SignerKind);

enum SignerKind {
    StandardWebhooks { keys: MacKeys, content: ContentTemplate },
    HmacSha256Hex { keys: MacKeys, content: ContentTemplate, header: HeaderName },
    Ed25519 { keys: Vec<SigningKey>, content: ContentTemplate },
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match &self.0 {
            SignerKind::StandardWebhooks { .. } => "StandardWebhooks",
            SignerKind::HmacSha256Hex { .. } => "HmacSha256Hex",
            SignerKind::Ed25519 { .. } => "Ed25519",
        };
        f.debug_tuple("Signer").field(&name).finish()
    }
}

impl Signer {
    /// Prepares the keys. All secrets sign, so that a receiver may know any of them during rotation.
    ///
    /// # Errors
    ///
    /// [`KeyError`] when a secret is not a key of the scheme, or when there are none or too many.
    pub fn new(scheme: DeliveryScheme, secrets: Vec<Secret>) -> Result<Self, KeyError> {
        let hmac = |form: KeyForm| MacKeys::new(Hash::Sha256, &key::each(&secrets, |secret| form.key(secret))?);
        Ok(Self(match scheme {
            DeliveryScheme::StandardWebhooks => SignerKind::StandardWebhooks {
                keys: hmac(KeyForm::WhsecBase64)?,
                content: ContentTemplate::of(STANDARD_WEBHOOKS),
            },
            DeliveryScheme::HmacSha256Hex { header } => SignerKind::HmacSha256Hex {
                keys: hmac(KeyForm::Raw)?,
                content: ContentTemplate::of(&[TemplatePart::Body]),
                header,
            },
            DeliveryScheme::Ed25519 => SignerKind::Ed25519 {
                keys: key::each(&secrets, key::ed25519)?,
                content: ContentTemplate::of(STANDARD_WEBHOOKS),
            },
        }))
    }

    /// Returns the signature header of a delivery. `id` and `timestamp` (seconds since 1970) must be those of its
    /// `webhook-id` and `webhook-timestamp` headers, which are not created here. Signatures of several secrets are
    /// separated by spaces, as Standard Webhooks requires, and by commas for `HmacSha256Hex`, which with one secret is
    /// plain hexadecimal.
    pub fn sign(&self, id: &str, timestamp: i64, body: &[u8]) -> Vec<(HeaderName, HeaderValue)> {
        let timestamp = timestamp.to_string();
        let fields = PlaceholderValues { timestamp: timestamp.as_bytes(), id: id.as_bytes(), body };
        let (header, value) = match &self.0 {
            SignerKind::StandardWebhooks { keys, content } => {
                let tags = keys.tags(&content.filled(fields));
                (&SIGNATURE, versioned("v1", tags.iter().map(Vec::as_slice)))
            }
            SignerKind::HmacSha256Hex { keys, content, header } => {
                (header, keys.tags(&content.filled(fields)).iter().map(hex::encode).collect::<Vec<_>>().join(","))
            }
            SignerKind::Ed25519 { keys, content } => {
                let message = content.filled(fields).joined();
                let signatures: Vec<_> = keys.iter().map(|key| key.sign(&message).to_bytes()).collect();
                (&SIGNATURE, versioned("v1a", signatures.iter().map(<[u8; 64]>::as_slice)))
            }
        };
        // Hexadecimal and base64 are always valid header values.
        HeaderValue::try_from(value).map(|value| (header.clone(), value)).into_iter().collect()
    }
}

fn versioned<'a>(version: &str, signatures: impl Iterator<Item = &'a [u8]>) -> String {
    let entries: Vec<_> =
        signatures.map(|signature| format!("{version},{}", SignatureEncoding::Base64.encode(signature))).collect();
    entries.join(" ")
}
