//! What a subscription says about its endpoint, and an endpoint about itself.

use super::*;
use crate::catalog::{Facts, observed::Unattached};

fn subscription(stage: &Stage) -> (ConditionStatus, Reason, String) {
    stage.ready(ObjectKind::Subscription, &key("shop", "billing"))
}

fn delivering(stage: &Stage) -> (ConditionStatus, Reason) {
    let found = stage.condition(ObjectKind::Subscription, &key("shop", "billing"), ConditionType::Delivering);
    found.map(|condition| (condition.status, condition.reason)).expect("Delivering")
}

fn suspended(generation: i64) -> Change {
    let spec = json!({ "verification": { "none": {} }, "suspend": true });
    Object::new("shop", "orders", spec).generation(generation).endpoint()
}

#[test]
fn a_subscription_follows_the_state_of_its_endpoint() {
    let mut stage = Stage::new();
    stage.tell([open("shop", "orders").endpoint(), subscriber("shop", "billing", "orders").subscription()]);
    assert_eq!(subscription(&stage).1, Reason::Programmed);
    assert_eq!(delivering(&stage), (ConditionStatus::Unknown, Reason::NotAttempted));

    stage.tell([suspended(2)]);
    let (status, reason, message) = subscription(&stage);
    assert_eq!((status, reason), (ConditionStatus::Unknown, Reason::EndpointSuspended));
    assert!(message.contains("WebhookEndpoint orders in namespace shop is suspended"), "{message}");
    let visible = stage.condition(ObjectKind::Endpoint, &key("shop", "orders"), ConditionType::Suspended).unwrap();
    assert_eq!((visible.status, visible.reason), (ConditionStatus::True, Reason::Suspended));
    assert_eq!(stage.endpoint(&key("shop", "orders")), Reason::Programmed, "it is as its spec says");

    stage.tell([locked("shop", "orders", &["absent"]).generation(3).endpoint()]);
    let (status, reason, message) = subscription(&stage);
    assert_eq!((status, reason), (ConditionStatus::False, Reason::EndpointNotReady));
    assert!(message.contains("(SecretNotFound)") && !message.contains("absent"), "{message}");
    assert!(stage.condition(ObjectKind::Subscription, &key("shop", "billing"), ConditionType::Stalled).is_none());
    assert_eq!(delivering(&stage).1, Reason::NotAttempted, "it still delivers what it has");

    assert_eq!(stage.compiled_by([secret("shop", "absent", "s")]), 2);
    assert_eq!(subscription(&stage).1, Reason::Programmed);

    stage.tell([Change::Gone(ObjectKind::Endpoint, key("shop", "orders"))]);
    assert_eq!(subscription(&stage).1, Reason::EndpointNotFound, "its own problem comes first");
}

#[test]
fn a_subscription_waits_for_an_endpoint_that_waits_for_a_value() {
    let mut stage = Stage::fetching();
    stage
        .tell([locked("shop", "orders", &["lock"]).endpoint(), subscriber("shop", "billing", "orders").subscription()]);
    let (status, reason, _) = subscription(&stage);
    assert_eq!((status, reason), (ConditionStatus::Unknown, Reason::EndpointNotReady));
    stage.tell([secret("shop", "lock", "s")]);
    assert_eq!(subscription(&stage).1, Reason::Programmed);
}

#[test]
fn nothing_is_known_of_deliveries_while_the_subscription_is_refused() {
    let mut stage = Stage::new();
    stage.tell([subscriber("shop", "billing", "orders").subscription()]);
    let found = stage.condition(ObjectKind::Subscription, &key("shop", "billing"), ConditionType::Delivering).unwrap();
    assert_eq!((found.status, found.reason), (ConditionStatus::Unknown, Reason::NotReady));
    assert!(found.message.contains("WebhookEndpoint orders does not exist"), "{}", found.message);

    // The same if the journal refuses.
    stage.tell([open("shop", "orders").endpoint()]);
    let view = stage.view(ObjectKind::Subscription, &key("shop", "billing")).clone();
    let Facts::Subscription(facts) = &view.facts else { panic!("facts of a subscription") };
    facts.attached(Some(Unattached::Refused("it reads another endpoint".into())));
    let of = |kind| stage.condition(ObjectKind::Subscription, &key("shop", "billing"), kind);
    assert_eq!(delivering(&stage), (ConditionStatus::Unknown, Reason::NotReady));
    for kind in [ConditionType::Accepted, ConditionType::Ready] {
        assert_eq!(of(kind).map(|it| it.status), Some(ConditionStatus::False));
    }
    let stalled = of(ConditionType::Stalled).expect("only a person can end it");
    assert_eq!((stalled.status, &*stalled.message), (ConditionStatus::True, "it reads another endpoint"));
    facts.attached(None);
    assert!(of(ConditionType::Stalled).is_none());
}

#[test]
fn a_shadow_is_ready_and_does_not_deliver() {
    let mut stage = Stage::new();
    let mode = |mode: &str, suspend: bool, generation| {
        let spec = json!({
            "endpointRef": { "name": "orders" }, "target": { "url": "https://receiver.example" },
            "mode": mode, "suspend": suspend,
        });
        Object::new("shop", "billing", spec).generation(generation).subscription()
    };
    stage.tell([open("shop", "orders").endpoint(), mode("Shadow", false, 1)]);
    assert_eq!(delivering(&stage), (ConditionStatus::False, Reason::Shadow));
    assert_eq!(subscription(&stage).1, Reason::Programmed);
    assert!(stage.published.snapshot.subscription(&key("shop", "billing")).unwrap().is_shadow());
    stage.tell([mode("Shadow", true, 2)]);
    assert_eq!(delivering(&stage).1, Reason::Suspended, "nothing is even counted");
    stage.tell([mode("Deliver", false, 3)]);
    assert_eq!(delivering(&stage), (ConditionStatus::Unknown, Reason::NotAttempted));
}

#[test]
fn references_are_named_by_their_kind() {
    let mut stage = Stage::new();
    let schema = json!({ "types": ["*"], "configMapRef": { "name": "absent", "key": "k" } });
    let spec = json!({ "verification": { "none": {} }, "schemas": [schema] });
    stage.tell([Object::new("shop", "orders", spec).endpoint(), locked("shop", "lock", &["none"]).endpoint()]);
    let reason = |name: &str, kind| stage.condition(ObjectKind::Endpoint, &key("shop", name), kind).unwrap().reason;
    assert_eq!(reason("orders", ConditionType::ReferencesResolved), Reason::ConfigMapNotFound);
    assert_eq!(reason("orders", ConditionType::SecretsResolved), Reason::SecretNotFound);
    assert_eq!(reason("lock", ConditionType::ReferencesResolved), Reason::SecretNotFound);
    stage.tell([Change::ConfigMap(key("shop", "absent"), Some(BTreeMap::new()))]);
    let reason = stage.condition(ObjectKind::Endpoint, &key("shop", "orders"), ConditionType::ReferencesResolved);
    assert_eq!(reason.unwrap().reason, Reason::ConfigMapKeyNotFound);
}

#[test]
fn an_endpoint_without_verification_says_so_by_two_names() {
    let mut stage = Stage::new();
    stage.tell([open("shop", "open").endpoint(), locked("shop", "lock", &["k"]).endpoint(), secret("shop", "k", "s")]);
    let status = |name: &str, kind| stage.condition(ObjectKind::Endpoint, &key("shop", name), kind).map(|it| it.status);
    assert_eq!(status("open", ConditionType::Verified), Some(ConditionStatus::False));
    assert_eq!(status("open", ConditionType::Unauthenticated), Some(ConditionStatus::True));
    assert_eq!(status("lock", ConditionType::Verified), Some(ConditionStatus::True));
    assert_eq!(status("lock", ConditionType::Unauthenticated), None);
}

#[test]
fn the_loser_of_a_path_has_neither_path_nor_url() {
    let mut stage = Stage::with(|index| index);
    stage.index.options.public_url = Some("https://hooks.example".parse().unwrap());
    let with_path = |name: &str, age| {
        let spec = json!({ "path": "shared", "verification": { "none": {} } });
        Object::new("shop", name, spec).age(age).endpoint()
    };
    stage.tell([with_path("newer", 2)]);
    let shown = |stage: &Stage, name: &str| {
        let view = stage.view(ObjectKind::Endpoint, &key("shop", name));
        (view.path.as_deref().map(str::to_owned), view.url.as_deref().map(str::to_owned))
    };
    let all = (Some("/shop/shared".to_owned()), Some("https://hooks.example/shop/shared".to_owned()));
    assert_eq!(shown(&stage, "newer"), all);
    stage.tell([with_path("older", 1)]);
    assert_eq!((shown(&stage, "older"), shown(&stage, "newer")), (all.clone(), (None, None)));
    stage.tell([Change::Gone(ObjectKind::Endpoint, key("shop", "older"))]);
    assert_eq!(shown(&stage, "newer"), all);
}

#[test]
fn another_writer_of_the_status_is_a_condition_while_it_lasts() {
    let mut stage = Stage::new();
    stage.tell([open("shop", "orders").endpoint()]);
    let contested = || stage.condition(ObjectKind::Endpoint, &key("shop", "orders"), ConditionType::Contested);
    let view = stage.view(ObjectKind::Endpoint, &key("shop", "orders"));
    view.contested(Some("the field manager kubectl".into()));
    assert!(contested().is_some_and(|it| it.message.contains("the field manager kubectl overwrites")));
    view.contested(None);
    assert!(contested().is_none());
}
