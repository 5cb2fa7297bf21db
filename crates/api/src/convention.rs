//! The API conventions of Kubernetes, applied to the schemas that the types derive.

use serde_json::{Map, Value, json};

/// Makes a schema follow the conventions:
///
/// - no `nullable`: an API server removes a null from an optional field, and OpenAPI v2 omits nodes that are nullable
/// - formats `int32` and `int64` only, and bounds of integers that are integers
/// - `x-kubernetes-int-or-string` without the alternatives that it implies
/// - references are atomic: their fields have no meaning apart
/// - descriptions without line breaks other than between paragraphs
pub(super) fn apply(schema: &mut Value) {
    let Some(node) = schema.as_object_mut() else { return };
    node.remove("nullable");
    if let Some(values) = node.get_mut("enum").and_then(Value::as_array_mut) {
        values.retain(|value| !value.is_null());
    }
    if node.get("x-kubernetes-int-or-string").is_some() {
        node.remove("type");
        // It implies them, and API servers of 1.20 cannot use a schema with them for server-side apply.
        node.remove("anyOf");
    }
    if let Some(Value::String(text)) = node.get_mut("description") {
        *text = flowing(text);
    }
    integers(node);
    for (name, property) in node.get_mut("properties").and_then(Value::as_object_mut).into_iter().flatten() {
        apply(property);
        if name.ends_with("Ref")
            && let Some(property) = property.as_object_mut()
        {
            property.insert("x-kubernetes-map-type".into(), "atomic".into());
        }
    }
    for part in ["items", "additionalProperties"] {
        if let Some(part) = node.get_mut(part) {
            apply(part);
        }
    }
}

fn integers(node: &mut Map<String, Value>) {
    for bound in ["minimum", "maximum"] {
        if let Some(whole) = node.get(bound).and_then(whole) {
            node.insert(bound.into(), whole.into());
        }
    }
    let format = match node.get("format").and_then(Value::as_str) {
        Some("uint8" | "uint16" | "int8" | "int16") => "int32",
        Some("uint32") if node.get("maximum").and_then(Value::as_i64).is_some_and(|max| max <= i32::MAX.into()) => {
            "int32"
        }
        Some("uint32" | "uint64" | "uint") => "int64",
        _ => return,
    };
    node.insert("format".into(), format.into());
}

/// The integer that a bound is.
fn whole(bound: &Value) -> Option<i64> {
    bound.as_i64().or_else(|| format!("{:.0}", bound.as_f64()?).parse().ok())
}

/// Joins the lines of each paragraph.
fn flowing(text: &str) -> String {
    let paragraph = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    text.split("\n\n").map(paragraph).collect::<Vec<_>>().join("\n\n")
}

/// The schema of `status.conditions`, with the bounds of `metav1.Condition`.
pub(super) fn conditions(description: Value) -> Value {
    json!({
        "description": description,
        "type": "array",
        "maxItems": 32,
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["type"],
        "items": {
            "description": "A condition of the object.",
            "type": "object",
            "required": ["lastTransitionTime", "message", "reason", "status", "type"],
            "properties": {
                "lastTransitionTime": {
                    "description": "When the status last changed.", "type": "string", "format": "date-time",
                },
                "message": { "description": "Details for people.", "type": "string", "maxLength": 32768 },
                "observedGeneration": {
                    "description": "Generation of the object that the condition refers to.",
                    "type": "integer", "format": "int64", "minimum": 0,
                },
                "reason": {
                    "description": "Why the condition has its status, in one word.",
                    "type": "string", "minLength": 1, "maxLength": 1024,
                    "pattern": "^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$",
                },
                "status": {
                    "description": "True, False or Unknown.", "type": "string", "enum": ["True", "False", "Unknown"],
                },
                "type": {
                    "description": "Type of the condition.", "type": "string", "maxLength": 316,
                    "pattern": "^([a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?\
                                (([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])$",
                },
            },
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn applied(mut schema: Value) -> Value {
        apply(&mut schema);
        schema
    }

    #[test]
    fn formats_and_bounds_are_those_of_kubernetes() {
        let count =
            json!({ "type": "integer", "format": "uint32", "minimum": 1.0, "maximum": 100.0, "nullable": true });
        let expected = json!({ "type": "integer", "format": "int32", "minimum": 1, "maximum": 100 });
        assert_eq!(applied(count), expected);
        let total = json!({ "type": "integer", "format": "uint64", "minimum": 0.0 });
        assert_eq!(applied(total), json!({ "type": "integer", "format": "int64", "minimum": 0 }));
    }

    #[test]
    fn fields_may_have_the_names_of_keywords() {
        let schema = json!({ "type": "object", "properties": { "format": { "type": "string", "nullable": true } } });
        assert_eq!(applied(schema), json!({ "type": "object", "properties": { "format": { "type": "string" } } }));
    }

    #[test]
    fn descriptions_flow() {
        let schema = json!({ "description": "One\ntwo.\n\nThree\nfour." });
        assert_eq!(applied(schema), json!({ "description": "One two.\n\nThree four." }));
    }
}
