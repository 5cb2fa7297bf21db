//! Signing of a request as its sender would: the inverse of verification.

use base64::Engine;
use grapnel_values::secret::Secret;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use jiff::Timestamp;
use sha2::{Digest, Sha256};
use url::Url;

use super::{
    KeyError, KeyForm, KeyProblem, Scheme, SignatureOrTokenScheme, SignatureScheme, TimestampSource, TokenScheme,
    basic, content::Fields, key::BASE64,
};

/// Adds the headers with which a [`Verifier`](super::Verifier) of the same scheme and secret accepts `body` at `now`,
/// replacing existing headers of the same names. An existing id header is signed as it is; otherwise the id is derived
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
    body: &[u8],
    now: Timestamp,
) -> Result<(), KeyError> {
    sign(scheme, secret, None, headers, body, now).map_err(|problem| problem.at(0))
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
    body: &[u8],
    now: Timestamp,
) -> Result<(), KeyError> {
    sign(scheme, secret, Some(url), headers, body, now).map_err(|problem| problem.at(0))
}

fn sign(
    scheme: &Scheme,
    secret: &Secret,
    url: Option<&mut Url>,
    headers: &mut HeaderMap,
    body: &[u8],
    now: Timestamp,
) -> Result<(), KeyProblem> {
    match scheme {
        Scheme::None => {}
        Scheme::Signature(scheme) => signature(scheme, secret, headers, body, now)?,
        Scheme::Url(scheme) => {
            let url = url.ok_or(KeyProblem::Scheme("it signs the URL, which is not known"))?;
            let signature = scheme.sign(secret, url, headers, body)?;
            headers.insert(&scheme.header, header_value(signature.as_bytes())?);
        }
        Scheme::Jwt(scheme) => {
            let token = scheme.sign(secret, now)?;
            headers.insert(header::AUTHORIZATION, sensitive(format!("Bearer {token}").as_bytes())?);
        }
        Scheme::Certificate(scheme) => scheme.sign(secret, headers, body, now)?,
        Scheme::Token(scheme) => token(scheme, secret, headers)?,
        Scheme::SignatureOrToken(scheme) if SignatureOrTokenScheme::signs(secret) => {
            signature(&scheme.signature, secret, headers, body, now)?;
        }
        Scheme::SignatureOrToken(scheme) => token(&scheme.token, secret, headers)?,
        Scheme::Basic => {
            let pair = BASE64.encode(basic::pair(secret)?);
            headers.insert(header::AUTHORIZATION, sensitive(format!("Basic {pair}").as_bytes())?);
        }
        // The secret is the token itself, issued by the cluster.
        Scheme::ServiceAccount(_) => {
            let token = KeyForm::Raw.key(secret)?;
            headers.insert(header::AUTHORIZATION, sensitive(&[b"Bearer ", token.as_slice()].concat())?);
        }
    }
    Ok(())
}

fn token(scheme: &TokenScheme, secret: &Secret, headers: &mut HeaderMap) -> Result<(), KeyProblem> {
    let token = KeyForm::Raw.key(secret)?;
    let word = scheme.scheme.as_ref().map(|word| format!("{word} ")).unwrap_or_default();
    headers.insert(&scheme.header, sensitive(&[word.as_bytes(), &token].concat())?);
    Ok(())
}

fn signature(
    scheme: &SignatureScheme,
    secret: &Secret,
    headers: &mut HeaderMap,
    body: &[u8],
    now: Timestamp,
) -> Result<(), KeyProblem> {
    // Times before 1970 make no sense for webhooks.
    let timestamp = now.as_second().max(0).to_string();
    let id = scheme.id_header.as_ref().map(|name| match headers.get(name) {
        Some(id) if !id.is_empty() => (name, id.as_bytes().to_vec()),
        _ => (name, made_up(&timestamp, body)),
    });
    let given = id.as_ref().map_or(&[][..], |(_, id)| id);
    let fields = Fields { timestamp: timestamp.as_bytes(), id: given, body };
    let value = scheme.sign(secret, fields, &timestamp)?;
    let mut added: Vec<(&HeaderName, HeaderValue)> = vec![(&scheme.header, header_value(value.as_bytes())?)];
    if let Some(TimestampSource::Header(name)) = &scheme.timestamp {
        added.push((name, header_value(timestamp.as_bytes())?));
    }
    if let Some((name, id)) = &id {
        added.push((name, header_value(id)?));
    }
    for (name, value) in added {
        headers.insert(name, value);
    }
    Ok(())
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

fn sensitive(bytes: &[u8]) -> Result<HeaderValue, KeyProblem> {
    let mut value = header_value(bytes)?;
    value.set_sensitive(true);
    Ok(value)
}
