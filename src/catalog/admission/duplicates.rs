//! Items that occur twice in a list of unique items: `x-kubernetes-list-type: set` or `map`.

use grapnel_api::Reason;
use grapnel_values::pointer::escaped;
use serde_json::Value;

use crate::catalog::compile::Problem;

/// Length of the longest list whose items are compared. Every such list of the API is shorter.
const MOST_COMPARED: u64 = 1024;

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
            // A list that is too long is refused for that; comparing all of its items would take too long.
            let most = schema.get("maxItems").and_then(Value::as_u64).unwrap_or(u64::MAX);
            let is_compared = items.len() as u64 <= most.min(MOST_COMPARED);
            for (number, item) in items.iter().enumerate() {
                let pointer = format!("{pointer}/{number}");
                let before = items.get(..number).filter(|_| is_compared).unwrap_or_default();
                if let Some(earlier) = before.iter().position(|other| is_same(schema, other, item)) {
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
    use kube::CustomResourceExt;
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
    fn a_list_that_is_too_long_is_not_compared() {
        let schema = json!({ "x-kubernetes-list-type": "set", "maxItems": 3 });
        let found = |items: Vec<u32>| {
            let mut problems = Vec::new();
            super::find(&json!(items), &schema, "", &mut problems);
            problems.len()
        };
        assert_eq!((found(vec![1, 1, 1]), found(vec![1, 1, 1, 1])), (2, 0));
        // Squared, this would take minutes.
        let unbounded = json!({ "x-kubernetes-list-type": "set" });
        super::find(&json!((0..500_000).collect::<Vec<u32>>()), &unbounded, "", &mut Vec::new());
    }

    /// So that each of them is compared.
    #[test]
    fn the_lists_of_the_api_are_bounded() {
        let crds = [
            grapnel_api::WebhookEndpoint::crd(),
            grapnel_api::WebhookSubscription::crd(),
            grapnel_api::WebhookReplay::crd(),
        ];
        fn walk(node: &Value, count: &mut usize) {
            if matches!(node.get("x-kubernetes-list-type").and_then(Value::as_str), Some("set" | "map")) {
                let most = node.get("maxItems").and_then(Value::as_u64);
                assert!(most.is_some_and(|most| most <= MOST_COMPARED), "{node}");
                *count += 1;
            }
            match node {
                Value::Object(fields) => fields.values().for_each(|value| walk(value, count)),
                Value::Array(items) => items.iter().for_each(|item| walk(item, count)),
                _ => {}
            }
        }
        let mut count = 0;
        for crd in crds {
            let crd = serde_json::to_value(crd).unwrap();
            let versions = crd["spec"]["versions"].as_array().unwrap();
            versions.iter().for_each(|it| walk(&it["schema"]["openAPIV3Schema"]["properties"]["spec"], &mut count));
        }
        assert!(count > 5, "{count}");
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
