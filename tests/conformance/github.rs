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

/// What is of its schema is accepted and everything else is refused: published examples, and bodies made from them by
/// changing one thing. The judge is ajv, the validator that GitHub's schemas are published with. It refuses one in six of
/// the published examples too: those that the documentation shows lack what the schemas ask for by now (`is_template`
/// above all). They come in where there is no schema.
#[tokio::test]
async fn published_payloads_are_accepted_and_mutations_refused_as_ajv_does() {
    let mutations = from_environment("GRAPNEL_GITHUB_MUTATIONS", 2);
    let seed = from_environment("GRAPNEL_GITHUB_SEED", 1);
    let mut sdks = Sdks::start(Language::JavaScript);
    let schemas = sdks.ask("github", "schemas", json!({}));
    let schemas = schemas.as_array().unwrap();
    let mut rules = String::from("  unmatchedTypes: Reject\n  schemas:\n");
    for schema in schemas {
        // JSON is YAML.
        writeln!(rules, "    - {{types: [{}], schema: {}}}", schema["event"], schema["schema"]).unwrap();
    }
    let home = Home::new();
    let endpoint = |name: &str, rules: &str| {
        format!(
            "---\napiVersion: grapnel.dev/v1beta1\nkind: WebhookEndpoint\nmetadata: {{name: {name}}}\nspec:\n  \
             verification: {{provider: {{name: GitHub}}, secretRefs: [{{name: github, key: key}}]}}\n{rules}"
        )
    };
    let secret =
        format!("apiVersion: v1\nkind: Secret\nmetadata: {{name: github}}\nstringData: {{key: \"{SECRET}\"}}\n");
    home.write("github.yaml", &[secret, endpoint("strict", &rules), endpoint("open", "")].concat());
    let grapnel = home.start();
    let ready = grapnel.condition("WebhookEndpoint", "strict", "Ready").await;
    assert_eq!(ready.0, "True", "{ready:?}");

    // Examples and mutations, each as (accepted, refused).
    let (mut published, mut mutated) = ((0, 0), (0, 0));
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
            if case["mutation"].is_null() {
                let (status, answer) = grapnel.post("/default/open", &headers, body).await;
                assert_eq!(status, 200, "{delivery}: {answer}");
            }
            (delivery.clone(), case, grapnel.post("/default/strict", &headers, body).await)
        });
        let answers: Vec<(String, &Value, (u16, Value))> = answers.buffer_unordered(AT_ONCE).collect().await;
        for (delivery, case, (status, answer)) in answers {
            let valid = case["valid"] == true;
            let expected = if valid { (200, Value::Null) } else { (422, json!("schema_violation")) };
            let counted = if case["mutation"].is_null() { &mut published } else { &mut mutated };
            *(if valid { &mut counted.0 } else { &mut counted.1 }) += 1;
            if (status, &answer["code"]) != (expected.0, &expected.1) {
                wrong.insert(delivery, format!("{} {status} {answer}", case["mutation"]));
            }
        }
    }
    println!("{} events; (accepted, refused): examples {published:?}, mutations {mutated:?}", schemas.len());
    assert!(wrong.is_empty(), "{} differ from ajv: {wrong:#?}", wrong.len());
    // As the pinned versions have them.
    assert_eq!((schemas.len(), published), (58, (276, 53)));
    assert!(mutations == 0 || mutated.0 > 0 && mutated.1 > mutated.0 / 3, "{mutated:?} tries nothing");
}
