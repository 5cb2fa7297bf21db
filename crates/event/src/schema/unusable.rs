//! Why a schema cannot be used, in words for its author.

use grapnel_values::suggest::suggest;
use jsonschema::{ValidationError, error::ValidationErrorKind};
use serde_json::Value;

use super::bounded;
use crate::limits::{SCHEMA_PATTERN_BYTES, SCHEMA_PATTERNS_BYTES, VIOLATION_BYTES};

/// The types of JSON Schema.
const TYPES: [&str; 7] = ["string", "number", "integer", "boolean", "object", "array", "null"];

/// Explains an error of compiling a schema whose patterns may take this many bytes each.
pub(super) fn explain(error: &ValidationError<'_>, pattern_bytes: usize) -> String {
    let own = match error.kind() {
        ValidationErrorKind::Format { format } if format == "regex" => {
            error.instance().as_str().map(|text| pattern(text, pattern_bytes))
        }
        ValidationErrorKind::AnyOf { .. } if error.instance_path().as_str().ends_with("/type") => {
            kind(error.instance())
        }
        _ => None,
    };
    own.unwrap_or_else(|| bounded(&error.to_string(), 4 * VIOLATION_BYTES))
}

/// A value of `type` that is not one.
fn kind(value: &Value) -> Option<String> {
    let texts = match value {
        Value::Array(items) => items.as_slice(),
        other => std::slice::from_ref(other),
    };
    let wrong = texts.iter().find(|text| text.as_str().is_none_or(|text| !TYPES.contains(&text)))?;
    let Some(text) = wrong.as_str() else {
        let null = if wrong.is_null() { "; write \"null\" in quotes" } else { "" };
        return Some(format!("a type is one of {}{null}", TYPES.join(", ")));
    };
    let text = bounded(text, VIOLATION_BYTES);
    Some(match suggest(&text, TYPES.into_iter()) {
        Some(near) => format!("`{text}` is not a type; did you mean {near}?"),
        None => format!("`{text}` is not a type; types are {}", TYPES.join(", ")),
    })
}

/// A pattern that does not compile.
fn pattern(text: &str, most: usize) -> String {
    match regex_syntax::Parser::new().parse(text) {
        Err(regex_syntax::Error::Parse(error)) => {
            unusable_pattern(&error.kind().to_string(), error.span().start.offset, text)
        }
        Err(regex_syntax::Error::Translate(error)) => {
            unusable_pattern(&error.kind().to_string(), error.span().start.offset, text)
        }
        _ => format!(
            "this pattern is larger than {most} bytes when it is compiled: {SCHEMA_PATTERN_BYTES}, or less where many \
             patterns share {SCHEMA_PATTERNS_BYTES}; shorten its repetitions"
        ),
    }
}

fn unusable_pattern(why: &str, offset: usize, text: &str) -> String {
    let character = text.get(..offset).map_or(0, |before| before.chars().count()) + 1;
    format!("this pattern is not a regular expression that can be used: {why}, at character {character}")
}
