//! The definitions as a reviewer of Kubernetes APIs reads them.

use grapnel_values::{duration, fields};
use kube_cel::Validator;
use serde_json::{Value, json};

use super::{all, replay, schema};
use crate::completion::complete;

/// A value as an API server completes it.
fn completed(schema: &Value, mut value: Value) -> Value {
    complete(schema, &mut value);
    value
}

/// Calls `visit` with every node of a schema and its path.
fn walk(node: &Value, path: &str, visit: &mut impl FnMut(&Value, &str)) {
    visit(node, path);
    for (name, property) in node["properties"].as_object().into_iter().flatten() {
        walk(property, &format!("{path}.{name}"), visit);
    }
    for part in ["items", "additionalProperties"] {
        if node[part].is_object() {
            walk(&node[part], &format!("{path}[]"), visit);
        }
    }
}

fn schemas() -> [Value; 3] {
    all().map(|definition| schema(&definition).unwrap().clone())
}

#[test]
fn both_versions_are_served_with_one_schema_and_the_newer_one_is_stored() {
    for definition in all() {
        let versions = definition["spec"]["versions"].as_array().unwrap();
        let names = versions.iter().map(|version| &version["name"]).collect::<Vec<_>>();
        assert_eq!(names, ["v1beta1", "v1alpha1"]);
        assert_eq!(versions[0]["schema"], versions[1]["schema"]);
        for shared in ["additionalPrinterColumns", "selectableFields", "subresources", "served"] {
            assert_eq!(versions[0][shared], versions[1][shared], "{shared}");
            assert!(!versions[0][shared].is_null(), "{shared}");
        }
        assert_eq!((&versions[0]["storage"], &versions[1]["storage"]), (&true.into(), &false.into()));
        assert!(versions[0]["deprecated"].is_null() && versions[1]["deprecated"] == true);
        let warning = versions[1]["deprecationWarning"].as_str().unwrap();
        assert!(warning.contains("v1alpha1") && warning.contains("use grapnel.dev/v1beta1"), "{warning}");
    }
}

#[test]
fn no_node_breaks_a_convention() {
    for root in schemas() {
        walk(&root, "", &mut |node, path| {
            assert!(node["nullable"].is_null(), "{path} is nullable");
            let format = node["format"].as_str();
            assert!(matches!(format, None | Some("int32" | "int64" | "date-time")), "{path}: {format:?}");
            assert_ne!(node["type"], "number", "{path} is a float");
            for bound in ["minimum", "maximum"] {
                assert!(node[bound].is_null() || node[bound].is_i64(), "{path}: {bound} is {}", node[bound]);
            }
            let text = node["description"].as_str().unwrap_or_default();
            assert!(!text.replace("\n\n", "").contains('\n'), "{path} has a line break in its description");
            if path.ends_with("Ref") {
                assert_eq!(node["x-kubernetes-map-type"], "atomic", "{path}");
            }
        });
    }
}

#[test]
fn everything_in_a_spec_has_a_maximum() {
    for root in schemas() {
        walk(&root["properties"]["spec"], "spec", &mut |node, path| match node["type"].as_str() {
            Some("string") => assert!(node["maxLength"].is_u64() || node["enum"].is_array(), "{path} has no maxLength"),
            Some("array") => {
                assert!(node["maxItems"].is_u64(), "{path} has no maxItems");
                assert!(node["x-kubernetes-list-type"].is_string(), "{path} has no list type");
            }
            Some("object") if node["additionalProperties"].is_object() => {
                assert!(node["maxProperties"].is_u64(), "{path} has no maxProperties");
            }
            Some("integer") => {
                assert!(node["minimum"].is_i64() && node["maximum"].is_i64(), "{path} has no bounds");
                assert!(node["format"].is_string(), "{path} has no format");
            }
            _ => {}
        });
    }
}

#[test]
fn no_author_sees_a_regular_expression() {
    for root in schemas() {
        walk(&root["properties"]["spec"], "spec", &mut |node, path| {
            assert!(node["pattern"].is_null(), "{path} has a pattern: use a rule");
            for rule in node["x-kubernetes-validations"].as_array().into_iter().flatten() {
                assert!(rule["message"].is_string(), "{path}: {rule}");
            }
        });
    }
}

/// Costs as an API server estimates them: a match takes a tenth of the text's length times a quarter of the pattern's, a
/// comparison of names that differ in case about fifty. Budgets are 10,000,000 for a rule and 100,000,000 for a definition
/// (apiextensions-apiserver, `StaticEstimatedCostLimit` and `StaticEstimatedCRDCostLimit`).
fn cost(rule: &str, node: &Value) -> u64 {
    // Of an integer or text, the server ignores the maximum length and assumes the size of a request.
    let request = 3 << 20;
    let length = if node["x-kubernetes-int-or-string"] == true { None } else { node["maxLength"].as_u64() };
    let length = length.unwrap_or(if node["type"] == "object" { 2048 } else { request });
    let patterns = rule.match_indices("matches('").chain(rule.match_indices("find('"));
    let matching: u64 = patterns
        .map(|(at, call)| {
            let pattern = rule[at + call.len()..].split('\'').next().unwrap().len() as u64;
            length.div_ceil(10) * pattern.div_ceil(4)
        })
        .sum();
    let listed = node["maxItems"].as_u64().unwrap_or(64).pow(2);
    let comparing = if rule.contains("lowerAscii") { listed * 50 } else { 0 };
    100 + matching + comparing
}

#[test]
fn rules_stay_within_the_cost_budget_of_an_api_server() {
    fn add(node: &Value, times: u64, total: &mut u64) {
        for rule in node["x-kubernetes-validations"].as_array().into_iter().flatten() {
            let cost = times * cost(rule["rule"].as_str().unwrap(), node);
            assert!(cost < 10_000_000, "{cost}: {rule}");
            *total += cost;
        }
        for (_, property) in node["properties"].as_object().into_iter().flatten() {
            add(property, times, total);
        }
        if node["items"].is_object() {
            add(&node["items"], times * node["maxItems"].as_u64().unwrap(), total);
        }
    }
    for root in schemas() {
        let mut total = 0;
        add(&root, 1, &mut total);
        assert!(total < 100_000_000, "{total}");
    }
}

#[test]
fn an_object_that_nobody_has_seen_has_a_status_of_no_generation() {
    for root in schemas() {
        let object = completed(&root, json!({ "metadata": { "generation": 1 }, "spec": {} }));
        assert_eq!(object["status"], json!({ "observedGeneration": -1 }));
        let conditions = &root["properties"]["status"]["properties"]["conditions"];
        assert_eq!(conditions["x-kubernetes-list-map-keys"], json!(["type"]));
        assert_eq!(conditions["items"]["properties"]["message"]["maxLength"], 32768);
    }
}

#[test]
fn defaults_show_what_is_in_force() {
    let [endpoint, subscription, replay] = schemas().map(|root| root["properties"]["spec"].clone());
    let text = duration::format;
    let expected = json!({
        "suspend": false, "payload": { "format": "Auto" }, "unmatchedTypes": "Accept",
        "deduplication": { "window": text(fields::DEDUPLICATION_WINDOW), "by": "Id", "disabled": false },
        "limits": { "timeout": text(fields::REQUEST_TIMEOUT) }, "response": { "status": fields::RESPONSE_STATUS },
        "retention": text(fields::RETENTION), "allowedSubscribers": { "from": "Same" },
    });
    assert_eq!(completed(&endpoint, json!({})), expected);
    let expected = json!({
        "format": "Original", "suspend": false, "ordering": "Unordered", "startFrom": "Now", "deletionPolicy": "Drop",
        "mode": "Deliver",
        "maxInFlight": fields::IN_FLIGHT, "target": { "timeout": text(fields::DELIVERY_TIMEOUT) },
        "retry": {
            "maxAttempts": fields::ATTEMPTS, "initialDelay": text(fields::INITIAL_DELAY), "multiplier": fields::MULTIPLIER,
            "maxDelay": text(fields::MAX_DELAY), "jitter": "Equal", "stopOn": [fields::STOP_ON],
        },
        "circuitBreaker": {
            "failures": fields::BREAKER_FAILURES, "cooldown": text(fields::BREAKER_COOLDOWN),
            "maxCooldown": text(fields::BREAKER_MAX_COOLDOWN),
        },
        "deadLetter": { "retention": text(fields::DEAD_LETTER_RETENTION) },
    });
    assert_eq!(completed(&subscription, json!({ "target": {} })), expected);
    assert_eq!(completed(&replay, json!({})), json!({ "dryRun": false, "suspend": false }));
    let routed = completed(&endpoint["properties"]["route"], json!({ "parentRefs": [{ "name": "public" }] }));
    let gateway = json!({ "group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "public" });
    assert_eq!(routed, json!({ "parentRefs": [gateway] }));
}

/// Prepares a schema and an object for a CEL evaluator that does not know `type()`: integers or texts become texts, which
/// is what the rest of their rules is about. The bounds of integers are not rules.
fn without_type_tests(schema: &mut Value) {
    match schema {
        Value::Object(fields) => {
            let is_either = fields.get("x-kubernetes-int-or-string") == Some(&Value::Bool(true));
            // An evaluator sets defaults itself.
            if let Some(default @ Value::Number(_)) = fields.get_mut("default").filter(|_| is_either) {
                *default = default.to_string().into();
            }
            for (name, value) in fields.iter_mut() {
                match value {
                    Value::String(rule) if name == "rule" => {
                        if let Some(rest) = rule.strip_prefix(crate::rules::INTEGER_OR) {
                            *rule = rest.to_owned();
                        }
                    }
                    value => without_type_tests(value),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(without_type_tests),
        _ => {}
    }
}

/// See [`without_type_tests`].
fn integers_as_texts(schema: &Value, value: &mut Value) {
    match value {
        Value::Number(number) if schema.get("x-kubernetes-int-or-string") == Some(&Value::Bool(true)) => {
            *value = number.to_string().into();
        }
        Value::Object(fields) => {
            let known = schema.get("properties");
            for (name, value) in fields.iter_mut() {
                if let Some(schema) = known.and_then(|known| known.get(name)) {
                    integers_as_texts(schema, value);
                }
            }
        }
        Value::Array(items) => {
            let Some(schema) = schema.get("items") else { return };
            items.iter_mut().for_each(|item| integers_as_texts(schema, item));
        }
        _ => {}
    }
}

/// The violations of rules in an object with this spec, after its defaults are set, as `path: message`.
fn violations(root: &Value, spec: Value) -> Vec<String> {
    let (mut root, mut object) = (root.clone(), completed(root, json!({ "spec": spec })));
    integers_as_texts(&root, &mut object);
    without_type_tests(&mut root);
    match Validator::new().validate(&root, &object, None) {
        Ok(()) => Vec::new(),
        Err(errors) => errors.iter().map(|error| format!("{}: {}", error.field_path, error.message)).collect(),
    }
}

fn with(mut spec: Value, more: Value) -> Value {
    spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    spec
}

#[test]
fn defaults_alone_violate_no_rule() {
    // An API server checks each default by itself, before the defaults below it are set.
    for mut root in schemas() {
        without_type_tests(&mut root);
        walk(&root["properties"]["spec"], "spec", &mut |node, path| {
            if !node["default"].is_null() {
                let found = Validator::new().validate(node, &node["default"], None);
                assert!(found.is_ok(), "{path}: {:?}", found.err());
            }
        });
    }
}

#[test]
fn endpoints_are_refused_in_words_at_the_field() {
    let [root, ..] = schemas();
    let open = json!({ "verification": { "none": {} } });
    let by_route = |parent: Value, host: &str| json!({ "route": { "parentRefs": [parent], "hostnames": [host] } });
    let by_topic = |topic: &str| json!({ "verification": { "provider": { "name": "AmazonSNS", "topics": [topic] } } });
    let by_token = |uri: &str| json!({ "verification": { "jwt": { "issuer": uri, "audiences": ["a"] } } });
    let keys = json!([{ "name": "s", "key": "k" }]);
    let by_hmac = |more: Value| {
        let hmac = with(json!({ "header": "X-Signature", "algorithm": "SHA256", "encoding": "Hex" }), more);
        json!({ "verification": { "hmac": hmac, "secretRefs": keys } })
    };
    let duration = "must be a duration such as 250ms, 10s or 24h";
    for (more, expected) in [
        (json!({ "retention": "10" }), format!("spec.retention: {duration}")),
        (json!({ "retention": "0s" }), "spec.retention: must be greater than zero and at most 876600h".into()),
        (json!({ "limits": { "timeout": "61s" } }), "spec.limits.timeout: must be greater than zero and at most 1m".into()),
        (json!({ "limits": { "timeout": "1 s" } }), format!("spec.limits.timeout: {duration}")),
        (json!({ "limits": { "bodyBytes": "33Mi" } }), "spec.limits.bodyBytes: must be from 1 to 32Mi".into()),
        (json!({ "limits": { "bodyBytes": 33554433 } }), "spec.limits.bodyBytes: must be from 1 to 32Mi".into()),
        (json!({ "limits": { "bodyBytes": "0" } }), "spec.limits.bodyBytes: must be from 1 to 32Mi".into()),
        (json!({ "limits": { "bodyBytes": "1MB" } }), "spec.limits.bodyBytes: must be a quantity such as 512Ki or 1Mi".into()),
        (json!({ "storage": { "maxBytes": "63Ki" } }), "spec.storage.maxBytes: must be at least 64Ki".into()),
        (
            json!({ "allowedSources": ["192.0.2.0/24", "192.0.2.0/33"] }),
            "spec.allowedSources[1]: must be a CIDR such as 192.0.2.0/24 or 2001:db8::/32".into(),
        ),
        (
            json!({ "path": "a/../b" }),
            "spec.path: must be one or more segments of letters, digits and -._~, separated by single slashes, none of \
             dots only"
                .into(),
        ),
        (
            json!({ "allowedSubscribers": { "namespaceSelector": {} } }),
            "spec.allowedSubscribers.namespaceSelector: namespaceSelector must be set exactly when from is Selector".into(),
        ),
        (
            json!({ "className": "Web" }),
            "spec.className: must be lowercase letters, digits and hyphens (RFC 1123)".into(),
        ),
        (
            by_route(json!({ "name": "public" }), "hooks.*.example.com"),
            "spec.route.hostnames[0]: must be a host name in lowercase such as hooks.example.com or *.example.com".into(),
        ),
        (
            by_route(json!({ "name": "public", "namespace": "a.b" }), "a"),
            "spec.route.parentRefs[0].namespace: must be lowercase letters, digits and hyphens (RFC 1123)".into(),
        ),
        (
            by_route(json!({ "name": "public", "kind": "a/b" }), "a"),
            "spec.route.parentRefs[0].kind: must be a kind such as Gateway".into(),
        ),
        (
            by_route(json!({ "name": "public", "group": "a/b" }), "a"),
            "spec.route.parentRefs[0].group: must be an API group such as gateway.networking.k8s.io".into(),
        ),
        (
            by_topic("orders"),
            "spec.verification.provider.topics[0]: must be the ARN of a standard topic such as \
             arn:aws:sns:eu-central-1:123456789012:orders"
                .into(),
        ),
        (
            by_token("https://me:pass@id.example"),
            "spec.verification.jwt.issuer: must not contain a username or password".into(),
        ),
        (
            by_token("http://id.example"),
            "spec.verification.jwt.issuer: must be an https URL, because it is the source of the keys".into(),
        ),
        (
            json!({ "verification": {} }),
            "spec.verification: exactly one of provider, hmac, token, basic, jwt, serviceAccount and none must be set".into(),
        ),
        (
            json!({ "verification": { "token": {} } }),
            "spec.verification.secretRefs: secretRefs must name at least one Secret key".into(),
        ),
        (
            json!({ "verification": { "none": {}, "secretRefs": keys } }),
            "spec.verification.secretRefs: secretRefs cannot be used with jwt, serviceAccount, none and the providers \
             DockerHub, Quay, Google, PayPal and AmazonSNS"
                .into(),
        ),
        (
            json!({ "verification": { "provider": { "name": "PayPal" } } }),
            "spec.verification.provider.webhookId: webhookId is required for PayPal, and not allowed for other providers".into(),
        ),
        (
            by_hmac(json!({ "signedContent": "{timestamp}.{body}" })),
            "spec.verification.hmac.timestampHeader: signedContent uses {timestamp}, so timestampHeader must be set".into(),
        ),
        (
            json!({ "response": { "status": 204, "body": "x" } }),
            "spec.response.body: a 204 response cannot have a body".into(),
        ),
    ] {
        assert_eq!(violations(&root, with(open.clone(), more.clone())), [expected], "{more}");
    }
    for fine in [
        json!({}),
        json!({ "retention": "1.5h", "limits": { "timeout": "60s", "bodyBytes": "32Mi" }, "storage": { "maxBytes": 65536 } }),
        json!({ "limits": { "bodyBytes": "1.5Mi" }, "storage": { "maxBytes": "64Ki" } }),
        json!({ "allowedSources": ["0.0.0.0/0", "192.0.2.1", "2001:db8::/32", "::1", "::ffff:192.0.2.1/128"] }),
        json!({ "path": "/a/.b/c~d", "allowedSubscribers": { "from": "Selector", "namespaceSelector": {} } }),
        json!({ "className": "web-2" }),
        by_route(
            json!({ "name": "public.a", "namespace": "infra", "group": "", "kind": "Service", "port": 80 }),
            "*.a.b",
        ),
        by_topic("arn:aws-cn:sns:cn-north-1:123456789012:orders"),
        by_token("https://id.example/a@b"),
        by_token("http://localhost:8080/realm"),
    ] {
        assert_eq!(violations(&root, with(open.clone(), fine.clone())), Vec::<String>::new(), "{fine}");
    }
}

#[test]
fn subscriptions_are_refused_in_words_at_the_field() {
    let [_, root, _] = schemas();
    let base = json!({ "endpointRef": { "name": "in" }, "target": { "url": "https://receiver.example" } });
    let target = |more: Value| json!({ "target": with(json!({ "url": "https://receiver.example" }), more) });
    let header = |name: &str| json!({ "name": name, "value": "v" });
    let secret = |name: &str| json!({ "name": name, "secretKeyRef": { "name": "s", "key": "k" } });
    for (more, expected) in [
        (
            json!({ "target": { "url": "https://me:pass@receiver.example" } }),
            "spec.target.url: must not contain a username or password; set them in target.auth",
        ),
        (
            json!({ "target": { "url": "ftp://receiver.example" } }),
            "spec.target.url: must be a URL that begins with http:// or https://",
        ),
        (
            target(json!({ "headers": [header("X-A"), header("x-a")] })),
            "spec.target.headers: must not set a header twice; names are compared without regard to case",
        ),
        (
            target(json!({ "headers": [header("X-A")], "headersFrom": [secret("x-a")] })),
            "spec.target.headersFrom: must not set a header that headers sets; names are compared without regard to case",
        ),
        (
            json!({ "deadLetter": { "endpointRef": { "name": "in" } } }),
            "spec.deadLetter.endpointRef.name: deadLetter.endpointRef cannot be the endpoint that the subscription reads; \
             name another endpoint",
        ),
        (
            json!({ "retry": { "initialDelay": "10m", "maxDelay": "1m" } }),
            "spec.retry.initialDelay: must not be longer than maxDelay",
        ),
        (json!({ "retry": { "initialDelay": "7h" } }), "spec.retry.initialDelay: must not be longer than maxDelay"),
        (
            json!({ "retry": { "multiplier": 11 } }),
            "spec.retry.multiplier: must be from 1 to 10: an integer such as 2, or a text such as \"1.5\"",
        ),
        (
            json!({ "retry": { "multiplier": "0.5" } }),
            "spec.retry.multiplier: must be from 1 to 10: an integer such as 2, or a text such as \"1.5\"",
        ),
        (
            json!({ "circuitBreaker": { "cooldown": "2m", "maxCooldown": "1m" } }),
            "spec.circuitBreaker.maxCooldown: must not be shorter than cooldown",
        ),
        (
            json!({ "circuitBreaker": { "maxCooldown": "25h" } }),
            "spec.circuitBreaker.maxCooldown: must be greater than zero and at most 24h",
        ),
        (
            json!({ "ordering": "Ordered", "maxInFlight": 2 }),
            "spec.maxInFlight: with ordering Ordered one delivery is in flight at a time: remove maxInFlight or set it to 1",
        ),
    ] {
        assert_eq!(violations(&root, with(base.clone(), more.clone())), [expected], "{more}");
    }
    for fine in [
        json!({}),
        json!({ "retry": { "multiplier": "1.5", "maxDelay": "1s" }, "ordering": "Ordered" }),
        json!({ "retry": { "multiplier": 10, "initialDelay": "1m", "maxDelay": "1m" } }),
        json!({ "circuitBreaker": { "maxCooldown": "10s" } }),
        json!({ "circuitBreaker": { "cooldown": "1h" } }),
        json!({ "deadLetter": { "endpointRef": { "name": "letters" } }, "ordering": "Ordered", "maxInFlight": 1 }),
        target(json!({ "headers": [header("x-a")], "headersFrom": [secret("x-b")] })),
        json!({ "target": { "url": "https://receiver.example/a?to=me@example.com" } }),
        json!({ "target": { "service": { "name": "receiver", "port": 80 } } }),
    ] {
        assert_eq!(violations(&root, with(base.clone(), fine.clone())), Vec::<String>::new(), "{fine}");
    }
}

#[test]
fn replays_are_refused_in_words_at_the_field() {
    let [_, _, root] = schemas();
    let select = |select: Value| json!({ "subscriptionRef": { "name": "out" }, "select": select });
    let one = "spec.select: must have exactly one of deadLettered, ids, and since and until (one of them or both)";
    let (early, late) = ("2026-01-31T12:00:00Z", "2026-01-31T13:00:00Z");
    for (select_, expected) in [
        (json!({}), one),
        (json!({ "deadLettered": true, "ids": ["a"] }), one),
        (json!({ "ids": ["a"], "until": late }), one),
        (json!({ "deadLettered": false }), "spec.select.deadLettered: must be true or absent"),
        (json!({ "since": late, "until": early }), "spec.select.until: must be after since"),
        (json!({ "since": late, "until": late }), "spec.select.until: must be after since"),
    ] {
        assert_eq!(violations(&root, select(select_.clone())), [expected], "{select_}");
    }
    for fine in [
        json!({ "deadLettered": true }),
        json!({ "since": early }),
        json!({ "until": late }),
        json!({ "since": early, "until": late }),
        json!({ "since": "2026-01-31T14:00:00+02:00", "until": late }),
        json!({ "ids": ["a", "b"] }),
    ] {
        assert_eq!(violations(&root, select(fine.clone())), Vec::<String>::new(), "{fine}");
    }
}

#[test]
fn a_replay_is_changed_only_where_it_may_be() {
    let definition = replay();
    let root = schema(&definition).unwrap();
    let spec = |more: Value| {
        let spec = json!({ "subscriptionRef": { "name": "out" }, "select": { "deadLettered": true } });
        json!({ "spec": with(spec, more) })
    };
    let change = |from: Value, to: Value| {
        let (from, to) = (completed(root, spec(from)), completed(root, spec(to)));
        let found = Validator::new().validate(root, &to, Some(&from));
        found.err().map_or(0, |errors| errors.iter().count())
    };
    assert_eq!(change(json!({}), json!({ "suspend": true, "ttlSecondsAfterFinished": 60 })), 0);
    assert_eq!(change(json!({ "filter": "true", "rate": { "requests": 1 } }), json!({})), 1);
    for changed in [
        json!({ "subscriptionRef": { "name": "other" } }),
        json!({ "select": { "ids": ["a"] } }),
        json!({ "filter": "true" }),
        json!({ "rate": { "requests": 1 } }),
        json!({ "dryRun": true }),
        json!({ "className": "web" }),
    ] {
        assert_eq!(change(json!({}), changed.clone()), 1, "{changed}");
    }
}
