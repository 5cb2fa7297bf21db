//! Answers that repeat what they were sent.
//!
//! The start of a failed answer becomes a message that people read in statuses. Receivers that say what they did not like
//! about a request sometimes show it, headers and all, and with it what a Secret put there, and the payload, which is for
//! those alone who may read events.

use bytes::Bytes;
use grapnel_journal::limits::FAILURE_MESSAGE_BYTES;
use http::HeaderValue;

/// What stands in the place of a secret.
const MASK: &[u8] = b"***";

/// Shortest part of a secret that is looked for, in bytes: the first bytes of one that is cut off by the end of what was
/// kept, or a credential without the scheme before it. Shorter ones are in every text.
const SHORTEST: usize = 4;

/// Shortest payload that is looked for, in bytes. What is shorter says little, and is in many texts by chance.
const SHORTEST_PAYLOAD: usize = 16;

/// The start of an answer without the values of these headers, in part or whole, and without the payload as it was sent or
/// as a string in JSON. Parts of a payload that a receiver quotes are left: nobody could say what was wrong with it.
pub(super) fn redact(start: Bytes, secrets: &[HeaderValue], payload: &[u8]) -> Bytes {
    let mut start = start;
    if payload.len() >= SHORTEST_PAYLOAD && !start.is_empty() {
        // An answer that holds more of it ends with it.
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
        // `Bearer x`: receivers tend to show x alone.
        let credential = whole.rsplit(|&byte| byte == b' ').next().filter(|word| word.len() >= SHORTEST);
        for wanted in [Some(whole), credential].into_iter().flatten() {
            if let Some(redacted) = without(&start, wanted) {
                start = redacted.into();
            }
        }
    }
    start
}

/// A text without `wanted`, and without a beginning of it at the text's end; `None` when neither is there.
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
