//! Validation against JSON Schema.
//!
//! ```
//! use bytes::Bytes;
//! use grapnel_event::{identity::{Identity, Payload, Reading}, schema::{SchemaSet, Unmatched}};
//! use grapnel_signature::{Scheme, Verifier};
//! use grapnel_values::{clock::{Clock, SystemClock}, glob::Glob};
//! use http::HeaderMap;
//! use serde_json::json;
//!
//! let schema = json!({ "required": ["amount"] });
//! let schemas = SchemaSet::compile(vec![(vec![Glob::parse("order.*")?], schema)], Unmatched::Accept)?;
//! let body = Bytes::from_static(br#"{"id":"evt_1"}"#);
//! let verified = Verifier::new(Scheme::None, Vec::new())?.verify(&HeaderMap::new(), body.clone(), SystemClock.now())?;
//! let payload = Payload::read(&Reading::default(), Some("application/json"), &body);
//! let violation = schemas.validate(verified, &payload, Identity::new("evt_1", "order.created")).err();
//! assert_eq!(violation.map(|violation| violation.code()), Some("schema_violation"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod cost;
mod ref_expansion;
mod unusable;

use std::fmt::{self, Write};

use bytes::Bytes;
use grapnel_payload::payload::Payload;
use grapnel_signature::Verified;
use grapnel_values::{
    cost_budget::CostBudget,
    glob::{Glob, GlobSet},
};
use jsonschema::{PatternOptions, Retrieve, Uri, Validator, error::ValidationErrorKind};
use serde_json::Value;

use self::{cost::Cost, ref_expansion::ExpandedSchema};
use super::{
    identity::Identity,
    limits::{SCHEMA_BYTES, SCHEMA_DEPTH, SCHEMA_PATTERN_BYTES, SCHEMAS, VIOLATION_BYTES, VIOLATIONS},
};

/// An event that has passed verification and validation. For incoming requests, only [`SchemaSet::validate`] creates
/// one.
#[derive(Clone)]
pub struct Validated {
    identity: Identity,
    body: Bytes,
}

impl fmt::Debug for Validated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Validated").field("identity", &self.identity).field("bytes", &self.body.len()).finish()
    }
}

impl Validated {
    /// Creates a validated event from one that was accepted before and is in the journal, to forward it to another
    /// endpoint under another id.
    pub fn again(identity: Identity, body: Bytes) -> Self {
        Self { identity, body }
    }

    /// Returns the identity and the body.
    pub fn into_parts(self) -> (Identity, Bytes) {
        (self.identity, self.body)
    }

    /// Returns the id and type.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Returns the raw body.
    pub fn body(&self) -> &Bytes {
        &self.body
    }
}

/// The message for an event that would take more steps to validate than are left of
/// [`SCHEMA_STEPS`](grapnel_values::limits::SCHEMA_STEPS).
const TOO_MUCH: &str = "validating this payload takes too many steps; send smaller events or batches, or simplify the \
                        schema so that fewer subschemas apply to one value";

/// What to do with an event whose type matches no schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Unmatched {
    /// Accept the event.
    #[default]
    Accept,
    /// Reject the event.
    Reject,
}

/// The schemas of an endpoint. An empty set accepts or rejects everything; see [`Unmatched`].
#[derive(Debug, Default)]
pub struct SchemaSet {
    rules: Vec<Rule>,
    unmatched: Unmatched,
}

#[derive(Debug)]
struct Rule {
    types: GlobSet,
    validator: Validator,
    /// See [`ExpandedSchema`].
    recursive: bool,
    cost: Cost,
}

/// A schema that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("schema {number}: {message}", number = index + 1)]
pub struct SchemaError {
    /// Index of the schema, from 0.
    pub index: usize,
    /// What is wrong, and where.
    pub message: String,
}

/// Why an event is rejected. Its `Display` output holds nothing of the event.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// The payload does not match its schemas: the first [`VIOLATIONS`] violations, as JSON pointer and message.
    /// Messages and pointers have at most [`VIOLATION_BYTES`] and may hold property names of the payload, but none of
    /// its values.
    #[error("the payload does not match the schema of its type")]
    Schema(Vec<(String, String)>),
    /// No schema matches this type.
    #[error("no schema lists this event type, and unmatchedTypes is Reject")]
    UnknownType(String),
}

impl Violation {
    /// Returns the code for the response and the metric.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Schema(_) => "schema_violation",
            Self::UnknownType(_) => "unknown_event_type",
        }
    }
}

impl SchemaSet {
    /// Compiles schemas, each for the types that its globs match. The draft is that of `$schema`, by default 2020-12. A
    /// `$ref` out of the schema is never fetched, neither from the network nor from a file. Patterns run on a
    /// linear-time engine, so look-around and back-references are errors.
    ///
    /// # Errors
    ///
    /// [`SchemaError`] names the first unusable schema, and why.
    pub fn compile(schemas: Vec<(Vec<Glob>, Value)>, unmatched: Unmatched) -> Result<Self, SchemaError> {
        if schemas.len() > SCHEMAS {
            let message = format!("there are {} schemas, more than the {SCHEMAS} allowed", schemas.len());
            return Err(SchemaError { index: SCHEMAS, message });
        }
        let rules = schemas
            .into_iter()
            .enumerate()
            .map(|(index, (globs, schema))| {
                Rule::compile(GlobSet::new(globs), &schema).map_err(|message| SchemaError { index, message })
            })
            .collect::<Result<_, _>>()?;
        Ok(Self { rules, unmatched })
    }

    /// Returns whether there are no schemas.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// Returns whether validating events of a type needs their payload as a tree.
    pub fn needs_payload(&self, kind: &str) -> bool {
        self.rules.iter().any(|rule| rule.types.matches(kind))
    }

    /// Accepts an event if its payload matches every schema for its type.
    ///
    /// # Errors
    ///
    /// [`Violation`] says what does not match, or that no schema matches the type.
    pub fn validate(&self, verified: Verified, payload: &Payload, identity: Identity) -> Result<Validated, Violation> {
        self.validate_within(verified, payload, identity, &mut CostBudget::default())
    }

    /// Like [`SchemaSet::validate`], with the remaining steps of a request.
    ///
    /// # Errors
    ///
    /// See [`SchemaSet::validate`].
    pub fn validate_within(
        &self,
        verified: Verified,
        payload: &Payload,
        identity: Identity,
        budget: &mut CostBudget,
    ) -> Result<Validated, Violation> {
        let mut schemas = self.rules.iter().filter(|rule| rule.types.matches(&identity.kind)).peekable();
        if schemas.peek().is_none() && self.unmatched == Unmatched::Reject {
            return Err(Violation::UnknownType(identity.kind.into()));
        }
        let mut violations = Vec::new();
        for rule in schemas {
            let Some(value) = payload.value() else {
                let message = "this type has a schema, but the body is neither JSON nor a form";
                return Err(Violation::Schema(vec![(String::new(), message.into())]));
            };
            // A schema says what the payload is, so here what cannot be read is not enough.
            if let Some(flaw) = payload.flaw() {
                return Err(Violation::Schema(vec![(String::new(), flaw.into())]));
            }
            let left = rule.cost.count(value, budget.schema).and_then(|steps| budget.schema.checked_sub(steps));
            let Some(left) = left else {
                return Err(Violation::Schema(vec![(String::new(), TOO_MUCH.into())]));
            };
            budget.schema = left;
            if !rule.validator.is_valid(value) {
                rule.explain(value, &mut violations);
            }
        }
        if violations.is_empty() {
            Ok(Validated { identity, body: verified.into_body() })
        } else {
            Err(Violation::Schema(violations))
        }
    }
}

impl Rule {
    fn compile(types: GlobSet, schema: &Value) -> Result<Self, String> {
        if !schema.is_object() && !schema.is_boolean() {
            return Err("a schema is an object, true or false".into());
        }
        if depth(schema, SCHEMA_DEPTH).is_none() {
            return Err(format!("it is nested more than {SCHEMA_DEPTH} deep"));
        }
        let bytes = serde_json::to_vec(schema).map_or(usize::MAX, |text| text.len());
        if bytes > SCHEMA_BYTES {
            return Err(format!(
                "it has {bytes} bytes as compact JSON, more than the {SCHEMA_BYTES} allowed; give each type a schema of its \
                 own, or leave out titles, descriptions and examples"
            ));
        }
        let ExpandedSchema { recursive, cost, pattern_bytes } = ref_expansion::measure(schema)?;
        let validator = jsonschema::options()
            .with_retriever(NoRetrieval)
            .with_pattern_options(
                PatternOptions::regex().size_limit(pattern_bytes).dfa_size_limit(SCHEMA_PATTERN_BYTES),
            )
            .build(schema)
            .map_err(|error| {
                let message = unusable::explain(&error, pattern_bytes);
                match error.instance_path().as_str() {
                    "" => message,
                    path => format!("{}: {message}", bounded(path, VIOLATION_BYTES)),
                }
            })?;
        Ok(Self { types, validator, recursive, cost })
    }

    /// Adds the violations of a value, up to the maximum number.
    fn explain(&self, value: &Value, violations: &mut Vec<(String, String)>) {
        let room = VIOLATIONS.saturating_sub(violations.len());
        if self.recursive {
            let message = "the value does not match; the position is not shown because the schema is recursive";
            violations.extend([(String::new(), message.into())].into_iter().take(room));
        } else {
            violations.extend(self.validator.iter_errors(value).take(room).map(|error| describe(&error)));
        }
    }
}

/// Returns how many of the `allowed` levels the deepest value leaves; `None` when it exceeds them.
fn depth(value: &Value, allowed: usize) -> Option<usize> {
    let deepest = |mut children: Box<dyn Iterator<Item = &Value> + '_>| {
        let left = allowed.checked_sub(1)?;
        children.try_fold(left, |least, child| Some(least.min(depth(child, left)?)))
    };
    match value {
        Value::Array(elements) => deepest(Box::new(elements.iter())),
        Value::Object(map) => deepest(Box::new(map.values())),
        _ => Some(allowed),
    }
}

/// A retriever that fetches nothing.
struct NoRetrieval;

impl Retrieve for NoRetrieval {
    fn retrieve(&self, uri: &Uri<String>) -> Result<Value, Box<dyn std::error::Error + Send + Sync>> {
        Err(format!("{uri} is another document, which is never fetched; copy it into $defs").into())
    }
}

fn describe(error: &jsonschema::ValidationError<'_>) -> (String, String) {
    let message = match error.kind() {
        // The crate's own message shows the property's name like a value.
        ValidationErrorKind::PropertyNames { .. } => "a property has a name that is not allowed".into(),
        ValidationErrorKind::FromUtf8 { .. } => "value does not decode to UTF-8".into(),
        _ => error.masked().to_string(),
    };
    (bounded(error.instance_path().as_str(), VIOLATION_BYTES), bounded(&message, VIOLATION_BYTES))
}

/// Truncates a text to at most `max` bytes.
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

#[cfg(test)]
mod tests;
