//! Signatures by public keys: Ed25519 (RFC 8032) and ECDSA on P-256 with SHA-256 (FIPS 186-5).

use base64::Engine;
use ed25519_dalek::{Signature, VerifyingKey, pkcs8::DecodePublicKey};
use grapnel_values::secret::Secret;
use ring::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, UnparsedPublicKey},
};
use rustls::pki_types::{PrivatePkcs8KeyDer, SubjectPublicKeyInfoDer, pem::PemObject};
use zeroize::Zeroizing;

use super::{
    KeyProblem,
    key::{BASE64, PUBLIC_PREFIX, decode, ed25519},
};

/// Algorithm of a public key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Curve {
    Ed25519,
    P256,
}

/// A sender's public key.
pub(super) enum PublicKey {
    Ed25519(Box<VerifyingKey>),
    /// An uncompressed point.
    P256([u8; POINT]),
}

/// Bytes of an uncompressed point (SEC 1, 2.3.3).
const POINT: usize = 65;

/// The bytes before the point in a SubjectPublicKeyInfo with the algorithm id-ecPublicKey and the curve secp256r1 (RFC
/// 5480, 2.1.1). Its DER has no other form.
const P256_INFO: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce,
    0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];

impl Curve {
    /// Returns the lengths of the shortest and the longest signature in bytes.
    pub(super) fn widths(self) -> (usize, usize) {
        match self {
            Self::Ed25519 => (64, 64),
            // A sequence of two integers (RFC 3279, 2.2.3) of 1 to 33 bytes each.
            Self::P256 => (8, 72),
        }
    }

    /// Parses a public key.
    pub(super) fn key(self, secret: &Secret) -> Result<PublicKey, KeyProblem> {
        if secret.expose().trim_ascii().is_empty() {
            return Err(KeyProblem::Empty);
        }
        match self {
            Self::Ed25519 => ed25519_public(secret).map(|key| PublicKey::Ed25519(Box::new(key))),
            Self::P256 => p256_public(secret).map(PublicKey::P256),
        }
    }

    /// Signs with a private key.
    pub(super) fn sign(self, secret: &Secret, message: &[u8]) -> Result<Vec<u8>, KeyProblem> {
        match self {
            Self::Ed25519 => Ok(ed25519_dalek::Signer::sign(&ed25519(secret)?, message).to_bytes().to_vec()),
            Self::P256 => {
                let der = PrivatePkcs8KeyDer::from_pem_slice(secret.expose()).map_err(|_| KeyProblem::NotP256)?;
                let random = SystemRandom::new();
                EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, der.secret_pkcs8_der(), &random)
                    .ok()
                    .and_then(|key| key.sign(&random, message).ok())
                    .map(|signature| signature.as_ref().to_vec())
                    .ok_or(KeyProblem::NotP256)
            }
        }
    }
}

impl PublicKey {
    pub(super) fn curve(&self) -> Curve {
        match self {
            Self::Ed25519(_) => Curve::Ed25519,
            Self::P256(_) => Curve::P256,
        }
    }

    /// Returns whether this key signed the message. No input is secret, so timing does not matter.
    pub(super) fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        match self {
            Self::Ed25519(key) => {
                Signature::from_slice(signature).is_ok_and(|signature| key.verify_strict(message, &signature).is_ok())
            }
            Self::P256(point) => {
                UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, point).verify(message, signature).is_ok()
            }
        }
    }
}

fn ed25519_public(secret: &Secret) -> Result<VerifyingKey, KeyProblem> {
    let bytes = secret.expose().trim_ascii();
    for other in ["whsec_", "whsk_"] {
        if bytes.starts_with(other.as_bytes()) {
            return Err(KeyProblem::WrongKind { found: other, wanted: PUBLIC_PREFIX });
        }
    }
    let key = if bytes.starts_with(b"-----BEGIN") {
        let pem = std::str::from_utf8(bytes).map_err(|_| KeyProblem::NotEd25519Public)?;
        VerifyingKey::from_public_key_pem(pem).map_err(|_| KeyProblem::NotEd25519Public)?
    } else {
        let mut key = [0; 32];
        if hex::decode_to_slice(bytes, &mut key).is_err() {
            let bytes = decode(secret, PUBLIC_PREFIX)
                .map_err(|problem| problem.or_other_than_base64(KeyProblem::NotEd25519Public))?;
            key = bytes.as_slice().try_into().map_err(|_| KeyProblem::NotEd25519Public)?;
        }
        VerifyingKey::from_bytes(&key).map_err(|_| KeyProblem::NotEd25519Public)?
    };
    // Anyone can make signatures of a weak key.
    if key.is_weak() { Err(KeyProblem::NotEd25519Public) } else { Ok(key) }
}

fn p256_public(secret: &Secret) -> Result<[u8; POINT], KeyProblem> {
    let bytes = secret.expose().trim_ascii();
    let info = if bytes.starts_with(b"-----BEGIN") {
        SubjectPublicKeyInfoDer::from_pem_slice(bytes).map_err(|_| KeyProblem::NotP256Public)?.to_vec()
    } else {
        BASE64.decode(bytes).map_err(|_| KeyProblem::NotP256Public)?
    };
    let info = Zeroizing::new(info);
    let point = info.strip_prefix(&P256_INFO).unwrap_or_default();
    // 4: the point is not compressed. Whether it is on the curve is checked on use.
    match <[u8; POINT]>::try_from(point) {
        Ok(point) if point.starts_with(&[4]) && on_curve(&point) => Ok(point),
        _ => Err(KeyProblem::NotP256Public),
    }
}

/// Returns whether the point is on the curve. An invalid key would reject every request, so it is reported at once.
/// Only key agreement checks a point on its own.
fn on_curve(point: &[u8; POINT]) -> bool {
    use ring::agreement::{ECDH_P256, EphemeralPrivateKey, UnparsedPublicKey, agree_ephemeral};
    EphemeralPrivateKey::generate(&ECDH_P256, &SystemRandom::new())
        .and_then(|own| agree_ephemeral(own, &UnparsedPublicKey::new(&ECDH_P256, point), |_| ()))
        .is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From sendgrid-python's `test_eventwebhook.py`.
    const P256: &str = "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE83T4O/n84iotIvIW4mdBgQ/7dAfSmpqIM8kF9mN1flpVKS3GRqe62gw+2fNNRaINXvVpiglSI8eNEc6wEA3F+g==";

    #[test]
    fn p256_keys_in_every_form() {
        assert!(Curve::P256.key(&P256.into()).is_ok());
        assert!(Curve::P256.key(&format!("{P256}\n").into()).is_ok());
        let pem = format!("-----BEGIN PUBLIC KEY-----\n{}\n{}\n-----END PUBLIC KEY-----\n", &P256[..64], &P256[64..]);
        assert!(Curve::P256.key(&pem.into()).is_ok());
        let off_the_curve = P256.replace("F+g==", "F+w==");
        assert!(matches!(Curve::P256.key(&"".into()), Err(KeyProblem::Empty)));
        for wrong in ["!", "AAAA", &P256[..120], &off_the_curve, "-----BEGIN PUBLIC KEY-----\nAAAA"] {
            assert!(matches!(Curve::P256.key(&wrong.into()), Err(KeyProblem::NotP256Public)), "{wrong}");
        }
    }

    #[test]
    fn ed25519_public_keys_in_every_form() {
        let key = ed25519_dalek::SigningKey::from_bytes(&[7; 32]).verifying_key();
        let read = |text: String| match Curve::Ed25519.key(&text.into()) {
            Ok(PublicKey::Ed25519(read)) => Ok(*read),
            Ok(PublicKey::P256(_)) => panic!("another curve"),
            Err(problem) => Err(problem),
        };
        let base64 = BASE64.encode(key.as_bytes());
        for text in [hex::encode(key.as_bytes()), hex::encode_upper(key.as_bytes()), format!("whpk_{base64}"), base64] {
            assert_eq!(read(text.clone()), Ok(key), "{text}");
        }
        // RFC 8410, 10.1.
        let pem = "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n-----END PUBLIC KEY-----\n";
        assert!(read(pem.into()).is_ok());
        assert!(matches!(read("whsec_AAAA".into()), Err(KeyProblem::WrongKind { .. })));
        // The point of order 1: `R = identity, s = 0` would be a signature of every message.
        let weak = format!("01{}", "00".repeat(31));
        assert!(matches!(read(weak), Err(KeyProblem::NotEd25519Public)));
        assert_eq!(read("not!".into()), Err(KeyProblem::NotEd25519Public));
        assert!(read("00".repeat(31)).is_err());
    }
}
