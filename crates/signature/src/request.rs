//! Signing of a request as its sender would: the inverse of verification.

use grapnel_values::secret::Secret;
use http::{HeaderMap, HeaderValue};
use jiff::Timestamp;
use sha2::{Digest, Sha256};
use url::Url;

use super::{KeyError, KeyProblem, Scheme, proof::UnsignedRequest};

/// Adds the headers with which a [`Verifier`](super::Verifier) of the same scheme and secret accepts `body` at `now`,
/// replacing existing headers of the same names. The body is changed if the scheme has its signature in the body. An existing id header is signed as it is; otherwise the id is derived
/// from the time and the body. If the verifier has a public key, the secret is the private key.
///
/// # Errors
///
/// [`KeyError`] when the secret is not a key of the scheme, or cannot be sent as a token, or when the scheme signs the
/// URL.
pub fn sign_request(
    scheme: &Scheme,
    secret: &Secret,
    headers: &mut HeaderMap,
    body: &mut Vec<u8>,
    now: Timestamp,
) -> Result<(), KeyError> {
    let mut request = UnsignedRequest { url: None, headers, body, now };
    scheme.kind().sign(secret, &mut request).map_err(|problem| problem.at(0))
}

/// Like [`sign_request`], for a request to a URL. The URL is changed if the scheme requires it to hold a digest of the
/// body.
///
/// # Errors
///
/// [`KeyError`] when the secret is not a key of the scheme, or cannot be sent as a token.
pub fn sign_request_to(
    scheme: &Scheme,
    secret: &Secret,
    url: &mut Url,
    headers: &mut HeaderMap,
    body: &mut Vec<u8>,
    now: Timestamp,
) -> Result<(), KeyError> {
    let mut request = UnsignedRequest { url: Some(url), headers, body, now };
    scheme.kind().sign(secret, &mut request).map_err(|problem| problem.at(0))
}

pub(super) fn made_up(timestamp: &str, body: &[u8]) -> Vec<u8> {
    let digest = Sha256::new().chain_update(timestamp).chain_update(b".").chain_update(body).finalize();
    let half = digest.split_at_checked(16).map_or(&*digest, |(half, _)| half);
    format!("msg_{}", hex::encode(half)).into_bytes()
}

pub(super) fn header_value(bytes: &[u8]) -> Result<HeaderValue, KeyProblem> {
    HeaderValue::from_bytes(bytes)
        .map_err(|_| KeyProblem::Scheme("it has control characters, which no header can carry"))
}

pub(super) fn sensitive(bytes: &[u8]) -> Result<HeaderValue, KeyProblem> {
    let mut value = header_value(bytes)?;
    value.set_sensitive(true);
    Ok(value)
}
