//! Values that Kubernetes writes as strings.

use std::borrow::Cow;

use grapnel_values::limits::SCALAR_BYTES;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, de};

use super::rules;

/// A duration as Go writes it: `250ms`, `10s`, `1h30m`, `72h`. Checked when the object is compiled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct GoDuration(pub String);

impl JsonSchema for GoDuration {
    fn schema_name() -> Cow<'static, str> {
        "GoDuration".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "maxLength": SCALAR_BYTES, "x-kubernetes-validations": rules::duration() })
    }
}

/// A number of bytes as Kubernetes writes quantities: `512Ki`, `1Mi`, or a plain number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct ByteSize(pub String);

impl<'de> Deserialize<'de> for ByteSize {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        text_or_number(deserializer, "a number of bytes is a quantity such as 1Mi").map(Self)
    }
}

impl JsonSchema for ByteSize {
    fn schema_name() -> Cow<'static, str> {
        "ByteSize".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "x-kubernetes-int-or-string": true,
            "maxLength": SCALAR_BYTES,
            "x-kubernetes-validations": rules::bytes(1, None),
        })
    }
}

/// A factor from 1 to 10: an integer such as `2`, or a text such as `"1.5"`, because floats have no place in the API. Objects
/// that were stored before as floats are still read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Factor(pub String);

impl<'de> Deserialize<'de> for Factor {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        text_or_number(deserializer, "a factor is an integer such as 2, or a text such as \"1.5\"").map(Self)
    }
}

impl JsonSchema for Factor {
    fn schema_name() -> Cow<'static, str> {
        "Factor".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "x-kubernetes-int-or-string": true,
            "maxLength": SCALAR_BYTES,
            "minimum": 1,
            "maximum": 10,
            "x-kubernetes-validations": rules::factor(),
        })
    }
}

fn text_or_number<'de, D: Deserializer<'de>>(deserializer: D, expected: &str) -> Result<String, D::Error> {
    match serde_json::Value::deserialize(deserializer)? {
        serde_json::Value::String(text) => Ok(text),
        serde_json::Value::Number(number) => Ok(number.to_string()),
        _ => Err(de::Error::custom(expected)),
    }
}
