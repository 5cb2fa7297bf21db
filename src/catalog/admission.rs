//! The checks of an API server before it stores an object: the CRD's schema, unknown fields, items that occur twice in a
//! list, and CEL rules.
//!
//! `grapnel check` and the file source run these checks with the CRDs of this build, so that a manifest is rejected for
//! the same reasons with and without a cluster. Unknown fields are errors: an API server prunes them silently, and what
//! they were meant to configure is lost.

mod duplicates;
mod rules;
mod sentence;

use std::sync::LazyLock;

use grapnel_api::{Reason, completion, definition};
use grapnel_values::{pointer::escaped, suggest::suggest};
use jsonschema::Validator as SchemaValidator;
use serde_json::{Map, Value, json};

use self::rules::Rules;
use super::compile::Problem;
use crate::catalog::limits;

/// The checks of one kind.
pub struct Admission {
    schema: Value,
    fields: Result<SchemaValidator, String>,
    rules: Result<Rules, String>,
}

static ENDPOINT: LazyLock<Admission> = LazyLock::new(|| Admission::of(&definition::endpoint()));
static SUBSCRIPTION: LazyLock<Admission> = LazyLock::new(|| Admission::of(&definition::subscription()));
static REPLAY: LazyLock<Admission> = LazyLock::new(|| Admission::of(&definition::replay()));

impl Admission {
    /// Checks of `WebhookEndpoint`.
    pub fn endpoint() -> &'static Self {
        &ENDPOINT
    }

    /// Checks of `WebhookSubscription`.
    pub fn subscription() -> &'static Self {
        &SUBSCRIPTION
    }

    /// Checks of `WebhookReplay`.
    pub fn replay() -> &'static Self {
        &REPLAY
    }

    fn of(definition: &Value) -> Self {
        let schema = definition::schema(definition).cloned().unwrap_or_else(|| json!({}));
        let mut fields = schema.clone();
        // The author does not write the status.
        if let Some(properties) = fields.get_mut("properties").and_then(Value::as_object_mut) {
            properties.remove("status");
        }
        with_alternatives(&mut fields);
        let fields = jsonschema::options().should_validate_formats(true).build(&fields);
        Self {
            fields: fields.map_err(|error| error.to_string()),
            rules: Rules::of(&schema).map_err(|error| error.to_string()),
            schema,
        }
    }

    /// Does to an object what an API server does before it checks one: removes a null from a field that may be absent,
    /// and sets defaults.
    pub fn complete(&self, object: &mut Value) {
        if let (Some(spec), Some(schema)) = (object.get_mut("spec"), self.schema.pointer("/properties/spec")) {
            completion::complete(schema, spec);
        }
    }

    /// All problems of an object, at most [`limits::PROBLEMS_PER_OBJECT`].
    pub fn check(&self, object: &Value) -> Vec<Problem> {
        let Unknown { mut problems, misplaced } = self.unknown_fields(object);
        match &self.fields {
            Ok(fields) => {
                let errors = fields.iter_errors(object).filter(|error| !is_for_lack_of(error, &misplaced));
                problems.extend(errors.map(|error| {
                    let message = sentence::of(&error, &self.schema);
                    Problem::new(error.instance_path().as_str(), Reason::InvalidSpec, message)
                }));
            }
            Err(error) => problems.push(Problem::new("", Reason::InvalidSpec, error.clone())),
        }
        if let (Some(spec), Some(schema)) = (object.get("spec"), self.schema.pointer("/properties/spec")) {
            duplicates::find(spec, schema, "/spec", &mut problems);
        }
        // Rules expect fields of the right types.
        if problems.is_empty() {
            problems.extend(self.rules(object));
        }
        problems.truncate(limits::PROBLEMS_PER_OBJECT);
        problems
    }

    /// Violations of the CEL rules alone, for objects that a server without CEL has stored.
    pub fn rules(&self, object: &Value) -> Vec<Problem> {
        let problem = |(pointer, message): (String, &str)| {
            let message = sentence::of_rule(message, object.pointer(&pointer));
            Problem::new(pointer, Reason::InvalidSpec, message)
        };
        match &self.rules {
            Ok(rules) => rules.violations(object).into_iter().map(problem).collect(),
            Err(error) => vec![Problem::new("", Reason::InvalidSpec, error.clone())],
        }
    }

    fn unknown_fields(&self, object: &Value) -> Unknown {
        let mut found = Unknown::default();
        let Some(fields) = object.as_object() else { return found };
        for name in fields.keys() {
            if !matches!(name.as_str(), "apiVersion" | "kind" | "metadata" | "spec" | "status") {
                found.problems.push(unknown(
                    &format!("/{}", escaped(name)),
                    name,
                    ["apiVersion", "kind", "metadata", "spec"].into_iter(),
                ));
            }
        }
        if let (Some(spec), Some(schema)) = (fields.get("spec"), self.schema.pointer("/properties/spec")) {
            found.walk(spec, schema, "/spec");
        }
        found
    }
}

/// Collects fields that the schema does not define.
#[derive(Default)]
struct Unknown {
    problems: Vec<Problem>,
    /// Objects whose fields all belong one level deeper.
    misplaced: Vec<String>,
}

impl Unknown {
    /// Reports the fields of `value` that `schema` does not define.
    fn walk(&mut self, value: &Value, schema: &Value, pointer: &str) {
        if schema.get("x-kubernetes-preserve-unknown-fields").is_some() {
            return;
        }
        match value {
            Value::Object(fields) => {
                // Maps have keys of the author's choosing; `none: {}` has no fields at all.
                if schema.get("additionalProperties").is_some() {
                    return;
                }
                let none = Map::new();
                let known = schema.get("properties").and_then(Value::as_object).unwrap_or(&none);
                if let Some(problem) = misplaced(fields, known, pointer) {
                    self.problems.push(problem);
                    self.misplaced.push(pointer.into());
                    return;
                }
                for (name, value) in fields {
                    let pointer = format!("{pointer}/{}", escaped(name));
                    match known.get(name) {
                        Some(schema) => self.walk(value, schema, &pointer),
                        None => self.problems.push(unknown(&pointer, name, known.keys().map(String::as_str))),
                    }
                }
            }
            Value::Array(items) => {
                let Some(schema) = schema.get("items") else { return };
                for (number, item) in items.iter().enumerate() {
                    self.walk(item, schema, &format!("{pointer}/{number}"));
                }
            }
            _ => {}
        }
    }
}

/// The single problem of an object none of whose fields is known, but all of which exist one level deeper: `caRef:
/// {name, key}`.
fn misplaced(fields: &Map<String, Value>, known: &Map<String, Value>, pointer: &str) -> Option<Problem> {
    if fields.is_empty() || fields.keys().any(|name| known.contains_key(name)) {
        return None;
    }
    let knows_all = |schema: &Value| {
        let known = schema.get("properties").and_then(Value::as_object);
        known.is_some_and(|known| fields.keys().all(|name| known.contains_key(name)))
    };
    // The items of a list have no name.
    let own = pointer.rsplit('/').next().filter(|own| own.parse::<usize>().is_err());
    let path = |name: &String| own.map_or_else(|| name.clone(), |own| format!("{own}.{name}"));
    let deeper: Vec<_> = known.iter().filter(|(_, schema)| knows_all(schema)).map(|(name, _)| path(name)).collect();
    let names = fields.keys().map(String::as_str).collect::<Vec<_>>().join(" and ");
    (!deeper.is_empty()).then(|| {
        let message = format!("{names} must be one level deeper: write {}", deeper.join(" or "));
        Problem::new(pointer, Reason::InvalidSpec, message)
    })
}

/// Whether the error is a missing field of an object whose fields are one level too high.
fn is_for_lack_of(error: &jsonschema::ValidationError<'_>, misplaced: &[String]) -> bool {
    matches!(error.kind(), jsonschema::error::ValidationErrorKind::Required { .. })
        && misplaced.iter().any(|pointer| pointer == error.instance_path().as_str())
}

fn unknown<'a>(pointer: &str, name: &str, known: impl Iterator<Item = &'a str> + Clone) -> Problem {
    // `url:https://…` without a blank is a field name, and the pointer would repeat it.
    if name.contains('@') {
        let known = known.collect::<Vec<_>>().join(", ");
        let parent = pointer.rsplit_once('/').map_or("", |(parent, _)| parent);
        let message = format!("unknown field with an @ in its name; known here: {known}");
        return Problem::new(parent, Reason::InvalidSpec, message);
    }
    let message = match suggest(name, known.clone()) {
        Some(near) => format!("unknown field `{name}`; did you mean `{near}`?"),
        None if known.clone().next().is_none() => format!("unknown field `{name}`; no field is allowed here"),
        None => format!("unknown field `{name}`; known here: {}", known.collect::<Vec<_>>().join(", ")),
    };
    Problem::new(pointer, Reason::InvalidSpec, message)
}

/// Adds the alternatives that `x-kubernetes-int-or-string` implies, which JSON Schema does not know.
fn with_alternatives(schema: &mut Value) {
    match schema {
        Value::Object(fields) => {
            if fields.get("x-kubernetes-int-or-string").is_some() {
                fields.insert("anyOf".into(), json!([{ "type": "integer" }, { "type": "string" }]));
            }
            fields.values_mut().for_each(with_alternatives);
        }
        Value::Array(items) => items.iter_mut().for_each(with_alternatives),
        _ => {}
    }
}
