//! Public keys at a URL instead of in a Secret: JSON Web Keys (RFC 7517) and certificates (RFC 5280).

use std::{fmt, sync::Arc};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use ed25519_dalek::{Signature, VerifyingKey};
use ring::signature::{
    self, ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, RsaParameters, RsaPublicKeyComponents, UnparsedPublicKey,
};
use rustls::pki_types::{
    AlgorithmIdentifier, CertificateDer, InvalidSignature, ServerName, SignatureVerificationAlgorithm, alg_id,
    pem::PemObject,
};
use serde::Deserialize;

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

/// Algorithm of a signed token (RFC 7518, 3.1; RFC 8037, 3.1). Symmetric algorithms are not supported: anyone who could
/// verify such a token could also create one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum JwsAlgorithm {
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

struct WebKey {
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
struct SetText {
    keys: Vec<serde_json::Value>,
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
        let keys: Vec<_> =
            set.keys.into_iter().filter_map(|key| WebKey::read(serde_json::from_value(key).ok()?)).collect();
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
            KeySetForm::Web(keys) => keys.iter().any(|key| key.id.as_deref() == Some(id)),
            KeySetForm::Certificate(_) => false,
        }
    }

    /// Returns whether a key of the set made a signature: the key with that id or, without an id, any of the first
    /// [`REMOTE_KEY_TRIALS`] keys for the algorithm.
    pub(super) fn verifies(&self, id: Option<&str>, algorithm: JwsAlgorithm, message: &[u8], signature: &[u8]) -> bool {
        let KeySetForm::Web(keys) = &self.0 else { return false };
        keys.iter()
            .filter(|key| id.is_none_or(|id| key.id.as_deref() == Some(id)))
            .filter(|key| key.algorithm.is_none_or(|own| own == algorithm) && key.material.is_for(algorithm))
            .take(REMOTE_KEY_TRIALS)
            .any(|key| key.material.verifies(algorithm, message, signature))
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

impl WebKey {
    fn read(text: KeyText) -> Option<Self> {
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
    pub(super) fn named(name: &str) -> Option<Self> {
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

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 7515, A.2: a token signed with RS256.
    #[test]
    fn the_example_by_rsa() {
        let set = KeySet::jwks(
            br#"{"keys":[{"kty":"RSA","kid":"one",
            "n":"ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ",
            "e":"AQAB"}]}"#,
        )
        .unwrap();
        let message = b"eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
        let signature = URL_SAFE_NO_PAD.decode("cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw").unwrap();
        assert!(set.verifies(None, JwsAlgorithm::Rs256, message, &signature));
        assert!(set.verifies(Some("one"), JwsAlgorithm::Rs256, message, &signature));
        assert!(!set.verifies(Some("two"), JwsAlgorithm::Rs256, message, &signature));
        assert!(!set.verifies(None, JwsAlgorithm::Rs384, message, &signature));
        assert!(!set.verifies(None, JwsAlgorithm::Ps256, message, &signature));
        assert!(!set.verifies(None, JwsAlgorithm::Es256, message, &signature));
        assert!(!set.verifies(None, JwsAlgorithm::Rs256, &message[1..], &signature));
        assert!(set.has("one") && !set.has("two"));
        assert!(!set.verifies_rsa(RsaHash::Sha256, message, &signature), "it is no certificate");
    }

    /// RFC 7515, A.3: the same signed with ES256.
    #[test]
    fn the_example_by_ecdsa() {
        let set = KeySet::jwks(
            br#"{"keys":[{"kty":"oct","k":"AyM1"},{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}]}"#,
        )
        .unwrap();
        let message = b"eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
        let signature = URL_SAFE_NO_PAD
            .decode("DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q")
            .unwrap();
        assert!(set.verifies(None, JwsAlgorithm::Es256, message, &signature));
        assert!(!set.verifies(None, JwsAlgorithm::EdDsa, message, &signature));
    }

    /// RFC 8037, A.4: signed with Ed25519.
    #[test]
    fn the_example_by_ed25519() {
        let set = KeySet::jwks(
            br#"{"keys":[{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo","use":"sig","alg":"EdDSA"}]}"#,
        )
        .unwrap();
        let message = b"eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc";
        let signature = URL_SAFE_NO_PAD
            .decode("hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg")
            .unwrap();
        assert!(set.verifies(None, JwsAlgorithm::EdDsa, message, &signature));
        assert!(!set.verifies(None, JwsAlgorithm::EdDsa, b"", &signature));
    }

    #[test]
    fn what_holds_no_key_is_refused() {
        for (text, error) in [
            ("", KeySetError::NotASet),
            ("[]", KeySetError::NotASet),
            ("{}", KeySetError::NotASet),
            (r#"{"keys":{}}"#, KeySetError::NotASet),
            (r#"{"keys":[]}"#, KeySetError::NoKeys),
            (r#"{"keys":[7,{"kty":"oct","k":"AA"},{"kty":"RSA"}]}"#, KeySetError::NoKeys),
            (r#"{"keys":[{"kty":"RSA","n":"AQAB","e":"AQAB","use":"enc"}]}"#, KeySetError::NoKeys),
            (r#"{"keys":[{"kty":"RSA","n":"AQAB","e":"AQAB","alg":"RSA-OAEP"}]}"#, KeySetError::NoKeys),
            (r#"{"keys":[{"kty":"RSA","n":"AQAB","e":"AQAB","key_ops":["encrypt"]}]}"#, KeySetError::NoKeys),
            (r#"{"keys":[{"kty":"EC","crv":"P-256","x":"AQAB","y":"AQAB"}]}"#, KeySetError::NoKeys),
            (
                r#"{"keys":[{"kty":"OKP","crv":"Ed25519","x":"AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}]}"#,
                KeySetError::NoKeys,
            ),
        ] {
            assert_eq!(KeySet::jwks(text.as_bytes()).unwrap_err(), error, "{text}");
        }
        let many = format!(r#"{{"keys":[{}]}}"#, vec!["{}"; REMOTE_KEYS + 1].join(","));
        assert_eq!(KeySet::jwks(many.as_bytes()).unwrap_err(), KeySetError::TooMany);
        for text in ["", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
            assert_eq!(KeySet::certificate(text.as_bytes()).unwrap_err(), KeySetError::NotACertificate);
        }
    }

    #[test]
    fn symmetric_algorithms_are_none() {
        for name in ["none", "HS256", "HS512", "rs256", "", "ES256K"] {
            assert!(JwsAlgorithm::named(name).is_none(), "{name}");
        }
    }
}
