//! Keys and verified bodies for tests of this and other crates (feature `testing`).

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests fail by panicking")]

use bytes::Bytes;
use grapnel_values::secret::Secret;
use http::HeaderMap;
use jiff::Timestamp;

use crate::{KeyForm, Parameters, Scheme, SignatureAlgorithm, SignatureScheme, Verified, Verifier};

/// The secret of the Standard Webhooks specification's example.
pub(crate) const STANDARD_SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// Returns a body that needs no signature.
pub fn verified(body: impl Into<Bytes>) -> Verified {
    let open = Verifier::new(Scheme::None, Vec::new()).unwrap();
    open.verify(&HeaderMap::new(), body.into(), Timestamp::UNIX_EPOCH).unwrap()
}

/// Keys of one scheme: two pairs of a sender's and a receiver's key.
pub struct KeyPairs {
    /// The sender's key.
    pub private: Secret,
    /// The receiver's key.
    pub public: Secret,
    /// Another sender's key of the same kind.
    pub other_private: Secret,
    /// The receiver's key that belongs to it.
    pub other_public: Secret,
}

/// Generated for these tests by `openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256`.
pub(crate) const P256: [(&str, &str); 2] = [
    (
        "-----BEGIN PRIVATE KEY-----\nMIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgmzkGxHt3G33X9G8u\nESk995SOL3lVhIFfNp9RodDMNDChRANCAAQfacKLsfyiutqRnPAZamqzrSTkRAcS\nPpeTPwDOxD3fiL5QpkPO7Vt9QDSveEVvxUkNy0gbWH4UpvORYn5FqMyB\n-----END PRIVATE KEY-----\n",
        "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEH2nCi7H8orrakZzwGWpqs60k5EQHEj6Xkz8AzsQ934i+UKZDzu1bfUA0r3hFb8VJDctIG1h+FKbzkWJ+RajMgQ==",
    ),
    (
        "-----BEGIN PRIVATE KEY-----\nMIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQg99B+OfBbH0toxiTC\nn8sFuGAj6Yu2c989YrU6wL3In5yhRANCAAQ3k64fmikQNNBRhAke9TkUd1o+nNI9\naA5vXeHhEPDbufL2ggMgprk5/PR5MJH9oK2ti8xp7uHH4RUYVpQia5qb\n-----END PRIVATE KEY-----\n",
        "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEN5OuH5opEDTQUYQJHvU5FHdaPpzSPWgOb13h4RDw27ny9oIDIKa5Ofz0eTCR/aCtrYvMae7hx+EVGFaUImuamw==",
    ),
];

/// Private key, key set and certificate of each RSA key.
pub(crate) const RSA: [(&str, &str, &str); 2] = [
    (
        include_str!("tests/data/rsa-1.pem"),
        include_str!("tests/data/rsa-1.jwks.json"),
        include_str!("tests/data/rsa-1.crt"),
    ),
    (
        include_str!("tests/data/rsa-2.pem"),
        include_str!("tests/data/rsa-2.jwks.json"),
        include_str!("tests/data/rsa-2.crt"),
    ),
];

/// The certificates of the RSA keys, for a name of SNS.
pub(crate) const SNS: [&str; 2] = [include_str!("tests/data/sns-1.crt"), include_str!("tests/data/sns-2.crt")];

/// Completes a scheme of the table with the values that the endpoint configures.
pub fn complete(scheme: Scheme) -> Scheme {
    scheme.configured(&Parameters {
        audiences: vec!["https://hooks.example.com/in".into()],
        emails: vec!["push@project.iam.gserviceaccount.com".into()],
        webhook_id: "9XL90610J3647323C".into(),
        topics: vec!["arn:aws:sns:us-west-2:123456789012:MyTopic".into()],
    })
}

/// Returns keys that fit a scheme.
pub fn keys(scheme: &Scheme) -> KeyPairs {
    let shared = |one: &str, other: &str| [(one.to_owned(), one.to_owned()), (other.to_owned(), other.to_owned())];
    let pairs = match scheme {
        Scheme::Signature(SignatureScheme { algorithm: SignatureAlgorithm::Ed25519, .. }) => [7, 8].map(|byte| {
            let key = ed25519_dalek::SigningKey::from_bytes(&[byte; 32]);
            (hex::encode([byte; 32]), hex::encode(key.verifying_key().as_bytes()))
        }),
        Scheme::Signature(SignatureScheme { algorithm: SignatureAlgorithm::EcdsaP256, .. }) => {
            P256.map(|(private, public)| (private.to_owned(), public.to_owned()))
        }
        Scheme::Signature(SignatureScheme { key_form: KeyForm::WhsecBase64, .. }) | Scheme::SignatureOrToken(_) => {
            shared(STANDARD_SECRET, "whsec_AAAAAAAAAAAAAAAAAAAAAAAA")
        }
        Scheme::Jwt(_) => [(RSA[0].0.to_owned(), RSA[0].1.to_owned()), (RSA[1].0.to_owned(), RSA[1].1.to_owned())],
        Scheme::Certificate(_) => {
            [(RSA[0].0.to_owned(), RSA[0].2.to_owned()), (RSA[1].0.to_owned(), RSA[1].2.to_owned())]
        }
        Scheme::Sns(_) => [(RSA[0].0.to_owned(), SNS[0].to_owned()), (RSA[1].0.to_owned(), SNS[1].to_owned())],
        Scheme::Basic => shared("user:password", "user:another"),
        _ => shared("It's a Secret to Everybody", "another secret"),
    };
    let [(private, public), (other_private, other_public)] = pairs;
    KeyPairs {
        private: private.into(),
        public: public.into(),
        other_private: other_private.into(),
        other_public: other_public.into(),
    }
}
