//! The contents of an event without its identity: the body, or the data of the CloudEvent in the body.
//!
//! ```
//! use grapnel_payload::event_data::{Content, Data};
//!
//! let content = Content::of(Some("text/plain"), b"hello");
//! assert!(matches!(content.data, Data::Text(text) if text == "hello"));
//! let event = br#"{"specversion":"1.0","id":"1","source":"/shop","type":"t","data":[1]}"#;
//! let content = Content::of(Some("application/cloudevents+json"), event);
//! assert!(matches!(content.data, Data::Json(json) if json == "[1]"));
//! ```

use std::borrow::Cow;

use grapnel_expression as expression;
use serde_json::{Value, value::RawValue};

use super::{
    cloudevents::{self, CloudEvent},
    lenient,
    payload::fields,
    reading::{BodyFormat, BodyKind, Reading},
};

/// The data of an event.
#[derive(Debug, Clone)]
pub struct Content<'a> {
    /// The content type, if known.
    pub content_type: Option<Cow<'a, str>>,
    /// The data itself.
    pub data: Data<'a>,
}

/// Data in its original form.
#[derive(Debug, Clone)]
pub enum Data<'a> {
    /// A CloudEvent without data.
    Nothing,
    /// A JSON text without surrounding blanks: numbers, the order of keys and duplicate keys are preserved.
    Json(Cow<'a, str>),
    /// Other text.
    Text(Cow<'a, str>),
    /// Binary data.
    Bytes(Cow<'a, [u8]>),
}

impl<'a> Content<'a> {
    /// Returns the contents of a stored event. For a body in the JSON format of CloudEvents, this is the event's data.
    pub fn of(content_type: Option<&'a str>, body: &'a [u8]) -> Self {
        if CloudEvent::is_structured(content_type)
            && let Ok(event) = CloudEvent::structured(body)
        {
            return event.content;
        }
        Self { content_type: content_type.map(Cow::Borrowed), data: Data::of(content_type, body) }
    }

    /// Returns the payload of a stored event, as its endpoint declares how bodies are read: for a body in the JSON
    /// format of CloudEvents the event's data, and for a form with JSON in the declared field that JSON.
    pub fn read(reading: &Reading, content_type: Option<&'a str>, body: &'a [u8]) -> Self {
        const JSON: &str = "application/json";
        let declared = match reading.format {
            _ if CloudEvent::is_structured(content_type) => return Self::of(content_type, body),
            BodyFormat::Auto => content_type.map(Cow::Borrowed),
            BodyFormat::Json if matches!(BodyKind::of(content_type), BodyKind::Json) => content_type.map(Cow::Borrowed),
            // The charset is that of the bytes, whatever they are.
            BodyFormat::Json => Some(match content_type.and_then(lenient::charset) {
                Some(charset) => Cow::Owned(format!("{JSON}; charset={charset}")),
                None => Cow::Borrowed(JSON),
            }),
            BodyFormat::Form => Some(Cow::Borrowed("application/x-www-form-urlencoded")),
            BodyFormat::Opaque => Some(Cow::Borrowed("application/octet-stream")),
        };
        let data = Data::of(declared.as_deref(), body);
        let content = Self { content_type: declared, data };
        let Some(field) = &reading.field else { return content };
        let text = content.form().and_then(|fields| fields.get(&**field)?.as_str().map(str::to_owned));
        match text.and_then(json) {
            Some(json) => Self { content_type: Some(Cow::Borrowed(JSON)), data: Data::Json(Cow::Owned(json)) },
            None => content,
        }
    }

    /// Returns the fields of an HTML form.
    pub fn form(&self) -> Option<Value> {
        let text = self.plain()?;
        match BodyKind::of(self.content_type.as_deref()) {
            BodyKind::Form => Some(fields(text).0),
            BodyKind::Json | BodyKind::Undeclared | BodyKind::Opaque => None,
        }
    }

    /// Returns data that is not JSON.
    fn plain(&self) -> Option<&[u8]> {
        match &self.data {
            Data::Text(text) => Some(text.as_bytes()),
            Data::Bytes(bytes) => Some(bytes),
            Data::Nothing | Data::Json(_) => None,
        }
    }

    /// Returns the data as expressions see it: JSON and forms as values, other text as a string, and anything else as
    /// bytes. Of JSON that is not quite valid they see what can be read, at worst null.
    pub fn payload(self) -> expression::Payload<'a> {
        use expression::Payload;
        if let Some(fields) = self.form() {
            return Payload::Json(Cow::Owned(fields));
        }
        let content_type = self.content_type.as_deref();
        let repaired = |body: &[u8]| -> Option<Value> {
            lenient::repair(content_type, body).and_then(|text| serde_json::from_str(&text).ok())
        };
        let readable = match (BodyKind::of(content_type), self.plain()) {
            (BodyKind::Json | BodyKind::Undeclared, Some(body)) => repaired(body),
            _ => None,
        };
        if let Some(value) = readable {
            return Payload::Json(Cow::Owned(value));
        }
        match self.data {
            Data::Nothing => Payload::Nothing,
            Data::Json(text) => match serde_json::from_str(&text).ok().or_else(|| repaired(text.as_bytes())) {
                Some(value) => Payload::Json(Cow::Owned(value)),
                None => Payload::Nothing,
            },
            Data::Text(_) | Data::Bytes(_) if matches!(BodyKind::of(content_type), BodyKind::Json) => Payload::Nothing,
            Data::Text(text) => Payload::Text(text),
            Data::Bytes(bytes) => Payload::Bytes(bytes),
        }
    }
}

/// Returns the JSON in a text: as it is, or what can be read of it.
fn json(text: String) -> Option<String> {
    let strict = serde_json::from_str::<&RawValue>(&text).map(|json| json.get().to_owned());
    strict.ok().or_else(|| lenient::repair(None, text.as_bytes()))
}

impl<'a> Data<'a> {
    /// Classifies a body by its content type. JSON is returned without a byte order mark.
    pub fn of(content_type: Option<&str>, body: &'a [u8]) -> Self {
        if !matches!(BodyKind::of(content_type), BodyKind::Json | BodyKind::Undeclared) {
            return Self::plain(body);
        }
        // JSON is never empty: there is no data, as in a CloudEvent that consists of headers only.
        if body.is_empty() {
            return Self::Nothing;
        }
        if let Ok(json) = serde_json::from_slice::<&RawValue>(lenient::without_bom(body)) {
            return Self::Json(Cow::Borrowed(json.get()));
        }
        Self::plain(body)
    }

    fn plain(body: &'a [u8]) -> Self {
        match std::str::from_utf8(body) {
            Ok(text) => Self::Text(Cow::Borrowed(text)),
            Err(_) => Self::Bytes(Cow::Borrowed(body)),
        }
    }
}

/// Returns headers as expressions see them: attributes of CloudEvents are decoded, and invalid UTF-8 is replaced.
pub fn expression_headers<'a>(
    headers: impl IntoIterator<Item = (&'a str, &'a [u8])>,
) -> Vec<(Cow<'a, str>, Cow<'a, str>)> {
    let mut joined: Vec<(Cow<'_, str>, Cow<'_, str>)> = Vec::new();
    for (name, value) in headers {
        let attribute = name.starts_with("ce-");
        let value = if attribute { cloudevents::decode(value) } else { String::from_utf8_lossy(value) };
        match joined.iter_mut().find(|(known, _)| *known == name) {
            Some((_, values)) => {
                let values = values.to_mut();
                values.push_str(", ");
                values.push_str(&value);
            }
            None => joined.push((Cow::Borrowed(name), value)),
        }
    }
    joined
}

/// Adds the attributes of a CloudEvent in the body to the headers that expressions see, under their header names.
/// Expressions therefore do not depend on the mode in which an event arrives.
pub fn add_attributes(inputs: &mut expression::Inputs<'_>, event: &CloudEvent<'_>) {
    let attributes = event
        .attributes()
        .map(|(name, value)| (Cow::Owned(format!("ce-{}", name.to_ascii_lowercase())), Cow::Owned(value.into_owned())));
    let attributes: Vec<(Cow<'static, str>, Cow<'static, str>)> = attributes.collect();
    let is_set = |known: &str| known.starts_with("ce-") && attributes.iter().any(|(name, _)| name == known);
    inputs.headers.retain(|(known, _)| !is_set(known));
    inputs.headers.extend(attributes);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(reading: &Reading, content_type: Option<&str>, body: &[u8]) -> expression::Payload<'static> {
        use expression::Payload;
        match Content::read(reading, content_type, body).payload() {
            Payload::Nothing => Payload::Nothing,
            Payload::Json(value) => Payload::Json(Cow::Owned(value.into_owned())),
            Payload::Text(text) => Payload::Text(Cow::Owned(text.into_owned())),
            Payload::Bytes(bytes) => Payload::Bytes(Cow::Owned(bytes.into_owned())),
        }
    }

    /// What the data plane saw when the event came in, and what expressions see when it is delivered, must agree.
    #[test]
    fn a_stored_event_is_read_as_the_request_was() {
        let form = Some("application/x-www-form-urlencoded");
        let bodies: [(Option<&str>, &[u8]); 15] = [
            (Some("text/plain; charset=latin1"), b"{\"a\":\"\xe9\"}"),
            (None, b"{\"a\":1}"),
            (None, b""),
            (None, b"hello"),
            (None, b"\xef\xbb\xbf[1]"),
            (Some("application/json"), b"\xef\xbb\xbf{\"a\":1}"),
            (Some("application/json"), b"{\"a\":\"\\ud800\",\"b\":1e999}"),
            (Some("application/json"), b"{\"a\":\"\xff\"}"),
            (Some("application/json; charset=latin1"), b"{\"a\":\"\xe9\"}"),
            (Some("application/json"), b"{broken"),
            (Some("application/json"), b""),
            (Some("text/plain"), b"{\"a\":1}"),
            (form, b"a=1&payload=%7B%22a%22%3A1%7D"),
            (form, b"a=1&payload=%7B%22a%22%3A%22%5Cud800%22%7D"),
            (form, b"a=1&payload=%7Bbroken"),
        ];
        for format in [BodyFormat::Auto, BodyFormat::Json, BodyFormat::Form, BodyFormat::Opaque] {
            for field in [None, Some("payload".into())] {
                let reading = Reading { format, field };
                for (content_type, body) in bodies {
                    let came =
                        crate::payload::Payload::read(&reading, content_type, &bytes::Bytes::copy_from_slice(body));
                    let came = came.value().cloned();
                    match seen(&reading, content_type, body) {
                        expression::Payload::Json(value) => {
                            assert_eq!(Some(value.into_owned()), came, "{reading:?} {content_type:?} {body:?}")
                        }
                        expression::Payload::Nothing => {
                            assert_eq!(Some(Value::Null), came, "{reading:?} {content_type:?} {body:?}")
                        }
                        expression::Payload::Text(_) | expression::Payload::Bytes(_) => {
                            assert_eq!(came, None, "{reading:?} {content_type:?} {body:?}")
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn expressions_see_each_header_once() {
        let headers: [(&str, &[u8]); 5] = [
            ("x-github-event", b"push"),
            ("accept", b"a"),
            ("x-odd", b"caf\xe9"),
            ("ce-subject", b"a%20b"),
            ("accept", b"b"),
        ];
        let expected =
            [("x-github-event", "push"), ("accept", "a, b"), ("x-odd", "caf\u{fffd}"), ("ce-subject", "a b")];
        assert_eq!(expression_headers(headers), expected.map(|(name, value)| (name.into(), value.into())));
    }
}
