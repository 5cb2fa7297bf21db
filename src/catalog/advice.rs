//! Warnings about objects that are valid, but probably do not do what their author means.

mod schema;

use grapnel_api::{EventSource, Reason, WebhookEndpointSpec, WebhookReplaySpec, WebhookSubscriptionSpec};
use grapnel_expression::{ExpectedType, Expression, Scope};
use grapnel_values::pointer::escaped;
use serde_json::Value;

use super::{compile::Problem, limits};

/// Warnings about an endpoint, at most [`limits::PROBLEMS_PER_OBJECT`].
pub fn endpoint(spec: &WebhookEndpointSpec) -> Vec<Problem> {
    let mut warnings = Vec::new();
    for (number, rule) in spec.schemas.iter().enumerate() {
        if let Some(schema) = &rule.schema {
            schema::check(schema, &format!("/spec/schemas/{number}/schema"), &mut warnings);
        }
    }
    let event = spec.event.as_ref();
    let expression = |source: &EventSource| source.expression.clone();
    let sources =
        [("type", event.and_then(|event| event.kind.as_ref())), ("id", event.and_then(|event| event.id.as_ref()))];
    for (name, source) in sources {
        if let Some(text) = source.and_then(expression) {
            let pointer = format!("/spec/event/{name}/expression");
            warnings.extend(capital_header(&text, Scope::Request, ExpectedType::Text, &pointer));
        }
    }
    warnings.truncate(limits::PROBLEMS_PER_OBJECT);
    warnings
}

/// Warnings about the fields of a spec that are null, which is the same as leaving them out: `filter:` without a value lets
/// everything through. At most [`limits::PROBLEMS_PER_OBJECT`]. Schemas have warnings of their own.
pub fn nulls(spec: &Value) -> Vec<Problem> {
    let message = "null is the same as no value; remove the field, or give it a value";
    let mut warnings = Vec::new();
    each_null(spec, "/spec", |field| field != "schema", &mut |pointer| {
        warnings.push(Problem::new(pointer, Reason::InvalidSpec, message));
    });
    warnings.truncate(limits::PROBLEMS_PER_OBJECT);
    warnings
}

/// Calls `found` with the pointer of every null in the fields that are `read`.
fn each_null(value: &Value, pointer: &str, read: fn(&str) -> bool, found: &mut impl FnMut(&str)) {
    match value {
        Value::Null => found(pointer),
        Value::Array(items) => {
            for (number, item) in items.iter().enumerate() {
                each_null(item, &format!("{pointer}/{number}"), read, found);
            }
        }
        Value::Object(fields) => {
            for (name, value) in fields.iter().filter(|(name, _)| read(name)) {
                each_null(value, &format!("{pointer}/{}", escaped(name)), read, found);
            }
        }
        _ => {}
    }
}

/// Warnings about a subscription.
pub fn subscription(spec: &WebhookSubscriptionSpec) -> Vec<Problem> {
    let filter = spec.filter.as_deref().map(|text| (text, ExpectedType::Bool, "/spec/filter"));
    let transform = spec.transform.as_deref().map(|text| (text, ExpectedType::Json, "/spec/transform"));
    [filter, transform]
        .into_iter()
        .flatten()
        .filter_map(|(text, gives, pointer)| capital_header(text, Scope::Delivery, gives, pointer))
        .collect()
}

/// Warnings about a replay.
pub fn replay(spec: &WebhookReplaySpec) -> Vec<Problem> {
    let filter = spec.filter.as_deref();
    let warning = |text| capital_header(text, Scope::Delivery, ExpectedType::Bool, "/spec/filter");
    filter.and_then(warning).into_iter().collect()
}

/// A header that an expression looks up by a name with capitals, and therefore never finds. What does not compile is a
/// problem, which the compiler reports.
fn capital_header(text: &str, scope: Scope, gives: ExpectedType, pointer: &str) -> Option<Problem> {
    let expression = Expression::compile(text, scope, gives).ok()?;
    let name = expression.capital_header()?;
    let message = format!(
        "no header is named `{name}`, because headers have lower-case names here; write `{}`",
        name.to_lowercase()
    );
    Some(Problem::new(pointer, Reason::InvalidExpression, message))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn warnings_of<T: serde::de::DeserializeOwned>(spec: Value, check: fn(&T) -> Vec<Problem>) -> Vec<String> {
        check(&serde_json::from_value(spec).unwrap()).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn headers_with_capitals_are_warned_about() {
        let expression = "headers['X-Kind']";
        let warnings = warnings_of(
            json!({ "verification": { "none": {} }, "event": { "type": { "expression": expression } } }),
            endpoint,
        );
        let expected = "spec.event.type.expression: no header is named `X-Kind`, because headers have lower-case names \
                        here; write `x-kind`";
        assert_eq!(warnings, [expected]);
        let target = json!({ "url": "https://receiver.example" });
        let spec = |filter: &str| json!({ "endpointRef": { "name": "in" }, "target": target, "filter": filter });
        let warnings = warnings_of(spec("headers['X-Kind'] == 'a'"), subscription);
        assert!(warnings.len() == 1 && warnings[0].starts_with("spec.filter: "), "{warnings:?}");
        assert!(warnings_of(spec("headers['x-kind'] == 'A'"), subscription).is_empty());
    }

    #[test]
    fn schemas_are_checked_at_their_places() {
        let schema = json!({ "requierd": ["id"] });
        let spec = json!({ "verification": { "none": {} }, "schemas": [{ "types": ["*"], "schema": schema }] });
        let warnings = warnings_of(spec, endpoint);
        let expected = "spec.schemas[0].schema.requierd: the keyword has no effect; did you mean `required`?";
        assert_eq!(warnings, [expected]);
    }
}
