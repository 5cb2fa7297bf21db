//! The payload of an event: its data as a tree, as far as it can be read.
//!
//! This is the only reader of data. A request is read when it arrives, and the stored event again when it is delivered:
//! both times from the same bytes by the same rules, so that schemas, sources and expressions see the same.
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

use std::{borrow::Cow, fmt};

use bytes::Bytes;
use grapnel_expression::PayloadInput;
use grapnel_values::pointer::JsonPointer;
use serde_json::Value;

use super::{
    event_data::{Content, Data, SharedData},
    form,
    json::{self, FoundValue},
    json_text::{JsonText, Parse},
    limits::FORM_FIELDS,
    reading::{BodyKind, Reading},
};

/// Verified data as far as it can be read. The bytes themselves are stored and delivered as received.
#[derive(Clone)]
pub enum Payload {
    /// JSON.
    Json(JsonText),
    /// An HTML form as an object.
    Form(FormFields),
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

/// The fields of an HTML form as an object: a field is a string, a repeated field an array of strings.
#[derive(Clone)]
pub struct FormFields {
    value: Value,
    flaw: Option<String>,
}

impl Payload {
    /// Reads a verified body: by its content type, or as `reading` declares. Without a content type a body is JSON (the
    /// default for webhooks) if it can be read as JSON. The last of equal keys of a JSON object counts (RFC 8259, 4).
    ///
    /// No body is refused: what cannot be read is null, and [`Self::flaw`] says why.
    pub fn read(reading: &Reading, content_type: Option<&str>, body: &Bytes) -> Self {
        Self::read_with(Parse::WhenNeeded, reading, content_type, body)
    }

    /// Reads like [`Self::read`], and builds the tree on the way, which costs less if it is needed in any case.
    pub fn read_tree(reading: &Reading, content_type: Option<&str>, body: &Bytes) -> Self {
        Self::read_with(Parse::Now, reading, content_type, body)
    }

    fn read_with(parse: Parse, reading: &Reading, content_type: Option<&str>, body: &Bytes) -> Self {
        match reading.kind(content_type) {
            BodyKind::Json => Self::Json(JsonText::read(parse, content_type, body)),
            BodyKind::Undeclared => match JsonText::read(parse, content_type, body) {
                text if !body.is_empty() && text.is_unreadable() => Self::Opaque,
                text => Self::Json(text),
            },
            BodyKind::Form => read_form(parse, body, reading.field.as_deref()),
            BodyKind::Opaque => Self::Opaque,
        }
    }

    /// Returns the payload of an event without a body: null.
    pub fn nothing() -> Self {
        Self::Json(JsonText::null())
    }

    /// Returns the payload of event data that is not the whole body, with its tree.
    pub fn of(content: &Content<'_>) -> Self {
        Self::of_shared(content.content_type.as_deref(), &SharedData::copy(&content.data))
    }

    /// Does the same without a copy of the data.
    pub fn of_shared(content_type: Option<&str>, data: &SharedData) -> Self {
        match (data, BodyKind::of(content_type)) {
            (SharedData::Nothing, _) => Self::nothing(),
            (SharedData::Json(text), _) => Self::Json(JsonText::read(Parse::Now, None, text)),
            (SharedData::Text(data) | SharedData::Bytes(data), BodyKind::Json) => {
                Self::Json(JsonText::read(Parse::Now, content_type, data))
            }
            (SharedData::Text(data) | SharedData::Bytes(data), BodyKind::Form) => read_form(Parse::Now, data, None),
            (SharedData::Text(_) | SharedData::Bytes(_), BodyKind::Undeclared | BodyKind::Opaque) => Self::Opaque,
        }
    }

    /// Says why data is not what its content type or its endpoint declares; `None` if it is.
    pub fn flaw(&self) -> Option<&str> {
        match self {
            Self::Json(text) => text.flaw(),
            Self::Form(fields) => fields.flaw.as_deref(),
            Self::Opaque => None,
        }
    }

    /// Returns the data as a tree; `None` when it is opaque. JSON is parsed on the first call.
    pub fn value(&self) -> Option<&Value> {
        match self {
            Self::Json(text) => Some(text.value()),
            Self::Form(fields) => Some(&fields.value),
            Self::Opaque => None,
        }
    }

    /// Returns the tree if it exists already.
    pub fn parsed(&self) -> Option<&Value> {
        match self {
            Self::Json(text) => text.parsed(),
            Self::Form(fields) => Some(&fields.value),
            Self::Opaque => None,
        }
    }

    /// Returns the payload as expressions see it: JSON and forms as values, other text as a string, and anything else
    /// as bytes. `data` is what it was read from.
    pub fn input<'a>(&'a self, data: &'a [u8]) -> PayloadInput<'a> {
        match (self.value(), Data::plain(data)) {
            (Some(value), _) => PayloadInput::Json(Cow::Borrowed(value)),
            (None, Data::Text(text)) => PayloadInput::Text(text),
            (None, _) => PayloadInput::Bytes(Cow::Borrowed(data)),
        }
    }

    /// Returns the payload in its original form: JSON as received, a form as an object, and anything else as it is. JSON
    /// in a field of a form is repaired if it is not JSON as received.
    /// `data` is what it was read from.
    pub fn data<'a>(&'a self, data: &'a [u8]) -> Data<'a> {
        match self {
            Self::Json(text) => Data::json(text.source()),
            Self::Form(fields) => Data::Json(Cow::Owned(fields.value.to_string())),
            Self::Opaque => Data::plain(data),
        }
    }

    /// Finds the value at a location; `None` when the payload is opaque. Does not build the tree if it does not exist
    /// yet.
    pub fn find(&self, pointer: &JsonPointer) -> Option<FoundValue<'_>> {
        match self {
            Self::Json(text) => Some(text.find(pointer)),
            Self::Form(fields) => Some(json::find_in(&fields.value, pointer.tokens())),
            Self::Opaque => None,
        }
    }
}

/// Reads an HTML form, or the JSON in its field of that name.
fn read_form(parse: Parse, body: &[u8], field: Option<&str>) -> Payload {
    let (value, complete) = form::fields(body);
    let flaw = (!complete).then(|| format!("the form has more than {FORM_FIELDS} fields"));
    let Some((name, Value::String(text))) = field.and_then(|name| Some((name, value.get(name)?))) else {
        return Payload::Form(FormFields { value, flaw });
    };
    let text = JsonText::read(parse, None, &Bytes::copy_from_slice(text.as_bytes()));
    let flaw = text.flaw().map(|flaw| format!("field {name} of the form: {flaw}")).or(flaw);
    if text.is_unreadable() {
        Payload::Form(FormFields { value, flaw })
    } else {
        Payload::Json(text.with_json_source().with_flaw(flaw))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::{lenient, reading::BodyFormat};

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
            (b"{\"a\":\"\xff\"}", "it is not UTF-8 at line 1 column"),
            (b"{\"a\":\"\\ud800\"}", "line 1 column"),
            (b"{} {}", "trailing characters at line 1 column 4"),
            (b"1e999", "the number at line 1 column 5 is beyond a double"),
        ] {
            let payload = read(Some("application/json"), body);
            assert!(payload.flaw().is_some_and(|found| found.contains(flaw)), "{:?}", payload.flaw());
        }
        for deep in ["[".repeat(100_000), "{\"a\":".repeat(100_000), "[".repeat(100_000) + &"]".repeat(100_000)] {
            let payload = read(Some("application/json"), deep);
            assert!(
                payload.flaw().is_some_and(|flaw| flaw.contains("nested too deeply, more than 127 levels")),
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
        assert_eq!(payload.find(&pointer("/id")), Some(FoundValue::Text("x".into())));
        assert_eq!(payload.value(), Some(&json!({ "id": "x", "t": "\u{fffd}", "n": null })));
        let broken = read(Some("application/json"), r#"{"id":"x""#);
        assert_eq!(broken.find(&pointer("/id")), Some(FoundValue::Nothing));
        assert_eq!(broken.value(), Some(&Value::Null));
    }

    #[test]
    fn of_equal_keys_the_last_counts() {
        let payload = read(None, r#"{"a":1,"b":2,"a":3}"#);
        assert_eq!(payload.find(&pointer("/a")), Some(FoundValue::Text("3".into())), "before the tree is built");
        assert_eq!(payload.value(), Some(&json!({ "a": 3, "b": 2 })));
        assert_eq!(payload.find(&pointer("/a")), Some(FoundValue::Text("3".into())), "and after");
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
        assert_eq!(interaction.find(&pointer("/type")), Some(FoundValue::Text("block_actions".into())));
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

    /// What expressions see, and what a delivery in an envelope shows.
    #[test]
    fn text_and_bytes_are_themselves() {
        for (content_type, body) in
            [(Some("text/plain"), &b"{\"a\":1}"[..]), (None, b"hello"), (Some("image/png"), b"\xff")]
        {
            let payload = read(content_type, body);
            match (std::str::from_utf8(body), payload.input(body), payload.data(body)) {
                (Ok(text), PayloadInput::Text(input), Data::Text(data)) => assert_eq!([&*input, &*data], [text; 2]),
                (Err(_), PayloadInput::Bytes(input), Data::Bytes(data)) => assert_eq!([&*input, &*data], [body; 2]),
                (_, input, data) => panic!("{body:?}: {input:?} {data:?}"),
            }
        }
    }

    #[test]
    fn data_is_json_as_received_and_the_input_what_can_be_read_of_it() {
        let form = Reading { format: BodyFormat::Form, field: Some("payload".into()) };
        let json = Reading { format: BodyFormat::Json, field: None };
        for (reading, body, data, input) in [
            (&json, " {\"a\":1.10,\"a\":2} ", "{\"a\":1.10,\"a\":2}", json!({ "a": 2 })),
            (&json, "[1e999,\"\\ud800\"]", "[1e999,\"\\ud800\"]", json!([null, "\u{fffd}"])),
            (&form, "a=1", "{\"a\":\"1\"}", json!({ "a": "1" })),
            (&form, "payload=[1.10]", "[1.10]", json!([1.1])),
            (&form, "payload=[1e999]", "[1e999]", json!([null])),
            (&form, "payload={%22a%22:%22x%09y%22}", "{\"a\":\"x\\u0009y\"}", json!({ "a": "x\ty" })),
        ] {
            let payload = Payload::read(reading, Some("text/plain"), &Bytes::from(body));
            assert!(matches!(payload.data(body.as_bytes()), Data::Json(text) if text == data), "{body}");
            assert!(
                matches!(payload.input(body.as_bytes()), PayloadInput::Json(value) if *value == input),
                "{body}: {:?}",
                payload.value()
            );
        }
        let broken = read(Some("application/json"), "{broken");
        assert!(matches!(broken.data(b"{broken"), Data::Text(text) if text == "{broken"));
        assert!(matches!(broken.input(b"{broken"), PayloadInput::Json(value) if value.is_null()));
    }

    #[test]
    fn data_of_a_cloud_event_is_read_by_its_content_type() {
        let of = |content_type: Option<&'static str>, data| {
            Payload::of(&Content { content_type: content_type.map(Cow::Borrowed), data }).value().cloned()
        };
        assert_eq!(of(None, Data::Nothing), Some(Value::Null));
        assert_eq!(of(None, Data::Json("[1]".into())), Some(json!([1])));
        assert_eq!(of(FORM, Data::Text("a=1".into())), Some(json!({ "a": "1" })));
        assert_eq!(of(None, Data::Text("5".into())), None, "a string, as the attribute says");
        let latin = "application/json; charset=latin1";
        assert_eq!(of(Some(latin), Data::Bytes(b"\"\xe9\""[..].into())), Some(json!("é")));
    }

    #[test]
    fn the_tree_is_the_same_whenever_it_is_built() {
        for body in ["{\"a\":[1,1.5,\"x\"],\"a\":2}", "\u{feff}[1]", "[1e999]", "{broken", "", "hello"] {
            for content_type in [None, Some("application/json"), Some("text/plain"), FORM] {
                let body = Bytes::from(body);
                let now = Payload::read_tree(&Reading::default(), content_type, &body);
                let later = Payload::read(&Reading::default(), content_type, &body);
                assert_eq!((now.value(), now.flaw()), (later.value(), later.flaw()), "{content_type:?} {body:?}");
                assert_eq!(now.parsed().is_some(), now.value().is_some(), "{content_type:?} {body:?}");
            }
        }
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
