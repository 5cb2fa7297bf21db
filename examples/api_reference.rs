//! Prints the API reference as Markdown, from the CRDs: `just generate` keeps docs/api.md up to date with it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // How an example fails.

use anyhow::Context;
use grapnel_api::{GROUP, VERSION, definition, rules};
use serde_json::Value;

fn main() -> anyhow::Result<()> {
    println!("# API reference: `{GROUP}/{VERSION}`\n");
    println!("Generated from the CRDs; the same texts are what `kubectl explain` shows.\n");
    println!("Durations are written as Go does (`250ms`, `10s`, `1h30m`), sizes as Kubernetes does (`512Ki`, `1Mi`).");
    for definition in definition::all() {
        let names = &definition["spec"]["names"];
        let schema = definition::schema(&definition).context("a definition has no schema")?;
        let kind = names["kind"].as_str().unwrap_or_default();
        println!("\n## {kind}\n");
        println!("{}\n", text(schema));
        println!("Short name `{}`, category `grapnel`.", names["shortNames"][0].as_str().unwrap_or_default());
        for part in ["spec", "status"] {
            println!("\n### {kind}.{part}\n");
            println!("| field | type | meaning |\n|---|---|---|");
            rows(&schema["properties"][part], "");
        }
        let rules = rules(&schema["properties"]["spec"], "spec");
        if !rules.is_empty() {
            println!("\nRules between fields:\n");
            for (place, message) in rules {
                println!("- `{place}`: {message}");
            }
        }
    }
    Ok(())
}

/// A row for each field below `schema`, depth first.
fn rows(schema: &Value, prefix: &str) {
    let required: Vec<&str> = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        let path = format!("{prefix}{name}");
        let must = if required.contains(&name.as_str()) { " (required)" } else { "" };
        println!("| `{path}` | {}{must} | {} |", kind(field), text(field).replace('|', "\\|"));
        // Conditions are Kubernetes' own and known to everyone.
        if name == "conditions" {
            continue;
        }
        if field["type"] == "array" {
            rows(&field["items"], &format!("{path}[]."));
        } else {
            rows(field, &format!("{path}."));
        }
    }
}

fn kind(field: &Value) -> String {
    if field["x-kubernetes-int-or-string"] == true {
        return if rules::is_bytes(field) { "quantity".into() } else { "integer or string".into() };
    }
    if let Some(values) = field["enum"].as_array() {
        let values: Vec<_> = values.iter().filter_map(Value::as_str).map(|value| format!("`{value}`")).collect();
        return values.join(", ");
    }
    match field["type"].as_str() {
        Some("array") => format!("list of {}", kind(&field["items"])),
        Some("string") if rules::is_duration(field) => "duration".into(),
        Some("string") if field["format"] == "date-time" => "time".into(),
        Some(kind) => kind.into(),
        None => "any".into(),
    }
}

fn text(schema: &Value) -> String {
    schema["description"].as_str().unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(" ")
}

fn rules(schema: &Value, place: &str) -> Vec<(String, String)> {
    let mut found: Vec<_> = schema["x-kubernetes-validations"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|rule| Some((place.to_owned(), rule["message"].as_str()?.to_owned())))
        .collect();
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        found.extend(rules(field, &format!("{place}.{name}")));
        found.extend(rules(&field["items"], &format!("{place}.{name}[]")));
    }
    found
}
