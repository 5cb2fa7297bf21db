//! Signing a request as its sender would: the inverse of verifying it.

use http::{HeaderMap, HeaderName, HeaderValue, header};
use jiff::Timestamp;
use sha2::{Digest, Sha256};

use super::{KeyError, KeyForm, KeyProblem, Scheme, Shape, TimestampSource, content::Fields};
use crate::rules::secret::Secret;

/// Adds the headers with which a [`Verifier`](super::Verifier) of the same scheme and secret accepts `body` at `now`;
/// what is there under their names is replaced. An id header that is already there is signed as it is; otherwise it is
/// made of the time and the body.
///
/// # Errors
///
/// [`KeyError`] when the secret is not a key of the scheme, or cannot be sent as a token.
pub fn sign_request(
    scheme: &Scheme,
    secret: &Secret,
    headers: &mut HeaderMap,
    body: &[u8],
    now: Timestamp,
) -> Result<(), KeyError> {
    let added = match scheme {
        Scheme::None => Ok(Vec::new()),
        Scheme::Hmac(scheme) => {
            // Before 1970 there were no webhooks.
            let timestamp = now.as_second().max(0).to_string();
            let id = scheme.id_header.as_ref().map(|name| match headers.get(name) {
                Some(id) if !id.is_empty() => (name, id.as_bytes().to_vec()),
                _ => (name, made_up(&timestamp, body)),
            });
            let given = id.as_ref().map_or(&[][..], |(_, id)| id);
            let fields = Fields { timestamp: timestamp.as_bytes(), id: given, body };
            scheme.sign(secret, fields).and_then(|signature| {
                let value = scheme.shape.compose(&signature, &timestamp);
                let mut added = vec![(&scheme.header, header_value(value.as_bytes())?)];
                if let Some(TimestampSource::Header(name)) = &scheme.timestamp {
                    added.push((name, header_value(timestamp.as_bytes())?));
                }
                if let Some((name, id)) = &id {
                    added.push((name, header_value(id)?));
                }
                Ok(added)
            })
        }
        Scheme::Token(scheme) => KeyForm::Raw.key(secret).and_then(|token| {
            let word = scheme.scheme.as_ref().map(|word| format!("{word} ")).unwrap_or_default();
            let mut value = header_value(&[word.as_bytes(), &token].concat())?;
            value.set_sensitive(true);
            Ok(vec![(&scheme.header, value)])
        }),
        // The secret is the token itself, which the cluster has issued.
        Scheme::ServiceAccount(_) => KeyForm::Raw.key(secret).and_then(|token| {
            let mut value = header_value(&[b"Bearer ", token.as_slice()].concat())?;
            value.set_sensitive(true);
            Ok(vec![(&header::AUTHORIZATION, value)])
        }),
    };
    let added: Vec<(&HeaderName, HeaderValue)> = added.map_err(|problem| problem.at(0))?;
    for (name, value) in added {
        headers.insert(name, value);
    }
    Ok(())
}

impl Shape {
    /// A header with one signature.
    fn compose(&self, signature: &str, timestamp: &str) -> String {
        match self {
            Self::Prefixed(prefix) => format!("{prefix}{signature}"),
            Self::Pairs { signature: key, timestamp: None } => format!("{key}={signature}"),
            Self::Pairs { signature: key, timestamp: Some(time) } => format!("{time}={timestamp},{key}={signature}"),
            Self::List { version } => format!("{version},{signature}"),
        }
    }
}

fn made_up(timestamp: &str, body: &[u8]) -> Vec<u8> {
    let digest = Sha256::new().chain_update(timestamp).chain_update(b".").chain_update(body).finalize();
    let half = digest.split_at_checked(16).map_or(&*digest, |(half, _)| half);
    format!("msg_{}", hex::encode(half)).into_bytes()
}

fn header_value(bytes: &[u8]) -> Result<HeaderValue, KeyProblem> {
    HeaderValue::from_bytes(bytes)
        .map_err(|_| KeyProblem::Scheme("it has control characters, which no header can carry"))
}
