//! Whether a CloudEvents sender may send: abuse protection of the HTTP webhook specification
//! (<https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/http-webhook.md#4-abuse-protection>).

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header::ALLOW};

use super::{Handshake, HandshakeReply};
use crate::limits::ORIGIN_BYTES;

const REQUEST_ORIGIN: HeaderName = HeaderName::from_static("webhook-request-origin");
const REQUEST_RATE: HeaderName = HeaderName::from_static("webhook-request-rate");
const ALLOWED_ORIGIN: HeaderName = HeaderName::from_static("webhook-allowed-origin");
const ALLOWED_RATE: HeaderName = HeaderName::from_static("webhook-allowed-rate");

impl Handshake {
    /// The answer to `OPTIONS`, which lets the asking origin send; `None` when nobody asks. `per_minute` is how many
    /// requests the endpoint takes; without it, there is no limit.
    ///
    /// What the question shows of credentials is not looked at: the permission says only that webhooks are expected
    /// here, and every one of them is verified by itself. A sender that wants to be asked back
    /// (`WebHook-Request-Callback`) is not: that would call an address which anybody may have written there.
    pub fn permission(&self, headers: &HeaderMap, per_minute: Option<u64>) -> Option<HandshakeReply> {
        let Self::CloudEvents = self else { return None };
        let mut origins = headers.get_all(REQUEST_ORIGIN).iter();
        let (Some(origin), None) = (origins.next(), origins.next()) else { return None };
        let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._:".contains(byte);
        if origin.is_empty() || origin.len() > ORIGIN_BYTES || !origin.as_bytes().iter().all(plain) {
            return None;
        }
        let asked = headers.get(REQUEST_RATE).and_then(|rate| rate.to_str().ok()?.trim().parse::<u64>().ok());
        // Less than what was asked for is granted only where there is a limit.
        let rate = match (asked.filter(|rate| *rate > 0), per_minute) {
            (Some(asked), Some(limit)) => HeaderValue::from(asked.min(limit)),
            (None, Some(limit)) => HeaderValue::from(limit),
            (_, None) => HeaderValue::from_static("*"),
        };
        let headers =
            [(ALLOW, HeaderValue::from_static("POST")), (ALLOWED_ORIGIN, origin.clone()), (ALLOWED_RATE, rate)];
        Some(HandshakeReply::empty(StatusCode::OK, HeaderMap::from_iter(headers)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(pairs: &[(&'static str, &str)], per_minute: Option<u64>) -> Option<(String, String)> {
        let headers: HeaderMap =
            pairs.iter().map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap())).collect();
        assert_eq!(Handshake::None.permission(&headers, per_minute), None);
        let answer = Handshake::CloudEvents.permission(&headers, per_minute)?.headers;
        assert_eq!(answer[ALLOW], "POST");
        let text = |name| answer[name].to_str().unwrap().to_owned();
        Some((text(ALLOWED_ORIGIN), text(ALLOWED_RATE)))
    }

    #[test]
    fn whoever_asks_is_answered() {
        let origin = ("webhook-request-origin", "eventemitter.example.com");
        let answer = |rate: &str| Some((origin.1.to_owned(), rate.to_owned()));
        assert_eq!(ask(&[origin], None), answer("*"));
        assert_eq!(ask(&[origin, ("webhook-request-rate", "120")], None), answer("*"));
        assert_eq!(ask(&[origin, ("webhook-request-rate", "120")], Some(600)), answer("120"));
        assert_eq!(ask(&[origin, ("webhook-request-rate", "120")], Some(60)), answer("60"));
        assert_eq!(ask(&[origin, ("webhook-request-rate", "many")], Some(60)), answer("60"));
        assert_eq!(ask(&[origin], Some(60)), answer("60"));
    }

    #[test]
    fn anything_else_is_no_question() {
        assert_eq!(ask(&[], None), None);
        for wrong in ["", "a b", "a,b", "<script>", &"a".repeat(ORIGIN_BYTES + 1)] {
            assert_eq!(ask(&[("webhook-request-origin", wrong)], None), None, "{wrong}");
        }
        let mut twice = HeaderMap::new();
        twice.append(REQUEST_ORIGIN, HeaderValue::from_static("a"));
        twice.append(REQUEST_ORIGIN, HeaderValue::from_static("b"));
        assert!(Handshake::CloudEvents.permission(&twice, None).is_none());
    }
}
