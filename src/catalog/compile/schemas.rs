//! Compiles `spec.schemas` to a [`SchemaSet`].

use grapnel_api::{KeyReference, Reason, SchemaRule, UnmatchedTypes, WebhookEndpointSpec};
use grapnel_event::schema::{SchemaError, SchemaSet, Unmatched};
use serde_json::Value;

use super::field::Field;

/// Compiles the schemas of an endpoint. `None` if one is missing or invalid, because an endpoint without one of its
/// schemas would accept events that it has to reject; `None` also in a survey.
pub(super) fn schemas(spec: &Field<'_, WebhookEndpointSpec>) -> Option<SchemaSet> {
    let list = spec.at("schemas", &spec.schemas);
    let mut rules = Vec::new();
    let mut fields = Vec::new();
    for rule in spec.at("schemas", &spec.schemas).items() {
        let types = rule.at("types", &rule.types).globs();
        if let Some(schema) = schema(&rule) {
            rules.push((types, schema));
            fields.push(rule);
        }
    }
    if spec.run().is_survey() {
        return None;
    }
    let unmatched = match spec.unmatched_types {
        Some(UnmatchedTypes::Reject) => Unmatched::Reject,
        Some(UnmatchedTypes::Accept) | None => Unmatched::Accept,
    };
    match SchemaSet::compile(rules, unmatched) {
        Ok(set) => (fields.len() == list.len()).then_some(set),
        Err(SchemaError { index, message }) => match fields.get(index) {
            Some(rule) => rule.fail(Reason::InvalidSchema, message),
            None => list.fail(Reason::InvalidSchema, message),
        },
    }
}

fn schema(rule: &Field<'_, SchemaRule>) -> Option<Value> {
    if let Some(schema) = &rule.schema {
        return Some(schema.clone());
    }
    let reference = rule.at("configMapRef", &rule.config_map_ref).given()?;
    let text = reference.config_map()?;
    match serde_json::from_str(text) {
        Ok(schema) => Some(schema),
        Err(error) => {
            let KeyReference { name, key } = reference.value();
            let message = format!("key {key} of ConfigMap {name} is not JSON: {error}; put one JSON Schema there");
            reference.fail(Reason::InvalidSchema, message)
        }
    }
}
