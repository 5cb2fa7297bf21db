//! How endpoints verify, as it is compiled.

use super::*;
use crate::rules::signature::{self, PROVIDERS};

fn secret_with(namespace: &str, name: &str, values: &[(&str, &str)]) -> Change {
    let values = values.iter().map(|(key, value)| ((*key).to_owned(), Secret::from(*value)));
    Change::Secret(key(namespace, name), Some(values.collect()))
}

/// `SecretsResolved` of the endpoint: its status, its reason and its message.
fn resolved(stage: &Stage) -> (ConditionStatus, Reason, String) {
    let resolved = stage.condition(Kind::Endpoint, &key("shop", "in"), ConditionType::SecretsResolved).unwrap();
    (resolved.status, resolved.reason, resolved.message)
}

#[test]
fn a_pair_of_username_and_password_comes_from_one_secret() {
    let spec = json!({ "verification": { "basic": { "secretRefs": [{ "name": "one" }, { "name": "two" }] } } });
    let whole = |name: &str, username: &str, password: &str| {
        secret_with("shop", name, &[("username", username), ("password", password)])
    };
    let mut stage = Stage::new();
    stage.tell([Object::new("shop", "in", spec).endpoint()]);
    let (status, reason, message) = resolved(&stage);
    assert_eq!((status, reason), (ConditionStatus::False, Reason::SecretNotFound), "{message}");
    assert_eq!(stage.serves("shop/in"), None);
    stage.tell([secret_with("shop", "one", &[("username", "a")])]);
    let (status, reason, message) = resolved(&stage);
    assert_eq!((status, reason), (ConditionStatus::False, Reason::KeyNotFound), "{message}");
    assert!(message.contains("password"), "{message}");
    // One pair is enough to be served, and what is wrong with the other is said.
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
fn every_provider_can_be_named_and_one_without_proof_says_so() {
    for provider in PROVIDERS {
        let name = provider.name;
        let mut spec = json!({ "verification": { "provider": { "name": name } } });
        if provider.scheme().needs_secrets() {
            spec["verification"]["secretRefs"] = json!([{ "name": "s", "key": "k" }]);
        }
        let mut stage = Stage::new();
        let keys = signature::tests::keys(&provider.scheme());
        let text = std::str::from_utf8(keys.public.expose()).unwrap();
        stage.tell([secret_with("shop", "s", &[("k", text)]), Object::new("shop", "in", spec).endpoint()]);
        let (status, _, message) = stage.ready(Kind::Endpoint, &key("shop", "in"));
        assert_eq!(status, ConditionStatus::True, "{name}: {message}");
        let verified = stage.condition(Kind::Endpoint, &key("shop", "in"), ConditionType::Verified).unwrap();
        assert_eq!(verified.status == ConditionStatus::True, name != "DockerHub", "{name}: {}", verified.message);
    }
}
