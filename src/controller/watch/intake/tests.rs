use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::*;
use crate::controller::drain::finalizer_of;

fn intake() -> Intake {
    Intake::new(3, ObservedState::new("shop/grapnel"), Class::Only(None))
}

fn key(name: &str) -> ObjectKey {
    ObjectKey::new("shop", name)
}

fn take(intake: &mut Intake, watched: ResourceKind, step: Step) -> Vec<Effect> {
    let effects = intake.take(WatchEvent { watched, stream: 0, step });
    effects.into_iter().filter(|effect| !matches!(effect, Effect::Watches { .. })).collect()
}

fn endpoint(uid: &str, generation: Option<i64>, status: &Value) -> Step {
    let object = json!({
        "apiVersion": "grapnel.dev/v1beta1",
        "kind": "WebhookEndpoint",
        "metadata": {"namespace": "shop", "name": "orders", "uid": uid, "generation": generation},
        "spec": {"path": "orders", "verification": {"none": {}}},
        "status": status,
    });
    Step::There(key("orders"), Observed::Endpoint(Box::new(Ok(serde_json::from_value(object).unwrap()))))
}

fn subscription(policy: &str, metadata: &Value) -> Step {
    let mut object = json!({
        "apiVersion": "grapnel.dev/v1beta1",
        "kind": "WebhookSubscription",
        "metadata": {"namespace": "shop", "name": "billing", "uid": "1", "generation": 1},
        "spec": {
            "endpointRef": {"name": "orders"},
            "target": {"url": "https://billing.example/"},
            "deletionPolicy": policy,
        },
    });
    object["metadata"].as_object_mut().unwrap().extend(metadata.as_object().unwrap().clone());
    Step::There(key("billing"), Observed::Subscription(Box::new(Ok(serde_json::from_value(object).unwrap()))))
}

#[test]
fn only_another_generation_or_another_object_is_a_change() {
    let mut intake = intake();
    let received = |count: u64| json!({"received": count});
    for (step, changes) in [
        (endpoint("1", Some(1), &Value::Null), true),
        (endpoint("1", Some(1), &received(1)), false),
        (endpoint("1", Some(1), &received(2)), false),
        (endpoint("1", Some(2), &received(2)), true),
        (endpoint("2", Some(2), &received(2)), true),
        // Without generations every observation may be a change.
        (endpoint("2", None, &received(2)), true),
        (endpoint("2", None, &received(2)), true),
    ] {
        let effects = take(&mut intake, ResourceKind::Endpoints, step);
        assert_eq!(matches!(effects[..], [Effect::Change(Change::Endpoint(_))]), changes, "{effects:?}");
        assert_eq!(effects.is_empty(), !changes, "{effects:?}");
    }
    let seen = intake.sightings.get(ObjectKind::Endpoint, &key("orders")).unwrap();
    assert_eq!((seen.uid.as_deref(), seen.generation), (Some("2"), None));
    let status: Value = serde_json::from_str(&seen.status.unwrap()).unwrap();
    assert_eq!(status["received"], 2, "the status is recorded though it is no change");
}

#[test]
fn a_deleted_object_is_forgotten_and_one_of_its_name_is_a_change() {
    let mut intake = intake();
    take(&mut intake, ResourceKind::Endpoints, endpoint("1", Some(1), &Value::Null));
    let effects = take(&mut intake, ResourceKind::Endpoints, Step::Gone(key("orders")));
    assert!(
        matches!(&effects[..], [Effect::Change(Change::Gone(ObjectKind::Endpoint, gone))] if *gone == key("orders")),
        "{effects:?}"
    );
    assert!(intake.sightings.get(ObjectKind::Endpoint, &key("orders")).is_none());
    assert_eq!(take(&mut intake, ResourceKind::Endpoints, endpoint("1", Some(1), &Value::Null)).len(), 1);
}

#[test]
fn what_a_listing_does_not_name_is_deleted_at_its_end() {
    let mut intake = intake();
    for step in [Step::Begin, endpoint("1", Some(1), &Value::Null), Step::End] {
        take(&mut intake, ResourceKind::Endpoints, step);
    }
    assert!(take(&mut intake, ResourceKind::Endpoints, Step::Begin).is_empty());
    let effects = take(&mut intake, ResourceKind::Endpoints, Step::End);
    assert!(matches!(effects[..], [Effect::Change(Change::Gone(ObjectKind::Endpoint, _))]), "{effects:?}");
    assert!(intake.sightings.get(ObjectKind::Endpoint, &key("orders")).is_none());
}

#[test]
fn an_unreadable_object_is_a_problem_that_keeps_its_finalizer() {
    let mut intake = intake();
    let metadata = json!({"uid": "1", "generation": 3, "finalizers": [finalizer_of(None)]});
    let metadata = serde_json::from_value(metadata).unwrap();
    let invalid = InvalidObject { error: "unknown variant `Dorp`".into(), metadata };
    let seen = Observed::Subscription(Box::new(Err(invalid)));
    let effects = take(&mut intake, ResourceKind::Subscriptions, Step::There(key("billing"), seen));
    let [Effect::Change(Change::Unreadable(unreadable))] = &effects[..] else { panic!("{effects:?}") };
    assert_eq!((unreadable.kind, unreadable.generation), (ObjectKind::Subscription, Some(3)));
    let [problem] = &unreadable.problems[..] else { panic!("{unreadable:?}") };
    assert!(problem.to_string().contains("unknown variant `Dorp`"), "{problem}");
    let seen = intake.sightings.get(ObjectKind::Subscription, &key("billing")).unwrap();
    assert_eq!(seen.finalizer, Finalizer { wanted: true, held: true, ..Finalizer::default() });
    assert!(intake.sightings.unfinished().is_empty());
}

#[test]
fn the_finalizer_follows_the_policy_and_the_metadata() {
    let mut intake = intake();
    for (policy, metadata, wanted, held, deleted) in [
        ("Drain", json!({}), true, false, false),
        ("Drain", json!({"finalizers": ["other.example/x", finalizer_of(None)]}), true, true, false),
        ("Drop", json!({"finalizers": [finalizer_of(None)]}), false, true, false),
        (
            "Drain",
            json!({"finalizers": [finalizer_of(None)], "deletionTimestamp": "2026-01-02T03:04:05Z"}),
            true,
            true,
            true,
        ),
        ("Drop", json!({"finalizers": ["other.example/x"]}), false, false, false),
    ] {
        take(&mut intake, ResourceKind::Subscriptions, subscription(policy, &metadata));
        let finalizer = intake.sightings.get(ObjectKind::Subscription, &key("billing")).unwrap().finalizer;
        assert_eq!((finalizer.wanted, finalizer.held, finalizer.deleted.is_some()), (wanted, held, deleted));
    }
}

#[test]
fn a_subscription_that_is_being_deleted_stays_with_the_operator_that_holds_it() {
    let deleted = "2026-01-02T03:04:05Z";
    let seen = |class: Option<&str>, finalizers: &[String]| {
        let manifest = json!({
            "metadata": { "uid": "1", "generation": 2, "finalizers": finalizers, "deletionTimestamp": deleted },
            "spec": {
                "className": class,
                "endpointRef": { "name": "orders" },
                "target": { "url": "https://x.example" },
                "deletionPolicy": "Drain"
            }
        });
        let object = serde_json::from_value(manifest).unwrap();
        Step::There(key("billing"), Observed::Subscription(Box::new(Ok(object))))
    };
    let operator =
        |class: Option<&str>| Intake::new(3, ObservedState::new("shop/grapnel"), Class::Only(class.map(Arc::from)));
    let serves = |intake: &Intake| intake.sightings.get(ObjectKind::Subscription, &key("billing")).is_some();
    let (mut plain, mut web) = (operator(None), operator(Some("web")));

    let step = || seen(Some("web"), &[finalizer_of(None)]);
    let effects = take(&mut plain, ResourceKind::Subscriptions, step());
    let [Effect::Change(Change::Subscription(applied))] = &effects[..] else { panic!("{effects:?}") };
    assert_eq!(applied.object.spec.class_name, None, "it is served as before");
    take(&mut web, ResourceKind::Subscriptions, step());
    assert!(serves(&plain) && !serves(&web));
    assert_eq!(plain.sightings.unfinished().len(), 1);
    assert!(web.sightings.unfinished().is_empty(), "the other operator never removes the finalizer");

    // It had got the other class before it was deleted: one operator after the other.
    let both = [finalizer_of(None), finalizer_of(Some("web"))];
    for intake in [&mut plain, &mut web] {
        take(intake, ResourceKind::Subscriptions, seen(Some("web"), &both));
    }
    assert!(!serves(&plain) && serves(&web));
    let unfinished = |intake: &Intake| intake.sightings.unfinished().remove(0).finalizer.is_elsewhere;
    assert!(unfinished(&plain) && !unfinished(&web));
    for intake in [&mut plain, &mut web] {
        take(intake, ResourceKind::Subscriptions, seen(Some("web"), &both[..1]));
    }
    assert!(serves(&plain) && !serves(&web));
    assert!(!unfinished(&plain) && web.sightings.unfinished().is_empty());
}

#[test]
fn of_secrets_and_config_maps_only_versions_follow() {
    for (watched, reference) in [
        (ResourceKind::Secrets, Reference::Secret(key("token"))),
        (ResourceKind::ConfigMaps, Reference::ConfigMap(key("token"))),
    ] {
        let mut intake = intake();
        take(&mut intake, watched, Step::Begin);
        let seen = Observed::Version(Some("7".into()));
        let effects = take(&mut intake, watched, Step::There(key("token"), seen));
        assert!(
            matches!(&effects[..], [Effect::Version(of, Some(version))] if *of == reference && version == "7"),
            "{effects:?}"
        );
        let effects = take(&mut intake, watched, Step::End);
        let [Effect::Listed { existing, .. }] = &effects[..] else { panic!("{effects:?}") };
        assert_eq!(*existing, HashSet::from([reference.clone()]));
        let effects = take(&mut intake, watched, Step::Gone(key("token")));
        assert!(matches!(&effects[..], [Effect::Version(of, None)] if *of == reference), "{effects:?}");
    }
}

#[test]
fn namespaces_have_labels_until_they_are_deleted() {
    let mut intake = intake();
    let shop = || ObjectKey::new("", "shop");
    let labels = BTreeMap::from([("team".to_owned(), "sales".to_owned())]);
    take(&mut intake, ResourceKind::Namespaces, Step::Begin);
    let step = Step::There(shop(), Observed::Labels(labels.clone()));
    let effects = take(&mut intake, ResourceKind::Namespaces, step);
    assert!(
        matches!(&effects[..], [Effect::Change(Change::Namespace(name, Some(of)))] if &**name == "shop" && *of == labels),
        "{effects:?}"
    );
    take(&mut intake, ResourceKind::Namespaces, Step::End);
    take(&mut intake, ResourceKind::Namespaces, Step::Begin);
    let effects = take(&mut intake, ResourceKind::Namespaces, Step::End);
    assert!(
        matches!(&effects[..], [Effect::Change(Change::Namespace(name, None))] if &**name == "shop"),
        "{effects:?}"
    );
}

#[test]
fn it_is_complete_when_every_stream_is_listed() {
    let mut intake = intake();
    for stream in 0..3 {
        assert!(!intake.complete());
        for step in [Step::Begin, Step::End] {
            intake.take(WatchEvent { watched: ResourceKind::Endpoints, stream, step });
        }
    }
    assert!(intake.complete());
    let effects = take(&mut intake, ResourceKind::Endpoints, Step::Failed(watcher::Error::NoResourceVersion));
    assert!(matches!(effects[..], [Effect::Failed { watched: ResourceKind::Endpoints, .. }]), "{effects:?}");
    assert!(intake.complete(), "what is known stays in use");
}

#[test]
fn namespaces_that_must_not_be_listed_are_not_waited_for() {
    let refused = |code| {
        let status = kube::core::Status::failure("namespaces is forbidden", "Forbidden").with_code(code);
        Step::Failed(watcher::Error::InitialListFailed(kube::Error::Api(status.boxed())))
    };
    for (watched, code, complete) in [
        (ResourceKind::Namespaces, 403, true),
        (ResourceKind::Namespaces, 503, false),
        (ResourceKind::Endpoints, 403, false),
    ] {
        let mut intake = Intake::new(1, ObservedState::new("shop/grapnel"), Class::Only(None));
        take(&mut intake, watched, refused(code));
        assert_eq!(intake.complete(), complete, "{watched:?} {code}");
    }
}

#[test]
fn an_object_of_another_class_is_only_passed_on() {
    let mut intake = intake();
    take(&mut intake, ResourceKind::Subscriptions, subscription("Drain", &json!({})));
    assert_eq!(intake.sightings.unfinished().len(), 1);
    let Step::There(key, Observed::Subscription(mut object)) = subscription("Drain", &json!({"generation": 2})) else {
        panic!("a subscription")
    };
    if let Ok(object) = &mut *object {
        object.spec.class_name = Some("web".into());
    }
    let step = Step::There(key.clone(), Observed::Subscription(object));
    let effects = take(&mut intake, ResourceKind::Subscriptions, step);
    assert!(matches!(effects[..], [Effect::Change(Change::Subscription(_))]), "{effects:?}");
    assert!(intake.sightings.get(ObjectKind::Subscription, &key).is_none(), "no status");
    assert!(intake.sightings.unfinished().is_empty(), "no finalizer");
}

#[test]
fn a_bogus_writer_is_one_short_line() {
    let mut intake = intake();
    let bogus = format!("them\n{}", "x".repeat(100_000));
    take(&mut intake, ResourceKind::Endpoints, endpoint("1", Some(1), &json!({ "writer": bogus })));
    let rival = intake.sightings.get(ObjectKind::Endpoint, &key("orders")).unwrap().rival.unwrap();
    assert!(rival.starts_with("the operator with the Lease them xxx"), "{}", &rival[..50]);
    assert!(rival.chars().count() < limits::WRITER_CHARS + 50, "a condition takes 32 KiB: {}", rival.len());
}
