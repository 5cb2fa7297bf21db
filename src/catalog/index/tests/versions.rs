//! Versions of objects: good, bad, unchanged, and of another object with the same name.

use super::*;
use crate::catalog::{observed::LastRejection, status::Facts};

fn broken(namespace: &str, name: &str) -> Object {
    Object::new(namespace, name, json!({ "verification": { "none": {} }, "allowedSources": ["somewhere"] }))
}

fn unreadable(kind: ObjectKind, key: &ObjectKey, uid: &str, generation: i64) -> Change {
    Change::Unreadable(Unreadable {
        kind,
        key: key.clone(),
        source: None,
        uid: Some(uid.into()),
        generation: Some(generation),
        problems: vec![Problem::new("", Reason::InvalidSpec, "the object cannot be read")],
    })
}

#[test]
fn a_version_that_is_there_costs_nothing() {
    let mut stage = Stage::new();
    stage.tell([open("shop", "in").endpoint(), subscriber("shop", "out", "in").subscription()]);
    assert!(!stage.tell([open("shop", "in").endpoint(), subscriber("shop", "out", "in").subscription()]));
    assert_eq!(stage.compiled_by([open("shop", "in").generation(2).endpoint()]), 1);
}

#[test]
fn a_mistake_keeps_the_last_good_version() {
    let mut stage = Stage::new();
    let place = key("shop", "in");
    stage.tell([open("shop", "in").endpoint()]);
    stage.tell([broken("shop", "in").generation(2).endpoint()]);
    let (status, reason, message) = stage.ready(ObjectKind::Endpoint, &place);
    assert_eq!((status, reason), (ConditionStatus::False, Reason::InvalidSpec));
    assert!(message.ends_with("; the last valid version is still in use"), "{message}");
    assert_eq!(stage.view(ObjectKind::Endpoint, &place).generation, Some(2));
    assert_eq!(stage.serves("shop/in"), Some(place));
}

#[test]
fn a_target_that_must_not_be_called_ends_what_was_delivered() {
    let mut stage = Stage::new();
    let out = key("shop", "out");
    stage.tell([open("shop", "in").endpoint(), subscriber("shop", "out", "in").subscription()]);
    assert!(stage.delivers(&out));
    let spec = json!({ "endpointRef": { "name": "in" }, "target": { "url": "http://169.254.169.254/" } });
    stage.tell([Object::new("shop", "out", spec).generation(2).subscription()]);
    assert_eq!((stage.subscription(&out), stage.delivers(&out)), (Reason::TargetForbidden, false));
    assert!(stage.published.snapshot.knows(&object("shop", "out", "uid-1")));
}

#[test]
fn a_version_that_cannot_be_read_is_reported_with_its_generation() {
    let mut stage = Stage::new();
    let place = key("shop", "in");
    stage.tell([open("shop", "in").endpoint()]);
    assert!(stage.tell([unreadable(ObjectKind::Endpoint, &place, "uid-1", 2)]));
    assert!(!stage.tell([unreadable(ObjectKind::Endpoint, &place, "uid-1", 2)]));
    assert_eq!(stage.endpoint(&place), Reason::InvalidSpec);
    assert_eq!(stage.view(ObjectKind::Endpoint, &place).generation, Some(2));
    assert_eq!(stage.serves("shop/in"), Some(place.clone()), "the last good version goes on");
    stage.tell([open("shop", "in").generation(3).endpoint()]);
    assert_eq!(stage.endpoint(&place), Reason::Programmed);
    // Nothing of a replaced object stays in use.
    stage.tell([unreadable(ObjectKind::Endpoint, &place, "uid-2", 1)]);
    assert_eq!((stage.endpoint(&place), stage.serves("shop/in")), (Reason::InvalidSpec, None));
}

#[test]
fn an_endpoint_that_cannot_be_read_exists() {
    let mut stage = Stage::new();
    let (place, out) = (key("shop", "in"), key("shop", "out"));
    stage.tell([subscriber("shop", "out", "in").subscription()]);
    assert_eq!(stage.subscription(&out), Reason::EndpointNotFound);
    stage.tell([unreadable(ObjectKind::Endpoint, &place, "uid-1", 1)]);
    assert_eq!(stage.subscription(&out), Reason::EndpointNotReady);
    assert!(stage.delivers(&out));
    stage.tell([Change::Gone(ObjectKind::Endpoint, place)]);
    assert_eq!(stage.subscription(&out), Reason::EndpointNotFound);
    assert!(stage.delivers(&out), "what was accepted before is delivered");
}

#[test]
fn a_condition_has_its_time_for_as_long_as_its_status() {
    let mut stage = Stage::new();
    let place = key("shop", "in");
    let at = |second: i64| jiff::Timestamp::from_second(second).unwrap();
    let times = |stage: &Stage, second: i64| {
        let status = stage.view(ObjectKind::Endpoint, &place).status(&JournalReading::default(), at(second), &[]);
        let conditions = status["conditions"].as_array().unwrap().clone();
        conditions.into_iter().map(|it| (it["type"].clone(), it["lastTransitionTime"].clone())).collect::<Vec<_>>()
    };
    let time = |times: &[(serde_json::Value, serde_json::Value)], kind: &str| {
        times.iter().find(|(found, _)| found == kind).map(|(_, time)| time.as_str().unwrap().to_owned()).unwrap()
    };
    stage.tell([open("shop", "in").endpoint()]);
    let first = times(&stage, 10);
    assert_eq!(time(&first, "Ready"), at(10).to_string());
    assert_eq!(times(&stage, 20), first);
    stage.tell([broken("shop", "in").generation(2).endpoint()]);
    let second = times(&stage, 30);
    assert_eq!((time(&second, "Accepted"), time(&second, "Verified")), (at(30).to_string(), at(10).to_string()));
    assert_eq!(times(&stage, 40), second);
}

#[test]
fn an_object_that_was_deleted_and_created_again_begins_anew() {
    let mut stage = Stage::new();
    let (place, out) = (key("shop", "in"), key("shop", "out"));
    stage.tell([open("shop", "in").endpoint(), subscriber("shop", "out", "in").subscription()]);
    let received = |stage: &Stage| match &stage.view(ObjectKind::Endpoint, &place).facts {
        Facts::Endpoint(facts) => facts.read().received,
        Facts::Subscription(_) | Facts::Replay(_) => unreachable!(),
    };
    stage.published.snapshot.endpoint(&place).unwrap().facts.received(jiff::Timestamp::UNIX_EPOCH);
    stage.tell([open("shop", "in").generation(2).endpoint()]);
    assert_eq!(received(&stage), 1, "a new version goes on counting");
    stage.tell([open("shop", "in").uid("uid-2").endpoint()]);
    assert_eq!(received(&stage), 0);
    assert_eq!(stage.view(ObjectKind::Endpoint, &place).uid.as_deref(), Some("uid-2"));
    // The same generation, and not even valid: nothing of the old object is served.
    stage.tell([broken("shop", "in").uid("uid-3").endpoint()]);
    assert_eq!((stage.endpoint(&place), stage.serves("shop/in")), (Reason::InvalidSpec, None));

    let facts = |stage: &Stage| Arc::clone(&stage.published.snapshot.subscription(&out).unwrap().facts);
    let before = facts(&stage);
    stage.tell([subscriber("shop", "out", "in").uid("uid-2").subscription()]);
    assert!(!Arc::ptr_eq(&before, &facts(&stage)));
}

#[test]
fn a_subscription_that_was_created_again_is_another_one() {
    let mut stage = Stage::new();
    let again = key("shop", "again");
    stage.tell([open("shop", "in").endpoint(), subscriber("shop", "again", "in").subscription()]);
    let first = object("shop", "again", "uid-1");
    assert_eq!(stage.published.snapshot.subscription(&again).unwrap().incarnation(), first);
    stage.tell([subscriber("shop", "again", "in").generation(2).subscription()]);
    assert!(stage.published.snapshot.knows(&first), "a change is no deletion");
    for (change, uid) in [
        (subscriber("shop", "again", "nowhere").uid("uid-2").subscription(), "uid-2"),
        (unreadable(ObjectKind::Subscription, &again, "uid-3", 1), "uid-3"),
    ] {
        // Deleted and created again before anything was published.
        stage.tell([Change::Gone(ObjectKind::Subscription, again.clone()), change]);
        let snapshot = &stage.published.snapshot;
        assert!(!snapshot.knows(&first) && snapshot.knows(&object("shop", "again", uid)), "{uid}");
        assert_eq!(snapshot.known(&again), Some(object("shop", "again", uid)), "it exists, compiled or not");
        assert!(snapshot.knows(&Incarnation::of_file(again.clone())), "what has no uid goes when another is attached");
    }
    stage.tell([Change::Gone(ObjectKind::Subscription, again.clone())]);
    assert!(!stage.published.snapshot.knows(&Incarnation::of_file(again)));
}

#[test]
fn a_subscription_names_the_endpoint_object_that_it_reads() {
    let mut stage = Stage::new();
    let (place, out) = (key("shop", "in"), key("shop", "out"));
    let reads = |stage: &Stage| stage.published.snapshot.subscription(&out).unwrap().endpoint.clone();
    stage.tell([open("shop", "in").endpoint(), subscriber("shop", "out", "in").subscription()]);
    assert_eq!(reads(&stage), object("shop", "in", "uid-1"));
    // Created again: seen as a change, after a deletion, and in a version that cannot be parsed.
    assert_eq!(stage.compiled_by([open("shop", "in").uid("uid-2").endpoint()]), 2);
    assert_eq!(reads(&stage), object("shop", "in", "uid-2"));
    stage.tell([Change::Gone(ObjectKind::Endpoint, place.clone()), open("shop", "in").uid("uid-3").endpoint()]);
    assert_eq!(reads(&stage), object("shop", "in", "uid-3"));
    stage.tell([unreadable(ObjectKind::Endpoint, &place, "uid-4", 1)]);
    assert_eq!(reads(&stage), object("shop", "in", "uid-4"));
}

#[test]
fn an_endpoint_may_bound_its_storage() {
    let mut stage = Stage::new();
    let with = |max: &str, generation| {
        let spec = json!({ "verification": { "none": {} }, "storage": { "maxBytes": max } });
        Object::new("shop", "in", spec).generation(generation).endpoint()
    };
    let max_bytes = |stage: &Stage| stage.published.snapshot.endpoint(&key("shop", "in")).unwrap().max_bytes;
    stage.tell([with("2Gi", 1)]);
    assert_eq!(max_bytes(&stage), Some(2 << 30));
    stage.tell([with("1Ki", 2)]);
    let (_, reason, message) = stage.ready(ObjectKind::Endpoint, &key("shop", "in"));
    assert_eq!(reason, Reason::InvalidSpec);
    assert!(message.contains("spec.storage.maxBytes: 1Ki is less than 65536 bytes"), "{message}");
    assert_eq!(max_bytes(&stage), Some(2 << 30), "the last good version goes on");
    stage.tell([open("shop", "in").generation(3).endpoint()]);
    assert_eq!(max_bytes(&stage), None);
}

#[test]
fn an_exhausted_share_is_a_condition_while_it_lasts() {
    let mut stage = Stage::new();
    stage.tell([open("shop", "in").endpoint()]);
    let view = stage.view(ObjectKind::Endpoint, &key("shop", "in"));
    let storing = |share_exhausted: Option<String>| {
        let reading = JournalReading { share_exhausted, ..JournalReading::default() };
        view.conditions(&reading).into_iter().find(|condition| condition.kind == ConditionType::Storing)
    };
    assert_eq!(storing(None), None);
    let condition = storing(Some("namespace shop keeps 9 of at most 8 bytes".into())).unwrap();
    assert_eq!((condition.status, condition.reason), (ConditionStatus::False, Reason::ShareExhausted));
    assert_eq!(condition.message, "namespace shop keeps 9 of at most 8 bytes");
}

#[test]
fn a_journal_that_accepts_nothing_is_a_condition() {
    let mut stage = Stage::new();
    stage.tell([open("shop", "in").endpoint()]);
    let view = stage.view(ObjectKind::Endpoint, &key("shop", "in"));
    let state = |unproven: Option<&str>| {
        let share_exhausted = Some("namespace shop keeps 9 of at most 8 bytes".into());
        let reading =
            JournalReading { share_exhausted, unproven: unproven.map(Into::into), ..JournalReading::default() };
        let conditions = view.conditions(&reading);
        [ConditionType::Ready, ConditionType::Storing].map(|kind| {
            let found = conditions.iter().find(|condition| condition.kind == kind).unwrap();
            (found.status, found.reason, found.message.to_string())
        })
    };
    let message = "no event is accepted: n1 does not sync".to_owned();
    let refused = (ConditionStatus::False, Reason::JournalUnavailable, message);
    assert_eq!(state(Some("n1 does not sync")), [refused.clone(), refused]);
    let [ready, storing] = state(None);
    assert_eq!((ready.0, ready.1), (ConditionStatus::True, Reason::Programmed));
    assert_eq!((storing.0, storing.1), (ConditionStatus::False, Reason::ShareExhausted));
}

#[test]
fn messages_say_what_to_do() {
    let mut stage = Stage::new();
    let signed = |secret: &str| {
        let spec = json!({
            "verification": {
                "provider": { "name": "StandardWebhooks" },
                "secretRefs": [{ "name": secret, "key": "k" }],
            },
        });
        Object::new("shop", secret, spec).endpoint()
    };
    let schema = |name: &str| {
        let spec = json!({
            "verification": { "none": {} },
            "schemas": [{ "types": ["*"], "configMapRef": { "name": name, "key": "k" } }],
        });
        Object::new("shop", name, spec).endpoint()
    };
    let text =
        |name: &str, text: String| Change::ConfigMap(key("shop", name), Some(BTreeMap::from([("k".to_owned(), text)])));
    let megabyte = json!({ "description": "x".repeat(1 << 20) }).to_string();
    stage.tell([
        signed("whsec"),
        secret("shop", "whsec", "whsec_not base64"),
        schema("yaml"),
        text("yaml", "type: object".into()),
        schema("large"),
        text("large", megabyte),
        schema("missing"),
        subscriber("shop", "lost", "nowhere").subscription(),
    ]);
    for (kind, name, reason, advice) in [
        (ObjectKind::Endpoint, "whsec", Reason::InvalidSecret, "key k of Secret whsec: it is not base64"),
        (ObjectKind::Endpoint, "yaml", Reason::InvalidSchema, "key k of ConfigMap yaml is not JSON"),
        (ObjectKind::Endpoint, "yaml", Reason::InvalidSchema, "put one JSON Schema there"),
        (ObjectKind::Endpoint, "large", Reason::InvalidSchema, "more than the 262144 allowed; give each type a schema"),
        (ObjectKind::Endpoint, "missing", Reason::SecretNotFound, "create it or correct the name"),
        (ObjectKind::Subscription, "lost", Reason::EndpointNotFound, "create it or correct the name"),
    ] {
        let (status, found, message) = stage.ready(kind, &key("shop", name));
        assert_eq!((status, found), (ConditionStatus::False, reason), "{name}: {message}");
        assert!(message.contains(advice), "{name}: {message}");
        assert!(!message.contains("not base64\"") && message.len() < 1024, "{name}: {message}");
    }
}

#[test]
fn refused_requests_do_not_change_what_is_published() {
    let mut stage = Stage::new();
    stage.tell([open("shop", "in").endpoint()]);
    let endpoint = Arc::clone(stage.published.snapshot.endpoint(&key("shop", "in")).unwrap());
    endpoint.facts.rejected(LastRejection {
        time: jiff::Timestamp::UNIX_EPOCH,
        code: "timeout".into(),
        message: String::new(),
    });
    assert!(!stage.publish());
}
