//! Items that occur twice in a list of unique items: `x-kubernetes-list-type: set` or `map`.

use grapnel_api::Reason;
use grapnel_values::pointer::escaped;
use serde_json::Value;

use crate::catalog::compile::Problem;

/// Reports every item that is equal to an earlier one, or has the same keys.
pub(super) fn find(value: &Value, schema: &Value, pointer: &str, problems: &mut Vec<Problem>) {
    match value {
        Value::Object(fields) => {
            let known = schema.get("properties");
            for (name, value) in fields {
                let schema = known.and_then(|known| known.get(name)).or_else(|| schema.get("additionalProperties"));
                if let Some(schema) = schema {
                    find(value, schema, &format!("{pointer}/{}", escaped(name)), problems);
                }
            }
        }
        Value::Array(items) => {
            for (number, item) in items.iter().enumerate() {
                let pointer = format!("{pointer}/{number}");
                let earlier = items.iter().take(number).position(|other| is_same(schema, other, item));
                if let Some(earlier) = earlier {
                    problems.push(Problem::new(&*pointer, Reason::InvalidSpec, message(schema, earlier)));
                }
                if let Some(schema) = schema.get("items") {
                    find(item, schema, &pointer, problems);
                }
            }
        }
        _ => {}
    }
}

/// Whether a list cannot have both items.
fn is_same(schema: &Value, one: &Value, other: &Value) -> bool {
    match schema.get("x-kubernetes-list-type").and_then(Value::as_str) {
        Some("set") => one == other,
        Some("map") => {
            let mut keys = keys(schema).peekable();
            keys.peek().is_some() && keys.all(|key| one.get(key) == other.get(key))
        }
        _ => false,
    }
}

fn keys(schema: &Value) -> impl Iterator<Item = &str> {
    schema.get("x-kubernetes-list-map-keys").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str)
}

fn message(schema: &Value, earlier: usize) -> String {
    let keys: Vec<_> = keys(schema).collect();
    match keys.is_empty() {
        true => format!("is the same as item {earlier}; every item may occur once"),
        false => format!("has the same {} as item {earlier}; every item needs its own", keys.join(" and ")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn found(value: &Value) -> Vec<String> {
        let schema = json!({ "properties": {
            "ids": { "x-kubernetes-list-type": "set", "items": { "type": "string" } },
            "refs": {
                "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name", "key"],
                "items": { "properties": { "tags": { "x-kubernetes-list-type": "set" } } },
            },
            "any": { "x-kubernetes-list-type": "atomic" },
            "maps": { "additionalProperties": { "x-kubernetes-list-type": "set" } },
        } });
        let mut problems = Vec::new();
        find(value, &schema, "/spec", &mut problems);
        problems.iter().map(|problem| format!("{}: {}", problem.pointer, problem.message)).collect()
    }

    #[test]
    fn a_set_has_an_item_once_and_a_map_a_key() {
        assert_eq!(
            found(&json!({ "ids": ["a", "b", "a", "a"] })),
            ["2", "3"].map(|at| format!("/spec/ids/{at}: is the same as item 0; every item may occur once"))
        );
        let refs =
            json!({ "refs": [{ "name": "a", "key": "k" }, { "name": "a" }, { "name": "a", "key": "k", "x": 1 }] });
        assert_eq!(found(&refs), ["/spec/refs/2: has the same name and key as item 0; every item needs its own"]);
        assert_eq!(found(&json!({ "refs": [{ "tags": [1, 1] }] })).len(), 1);
        assert_eq!(found(&json!({ "maps": { "one": ["a", "a"] } })).len(), 1);
        assert!(found(&json!({ "any": [1, 1], "ids": ["a", "b"], "refs": "none", "unknown": [1, 1] })).is_empty());
    }
}
