//! manifests/samples/policies: what the policies let in, and what they deny.

use std::fs;

use kube::{
    Api,
    api::{ApiResource, DynamicObject, Patch, PatchParams},
};
use kube_cel::{VapEvaluator, VapExpression};
use serde_json::{Value, json};

use crate::fixture::{Cluster, documents};

/// The policies and their bindings.
fn samples() -> Vec<Value> {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/manifests/samples/policies/policies.yaml");
    documents(&fs::read_to_string(file).unwrap())
}

fn endpoint(spec: Value) -> Value {
    json!({ "apiVersion": "grapnel.dev/v1beta1", "kind": "WebhookEndpoint", "metadata": { "name": "it" }, "spec": spec })
}

fn labelled(mut object: Value) -> Value {
    object["metadata"]["labels"] = json!({ "unverified": "allowed" });
    object
}

fn subscription(target: Value, more: Value) -> Value {
    let mut spec = json!({ "endpointRef": { "name": "it" }, "target": target });
    spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    json!({ "apiVersion": "grapnel.dev/v1beta1", "kind": "WebhookSubscription", "metadata": { "name": "it" }, "spec": spec })
}

/// Objects with a part of the message that denies them; `None` if they are let in.
fn cases() -> Vec<(Value, Option<&'static str>)> {
    let limited = |verification: Value| json!({ "verification": verification, "rateLimit": { "requests": 10 } });
    let token = json!({ "token": {}, "secretRefs": [{ "name": "s", "key": "k" }] });
    let url = |url: &str| subscription(json!({ "url": url }), json!({}));
    let service = json!({ "service": { "name": "receiver", "port": 80 } });
    vec![
        (endpoint(limited(token.clone())), None),
        (endpoint(json!({ "verification": token, "allowedSources": ["192.0.2.0/24"], "retention": "24h" })), None),
        (endpoint(json!({ "verification": token })), Some("rateLimit")),
        (endpoint(limited(json!({ "none": {} }))), Some("unverified")),
        (endpoint(limited(json!({ "provider": { "name": "DockerHub" } }))), Some("unverified")),
        (labelled(endpoint(limited(json!({ "none": {} })))), None),
        (
            endpoint(json!({ "verification": token, "rateLimit": { "requests": 1 }, "retention": "168h0m1s" })),
            Some("retention"),
        ),
        (url("https://hooks.example.com/x"), Some("deadLetter.retention")),
        (
            subscription(
                json!({ "url": "https://Hooks.example.com:8443/x" }),
                json!({ "deadLetter": { "retention": "24h" } }),
            ),
            None,
        ),
        (subscription(json!({ "url": "https://a.example.org" }), json!({ "deadLetter": { "retention": "1h" } })), None),
        (subscription(service.clone(), json!({ "deadLetter": { "retention": "168h" } })), None),
        (
            subscription(json!({ "url": "https://evilexample.org" }), json!({ "deadLetter": { "retention": "1h" } })),
            Some("target.url"),
        ),
        (
            subscription(json!({ "url": "https://a b.example.org" }), json!({ "deadLetter": { "retention": "1h" } })),
            Some("target.url"),
        ),
        (
            subscription(
                json!({ "urlFrom": { "secretKeyRef": { "name": "s", "key": "k" } } }),
                json!({ "deadLetter": { "retention": "1h" } }),
            ),
            Some("urlFrom"),
        ),
    ]
}

/// The schema with which an API server completes an object before policies see it.
fn schema(kind: &str) -> Value {
    let definition = match kind {
        "WebhookEndpoint" => grapnel_api::definition::endpoint(),
        _ => grapnel_api::definition::subscription(),
    };
    grapnel_api::definition::schema(&definition).unwrap().clone()
}

/// The policy for the objects of a kind.
fn policy_of(kind: &str) -> Value {
    let resource = format!("{}s", kind.to_lowercase());
    let mut policies = samples().into_iter().filter(|sample| sample["kind"] == "ValidatingAdmissionPolicy");
    let found = policies.find(|it| it["spec"]["matchConstraints"]["resourceRules"][0]["resources"][0] == resource);
    found.unwrap()
}

/// Validations or match conditions for the evaluator.
fn expressions(listed: &Value) -> Vec<VapExpression> {
    let expression = |it: &Value| VapExpression {
        expression: it["expression"].as_str().unwrap().into(),
        message: it["message"].as_str().map(Into::into),
        message_expression: None,
    };
    listed.as_array().unwrap().iter().map(expression).collect()
}

#[test]
fn policies_deny_what_they_name_and_nothing_else() {
    for (object, denied) in cases() {
        let kind = object["kind"].as_str().unwrap();
        let expressions = expressions(&policy_of(kind)["spec"]["validations"]);
        let mut completed = object.clone();
        grapnel_api::completion::complete(&schema(kind), &mut completed);
        let results = VapEvaluator::builder().object(completed).build().evaluate(&expressions);
        let failed: Vec<_> =
            results.iter().filter(|result| !result.passed).filter_map(|it| it.message.clone()).collect();
        match denied {
            None => assert_eq!(failed, Vec::<String>::new(), "{object}"),
            Some(part) => assert!(failed.len() == 1 && failed[0].contains(part), "{object}: {failed:?}"),
        }
    }
}

#[test]
fn policies_do_not_hold_up_finalizers() {
    let target = json!({ "url": "https://elsewhere.example.com" });
    let former = subscription(target.clone(), json!({}));
    let mut finalized = former.clone();
    finalized["metadata"]["finalizers"] = json!(["grapnel.dev/drain"]);
    let mut deleted = endpoint(json!({ "verification": { "none": {} } }));
    let public = deleted.clone();
    deleted["metadata"]["deletionTimestamp"] = "2026-01-31T12:00:00Z".into();
    let changed = subscription(target, json!({ "eventTypes": ["a"] }));
    for (old, new, expected) in [
        (None, &former, true),
        (Some(&former), &finalized, false),
        (Some(&finalized), &former, false),
        (Some(&former), &changed, true),
        (None, &public, true),
        (Some(&public), &deleted, false),
    ] {
        let policy = policy_of(new["kind"].as_str().unwrap());
        let conditions = expressions(&policy["spec"]["matchConditions"]);
        let mut evaluator = VapEvaluator::builder().object(new.clone());
        if let Some(old) = old {
            evaluator = evaluator.old_object(old.clone());
        }
        let results = evaluator.build().evaluate(&conditions);
        assert_eq!(results.iter().all(|result| result.passed), expected, "{old:?} -> {new}");
    }
}

/// On an API server that knows policies (Kubernetes 1.30 and later).
#[tokio::test]
async fn an_api_server_enforces_the_policies() {
    let cluster = Cluster::new().await;
    let resource = |kind: &str, plural: &str| ApiResource {
        group: "admissionregistration.k8s.io".into(),
        version: "v1".into(),
        api_version: "admissionregistration.k8s.io/v1".into(),
        kind: kind.into(),
        plural: plural.into(),
    };
    let policies = resource("ValidatingAdmissionPolicy", "validatingadmissionpolicies");
    let bindings = resource("ValidatingAdmissionPolicyBinding", "validatingadmissionpolicybindings");
    let api: Api<DynamicObject> = Api::all_with(cluster.client.clone(), &policies);
    if matches!(api.list(&Default::default()).await, Err(kube::Error::Api(status)) if status.is_not_found()) {
        eprintln!("skipped: this API server has no ValidatingAdmissionPolicy; set KUBEBUILDER_ASSETS");
        return;
    }
    for mut sample in samples() {
        let is_policy = sample["kind"] == "ValidatingAdmissionPolicy";
        if !is_policy {
            // Other tests share the API server.
            let labels = json!({ "matchLabels": { "kubernetes.io/metadata.name": cluster.namespace } });
            sample["spec"]["matchResources"] = json!({ "namespaceSelector": labels });
        }
        let api: Api<DynamicObject> =
            Api::all_with(cluster.client.clone(), if is_policy { &policies } else { &bindings });
        let name = sample["metadata"]["name"].as_str().unwrap();
        api.patch(name, &PatchParams::apply("kubectl").force(), &Patch::Apply(&sample)).await.unwrap();
    }
    for (mut object, denied) in cases() {
        object["metadata"]["namespace"] = cluster.namespace.clone().into();
        // Policies are in force some time after they are stored.
        let deadline = tokio::time::Instant::now() + crate::fixture::PATIENCE;
        loop {
            let params = PatchParams { dry_run: true, ..PatchParams::apply("kubectl").force() };
            let kind = object["kind"].as_str().unwrap();
            let applied = cluster.api(kind).patch("it", &params, &Patch::Apply(&object)).await;
            match (denied, applied) {
                (None, applied) => drop(applied.unwrap()),
                (Some(part), Err(error)) => assert!(error.to_string().contains(part), "{object}: {error}"),
                (Some(_), Ok(_)) => {
                    assert!(tokio::time::Instant::now() < deadline, "{object} is let in");
                    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                    continue;
                }
            }
            break;
        }
    }
}
