//! The CEL rules of a schema (`x-kubernetes-validations`).

use std::{borrow::Cow, collections::HashMap};

use grapnel_expression::{ExpectedType, Expression, ExpressionError, Inputs, PayloadInput, Scope};
use grapnel_values::pointer::escaped;
use serde_json::Value;

/// A node of the schema that has rules, or leads to them.
#[derive(Default)]
pub(super) struct Rules {
    own: Vec<Rule>,
    properties: HashMap<String, Rules>,
    items: Option<Box<Rules>>,
    values: Option<Box<Rules>>,
}

struct Rule {
    condition: Expression,
    /// The field that a violation is about, as a JSON Pointer from the value: `fieldPath`.
    about: String,
    message: String,
}

impl Rules {
    /// The rules of a schema, except those that compare an object with its previous version.
    pub(super) fn of(schema: &Value) -> Result<Self, ExpressionError> {
        let mut rules = Self::default();
        for rule in schema.get("x-kubernetes-validations").and_then(Value::as_array).into_iter().flatten() {
            let text = |name: &str| rule.get(name).and_then(Value::as_str).unwrap_or_default();
            // A field whose name is a keyword is escaped (Kubernetes, "Escaping").
            let source = text("rule").replace("__namespace__", "namespace");
            if !source.contains("oldSelf") {
                let condition = Expression::compile(&source, Scope::Rule, ExpectedType::Bool)?;
                let (about, message) = (text("fieldPath").replace('.', "/"), text("message").to_owned());
                rules.own.push(Rule { condition, about, message });
            }
        }
        for (name, schema) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
            let property = Self::of(schema)?;
            if property.leads_to_rules() {
                rules.properties.insert(name.clone(), property);
            }
        }
        let part = |name: &str| match schema.get(name).map(Self::of).transpose()? {
            Some(part) if part.leads_to_rules() => Ok(Some(Box::new(part))),
            _ => Ok(None),
        };
        (rules.items, rules.values) = (part("items")?, part("additionalProperties")?);
        Ok(rules)
    }

    fn leads_to_rules(&self) -> bool {
        !self.own.is_empty() || !self.properties.is_empty() || self.items.is_some() || self.values.is_some()
    }

    /// The rules that a value violates: JSON Pointers and messages, fields before what contains them.
    pub(super) fn violations(&self, value: &Value) -> Vec<(String, &str)> {
        let mut found = Vec::new();
        self.check(value, &mut String::new(), &mut found);
        found
    }

    fn check<'r>(&'r self, value: &Value, pointer: &mut String, found: &mut Vec<(String, &'r str)>) {
        let here = pointer.len();
        let mut descend = |rules: &'r Self, name: &str, value: &Value| {
            pointer.push('/');
            pointer.push_str(name);
            rules.check(value, pointer, found);
            pointer.truncate(here);
        };
        match value {
            Value::Object(fields) => {
                for (name, value) in fields {
                    if let Some(rules) = self.properties.get(name).or(self.values.as_deref()) {
                        descend(rules, &escaped(name), value);
                    }
                }
            }
            Value::Array(items) => {
                for (number, value) in items.iter().enumerate() {
                    if let Some(rules) = &self.items {
                        descend(rules, &number.to_string(), value);
                    }
                }
            }
            Value::Null => return,
            _ => {}
        }
        if self.own.is_empty() {
            return;
        }
        let inputs = Inputs { payload: PayloadInput::Json(Cow::Borrowed(value)), ..Inputs::default() };
        for rule in &self.own {
            // An API server refuses an object whose rule fails, too.
            if rule.condition.test(&inputs) != Ok(true) {
                found.push((format!("{pointer}{}", rule.about), rule.message.as_str()));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use grapnel_api::definition;
    use serde_json::json;

    use super::*;

    #[test]
    fn rules_of_fields_come_before_those_of_what_contains_them() {
        let rules = Rules::of(&json!({
            "x-kubernetes-validations": [
                { "rule": "has(self.delay) && self.delay.endsWith('s')", "message": "of the object" },
                { "rule": "size(self) > 9", "message": "about a field", "fieldPath": ".a.b" },
                { "rule": "self == oldSelf", "message": "of a change" },
            ],
            "properties": {
                "delay": { "x-kubernetes-validations": [{ "rule": "self.matches('^[0-9]+s$')", "message": "write 1s" }] },
                "list": { "items": { "x-kubernetes-validations": [{ "rule": "self != 'x'", "message": "not x" }] } },
                "map": { "additionalProperties": {
                    "x-kubernetes-validations": [{ "rule": "has(self.__namespace__)", "message": "has none" }]
                } },
                "plain": { "type": "string" },
            },
        }))
        .unwrap();
        assert!(!rules.properties.contains_key("plain"));
        let object = json!({ "delay": "soon", "list": ["a", "x"], "map": { "a/b": {}, "c": { "namespace": "d" } } });
        let expected = [
            ("/delay", "write 1s"),
            ("/list/1", "not x"),
            ("/map/a~1b", "has none"),
            ("", "of the object"),
            ("/a/b", "about a field"),
        ];
        assert_eq!(rules.violations(&object), expected.map(|(at, text)| (at.to_owned(), text)));
        assert_eq!(rules.violations(&json!({ "delay": "1s", "list": [], "map": null })).len(), 1);
        // A rule that fails is not satisfied.
        assert_eq!(rules.violations(&json!({ "delay": 1 })).len(), 3);
    }

    #[test]
    fn every_rule_of_the_definitions_can_be_evaluated() {
        for definition in definition::all() {
            let rules = Rules::of(definition::schema(&definition).unwrap()).unwrap();
            assert!(rules.properties["spec"].leads_to_rules());
        }
    }
}
