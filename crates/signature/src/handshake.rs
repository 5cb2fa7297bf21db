//! Handshakes that some senders perform before they send events.

mod question;

use bytes::Bytes;
use grapnel_payload::{json::FoundValue, lenient::without_bom, malformed::MalformedPayload, payload::Payload};
use grapnel_values::{pointer::JsonPointer, secret::Secret};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header::CONTENT_TYPE};
use serde_json::json;
use url::Url;

use super::{Verified, Verifier, sns};

/// The `type` of Slack's handshake.
const URL_VERIFICATION: &str = "url_verification";
/// The event type of Zoom's handshake.
const URL_VALIDATION: &str = "endpoint.url_validation";

/// A provider's handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Handshake {
    /// No handshake.
    #[default]
    None,
    /// Slack sends `{"type":"url_verification","challenge":"…"}`, signed like any event, and expects the challenge
    /// back: <https://docs.slack.dev/reference/events/url_verification>.
    SlackUrlVerification,
    /// Zoom sends the event `endpoint.url_validation`, signed like any event, and expects `payload.plainToken` back
    /// with its HMAC-SHA256: <https://developers.zoom.us/docs/api/webhooks/#validate-your-webhook-endpoint>.
    ZoomUrlValidation,
    /// Discord sends a PING, signed like any event: for `{"type":1}` of interactions it expects `{"type":1}` back
    /// (<https://docs.discord.com/developers/interactions/receiving-and-responding>), for `{"type":0}` of webhook
    /// events an empty 204 (<https://docs.discord.com/developers/events/webhook-events>).
    DiscordPing,
    /// X sends `GET ?crc_token=…` and expects the HMAC-SHA256 of the token
    /// (<https://docs.x.com/x-api/webhooks/quickstart>). The request is not signed: any caller learns the signature of
    /// a body that equals the token. Therefore only texts that cannot be an event of X are answered, and only what X
    /// could have sent is an event: see [`Self::answer`] and [`Self::is_event`].
    XCrc,
    /// CloudEvents senders ask for permission with `OPTIONS`: see [`Self::answer`].
    CloudEvents,
    /// Meta sends `GET ?hub.mode=subscribe&hub.challenge=…&hub.verify_token=…` and expects the challenge back
    /// (<https://developers.facebook.com/docs/graph-api/webhooks/getting-started>), if the token is that of the
    /// endpoint.
    MetaChallenge,
    /// Okta sends `GET` with a challenge in a header and expects it back
    /// (<https://developer.okta.com/docs/concepts/event-hooks/#one-time-verification-request>).
    OktaChallenge,
    /// SNS asks to visit a URL, in a message that is signed like any other, before it delivers
    /// (<https://docs.aws.amazon.com/sns/latest/dg/http-subscription-confirmation-json.html>). It also reports the end
    /// of a subscription.
    SnsConfirmation,
    /// Trello and Mailchimp send `HEAD` and expect success.
    Head,
}

/// A request with another method than POST.
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    /// Method.
    pub method: &'a Method,
    /// Query of the URL.
    pub query: Option<&'a str>,
    /// Headers.
    pub headers: &'a HeaderMap,
    /// Rate limit of the endpoint.
    pub per_minute: Option<u64>,
    /// The token that the sender must show, if its handshake has one. Without it, such a handshake is not answered.
    pub verify_token: Option<&'a Secret>,
}

/// The response to a handshake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HandshakeReply {
    /// HTTP status.
    pub status: StatusCode,
    /// Response headers.
    pub headers: HeaderMap,
    /// Response body.
    pub body: Bytes,
    /// What the request asks for besides the response.
    pub task: Option<Task>,
}

/// What has to happen before a handshake is answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Task {
    /// This URL has to be visited. The sender has signed it, and it belongs to the sender.
    Visit(Url),
    /// The operator has to learn that the sender will send nothing more.
    ReportEnd,
}

impl HandshakeReply {
    fn ok(content_type: &'static str, body: impl Into<Bytes>) -> Self {
        let headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static(content_type))]);
        Self { status: StatusCode::OK, headers, body: body.into(), task: None }
    }

    fn json(value: &serde_json::Value) -> Self {
        Self::ok("application/json", value.to_string())
    }

    /// Creates a response without a body.
    pub(super) fn empty(status: StatusCode, headers: HeaderMap) -> Self {
        Self { status, headers, body: Bytes::new(), task: None }
    }

    /// Creates the response to a request that asks to visit a URL.
    pub(super) fn after_visit(url: Url) -> Self {
        Self { task: Some(Task::Visit(url)), ..Self::empty(StatusCode::OK, HeaderMap::new()) }
    }

    /// Creates the response to the news that the sender has ended its subscription.
    pub(super) fn unsubscribed() -> Self {
        Self { task: Some(Task::ReportEnd), ..Self::empty(StatusCode::OK, HeaderMap::new()) }
    }
}

impl Handshake {
    /// Returns the response if a verified payload is a handshake and not an event. `verifier` is the one that verified
    /// it. A handshake without the value to respond to is malformed: it is not an event either.
    pub fn reply(
        &self,
        payload: &Payload,
        verified: &Verified,
        verifier: &Verifier,
    ) -> Result<Option<HandshakeReply>, MalformedPayload> {
        if *self == Self::SnsConfirmation {
            return sns::confirmation(verified.body());
        }
        // Forms consist of fields that users choose, such as those of Slack's slash commands.
        let Payload::Json(_) = payload else { return Ok(None) };
        let is = |pointer, wanted: &str| text(payload, pointer).is_some_and(|found| found == wanted);
        let challenge_at = |question: &str, pointer| {
            let sentence = || format!("the {question} request has no string at {pointer} to return");
            text(payload, pointer).ok_or_else(|| MalformedPayload::new(sentence()))
        };
        Ok(match self {
            Self::SlackUrlVerification if is("/type", URL_VERIFICATION) => {
                let challenge = challenge_at(URL_VERIFICATION, "/challenge")?;
                Some(HandshakeReply::ok("text/plain; charset=utf-8", challenge))
            }
            Self::ZoomUrlValidation if is("/event", URL_VALIDATION) => {
                let plain = challenge_at(URL_VALIDATION, "/payload/plainToken")?;
                let signed = |tag| json!({ "plainToken": plain, "encryptedToken": hex::encode(tag) });
                verifier.tag(verified.key, plain.as_bytes()).map(|tag| HandshakeReply::json(&signed(tag)))
            }
            // A webhook event has `event`, and every interaction other than PING has another type.
            Self::DiscordPing if text(payload, "/event/type").is_some() => None,
            Self::DiscordPing if is("/type", "0") => {
                Some(HandshakeReply::empty(StatusCode::NO_CONTENT, HeaderMap::new()))
            }
            Self::DiscordPing if is("/type", "1") => Some(HandshakeReply::json(&json!({ "type": 1 }))),
            _ => None,
        })
    }

    /// Returns whether a verified body can be an event. Events of X are JSON objects, which no token of [`Self::answer`]
    /// is.
    pub fn is_event(&self, verified: &Verified) -> bool {
        match self {
            Self::XCrc => without_bom(verified.body()).trim_ascii_start().starts_with(b"{"),
            _ => true,
        }
    }
}

fn text(payload: &Payload, pointer: &str) -> Option<String> {
    match payload.find(&JsonPointer::parse(pointer).ok()?)? {
        FoundValue::Text(text) => Some(text.into_owned()),
        FoundValue::Unusable | FoundValue::Nothing => None,
    }
}

#[cfg(test)]
mod tests;
