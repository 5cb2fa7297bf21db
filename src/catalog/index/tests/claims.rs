//! Paths that several endpoints claim.

use super::*;

fn at_path(name: &str, path: &str, age: u64) -> Object {
    Object::new("shop", name, json!({ "path": path, "verification": { "none": {} } })).age(age)
}

#[test]
fn the_older_keeps_a_path_and_the_younger_has_it_when_the_older_goes() {
    let mut stage = Stage::new();
    let (old, young) = (key("shop", "old"), key("shop", "young"));
    stage.tell([at_path("young", "in", 2).endpoint(), at_path("old", "/in/", 1).endpoint()]);
    assert_eq!(stage.serves("shop/in"), Some(old.clone()));
    assert_eq!(stage.endpoint(&old), Reason::Programmed);
    let (_, reason, message) = stage.ready(ObjectKind::Endpoint, &young);
    assert_eq!(reason, Reason::PathConflict);
    assert!(message.contains("the path is in use by the older WebhookEndpoint old; choose another path"), "{message}");

    assert_eq!(stage.compiled_by([Change::Gone(ObjectKind::Endpoint, old)]), 1);
    assert_eq!(stage.serves("shop/in"), Some(young.clone()));
    assert_eq!(stage.endpoint(&young), Reason::Programmed);
}

#[test]
fn a_path_is_taken_over_when_its_owner_moves_away_and_given_back_to_an_older_one() {
    let mut stage = Stage::new();
    let (old, young) = (key("shop", "old"), key("shop", "young"));
    stage.tell([at_path("old", "in", 1).endpoint(), at_path("young", "in", 2).endpoint()]);
    stage.tell([at_path("old", "out", 1).generation(2).endpoint()]);
    assert_eq!((stage.serves("shop/in"), stage.serves("shop/out")), (Some(young.clone()), Some(old.clone())));
    stage.tell([at_path("old", "in", 1).generation(3).endpoint()]);
    assert_eq!((stage.serves("shop/in"), stage.serves("shop/out")), (Some(old), None));
    assert_eq!(stage.endpoint(&young), Reason::PathConflict);
}

#[test]
fn a_name_conflicts_like_a_path_and_other_namespaces_do_not() {
    let mut stage = Stage::new();
    stage.tell([at_path("a", "b", 1).endpoint(), open("shop", "b").age(2).endpoint(), open("other", "b").endpoint()]);
    assert_eq!(stage.serves("shop/b"), Some(key("shop", "a")));
    assert_eq!(stage.serves("other/b"), Some(key("other", "b")));
    let (_, reason, message) = stage.ready(ObjectKind::Endpoint, &key("shop", "b"));
    assert_eq!(reason, Reason::PathConflict);
    assert!(message.starts_with("metadata.name: "), "{message}");
}

#[test]
fn of_the_same_age_the_name_decides() {
    let mut stage = Stage::new();
    stage.tell([at_path("b", "in", 0).endpoint(), at_path("a", "in", 0).endpoint()]);
    assert_eq!(stage.serves("shop/in"), Some(key("shop", "a")));
}

#[test]
fn an_endpoint_that_loses_its_path_has_neither_url_nor_route() {
    let routed = |generation| {
        let spec =
            json!({ "path": "in", "verification": { "none": {} }, "route": { "parentRefs": [{ "name": "public" }] } });
        Object::new("shop", "young", spec).age(2).generation(generation).endpoint()
    };
    let (old, young) = (key("shop", "old"), key("shop", "young"));
    let mut stage = Stage::new();
    stage.tell([at_path("old", "out", 1).endpoint(), routed(1)]);
    let view = stage.view(ObjectKind::Endpoint, &young);
    let Facts::Endpoint(facts) = &view.facts else { panic!("an endpoint") };
    let url = "https://hooks.example.com/shop/in";
    let accepted = RouteState::new(ConditionStatus::True, Reason::RouteAccepted, "accepted");
    facts.routed(Some(RouteState { url: Some(url.into()), ..accepted }));
    assert_eq!(view.sender_url().as_deref(), Some(url));

    stage.tell([at_path("old", "in", 1).generation(2).endpoint()]);
    let view = stage.view(ObjectKind::Endpoint, &young);
    assert_eq!((view.sender_url(), view.path.as_deref()), (None, None), "it would lead to the other endpoint");
    assert_eq!(view.route, RouteSpec::Absent);
    assert_eq!(stage.endpoint(&young), Reason::PathConflict);
    // The same for one that begins without the path.
    stage.tell([Change::Gone(ObjectKind::Endpoint, young.clone())]);
    stage.tell([routed(2)]);
    assert_eq!(stage.view(ObjectKind::Endpoint, &young).route, RouteSpec::Absent);

    stage.tell([Change::Gone(ObjectKind::Endpoint, old)]);
    assert!(matches!(stage.view(ObjectKind::Endpoint, &young).route, RouteSpec::Wanted(_)));
}

#[test]
fn a_restart_keeps_what_was_reported_about_a_route_of_this_generation() {
    let url = "https://hooks.example.com/shop/in";
    let applied = |generation: i64, reason: &str| {
        let spec = json!({ "verification": { "none": {} }, "route": { "parentRefs": [{ "name": "public" }] } });
        let mut applied = Object::new("shop", "in", spec).generation(2).applied::<WebhookEndpoint>("WebhookEndpoint");
        let condition = json!({
            "type": "Routed", "status": "True", "reason": reason, "message": "accepted",
            "lastTransitionTime": "2026-01-01T00:00:00Z",
        });
        let status = json!({ "observedGeneration": generation, "url": url, "conditions": [condition] });
        applied.object.status = serde_json::from_value(status).unwrap();
        Change::Endpoint(applied)
    };
    for (generation, reason, kept) in [(2, "RouteAccepted", true), (1, "RouteAccepted", false), (2, "Bogus", false)] {
        let mut stage = Stage::new();
        stage.tell([applied(generation, reason)]);
        let view = stage.view(ObjectKind::Endpoint, &key("shop", "in"));
        let routed = stage.condition(ObjectKind::Endpoint, &key("shop", "in"), ConditionType::Routed).unwrap();
        assert_eq!(routed.status == ConditionStatus::True, kept, "{generation} {reason}");
        assert_eq!(view.sender_url().as_deref() == Some(url), kept, "{generation} {reason}");
    }
}
