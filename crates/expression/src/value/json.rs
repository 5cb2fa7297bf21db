//! Values as JSON.

use base64::{Engine, engine::general_purpose::STANDARD};
use jiff::SignedDuration;
use serde::{Serialize, Serializer, ser};

use super::{List, Map, Value};
use crate::EventInput;

/// As the JSON mapping of Protocol Buffers writes values, which is CEL's own: bytes in base64, times as in RFC 3339,
/// durations in seconds, keys as strings. An optional value is what it holds, or null. Numbers that are not finite have no JSON form.
impl Serialize for Value<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Null | Self::Optional(None) => serializer.serialize_unit(),
            Self::Bool(flag) => serializer.serialize_bool(*flag),
            Self::Int(number) => serializer.serialize_i64(*number),
            Self::UInt(number) => serializer.serialize_u64(*number),
            Self::Double(number) if number.is_finite() => serializer.serialize_f64(*number),
            Self::Double(_) => {
                Err(ser::Error::custom("it holds a number that is not finite, which JSON cannot represent"))
            }
            Self::Text(text) => serializer.serialize_str(text),
            Self::Bytes(bytes) => serializer.serialize_str(&STANDARD.encode(&**bytes)),
            Self::Timestamp(time) => serializer.collect_str(time),
            Self::Duration(duration) => serializer.collect_str(&Seconds(*duration)),
            Self::List(List::Json(elements)) => elements.serialize(serializer),
            Self::List(List::Shared(elements)) => serializer.collect_seq(elements.iter()),
            Self::Map(Map::Json(entries)) => entries.serialize(serializer),
            Self::Map(Map::Headers(headers)) => {
                serializer.collect_map(headers.iter().map(|(name, value)| (name, value)))
            }
            Self::Map(map @ Map::Event(_)) => {
                let entries = EventInput::FIELDS.iter().filter_map(|(name, _)| Some((*name, map.field(name)?)));
                serializer.collect_map(entries)
            }
            Self::Map(Map::Shared(entries)) => {
                serializer.collect_map(entries.iter().map(|(key, value)| (Key(key), value)))
            }
            Self::Type(kind) => serializer.serialize_str(kind.type_name()),
            Self::Optional(Some(value)) => value.serialize(serializer),
        }
    }
}

/// The key of a map, as a string.
struct Key<'v, 'a>(&'v Value<'a>);

impl Serialize for Key<'_, '_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Value::Text(text) => serializer.serialize_str(text),
            Value::Int(number) => serializer.collect_str(number),
            Value::UInt(number) => serializer.collect_str(number),
            Value::Bool(flag) => serializer.collect_str(flag),
            // No map literal takes another key.
            _ => Err(ser::Error::custom("it holds a map key that JSON cannot represent")),
        }
    }
}

/// A duration as `string(…)` and JSON write it: seconds, with as many decimals as needed.
pub(crate) struct Seconds(pub(crate) SignedDuration);

impl std::fmt::Display for Seconds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let nanos = self.0.as_nanos();
        let (sign, nanos) = (if nanos < 0 { "-" } else { "" }, nanos.unsigned_abs());
        let decimals = format!("{:09}", nanos % 1_000_000_000);
        let decimals = decimals.trim_end_matches('0');
        let point = if decimals.is_empty() { "" } else { "." };
        write!(f, "{sign}{}{point}{decimals}s", nanos / 1_000_000_000)
    }
}
