//! The walk of the compiler over a spec: its paths, and the references that it comes to.

use std::collections::{BTreeMap, BTreeSet};

use grapnel_api::{
    KeyReference, ObjectKey, WebhookEndpointSpec, WebhookReplaySpec, WebhookSubscriptionSpec, definition,
};
use grapnel_values::secret::Secret;
use serde_json::{Value, json};

use super::{
    Lookup, Options, Reference, ReferencedValues, endpoint, field::Field, replay, run::Compilation, subscription,
};

/// What is known of every reference.
enum Known {
    Nothing,
    Absence,
    Values(BTreeMap<String, Secret>, BTreeMap<String, String>),
}

impl Known {
    fn values() -> Self {
        let keys = ["k", "username", "password", "tls.crt", "tls.key"];
        Self::Values(
            keys.iter().map(|key| ((*key).to_owned(), Secret::from("text"))).collect(),
            keys.iter().map(|key| ((*key).to_owned(), "{}".to_owned())).collect(),
        )
    }
}

impl ReferencedValues for Known {
    fn secret(&self, _: &ObjectKey) -> Lookup<'_, BTreeMap<String, Secret>> {
        match self {
            Self::Nothing => Lookup::Unknown,
            Self::Absence => Lookup::Absent,
            Self::Values(data, _) => Lookup::Found(data),
        }
    }

    fn config_map(&self, _: &ObjectKey) -> Lookup<'_, BTreeMap<String, String>> {
        match self {
            Self::Nothing => Lookup::Unknown,
            Self::Absence => Lookup::Absent,
            Self::Values(_, data) => Lookup::Found(data),
        }
    }
}

/// A spec of any kind.
enum Spec {
    Endpoint(WebhookEndpointSpec),
    Subscription(WebhookSubscriptionSpec),
    Replay(WebhookReplaySpec),
}

impl Spec {
    fn walk(&self, run: &Compilation<'_>) {
        let object = Field::object(run);
        match self {
            Self::Endpoint(spec) => drop(endpoint::read(&object.at("spec", spec))),
            Self::Subscription(spec) => drop(subscription::read(&object.at("spec", spec))),
            Self::Replay(spec) => drop(replay::read(&object.at("spec", spec))),
        }
    }

    fn schema(&self) -> Value {
        let definition = match self {
            Self::Endpoint(_) => definition::endpoint(),
            Self::Subscription(_) => definition::subscription(),
            Self::Replay(_) => definition::replay(),
        };
        definition::schema(&definition).unwrap().clone()
    }
}

fn key() -> ObjectKey {
    ObjectKey::new("shop", "it")
}

fn reference(name: &str) -> Value {
    json!({ "name": name, "key": "k" })
}

/// Endpoints that set, together, every field that the compiler checks.
fn endpoints() -> Vec<Value> {
    let refs = json!([reference("s1"), reference("s2")]);
    let verifications = [
        json!({ "provider": { "name": "Stripe", "tolerance": "1m" }, "secretRefs": refs }),
        json!({
            "hmac": {
                "header": "x-signature", "algorithm": "SHA256", "encoding": "Hex", "signedContent": "{timestamp}.{body}",
                "timestampHeader": "x-time", "idHeader": "x-id", "tolerance": "1m",
            },
            "secretRefs": refs,
        }),
        json!({ "hmac": { "header": "no header", "algorithm": "SHA256", "encoding": "Hex" }, "secretRefs": refs }),
        json!({ "token": { "header": "x-token" }, "secretRefs": refs }),
        json!({ "basic": {}, "secretRefs": refs }),
        json!({
            "jwt": {
                "issuer": "https://id.example", "jwksUri": "https://id.example/keys", "audiences": ["a"],
                "claims": "claims.sub == 'a'",
            },
        }),
        json!({ "serviceAccount": { "audiences": ["a"], "allowed": [{ "name": "b" }] } }),
    ];
    let sources = [json!({ "header": "x-type" }), json!({ "pointer": "/type" }), json!({ "expression": "payload.a" })];
    let with = |(number, verification)| {
        json!({
            "verification": verification,
            "event": { "type": sources[number % sources.len()], "id": sources[(number + 1) % sources.len()] },
            "schemas": [{ "types": ["a.*"], "schema": {} }, { "types": ["b"], "configMapRef": reference("m") }],
            "deduplication": { "window": "1h" },
            "storage": { "maxBytes": "1Mi" },
            "rateLimit": { "requests": 1, "per": "1s" },
            "limits": { "bodyBytes": "1Mi", "timeout": "1s" },
            "allowedSources": ["192.0.2.0/24"],
            "response": { "status": 204, "body": "", "contentType": "text/plain" },
            "retention": "1h",
            "allowedSubscribers": {
                "from": "Selector",
                "namespaceSelector": {
                    "matchLabels": { "example.com/team": "a" },
                    "matchExpressions": [{ "key": "a", "operator": "Exists", "values": ["b"] }],
                },
            },
        })
    };
    verifications.into_iter().enumerate().map(with).collect()
}

/// Subscriptions that set, together, every field that the compiler checks.
fn subscriptions() -> Vec<Value> {
    let tls = |authorities: Value| json!({ "caRef": authorities, "clientCertRef": { "name": "own" }, "serverName": "inside.example" });
    let from_map = || tls(json!({ "configMapRef": reference("trust") }));
    let from_secret = || tls(json!({ "secretKeyRef": reference("trust") }));
    let oauth = |tls: Value| {
        let (id, secret) = (reference("id"), reference("secret"));
        let client = json!({
            "tokenUrl": "https://id.example/token", "clientIdRef": id, "clientSecretRef": secret, "scopes": ["read"],
            "tls": tls,
        });
        json!({ "oauth2ClientCredentials": client })
    };
    let targets = [
        json!({ "url": "https://receiver.example/", "auth": { "basic": { "secretRef": { "name": "user" } } }, "tls": from_map() }),
        json!({
            "urlFrom": { "secretKeyRef": reference("url") }, "auth": { "bearer": { "secretKeyRef": reference("token") } },
            "tls": from_secret(),
        }),
        json!({
            "service": { "name": "billing", "port": 80, "path": "/" }, "auth": oauth(from_map()),
            "tls": from_secret(),
        }),
        json!({ "url": "nowhere", "service": { "name": "_", "port": 0, "path": "" }, "auth": oauth(from_secret()) }),
    ];
    let with = |mut target: Value| {
        target["headers"] = json!([{ "name": "x-a", "value": "b" }]);
        target["headersFrom"] = json!([{ "name": "x-b", "secretKeyRef": reference("header") }]);
        target["timeout"] = json!("1s");
        json!({
            "endpointRef": { "name": "in" },
            "eventTypes": ["a.*"],
            "filter": "true",
            "transform": "payload",
            "target": target,
            "forwardHeaders": ["x-*"],
            "signing": { "scheme": "HmacSha256Hex", "header": "x-signature", "secretRefs": [reference("sign")] },
            "retry": { "maxAttempts": 0, "initialDelay": "1s", "maxDelay": "1s", "multiplier": 1.0 },
            "ordering": "Ordered",
            "maxInFlight": 2,
            "rateLimit": { "requests": 1, "per": "1s" },
            "circuitBreaker": { "failures": 1, "cooldown": "1s", "maxCooldown": "1s" },
            "deadLetter": { "retention": "1h" },
        })
    };
    targets.into_iter().map(with).collect()
}

fn specs() -> Vec<(Value, Spec)> {
    let endpoints = endpoints().into_iter().map(|spec| {
        let read = serde_json::from_value(spec.clone()).unwrap();
        (spec, Spec::Endpoint(read))
    });
    let subscriptions = subscriptions().into_iter().map(|spec| {
        let read = serde_json::from_value(spec.clone()).unwrap();
        (spec, Spec::Subscription(read))
    });
    let replays = replays().into_iter().map(|spec| {
        let read = serde_json::from_value(spec.clone()).unwrap();
        (spec, Spec::Replay(read))
    });
    endpoints.chain(subscriptions).chain(replays).collect()
}

/// Replays that set, together, every field that the compiler checks.
fn replays() -> Vec<Value> {
    let (early, late) = ("2026-01-31T12:00:00Z", "2026-01-31T13:00:00Z");
    let selections = [
        json!({ "deadLettered": true }),
        json!({ "deadLettered": false }),
        json!({ "ids": [] }),
        json!({ "since": late, "until": early }),
        json!({}),
    ];
    let with = |select| {
        json!({
            "subscriptionRef": { "name": "out" }, "select": select, "filter": "payload.a == 1",
            "rate": { "requests": 1, "per": "1s" },
        })
    };
    selections.into_iter().map(with).collect()
}

/// Whether a field refers to a Secret or a ConfigMap, by its name.
fn is_reference(field: &str) -> bool {
    (field.ends_with("Ref") || field.ends_with("Refs"))
        && !matches!(field, "endpointRef" | "subscriptionRef" | "caRef" | "parentRefs")
}

/// The names in every reference of a spec, found without the compiler.
fn names(value: &Value, refers: bool, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => {
            if let (true, Some(name)) = (refers, fields.get("name").and_then(Value::as_str)) {
                found.insert(name.to_owned());
            }
            fields.iter().for_each(|(field, value)| names(value, is_reference(field), found));
        }
        Value::Array(items) => items.iter().for_each(|item| names(item, refers, found)),
        _ => {}
    }
}

/// The paths of a schema that refer to a Secret or a ConfigMap; `*` stands for any index.
fn reference_paths(schema: &Value, path: &str, found: &mut BTreeSet<String>) {
    for (name, schema) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
        let path = format!("{path}/{name}");
        if is_reference(name) {
            found.insert(path.clone());
        }
        reference_paths(schema, &path, found);
    }
    if let Some(items) = schema.get("items") {
        reference_paths(items, &format!("{path}/*"), found);
    }
}

/// Whether a schema defines a path.
fn defines(schema: &Value, pointer: &str) -> bool {
    pointer
        .split('/')
        .skip(1)
        .try_fold(schema, |schema, token| match token.parse::<usize>() {
            Ok(_) => schema.get("items"),
            Err(_) => schema["properties"].get(token).or_else(|| schema.get("additionalProperties")),
        })
        .is_some()
}

#[test]
fn every_path_of_the_compiler_is_a_field_of_the_object() {
    let (key, options, known) = (key(), Options { service_accounts: true, ..Options::default() }, Known::values());
    let mut paths = 0;
    for (_, spec) in specs() {
        let run = Compilation::new(&key, &options, &known);
        spec.walk(&run);
        let schema = spec.schema();
        for path in run.read.borrow().iter() {
            assert!(defines(&schema, path), "{path}");
            paths += 1;
        }
    }
    assert!(paths > 300, "{paths}");
}

#[test]
fn every_reference_of_a_spec_is_looked_up_whatever_is_known_of_it() {
    let (key, options) = (key(), Options { service_accounts: true, ..Options::default() });
    for (text, spec) in specs() {
        let survey = Compilation::survey(&key, &options);
        spec.walk(&survey);
        let outlined = survey.into_references();
        for known in [Known::Nothing, Known::Absence, Known::values()] {
            let run = Compilation::new(&key, &options, &known);
            spec.walk(&run);
            assert_eq!(run.into_references(), outlined, "{text:#}");
        }
        let mut written = BTreeSet::new();
        names(&text, false, &mut written);
        let looked_up: BTreeSet<_> = outlined.iter().map(|reference| reference.key().name.to_string()).collect();
        assert_eq!(looked_up, written, "{text:#}");
        assert!(outlined.is_sorted());
    }
}

#[test]
fn a_new_reference_in_the_api_is_missed_here_until_the_compiler_knows_it() {
    let (key, options, known) = (key(), Options::default(), Known::values());
    let (mut defined, mut read) = (BTreeSet::new(), BTreeSet::new());
    for (_, spec) in specs() {
        reference_paths(&spec.schema()["properties"]["spec"], "/spec", &mut defined);
        let run = Compilation::new(&key, &options, &known);
        spec.walk(&run);
        let general = |path: &String| {
            let tokens = path.split('/').map(|token| if token.parse::<usize>().is_ok() { "*" } else { token });
            tokens.collect::<Vec<_>>().join("/")
        };
        read.extend(run.read.borrow().iter().map(general));
    }
    assert!(defined.len() > 10, "{defined:?}");
    assert_eq!(defined.difference(&read).collect::<Vec<_>>(), [] as [&String; 0]);
}

#[test]
fn an_object_awaits_the_first_unknown_value_and_is_not_compiled_before() {
    let (key, options) = (key(), Options::default());
    for (known, expected) in [
        (Known::Nothing, Some(Reference::ConfigMap(ObjectKey::new("shop", "m")))),
        (Known::Absence, None),
        (Known::values(), None),
    ] {
        let run = Compilation::new(&key, &options, &known);
        let reference = KeyReference { name: "m".into(), key: "k".into() };
        Field::object(&run).at("configMapRef", &reference).config_map();
        let compiled = run.end(Some("object"));
        assert_eq!(compiled.awaits, expected);
        assert_eq!(compiled.object.is_some(), expected.is_none());
    }
}
