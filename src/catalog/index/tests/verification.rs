//! Compiled verification of endpoints.

use grapnel_signature::{self, PROVIDERS, ProviderName, Scheme};

use super::*;

fn secret_with(namespace: &str, name: &str, values: &[(&str, &str)]) -> Change {
    let values = values.iter().map(|(key, value)| ((*key).to_owned(), Secret::from(*value)));
    Change::Secret(key(namespace, name), Some(values.collect()))
}

/// `SecretsResolved` of the endpoint: its status, its reason and its message.
fn resolved(stage: &Stage) -> (ConditionStatus, Reason, String) {
    let resolved = stage.condition(ObjectKind::Endpoint, &key("shop", "in"), ConditionType::SecretsResolved).unwrap();
    (resolved.status, resolved.reason, resolved.message.into_owned())
}

#[test]
fn a_pair_of_username_and_password_comes_from_one_secret() {
    let refs = json!([{ "name": "one", "key": "password" }, { "name": "two", "key": "password" }]);
    let spec = json!({ "verification": { "basic": {}, "secretRefs": refs } });
    let whole = |name: &str, username: &str, password: &str| {
        secret_with("shop", name, &[("username", username), ("password", password)])
    };
    let mut stage = Stage::new();
    stage.tell([Object::new("shop", "in", spec).endpoint()]);
    let (status, reason, message) = resolved(&stage);
    assert_eq!((status, reason), (ConditionStatus::False, Reason::SecretNotFound), "{message}");
    assert_eq!(message.matches("Secret one does not exist").count(), 1, "{message}");
    assert_eq!(stage.serves("shop/in"), None);
    stage.tell([secret_with("shop", "one", &[("username", "a")])]);
    let (status, reason, message) = resolved(&stage);
    assert_eq!((status, reason), (ConditionStatus::False, Reason::KeyNotFound), "{message}");
    assert!(message.contains("password"), "{message}");
    // One pair is enough to be served, and the problem of the other is reported.
    stage.tell([whole("one", "a", "b"), whole("two", "a:b", "c")]);
    let (status, reason, message) = resolved(&stage);
    assert_eq!((status, reason), (ConditionStatus::False, Reason::InvalidSecret), "{message}");
    assert!(message.contains("colon") && message.contains("two"), "{message}");
    assert!(stage.serves("shop/in").is_some());
    stage.tell([whole("two", "c", "d")]);
    let (status, _, message) = resolved(&stage);
    assert_eq!(status, ConditionStatus::True, "{message}");
}

#[test]
fn the_username_is_no_password() {
    let spec = json!({ "verification": { "basic": {}, "secretRefs": [{ "name": "one", "key": "username" }] } });
    let mut stage = Stage::new();
    stage.tell([
        secret_with("shop", "one", &[("username", "a"), ("password", "b")]),
        Object::new("shop", "in", spec).endpoint(),
    ]);
    let (status, reason, message) = stage.ready(ObjectKind::Endpoint, &key("shop", "in"));
    assert_eq!((status, reason), (ConditionStatus::False, Reason::InvalidSpec), "{message}");
    assert!(message.contains("must name the password"), "{message}");
    assert_eq!(stage.serves("shop/in"), None);
}

#[test]
fn every_provider_can_be_named_and_one_without_proof_says_so() {
    for provider in PROVIDERS {
        let name = provider.name;
        let mut spec = json!({ "verification": { "provider": { "name": name } } });
        if provider.scheme().needs_secrets() {
            spec["verification"]["secretRefs"] = json!([{ "name": "s", "key": "k" }]);
        }
        match name {
            ProviderName::Google => {
                spec["verification"]["provider"]["audiences"] = json!(["https://hooks.example.com/in"]);
                spec["verification"]["provider"]["emails"] = json!(["push@project.iam.gserviceaccount.com"]);
            }
            ProviderName::PayPal => spec["verification"]["provider"]["webhookId"] = json!("9XL90610J3647323C"),
            ProviderName::Meta => {
                spec["verification"]["provider"]["verifyToken"] = json!({ "name": "s", "key": "k" });
            }
            ProviderName::AmazonSNS => {
                spec["verification"]["provider"]["topics"] = json!(["arn:aws:sns:eu-west-1:123456789012:orders"]);
            }
            _ => {}
        }
        let mut stage = Stage::new();
        let keys = grapnel_signature::testing::keys(&provider.scheme());
        let text = std::str::from_utf8(keys.public.expose()).unwrap();
        stage.tell([secret_with("shop", "s", &[("k", text)]), Object::new("shop", "in", spec).endpoint()]);
        let (status, _, message) = stage.ready(ObjectKind::Endpoint, &key("shop", "in"));
        assert_eq!(status, ConditionStatus::True, "{name}: {message}");
        let verified = stage.condition(ObjectKind::Endpoint, &key("shop", "in"), ConditionType::Verified).unwrap();
        assert_eq!(
            verified.status == ConditionStatus::True,
            provider.scheme() != Scheme::None,
            "{name}: {}",
            verified.message
        );
    }
}

#[test]
fn parameters_without_a_default_are_required() {
    let google = |rest: Value| {
        let mut provider = json!({ "name": "Google" });
        provider.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
        json!({ "provider": provider })
    };
    let jwt = |issuer: &str, uri: Option<&str>| json!({ "jwt": { "issuer": issuer, "audiences": ["grapnel"], "jwksUri": uri } });
    for (verification, expected) in [
        (google(json!({})), "Google requires audiences and emails"),
        (google(json!({ "audiences": ["a"] })), "Google requires audiences and emails"),
        (google(json!({ "audiences": [], "emails": [] })), "Google requires audiences and emails"),
        (json!({ "provider": { "name": "PayPal" } }), "PayPal requires webhookId"),
        (json!({ "provider": { "name": "PayPal", "webhookId": "" } }), "webhookId"),
        (
            json!({ "provider": { "name": "Meta" }, "secretRefs": [{ "name": "s", "key": "k" }] }),
            "Meta requires verifyToken",
        ),
        (json!({ "provider": { "name": "AmazonSNS" } }), "AmazonSNS requires topics"),
        (json!({ "provider": { "name": "AmazonSNS", "topics": [] } }), "AmazonSNS requires topics"),
        (
            json!({ "provider": { "name": "GitHub", "webhookId": "1" }, "secretRefs": [{ "name": "s", "key": "k" }] }),
            "GitHub has no use for webhookId",
        ),
        (
            json!({ "provider": { "name": "GitHub", "tolerance": "1m" }, "secretRefs": [{ "name": "s", "key": "k" }] }),
            "does not sign a timestamp",
        ),
        (jwt("http://issuer.example", None), "https"),
        (jwt("issuer.example", None), "issuer"),
        (jwt("https://user@issuer.example", None), "username"),
        (jwt("https://issuer.example", Some("http://issuer.example/keys")), "https"),
        (jwt("https://issuer.example", Some("ftp://issuer.example/keys")), "https"),
        (json!({ "jwt": { "issuer": "https://issuer.example", "audiences": [] } }), "audience"),
    ] {
        let mut stage = Stage::new();
        stage.tell([
            secret("shop", "s", "1"),
            Object::new("shop", "in", json!({ "verification": verification })).endpoint(),
        ]);
        let (status, reason, message) = stage.ready(ObjectKind::Endpoint, &key("shop", "in"));
        assert_eq!((status, reason), (ConditionStatus::False, Reason::InvalidSpec), "{verification}: {message}");
        assert!(message.contains(expected), "{verification}: {message}");
    }
    for (rule, expected) in [("claims.sub ==", "claims"), ("payload.a == 1", "claims"), ("claims.sub + 'x'", "bool")] {
        let mut stage = Stage::new();
        let mut verification = jwt("https://issuer.example", None);
        verification["jwt"]["claims"] = json!(rule);
        stage.tell([Object::new("shop", "in", json!({ "verification": verification })).endpoint()]);
        let (status, reason, message) = stage.ready(ObjectKind::Endpoint, &key("shop", "in"));
        assert_eq!((status, reason), (ConditionStatus::False, Reason::InvalidExpression), "{rule}: {message}");
        assert!(message.contains(expected) && stage.serves("shop/in").is_none(), "{rule}: {message}");
    }
    // Keys may be fetched only from where deliveries may go.
    for uri in
        ["https://10.0.0.1/keys", "https://169.254.169.254/keys", "https://[::1]/keys", "http://localhost:1/keys"]
    {
        let mut stage = Stage::new();
        let verification = jwt("https://issuer.example", Some(uri));
        stage.tell([Object::new("shop", "in", json!({ "verification": verification })).endpoint()]);
        let (status, reason, message) = stage.ready(ObjectKind::Endpoint, &key("shop", "in"));
        assert_eq!((status, reason), (ConditionStatus::False, Reason::TargetForbidden), "{uri}: {message}");
    }
    let mut stage = Stage::new();
    let verification = jwt("https://issuer.example", None);
    stage.tell([Object::new("shop", "in", json!({ "verification": verification })).endpoint()]);
    assert_eq!(stage.ready(ObjectKind::Endpoint, &key("shop", "in")).0, ConditionStatus::True);
    assert_eq!(
        stage.condition(ObjectKind::Endpoint, &key("shop", "in"), ConditionType::Verified).unwrap().status,
        ConditionStatus::True
    );
}

#[test]
fn gitlab_takes_secrets_of_both_kinds_and_a_tolerance() {
    const SIGNING: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    let spec = json!({ "verification": {
        "provider": { "name": "GitLab", "tolerance": "1m" },
        "secretRefs": [{ "name": "signing", "key": "k" }, { "name": "token", "key": "k" }],
    } });
    let mut stage = Stage::new();
    let token = secret("shop", "token", "plain");
    stage.tell([secret("shop", "signing", SIGNING), token, Object::new("shop", "in", spec).endpoint()]);
    let (status, _, message) = resolved(&stage);
    assert_eq!(status, ConditionStatus::True, "{message}");
    let compiled = Arc::clone(stage.published.snapshot.endpoint(&key("shop", "in")).unwrap());
    let scheme = grapnel_signature::provider("GitLab").unwrap().scheme();
    let judge = |secret: &str, seconds: i64| {
        let mut headers = http::HeaderMap::new();
        let at = |second| jiff::Timestamp::from_second(second).unwrap();
        grapnel_signature::sign_request(&scheme, &secret.into(), &mut headers, &mut b"{}".to_vec(), at(1_700_000_000))
            .unwrap();
        let verified = compiled.verifier.verify(&headers, "{}".into(), at(1_700_000_000 + seconds));
        verified.map_or_else(|refusal| refusal.code(), |_| "ok")
    };
    assert_eq!((judge(SIGNING, 60), judge(SIGNING, 61)), ("ok", "stale_timestamp"));
    assert_eq!((judge("plain", 1000), judge("another", 0)), ("ok", "invalid_signature"));
    // An invalid signing secret is reported, and is not used as a token.
    stage.tell([secret("shop", "signing", "whsec_not base64")]);
    let (status, reason, message) = resolved(&stage);
    assert_eq!((status, reason), (ConditionStatus::False, Reason::InvalidSecret), "{message}");
    assert!(stage.serves("shop/in").is_some());
    stage.tell([no_secret("shop", "token")]);
    assert_eq!(stage.serves("shop/in"), None, "nothing is left that anybody could prove");
}
