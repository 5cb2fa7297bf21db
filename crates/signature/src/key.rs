//! Conversion of secrets to keys.

use base64::{
    Engine,
    alphabet::STANDARD,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use ed25519_dalek::{SigningKey, pkcs8::DecodePrivateKey};
use grapnel_values::secret::Secret;
use zeroize::Zeroizing;

use crate::limits::{SECRET_BYTES, SECRETS, WHSEC_MAX_BYTES, WHSEC_MIN_BYTES};

/// Base64 in the standard alphabet, with or without padding: senders differ, and only the decoded bytes matter.
pub(super) const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Prefix of a Standard Webhooks public key.
pub(super) const PUBLIC_PREFIX: &str = "whpk_";

/// Encoding of a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyForm {
    /// The bytes are the key, without the line ending of a single line of text.
    Raw,
    /// Standard Webhooks: base64, optionally with the prefix `whsec_`. The decoded key must have [`WHSEC_MIN_BYTES`] to
    /// [`WHSEC_MAX_BYTES`]; the specification requires 24 to 64 from senders. A secret that begins with `whpk_` is an
    /// Ed25519 public key instead, for signatures of the version `v1a`.
    WhsecBase64,
    /// The sender's public key, for public-key algorithms: hexadecimal, base64 of its bytes or of its
    /// SubjectPublicKeyInfo (RFC 5280, 4.1.2.7), or the latter as PEM.
    PublicKey,
}

/// A secret that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}{problem}", prefix(.problem, *.index))]
pub struct KeyError {
    /// Index of the secret, from 0; 0 when the problem is not specific to one.
    pub index: usize,
    /// What is wrong.
    pub problem: KeyProblem,
}

fn prefix(problem: &KeyProblem, index: usize) -> String {
    if problem.is_of_a_secret() { format!("secret {}: ", index.saturating_add(1)) } else { String::new() }
}

/// What is wrong with a secret. Never holds anything of the secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyProblem {
    /// The secret is empty.
    #[error("it is empty")]
    Empty,
    /// The secret exceeds [`SECRET_BYTES`].
    #[error("it has {0} bytes; the limit is {SECRET_BYTES}")]
    TooLong(usize),
    /// The secret is not base64 where it must be.
    #[error("it is not base64 in the standard alphabet{}", behind(prefix))]
    NotBase64 {
        /// The prefix that may precede it.
        prefix: &'static str,
    },
    /// The decoded key is too short or too long.
    #[error(
        "it decodes to {0} bytes; a Standard Webhooks secret has 24 to 64, and {WHSEC_MIN_BYTES} to {WHSEC_MAX_BYTES} are accepted"
    )]
    WhsecLength(usize),
    /// An HMAC secret or a public key is used as a private key, or the reverse.
    #[error("it begins with `{found}`, but a key that begins with `{wanted}` is needed here")]
    WrongKind {
        /// The prefix found.
        found: &'static str,
        /// The prefix expected.
        wanted: &'static str,
    },
    /// The secret is not an Ed25519 private key.
    #[error(
        "it is not an Ed25519 private key: `whsk_` and the base64 of a 32-byte seed or of a 64-byte key pair, the seed in hexadecimal, or a PKCS #8 PEM"
    )]
    NotEd25519,
    /// The secret is not an Ed25519 public key.
    #[error("it is not an Ed25519 public key: 32 bytes in hexadecimal, `whpk_` and their base64, or a PEM")]
    NotEd25519Public,
    /// The secret is not a public key on the curve P-256.
    #[error("it is not a public key on the curve P-256: the base64 that the sender shows, or a PEM")]
    NotP256Public,
    /// The secret is not a private key on the curve P-256.
    #[error("it is not a private key on the curve P-256: a PKCS #8 PEM, as `openssl genpkey` writes it")]
    NotP256,
    /// The secret is not a private key that can sign tokens or requests.
    #[error(
        "it is not a suitable private key: use an RSA (or, for tokens, P-256 or Ed25519) key as a PKCS #8 PEM, as \
         `openssl genpkey` writes it"
    )]
    NotSigning,
    /// The username or password has a form that cannot be sent.
    #[error("the username is empty or has a colon in it, which separates it from the password (RFC 7617, 2)")]
    Username,
    /// There are no secrets.
    #[error("at least one secret is needed")]
    NoSecrets,
    /// There are more than [`SECRETS`] secrets.
    #[error("there are {0} secrets, more than the {SECRETS} allowed")]
    TooMany(usize),
    /// The scheme contradicts itself.
    #[error("{0}")]
    Scheme(&'static str),
}

fn behind(prefix: &str) -> String {
    if prefix.is_empty() { String::new() } else { format!(" (after an optional `{prefix}`)") }
}

impl KeyProblem {
    fn is_of_a_secret(&self) -> bool {
        !matches!(self, Self::NoSecrets | Self::TooMany(_) | Self::Scheme(_))
    }

    /// Returns the problem of a key that may have encodings other than base64.
    pub(super) fn or_other_than_base64(self, other: Self) -> Self {
        if matches!(self, Self::NotBase64 { .. }) { other } else { self }
    }

    pub(super) fn at(self, index: usize) -> KeyError {
        KeyError { index, problem: self }
    }
}

/// Converts every secret into a key.
pub(super) fn each<K>(secrets: &[Secret], key: impl Fn(&Secret) -> Result<K, KeyProblem>) -> Result<Vec<K>, KeyError> {
    if secrets.is_empty() {
        return Err(KeyProblem::NoSecrets.at(0));
    }
    if secrets.len() > SECRETS {
        return Err(KeyProblem::TooMany(secrets.len()).at(0));
    }
    secrets
        .iter()
        .enumerate()
        .map(|(index, secret)| {
            let length = secret.expose().len();
            let bounded = if length > SECRET_BYTES { Err(KeyProblem::TooLong(length)) } else { key(secret) };
            bounded.map_err(|problem| problem.at(index))
        })
        .collect()
}

impl KeyForm {
    /// Returns the key of a secret.
    pub(super) fn key(self, secret: &Secret) -> Result<Zeroizing<Vec<u8>>, KeyProblem> {
        match self {
            Self::Raw | Self::PublicKey => {
                let key = secret.without_line_ending();
                if key.is_empty() { Err(KeyProblem::Empty) } else { Ok(Zeroizing::new(key.to_vec())) }
            }
            Self::WhsecBase64 => {
                for other in ["whsk_", PUBLIC_PREFIX] {
                    if secret.expose().starts_with(other.as_bytes()) {
                        return Err(KeyProblem::WrongKind { found: other, wanted: "whsec_" });
                    }
                }
                let key = decode(secret, "whsec_")?;
                if (WHSEC_MIN_BYTES..=WHSEC_MAX_BYTES).contains(&key.len()) {
                    Ok(key)
                } else {
                    Err(KeyProblem::WhsecLength(key.len()))
                }
            }
        }
    }
}

/// Parses an Ed25519 private key: `whsk_` and base64 as in the Standard Webhooks libraries, or a PKCS #8 PEM as written
/// by `openssl genpkey -algorithm ed25519`.
pub(super) fn ed25519(secret: &Secret) -> Result<SigningKey, KeyProblem> {
    let bytes = secret.expose();
    // The form used by senders with hexadecimal public keys, such as Discord.
    let mut seed = Zeroizing::new([0; 32]);
    if hex::decode_to_slice(bytes.trim_ascii(), &mut *seed).is_ok() {
        return Ok(SigningKey::from_bytes(&seed));
    }
    if bytes.starts_with(b"-----BEGIN") {
        let pem = std::str::from_utf8(bytes).map_err(|_| KeyProblem::NotEd25519)?;
        return SigningKey::from_pkcs8_pem(pem.trim()).map_err(|_| KeyProblem::NotEd25519);
    }
    for other in ["whsec_", "whpk_"] {
        if bytes.starts_with(other.as_bytes()) {
            return Err(KeyProblem::WrongKind { found: other, wanted: "whsk_" });
        }
    }
    let key = decode(secret, "whsk_").map_err(|problem| problem.or_other_than_base64(KeyProblem::NotEd25519))?;
    if let Ok(seed) = <[u8; 32]>::try_from(key.as_slice()).map(Zeroizing::new) {
        return Ok(SigningKey::from_bytes(&seed));
    }
    let pair = <[u8; 64]>::try_from(key.as_slice()).map(Zeroizing::new).map_err(|_| KeyProblem::NotEd25519)?;
    SigningKey::from_keypair_bytes(&pair).map_err(|_| KeyProblem::NotEd25519)
}

pub(super) fn decode(secret: &Secret, prefix: &'static str) -> Result<Zeroizing<Vec<u8>>, KeyProblem> {
    let text = secret.expose().trim_ascii();
    let text = text.strip_prefix(prefix.as_bytes()).unwrap_or(text);
    if text.is_empty() {
        return Err(KeyProblem::Empty);
    }
    BASE64.decode(text).map(Zeroizing::new).map_err(|_| KeyProblem::NotBase64 { prefix })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whsec(text: &str) -> Result<Vec<u8>, KeyProblem> {
        KeyForm::WhsecBase64.key(&Secret::from(text)).map(|key| key.to_vec())
    }

    #[test]
    fn raw_secrets_are_their_bytes() {
        let raw = |text: &str| KeyForm::Raw.key(&Secret::from(text)).map(|key| key.to_vec());
        assert_eq!(raw("whsec_abc"), Ok(b"whsec_abc".to_vec()));
        assert_eq!(raw("It's a Secret\n"), Ok(b"It's a Secret".to_vec()));
        assert_eq!(raw(""), Err(KeyProblem::Empty));
        assert_eq!(raw("\n"), Err(KeyProblem::Empty));
    }

    #[test]
    fn whsec_secrets_are_decoded() {
        let key = whsec("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        assert_eq!(key.len(), 24);
        assert_eq!(whsec("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n"), Ok(key));
        assert_eq!(whsec("whsec_AAAAAAAAAAAAAAAAAAAAAA").unwrap(), [0; 16], "padding may be left out");
        assert_eq!(whsec("whsec_"), Err(KeyProblem::Empty));
        assert_eq!(whsec(""), Err(KeyProblem::Empty));
        assert_eq!(whsec("whsec_not base64"), Err(KeyProblem::NotBase64 { prefix: "whsec_" }));
        assert_eq!(whsec("whsec_AAAA"), Err(KeyProblem::WhsecLength(3)));
        assert_eq!(whsec(&"A".repeat(172)), Err(KeyProblem::WhsecLength(129)));
        assert!(matches!(whsec("whsk_AAAA"), Err(KeyProblem::WrongKind { .. })));
    }

    #[test]
    fn errors_name_the_secret_but_do_not_show_it() {
        let secrets = [Secret::from("good"), Secret::from("")];
        let error = each(&secrets, |secret| KeyForm::Raw.key(secret)).unwrap_err();
        assert_eq!((error.index, error.to_string().as_str()), (1, "secret 2: it is empty"));
        assert_eq!(each(&[], |_| Ok(())).unwrap_err().to_string(), "at least one secret is needed");
        let many = vec![Secret::from("x"); SECRETS + 1];
        assert_eq!(each(&many, |_| Ok(())).unwrap_err().problem, KeyProblem::TooMany(SECRETS + 1));
        let long = [Secret::from(vec![b'x'; SECRET_BYTES + 1])];
        assert_eq!(each(&long, |_| Ok(())).unwrap_err().problem, KeyProblem::TooLong(SECRET_BYTES + 1));
        let error = each(&[Secret::from("whsec_s3cret!")], |secret| KeyForm::WhsecBase64.key(secret)).unwrap_err();
        assert!(!error.to_string().contains("s3cret") && !format!("{error:?}").contains("s3cret"));
    }

    #[test]
    fn ed25519_keys_in_every_form() {
        let seed = SigningKey::from_bytes(&[7; 32]);
        let text = |bytes: &[u8]| Secret::from(format!("whsk_{}", BASE64.encode(bytes)));
        assert_eq!(ed25519(&text(&[7; 32])).unwrap(), seed);
        assert_eq!(ed25519(&text(&seed.to_keypair_bytes())).unwrap(), seed);
        assert_eq!(ed25519(&Secret::from(BASE64.encode([7; 32]))).unwrap(), seed);
        // RFC 8410, 10.3: the first example, whose seed is d4ee72db….
        let pem = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n-----END PRIVATE KEY-----\n";
        let key = ed25519(&Secret::from(pem)).unwrap();
        assert_eq!(hex::encode(key.to_bytes()), "d4ee72dbf913584ad5b6d8f1f769f8ad3afe7c28cbf1d4fbe097a88f44755842");

        let mut torn = seed.to_keypair_bytes();
        torn[63] ^= 1;
        let unreadable = ["-----BEGIN PRIVATE KEY-----\nAAAA", "whsk_!", "not!"].map(Secret::from);
        for wrong in [text(&torn), text(&[7; 31]), text(&[7; 33])].into_iter().chain(unreadable) {
            assert_eq!(ed25519(&wrong).unwrap_err(), KeyProblem::NotEd25519);
        }
        assert!(matches!(ed25519(&Secret::from("whsec_AAAA")).unwrap_err(), KeyProblem::WrongKind { .. }));
        assert!(matches!(ed25519(&Secret::from("whsk_")).unwrap_err(), KeyProblem::Empty));
    }
}
