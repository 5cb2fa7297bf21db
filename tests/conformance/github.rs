//! GitHub for real: its published example payloads against its published schemas, through an endpoint that has them.

use std::{collections::BTreeMap, fmt::Write};

use futures_util::{StreamExt, stream};
use serde_json::{Value, json};

use crate::{
    home::Home,
    program::hmac_hex,
    sdk::{Language, Sdks},
};

const SECRET: &str = "It's a Secret to Everybody";

/// Requests under way at once.
const AT_ONCE: usize = 16;

/// Mutations of each example: `GRAPNEL_GITHUB_MUTATIONS`, 2 when it is not set. `GRAPNEL_GITHUB_SEED` chooses others.
fn from_environment(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name} is no number")))
}

/// Every published example is accepted. Of bodies that are made from them by changing one thing, those that ajv, the
/// validator that GitHub's schemas are published with, takes are accepted, and those that it refuses are refused.
#[tokio::test]
async fn published_payloads_are_accepted_and_mutations_refused_as_ajv_does() {
    let mutations = from_environment("GRAPNEL_GITHUB_MUTATIONS", 2);
    let seed = from_environment("GRAPNEL_GITHUB_SEED", 1);
    let mut sdks = Sdks::start(Language::JavaScript);
    let schemas = sdks.ask("github", "schemas", json!({}));
    let schemas = schemas.as_array().unwrap();
    let mut rules = String::new();
    for schema in schemas {
        // JSON is YAML.
        writeln!(rules, "    - {{types: [{}], schema: {}}}", schema["event"], schema["schema"]).unwrap();
    }
    let home = Home::new();
    home.write(
        "github.yaml",
        &format!(
            "apiVersion: v1\nkind: Secret\nmetadata: {{name: github}}\nstringData: {{key: \"{SECRET}\"}}\n---\n\
             apiVersion: grapnel.dev/v1alpha1\nkind: WebhookEndpoint\nmetadata: {{name: github}}\nspec:\n  \
             verification: {{provider: {{name: GitHub}}, secretRefs: [{{name: github, key: key}}]}}\n  \
             unmatchedTypes: Reject\n  schemas:\n{rules}"
        ),
    );
    let grapnel = home.start();
    let ready = grapnel.condition("WebhookEndpoint", "github", "Ready").await;
    assert_eq!(ready.0, "True", "{ready:?}");

    let (mut examples, mut taken, mut refused) = (0, 0, 0);
    let mut wrong = BTreeMap::new();
    for schema in schemas {
        let event = schema["event"].as_str().unwrap();
        let question = json!({ "event": event, "mutations": mutations, "seed": seed });
        let bodies = sdks.ask("github", "examples", question);
        let grapnel = &grapnel;
        let answers = stream::iter(bodies.as_array().unwrap().iter().enumerate()).map(|(number, case)| async move {
            let body = case["body"].as_str().unwrap();
            let signature = format!("sha256={}", hmac_hex(SECRET, body.as_bytes()));
            let delivery = format!("{event}-{number}");
            let headers = [
                ("x-hub-signature-256", signature.as_str()),
                ("x-github-event", event),
                ("x-github-delivery", delivery.as_str()),
            ];
            (delivery.clone(), case, grapnel.post("/default/github", &headers, body).await)
        });
        let answers: Vec<(String, &Value, (u16, Value))> = answers.buffer_unordered(AT_ONCE).collect().await;
        for (delivery, case, (status, answer)) in answers {
            let expected = if case["valid"] == true { (200, Value::Null) } else { (422, json!("schema_violation")) };
            if case["mutation"].is_null() {
                assert_eq!(case["valid"], true, "{delivery}: published, and not of its schema");
                examples += 1;
            } else if case["valid"] == true {
                taken += 1;
            } else {
                refused += 1;
            }
            if (status, &answer["code"]) != (expected.0, &expected.1) {
                wrong.insert(delivery, format!("{} {status} {answer}", case["mutation"]));
            }
        }
    }
    println!("{} events, {examples} examples; mutations: {taken} accepted, {refused} refused", schemas.len());
    assert!(wrong.is_empty(), "{} differ from ajv: {wrong:#?}", wrong.len());
    assert!(schemas.len() >= 58 && examples >= 300, "{} events, {examples} examples", schemas.len());
    // Else nothing was tried.
    assert!(mutations == 0 || refused * 3 > taken, "{taken} accepted, {refused} refused");
}
