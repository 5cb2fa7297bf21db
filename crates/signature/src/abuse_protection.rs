//! Abuse protection of the CloudEvents HTTP webhook specification: whether a sender may send
//! (<https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/http-webhook.md#4-abuse-protection>).

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header::ALLOW};

use super::{Handshake, HandshakeReply};
use crate::limits::ORIGIN_BYTES;

const REQUEST_ORIGIN: HeaderName = HeaderName::from_static("webhook-request-origin");
const REQUEST_RATE: HeaderName = HeaderName::from_static("webhook-request-rate");
const ALLOWED_ORIGIN: HeaderName = HeaderName::from_static("webhook-allowed-origin");
const ALLOWED_RATE: HeaderName = HeaderName::from_static("webhook-allowed-rate");

impl Handshake {
    /// Returns the response to `OPTIONS`, which permits the requesting origin to send; `None` when the request does not
    /// ask for permission. `per_minute` is the endpoint's rate limit; `None` means no limit.
    ///
    /// Credentials in the request are ignored: the permission says only that webhooks are expected here, and each of
    /// them is verified on its own. A callback (`WebHook-Request-Callback`) is never made, because it would call an
    /// address that anyone may have supplied.
    pub(super) fn permission(&self, headers: &HeaderMap, per_minute: Option<u64>) -> Option<HandshakeReply> {
        let Self::CloudEvents = self else { return None };
        let mut origins = headers.get_all(REQUEST_ORIGIN).iter();
        let (Some(origin), None) = (origins.next(), origins.next()) else { return None };
        let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._:".contains(byte);
        if origin.is_empty() || origin.len() > ORIGIN_BYTES || !origin.as_bytes().iter().all(plain) {
            return None;
        }
        let requested = headers.get(REQUEST_RATE).and_then(|rate| rate.to_str().ok()?.trim().parse::<u64>().ok());
        // Less than the requested rate is granted only if there is a limit.
        let rate = match (requested.filter(|rate| *rate > 0), per_minute) {
            (Some(requested), Some(limit)) => HeaderValue::from(requested.min(limit)),
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
