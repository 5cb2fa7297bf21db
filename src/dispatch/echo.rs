//! Answers that repeat what they were sent.
//!
//! The start of a failed answer becomes a message that people read in statuses. Receivers that say what they did not like
//! about a request sometimes show it, headers and all, and with it what a Secret put there.

use bytes::Bytes;
use http::HeaderValue;

/// What stands in the place of a secret.
const MASK: &[u8] = b"***";

/// Shortest part of a secret that is looked for, in bytes: the first bytes of one that is cut off by the end of what was
/// kept, or a credential without the scheme before it. Shorter ones are in every text.
const SHORTEST: usize = 4;

/// The start of an answer without the values of these headers, in part or whole.
pub(super) fn redact(start: Bytes, secrets: &[HeaderValue]) -> Bytes {
    let mut start = start;
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
        String::from_utf8(redact(Bytes::copy_from_slice(text.as_bytes()), &secrets).to_vec()).unwrap()
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
