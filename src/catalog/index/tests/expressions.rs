//! Compiled expressions.

use super::*;

fn subscription_with(field: &str, expression: &str) -> Object {
    let mut spec = json!({ "endpointRef": { "name": "in" }, "target": { "url": "https://example.com/" } });
    spec[field] = json!(expression);
    Object::new("shop", "out", spec)
}

#[test]
fn mistakes_name_the_field_and_the_place() {
    for (field, expression, message) in [
        ("filter", "payload.a >", "spec.filter: line 1, column 12: expected a value, found the end"),
        ("filter", "event.type", "spec.filter: line 1, column 1: it returns a string; a bool is required"),
        ("filter", "true &&\n  evnt.id == ''", "spec.filter: line 2, column 3: unknown variable `evnt`"),
        ("transform", "{'text': lower(payload.a)}", "spec.transform: line 1, column 10: unknown function `lower`"),
        ("transform", "", "spec.transform: line 1, column 1: it is empty"),
    ] {
        let mut stage = Stage::new();
        stage.tell([open("shop", "in").endpoint(), subscription_with(field, expression).subscription()]);
        assert_eq!(stage.subscription(&key("shop", "out")), Reason::InvalidExpression, "{expression}");
        assert!(!stage.delivers(&key("shop", "out")), "{expression}");
        let problem = stage.ready(ObjectKind::Subscription, &key("shop", "out")).2;
        assert!(problem.contains(message), "{problem}");
    }
}

#[test]
fn expressions_are_compiled_into_what_is_delivered_and_served() {
    let mut stage = Stage::new();
    let mut endpoint = open("shop", "in");
    endpoint.spec["event"] =
        json!({ "type": { "expression": "payload.kind" }, "id": { "expression": "headers['x-id']" } });
    stage.tell([endpoint.endpoint(), subscription_with("filter", "payload.amount > 1").subscription()]);
    let compiled = Arc::clone(stage.published.snapshot.subscription(&key("shop", "out")).unwrap());
    assert_eq!(compiled.filter.as_ref().map(|filter| filter.source()), Some("payload.amount > 1"));
    assert!(compiled.transform.is_none());
    let served = Arc::clone(stage.published.snapshot.endpoint(&key("shop", "in")).unwrap());
    assert!(served.kind_sources.explicit.is_some() && served.id_sources.sources().explicit.is_some());

    let mut endpoint = open("shop", "in");
    endpoint.spec["event"] = json!({ "type": { "expression": "event.type" } });
    stage.tell([endpoint.generation(2).endpoint()]);
    assert_eq!(stage.endpoint(&key("shop", "in")), Reason::InvalidExpression);
}
