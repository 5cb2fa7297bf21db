//! What some senders ask before they send events.

use bytes::Bytes;
use http::{HeaderValue, StatusCode};

use crate::rules::{json::Found, payload::Payload, pointer::JsonPointer};

/// A provider's handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Handshake {
    /// None.
    #[default]
    None,
    /// Slack sends `{"type":"url_verification","challenge":"…"}`, signed like everything else, and wants the challenge
    /// back: <https://docs.slack.dev/reference/events/url_verification>.
    SlackUrlVerification,
}

/// The answer to a handshake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HandshakeReply {
    /// Its status.
    pub status: StatusCode,
    /// Its `Content-Type`.
    pub content_type: HeaderValue,
    /// Its body.
    pub body: Bytes,
}

impl Handshake {
    /// The answer, if a verified payload is a handshake and not an event.
    pub fn reply(&self, payload: &Payload) -> Option<HandshakeReply> {
        match self {
            Self::None => None,
            Self::SlackUrlVerification => {
                // Forms are slash commands, whose fields are their users' to choose.
                let Payload::Json(_) = payload else { return None };
                if text(payload, "/type")? != "url_verification" {
                    return None;
                }
                Some(HandshakeReply {
                    status: StatusCode::OK,
                    content_type: HeaderValue::from_static("text/plain; charset=utf-8"),
                    body: text(payload, "/challenge")?.into(),
                })
            }
        }
    }
}

fn text(payload: &Payload, pointer: &str) -> Option<String> {
    match payload.find(&JsonPointer::parse(pointer).ok()?)? {
        Found::Text(text) => Some(text.into_owned()),
        Found::Unusable | Found::Nothing => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::payload::tests::verified;

    fn reply(content_type: &str, body: &'static str) -> Option<HandshakeReply> {
        let payload = Payload::parse(Some(content_type), &verified(body)).unwrap();
        assert_eq!(Handshake::None.reply(&payload), None);
        Handshake::SlackUrlVerification.reply(&payload)
    }

    #[test]
    fn slack_gets_its_challenge_back() {
        // The body of https://docs.slack.dev/reference/events/url_verification.
        let body = r#"{"token":"Jhj5dZrVaK7ZwHHjRyZWjbDl","challenge":"3eZbrw1aBm2rZgRNFdxV2595E9CY3gmdALWMmHkvFXO7tYXAYM8P","type":"url_verification"}"#;
        let reply = reply("application/json", body).unwrap();
        assert_eq!(reply.status, StatusCode::OK);
        assert_eq!(reply.content_type, "text/plain; charset=utf-8");
        assert_eq!(reply.body, "3eZbrw1aBm2rZgRNFdxV2595E9CY3gmdALWMmHkvFXO7tYXAYM8P");
    }

    #[test]
    fn everything_else_is_an_event() {
        for body in [
            r#"{"type":"event_callback","challenge":"x"}"#,
            r#"{"type":"url_verification"}"#,
            r#"{"type":"url_verification","challenge":{}}"#,
            r#"{"event":{"type":"url_verification"},"challenge":"x"}"#,
            "[]",
        ] {
            assert_eq!(reply("application/json", body), None, "{body}");
        }
        assert_eq!(reply("application/x-www-form-urlencoded", "type=url_verification&challenge=x"), None);
        assert_eq!(reply("text/plain", r#"{"type":"url_verification","challenge":"x"}"#), None);
    }
}
