//! The body of format `Envelope`.

use base64::{Engine, engine::general_purpose::STANDARD};
use grapnel_journal::StoredEvent;
use grapnel_payload::event_data::Data;
use serde::{Serialize, Serializer, ser::SerializeMap};

/// `{"id", "type", "timestamp", "data"}`: `timestamp` is when the event was received (RFC 3339). `data` is the event's
/// payload: JSON as received, an object of the fields of a form (repeated fields are arrays), or a string for other
/// text. A payload that is not UTF-8 is in `dataBase64` instead (like `data_base64` of CloudEvents).
struct Envelope<'a> {
    event: &'a StoredEvent,
    data: &'a Data<'a>,
}

impl Serialize for Envelope<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { event, data } = self;
        let mut map = serializer.serialize_map(Some(4))?;
        map.serialize_entry("id", &event.id)?;
        map.serialize_entry("type", &event.kind)?;
        map.serialize_entry("timestamp", &format_args!("{}", event.received))?;
        match data {
            Data::Nothing => map.serialize_entry("data", &())?,
            // `wrap` adds it.
            Data::Json(_) => {}
            Data::Text(text) => map.serialize_entry("data", text)?,
            Data::Bytes(bytes) => map.serialize_entry("dataBase64", &STANDARD.encode(bytes))?,
        }
        map.end()
    }
}

/// Wraps the payload of an event.
///
/// # Errors
/// None in practice: every envelope can be written as JSON.
pub(super) fn wrap(event: &StoredEvent, data: &Data<'_>) -> serde_json::Result<Vec<u8>> {
    // Reserves the body and the other members, so that the buffer is allocated once.
    let mut wrapped = Vec::with_capacity(event.body.len() + event.id.len() + event.kind.len() + 96);
    serde_json::to_writer(&mut wrapped, &Envelope { event, data })?;
    if let Data::Json(json) = data {
        // The text is well-formed, so it becomes the last member without being read again.
        wrapped.pop();
        wrapped.extend_from_slice(br#","data":"#);
        wrapped.extend_from_slice(json.as_bytes());
        wrapped.push(b'}');
    }
    Ok(wrapped)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use grapnel_payload::{payload::Payload, reading::Reading};
    use serde_json::value::RawValue;

    use super::*;

    fn wrap(event: &StoredEvent) -> serde_json::Result<Vec<u8>> {
        let payload = Payload::read(&Reading::default(), event.content_type.as_deref(), &event.body);
        super::wrap(event, &payload.data(&event.body))
    }

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
        String::from_utf8(wrap(&event(content_type, body)).unwrap()).unwrap()
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
    fn deep_nesting_is_no_danger() {
        let body = [b"[".repeat(100_000), b"]".repeat(100_000)].concat();
        let wrapped = wrap(&StoredEvent { body: body.into(), ..event(None, b"") }).unwrap();
        serde_json::from_slice::<&RawValue>(&wrapped).unwrap();
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
