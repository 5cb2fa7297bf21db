//! Compiled targets and verification.

use grapnel_delivery::egress::Reach;
use grapnel_signature::{RequiredContext, ServiceAccountScheme};

use super::*;

fn to_service(service: Value) -> Object {
    Object::new("shop", "out", json!({ "endpointRef": { "name": "in" }, "target": { "service": service } }))
}

#[test]
fn a_service_is_called_by_its_name_in_the_own_namespace() {
    for (service, expected) in [
        (json!({ "name": "billing", "port": 8080 }), "http://billing.shop.svc.cluster.local:8080/"),
        (json!({ "name": "billing", "port": 80 }), "http://billing.shop.svc.cluster.local/"),
        (
            json!({ "name": "billing", "port": 8443, "scheme": "https", "path": "/hooks/in?a=b" }),
            "https://billing.shop.svc.cluster.local:8443/hooks/in?a=b",
        ),
        (
            json!({ "name": "b", "port": 1, "path": "//evil.example/" }),
            "http://b.shop.svc.cluster.local:1//evil.example/",
        ),
        (json!({ "name": "b", "port": 1, "path": "/../@evil" }), "http://b.shop.svc.cluster.local:1/@evil"),
        (
            json!({ "name": "b", "port": 1, "path": "/\\evil.example" }),
            "http://b.shop.svc.cluster.local:1//evil.example",
        ),
    ] {
        let mut stage = Stage::new();
        stage.tell([open("shop", "in").endpoint(), to_service(service).subscription()]);
        let compiled = Arc::clone(stage.published.snapshot.subscription(&key("shop", "out")).unwrap());
        assert_eq!(compiled.target.url.as_str(), expected);
        assert_eq!(compiled.target.reach, Reach::Service);
        assert_eq!(compiled.target.url.host_str().map(|host| host.ends_with(".shop.svc.cluster.local")), Some(true));
    }
}

#[test]
fn what_would_lead_out_of_the_namespace_is_refused() {
    for service in [
        json!({ "name": "billing.other", "port": 80 }),
        json!({ "name": "evil.example/", "port": 80 }),
        json!({ "name": "user@evil", "port": 80 }),
        json!({ "name": "evil#", "port": 80 }),
        json!({ "name": "evil:1", "port": 80 }),
        json!({ "name": "", "port": 80 }),
        json!({ "name": "billing", "port": 0 }),
        json!({ "name": "billing", "port": 80, "path": "evil" }),
        json!({ "name": "billing", "port": 80, "path": "" }),
        json!({ "name": "billing", "port": 80, "path": "@evil.example/" }),
    ] {
        let mut stage = Stage::new();
        stage.tell([open("shop", "in").endpoint(), to_service(service.clone()).subscription()]);
        assert_eq!(stage.subscription(&key("shop", "out")), Reason::InvalidSpec, "{service}");
        assert!(!stage.delivers(&key("shop", "out")), "{service}");
    }
}

#[test]
fn exactly_one_of_url_and_service_is_a_target() {
    let both = json!({ "url": "https://receiver.example/", "service": { "name": "billing", "port": 80 } });
    for target in [both, json!({})] {
        let mut stage = Stage::new();
        let spec = json!({ "endpointRef": { "name": "in" }, "target": target });
        stage.tell([open("shop", "in").endpoint(), Object::new("shop", "out", spec).subscription()]);
        let (_, reason, message) = stage.ready(ObjectKind::Subscription, &key("shop", "out"));
        assert_eq!(reason, Reason::InvalidSpec);
        assert!(message.contains("spec.target: exactly one of url, urlFrom and service must be set"), "{message}");
    }
}

#[test]
fn the_domain_is_the_clusters() {
    let options = Options { cluster_domain: "k8s.example".into(), ..Options::default() };
    let mut index = ObjectIndex::new(options, Metrics::new());
    index.apply(open("shop", "in").endpoint());
    index.apply(to_service(json!({ "name": "billing", "port": 8080 })).subscription());
    let published = index.publish().unwrap();
    let compiled = published.snapshot.subscription(&key("shop", "out")).unwrap();
    assert_eq!(compiled.target.url.as_str(), "http://billing.shop.svc.k8s.example:8080/");
}

fn by_account() -> Object {
    let spec = json!({
        "verification": {
            "serviceAccount": {
                "audiences": ["grapnel.dev"],
                "allowed": [{ "name": "billing" }, { "namespace": "ops", "name": "cron" }],
            },
        },
    });
    Object::new("shop", "in", spec)
}

#[test]
fn service_accounts_are_of_the_own_namespace_by_default() {
    let mut stage = Stage::new();
    stage.tell([by_account().endpoint()]);
    let compiled = Arc::clone(stage.published.snapshot.endpoint(&key("shop", "in")).unwrap());
    let expected = ServiceAccountScheme {
        audiences: vec!["grapnel.dev".into()],
        allowed: vec![("shop".into(), "billing".into()), ("ops".into(), "cron".into())],
    };
    let RequiredContext::Review(scheme) = compiled.verifier.needs() else { panic!("{:?}", compiled.verifier.needs()) };
    assert_eq!(scheme, &expected);
    let verified = stage.condition(ObjectKind::Endpoint, &key("shop", "in"), ConditionType::Verified).unwrap();
    assert_eq!(verified.status, ConditionStatus::True);
}

#[test]
fn service_accounts_need_a_cluster() {
    let mut index = ObjectIndex::new(Options::default(), Metrics::new());
    index.apply(by_account().endpoint());
    let published = index.publish().unwrap();
    assert!(published.snapshot.endpoint(&key("shop", "in")).is_none());
    let (_, _, problem) = index.problems().next().unwrap();
    assert_eq!(problem.reason, Reason::InvalidSpec);
    assert!(problem.message.starts_with("serviceAccount requires a cluster"), "{}", problem.message);
}

#[test]
fn one_way_to_verify_is_enough() {
    let accounts = json!({ "audiences": ["a"], "allowed": [{ "name": "b" }] });
    for (verification, expected) in [
        (json!({ "none": {}, "serviceAccount": accounts }), "exactly one of provider, hmac, token, basic"),
        (json!({}), "exactly one of provider, hmac, token, basic"),
        (json!({ "token": {} }), "secretRefs must name at least one Secret key"),
        (json!({ "basic": {} }), "secretRefs must name at least one Secret key"),
        (json!({ "provider": { "name": "Zoom" } }), "secretRefs must name at least one Secret key"),
        (
            json!({ "provider": { "name": "DockerHub" }, "secretRefs": [{ "name": "s", "key": "k" }] }),
            "secretRefs cannot be used with",
        ),
        (
            json!({ "serviceAccount": accounts, "secretRefs": [{ "name": "s", "key": "k" }] }),
            "secretRefs cannot be used with",
        ),
    ] {
        let mut stage = Stage::new();
        let object = Object::new("shop", "in", json!({ "verification": verification }));
        stage.tell([secret("shop", "s", "1"), object.endpoint()]);
        let (_, reason, message) = stage.ready(ObjectKind::Endpoint, &key("shop", "in"));
        assert_eq!(reason, Reason::InvalidSpec, "{message}");
        assert!(message.contains(expected), "{message}");
    }
}
