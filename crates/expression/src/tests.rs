mod bounds;
mod compile;
mod conformance;
mod extensions;
mod failures;
mod inputs;
mod macros;
mod optional;
mod patterns;
mod properties;
mod times;
mod values;

use serde_json::{Value as Json, json};

use super::*;
use crate::limits::TRANSFORM_BYTES;

fn document() -> Json {
    json!({
        "action": "opened",
        "amount": 12_050,
        "rate": 0.25,
        "huge": 18_446_744_073_709_551_615_u64,
        "paid": true,
        "nothing": null,
        "repository": { "full_name": "acme/shop", "topics": ["web", "rust"] },
        "lines": [
            { "sku": "a", "quantity": 2, "price": 1000 },
            { "sku": "b", "quantity": 1, "price": 10_050, "note": "gift" },
        ],
    })
}

fn inputs(document: &Json) -> Inputs<'_> {
    Inputs {
        event: Some(EventInput {
            id: "evt_1",
            kind: "invoice.paid",
            time: "2026-03-01T12:34:56.25Z".parse().unwrap(),
            endpoint: "stripe",
            namespace: "shop",
        }),
        headers: [("x-github-event", "push"), ("accept", "a, b"), ("x-odd", "caf\u{fffd}")]
            .map(|(name, value)| (Cow::Borrowed(name), Cow::Borrowed(value)))
            .into(),
        payload: PayloadInput::Json(Cow::Borrowed(document)),
        claims: None,
    }
}

/// Checks what expressions give.
fn give(cases: &[(&str, Json)]) {
    for (source, expected) in cases {
        assert_eq!(evaluate(source).as_ref(), Ok(expected), "{source}");
    }
}

fn evaluate(source: &str) -> Result<Json, String> {
    let expression = Expression::compile(source, Scope::Delivery, ExpectedType::Json)
        .map_err(|error| format!("compile: {error}"))?;
    let text = expression.json(&inputs(&document()), TRANSFORM_BYTES).map_err(|error| error.to_string())?;
    Ok(serde_json::from_slice(&text).unwrap())
}
