//! Fetched values, and objects that wait for them.

use super::*;
use crate::catalog::status::Facts;

fn s(name: &str) -> Reference {
    Reference::Secret(key("shop", name))
}

#[test]
fn an_object_waits_for_its_values_and_is_compiled_when_they_come() {
    let mut stage = Stage::fetching();
    let lock = key("shop", "lock");
    assert!(stage.tell([locked("shop", "lock", &["a", "b"]).endpoint()]));
    assert_eq!(stage.index.wanted(), [s("a"), s("b")]);
    assert_eq!(stage.index.wanted(), [], "each is given out once");
    let waiting = "waiting for the API server to return Secret shop/a";
    assert_eq!(
        stage.ready(ObjectKind::Endpoint, &lock),
        (ConditionStatus::Unknown, Reason::Progressing, waiting.into()),
        "nothing is said of the spec before it was compiled"
    );
    let reconciling = stage.condition(ObjectKind::Endpoint, &lock, ConditionType::Reconciling).unwrap();
    assert_eq!((reconciling.status, reconciling.reason), (ConditionStatus::True, Reason::Progressing));
    let view = stage.view(ObjectKind::Endpoint, &lock);
    assert_eq!((view.generation, view.conditions(&JournalReading::default()).len()), (None, 2));
    assert!(stage.published.snapshot.route("shop/lock").is_some(), "its path answers that it is not ready");

    assert_eq!(stage.compiled_by([secret("shop", "a", "1")]), 0);
    assert_eq!(stage.ready(ObjectKind::Endpoint, &lock).2, "waiting for the API server to return Secret shop/b");
    assert_eq!(stage.compiled_by([secret("shop", "b", "2")]), 1);
    assert_eq!(stage.serves("shop/lock"), Some(lock.clone()));
    assert_eq!(stage.view(ObjectKind::Endpoint, &lock).generation, Some(1));
    assert!(stage.condition(ObjectKind::Endpoint, &lock, ConditionType::Reconciling).is_none());
}

#[test]
fn the_earlier_version_goes_on_while_a_newer_one_waits() {
    let mut stage = Stage::fetching();
    let lock = key("shop", "lock");
    stage.tell([locked("shop", "lock", &["a"]).endpoint(), secret("shop", "a", "1")]);
    stage.index.wanted();
    stage.tell([locked("shop", "lock", &["b"]).generation(2).endpoint()]);
    assert_eq!(stage.serves("shop/lock"), Some(lock.clone()));
    assert_eq!(stage.view(ObjectKind::Endpoint, &lock).generation, Some(1), "the one that the conditions speak of");
    assert_eq!(stage.endpoint(&lock), Reason::Programmed);
    assert!(stage.condition(ObjectKind::Endpoint, &lock, ConditionType::Reconciling).is_some());
    assert_eq!(stage.index.wanted(), [s("b")]);
    assert!(!stage.index.refers_to(&s("a")) && stage.index.refers_to(&s("b")));

    stage.tell([no_secret("shop", "b")]);
    assert_eq!(stage.endpoint(&lock), Reason::SecretNotFound);
    assert_eq!(stage.view(ObjectKind::Endpoint, &lock).generation, Some(2));
    assert_eq!(stage.serves("shop/lock"), None, "what only the missing Secret verifies is not believed");
    stage.tell([secret("shop", "b", "2")]);
    assert_eq!(stage.endpoint(&lock), Reason::Programmed);
}

#[test]
fn a_value_that_goes_and_one_that_is_rotated_count_at_once() {
    let mut stage = Stage::fetching();
    let lock = key("shop", "lock");
    stage.tell([locked("shop", "lock", &["a"]).endpoint(), secret("shop", "a", "1")]);
    let first = Arc::clone(stage.published.snapshot.endpoint(&lock).unwrap());
    assert_eq!(stage.compiled_by([secret("shop", "a", "1")]), 0, "nothing new");
    assert!(!stage.publish());
    assert_eq!(stage.compiled_by([secret("shop", "a", "2")]), 1);
    let second = Arc::clone(stage.published.snapshot.endpoint(&lock).unwrap());
    assert!(!Arc::ptr_eq(&first, &second) && Arc::ptr_eq(&first.facts, &second.facts));
    assert_eq!(stage.compiled_by([no_secret("shop", "a")]), 1);
    assert_eq!((stage.endpoint(&lock), stage.serves("shop/lock")), (Reason::SecretNotFound, None));
}

#[test]
fn values_that_nobody_refers_to_are_not_kept() {
    let mut stage = Stage::fetching();
    stage.tell([secret("shop", "a", "1")]);
    stage.tell([locked("shop", "x", &["a"]).endpoint(), locked("shop", "y", &["a"]).endpoint()]);
    assert_eq!(stage.index.wanted(), [s("a")], "what was told before anybody asked is not known");
    stage.tell([secret("shop", "a", "1")]);
    stage.tell([Change::Gone(ObjectKind::Endpoint, key("shop", "x"))]);
    assert!(stage.index.refers_to(&s("a")));
    // An object that still refers to the value does not request it again.
    stage.tell([locked("shop", "y", &["a", "b"]).generation(2).endpoint()]);
    assert_eq!(stage.index.wanted(), [s("b")]);
    stage.tell([Change::Gone(ObjectKind::Endpoint, key("shop", "y"))]);
    assert!(!stage.index.refers_to(&s("a")) && !stage.index.refers_to(&s("b")));
    // A late response for a dropped reference is dropped too.
    stage.tell([secret("shop", "b", "2")]);
    stage.tell([locked("shop", "z", &["a", "b"]).endpoint()]);
    assert_eq!(stage.index.wanted(), [s("a"), s("b")], "forgotten, so given out once more");
    assert_eq!(stage.endpoint(&key("shop", "z")), Reason::Progressing);
}

#[test]
fn config_maps_and_the_secrets_of_subscriptions_are_waited_for_too() {
    let mut stage = Stage::fetching();
    let endpoint = Object::new(
        "shop",
        "in",
        json!({
            "verification": { "none": {} },
            "schemas": [{ "types": ["*"], "configMapRef": { "name": "schemas", "key": "k" } }],
        }),
    );
    let subscription = Object::new(
        "shop",
        "out",
        json!({
            "endpointRef": { "name": "in" },
            "target": {
                "url": "https://receiver.example/",
                "headersFrom": [{ "name": "x-key", "secretKeyRef": { "name": "h", "key": "k" } }],
            },
            "signing": { "scheme": "HmacSha256Hex", "secretRefs": [{ "name": "s", "key": "k" }] },
        }),
    );
    stage.tell([endpoint.endpoint(), subscription.subscription()]);
    let schemas = Reference::ConfigMap(key("shop", "schemas"));
    assert_eq!(stage.index.wanted(), [s("h"), s("s"), schemas.clone()]);
    assert_eq!(schemas.to_string(), "ConfigMap shop/schemas");
    let data = BTreeMap::from([("k".to_owned(), "{}".to_owned())]);
    stage.tell([
        Change::ConfigMap(key("shop", "schemas"), Some(data)),
        secret("shop", "h", "1"),
        secret("shop", "s", "2"),
    ]);
    assert_eq!(stage.endpoint(&key("shop", "in")), Reason::Programmed);
    assert_eq!(stage.subscription(&key("shop", "out")), Reason::Programmed);
}

#[test]
fn an_object_that_was_created_again_refers_only_to_its_own_values() {
    let mut stage = Stage::fetching();
    stage.tell([locked("shop", "lock", &["a"]).endpoint()]);
    stage.tell([locked("shop", "lock", &["b"]).uid("uid-2").endpoint()]);
    assert!(!stage.index.refers_to(&s("a")) && stage.index.refers_to(&s("b")));
    assert_eq!(stage.index.wanted(), [s("b")]);
    stage.tell([Change::Gone(ObjectKind::Endpoint, key("shop", "lock"))]);
    assert!(!stage.index.refers_to(&s("b")));
}

#[test]
fn a_forbidden_target_ends_deliveries_also_while_its_version_waits() {
    let mut stage = Stage::fetching();
    let out = key("shop", "out");
    stage.tell([open("shop", "in").endpoint(), subscriber("shop", "out", "in").subscription()]);
    let to = |url: &str, generation: i64| {
        let spec = json!({
            "endpointRef": { "name": "in" },
            "target": { "url": url },
            "signing": { "scheme": "HmacSha256Hex", "secretRefs": [{ "name": "s", "key": "k" }] },
        });
        Object::new("shop", "out", spec).generation(generation).subscription()
    };
    stage.tell([to("https://other.example/", 2)]);
    assert!(stage.delivers(&out), "the earlier version stays in use");
    stage.tell([to("http://169.254.169.254/", 3)]);
    assert_eq!((stage.subscription(&out), stage.delivers(&out)), (Reason::TargetForbidden, false));
    assert_eq!(stage.index.wanted(), [s("s")]);
}

#[test]
fn without_fetching_an_unknown_value_does_not_exist() {
    let mut stage = Stage::new();
    let lock = key("shop", "lock");
    stage.tell([locked("shop", "lock", &["a"]).endpoint()]);
    assert_eq!((stage.endpoint(&lock), stage.index.wanted().len()), (Reason::SecretNotFound, 0));
    stage.tell([secret("shop", "a", "1"), Change::Gone(ObjectKind::Endpoint, lock.clone())]);
    stage.tell([locked("shop", "lock", &["a"]).endpoint()]);
    assert_eq!(stage.endpoint(&lock), Reason::Programmed, "what was told is kept for whoever comes to need it");
}

#[test]
fn only_what_does_not_compile_and_waits_for_nothing_is_unusable() {
    let mut stage = Stage::fetching();
    let lock = key("shop", "lock");
    let unusable = |stage: &Stage| stage.view(ObjectKind::Endpoint, &lock).unusable;
    stage.tell([locked("shop", "lock", &["a"]).endpoint()]);
    assert!(!unusable(&stage), "its Secret has not been read");
    stage.tell([no_secret("shop", "a")]);
    assert!(unusable(&stage), "its Secret is not there");
    stage.tell([secret("shop", "a", "1")]);
    assert!(!unusable(&stage));
    let broken = json!({ "verification": { "none": {} }, "allowedSources": ["nowhere"] });
    stage.tell([Object::new("shop", "lock", broken.clone()).generation(2).endpoint()]);
    assert!(!unusable(&stage), "the last good version is in use");

    let mut stage = Stage::fetching();
    stage.tell([Object::new("shop", "lock", broken).endpoint()]);
    assert!(unusable(&stage));
}

#[test]
fn a_subscription_that_drains_says_how_many_events_are_left() {
    let mut stage = Stage::new();
    let target = json!({ "endpointRef": { "name": "orders" }, "target": { "url": "https://receiver.example/" } });
    stage.tell([
        Object::new("shop", "orders", json!({ "verification": { "none": {} } })).endpoint(),
        Object::new("shop", "billing", target).subscription(),
    ]);
    let view = stage.view(ObjectKind::Subscription, &key("shop", "billing"));
    let Facts::Subscription(facts) = &view.facts else { panic!("facts of a subscription") };
    let counts = grapnel_journal::Progress { pending: 1, retrying: 2, dead: 4, ..grapnel_journal::Progress::default() };
    let journal = JournalReading { deliveries: Some(counts), ..JournalReading::default() };
    let delivering = || {
        let conditions = view.conditions(&journal).into_iter();
        let found = conditions.filter(|condition| condition.kind == ConditionType::Delivering).collect::<Vec<_>>();
        (found[0].status, found[0].reason, found[0].message.clone())
    };
    let before = facts.standing();
    assert_eq!(delivering().1, Reason::NotAttempted);
    facts.draining(true);
    assert_ne!(facts.standing(), before, "so that whoever writes the status notices");
    let message = "draining: 3 events left before deletion";
    assert_eq!(delivering(), (ConditionStatus::True, Reason::Draining, message.into()));
}
