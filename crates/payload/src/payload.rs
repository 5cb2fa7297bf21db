//! Request bodies, as far as they can be read.
//!
//! ```
//! use bytes::Bytes;
//! use grapnel_payload::{payload::Payload, reading::Reading};
//! use serde_json::json;
//!
//! let body = Bytes::from_static(b"user=ann&id=7");
//! let form = Payload::read(&Reading::default(), Some("application/x-www-form-urlencoded"), &body);
//! assert_eq!(form.value(), Some(&json!({ "user": "ann", "id": "7" })));
//! ```

use std::{fmt, sync::OnceLock};

use bytes::Bytes;
use grapnel_values::pointer::JsonPointer;
use serde_json::{Map, Value};

use super::{
    event_data::{Content, Data},
    json::{self, Found},
    lenient,
    limits::FORM_FIELDS,
    reading::{BodyKind, Reading},
};

/// A verified body as far as it can be read. The bytes themselves are stored and delivered as received.
#[derive(Clone)]
pub enum Payload {
    /// JSON.
    Json(JsonText),
    /// An HTML form as an object.
    Form(Fields),
    /// Anything else.
    Opaque,
}

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Json(_) => "Json",
            Self::Form(_) => "Form",
            Self::Opaque => "Opaque",
        })
    }
}

/// A well-formed JSON text, parsed into a [`Value`] on first use.
#[derive(Clone, Default)]
pub struct JsonText {
    text: Bytes,
    value: OnceLock<Value>,
    flaw: Option<String>,
}

impl JsonText {
    /// Wraps a value that has no text of its own.
    fn of(value: Value) -> Self {
        Self { value: OnceLock::from(value), ..Self::default() }
    }

    /// Whether nothing of the text can be read.
    fn is_unreadable(&self) -> bool {
        self.flaw.is_some() && self.text.is_empty()
    }

    fn value(&self) -> &Value {
        // The text has passed the same parser, so the default is never used.
        self.value.get_or_init(|| serde_json::from_slice(&self.text).unwrap_or_default())
    }

    /// Reads a text strictly, or else what can be read of it: at worst null. The flaw says what is not JSON.
    fn read(content_type: Option<&str>, body: &Bytes) -> Self {
        if body.is_empty() {
            return Self {
                flaw: Some("the body is empty, but a JSON value was expected".into()),
                ..Self::of(Value::Null)
            };
        }
        let text = body.slice_ref(lenient::without_bom(body));
        let Err(error) = json::check(&text) else { return Self { text, ..Self::default() } };
        let flaw = Some(format!("the body is not valid JSON: {error}"));
        match lenient::repair(content_type, body) {
            Some(text) => Self { text: text.into(), flaw, ..Self::default() },
            None => Self { flaw, ..Self::of(Value::Null) },
        }
    }
}

/// The fields of an HTML form as an object: a field is a string, a repeated field an array of strings.
#[derive(Clone)]
pub struct Fields {
    value: Value,
    flaw: Option<String>,
}

/// A request that cannot be understood although its signature is valid. The sentence says what is wrong and where, and
/// holds no value of the request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{sentence}")]
pub struct MalformedPayload {
    /// What is wrong.
    pub sentence: String,
}

impl MalformedPayload {
    /// Creates an error with this sentence.
    pub fn new(sentence: impl Into<String>) -> Self {
        Self { sentence: sentence.into() }
    }
}

impl Payload {
    /// Reads a verified body: by its content type, or as `reading` declares. Without a content type a body is JSON (the
    /// default for webhooks) if it can be read as JSON. The last of equal keys of a JSON object counts (RFC 8259, 4).
    ///
    /// No body is refused: what cannot be read is null, and [`Self::flaw`] says why.
    pub fn read(reading: &Reading, content_type: Option<&str>, body: &Bytes) -> Self {
        match reading.kind(content_type) {
            BodyKind::Json => Self::Json(JsonText::read(content_type, body)),
            BodyKind::Undeclared => match JsonText::read(content_type, body) {
                text if !body.is_empty() && text.is_unreadable() => Self::Opaque,
                text => Self::Json(text),
            },
            BodyKind::Form => form(body, reading.field.as_deref()),
            BodyKind::Opaque => Self::Opaque,
        }
    }

    /// Says why a body is not what its content type or its endpoint declares; `None` if it is.
    pub fn flaw(&self) -> Option<&str> {
        match self {
            Self::Json(text) => text.flaw.as_deref(),
            Self::Form(fields) => fields.flaw.as_deref(),
            Self::Opaque => None,
        }
    }

    /// Returns the payload of an event without a body: null.
    pub fn nothing() -> Self {
        Self::Json(JsonText::of(Value::Null))
    }

    /// Returns the payload of event data that is not the whole body.
    pub fn of(content: &Content<'_>) -> Self {
        match &content.data {
            Data::Nothing => Self::nothing(),
            Data::Json(json) => Self::Json(JsonText::read(None, &Bytes::copy_from_slice(json.as_bytes()))),
            Data::Text(text) => Self::of_plain(content, text.as_bytes()),
            Data::Bytes(bytes) => Self::of_plain(content, bytes),
        }
    }

    fn of_plain(content: &Content<'_>, data: &[u8]) -> Self {
        match BodyKind::of(content.content_type.as_deref()) {
            BodyKind::Form => form(data, None),
            BodyKind::Json | BodyKind::Undeclared | BodyKind::Opaque => Self::Opaque,
        }
    }

    /// Returns the body as a tree; `None` when it is opaque. JSON is parsed on the first call.
    pub fn value(&self) -> Option<&Value> {
        match self {
            Self::Json(text) => Some(text.value()),
            Self::Form(fields) => Some(&fields.value),
            Self::Opaque => None,
        }
    }

    /// Finds the value at a location; `None` when the payload is opaque. Does not build the tree if it does not exist
    /// yet.
    pub fn find(&self, pointer: &JsonPointer) -> Option<Found<'_>> {
        match self {
            Self::Json(text) => Some(match text.value.get() {
                Some(value) => json::find_in(value, pointer.tokens()),
                None => json::find(&text.text, pointer.tokens()),
            }),
            Self::Form(fields) => Some(json::find_in(&fields.value, pointer.tokens())),
            Self::Opaque => None,
        }
    }
}

/// Reads an HTML form, or the JSON in its field of that name.
fn form(body: &[u8], field: Option<&str>) -> Payload {
    let (value, complete) = fields(body);
    let flaw = (!complete).then(|| format!("the form has more than {FORM_FIELDS} fields"));
    let Some((name, Value::String(text))) = field.and_then(|name| Some((name, value.get(name)?))) else {
        return Payload::Form(Fields { value, flaw });
    };
    let text = JsonText::read(None, &Bytes::copy_from_slice(text.as_bytes()));
    let flaw = text.flaw.as_deref().map(|flaw| format!("field {name} of the form: {flaw}")).or(flaw);
    if text.is_unreadable() { Payload::Form(Fields { value, flaw }) } else { Payload::Json(JsonText { flaw, ..text }) }
}

/// Parses an HTML form into an object of its first [`FORM_FIELDS`] fields; returns whether these are all.
pub(super) fn fields(body: &[u8]) -> (Value, bool) {
    let mut fields = Map::new();
    for (number, (name, value)) in form_urlencoded::parse(body).enumerate() {
        if number == FORM_FIELDS {
            return (Value::Object(fields), false);
        }
        let value = Value::String(value.into_owned());
        match fields.get_mut(&*name) {
            None => {
                fields.insert(name.into_owned(), value);
            }
            Some(Value::Array(values)) => values.push(value),
            Some(first) => *first = Value::Array(vec![first.take(), value]),
        }
    }
    (Value::Object(fields), true)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::reading::BodyFormat;

    fn read(content_type: Option<&str>, body: impl Into<Bytes>) -> Payload {
        Payload::read(&Reading::default(), content_type, &body.into())
    }

    fn pointer(text: &str) -> JsonPointer {
        JsonPointer::parse(text).unwrap()
    }

    const FORM: Option<&str> = Some("application/x-www-form-urlencoded");

    #[test]
    fn a_body_without_content_type_is_json_if_it_can_be_read() {
        assert!(matches!(read(None, "{}"), Payload::Json(_)));
        assert!(matches!(read(None, "[1e999]"), Payload::Json(_)));
        assert_eq!(read(None, "").value(), Some(&Value::Null));
        assert!(matches!(read(None, "hello"), Payload::Opaque));
        assert!(matches!(read(Some("text/plain"), "{}"), Payload::Opaque));
    }

    #[test]
    fn a_flaw_says_what_is_not_json_and_where() {
        for (body, flaw) in [
            (&b""[..], "empty"),
            (b"   ", "line 1 column 3"),
            (b"{\"a\":1", "line 1 column 6"),
            (b"{\n  \"a\": nope\n}", "line 2 column"),
            (b"{\"a\":\"\xff\"}", "invalid unicode code point at line 1 column"),
            (b"{\"a\":\"\\ud800\"}", "line 1 column"),
            (b"{} {}", "trailing characters at line 1 column 4"),
            (b"1e999", "number out of range"),
        ] {
            let payload = read(Some("application/json"), body);
            assert!(payload.flaw().is_some_and(|found| found.contains(flaw)), "{:?}", payload.flaw());
        }
        for deep in ["[".repeat(100_000), "{\"a\":".repeat(100_000), "[".repeat(100_000) + &"]".repeat(100_000)] {
            let payload = read(Some("application/json"), deep);
            assert!(
                payload.flaw().is_some_and(|flaw| flaw.contains("recursion limit exceeded")),
                "{:?}",
                payload.flaw()
            );
        }
        assert_eq!(read(None, "{}").flaw(), None);
        assert_eq!(read(None, &b"\xef\xbb\xbf{}"[..]).flaw(), None, "a byte order mark may be ignored");
    }

    #[test]
    fn flawed_json_is_seen_as_far_as_possible() {
        let payload = read(Some("application/json"), r#"{"id":"x","t":"\ud800","n":1e999}"#);
        assert_eq!(payload.find(&pointer("/id")), Some(Found::Text("x".into())));
        assert_eq!(payload.value(), Some(&json!({ "id": "x", "t": "\u{fffd}", "n": null })));
        let broken = read(Some("application/json"), r#"{"id":"x""#);
        assert_eq!(broken.find(&pointer("/id")), Some(Found::Nothing));
        assert_eq!(broken.value(), Some(&Value::Null));
    }

    #[test]
    fn of_equal_keys_the_last_counts() {
        let payload = read(None, r#"{"a":1,"b":2,"a":3}"#);
        assert_eq!(payload.find(&pointer("/a")), Some(Found::Text("3".into())), "before the tree is built");
        assert_eq!(payload.value(), Some(&json!({ "a": 3, "b": 2 })));
        assert_eq!(payload.find(&pointer("/a")), Some(Found::Text("3".into())), "and after");
    }

    #[test]
    fn forms_are_objects() {
        let payload = read(FORM, "a=1&b=x+y&a=2&c=&a=%C3%A9&payload=%7B%22a%22%3A1%7D");
        let expected = json!({ "a": ["1", "2", "é"], "b": "x y", "c": "", "payload": "{\"a\":1}" });
        assert_eq!(payload.value(), Some(&expected));
        assert_eq!(read(FORM, "").value(), Some(&json!({})));
        assert_eq!(read(FORM, "a=1&".repeat(FORM_FIELDS)).flaw(), None);
        let long = read(FORM, "a=1&".repeat(FORM_FIELDS + 1));
        assert!(long.flaw().is_some() && long.value().is_some_and(|value| value["a"].as_array().is_some()));
        assert_eq!(read(FORM, "%ff=%zz&=&&==").flaw(), None);
    }

    #[test]
    fn the_json_in_a_field_is_the_payload() {
        let reading = Reading { format: BodyFormat::Auto, field: Some("payload".into()) };
        let read = |body: &'static str| Payload::read(&reading, FORM, &Bytes::from(body));
        let interaction = read("payload=%7B%22type%22%3A%22block_actions%22%7D&x=1");
        assert_eq!(interaction.find(&pointer("/type")), Some(Found::Text("block_actions".into())));
        assert_eq!(interaction.flaw(), None);
        assert_eq!(
            read("command=%2Fdeploy").value(),
            Some(&json!({ "command": "/deploy" })),
            "a form without the field"
        );
        let broken = read("payload=%7B&x=1");
        assert_eq!(broken.value(), Some(&json!({ "payload": "{", "x": "1" })));
        assert!(
            broken.flaw().is_some_and(|flaw| flaw.starts_with("field payload of the form: ")),
            "{:?}",
            broken.flaw()
        );
        let json = Payload::read(&reading, Some("application/json"), &Bytes::from_static(b"{\"payload\":\"{}\"}"));
        assert_eq!(json.value(), Some(&json!({ "payload": "{}" })), "fields belong to forms");
    }

    proptest! {
        #[test]
        fn no_body_panics(
            content_type in proptest::option::of("[a-z/+;= ]{0,20}|application/x-www-form-urlencoded"),
            body in proptest::collection::vec(any::<u8>(), 0..200),
        ) {
            let payload = read(content_type.as_deref(), body.clone());
            if let (Payload::Json(_), None) = (&payload, payload.flaw()) {
                let expected: Value = serde_json::from_slice(lenient::without_bom(&body)).unwrap();
                prop_assert_eq!(payload.value(), Some(&expected));
            }
        }
    }
}
