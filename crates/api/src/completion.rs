//! What an API server does to an object before it checks it.

use kube::core::cel::apply_defaults;
use serde_json::Value;

/// Most defaults that lie within each other: `retry: {}` and the fields of it.
const DEPTH: usize = 8;

/// Removes a null from every field that the schema defines, and sets the defaults of absent fields.
pub fn complete(schema: &Value, value: &mut Value) {
    without_nulls(schema, value);
    // One pass does not set the defaults within a default.
    for _ in 0..DEPTH {
        let completed = apply_defaults(schema, value);
        if completed == *value {
            return;
        }
        *value = completed;
    }
}

/// No field is nullable. Items of lists and values of maps stay, as on an API server.
fn without_nulls(schema: &Value, value: &mut Value) {
    match value {
        Value::Object(fields) => {
            let Some(known) = schema.get("properties").and_then(Value::as_object) else { return };
            fields.retain(|name, value| !value.is_null() || !known.contains_key(name));
            for (name, value) in fields.iter_mut() {
                if let Some(schema) = known.get(name) {
                    without_nulls(schema, value);
                }
            }
        }
        Value::Array(items) => {
            let Some(schema) = schema.get("items") else { return };
            items.iter_mut().for_each(|item| without_nulls(schema, item));
        }
        _ => {}
    }
}

/// Prepares a schema and an object for a CEL evaluator that does not know `type()`: integers or texts become texts, which
/// is what the rest of their rules is about. The bounds of integers are not rules.
pub fn without_type_tests(schema: &mut Value) {
    match schema {
        Value::Object(fields) => {
            let is_either = fields.get("x-kubernetes-int-or-string") == Some(&Value::Bool(true));
            // An evaluator sets defaults itself.
            if let Some(default @ Value::Number(_)) = fields.get_mut("default").filter(|_| is_either) {
                *default = default.to_string().into();
            }
            for (name, value) in fields.iter_mut() {
                match value {
                    Value::String(rule) if name == "rule" => {
                        if let Some(rest) = rule.strip_prefix(super::rules::INTEGER_OR) {
                            *rule = rest.to_owned();
                        }
                    }
                    value => without_type_tests(value),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(without_type_tests),
        _ => {}
    }
}

/// See [`without_type_tests`].
pub fn integers_as_texts(schema: &Value, value: &mut Value) {
    match value {
        Value::Number(number) if schema.get("x-kubernetes-int-or-string") == Some(&Value::Bool(true)) => {
            *value = number.to_string().into();
        }
        Value::Object(fields) => {
            let known = schema.get("properties");
            for (name, value) in fields.iter_mut() {
                if let Some(schema) = known.and_then(|known| known.get(name)) {
                    integers_as_texts(schema, value);
                }
            }
        }
        Value::Array(items) => {
            let Some(schema) = schema.get("items") else { return };
            items.iter_mut().for_each(|item| integers_as_texts(schema, item));
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_null_is_an_absent_field_and_has_its_default() {
        let inner = json!({ "properties": { "b": { "type": "string", "default": "x" } }, "default": {} });
        let schema = json!({ "properties": { "a": inner, "c": { "type": "string" }, "l": { "items": {} } } });
        let mut value = json!({ "a": null, "c": null, "l": [null], "unknown": null });
        complete(&schema, &mut value);
        assert_eq!(value, json!({ "a": { "b": "x" }, "l": [null], "unknown": null }));
    }
}
