//! Violations of a CRD's schema in words for the author of a manifest.

use grapnel_api::rules;
use grapnel_values::suggest::suggest;
use jsonschema::{ValidationError, error::ValidationErrorKind as Kind};
use serde_json::Value;

use crate::catalog::limits;

/// Describes a violation of the schema in terms of YAML manifests.
pub(super) fn of(error: &ValidationError<'_>, schema: &Value) -> String {
    let quoted = !may_hold_credentials(error.instance()) && is_short(error.instance());
    match error.kind() {
        Kind::Type { .. } => mistyped(error, schema).unwrap_or_else(|| violation(error, quoted)),
        // Only fields that are an integer or a text have alternatives.
        Kind::AnyOf { .. } => match &**error.instance() {
            Value::Number(fraction) => format!("a fraction is written in quotes: \"{fraction}\""),
            _ => "must be an integer or a text".into(),
        },
        Kind::Format { format } if format == "date-time" && quoted => {
            format!("{} is not a time; write it as \"2026-01-31T12:00:00Z\"", error.instance())
        }
        Kind::Enum { options } if quoted => choice(error.instance(), options),
        Kind::Required { property } => {
            format!("the field {} is missing", property.as_str().unwrap_or_default())
        }
        _ => violation(error, quoted),
    }
}

/// The message of a rule, which follows the value if that may be quoted: `"a week" must be a duration`.
pub(super) fn of_rule(message: &str, value: Option<&Value>) -> String {
    match value {
        Some(value @ (Value::String(_) | Value::Number(_)))
            if message.starts_with("must ") && is_short(value) && !may_hold_credentials(value) =>
        {
            format!("{value} {message}")
        }
        _ => message.to_owned(),
    }
}

fn violation(error: &ValidationError<'_>, quoted: bool) -> String {
    if quoted { error.to_string() } else { error.masked_with("the value").to_string() }
}

/// What to write instead of a value of the wrong type, if that is clear.
fn mistyped(error: &ValidationError<'_>, schema: &Value) -> Option<String> {
    let place = error.schema_path().as_str().strip_suffix("/type")?;
    let expected = schema.pointer(place)?;
    match (expected.get("type")?.as_str()?, &**error.instance()) {
        ("string", Value::Number(number)) if rules::is_duration(expected) => {
            let unit =
                if number.is_u64() { format!("write {number}s for seconds") } else { "write 500ms or 1.5s".into() };
            Some(format!("{number} has no unit; {unit}"))
        }
        ("integer" | "number", Value::String(text)) if text.parse::<f64>().is_ok_and(f64::is_finite) => {
            Some("a number is written without quotes; remove the quotes".into())
        }
        ("boolean", Value::String(text)) if matches!(text.as_str(), "true" | "false") => {
            Some(format!("a boolean is written without quotes; write {text}"))
        }
        _ => None,
    }
}

/// Describes a value that is not one of the options.
fn choice(value: &Value, options: &Value) -> String {
    let known = options.as_array().into_iter().flatten().filter_map(Value::as_str);
    match value.as_str().and_then(|name| suggest(name, known.clone())) {
        Some(near) => format!("{value} is not known; did you mean {near}?"),
        None => format!("{value} is not known; known here: {}", known.collect::<Vec<_>>().join(", ")),
    }
}

/// Whether a value is short enough to be quoted in a message, and hence in a status.
fn is_short(value: &Value) -> bool {
    match value {
        Value::String(text) => text.len() <= limits::QUOTED_VALUE_BYTES,
        _ => value.to_string().len() <= limits::QUOTED_VALUE_BYTES,
    }
}

/// Whether a value may be or contain a URL with a username and a password, which no message quotes. Text that cannot be
/// parsed cannot be searched for them, so anything before an `@` is treated as credentials.
fn may_hold_credentials(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains('@'),
        Value::Array(items) => items.iter().any(may_hold_credentials),
        Value::Object(fields) => fields.iter().any(|(name, value)| name.contains('@') || may_hold_credentials(value)),
        _ => false,
    }
}
