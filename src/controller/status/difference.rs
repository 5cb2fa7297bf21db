//! Compares statuses.

use grapnel_api::ConditionType;
use serde_json::Value;

/// Whether a status on the API server says the same as a computed one. Conditions of types that Grapnel does not use
/// belong to others, and do not count.
pub(super) fn is_same(seen: &Value, computed: &Value) -> bool {
    let (Some(seen), Some(computed)) = (seen.as_object(), computed.as_object()) else { return false };
    let fields = |status: &serde_json::Map<String, Value>| status.keys().filter(|field| *field != "conditions").count();
    let others = computed.iter().filter(|(field, _)| *field != "conditions");
    fields(seen) == fields(computed)
        && others.into_iter().all(|(field, value)| seen.get(field) == Some(value))
        && conditions(seen.get("conditions")) == conditions(computed.get("conditions"))
}

/// The conditions of Grapnel's types, by type.
fn conditions(listed: Option<&Value>) -> std::collections::BTreeMap<&str, &Value> {
    let listed = listed.and_then(Value::as_array).into_iter().flatten();
    let named = listed.filter_map(|condition| Some((condition.get("type")?.as_str()?, condition)));
    named.filter(|(name, _)| ConditionType::ALL.iter().any(|own| own.as_str() == *name)).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn conditions_of_others_do_not_count() {
        let own = json!({ "type": "Ready", "status": "True" });
        let other = json!({ "type": "Scanned", "status": "True" });
        let status = |received: u64, conditions: &[&Value]| json!({ "received": received, "conditions": conditions });
        assert!(is_same(&status(1, &[&own, &other]), &status(1, &[&own])));
        assert!(!is_same(&status(1, &[&other]), &status(1, &[&own])));
        assert!(!is_same(&status(2, &[&own]), &status(1, &[&own])));
        let stale = json!({ "type": "Stalled", "status": "True" });
        assert!(!is_same(&status(1, &[&own, &stale]), &status(1, &[&own])), "one of its own that is over");
        let routed = |status: &str| json!({ "type": "Routed", "status": status });
        assert!(!is_same(&status(1, &[&own, &routed("True")]), &status(1, &[&own, &routed("False")])));
        assert!(!is_same(&json!({ "received": 1, "conditions": [own], "path": "/a" }), &status(1, &[&own])));
        assert!(!is_same(&Value::Null, &status(1, &[&own])));
    }
}
