//! Signatures: made, and checked over the raw bytes in constant time.
//!
//! A [`Scheme`] says how a sender signs, as plain data; [`provider()`] is the table of the senders that are known by
//! name. A [`Verifier`] is a scheme with its keys prepared, and the only way to a [`Verified`] body. The other way
//! round, [`Signer`] signs deliveries and [`sign_request`] does what a sender of any scheme would do.
//!
//! A request is judged in this order: whether the headers are there, the form of the timestamp, the signature, and
//! only then whether the timestamp is recent. So nobody without a secret learns anything about the clock or the
//! tolerance.

mod candidates;
mod content;
mod handshake;
mod hmac;
mod key;
mod provider;
mod request;
mod service_account;
mod signer;
#[cfg(test)]
mod tests;
mod token;

use std::fmt;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use jiff::Timestamp;

pub use self::{
    content::{Content, ContentError},
    handshake::{Handshake, HandshakeReply},
    hmac::{Algorithm, Encoding, HmacScheme, Shape, TimestampSource},
    key::{KeyError, KeyForm, KeyProblem},
    provider::{Place, Provider, names, provider},
    request::sign_request,
    service_account::{Review, ServiceAccountScheme},
    signer::{Signer, SigningScheme},
    token::TokenScheme,
};
use self::{hmac::HmacVerifier, token::TokenVerifier};
use super::secret::Secret;

/// How a sender proves who it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scheme {
    /// By an HMAC over the body.
    Hmac(HmacScheme),
    /// By a shared secret in a header.
    Token(TokenScheme),
    /// By a token of its ServiceAccount, which the cluster reviews.
    ServiceAccount(ServiceAccountScheme),
    /// Not at all.
    None,
}

/// A scheme with its keys prepared.
#[derive(Debug)]
pub struct Verifier(Kind);

#[derive(Debug)]
enum Kind {
    Hmac(HmacVerifier),
    Token(TokenVerifier),
    ServiceAccount(ServiceAccountScheme),
    None,
}

/// A body whose signature is right. Only [`Verifier::verify`] and [`Verifier::verify_reviewed`] make one.
#[derive(Clone)]
pub struct Verified {
    body: Bytes,
}

impl Verified {
    /// The raw body.
    pub fn body(&self) -> &Bytes {
        &self.body
    }

    /// The raw body.
    pub fn into_body(self) -> Bytes {
        self.body
    }

    /// A piece of the body, which is verified as the whole is; `None` when it is a piece of something else.
    pub fn part(&self, piece: &str) -> Option<Self> {
        let begin = (piece.as_ptr() as usize).checked_sub(self.body.as_ptr() as usize)?;
        let end = begin.checked_add(piece.len())?;
        (end <= self.body.len()).then(|| Self { body: self.body.slice(begin..end) })
    }
}

impl fmt::Debug for Verified {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verified").field("bytes", &self.body.len()).finish()
    }
}

/// Why a request is not let in. The sentence names the header and what is wrong with it, and holds nothing of its value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// A header that the scheme needs is absent.
    #[error("{0}")]
    MissingSignature(String),
    /// A header is empty or malformed, or no signature in it is right.
    #[error("{0}")]
    InvalidSignature(String),
    /// The signature is right, but was made too long ago or too far ahead.
    #[error("{0}")]
    StaleTimestamp(String),
}

impl Refusal {
    /// The code of the answer and of the metric.
    pub fn code(&self) -> &'static str {
        match self {
            Self::MissingSignature(_) => "missing_signature",
            Self::InvalidSignature(_) => "invalid_signature",
            Self::StaleTimestamp(_) => "stale_timestamp",
        }
    }
}

impl Verifier {
    /// Prepares the keys of a scheme; any of several secrets may match (rotation). [`Scheme::None`] and
    /// [`Scheme::ServiceAccount`] need no secret and ignore those given.
    ///
    /// # Errors
    ///
    /// [`KeyError`] when a secret is not a key of the scheme, when there are none or more than
    /// [`SECRETS`](super::limits::SECRETS), or when the scheme contradicts itself.
    pub fn new(scheme: Scheme, secrets: Vec<Secret>) -> Result<Self, KeyError> {
        Ok(Self(match scheme {
            Scheme::Hmac(scheme) => Kind::Hmac(HmacVerifier::new(scheme, &secrets)?),
            Scheme::Token(scheme) => Kind::Token(TokenVerifier::new(scheme, &secrets)?),
            Scheme::ServiceAccount(scheme) => Kind::ServiceAccount(scheme),
            Scheme::None => Kind::None,
        }))
    }

    /// Checks a request. On success nothing is allocated and the body is not copied. One that needs a review by the
    /// cluster is refused here: see [`Self::verify_reviewed`].
    ///
    /// # Errors
    ///
    /// [`Refusal`], see the [module](self) for the order of judgement.
    pub fn verify(&self, headers: &HeaderMap, body: Bytes, now: Timestamp) -> Result<Verified, Refusal> {
        match &self.0 {
            Kind::Hmac(verifier) => verifier.verify(headers, &body, now)?,
            Kind::Token(verifier) => verifier.verify(headers)?,
            Kind::ServiceAccount(_) => return Err(service_account::not_reviewed()),
            Kind::None => {}
        }
        Ok(Verified { body })
    }

    /// The scheme, when it is one whose callers the cluster reviews before [`Self::verify_reviewed`].
    pub fn service_account(&self) -> Option<&ServiceAccountScheme> {
        match &self.0 {
            Kind::ServiceAccount(scheme) => Some(scheme),
            Kind::Hmac(_) | Kind::Token(_) | Kind::None => None,
        }
    }

    /// Checks a request of [`Scheme::ServiceAccount`] by what the cluster says of its token. No other scheme is satisfied
    /// by a review.
    ///
    /// # Errors
    ///
    /// [`Refusal`] when the token was issued for no audience of the scheme, or to none of the accounts that may call.
    pub fn verify_reviewed(&self, review: &Review, body: Bytes) -> Result<Verified, Refusal> {
        self.service_account().ok_or_else(service_account::not_reviewed)?.verify(review)?;
        Ok(Verified { body })
    }

    /// The headers that carry a signature or a token, which are never stored. Those that carry the timestamp and the
    /// id are no credentials.
    pub fn credential_headers(&self) -> impl Iterator<Item = &HeaderName> {
        match &self.0 {
            Kind::Hmac(verifier) => Some(&verifier.scheme().header),
            Kind::Token(verifier) => Some(verifier.header()),
            Kind::ServiceAccount(_) => Some(&header::AUTHORIZATION),
            Kind::None => None,
        }
        .into_iter()
    }
}

/// The value of a header that must be there once and not be empty.
fn single<'a>(headers: &'a HeaderMap, name: &HeaderName, what: &str) -> Result<&'a HeaderValue, Refusal> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else {
        return Err(Refusal::MissingSignature(format!("header {name} with the {what} is missing")));
    };
    if values.next().is_some() {
        return Err(Refusal::InvalidSignature(format!("header {name} with the {what} is there more than once")));
    }
    if value.is_empty() {
        return Err(Refusal::InvalidSignature(format!("header {name} with the {what} is empty")));
    }
    Ok(value)
}
