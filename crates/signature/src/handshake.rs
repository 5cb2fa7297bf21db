//! Handshakes that some senders perform before they send events.

use bytes::Bytes;
use grapnel_payload::{json::FoundValue, lenient::without_bom, malformed::MalformedPayload, payload::Payload};
use grapnel_values::{pointer::JsonPointer, secret::Secret};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header::CONTENT_TYPE};
use serde_json::json;
use subtle::ConstantTimeEq;

use url::Url;

use super::{Verified, Verifier, sns};
use crate::limits::CHALLENGE_BYTES;

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
    fn crc(&self, query: Option<&str>, verifier: &Verifier) -> Option<HandshakeReply> {
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
        let tag = super::SignatureEncoding::Base64.encode(&tag);
        Some(HandshakeReply::json(&json!({ "response_token": format!("sha256={tag}") })))
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

fn text(payload: &Payload, pointer: &str) -> Option<String> {
    match payload.find(&JsonPointer::parse(pointer).ok()?)? {
        FoundValue::Text(text) => Some(text.into_owned()),
        FoundValue::Unusable | FoundValue::Nothing => None,
    }
}

#[cfg(test)]
mod tests {
    use grapnel_payload::reading::Reading;

    use super::*;
    use crate::{Scheme, provider, testing::verified};

    fn verifier(name: &str, secret: &str) -> Verifier {
        Verifier::new(provider(name).unwrap().scheme(), vec![secret.into()]).unwrap()
    }

    fn reply_to(handshake: Handshake, content_type: &str, body: &'static str) -> Option<HandshakeReply> {
        answered(handshake, content_type, body).unwrap()
    }

    fn answered(
        handshake: Handshake,
        content_type: &str,
        body: &'static str,
    ) -> Result<Option<HandshakeReply>, MalformedPayload> {
        let verified = verified(body);
        let payload = Payload::read(&Reading::default(), Some(content_type), verified.body());
        let verifier = verifier("Zoom", "123456");
        assert_eq!(Handshake::None.reply(&payload, &verified, &verifier), Ok(None));
        handshake.reply(&payload, &verified, &verifier)
    }

    #[test]
    fn slack_gets_its_challenge_back() {
        // The body of https://docs.slack.dev/reference/events/url_verification.
        let body = r#"{"token":"Jhj5dZrVaK7ZwHHjRyZWjbDl","challenge":"3eZbrw1aBm2rZgRNFdxV2595E9CY3gmdALWMmHkvFXO7tYXAYM8P","type":"url_verification"}"#;
        let reply = reply_to(Handshake::SlackUrlVerification, "application/json", body).unwrap();
        assert_eq!(reply.status, StatusCode::OK);
        assert_eq!(reply.headers[CONTENT_TYPE], "text/plain; charset=utf-8");
        assert_eq!(reply.body, "3eZbrw1aBm2rZgRNFdxV2595E9CY3gmdALWMmHkvFXO7tYXAYM8P");
    }

    #[test]
    fn everything_else_of_slack_is_an_event() {
        for body in [
            r#"{"type":"event_callback","challenge":"x"}"#,
            r#"{"event":{"type":"url_verification"},"challenge":"x"}"#,
            "[]",
        ] {
            assert_eq!(reply_to(Handshake::SlackUrlVerification, "application/json", body), None, "{body}");
        }
        let form = "type=url_verification&challenge=x";
        assert_eq!(reply_to(Handshake::SlackUrlVerification, "application/x-www-form-urlencoded", form), None);
        let plain = r#"{"type":"url_verification","challenge":"x"}"#;
        assert_eq!(reply_to(Handshake::SlackUrlVerification, "text/plain", plain), None);
    }

    #[test]
    fn zoom_gets_its_token_signed() {
        let body = r#"{"payload":{"plainToken":"qgg8vlvZRS6UYooatFL8Aw"},"event_ts":1654503849680,"event":"endpoint.url_validation"}"#;
        let reply = reply_to(Handshake::ZoomUrlValidation, "application/json", body).unwrap();
        assert_eq!(reply.status, StatusCode::OK);
        // By `printf qgg8vlvZRS6UYooatFL8Aw | openssl dgst -sha256 -hmac 123456`.
        let expected = r#"{"plainToken":"qgg8vlvZRS6UYooatFL8Aw","encryptedToken":"1e67187e50a5ca19fc8a70ada83b125475cd48311008c2c13c0b183b0245bf02"}"#;
        assert_eq!(reply.body, expected);
        let event = r#"{"event":"meeting.started","payload":{"plainToken":"x"}}"#;
        assert_eq!(reply_to(Handshake::ZoomUrlValidation, "application/json", event), None);
    }

    #[test]
    fn a_question_without_its_field_is_neither_answered_nor_an_event() {
        for (handshake, body, place) in [
            (Handshake::SlackUrlVerification, r#"{"type":"url_verification"}"#, "/challenge"),
            (Handshake::SlackUrlVerification, r#"{"type":"url_verification","challenge":{}}"#, "/challenge"),
            (Handshake::SlackUrlVerification, r#"{"type":"url_verification","challenge":""}"#, "/challenge"),
            (Handshake::ZoomUrlValidation, r#"{"event":"endpoint.url_validation"}"#, "/payload/plainToken"),
            (
                Handshake::ZoomUrlValidation,
                r#"{"event":"endpoint.url_validation","payload":{}}"#,
                "/payload/plainToken",
            ),
            (
                Handshake::ZoomUrlValidation,
                r#"{"event":"endpoint.url_validation","payload":{"plainToken":7.5}}"#,
                "/payload/plainToken",
            ),
        ] {
            let malformed = answered(handshake, "application/json", body).unwrap_err();
            assert!(malformed.sentence.contains(place), "{malformed}");
        }
    }

    #[test]
    fn discord_has_two_pings() {
        let ping = |body| reply_to(Handshake::DiscordPing, "application/json", body);
        assert_eq!(ping(r#"{"type":1,"id":"7"}"#).unwrap().body, r#"{"type":1}"#);
        let reply = ping(r#"{"version":1,"application_id":"1","type":0}"#).unwrap();
        assert_eq!(reply, HandshakeReply::empty(StatusCode::NO_CONTENT, HeaderMap::new()));
        for event in [
            r#"{"type":2,"data":{}}"#,
            r#"{"version":1,"type":1,"event":{"type":"APPLICATION_AUTHORIZED"}}"#,
            "{}",
            "[1]",
        ] {
            assert_eq!(ping(event), None, "{event}");
        }
    }

    #[test]
    fn x_gets_its_challenge_signed() {
        let verifier = verifier("X", "consumer-secret");
        let crc = |query: &str| Handshake::XCrc.crc(Some(query), &verifier);
        let reply = crc("crc_token=9b4507b3-9040-4669-9ca3-6b94edb50553&nonce=z").unwrap();
        // By `printf 9b4507b3-… | openssl dgst -sha256 -hmac consumer-secret -binary | base64`.
        assert_eq!(reply.body, r#"{"response_token":"sha256=NhN+8FRk3FiSPXyqxXmpVRtiLiWoawvOgUBuXwGUTL4="}"#);
        assert_eq!(reply.headers[CONTENT_TYPE], "application/json");
        let long = format!("crc_token={}", "a".repeat(CHALLENGE_BYTES + 1));
        for wrong in
            ["", "crc_token=", "token=a", "crc_token=a&crc_token=b", "crc_token=%7B%7D", "crc_token=%22", &long]
        {
            assert_eq!(crc(wrong), None, "{wrong:.40}");
        }
        assert_eq!(Handshake::XCrc.crc(None, &verifier), None);
        assert_eq!(Handshake::None.crc(Some("crc_token=a"), &verifier), None);
        let open = Verifier::new(Scheme::None, vec![]).unwrap();
        assert_eq!(Handshake::XCrc.crc(Some("crc_token=a"), &open), None, "nothing to sign with");
    }

    #[test]
    fn questions_without_a_signature_get_back_what_they_show() {
        let verifier = verifier("GitHub", "s");
        let headers = HeaderMap::from_iter([(
            http::HeaderName::from_static("x-okta-verification-challenge"),
            HeaderValue::from_static("abc\"def"),
        )]);
        let none = HeaderMap::new();
        let token = Secret::from("meatyhamhock\n");
        let ask = |handshake: Handshake, method, query, headers| {
            let question = Question { method, query, headers, per_minute: None, verify_token: Some(&token) };
            handshake.answer(question, &verifier).map(|reply| String::from_utf8(reply.body.to_vec()).unwrap())
        };
        // The query of Meta's documentation.
        let query = "hub.mode=subscribe&hub.challenge=1158201444&hub.verify_token=meatyhamhock";
        let meta = |query| ask(Handshake::MetaChallenge, &Method::GET, Some(query), &none);
        assert_eq!(meta(query).as_deref(), Some("1158201444"));
        for wrong in [
            "",
            "hub.challenge=1&hub.verify_token=meatyhamhock",
            "hub.mode=subscribe&hub.verify_token=meatyhamhock",
            "hub.mode=subscribe&hub.verify_token=meatyhamhock&hub.challenge=",
            "hub.mode=subscribe&hub.verify_token=meatyhamhock&hub.challenge=%3Cscript%3E",
            "hub.mode=subscribe&hub.verify_token=meatyhamhock&hub.challenge=1&hub.challenge=2",
            "hub.mode=unsubscribe&hub.verify_token=meatyhamhock&hub.challenge=1",
            "hub.mode=subscribe&hub.verify_token=meatyhamhock&hub.challenge=111111111111111111111",
            "hub.mode=subscribe&hub.challenge=1",
            "hub.mode=subscribe&hub.challenge=1&hub.verify_token=",
            "hub.mode=subscribe&hub.challenge=1&hub.verify_token=meatyhamhoc",
            "hub.mode=subscribe&hub.challenge=1&hub.verify_token=x&hub.verify_token=meatyhamhock",
        ] {
            assert_eq!(meta(wrong), None, "{wrong}");
        }
        let okta = |headers| ask(Handshake::OktaChallenge, &Method::GET, None, headers);
        assert_eq!(okta(&headers).as_deref(), Some(r#"{"verification":"abc\"def"}"#));
        assert_eq!(okta(&none), None);
        assert_eq!(ask(Handshake::Head, &Method::HEAD, None, &none).as_deref(), Some(""));
        for handshake in [Handshake::Head, Handshake::None, Handshake::SlackUrlVerification] {
            assert_eq!(ask(handshake, &Method::GET, Some(query), &headers), None, "{handshake:?}");
        }
    }

    #[test]
    fn what_a_challenge_could_be_signed_for_is_no_event() {
        for (body, expected) in [
            (r#" {"for_user_id":"1"}"#, true),
            ("123", false),
            ("null", false),
            ("[1]", false),
            ("abc", false),
            ("a=b", false),
        ] {
            let verified = verified(body);
            assert_eq!(Handshake::XCrc.is_event(&verified), expected, "{body}");
            assert!(Handshake::DiscordPing.is_event(&verified));
        }
    }
}
