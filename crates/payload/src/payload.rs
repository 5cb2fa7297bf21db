//! Request bodies by content type.

use std::{fmt, sync::OnceLock};

use bytes::Bytes;
use grapnel_values::pointer::JsonPointer;
use serde_json::{Map, Value};

use super::{
    event_data::{Content, Data},
    json::{self, Found},
    limits::FORM_FIELDS,
};

/// A verified body, by content type.
#[derive(Clone)]
pub enum Payload {
    /// Well-formed JSON.
    Json(JsonText),
    /// An HTML form as an object: a field is a string, a repeated field an array of strings.
    Form(Value),
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
#[derive(Clone)]
pub struct JsonText {
    text: Bytes,
    value: OnceLock<Value>,
}

impl JsonText {
    /// Wraps a value that has no text of its own.
    fn of(value: Value) -> Self {
        Self { text: Bytes::new(), value: OnceLock::from(value) }
    }

    fn value(&self) -> &Value {
        // The text has passed the same parser, so the default is never used.
        self.value.get_or_init(|| serde_json::from_slice(&self.text).unwrap_or_default())
    }
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
    /// Parses a verified body. `application/json`, `text/json`, every `…+json` and an absent content type are JSON (the
    /// default for webhooks), `application/x-www-form-urlencoded` is a form, and everything else is opaque. The last of
    /// equal keys of a JSON object counts (RFC 8259, 4).
    ///
    /// # Errors
    ///
    /// [`MalformedPayload`] when the body does not match its content type.
    pub fn parse(content_type: Option<&str>, body: &Bytes) -> Result<Self, MalformedPayload> {
        match Kind::of(content_type) {
            Kind::Json if body.is_empty() => {
                Err(MalformedPayload::new("the body is empty, but a JSON value was expected"))
            }
            Kind::Json => match json::check(body) {
                Ok(()) => Ok(Self::Json(JsonText { text: body.clone(), value: OnceLock::new() })),
                Err(error) => Err(MalformedPayload::new(format!("the body is not valid JSON: {error}"))),
            },
            Kind::Form => form(body).map(Self::Form),
            Kind::Opaque => Ok(Self::Opaque),
        }
    }

    /// Returns the payload of an event without a body: null.
    pub fn nothing() -> Self {
        Self::Json(JsonText::of(Value::Null))
    }

    /// Returns the payload of event data that is not the whole body.
    pub fn of(content: &Content<'_>) -> Self {
        if let Some(fields) = content.form() {
            return Self::Form(fields);
        }
        match &content.data {
            Data::Nothing => Self::nothing(),
            Data::Json(json) => match serde_json::from_str(json) {
                Ok(value) => Self::Json(JsonText::of(value)),
                Err(_) => Self::Opaque,
            },
            Data::Text(_) | Data::Bytes(_) => Self::Opaque,
        }
    }

    /// Returns the body as a tree; `None` when it is opaque. JSON is parsed on the first call.
    pub fn value(&self) -> Option<&Value> {
        match self {
            Self::Json(text) => Some(text.value()),
            Self::Form(value) => Some(value),
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
            Self::Form(value) => Some(json::find_in(value, pointer.tokens())),
            Self::Opaque => None,
        }
    }
}

/// The kind of body that a content type names.
pub enum Kind {
    /// JSON.
    Json,
    /// An HTML form.
    Form,
    /// Anything else.
    Opaque,
}

impl Kind {
    /// Returns the kind for a content type.
    pub fn of(content_type: Option<&str>) -> Self {
        let essence = content_type.unwrap_or_default();
        let essence = essence.split_once(';').map_or(essence, |(essence, _)| essence).trim();
        let suffix = essence.len().checked_sub("+json".len()).and_then(|at| essence.get(at..));
        if essence.is_empty()
            || ["application/json", "text/json"].iter().any(|json| essence.eq_ignore_ascii_case(json))
            || suffix.is_some_and(|suffix| suffix.eq_ignore_ascii_case("+json"))
        {
            Self::Json
        } else if essence.eq_ignore_ascii_case("application/x-www-form-urlencoded") {
            Self::Form
        } else {
            Self::Opaque
        }
    }
}

/// Parses an HTML form into an object of its fields.
pub fn form(body: &[u8]) -> Result<Value, MalformedPayload> {
    let mut fields = Map::new();
    for (number, (name, value)) in form_urlencoded::parse(body).enumerate() {
        if number == FORM_FIELDS {
            return Err(MalformedPayload::new(format!("the form has more than {FORM_FIELDS} fields")));
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
    Ok(Value::Object(fields))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn parse(content_type: Option<&str>, body: impl Into<Bytes>) -> Result<Payload, MalformedPayload> {
        Payload::parse(content_type, &body.into())
    }

    #[test]
    fn the_content_type_decides() {
        for json in [
            None,
            Some(""),
            Some("application/json"),
            Some("Application/JSON; charset=utf-8"),
            Some("text/json"),
            Some("application/cloudevents+json"),
            Some("application/vnd.api+JSON;v=1"),
        ] {
            assert!(matches!(parse(json, "{}"), Ok(Payload::Json(_))), "{json:?}");
            assert!(parse(json, "no").is_err(), "{json:?}");
        }
        let form = Some("application/x-www-form-urlencoded; charset=UTF-8");
        assert!(matches!(parse(form, "a=1"), Ok(Payload::Form(_))));
        for other in ["text/plain", "application/xml", "multipart/form-data; boundary=x", "é", "json", "+js"] {
            assert!(matches!(parse(Some(other), "{"), Ok(Payload::Opaque)), "{other}");
        }
        assert!(parse(Some("text/plain"), "x").unwrap().value().is_none());
    }

    #[test]
    fn what_is_not_json_says_where() {
        for (body, sentence) in [
            (&b""[..], "empty"),
            (b"   ", "line 1 column 3"),
            (b"{\"a\":1", "line 1 column 6"),
            (b"{\n  \"a\": nope\n}", "line 2 column"),
            (b"{\"a\":\"\xff\"}", "invalid unicode code point at line 1 column"),
            (b"{\"a\":\"\\ud800\"}", "line 1 column"),
            (b"{} {}", "trailing characters at line 1 column 4"),
            (b"\xef\xbb\xbf{}", "line 1 column 1"),
            (b"1e999", "number out of range"),
        ] {
            let error = parse(None, body).unwrap_err();
            assert!(error.sentence.contains(sentence), "{error}");
        }
        for deep in ["[".repeat(100_000), "{\"a\":".repeat(100_000), "[".repeat(100_000) + &"]".repeat(100_000)] {
            let error = parse(None, deep).unwrap_err();
            assert!(error.sentence.contains("recursion limit exceeded"), "{error}");
        }
    }

    #[test]
    fn of_equal_keys_the_last_counts() {
        let payload = parse(None, r#"{"a":1,"b":2,"a":3}"#).unwrap();
        let pointer = JsonPointer::parse("/a").unwrap();
        assert_eq!(payload.find(&pointer), Some(Found::Text("3".into())), "before the tree is built");
        assert_eq!(payload.value(), Some(&json!({ "a": 3, "b": 2 })));
        assert_eq!(payload.find(&pointer), Some(Found::Text("3".into())), "and after");
    }

    #[test]
    fn forms_are_objects() {
        let form = |body: &str| parse(Some("application/x-www-form-urlencoded"), body.to_owned());
        let payload = form("a=1&b=x+y&a=2&c=&a=%C3%A9&payload=%7B%22a%22%3A1%7D").unwrap();
        let expected = json!({ "a": ["1", "2", "é"], "b": "x y", "c": "", "payload": "{\"a\":1}" });
        assert_eq!(payload.value(), Some(&expected));
        assert_eq!(form("").unwrap().value(), Some(&json!({})));
        assert!(form(&"a=1&".repeat(FORM_FIELDS)).is_ok());
        assert!(form(&"a=1&".repeat(FORM_FIELDS + 1)).is_err());
        assert!(form("%ff=%zz&=&&==").is_ok());
    }

    proptest! {
        #[test]
        fn no_body_panics(
            content_type in proptest::option::of("[a-z/+;= ]{0,20}|application/x-www-form-urlencoded"),
            body in proptest::collection::vec(any::<u8>(), 0..200),
        ) {
            if let Ok(payload) = parse(content_type.as_deref(), body.clone())
                && let Payload::Json(_) = payload
            {
                let expected: Value = serde_json::from_slice(&body).unwrap();
                prop_assert_eq!(payload.value(), Some(&expected));
            }
        }
    }
}
