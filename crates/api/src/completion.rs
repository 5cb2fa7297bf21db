//! What an API server does to an object before it checks it.

use serde_json::Value;

/// Removes a null from every field that the schema defines, for none is nullable, and sets the defaults of absent fields.
/// Nulls in lists and in maps stay.
pub fn complete(schema: &Value, value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for (name, schema) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
                if fields.get(name).is_some_and(Value::is_null) {
                    fields.remove(name);
                }
                match (fields.get_mut(name), schema.get("default")) {
                    (Some(value), _) => complete(schema, value),
                    (None, Some(default)) => {
                        let mut value = default.clone();
                        complete(schema, &mut value);
                        fields.insert(name.clone(), value);
                    }
                    (None, None) => {}
                }
            }
        }
        Value::Array(items) => {
            let Some(schema) = schema.get("items") else { return };
            items.iter_mut().for_each(|item| complete(schema, item));
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
