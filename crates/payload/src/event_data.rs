//! The contents of an event without its identity: the body, or the data of the CloudEvent in the body.

use std::borrow::Cow;

use grapnel_expression as expression;
use serde_json::{Value, value::RawValue};

use super::{
    cloudevents::{self, CloudEvent},
    payload::Kind,
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

    /// Returns the fields of an HTML form.
    pub fn form(&self) -> Option<Value> {
        let text: &[u8] = match &self.data {
            Data::Text(text) => text.as_bytes(),
            Data::Bytes(bytes) => bytes,
            Data::Nothing | Data::Json(_) => return None,
        };
        match Kind::of(self.content_type.as_deref()) {
            Kind::Form => super::payload::form(text).ok(),
            Kind::Json | Kind::Opaque => None,
        }
    }

    /// Returns the data as expressions see it: JSON and forms as values, other text as a string, and anything else as
    /// bytes.
    pub fn payload(self) -> expression::Payload<'a> {
        use expression::Payload;
        if let Some(fields) = self.form() {
            return Payload::Json(Cow::Owned(fields));
        }
        match self.data {
            Data::Nothing => Payload::Nothing,
            Data::Json(text) => match serde_json::from_str(&text) {
                Ok(value) => Payload::Json(Cow::Owned(value)),
                // Only a body accepted by an earlier version can be nested too deeply for a value.
                Err(_) => Payload::Text(text),
            },
            Data::Text(text) => Payload::Text(text),
            Data::Bytes(bytes) => Payload::Bytes(bytes),
        }
    }
}

impl<'a> Data<'a> {
    /// Classifies a body by its content type.
    pub fn of(content_type: Option<&str>, body: &'a [u8]) -> Self {
        if !matches!(Kind::of(content_type), Kind::Json) {
            return Self::plain(body);
        }
        // JSON is never empty: there is no data, as in a CloudEvent that consists of headers only.
        if body.is_empty() {
            return Self::Nothing;
        }
        if let Ok(json) = serde_json::from_slice::<&RawValue>(body) {
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
