//! Whether a delivery is signed as it should be.

use std::time::Duration;

use axum::http::HeaderMap;
use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use ed25519_dalek::{Signature, VerifyingKey};
use jiff::Timestamp;

use crate::{
    cli::{
        Usage,
        scheme::{self, Named, Place},
    },
    rules::{secret::Secret, signature::Verifier},
};

/// Standard Webhooks: messages of another time are not to be trusted.
const TOLERANCE: Duration = Duration::from_secs(300);

/// How deliveries are signed.
#[derive(Debug, clap::Args)]
#[group(skip)]
pub(super) struct Args {
    /// How deliveries are signed: standard-webhooks, hmac-sha256-hex, ed25519 (the secret is the public key, whpk_…), or
    /// any scheme that `grapnel send --provider` takes
    #[arg(long, value_name = "SCHEME", env = "GRAPNEL_SINK_SCHEME", default_value = "standard-webhooks", value_parser = scheme::parse)]
    scheme: Named,

    // Last: the heading of these flags holds for all that follow.
    #[command(flatten)]
    options: scheme::Options,
}

/// Verifies deliveries.
pub(super) enum Check {
    /// There is no secret.
    None,
    /// By a scheme of the operator's own.
    Scheme(Box<Verifier>),
    /// Standard Webhooks, asymmetric.
    Ed25519(Box<VerifyingKey>),
}

impl Args {
    /// Where senders of the scheme put the type and the id.
    pub(super) fn places(&self) -> (Place, Place) {
        self.scheme.places()
    }

    pub(super) fn check(&self, secret: Option<Secret>) -> anyhow::Result<Check> {
        let Some(secret) = secret else { return Ok(Check::None) };
        if let Named::Ed25519 = self.scheme {
            return Ok(Check::Ed25519(Box::new(public_key(secret.expose())?)));
        }
        let scheme = self.scheme.scheme(&self.options);
        let verifier =
            Verifier::new(scheme, vec![secret]).map_err(|error| Usage(format!("the secret is of no use: {error}")))?;
        Ok(Check::Scheme(Box::new(verifier)))
    }
}

impl Check {
    /// `None` when nothing is checked; otherwise whether it is right, or what is wrong.
    pub(super) fn verify(&self, headers: &HeaderMap, body: &Bytes, now: Timestamp) -> Option<Result<(), String>> {
        match self {
            Self::None => None,
            Self::Scheme(verifier) => {
                Some(verifier.verify(headers, body.clone(), now).map(drop).map_err(|refusal| refusal.to_string()))
            }
            Self::Ed25519(key) => Some(ed25519(key, headers, body, now)),
        }
    }
}

fn public_key(text: &[u8]) -> anyhow::Result<VerifyingKey> {
    std::str::from_utf8(text)
        .ok()
        .and_then(|text| STANDARD.decode(text.strip_prefix("whpk_").unwrap_or(text)).ok())
        .and_then(|bytes| <[u8; 32]>::try_from(bytes).ok())
        .and_then(|bytes| VerifyingKey::from_bytes(&bytes).ok())
        .ok_or_else(|| Usage::error("the secret for ed25519 must be a public key: whpk_ and 32 bytes in base64"))
}

/// The asymmetric signature of Standard Webhooks: `v1a,` and ed25519 over `id.timestamp.body`.
fn ed25519(key: &VerifyingKey, headers: &HeaderMap, body: &[u8], now: Timestamp) -> Result<(), String> {
    let header = |name: &str| {
        headers.get(name).and_then(|value| value.to_str().ok()).ok_or_else(|| format!("the header {name} is missing"))
    };
    let (id, timestamp, signatures) =
        (header("webhook-id")?, header("webhook-timestamp")?, header("webhook-signature")?);
    let seconds: i64 = timestamp.parse().map_err(|_| "webhook-timestamp is not in seconds since 1970".to_owned())?;
    let mut signed = format!("{id}.{timestamp}.").into_bytes();
    signed.extend_from_slice(body);
    let right = signatures
        .split(' ')
        .filter_map(|signature| STANDARD.decode(signature.strip_prefix("v1a,")?).ok())
        .filter_map(|bytes| Signature::from_slice(&bytes).ok())
        .any(|signature| key.verify_strict(&signed, &signature).is_ok());
    if !right {
        return Err("webhook-signature holds no v1a signature of this id, timestamp and body by this key".into());
    }
    if now.as_second().abs_diff(seconds) > TOLERANCE.as_secs() {
        return Err(format!("webhook-timestamp is more than {} s from now", TOLERANCE.as_secs()));
    }
    Ok(())
}
