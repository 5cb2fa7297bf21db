//! JSON text that becomes a tree when it is needed.

use std::sync::OnceLock;

use bytes::Bytes;
use grapnel_values::pointer::JsonPointer;
use serde_json::Value;

use super::{
    event_data::Data,
    json::{self, FoundValue},
    lenient,
};

/// When a text is parsed into a tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Parse {
    /// When it is read, in the same pass that checks it.
    Now,
    /// When the tree is needed, if ever. Reading only checks the text.
    WhenNeeded,
}

/// A well-formed JSON text, parsed into a [`Value`] on first use.
#[derive(Clone, Default)]
pub struct JsonText {
    /// The bytes that it was read from, or what stands for them.
    source: Bytes,
    /// The strict text, which may be a repaired one. Empty if nothing can be read.
    text: Bytes,
    value: OnceLock<Value>,
    flaw: Option<String>,
}

impl JsonText {
    /// Null, without a text.
    pub(super) fn null() -> Self {
        Self { value: OnceLock::from(Value::Null), ..Self::default() }
    }

    /// Reads a text strictly, or else what can be read of it: at worst null. The flaw says what is not JSON.
    pub(super) fn read(parse: Parse, content_type: Option<&str>, source: &Bytes) -> Self {
        if source.is_empty() {
            return Self { flaw: Some("the body is empty, but a JSON value was expected".into()), ..Self::null() };
        }
        let text = source.slice_ref(lenient::without_bom(source));
        let read = Self { source: source.clone(), ..Self::default() };
        let error = match strict(parse, &text) {
            Ok(value) => return Self { text, value, ..read },
            Err(error) => error,
        };
        let flaw = Some(flaw(content_type, &error));
        match lenient::repair(content_type, source) {
            Some(text) => Self { text: text.into(), flaw, ..read },
            None => Self { value: OnceLock::from(Value::Null), flaw, ..read },
        }
    }

    /// The same text, with another flaw.
    pub(super) fn with_flaw(self, flaw: Option<String>) -> Self {
        Self { flaw, ..self }
    }

    /// The same text, with its repaired form as the source if the source is not JSON. For text that is not a body, and
    /// so is not passed on as received.
    pub(super) fn with_json_source(self) -> Self {
        if self.flaw.is_none() || matches!(Data::json(&self.source), Data::Json(_)) {
            return self;
        }
        Self { source: self.text.clone(), ..self }
    }

    /// The bytes that it was read from.
    pub(super) fn source(&self) -> &[u8] {
        &self.source
    }

    /// Why the text is not JSON; `None` if it is.
    pub(super) fn flaw(&self) -> Option<&str> {
        self.flaw.as_deref()
    }

    /// Whether nothing of the text can be read.
    pub(super) fn is_unreadable(&self) -> bool {
        self.flaw.is_some() && self.text.is_empty()
    }

    pub(super) fn value(&self) -> &Value {
        // The text has passed the same parser, so the default is never used.
        self.value.get_or_init(|| serde_json::from_slice(&self.text).unwrap_or_default())
    }

    pub(super) fn parsed(&self) -> Option<&Value> {
        self.value.get()
    }

    /// Finds the value at a location, in the tree if there is one and otherwise in the text.
    pub(super) fn find(&self, pointer: &JsonPointer) -> FoundValue<'_> {
        match self.value.get() {
            Some(value) => json::find_in(value, pointer.tokens()),
            None => json::find(&self.text, pointer.tokens()),
        }
    }

    /// The text without the blanks around it (RFC 8259, 2), if it is strict JSON as received.
    pub fn strict(&self) -> Option<&str> {
        let strict = self.flaw.is_none().then(|| std::str::from_utf8(&self.text).ok()).flatten();
        strict.map(|text| text.trim_matches([' ', '\t', '\n', '\r'])).filter(|text| !text.is_empty())
    }
}

/// Says why the strict parser refuses a text. Some of what it refuses is JSON, or text in another charset.
fn flaw(content_type: Option<&str>, error: &serde_json::Error) -> String {
    let (text, place) = (error.to_string(), format!("at line {} column {}", error.line(), error.column()));
    let charset = content_type.and_then(lenient::charset).filter(|name| !name.eq_ignore_ascii_case("utf-8"));
    let what = match (text.as_str(), charset) {
        (text, _) if text.starts_with("number out of range") => format!("the number {place} is beyond a double"),
        (text, _) if text.starts_with("recursion limit") => {
            format!("it is nested too deeply, more than 127 levels, {place}")
        }
        (text, _) if text.starts_with("lone leading surrogate") || text.starts_with("unexpected end of hex escape") => {
            format!("the escape {place} is half of a surrogate pair, and no character")
        }
        (text, Some(charset)) if text.starts_with("invalid unicode code point") => {
            format!("it is in {charset}, and is expected in UTF-8")
        }
        (text, None) if text.starts_with("invalid unicode code point") => format!("it is not UTF-8 {place}"),
        _ => return format!("the body is not valid JSON: {text}"),
    };
    format!("the body cannot be read as JSON: {what}")
}

/// Checks a text, and parses it if that is to happen now.
fn strict(parse: Parse, text: &[u8]) -> Result<OnceLock<Value>, serde_json::Error> {
    match parse {
        Parse::Now => serde_json::from_slice::<Value>(text).map(OnceLock::from),
        Parse::WhenNeeded => json::check(text).map(|()| OnceLock::new()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a schema cannot read is not always bad JSON.
    #[test]
    fn flaws_say_what_is_wrong() {
        let deep = "[".repeat(200) + &"]".repeat(200);
        let of = |content_type, body: &[u8]| {
            let text = JsonText::read(Parse::WhenNeeded, content_type, &Bytes::copy_from_slice(body));
            let now = JsonText::read(Parse::Now, content_type, &Bytes::copy_from_slice(body));
            assert_eq!(text.flaw(), now.flaw());
            text.flaw().unwrap().to_owned()
        };
        let read = |what: &str| format!("the body cannot be read as JSON: {what}");
        assert_eq!(of(None, b"{\"n\":1e400}"), read("the number at line 1 column 10 is beyond a double"));
        assert_eq!(
            of(None, deep.as_bytes()),
            read("it is nested too deeply, more than 127 levels, at line 1 column 128")
        );
        for body in ["{\"a\":\"\\ud83d\"}", "{\"a\":\"\\ud83dx\"}", "{\"a\":\"\\ud83d\\u0041\"}"] {
            let flaw = of(None, body.as_bytes());
            assert!(flaw.ends_with("is half of a surrogate pair, and no character"), "{body}: {flaw}");
        }
        assert_eq!(
            of(Some("application/json; charset=ISO-8859-1"), b"{\"a\":\"\xe9\"}"),
            read("it is in ISO-8859-1, and is expected in UTF-8")
        );
        assert_eq!(of(None, b"{\"a\":\"\xe9\"}"), read("it is not UTF-8 at line 1 column 7"));
        assert_eq!(of(None, b"{"), "the body is not valid JSON: EOF while parsing an object at line 1 column 1");
    }
}
