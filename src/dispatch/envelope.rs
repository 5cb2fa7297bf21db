//! The body of format `Envelope`.

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use serde::{Serialize, Serializer, ser::SerializeMap};
use serde_json::{Map, Value, value::RawValue};

use crate::journal::StoredEvent;

/// `{"id", "type", "timestamp", "data"}`: `timestamp` is when the event was received (RFC 3339); `data` is the body
/// itself where it is JSON, an object of the fields where it is a form (repeated fields are arrays), and a string where
/// it is other text. Bodies that are not UTF-8 are in `dataBase64` instead (as CloudEvents does it in `data_base64`).
struct Envelope<'a>(&'a StoredEvent);

impl Serialize for Envelope<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let event = self.0;
        let mut map = serializer.serialize_map(Some(4))?;
        map.serialize_entry("id", &event.id)?;
        map.serialize_entry("type", &event.kind)?;
        map.serialize_entry("timestamp", &format_args!("{}", event.received))?;
        match Data::of(event) {
            Data::Json(raw) => map.serialize_entry("data", raw)?,
            Data::Form(fields) => map.serialize_entry("data", &fields)?,
            Data::Text(text) => map.serialize_entry("data", text)?,
            Data::Binary(bytes) => map.serialize_entry("dataBase64", &STANDARD.encode(bytes))?,
        }
        map.end()
    }
}

enum Data<'a> {
    Json(&'a RawValue),
    Form(Map<String, Value>),
    Text(&'a str),
    Binary(&'a [u8]),
}

impl<'a> Data<'a> {
    fn of(event: &'a StoredEvent) -> Self {
        let essence = event.content_type.as_deref().map(essence);
        let is_json = essence.as_deref().is_none_or(|essence| {
            essence == "application/json" || essence == "text/json" || essence.ends_with("+json")
        });
        // Checked but not taken apart: numbers, key order and duplicate keys stay as they came.
        if is_json && let Ok(raw) = serde_json::from_slice(&event.body) {
            return Self::Json(raw);
        }
        if essence.as_deref() == Some("application/x-www-form-urlencoded") {
            return Self::Form(form(&event.body));
        }
        match std::str::from_utf8(&event.body) {
            Ok(text) => Self::Text(text),
            Err(_) => Self::Binary(&event.body),
        }
    }
}

/// A content type without its parameters, in lower case.
fn essence(content_type: &str) -> String {
    content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

fn form(body: &[u8]) -> Map<String, Value> {
    let mut fields = Map::new();
    for (name, value) in form_urlencoded::parse(body) {
        let value = Value::String(value.into_owned());
        match fields.get_mut(&*name) {
            None => {
                fields.insert(name.into_owned(), value);
            }
            Some(Value::Array(values)) => values.push(value),
            Some(first) => *first = Value::Array(vec![first.take(), value]),
        }
    }
    fields
}

/// Wraps an event.
///
/// # Errors
/// None in practice: everything in an envelope can be written as JSON.
pub(super) fn wrap(event: &StoredEvent) -> serde_json::Result<Bytes> {
    // Room for the body and the other members, so that the buffer is allocated once.
    let mut wrapped = Vec::with_capacity(event.body.len() + event.id.len() + event.kind.len() + 96);
    serde_json::to_writer(&mut wrapped, &Envelope(event))?;
    Ok(wrapped.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(content_type: Option<&str>, body: &'static [u8]) -> StoredEvent {
        StoredEvent {
            sequence: 1,
            id: "evt_1".into(),
            kind: "invoice.paid".into(),
            received: "2026-03-01T12:00:00.25Z".parse().unwrap(),
            content_type: content_type.map(Into::into),
            remote: None,
            headers: Vec::new(),
            body: Bytes::from_static(body),
        }
    }

    fn wrapped(content_type: Option<&str>, body: &'static [u8]) -> String {
        String::from_utf8(wrap(&event(content_type, body)).unwrap().to_vec()).unwrap()
    }

    const START: &str = r#"{"id":"evt_1","type":"invoice.paid","timestamp":"2026-03-01T12:00:00.25Z","#;

    #[test]
    fn json_is_passed_on_untouched() {
        for content_type in
            [None, Some("application/json; charset=utf-8"), Some("Application/Vnd.X+JSON"), Some("text/json")]
        {
            assert_eq!(
                wrapped(content_type, b" {\"b\":1.10, \"a\":12345678901234567890123,\"a\":2} \n"),
                format!("{START}{}", r#""data":{"b":1.10, "a":12345678901234567890123,"a":2}}"#),
            );
        }
    }

    #[test]
    fn deeply_nested_json_is_passed_on() {
        let body = [b"[".repeat(100_000), b"]".repeat(100_000)].concat();
        let wrapped = wrap(&StoredEvent { body: body.into(), ..event(None, b"") }).unwrap();
        assert_eq!(wrapped.len(), START.len() + r#""data":}"#.len() + 200_000);
    }

    #[test]
    fn forms_are_objects() {
        assert_eq!(
            wrapped(Some("application/x-www-form-urlencoded"), b"a=1&b=x+y&a=%C3%A9&a=3"),
            format!("{START}{}", r#""data":{"a":["1","é","3"],"b":"x y"}}"#),
        );
    }

    #[test]
    fn text_is_a_string_and_binary_is_base64() {
        assert_eq!(wrapped(Some("text/plain"), b"{\"a\":1}\n"), format!("{START}{}", r#""data":"{\"a\":1}\n"}"#));
        assert_eq!(wrapped(Some("image/png"), b"\xff\x00"), format!("{START}{}", r#""dataBase64":"/wA="}"#));
    }
}
