//! The JSON format (CloudEvents JSON Event Format 1.0).

use std::{borrow::Cow, fmt};

use base64::{Engine, engine::general_purpose::STANDARD};
use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{MapAccess, Visitor},
    ser::SerializeMap,
};
use serde_json::value::RawValue;

use super::{Attribute, CloudEvent, PartialAttributes, SPEC_VERSION, malformed};
use crate::{
    event_data::{Content, Data},
    lenient::without_bom,
    limits::CLOUDEVENTS_EXTENSIONS,
    malformed::MalformedPayload,
    reading::BodyKind,
};

impl<'a> CloudEvent<'a> {
    /// Reads an event in the JSON format. Its data is not parsed, and borrowed where possible.
    ///
    /// # Errors
    ///
    /// [`MalformedPayload`] says what is wrong. It holds no value of the event.
    pub fn structured(body: &'a [u8]) -> Result<Self, MalformedPayload> {
        // The parser's message about data would disclose it.
        let Members { members, more } = serde_json::from_slice(without_bom(body))
            .map_err(|error| if error.is_data() { malformed("it is not a JSON object") } else { malformed(error) })?;
        if more {
            return Err(malformed(format!("it has more than the {CLOUDEVENTS_EXTENSIONS} attributes allowed")));
        }
        let mut found = PartialAttributes::default();
        let (mut json, mut binary) = (None, None);
        for (name, value) in members {
            match &*name {
                "data" => json = Some(value),
                "data_base64" => binary = Some(value),
                _ => {
                    if let Some(value) = attribute(&name, value)? {
                        found.add(name, value)?;
                    }
                }
            }
        }
        found.event(|content_type| match (json, binary) {
            (Some(_), Some(_)) => Err(malformed("it has both data and data_base64")),
            (Some(json), None) => data(content_type, json),
            (None, Some(text)) => {
                let text: Cow<'_, str> = string(text).ok_or_else(|| malformed("its data_base64 is not a string"))?;
                let bytes = STANDARD.decode(text.as_bytes()).map_err(|_| malformed("its data_base64 is not base64"))?;
                Ok(from_bytes(content_type, bytes))
            }
            (None, None) => Ok(Data::Nothing),
        })
    }

    /// Writes the event in the JSON format: JSON as it is, other text as a string, and anything else in base64.
    ///
    /// # Errors
    ///
    /// None in practice: every event can be written.
    pub fn to_structured(&self) -> serde_json::Result<Vec<u8>> {
        let data = match &self.content.data {
            Data::Nothing => 0,
            Data::Json(json) => json.len(),
            Data::Text(text) => text.len(),
            Data::Bytes(bytes) => bytes.len() / 3 * 4 + 4,
        };
        let mut written = Vec::with_capacity(data + 512);
        serde_json::to_writer(&mut written, &Structured(self))?;
        if let Data::Json(json) = &self.content.data {
            // The text is well-formed, so it becomes the last member without being read again.
            written.pop();
            written.extend_from_slice(br#","data":"#);
            written.extend_from_slice(json.as_bytes());
            written.push(b'}');
        }
        Ok(written)
    }
}

/// The members of an object, in order. The last of equal names counts.
struct Members<'a> {
    members: Vec<(Cow<'a, str>, &'a RawValue)>,
    /// The object has more members than any event.
    more: bool,
}

/// Number of members that the specification names, which are not extension attributes.
const OWN_MEMBERS: usize = 16;

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;

        impl<'de> Visitor<'de> for Object {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
                let mut members: Vec<(Cow<'de, str>, &'de RawValue)> = Vec::new();
                let mut more = false;
                while let Some((Name(name), value)) = entries.next_entry::<Name<'de>, &'de RawValue>()? {
                    let full = members.len() == CLOUDEVENTS_EXTENSIONS + OWN_MEMBERS;
                    match members.iter_mut().find(|(known, _)| *known == name) {
                        Some((_, known)) => *known = value,
                        None if full => more = true,
                        None => members.push((name, value)),
                    }
                }
                Ok(Members { members, more })
            }
        }

        deserializer.deserialize_map(Object)
    }
}

/// A string, borrowed if it has no escapes.
struct Name<'a>(Cow<'a, str>);

impl<'de> Deserialize<'de> for Name<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;

        impl<'de> Visitor<'de> for Text {
            type Value = Name<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Name(Cow::Borrowed(text)))
            }

            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Name(Cow::Owned(text.to_owned())))
            }
        }

        deserializer.deserialize_str(Text)
    }
}

fn string(value: &RawValue) -> Option<Cow<'_, str>> {
    serde_json::from_str::<Name<'_>>(value.get()).ok().map(|Name(text)| text)
}

/// Reads the value of an attribute. A null attribute is absent.
fn attribute<'a>(name: &str, value: &'a RawValue) -> Result<Option<Attribute<'a>>, MalformedPayload> {
    let text = value.get();
    Ok(match text {
        "null" => None,
        "true" => Some(Attribute::Bool(true)),
        "false" => Some(Attribute::Bool(false)),
        _ => {
            let found = match string(value) {
                Some(text) => Some(Attribute::Text(text)),
                None => text.parse().ok().map(Attribute::Integer),
            };
            // The name is shown only if it can be nothing but a name.
            let shown =
                if name.len() <= 32 && name.bytes().all(|byte| byte.is_ascii_alphanumeric()) { name } else { "…" };
            Some(found.ok_or_else(|| malformed(format!("its {shown} must be a string, integer or boolean")))?)
        }
    })
}

/// Reads the member `data`. Text that is not JSON is a string there; without a content type, data is JSON (JSON Event
/// Format, 3.1), so a string is a JSON string.
fn data<'a>(content_type: Option<&str>, value: &'a RawValue) -> Result<Data<'a>, MalformedPayload> {
    if !matches!(BodyKind::of(content_type), BodyKind::Json | BodyKind::Undeclared)
        && let Some(text) = string(value)
    {
        return Ok(Data::Text(text));
    }
    Ok(Data::Json(Cow::Borrowed(value.get())))
}

fn from_bytes<'a>(content_type: Option<&str>, bytes: Vec<u8>) -> Data<'a> {
    if content_type.is_some()
        && matches!(BodyKind::of(content_type), BodyKind::Json)
        && let Ok(json) = serde_json::from_slice::<Box<RawValue>>(&bytes)
    {
        return Data::Json(Cow::Owned(Box::<str>::from(json).into_string()));
    }
    Data::Bytes(Cow::Owned(bytes))
}

struct Structured<'e, 'a>(&'e CloudEvent<'a>);

impl Serialize for Structured<'_, '_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let event = self.0;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("specversion", SPEC_VERSION)?;
        map.serialize_entry("id", &event.id)?;
        map.serialize_entry("source", &event.source)?;
        map.serialize_entry("type", &event.kind)?;
        for (name, value) in &event.others {
            match value {
                Attribute::Text(text) => map.serialize_entry(name, text)?,
                Attribute::Bool(flag) => map.serialize_entry(name, flag)?,
                Attribute::Integer(number) => map.serialize_entry(name, number)?,
            }
        }
        let Content { content_type, data } = &event.content;
        if let Some(content_type) = content_type {
            map.serialize_entry("datacontenttype", content_type)?;
        }
        match data {
            // `to_structured` adds JSON.
            Data::Nothing | Data::Json(_) => {}
            // A string with a JSON content type would be read back as JSON itself.
            Data::Text(text) if matches!(BodyKind::of(content_type.as_deref()), BodyKind::Json) => {
                map.serialize_entry("data_base64", &STANDARD.encode(text.as_bytes()))?;
            }
            Data::Text(text) => map.serialize_entry("data", text)?,
            Data::Bytes(bytes) => map.serialize_entry("data_base64", &STANDARD.encode(bytes))?,
        }
        map.end()
    }
}
