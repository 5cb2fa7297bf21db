//! JSON Schemas that are valid, but ignore or lose a part of what is written.

use grapnel_api::Reason;
use grapnel_values::{pointer::escaped, suggest::suggest};
use serde_json::{Map, Value};

use super::each_null;
use crate::catalog::compile::Problem;

/// Keywords whose value is a schema.
const ONE: [&str; 13] = [
    "additionalItems",
    "additionalProperties",
    "contains",
    "contentSchema",
    "else",
    "if",
    "items",
    "not",
    "propertyNames",
    "then",
    "unevaluatedItems",
    "unevaluatedProperties",
    "extends",
];
/// Keywords whose value is a list of schemas; `items` is one in earlier drafts.
const LISTS: [&str; 5] = ["allOf", "anyOf", "items", "oneOf", "prefixItems"];
/// Keywords whose value maps names to schemas.
const MAPS: [&str; 6] = ["$defs", "definitions", "dependencies", "dependentSchemas", "patternProperties", "properties"];
/// All other keywords of draft 4 to 2020-12.
const OTHERS: [&str; 42] = [
    "$anchor",
    "$comment",
    "$dynamicAnchor",
    "$dynamicRef",
    "$id",
    "$recursiveAnchor",
    "$recursiveRef",
    "$ref",
    "$schema",
    "$vocabulary",
    "const",
    "contentEncoding",
    "contentMediaType",
    "default",
    "dependentRequired",
    "deprecated",
    "description",
    "enum",
    "examples",
    "exclusiveMaximum",
    "exclusiveMinimum",
    "format",
    "id",
    "maxContains",
    "maxItems",
    "maxLength",
    "maxProperties",
    "maximum",
    "minContains",
    "minItems",
    "minLength",
    "minProperties",
    "minimum",
    "multipleOf",
    "pattern",
    "readOnly",
    "required",
    "title",
    "type",
    "uniqueItems",
    "writeOnly",
    // Not of JSON Schema, but an annotation everywhere.
    "example",
];

/// Adds warnings about a schema at this pointer of an object.
pub(super) fn check(schema: &Value, pointer: &str, warnings: &mut Vec<Problem>) {
    nulls(schema, pointer, warnings);
    keywords(schema, pointer, warnings);
}

fn warning(pointer: &str, message: impl Into<String>) -> Problem {
    Problem::new(pointer, Reason::InvalidSchema, message)
}

/// A client merges a custom resource with a JSON Merge Patch (RFC 7386), in which null means deletion.
fn nulls(schema: &Value, pointer: &str, warnings: &mut Vec<Problem>) {
    let message =
        "`kubectl apply` drops null; write `type: \"null\"` for a null value, or keep the schema in a ConfigMap";
    each_null(schema, pointer, |_| true, &mut |pointer| warnings.push(warning(pointer, message)));
}

/// Finds keywords that no draft defines.
fn keywords(schema: &Value, pointer: &str, warnings: &mut Vec<Problem>) {
    let Value::Object(fields) = schema else { return };
    for (name, value) in fields {
        let pointer = format!("{pointer}/{}", escaped(name));
        if let Some(message) = no_effect(name, fields) {
            warnings.push(warning(&pointer, message));
        }
        match value {
            Value::Array(items) if LISTS.contains(&name.as_str()) => {
                for (number, item) in items.iter().enumerate() {
                    keywords(item, &format!("{pointer}/{number}"), warnings);
                }
            }
            Value::Object(schemas) if MAPS.contains(&name.as_str()) => {
                for (name, schema) in schemas {
                    keywords(schema, &format!("{pointer}/{}", escaped(name)), warnings);
                }
            }
            _ if ONE.contains(&name.as_str()) => keywords(value, &pointer, warnings),
            _ => {}
        }
    }
}

/// Why a keyword has no effect.
fn no_effect(name: &str, fields: &Map<String, Value>) -> Option<String> {
    let known = || ONE.into_iter().chain(LISTS).chain(MAPS).chain(OTHERS);
    if known().any(|known| known == name) || name.starts_with("x-") {
        return None;
    }
    if name == "nullable" {
        let kind = fields.get("type").and_then(Value::as_str).unwrap_or("string");
        return Some(format!("the keyword is one of OpenAPI and has no effect; write `type: [{kind}, \"null\"]`"));
    }
    let near = suggest(name, known()).map(|near| format!("did you mean `{near}`?"));
    Some(format!("the keyword has no effect; {}", near.unwrap_or_else(|| "remove it".into())))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn warnings(schema: Value) -> Vec<String> {
        let mut warnings = Vec::new();
        check(&schema, "/schema", &mut warnings);
        warnings.iter().map(|warning| format!("{} {}", warning.pointer, warning.message)).collect()
    }

    #[test]
    fn unknown_keywords_are_found_only_where_keywords_are() {
        for (schema, expected) in [
            (json!({ "requierd": [] }), "/schema/requierd the keyword has no effect; did you mean `required`?"),
            (json!({ "properties": { "a": { "minimun": 1 } } }), "/schema/properties/a/minimun "),
            (json!({ "items": [{ "typ": "string" }] }), "/schema/items/0/typ "),
            (json!({ "items": { "typ": "string" } }), "/schema/items/typ "),
            (json!({ "anyOf": [true, { "lenght": 1 }] }), "/schema/anyOf/1/lenght "),
            (json!({ "if": { "zzz": 1 } }), "/schema/if/zzz the keyword has no effect; remove it"),
            (json!({ "type": "integer", "nullable": true }), "write `type: [integer, \"null\"]`"),
        ] {
            let found = warnings(schema.clone());
            assert!(found.len() == 1 && found[0].contains(expected), "{schema}: {found:?}");
        }
        let fine = json!({
            "$schema": "http://json-schema.org/draft-07/schema#", "x-note": 1,
            "properties": { "requierd": { "type": "string" }, "nullable": {} },
            "definitions": { "zzz": { "$ref": "#" } }, "dependencies": { "zzz": ["a"] },
            "enum": [{ "zzz": 1 }], "const": { "zzz": 1 }, "default": { "zzz": 1 }, "additionalProperties": false,
        });
        assert_eq!(warnings(fine), [""; 0]);
    }

    #[test]
    fn null_is_found_everywhere() {
        let found = warnings(json!({ "enum": ["a", null], "properties": { "a/b": { "const": null } } }));
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[0].starts_with("/schema/enum/1 ") && found[1].starts_with("/schema/properties/a~1b/const "));
        assert!(found[0].contains("kubectl apply"), "{found:?}");
        assert_eq!(warnings(json!({ "type": ["string", "null"] })), [""; 0]);
    }
}
