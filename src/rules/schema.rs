//! Validation by JSON Schema.

use std::fmt::Write;

use bytes::Bytes;
use jsonschema::{PatternOptions, Retrieve, Uri, Validator, error::ValidationErrorKind};
use serde_json::Value;

use super::{
    glob::{Glob, GlobSet},
    identity::Identity,
    limits::{SCHEMA_BYTES, SCHEMA_DEPTH, SCHEMA_PATTERN_BYTES, SCHEMAS, VIOLATION_BYTES, VIOLATIONS},
    payload::Payload,
    signature::Verified,
};

/// An event that has passed verification and validation. Only [`SchemaSet::validate`] makes one.
#[derive(Debug, Clone)]
pub struct Validated {
    identity: Identity,
    body: Bytes,
}

impl Validated {
    /// Its parts.
    pub fn into_parts(self) -> (Identity, Bytes) {
        (self.identity, self.body)
    }

    /// Id and type.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// The raw body.
    pub fn body(&self) -> &Bytes {
        &self.body
    }
}

/// What to do with an event whose type no schema is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Unmatched {
    /// Let it in.
    #[default]
    Accept,
    /// Refuse it.
    Reject,
}

/// The schemas of an endpoint. An empty set lets everything in, or nothing: see [`Unmatched`].
#[derive(Debug, Default)]
pub struct SchemaSet {
    rules: Vec<(GlobSet, Validator)>,
    unmatched: Unmatched,
}

/// A schema that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("schema {number}: {message}", number = index + 1)]
pub struct SchemaError {
    /// Which of the schemas, from 0.
    pub index: usize,
    /// What is wrong with it and where.
    pub message: String,
}

/// Why an event is not let in. Displayed, it holds nothing of the event.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// The payload does not match its schemas: the first [`VIOLATIONS`] places, as JSON pointer and message. Messages
    /// and pointers have at most [`VIOLATION_BYTES`] and hold property names of the payload, but none of its values.
    #[error("the payload does not match the schema of its type")]
    Schema(Vec<(String, String)>),
    /// No schema is for this type.
    #[error("no schema is for events of this type, and unmatchedTypes is Reject")]
    UnknownType(String),
}

impl Violation {
    /// The code of the answer and of the metric.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Schema(_) => "schema_violation",
            Self::UnknownType(_) => "unknown_event_type",
        }
    }
}

impl SchemaSet {
    /// Compiles schemas, each for the types that its globs match. The draft is that of `$schema`, otherwise 2020-12. A
    /// `$ref` out of the schema is never fetched, neither from the network nor from a file. Patterns are run by an
    /// engine of linear time, so look-around and back-references are errors.
    ///
    /// # Errors
    ///
    /// [`SchemaError`] names the first schema that cannot be used, and why.
    pub fn compile(schemas: Vec<(Vec<Glob>, Value)>, unmatched: Unmatched) -> Result<Self, SchemaError> {
        if schemas.len() > SCHEMAS {
            let message = format!("there are {} schemas, more than the {SCHEMAS} allowed", schemas.len());
            return Err(SchemaError { index: SCHEMAS, message });
        }
        let rules = schemas
            .into_iter()
            .enumerate()
            .map(|(index, (globs, schema))| match compile(&schema) {
                Ok(validator) => Ok((GlobSet::new(globs), validator)),
                Err(message) => Err(SchemaError { index, message }),
            })
            .collect::<Result<_, _>>()?;
        Ok(Self { rules, unmatched })
    }

    /// Whether there are no schemas.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// Whether events of a type need their payload as a tree.
    pub fn needs_payload(&self, kind: &str) -> bool {
        self.rules.iter().any(|(types, _)| types.matches(kind))
    }

    /// Lets an event in if its payload matches every schema for its type.
    ///
    /// # Errors
    ///
    /// [`Violation`] says what does not match, or that no schema is for the type.
    pub fn validate(&self, verified: Verified, payload: &Payload, identity: Identity) -> Result<Validated, Violation> {
        let mut schemas = self.rules.iter().filter(|(types, _)| types.matches(&identity.kind)).peekable();
        if schemas.peek().is_none() && self.unmatched == Unmatched::Reject {
            return Err(Violation::UnknownType(identity.kind.into()));
        }
        let mut violations = Vec::new();
        for (_, validator) in schemas {
            let Some(value) = payload.value() else {
                let message = "a schema is for this type, but the body is neither JSON nor a form";
                return Err(Violation::Schema(vec![(String::new(), message.into())]));
            };
            if !validator.is_valid(value) {
                let room = VIOLATIONS.saturating_sub(violations.len());
                violations.extend(validator.iter_errors(value).take(room).map(|error| describe(&error)));
            }
        }
        if violations.is_empty() {
            Ok(Validated { identity, body: verified.into_body() })
        } else {
            Err(Violation::Schema(violations))
        }
    }
}

fn compile(schema: &Value) -> Result<Validator, String> {
    if !schema.is_object() && !schema.is_boolean() {
        return Err("a schema is an object, true or false".into());
    }
    if depth(schema, SCHEMA_DEPTH) == 0 {
        return Err(format!("it is nested more than {SCHEMA_DEPTH} deep"));
    }
    let bytes = serde_json::to_vec(schema).map_or(usize::MAX, |text| text.len());
    if bytes > SCHEMA_BYTES {
        return Err(format!("it has {bytes} bytes, more than the {SCHEMA_BYTES} allowed"));
    }
    jsonschema::options()
        .with_retriever(NoRetrieval)
        .with_pattern_options(PatternOptions::regex().size_limit(SCHEMA_PATTERN_BYTES))
        .build(schema)
        .map_err(|error| {
            let message = match error.kind() {
                ValidationErrorKind::Format { format } if format == "regex" => {
                    "the pattern is not a regular expression without look-around and back-references, or it is too large"
                        .into()
                }
                _ => bounded(&error.to_string(), 4 * VIOLATION_BYTES),
            };
            match error.instance_path().as_str() {
                "" => message,
                path => format!("{}: {message}", bounded(path, VIOLATION_BYTES)),
            }
        })
}

/// Levels that are left of `allowed` below the deepest value; 0 when there are too many.
fn depth(value: &Value, allowed: usize) -> usize {
    let Some(left) = allowed.checked_sub(1) else { return 0 };
    match value {
        Value::Array(elements) => elements.iter().map(|element| depth(element, left)).min().unwrap_or(left),
        Value::Object(map) => map.values().map(|element| depth(element, left)).min().unwrap_or(left),
        _ => allowed,
    }
}

/// Fetches nothing.
struct NoRetrieval;

impl Retrieve for NoRetrieval {
    fn retrieve(&self, uri: &Uri<String>) -> Result<Value, Box<dyn std::error::Error + Send + Sync>> {
        Err(format!("{uri} is another document, and those are never fetched; copy it below $defs").into())
    }
}

fn describe(error: &jsonschema::ValidationError<'_>) -> (String, String) {
    let message = match error.kind() {
        // The crate's own message shows the property's name as if it were a value.
        ValidationErrorKind::PropertyNames { .. } => "a property has a name that is not allowed".into(),
        ValidationErrorKind::FromUtf8 { .. } => "value does not decode to UTF-8".into(),
        _ => error.masked().to_string(),
    };
    (bounded(error.instance_path().as_str(), VIOLATION_BYTES), bounded(&message, VIOLATION_BYTES))
}

/// The beginning of a text.
fn bounded(text: &str, max: usize) -> String {
    if text.len() <= max {
        return text.into();
    }
    let mut short = String::with_capacity(max);
    for c in text.chars() {
        if short.len() + c.len_utf8() + '…'.len_utf8() > max {
            break;
        }
        short.push(c);
    }
    let _ = short.write_char('…');
    short
}
