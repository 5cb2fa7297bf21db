//! Redacts responses that repeat the request.
//!
//! The start of an error response becomes a message that is shown in statuses. Some receivers quote the rejected
//! request, including headers with values from a Secret, and the payload, which only those who may read events may see.

use bytes::Bytes;
use grapnel_journal::limits::FAILURE_MESSAGE_BYTES;
use http::HeaderValue;

/// The replacement for a secret.
const MASK: &[u8] = b"***";

/// Minimum length of a part of a secret that is searched for, in bytes: the start of a secret that is cut off by the
/// end of the stored text, or a credential without its scheme. Shorter parts occur in any text.
const SHORTEST: usize = 4;

/// Minimum length of a payload that is searched for, in bytes. Shorter ones reveal little, and occur in many texts by
/// chance.
const SHORTEST_PAYLOAD: usize = 16;

/// The start of a response without the values of these headers, complete or truncated, and without the payload, as sent
/// or as a JSON string. Quoted parts of a payload are kept, since they say what was wrong with it.
pub(super) fn redact(start: Bytes, secrets: &[HeaderValue], payload: &[u8]) -> Bytes {
    let mut start = start;
    if payload.len() >= SHORTEST_PAYLOAD && !start.is_empty() {
        // A response that contains a longer part ends with it.
        let payload = payload.get(..FAILURE_MESSAGE_BYTES).unwrap_or(payload);
        let quoted = serde_json::to_string(&String::from_utf8_lossy(payload)).unwrap_or_default();
        let quoted = quoted.trim_start_matches('"').strip_suffix('"').unwrap_or_default();
        for wanted in [payload, quoted.as_bytes()] {
            if let Some(redacted) = without(&start, wanted) {
                start = redacted.into();
            }
        }
    }
    for secret in secrets {
        let whole = secret.as_bytes();
        // For `Bearer x`, receivers tend to show only x.
        let credential = whole.rsplit(|&byte| byte == b' ').next().filter(|word| word.len() >= SHORTEST);
        for wanted in [Some(whole), credential].into_iter().flatten() {
            if let Some(redacted) = without(&start, wanted) {
                start = redacted.into();
            }
        }
    }
    start
}

/// A text without `wanted`, and without a prefix of it at the end of the text; `None` if neither occurs.
fn without(text: &[u8], wanted: &[u8]) -> Option<Vec<u8>> {
    if wanted.is_empty() {
        return None;
    }
    let mut kept = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.windows(wanted.len()).position(|window| window == wanted) {
        kept.extend_from_slice(rest.get(..at)?);
        kept.extend_from_slice(MASK);
        rest = rest.get(at.saturating_add(wanted.len())..)?;
    }
    let cut =
        (SHORTEST..wanted.len()).rev().find(|&length| wanted.get(..length).is_some_and(|part| rest.ends_with(part)));
    if kept.is_empty() && cut.is_none() {
        return None;
    }
    kept.extend_from_slice(rest.get(..rest.len().saturating_sub(cut.unwrap_or_default()))?);
    if cut.is_some() {
        kept.extend_from_slice(MASK);
    }
    Some(kept)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn redacted(text: &str, secrets: &[&str]) -> String {
        let secrets: Vec<_> = secrets.iter().map(|secret| HeaderValue::from_str(secret).unwrap()).collect();
        String::from_utf8(redact(Bytes::copy_from_slice(text.as_bytes()), &secrets, b"").to_vec()).unwrap()
    }

    #[test]
    fn payloads_are_masked_as_a_whole() {
        let payload = r#"{"name":"A. Person","card":"4242"}"#;
        let quoted = serde_json::json!({ "data": payload, "status": 400 }).to_string();
        for (text, left) in [
            (format!("got {payload}, wanted more"), "got ***, wanted more"),
            (quoted, r#"{"data":"***","status":400}"#),
            (format!("cut off: {}", &payload[..20]), "cut off: ***"),
            ("A. Person is unknown".into(), "A. Person is unknown"),
        ] {
            assert_eq!(redact(Bytes::from(text.clone()), &[], payload.as_bytes()), left, "{text}");
        }
        assert_eq!(redact(Bytes::from_static(b"not {}"), &[], b"{}"), "not {}");
        let long = format!("[{}]", "1234567,".repeat(1000));
        let cut = format!("what is {}", &long[..1016]);
        assert_eq!(redact(Bytes::from(cut), &[], long.as_bytes()), "what is ***");
    }

    #[test]
    fn values_of_secret_headers_are_masked() {
        let secrets = &["Bearer hunter2-hunter2", "other-secret"];
        for (text, left) in [
            ("nothing of it", "nothing of it"),
            ("authorization: Bearer hunter2-hunter2\r\n", "authorization: ***\r\n"),
            ("the token hunter2-hunter2 is unknown", "the token *** is unknown"),
            ("hunter2-hunter2hunter2-hunter2", "******"),
            ("x: other-secret, y: Bearer hunter2-hunter2", "x: ***, y: ***"),
            ("cut off: other-sec", "cut off: ***"),
            ("cut off: hunt", "cut off: ***"),
            ("Bearer of news", "Bearer of news"),
            ("", ""),
        ] {
            assert_eq!(redacted(text, secrets), left, "{text}");
        }
        assert_eq!(redacted("a text", &["", "a"]), "*** text");
    }

    proptest! {
        #[test]
        fn no_secret_is_left(secret in "[a-d]{4,12}", before in "[a-d ]{0,20}", after in "[a-d ]{0,20}") {
            let left = redacted(&format!("{before}{secret}{after}"), &[&secret]);
            prop_assert!(!left.contains(&secret), "{left}");
        }
    }
}
