//! What is wrong with objects, and what to do.

use grapnel_api::{ConditionType, Reason};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use crate::admin::contract::ObjectItem;

/// Whether an object is ready, and if not, why in one word.
pub(super) fn ready(conditions: &[Condition]) -> String {
    match conditions.iter().find(|condition| is(condition, ConditionType::Ready)) {
        Some(ready) if ready.status == "True" => ready.status.clone(),
        Some(ready) => format!("{} ({})", ready.status, ready.reason),
        None => "Unknown".into(),
    }
}

/// A line for each condition that does not hold, and one if another writer overwrites the status. `Ready` repeats another
/// one, if there is any, and `ReferencesResolved` repeats `SecretsResolved`.
pub(super) fn of(object: &ObjectItem) -> Vec<String> {
    let (kind, namespace, name, conditions) = match object {
        ObjectItem::Endpoint(item) => ("WebhookEndpoint", &item.namespace, &item.name, &item.status.conditions),
        ObjectItem::Subscription(item) => ("WebhookSubscription", &item.namespace, &item.name, &item.status.conditions),
        ObjectItem::Replay(item) => ("WebhookReplay", &item.namespace, &item.name, &item.status.conditions),
    };
    // That an endpoint verifies nothing is its owner's choice. A replay that is not complete runs, unless it has failed.
    let quiet = [ConditionType::Verified, ConditionType::ReferencesResolved, ConditionType::Complete];
    let failing = |condition: &&Condition| match condition.status.as_str() {
        // Mode Shadow is a choice too.
        "False" => !quiet.iter().any(|kind| is(condition, *kind)) && condition.reason != Reason::Shadow.as_str(),
        "True" => is(condition, ConditionType::Contested) || is_failed(condition, conditions),
        _ => false,
    };
    let failing: Vec<_> = conditions.iter().filter(failing).collect();
    let others = failing.iter().filter(|condition| !is(condition, ConditionType::Ready));
    let shown: Vec<_> = if others.clone().count() > 0 { others.collect() } else { failing.iter().collect() };
    let line =
        |condition: &&&Condition| format!("{kind} {namespace}/{name}: {}: {}", condition.reason, condition.message);
    shown.iter().map(line).collect()
}

/// How duplicates are delivered again, if an endpoint has had any: the redelivery of a sender cannot do that.
pub(super) fn of_duplicates(objects: &[ObjectItem]) -> Option<String> {
    let has_duplicates = |object: &&ObjectItem| match object {
        ObjectItem::Endpoint(item) => item.status.duplicates.is_some_and(|count| count > 0),
        ObjectItem::Subscription(_) | ObjectItem::Replay(_) => false,
    };
    let ObjectItem::Endpoint(item) = objects.iter().find(has_duplicates)? else { return None };
    Some(format!(
        "duplicates, as WebhookEndpoint {}/{} has had, are not delivered again; to deliver an event again, run: grapnel \
         redeliver NAMESPACE/SUBSCRIPTION --id ID",
        item.namespace, item.name
    ))
}

/// Whether a replay has failed for a reason that no other condition has.
fn is_failed(condition: &Condition, all: &[Condition]) -> bool {
    let repeats = |other: &Condition| is(other, ConditionType::Accepted) && other.reason == condition.reason;
    is(condition, ConditionType::Failed) && !all.iter().any(repeats)
}

fn is(condition: &Condition, kind: ConditionType) -> bool {
    condition.type_ == kind.as_str()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn conditions(conditions: &[(&str, &str, &str)]) -> Vec<Value> {
        let condition = |(kind, status, reason): &(&str, &str, &str)| {
            json!({
                "type": kind, "status": status, "reason": reason, "message": format!("why {reason}"),
                "lastTransitionTime": "2026-01-31T12:00:00Z",
            })
        };
        conditions.iter().map(condition).collect()
    }

    fn problems(found: &[(&str, &str, &str)]) -> Vec<String> {
        let status = json!({ "conditions": conditions(found) });
        let object = json!({ "kind": "WebhookEndpoint", "namespace": "shop", "name": "orders", "status": status });
        of(&serde_json::from_value(object).unwrap())
    }

    #[test]
    fn each_problem_is_shown_once() {
        let missing = ("SecretsResolved", "False", "SecretNotFound");
        let line = "WebhookEndpoint shop/orders: SecretNotFound: why SecretNotFound";
        assert_eq!(problems(&[missing, ("Ready", "False", "SecretNotFound")]), [line]);
        let again = ("ReferencesResolved", "False", "SecretNotFound");
        assert_eq!(problems(&[missing, again, ("Ready", "False", "SecretNotFound")]), [line]);
        let contested = [("Ready", "True", "Programmed"), ("Contested", "True", "OverwrittenByAnother")];
        assert_eq!(problems(&contested).len(), 1);
        assert_eq!(problems(&[("Ready", "False", "SecretNotFound")]), [line]);
        let running = [("Accepted", "True", "Accepted"), ("Complete", "False", "Progressing")];
        assert!(problems(&running).is_empty());
        let ended = [("Accepted", "True", "Accepted"), ("Complete", "False", "X"), ("Failed", "True", "X")];
        assert_eq!(problems(&ended), ["WebhookEndpoint shop/orders: X: why X"]);
        let refused = [("Accepted", "False", "X"), ("Complete", "False", "X"), ("Failed", "True", "X")];
        assert_eq!(problems(&refused), ["WebhookEndpoint shop/orders: X: why X"]);
        assert!(problems(&[("Ready", "True", "Programmed"), ("Delivering", "False", "Shadow")]).is_empty());
        assert!(problems(&[("Ready", "True", "Programmed"), ("Verified", "False", "Unauthenticated")]).is_empty());
    }

    #[test]
    fn duplicates_are_explained() {
        let objects = |duplicates: u64| -> Vec<ObjectItem> {
            let status = json!({ "conditions": [], "duplicates": duplicates });
            let object = json!({ "kind": "WebhookEndpoint", "namespace": "shop", "name": "orders", "status": status });
            vec![serde_json::from_value(object).unwrap()]
        };
        assert_eq!(of_duplicates(&objects(0)), None);
        assert!(
            of_duplicates(&objects(1)).is_some_and(|line| line.contains("shop/orders") && line.contains("--id ID"))
        );
    }

    #[test]
    fn ready_has_a_reason_if_it_is_not_true() {
        let ready = |found: &[(&str, &str, &str)]| {
            let found: Vec<Condition> = serde_json::from_value(conditions(found).into()).unwrap();
            super::ready(&found)
        };
        assert_eq!(ready(&[("Ready", "True", "Programmed")]), "True");
        assert_eq!(ready(&[("Ready", "False", "InvalidSpec")]), "False (InvalidSpec)");
        assert_eq!(ready(&[]), "Unknown");
    }
}
