//! Public keys at a URL instead of in a Secret: JSON Web Keys (RFC 7517) and certificates (RFC 5280).

mod web_key;

use std::{fmt, sync::Arc};

use ring::signature::{self, UnparsedPublicKey};
use rustls::pki_types::{
    AlgorithmIdentifier, CertificateDer, InvalidSignature, ServerName, SignatureVerificationAlgorithm, alg_id,
    pem::PemObject,
};
use serde::Deserialize;

pub(super) use self::web_key::JwsAlgorithm;
use self::web_key::WebKey;
use crate::limits::{REMOTE_KEY_TRIALS, REMOTE_KEYS};

/// The location of keys, as unparsed URLs: that of an issuer is compared with the name that the issuer gives itself.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum KeySource {
    /// A JSON Web Key Set.
    Jwks(Arc<str>),
    /// The `jwks_uri` in an issuer's `.well-known/openid-configuration` (OpenID Connect Discovery 1.0, 4).
    Issuer(Arc<str>),
    /// A certificate in PEM.
    Certificate(Arc<str>),
}

/// Fetched keys.
pub struct KeySet(KeySetForm);

enum KeySetForm {
    Web(Vec<WebKey>),
    Certificate(CertificateDer<'static>),
}

/// Why a set of keys cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeySetError {
    /// The text is not a JSON Web Key Set.
    #[error("not a JSON Web Key Set (an object with a list `keys`)")]
    NotASet,
    /// No key is a supported signature key.
    #[error("none of its keys is an RSA, P-256, P-384 or Ed25519 key for signatures")]
    NoKeys,
    /// The set has more than [`REMOTE_KEYS`] keys.
    #[error("it has more than {REMOTE_KEYS} keys")]
    TooMany,
    /// The text is not a certificate.
    #[error("it holds no certificate in PEM")]
    NotACertificate,
}

#[derive(Deserialize)]
struct SetText {
    keys: Vec<serde_json::Value>,
}

impl fmt::Debug for KeySet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            KeySetForm::Web(keys) => f.debug_tuple("KeySet").field(&keys.len()).finish(),
            KeySetForm::Certificate(_) => f.write_str("KeySet(certificate)"),
        }
    }
}

impl KeySet {
    /// Parses a JSON Web Key Set. Unsupported keys, and keys that are not for signatures, are skipped, as RFC 7517, 5
    /// requires.
    ///
    /// # Errors
    ///
    /// [`KeySetError`] when the text is not a key set, or no key is left.
    pub fn jwks(text: &[u8]) -> Result<Self, KeySetError> {
        let set: SetText = serde_json::from_slice(text).map_err(|_| KeySetError::NotASet)?;
        if set.keys.len() > REMOTE_KEYS {
            return Err(KeySetError::TooMany);
        }
        let keys: Vec<_> = set.keys.into_iter().filter_map(WebKey::read).collect();
        if keys.is_empty() { Err(KeySetError::NoKeys) } else { Ok(Self(KeySetForm::Web(keys))) }
    }

    /// Parses the first certificate of a PEM.
    ///
    /// # Errors
    ///
    /// [`KeySetError`] when there is none.
    pub fn certificate(pem: &[u8]) -> Result<Self, KeySetError> {
        let certificate = CertificateDer::from_pem_slice(pem).map_err(|_| KeySetError::NotACertificate)?;
        webpki::EndEntityCert::try_from(&certificate).map_err(|_| KeySetError::NotACertificate)?;
        Ok(Self(KeySetForm::Certificate(certificate)))
    }

    /// Returns whether the set has a key with that id.
    pub fn has(&self, id: &str) -> bool {
        match &self.0 {
            KeySetForm::Web(keys) => keys.iter().any(|key| key.id() == Some(id)),
            KeySetForm::Certificate(_) => false,
        }
    }

    /// Returns whether a key of the set made a signature: the key with that id or, without an id, any of the first
    /// [`REMOTE_KEY_TRIALS`] keys for the algorithm.
    pub(super) fn verifies(&self, id: Option<&str>, algorithm: JwsAlgorithm, message: &[u8], signature: &[u8]) -> bool {
        let KeySetForm::Web(keys) = &self.0 else { return false };
        keys.iter()
            .filter(|key| id.is_none_or(|id| key.id() == Some(id)))
            .filter(|key| key.is_for(algorithm))
            .take(REMOTE_KEY_TRIALS)
            .any(|key| key.verifies(algorithm, message, signature))
    }

    /// Returns whether the certificate's RSA key made a signature (PKCS #1 v1.5, RFC 8017, 8.2).
    pub(super) fn verifies_rsa(&self, hash: RsaHash, message: &[u8], signature: &[u8]) -> bool {
        let algorithm: &dyn SignatureVerificationAlgorithm = match hash {
            RsaHash::Sha1 => &RsaSha1,
            RsaHash::Sha256 => webpki::ring::RSA_PKCS1_2048_8192_SHA256,
        };
        self.certificate_key(|certificate| certificate.verify_signature(algorithm, message, signature).is_ok())
    }

    /// Returns whether the certificate is issued for any of the DNS names.
    pub(super) fn is_for_any(&self, names: &[String]) -> bool {
        let names = || names.iter().filter_map(|name| ServerName::try_from(name.as_str()).ok());
        self.certificate_key(|certificate| {
            names().any(|name| certificate.verify_is_valid_for_subject_name(&name).is_ok())
        })
    }

    fn certificate_key(&self, check: impl FnOnce(&webpki::EndEntityCert<'_>) -> bool) -> bool {
        let KeySetForm::Certificate(certificate) = &self.0 else { return false };
        webpki::EndEntityCert::try_from(certificate).is_ok_and(|certificate| check(&certificate))
    }
}

/// The hash function of an RSA signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RsaHash {
    /// SHA-1, for senders that use nothing better.
    Sha1,
    /// SHA-256.
    Sha256,
}

/// RSA with SHA-1, which the library for certificates does not have.
#[derive(Debug)]
struct RsaSha1;

impl SignatureVerificationAlgorithm for RsaSha1 {
    fn verify_signature(&self, key: &[u8], message: &[u8], signature: &[u8]) -> Result<(), InvalidSignature> {
        let algorithm = &signature::RSA_PKCS1_2048_8192_SHA1_FOR_LEGACY_USE_ONLY;
        UnparsedPublicKey::new(algorithm, key).verify(message, signature).map_err(|_| InvalidSignature)
    }

    fn public_key_alg_id(&self) -> AlgorithmIdentifier {
        alg_id::RSA_ENCRYPTION
    }

    /// That of certificates, which are never verified by this algorithm. RFC 8017, A.2.4: sha1WithRSAEncryption.
    fn signature_alg_id(&self) -> AlgorithmIdentifier {
        const SHA1_WITH_RSA: &[u8] = &[0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x05, 0x05, 0x00];
        AlgorithmIdentifier::from_slice(SHA1_WITH_RSA)
    }
}

#[cfg(test)]
mod tests;
