//! The health that the sample for Flux computes by CEL instead of kstatus (`spec.healthCheckExprs` of a Kustomization).

use std::{fs, path::Path};

use cel::{Context, Program, Value as CelValue};
use serde_json::{Value, json};

use crate::{kstatus::KStatus, lua, yaml};

/// The expressions of the sample for a kind.
fn expressions(kind: &str) -> Value {
    let sample = Path::new(env!("CARGO_MANIFEST_DIR")).join("manifests/flux/webhooks.yaml");
    let documents = fs::read_to_string(sample).unwrap();
    let mut documents = documents.split("\n---\n").map(|it| serde_yaml::from_str::<Value>(it).unwrap());
    let sample = documents.find(|it| it["kind"] == "Kustomization").unwrap();
    let mut found = sample["spec"]["healthCheckExprs"].as_array().unwrap().iter();
    found.find(|it| it["kind"] == kind && it["apiVersion"] == "grapnel.dev/v1beta1").unwrap().clone()
}

fn holds(expression: &Value, object: &Value) -> bool {
    let mut context = Context::default();
    for (field, value) in object.as_object().unwrap() {
        context.add_variable(field.as_str(), value).unwrap();
    }
    let program = Program::compile(expression.as_str().unwrap()).unwrap();
    match program.execute(&context) {
        Ok(CelValue::Bool(holds)) => holds,
        other => panic!("{expression}: {other:?}"),
    }
}

/// The status in the order of Flux (its RFC 0009).
fn health(expressions: &Value, object: &Value) -> KStatus {
    if object["status"]["observedGeneration"] != object["metadata"]["generation"] {
        return KStatus::InProgress;
    }
    let order = [("inProgress", KStatus::InProgress), ("failed", KStatus::Failed), ("current", KStatus::Current)];
    let found = order.into_iter().find(|(name, _)| holds(&expressions[name], object));
    found.map_or(KStatus::InProgress, |(_, status)| status)
}

#[test]
fn a_subscription_of_a_suspended_endpoint_holds_nothing_up() {
    let expressions = expressions("WebhookSubscription");
    let directory = lua::scripts("WebhookSubscription").join("testdata");
    let mut seen = 0;
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let mut object = yaml(&path);
        if object["status"].is_null() {
            object["status"] = json!({ "observedGeneration": -1 });
        }
        let expected = match path.file_stem().unwrap().to_str().unwrap().split('_').next().unwrap() {
            // Flux knows the deletion before it evaluates anything.
            _ if object["metadata"]["deletionTimestamp"].is_string() => continue,
            "healthy" | "suspended" => KStatus::Current,
            "degraded" => KStatus::Failed,
            _ => KStatus::InProgress,
        };
        assert_eq!(health(&expressions, &object), expected, "{}", path.display());
        seen += 1;
    }
    assert!(seen >= 7, "only {seen} objects were found");
    let unread = json!({ "metadata": { "generation": 1 }, "status": { "observedGeneration": 1 } });
    assert_eq!(health(&expressions, &unread), KStatus::InProgress);
}
