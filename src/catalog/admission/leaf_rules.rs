//! The CEL rules of scalar fields, with remembered results.
//!
//! Most of these rules match a regular expression, which the evaluator compiles for each evaluation, and most objects have
//! the same few values there: the defaults. A result depends on the rule and the value alone.

use std::collections::HashMap;

use grapnel_values::pointer::escaped;
use kube::core::cel::{CompiledSchema, Validator, compile_schema};
use parking_lot::Mutex;
use serde_json::{Map, Value};

use crate::catalog::limits::{REMEMBERED_RULE_BYTES, REMEMBERED_RULE_RESULTS};

/// The keyword of CEL rules.
const RULES: &str = "x-kubernetes-validations";

/// The rules of the scalar fields of a schema.
pub(super) struct LeafRules {
    root: Node,
    leaves: Vec<CompiledSchema>,
    /// Messages by leaf and value.
    results: Mutex<HashMap<(usize, String), Vec<String>>>,
}

/// A node of the schema that has such rules, or leads to them.
#[derive(Default)]
struct Node {
    leaf: Option<usize>,
    properties: HashMap<String, Node>,
    items: Option<Box<Node>>,
    values: Option<Box<Node>>,
}

impl LeafRules {
    /// Takes the rules of scalar fields out of `rules`.
    pub(super) fn take(rules: &mut Value) -> Self {
        let mut leaves = Vec::new();
        let root = Node::take(rules, &mut leaves);
        Self { root, leaves, results: Mutex::default() }
    }

    /// Violations in an object: JSON Pointers and messages.
    pub(super) fn violations(&self, validator: &Validator, object: &Value) -> Vec<(String, String)> {
        let mut found = Vec::new();
        self.walk(validator, &self.root, object, String::new(), &mut found);
        found
    }

    fn walk(
        &self,
        validator: &Validator,
        node: &Node,
        value: &Value,
        pointer: String,
        found: &mut Vec<(String, String)>,
    ) {
        match value {
            Value::Object(fields) => {
                for (name, value) in fields {
                    let next = node.properties.get(name).or(node.values.as_deref());
                    if let Some(next) = next {
                        self.walk(validator, next, value, format!("{pointer}/{}", escaped(name)), found);
                    }
                }
            }
            Value::Array(items) => {
                for (number, value) in items.iter().enumerate() {
                    if let Some(next) = &node.items {
                        self.walk(validator, next, value, format!("{pointer}/{number}"), found);
                    }
                }
            }
            Value::Null => {}
            _ => {
                if let Some(leaf) = node.leaf {
                    let messages = self.messages(validator, leaf, value);
                    found.extend(messages.into_iter().map(|message| (pointer.clone(), message)));
                }
            }
        }
    }

    /// The messages of the rules that a value violates.
    fn messages(&self, validator: &Validator, leaf: usize, value: &Value) -> Vec<String> {
        let key = (leaf, value.to_string());
        if let Some(known) = self.results.lock().get(&key) {
            return known.clone();
        }
        let Some(rules) = self.leaves.get(leaf) else { return Vec::new() };
        let messages: Vec<String> = match validator.validate_compiled(rules, value, None) {
            Ok(()) => Vec::new(),
            Err(errors) => errors.into_vec().into_iter().map(|error| error.message).collect(),
        };
        if key.1.len() <= REMEMBERED_RULE_BYTES {
            let mut results = self.results.lock();
            if results.len() >= REMEMBERED_RULE_RESULTS {
                results.clear();
            }
            results.insert(key, messages.clone());
        }
        messages
    }
}

impl Node {
    fn take(schema: &mut Value, leaves: &mut Vec<CompiledSchema>) -> Self {
        let Some(fields) = schema.as_object_mut() else { return Self::default() };
        let mut node = Self::default();
        if is_scalar(fields)
            && let Some(rules) = fields.remove(RULES)
        {
            let mut alone = fields.clone();
            alone.insert(RULES.into(), rules);
            node.leaf = Some(leaves.len());
            leaves.push(compile_schema(&Value::Object(alone)));
        }
        if let Some(properties) = fields.get_mut("properties").and_then(Value::as_object_mut) {
            let nodes = properties.iter_mut().map(|(name, schema)| (name.clone(), Self::take(schema, leaves)));
            node.properties = nodes.filter(|(_, node)| node.leads_to_rules()).collect();
        }
        let mut part = |name: &str| {
            let node = Self::take(fields.get_mut(name)?, leaves);
            node.leads_to_rules().then(|| Box::new(node))
        };
        (node.items, node.values) = (part("items"), part("additionalProperties"));
        node
    }

    fn leads_to_rules(&self) -> bool {
        self.leaf.is_some() || !self.properties.is_empty() || self.items.is_some() || self.values.is_some()
    }
}

/// Whether a schema describes a text, a number or a truth value.
fn is_scalar(schema: &Map<String, Value>) -> bool {
    !["properties", "items", "additionalProperties", "x-kubernetes-preserve-unknown-fields"]
        .iter()
        .any(|part| schema.contains_key(*part))
        && !matches!(schema.get("type").and_then(Value::as_str), Some("object" | "array"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn results_are_those_of_the_rule_and_their_number_is_bounded() {
        let mut schema = json!({
            "type": "object",
            "x-kubernetes-validations": [{ "rule": "has(self.delay)", "message": "of the object" }],
            "properties": {
                "delay": {
                    "type": "string",
                    "x-kubernetes-validations": [{ "rule": "self.matches('^[0-9]+s$')", "message": "write 1s" }],
                },
                "list": {
                    "type": "array",
                    "items": { "type": "string", "x-kubernetes-validations": [{ "rule": "self != 'x'", "message": "not x" }] },
                },
            },
        });
        let rules = LeafRules::take(&mut schema);
        assert!(schema.get(RULES).is_some() && schema.pointer("/properties/delay/x-kubernetes-validations").is_none());
        let validator = Validator::new();
        for _ in 0..2 {
            let object = json!({ "delay": "soon", "list": ["a", "x"] });
            let expected = [("/delay", "write 1s"), ("/list/1", "not x")].map(|(at, text)| (at.into(), text.into()));
            assert_eq!(rules.violations(&validator, &object), expected);
            assert_eq!(rules.violations(&validator, &json!({ "delay": "1s", "list": [] })), []);
        }
        for number in 0..=REMEMBERED_RULE_RESULTS {
            assert_eq!(rules.violations(&validator, &json!({ "delay": format!("{number}s") })), []);
        }
        let long = "1".repeat(REMEMBERED_RULE_BYTES) + "s";
        assert_eq!(rules.violations(&validator, &json!({ "delay": long })), []);
        let results = rules.results.lock();
        assert!(results.len() <= REMEMBERED_RULE_RESULTS && !results.keys().any(|key| key.1.contains(&long)));
    }
}
