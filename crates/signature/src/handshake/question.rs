//! Handshakes in requests with another method than POST, which are not signed.

use grapnel_values::secret::Secret;
use http::{HeaderMap, Method, StatusCode};
use serde_json::json;
use subtle::ConstantTimeEq;

use super::{Handshake, HandshakeReply, Question};
use crate::{SignatureEncoding, Verifier, limits::CHALLENGE_BYTES};

impl Handshake {
    /// Returns the method of its questions, if they have another than POST.
    pub fn method(self) -> Option<Method> {
        match self {
            Self::XCrc | Self::MetaChallenge | Self::OktaChallenge => Some(Method::GET),
            Self::CloudEvents => Some(Method::OPTIONS),
            Self::Head => Some(Method::HEAD),
            Self::None
            | Self::SlackUrlVerification
            | Self::ZoomUrlValidation
            | Self::DiscordPing
            | Self::SnsConfirmation => None,
        }
    }

    /// Returns the response to a question with the [method](Self::method) of the handshake; `None` when the request does
    /// not ask it. Questions are not signed, so a response must be of no use to a caller who is not the sender.
    pub fn answer(&self, question: Question<'_>, verifier: &Verifier) -> Option<HandshakeReply> {
        if self.method().as_ref() != Some(question.method) {
            return None;
        }
        match self {
            Self::XCrc => self.crc(question.query, verifier),
            Self::CloudEvents => self.permission(question.headers, question.per_minute),
            Self::MetaChallenge => meta_challenge(question.query?, question.verify_token),
            Self::OktaChallenge => okta_challenge(question.headers),
            Self::Head => Some(HandshakeReply::empty(StatusCode::OK, HeaderMap::new())),
            Self::None
            | Self::SlackUrlVerification
            | Self::ZoomUrlValidation
            | Self::DiscordPing
            | Self::SnsConfirmation => None,
        }
    }

    /// Returns the response to X's challenge in the query of a `GET`, by the first of the secrets. `None` when the
    /// query has no challenge: one token of at most [`CHALLENGE_BYTES`] letters, digits and `-_.~+/=`.
    pub(super) fn crc(&self, query: Option<&str>, verifier: &Verifier) -> Option<HandshakeReply> {
        let Self::XCrc = self else { return None };
        let mut tokens = form_urlencoded::parse(query?.as_bytes()).filter(|(name, _)| name == "crc_token");
        let (Some((_, token)), None) = (tokens.next(), tokens.next()) else { return None };
        // In a query a plus may stand for a space; tokens have no spaces.
        let token = token.replace(' ', "+");
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~+/=".contains(&byte);
        if token.is_empty() || token.len() > CHALLENGE_BYTES || !token.bytes().all(plain) {
            return None;
        }
        let tag = verifier.tag(0, token.as_bytes())?;
        let tag = SignatureEncoding::Base64.encode(&tag);
        Some(HandshakeReply::json(&json!({ "response_token": format!("sha256={tag}") })))
    }
}

/// Returns the challenge, a number, so that the response is never a page of the caller's making.
fn meta_challenge(query: &str, token: Option<&Secret>) -> Option<HandshakeReply> {
    let value = |wanted: &str| {
        let mut found = form_urlencoded::parse(query.as_bytes()).filter(|(name, _)| name == wanted);
        match (found.next(), found.next()) {
            (Some((_, value)), None) => Some(value.into_owned()),
            _ => None,
        }
    };
    let challenge = value("hub.challenge")?;
    let is_number = (1..=20).contains(&challenge.len()) && challenge.bytes().all(|byte| byte.is_ascii_digit());
    let right = value("hub.verify_token")?.as_bytes().ct_eq(token?.expose().trim_ascii_end());
    let subscribes = bool::from(right) && value("hub.mode")? == "subscribe" && is_number;
    subscribes.then(|| HandshakeReply::ok("text/plain; charset=utf-8", challenge))
}

/// Returns the challenge in JSON, where it is only a string.
fn okta_challenge(headers: &HeaderMap) -> Option<HandshakeReply> {
    let mut values = headers.get_all("x-okta-verification-challenge").iter();
    let (Some(value), None) = (values.next(), values.next()) else { return None };
    let challenge = value.to_str().ok().filter(|text| (1..=CHALLENGE_BYTES).contains(&text.len()))?;
    Some(HandshakeReply::json(&json!({ "verification": challenge })))
}
