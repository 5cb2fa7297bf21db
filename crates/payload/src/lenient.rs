//! JSON that strict parsers refuse but people can read: what senders really send.
//!
//! RFC 8259 allows a parser to ignore a byte order mark (section 8.1), and its grammar allows unpaired surrogates
//! (section 8.2), numbers of any size (section 6) and any depth (section 9). Bodies in other charsets and raw control
//! characters in strings are not JSON, but what they mean is clear.
//!
//! ```
//! use grapnel_payload::lenient::{repair, without_bom};
//!
//! assert_eq!(without_bom(b"\xef\xbb\xbf{}"), b"{}");
//! // Latin-1, as the content type says.
//! let repaired = repair(Some("application/json; charset=iso-8859-1"), b"[\"caf\xe9\"]");
//! assert_eq!(repaired.as_deref(), Some("[\"caf\u{e9}\"]"));
//! ```

use std::borrow::Cow;

use encoding_rs::{Encoding, UTF_8};

use crate::{json, limits::JSON_DEPTH};

const BOM: &[u8] = b"\xef\xbb\xbf";

/// Returns a body without the byte order mark of UTF-8.
pub fn without_bom(body: &[u8]) -> &[u8] {
    body.strip_prefix(BOM).unwrap_or(body)
}

/// Rewrites a body to strict JSON: in UTF-8, with U+FFFD for what is no character, and null for numbers beyond a double
/// and for values nested deeper than [`JSON_DEPTH`]. Returns `None` for a text that is not JSON even so.
pub fn repair(content_type: Option<&str>, body: &[u8]) -> Option<String> {
    let text = decode(content_type, body);
    let mut repaired = Repair { text: &text, written: String::with_capacity(text.len()), depth: 0 };
    repaired.run();
    json::check(repaired.written.as_bytes()).ok().map(|()| repaired.written)
}

/// Decodes a body: by its byte order mark, as UTF-8 if it is, and otherwise by the charset of its content type. A text
/// with NUL or ESC may be UTF-8, but UTF-16 and ISO-2022 look like that too.
fn decode<'a>(content_type: Option<&str>, body: &'a [u8]) -> Cow<'a, str> {
    let encoding = content_type.and_then(charset).and_then(|label| Encoding::for_label(label.as_bytes()));
    if Encoding::for_bom(body).is_none()
        && let Ok(text) = std::str::from_utf8(body)
        && (encoding.is_none() || !text.contains(['\0', '\u{1b}']))
    {
        return Cow::Borrowed(text);
    }
    encoding.unwrap_or(UTF_8).decode(body).0
}

/// Returns the charset that a content type names.
pub(super) fn charset(content_type: &str) -> Option<&str> {
    content_type.split(';').skip(1).find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        name.trim().eq_ignore_ascii_case("charset").then(|| value.trim().trim_matches('"'))
    })
}

/// One pass over a text, token by token.
struct Repair<'a> {
    /// What has not been read yet.
    text: &'a str,
    written: String,
    /// Arrays and objects that are open.
    depth: usize,
}

impl<'a> Repair<'a> {
    fn run(&mut self) {
        while let Some(first) = self.text.chars().next() {
            match first {
                '"' => self.string(),
                '[' | '{' => self.open(first),
                ']' | '}' => self.close(first),
                '-' | '0'..='9' => self.number(),
                other => {
                    self.take(other.len_utf8());
                    self.write(other.encode_utf8(&mut [0; 4]));
                }
            }
        }
    }

    /// Removes and returns the next `bytes`; the position is a boundary of characters.
    fn take(&mut self, bytes: usize) -> &'a str {
        let (taken, rest) = self.text.split_at_checked(bytes).unwrap_or((self.text, ""));
        self.text = rest;
        taken
    }

    /// Writes a token, unless it is part of a value that is nested too deeply.
    fn write(&mut self, token: &str) {
        if self.depth <= JSON_DEPTH {
            self.written.push_str(token);
        }
    }

    fn open(&mut self, bracket: char) {
        self.take(1);
        self.depth += 1;
        match self.depth.checked_sub(JSON_DEPTH) {
            None | Some(0) => self.written.push(bracket),
            Some(1) => self.written.push_str("null"),
            Some(_) => {}
        }
    }

    fn close(&mut self, bracket: char) {
        self.take(1);
        self.write(bracket.encode_utf8(&mut [0; 4]));
        self.depth = self.depth.saturating_sub(1);
    }

    fn number(&mut self) {
        let end = self.text.find(|c: char| !c.is_ascii_digit() && !"+-.eE".contains(c)).unwrap_or(self.text.len());
        let number = self.take(end);
        self.write(if number.parse::<f64>().is_ok_and(f64::is_infinite) { "null" } else { number });
    }

    /// A string up to its closing quotation mark, or up to the end of the text.
    fn string(&mut self) {
        let opening = self.take(1);
        self.write(opening);
        loop {
            let plain = self.text.find(|c: char| c < ' ' || c == '"' || c == '\\').unwrap_or(self.text.len());
            let plain = self.take(plain);
            self.write(plain);
            match self.text.chars().next() {
                None => return,
                Some('"') => {
                    let closing = self.take(1);
                    return self.write(closing);
                }
                Some('\\') => self.escape(),
                Some(control) => {
                    self.take(control.len_utf8());
                    self.write(&format!("\\u{:04x}", u32::from(control)));
                }
            }
        }
    }

    fn escape(&mut self) {
        let Some(unit) = unit(self.text) else {
            // Two bytes, or what follows the backslash as a whole.
            let escape = self.text.chars().take(2).map(char::len_utf8).sum();
            let escape = self.take(escape);
            return self.write(escape);
        };
        let escape = self.take(6);
        match unit {
            0xd800..=0xdbff if unit_of_low(self.text) => {
                self.write(escape);
                let low = self.take(6);
                self.write(low);
            }
            0xd800..=0xdfff => self.write("\\ufffd"),
            _ => self.write(escape),
        }
    }
}

/// Returns the UTF-16 code unit of an escape such as `\ud83d` at the start of a text.
fn unit(text: &str) -> Option<u16> {
    let digits = text.strip_prefix("\\u")?.get(..4)?;
    digits.bytes().all(|digit| digit.is_ascii_hexdigit()).then(|| u16::from_str_radix(digits, 16).ok()).flatten()
}

fn unit_of_low(text: &str) -> bool {
    unit(text).is_some_and(|unit| (0xdc00..=0xdfff).contains(&unit))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn value(content_type: Option<&str>, body: &[u8]) -> Option<Value> {
        repair(content_type, body).map(|text| serde_json::from_str(&text).unwrap())
    }

    #[test]
    fn as_much_as_can_be_read() {
        for (body, expected) in [
            (&b"\xef\xbb\xbf{\"a\":1}"[..], json!({ "a": 1 })),
            (
                br#"{"a":"\ud83d","b":"\ud83d\ude00","\udc00":"x\ud83dy"}"#,
                json!({ "a": "\u{fffd}", "b": "😀", "\u{fffd}": "x\u{fffd}y" }),
            ),
            (br#"{"a":1e999,"b":-1e999,"c":[1e308,2]}"#, json!({ "a": null, "b": null, "c": [1e308, 2] })),
            (b"{\"a\":\"x\ty\nz\"}", json!({ "a": "x\ty\nz" })),
            (b"{\"a\":\"caf\xe9\"}", json!({ "a": "caf\u{fffd}" })),
            (br#"{"a":"\\\"\u0041\/"}"#, json!({ "a": "\\\"A/" })),
        ] {
            assert_eq!(value(None, body), Some(expected), "{}", String::from_utf8_lossy(body));
        }
        let digits = format!("[{}]", "9".repeat(400));
        assert_eq!(value(None, digits.as_bytes()), Some(json!([null])));
    }

    #[test]
    fn charsets_are_decoded() {
        assert_eq!(value(Some("application/json; charset=iso-8859-1"), b"[\"caf\xe9\"]"), Some(json!(["café"])));
        assert_eq!(value(Some("application/json;Charset=\"Windows-1252\""), b"[\"\x80\"]"), Some(json!(["€"])));
        assert_eq!(
            value(Some("application/json; charset=latin1"), "[\"é\"]".as_bytes()),
            Some(json!(["é"])),
            "UTF-8 is kept"
        );
        let utf16 = |text: &str| text.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<_>>();
        assert_eq!(value(None, &utf16("\u{feff}[\"é\"]")), Some(json!(["é"])));
        assert_eq!(value(Some("application/json; charset=utf-16le"), &utf16("[\"é\"]")), Some(json!(["é"])));
        assert_eq!(value(Some("application/json; charset=utf-16le"), &utf16("[\"e\"]")), Some(json!(["e"])));
        assert_eq!(value(Some("application/json; charset=iso-2022-jp"), b"[\"\x1b$B$\"\x1b(B\"]"), Some(json!(["あ"])));
    }

    #[test]
    fn what_is_nested_too_deeply_is_null() {
        let nested = |depth: usize| format!("{{\"a\":7,\"b\":{}1{}}}", "[".repeat(depth), "]".repeat(depth));
        let found = value(None, nested(100_000).as_bytes()).unwrap();
        assert_eq!(found["a"], json!(7));
        let mut deepest = &found["b"];
        let mut depth = 1;
        while let Some(inner) = deepest.get(0) {
            (deepest, depth) = (inner, depth + 1);
        }
        assert_eq!((deepest, depth), (&Value::Null, JSON_DEPTH));
        let allowed = nested(JSON_DEPTH - 1);
        assert_eq!(repair(None, allowed.as_bytes()).unwrap(), allowed);
    }

    #[test]
    fn what_is_not_json_stays_so() {
        for body in
            ["", "hello", "{\"a\":1", "{\"a\":nope}", "{} {}", "]", "\"open", "\"\\", "\"\\u12", "\"\\é\"", "-", "01"]
        {
            assert_eq!(repair(None, body.as_bytes()), None, "{body}");
        }
    }

    proptest! {
        #[test]
        fn strict_json_is_not_changed(text in r#"(\[("[a-z]{0,3}(\\\\|\\u00e9|\\ud83d\\ude00)?"|-?[1-9][0-9]{0,30}(\.5)?(e-?[1-9])?|null|true),"é"\])"#) {
            prop_assume!(json::check(text.as_bytes()).is_ok());
            prop_assert_eq!(repair(None, text.as_bytes()), Some(text));
        }

        #[test]
        fn nothing_panics(body in proptest::collection::vec(any::<u8>(), 0..200), charset in "[a-z0-9-]{0,12}") {
            let _ = repair(Some(&format!("a/b; charset={charset}")), &body);
        }

        #[test]
        fn nothing_panics_on_nearly_valid_texts(
            text in r#"([\[\]{},: ]|"[a\\"é\t]{0,3}"|\\u[dD][89c][0-9]{2}|1e400|-0|0[0-9]|null|true|[0-9.eE+-]{1,4}){0,12}"#
        ) {
            let repaired = repair(None, text.as_bytes());
            prop_assert!(repaired.is_some() || json::check(text.as_bytes()).is_err(), "{}", text);
        }
    }
}
