//! Payloads for people: bounded, indented if they are JSON, and never interpreted by the browser.

use serde::de::IgnoredAny;

use crate::admin::{
    events::is_json,
    limits::{CONSOLE_PAYLOAD_BYTES, CONSOLE_PRETTY_BYTES},
};

/// What a page shows of a body.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Excerpt {
    /// The text; `None` for bytes that are not text.
    pub(super) text: Option<String>,
    /// Whether it is indented, so that it differs from what was received.
    pub(super) is_indented: bool,
    /// Whether the end is missing.
    pub(super) is_cut: bool,
}

/// The start of a body, as received or indented.
pub(super) fn excerpt(body: &[u8], content_type: Option<&str>, as_received: bool) -> Excerpt {
    excerpt_of(body, content_type, as_received, CONSOLE_PAYLOAD_BYTES)
}

/// About the first `limit` bytes of a body, indented if it is JSON.
pub(super) fn start(body: &[u8], content_type: Option<&str>, limit: usize) -> Excerpt {
    excerpt_of(body, content_type, false, limit)
}

fn excerpt_of(body: &[u8], content_type: Option<&str>, as_received: bool, limit: usize) -> Excerpt {
    if !as_received
        && body.len() <= CONSOLE_PRETTY_BYTES
        && is_json(content_type)
        && serde_json::from_slice::<IgnoredAny>(body).is_ok()
        && let Ok(text) = std::str::from_utf8(body)
    {
        let (text, is_cut) = indent(text, limit);
        return Excerpt { text: Some(text), is_indented: true, is_cut };
    }
    let start = body.get(..limit).unwrap_or(body);
    let is_cut = start.len() < body.len();
    let text = match std::str::from_utf8(start) {
        Ok(text) => Some(text.to_owned()),
        // The bound may split a character.
        Err(error) if is_cut && error.error_len().is_none() => {
            start.get(..error.valid_up_to()).and_then(|whole| std::str::from_utf8(whole).ok()).map(str::to_owned)
        }
        Err(_) => None,
    };
    Excerpt { text, is_indented: false, is_cut }
}

/// Indents valid JSON without parsing it, so that numbers, the order of keys and duplicate keys stay as received. Returns
/// at most about `limit` bytes, and whether there is more.
pub(super) fn indent(json: &str, limit: usize) -> (String, bool) {
    let mut out = String::with_capacity(json.len().min(limit).saturating_add(64));
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    let mut marks = json.chars().peekable();
    let new_line = |out: &mut String, depth: usize| {
        out.push('\n');
        // The bound holds for indentation too.
        out.extend(std::iter::repeat_n("  ", depth.min(limit.saturating_sub(out.len()) / 2)));
    };
    while let Some(mark) = marks.next() {
        if out.len() >= limit {
            return (out, true);
        }
        if in_string {
            out.push(mark);
            (in_string, escaped) = (escaped || mark != '"', !escaped && mark == '\\');
            continue;
        }
        match mark {
            ' ' | '\t' | '\n' | '\r' => {}
            '"' => {
                in_string = true;
                out.push(mark);
            }
            '{' | '[' => {
                out.push(mark);
                while marks.next_if(|next| next.is_ascii_whitespace()).is_some() {}
                match marks.next_if(|next| matches!(next, '}' | ']')) {
                    Some(end) => out.push(end),
                    None => {
                        depth += 1;
                        new_line(&mut out, depth);
                    }
                }
            }
            '}' | ']' => {
                depth = depth.saturating_sub(1);
                new_line(&mut out, depth);
                out.push(mark);
            }
            ',' => {
                out.push(mark);
                new_line(&mut out, depth);
            }
            ':' => out.push_str(": "),
            _ => out.push(mark),
        }
    }
    (out, false)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    #[test]
    fn json_is_indented_and_otherwise_kept() {
        let text = r#"{"b":1.00,"a":[ ],"a":{"x":"{\"[,:\\"},"n":12345678901234567890123,"l":[1,[2]]}"#;
        let shown = "{\n  \"b\": 1.00,\n  \"a\": [],\n  \"a\": {\n    \"x\": \"{\\\"[,:\\\\\"\n  },\n  \
                     \"n\": 12345678901234567890123,\n  \"l\": [\n    1,\n    [\n      2\n    ]\n  ]\n}";
        let excerpt = excerpt(text.as_bytes(), None, false);
        assert_eq!(excerpt, Excerpt { text: Some(shown.into()), is_indented: true, is_cut: false });
    }

    #[test]
    fn what_is_not_json_is_shown_as_received() {
        let shown = |body: &[u8], content_type, as_received| {
            let Excerpt { text, is_indented, is_cut } = excerpt(body, content_type, as_received);
            assert!(!is_indented && !is_cut);
            text
        };
        assert_eq!(shown(b"{", None, false).as_deref(), Some("{"));
        assert_eq!(shown(b"[1]", Some("text/plain"), false).as_deref(), Some("[1]"));
        assert_eq!(shown(b"[1]", None, true).as_deref(), Some("[1]"));
        assert_eq!(shown(b"\x89PNG\xff", Some("image/png"), false), None);
    }

    #[test]
    fn an_excerpt_is_bounded() {
        let line = "x".repeat(1 << 20);
        let long = excerpt(line.as_bytes(), None, false);
        assert!(long.is_cut && long.text.unwrap().len() == CONSOLE_PAYLOAD_BYTES);
        let characters = "é".repeat(CONSOLE_PAYLOAD_BYTES);
        let split = excerpt(format!("x{characters}").as_bytes(), None, false);
        assert_eq!(split.text.unwrap().len(), CONSOLE_PAYLOAD_BYTES - 1);
        // So deep that indentation is most of it.
        let deep = "[".repeat(100_000) + &"]".repeat(100_000);
        let indented = excerpt(deep.as_bytes(), None, false);
        let length = indented.text.unwrap().len();
        assert!(indented.is_indented && indented.is_cut && length < CONSOLE_PAYLOAD_BYTES + 8, "{length}");
    }

    proptest! {
        #[test]
        fn whatever_is_received_has_a_bounded_excerpt(body in any::<Vec<u8>>(), text in ".*", limit in 0..64_usize) {
            prop_assert!(indent(&text, limit).0.len() < limit + 8);
            for body in [&*body, text.as_bytes()] {
                let Excerpt { text, is_indented, is_cut } = excerpt(body, None, false);
                prop_assert!(!is_cut);
                if let Some(text) = text.filter(|_| !is_indented) {
                    prop_assert_eq!(text.as_bytes(), body);
                }
            }
        }

        #[test]
        fn an_indented_document_says_the_same(text in any::<Vec<(String, i32)>>()) {
            let value = Value::Object(text.into_iter().map(|(key, n)| (key.clone(), serde_json::json!([n, key, {}]))).collect());
            let (indented, is_cut) = indent(&value.to_string(), usize::MAX);
            prop_assert!(!is_cut);
            prop_assert_eq!(serde_json::from_str::<Value>(&indented).unwrap(), value);
        }
    }
}
