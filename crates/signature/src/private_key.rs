//! Private keys that sign tokens and PayPal's requests, to test a receiver.

use ed25519_dalek::Signer as _;
use grapnel_values::secret::Secret;
use ring::{
    rand::SystemRandom,
    rsa,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, RSA_PKCS1_SHA256},
};
use rustls::pki_types::{PrivatePkcs8KeyDer, pem::PemObject};

use super::{KeyProblem, key::ed25519};

pub(super) enum PrivateKey {
    Rsa(Box<rsa::KeyPair>),
    P256(Box<EcdsaKeyPair>),
    Ed25519(Box<ed25519_dalek::SigningKey>),
}

impl PrivateKey {
    /// Parses a PKCS #8 PEM.
    pub(super) fn read(secret: &Secret) -> Result<Self, KeyProblem> {
        let der = PrivatePkcs8KeyDer::from_pem_slice(secret.expose()).map_err(|_| KeyProblem::NotSigning)?;
        let bytes = der.secret_pkcs8_der();
        if let Ok(key) = rsa::KeyPair::from_pkcs8(bytes) {
            return Ok(Self::Rsa(Box::new(key)));
        }
        if let Ok(key) = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, bytes, &SystemRandom::new()) {
            return Ok(Self::P256(Box::new(key)));
        }
        ed25519(secret).map(|key| Self::Ed25519(Box::new(key))).map_err(|_| KeyProblem::NotSigning)
    }

    /// Returns the name of its algorithm in a signed token (RFC 7518, 3.1; RFC 8037, 3.1).
    pub(super) fn algorithm(&self) -> &'static str {
        match self {
            Self::Rsa(_) => "RS256",
            Self::P256(_) => "ES256",
            Self::Ed25519(_) => "EdDSA",
        }
    }

    pub(super) fn sign(&self, message: &[u8]) -> Result<Vec<u8>, KeyProblem> {
        match self {
            Self::Rsa(key) => {
                let mut signature = vec![0; key.public().modulus_len()];
                key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message, &mut signature)
                    .map(|()| signature)
                    .map_err(|_| KeyProblem::NotSigning)
            }
            Self::P256(key) => key
                .sign(&SystemRandom::new(), message)
                .map(|signature| signature.as_ref().to_vec())
                .map_err(|_| KeyProblem::NotSigning),
            Self::Ed25519(key) => Ok(key.sign(message).to_bytes().to_vec()),
        }
    }
}
