//! Subscriptions to endpoints of other namespaces.

use super::*;

fn selector(selector: Value) -> Value {
    json!({ "from": "Selector", "namespaceSelector": selector })
}

#[test]
fn an_endpoint_that_does_not_allow_a_namespace_is_as_if_it_did_not_exist() {
    let mut stage = Stage::new();
    let out = key("team", "out");
    stage.tell([subscriber("team", "out", "shop/in").subscription()]);
    let absent = stage.ready(ObjectKind::Subscription, &out);
    assert_eq!(absent.1, Reason::NotAllowed);
    assert!(absent.2.contains("ask its owner to allow it in spec.allowedSubscribers"), "{}", absent.2);
    for refusing in [
        open("shop", "in"),
        shared("shop", "in", json!({ "from": "Same" })).generation(2),
        shared("shop", "in", selector(json!({ "matchLabels": { "a": "b" } }))).generation(3),
    ] {
        stage.tell([refusing.endpoint()]);
        assert_eq!(stage.ready(ObjectKind::Subscription, &out), absent, "nothing tells whether it exists");
        assert!(!stage.delivers(&out));
    }
    assert_eq!(stage.view(ObjectKind::Subscription, &out).endpoint_ref, Some(key("shop", "in")));
}

#[test]
fn permission_is_given_and_taken_away_at_once() {
    let mut stage = Stage::new();
    let out = key("team", "out");
    stage.tell([open("shop", "in").endpoint(), subscriber("team", "out", "shop/in").subscription()]);
    stage.tell([shared("shop", "in", json!({ "from": "All" })).generation(2).endpoint()]);
    assert_eq!((stage.subscription(&out), stage.delivers(&out)), (Reason::Programmed, true));

    stage.tell([open("shop", "in").generation(3).endpoint()]);
    assert_eq!((stage.subscription(&out), stage.delivers(&out)), (Reason::NotAllowed, false));
    assert!(stage.published.snapshot.knows(&object("team", "out", "uid-1")), "its consumer stays, so nothing is lost");
    let message = stage.ready(ObjectKind::Subscription, &out).2;
    assert!(!message.contains("last valid version"), "{message}");

    stage.tell([shared("shop", "in", json!({ "from": "All" })).generation(4).endpoint()]);
    assert!(stage.delivers(&out));
    stage.tell([Change::Gone(ObjectKind::Endpoint, key("shop", "in"))]);
    assert_eq!((stage.subscription(&out), stage.delivers(&out)), (Reason::NotAllowed, false));
}

#[test]
fn permission_is_taken_away_also_while_a_newer_version_waits() {
    let mut stage = Stage::fetching();
    let out = key("team", "out");
    let all = || shared("shop", "in", json!({ "from": "All" }));
    stage.tell([all().endpoint(), subscriber("team", "out", "shop/in").subscription()]);
    let newer = Object::new(
        "team",
        "out",
        json!({
            "endpointRef": { "namespace": "shop", "name": "in" },
            "target": { "url": "https://receiver.example/" },
            "signing": { "scheme": "HmacSha256Hex", "secretRefs": [{ "name": "s", "key": "k" }] },
        }),
    );
    stage.tell([newer.generation(2).subscription()]);
    assert!(stage.delivers(&out));
    stage.tell([open("shop", "in").generation(2).endpoint()]);
    assert_eq!((stage.subscription(&out), stage.delivers(&out)), (Reason::NotAllowed, false));
    assert!(stage.condition(ObjectKind::Subscription, &out, ConditionType::Reconciling).is_some());
    // The same while the endpoint's newer version waits.
    stage.tell([all().generation(3).endpoint(), secret("team", "s", "1")]);
    assert!(stage.delivers(&out));
    stage.tell([locked("shop", "in", &["unanswered"]).generation(4).endpoint()]);
    assert_eq!(stage.endpoint(&key("shop", "in")), Reason::Programmed);
    assert!(!stage.delivers(&out));
}

#[test]
fn dead_letters_go_to_another_endpoint_of_the_own_namespace() {
    let mut stage = Stage::new();
    let out = key("shop", "out");
    let with = |endpoint: &str, generation: i64| {
        let spec = json!({
            "endpointRef": { "name": "in" },
            "target": { "url": "https://receiver.example/" },
            "deadLetter": { "endpointRef": { "name": endpoint } },
        });
        Object::new("shop", "out", spec).generation(generation).subscription()
    };
    stage.tell([open("shop", "in").endpoint(), open("team", "letters").endpoint(), with("letters", 1)]);
    let (_, reason, message) = stage.ready(ObjectKind::Subscription, &out);
    assert_eq!(reason, Reason::EndpointNotFound, "that of another namespace is not it");
    assert!(message.contains("spec.deadLetter.endpointRef.name: WebhookEndpoint letters does not exist"), "{message}");
    assert!(!stage.delivers(&out));

    assert_eq!(stage.compiled_by([open("shop", "letters").endpoint()]), 2, "the endpoint and who refers to it");
    assert_eq!((stage.subscription(&out), stage.delivers(&out)), (Reason::Programmed, true));
    let snapshot = Arc::clone(&stage.published.snapshot);
    let letters = |max_bytes| DeadLetterEndpoint { endpoint: object("shop", "letters", "uid-1"), max_bytes };
    assert_eq!(snapshot.subscription(&out).unwrap().dead_letter_endpoint, Some(letters(None)));
    let spec = json!({ "verification": { "none": {} }, "storage": { "maxBytes": "1Mi" } });
    assert_eq!(stage.compiled_by([Object::new("shop", "letters", spec).generation(2).endpoint()]), 2);
    let snapshot = Arc::clone(&stage.published.snapshot);
    assert_eq!(snapshot.subscription(&out).unwrap().dead_letter_endpoint, Some(letters(Some(1 << 20))));

    stage.tell([Change::Gone(ObjectKind::Endpoint, key("shop", "letters"))]);
    assert_eq!((stage.subscription(&out), stage.delivers(&out)), (Reason::EndpointNotFound, true));
    assert!(stage.ready(ObjectKind::Subscription, &out).2.contains("the last valid version is still in use"));

    stage.tell([with("in", 2)]);
    let (_, reason, message) = stage.ready(ObjectKind::Subscription, &out);
    assert_eq!(reason, Reason::InvalidSpec);
    assert!(message.contains("name another endpoint"), "{message}");
}

#[test]
fn an_endpoint_does_not_get_the_dead_letters_of_what_it_took_in_however_that_is_written() {
    for reference in [json!({ "name": "in" }), json!({ "name": "in", "namespace": "shop" })] {
        let mut stage = Stage::new();
        let spec = json!({
            "endpointRef": reference,
            "target": { "url": "https://receiver.example/" },
            "deadLetter": { "endpointRef": { "name": "in" } },
        });
        stage.tell([open("shop", "in").endpoint(), Object::new("shop", "out", spec).subscription()]);
        assert_eq!(stage.subscription(&key("shop", "out")), Reason::InvalidSpec);
    }
    // An endpoint of the same name in another namespace is another one.
    let mut stage = Stage::new();
    let spec = json!({
        "endpointRef": { "name": "in", "namespace": "shop" },
        "target": { "url": "https://receiver.example/" },
        "deadLetter": { "endpointRef": { "name": "in" } },
    });
    let shared = shared("shop", "in", json!({ "from": "All" }));
    let out = Object::new("team", "out", spec);
    stage.tell([shared.endpoint(), open("team", "in").endpoint(), out.subscription()]);
    assert_eq!(stage.subscription(&key("team", "out")), Reason::Programmed);
}

#[test]
fn the_own_namespace_is_always_allowed() {
    let mut stage = Stage::new();
    let endpoint = shared("shop", "in", selector(json!({ "matchLabels": { "team": "other" } })));
    stage.tell([
        endpoint.endpoint(),
        subscriber("shop", "plain", "in").subscription(),
        subscriber("shop", "named", "shop/in").subscription(),
        subscriber("shop", "lost", "shop/nowhere").subscription(),
    ]);
    for name in ["plain", "named"] {
        assert_eq!(stage.subscription(&key("shop", name)), Reason::Programmed, "{name}");
    }
    assert_eq!(stage.subscription(&key("shop", "lost")), Reason::EndpointNotFound);
}

#[test]
fn labels_of_namespaces_decide_as_they_are_now() {
    let mut stage = Stage::new();
    let out = key("team", "out");
    let trusted = selector(json!({ "matchLabels": { "trusted": "yes" } }));
    stage.tell([
        shared("shop", "in", trusted).endpoint(),
        shared("shop", "every", json!({ "from": "All" })).endpoint(),
        subscriber("team", "out", "shop/in").subscription(),
        subscriber("team", "other", "shop/every").subscription(),
        subscriber("else", "out", "shop/in").subscription(),
        open("team", "in").endpoint(),
        subscriber("team", "own", "in").subscription(),
    ]);
    assert_eq!(stage.subscription(&out), Reason::NotAllowed);
    assert_eq!(stage.compiled_by([labels("team", &[("trusted", "yes")])]), 1, "only what labels decide");
    assert!(stage.delivers(&out) && !stage.delivers(&key("else", "out")));
    assert_eq!(stage.compiled_by([labels("team", &[("trusted", "yes")])]), 0);
    assert_eq!(stage.compiled_by([labels("team", &[("trusted", "no"), ("x", "y")])]), 1);
    assert!(!stage.delivers(&out));
    stage.tell([labels("team", &[("trusted", "yes")])]);
    assert_eq!(stage.compiled_by([Change::Namespace("team".into(), None)]), 1);
    assert!(!stage.delivers(&out));
    assert_eq!(stage.compiled_by([labels("nobody", &[("trusted", "yes")])]), 0);
}

#[test]
fn a_namespace_always_has_its_name_as_a_label() {
    let mut stage = Stage::new();
    let named = selector(json!({
        "matchExpressions": [{ "key": "kubernetes.io/metadata.name", "operator": "In", "values": ["team", "x"] }],
    }));
    stage.tell([
        shared("shop", "in", named).endpoint(),
        subscriber("team", "out", "shop/in").subscription(),
        subscriber("evil", "out", "shop/in").subscription(),
        labels("evil", &[("kubernetes.io/metadata.name", "team")]),
    ]);
    assert!(stage.delivers(&key("team", "out")) && !stage.delivers(&key("evil", "out")));
    stage.tell([labels("team", &[("a", "b")])]);
    assert!(stage.delivers(&key("team", "out")));
}

#[test]
fn a_change_of_what_is_allowed_touches_only_those_whom_it_concerns() {
    let mut stage = Stage::new();
    stage.tell([
        open("shop", "in").endpoint(),
        open("shop", "else").endpoint(),
        subscriber("shop", "own", "in").subscription(),
        subscriber("a", "out", "shop/in").subscription(),
        subscriber("b", "out", "shop/in").subscription(),
        subscriber("b", "else", "shop/else").subscription(),
    ]);
    let all = shared("shop", "in", json!({ "from": "All" }));
    assert_eq!(stage.compiled_by([all.generation(2).endpoint()]), 3, "the endpoint and its two foreign readers");
    let with = |field: &str, value: Value| {
        let mut spec = json!({ "verification": { "none": {} }, "allowedSubscribers": { "from": "All" } });
        spec[field] = value;
        Object::new("shop", "in", spec)
    };
    let kept = with("retention", "24h".into()).generation(3).endpoint();
    assert_eq!(stage.compiled_by([kept]), 1, "what they need to know is the same");
    let suspended = with("suspend", true.into()).generation(4).endpoint();
    assert_eq!(stage.compiled_by([suspended]), 4, "every reader says so");
}

#[test]
fn what_is_allowed_and_cannot_be_understood_allows_nobody() {
    let mut stage = Stage::new();
    let bad = [
        (selector(json!({ "matchLabels": { "no key": "x" } })), "matchLabels.no key"),
        (
            selector(json!({ "matchExpressions": [{ "key": "a", "operator": "In" }] })),
            "spec.allowedSubscribers.namespaceSelector.matchExpressions[0]",
        ),
        (
            selector(json!({ "matchExpressions": [{ "key": "a", "operator": "Exists", "values": ["b"] }] })),
            "spec.allowedSubscribers.namespaceSelector.matchExpressions[0]",
        ),
        (json!({ "from": "Selector" }), "namespaceSelector: must be set when from is Selector"),
        (json!({ "namespaceSelector": {} }), "namespaceSelector must be set exactly when from is Selector"),
    ];
    stage.tell([subscriber("team", "out", "shop/in").subscription()]);
    for (number, (allowed, expected)) in (1..).zip(bad) {
        stage.tell([shared("shop", "in", allowed).generation(number).endpoint()]);
        let (_, reason, message) = stage.ready(ObjectKind::Endpoint, &key("shop", "in"));
        assert_eq!(reason, Reason::InvalidSpec, "{message}");
        assert!(message.contains(expected), "{message}");
        assert!(!stage.delivers(&key("team", "out")));
    }
}
