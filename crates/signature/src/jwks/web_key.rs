//! One JSON Web Key (RFC 7517), and the algorithms of signatures (RFC 7518).

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use ed25519_dalek::{Signature, VerifyingKey};
use ring::signature::{
    self, ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, RsaParameters, RsaPublicKeyComponents, UnparsedPublicKey,
};
use serde::Deserialize;
use serde_json::Value;

/// Algorithm of a signed token (RFC 7518, 3.1; RFC 8037, 3.1). Symmetric algorithms are not supported: anyone who could
/// verify such a token could also create one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum JwsAlgorithm {
    Rs256,
    Rs384,
    Rs512,
    Ps256,
    Ps384,
    Ps512,
    Es256,
    Es384,
    EdDsa,
}

/// A public key for signatures.
pub(super) struct WebKey {
    id: Option<Box<str>>,
    algorithm: Option<JwsAlgorithm>,
    material: Material,
}

enum Material {
    Rsa { n: Vec<u8>, e: Vec<u8> },
    P256(Vec<u8>),
    P384(Vec<u8>),
    Ed25519(Box<VerifyingKey>),
}

#[derive(Deserialize)]
struct KeyText {
    kty: String,
    #[serde(default, rename = "use")]
    purpose: Option<String>,
    #[serde(default)]
    key_ops: Option<Vec<String>>,
    #[serde(default)]
    kid: Option<Box<str>>,
    #[serde(default)]
    alg: Option<String>,
    #[serde(default)]
    crv: Option<String>,
    #[serde(default)]
    n: Option<String>,
    #[serde(default)]
    e: Option<String>,
    #[serde(default)]
    x: Option<String>,
    #[serde(default)]
    y: Option<String>,
}

impl WebKey {
    /// Reads a key. `None` if it is not supported or not for signatures.
    pub(super) fn read(key: Value) -> Option<Self> {
        let text: KeyText = serde_json::from_value(key).ok()?;
        let for_signatures = text.purpose.as_deref().is_none_or(|purpose| purpose == "sig")
            && text.key_ops.as_ref().is_none_or(|operations| operations.iter().any(|operation| operation == "verify"));
        if !for_signatures {
            return None;
        }
        let algorithm = match text.alg.as_deref() {
            None => None,
            // A key for another purpose, such as encryption.
            Some(name) => Some(JwsAlgorithm::named(name)?),
        };
        let bytes = |text: Option<String>| URL_SAFE_NO_PAD.decode(text?).ok();
        let material = match (text.kty.as_str(), text.crv.as_deref()) {
            ("RSA", _) => Material::Rsa { n: bytes(text.n)?, e: bytes(text.e)? },
            ("EC", Some("P-256")) => Material::P256(point(bytes(text.x)?, bytes(text.y)?, 32)?),
            ("EC", Some("P-384")) => Material::P384(point(bytes(text.x)?, bytes(text.y)?, 48)?),
            ("OKP", Some("Ed25519")) => {
                let key = VerifyingKey::from_bytes(&bytes(text.x)?.try_into().ok()?).ok()?;
                // Anyone can make signatures of a weak key.
                Material::Ed25519((!key.is_weak()).then(|| Box::new(key))?)
            }
            _ => return None,
        };
        Some(Self { id: text.kid, algorithm, material })
    }

    /// The `kid`.
    pub(super) fn id(&self) -> Option<&str> {
        self.id.as_deref()
    }

    /// Returns whether signatures of this algorithm can be its own.
    pub(super) fn is_for(&self, algorithm: JwsAlgorithm) -> bool {
        self.algorithm.is_none_or(|own| own == algorithm) && self.material.is_for(algorithm)
    }

    /// Returns whether the key made a signature.
    pub(super) fn verifies(&self, algorithm: JwsAlgorithm, message: &[u8], signature: &[u8]) -> bool {
        self.material.verifies(algorithm, message, signature)
    }
}

/// Encodes an uncompressed point (SEC 1, 2.3.3).
fn point(x: Vec<u8>, y: Vec<u8>, width: usize) -> Option<Vec<u8>> {
    (x.len() == width && y.len() == width).then(|| [&[4][..], &x, &y].concat())
}

impl Material {
    fn is_for(&self, algorithm: JwsAlgorithm) -> bool {
        use JwsAlgorithm::{EdDsa, Es256, Es384, Ps256, Ps384, Ps512, Rs256, Rs384, Rs512};
        match self {
            Self::Rsa { .. } => matches!(algorithm, Rs256 | Rs384 | Rs512 | Ps256 | Ps384 | Ps512),
            Self::P256(_) => algorithm == Es256,
            Self::P384(_) => algorithm == Es384,
            Self::Ed25519(_) => algorithm == EdDsa,
        }
    }

    fn verifies(&self, algorithm: JwsAlgorithm, message: &[u8], signature: &[u8]) -> bool {
        match self {
            // Leading zeros are not part of the number (RFC 7518, 6.3.1.1), but some senders include them.
            Self::Rsa { n, e } => algorithm.rsa().is_some_and(|parameters| {
                let key = RsaPublicKeyComponents { n: without_zeros(n), e: without_zeros(e) };
                key.verify(parameters, message, signature).is_ok()
            }),
            Self::P256(point) => {
                UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).verify(message, signature).is_ok()
            }
            Self::P384(point) => {
                UnparsedPublicKey::new(&ECDSA_P384_SHA384_FIXED, point).verify(message, signature).is_ok()
            }
            Self::Ed25519(key) => {
                Signature::from_slice(signature).is_ok_and(|signature| key.verify_strict(message, &signature).is_ok())
            }
        }
    }
}

fn without_zeros(number: &[u8]) -> &[u8] {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    number.get(zeros..).unwrap_or_default()
}

impl JwsAlgorithm {
    /// The algorithm with this name.
    pub(crate) fn named(name: &str) -> Option<Self> {
        Some(match name {
            "RS256" => Self::Rs256,
            "RS384" => Self::Rs384,
            "RS512" => Self::Rs512,
            "PS256" => Self::Ps256,
            "PS384" => Self::Ps384,
            "PS512" => Self::Ps512,
            "ES256" => Self::Es256,
            "ES384" => Self::Es384,
            "EdDSA" | "Ed25519" => Self::EdDsa,
            _ => return None,
        })
    }

    fn rsa(self) -> Option<&'static RsaParameters> {
        Some(match self {
            Self::Rs256 => &signature::RSA_PKCS1_2048_8192_SHA256,
            Self::Rs384 => &signature::RSA_PKCS1_2048_8192_SHA384,
            Self::Rs512 => &signature::RSA_PKCS1_2048_8192_SHA512,
            Self::Ps256 => &signature::RSA_PSS_2048_8192_SHA256,
            Self::Ps384 => &signature::RSA_PSS_2048_8192_SHA384,
            Self::Ps512 => &signature::RSA_PSS_2048_8192_SHA512,
            Self::Es256 | Self::Es384 | Self::EdDsa => return None,
        })
    }
}
