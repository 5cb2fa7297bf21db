//! What `grapnel eval` prints.

use base64::{Engine, engine::general_purpose::STANDARD};
use grapnel_api::ObjectKey;
use grapnel_journal::StoredEvent;
use serde_json::{Map, Value, json};

use crate::{
    catalog::Endpoint,
    cli::{
        output::Output,
        print::{self, clean, clean_lines},
    },
    dispatch::preview::{DeliveryBody, DeliveryPreview},
    ingress::preview::{PreviewedRejection, RequestPreview},
};

/// The result of an evaluation.
pub(super) struct Evaluation {
    endpoint: ObjectKey,
    preview: RequestPreview,
    /// Whether a schema applies to the type of each event.
    has_schema: Vec<bool>,
    /// For each event, its subscriptions.
    deliveries: Vec<Vec<(ObjectKey, DeliveryPreview)>>,
}

impl Evaluation {
    /// The result of a request, with that of each event for the subscriptions.
    pub(super) fn new(
        endpoint: &Endpoint,
        preview: RequestPreview,
        deliver: impl Fn(&StoredEvent) -> Vec<(ObjectKey, DeliveryPreview)>,
    ) -> Self {
        Self {
            endpoint: endpoint.key.clone(),
            has_schema: preview.events.iter().map(|event| endpoint.schemas.needs_payload(&event.kind)).collect(),
            deliveries: preview.events.iter().map(deliver).collect(),
            preview,
        }
    }

    /// Whether the request is accepted and no expression fails.
    pub(super) fn is_good(&self) -> bool {
        let fails = |(_, delivery): &(ObjectKey, DeliveryPreview)| {
            matches!(delivery.filter, Some(Err(_))) || matches!(delivery.delivery, Some(Err(_)))
        };
        self.preview.rejection.is_none() && !self.deliveries.iter().flatten().any(fails)
    }

    /// Prints the result.
    pub(super) fn print(&self, output: Output) -> anyhow::Result<()> {
        match output {
            Output::Json => print::line(&format!("{:#}", self.json()))?,
            Output::Yaml => output.value(&self.json())?,
            Output::Table | Output::Wide => {
                self.lines().iter().try_for_each(|line| print::line(&clean_lines(line)))?;
            }
        }
        Ok(())
    }

    fn lines(&self) -> Vec<String> {
        let mut lines = vec![field("endpoint", &self.endpoint.to_string())];
        if self.preview.handshake {
            lines.push("a handshake of the sender: it is answered, and no event is stored".into());
        }
        for (number, event) in self.preview.events.iter().enumerate() {
            let (kind, id) = &self.preview.origins;
            let from = |source: &Option<String>, none: &str| match source {
                Some(source) => format!("from {source}"),
                None => none.to_owned(),
            };
            let kind = from(kind, "no source has a type");
            let id = from(id, "generated, because no source has an id: it is a duplicate of no event");
            lines.push(field("type", &format!("{} ({kind})", clean(&event.kind))));
            lines.push(field("id", &format!("{} ({id})", clean(&event.id))));
            let has_schema = self.has_schema.get(number).copied().unwrap_or_default();
            lines.push(field("schema", schema(has_schema, self.preview.rejection.as_ref())));
            let deliveries = self.deliveries.get(number).map(Vec::as_slice).unwrap_or_default();
            if number == 0 {
                lines.extend(self.preview.rejection.iter().flat_map(rejected));
            }
            lines.extend(deliveries.iter().flat_map(|(key, delivery)| subscription(key, delivery)));
        }
        if self.preview.events.is_empty() {
            lines.extend(self.preview.rejection.iter().flat_map(rejected));
        }
        lines
    }

    fn json(&self) -> Value {
        let event = |(event, deliveries): (&StoredEvent, &Vec<_>)| {
            let deliveries: Vec<_> = deliveries.iter().map(delivery_json).collect();
            let (kind, id) = &self.preview.origins;
            let (kind, id) = (kind.as_deref().unwrap_or("none"), id.as_deref().unwrap_or("generated"));
            json!({ "type": event.kind, "typeFrom": kind, "id": event.id, "idFrom": id, "subscriptions": deliveries })
        };
        let events: Vec<_> = self.preview.events.iter().zip(&self.deliveries).map(event).collect();
        let rejection = self.preview.rejection.as_ref().map(|rejection| {
            let violation = |(path, message): &(String, String)| json!({ "path": path, "message": message });
            let violations: Vec<_> = rejection.violations.iter().map(violation).collect();
            let PreviewedRejection { status, code, message, .. } = rejection;
            json!({ "status": status, "code": code, "error": message, "violations": violations })
        });
        json!({
            "endpoint": self.endpoint.to_string(),
            "accepted": rejection.is_none(),
            "handshake": self.preview.handshake,
            "rejection": rejection,
            "events": events,
        })
    }
}

fn field(name: &str, value: &str) -> String {
    format!("{:<10} {value}", format!("{name}:"))
}

fn schema(applies: bool, rejection: Option<&PreviewedRejection>) -> &'static str {
    match rejection {
        Some(_) => "violated",
        None if applies => "valid",
        None => "none for this type",
    }
}

fn rejected(rejection: &PreviewedRejection) -> Vec<String> {
    let PreviewedRejection { status, code, message, violations } = rejection;
    let mut lines = vec![field("rejected", &format!("{status} {code}: {message}"))];
    lines.extend(violations.iter().map(|(path, message)| {
        let path = if path.is_empty() { "(root)" } else { path };
        format!("  {}: {}", clean(path), clean(message))
    }));
    lines
}

fn subscription(key: &ObjectKey, preview: &DeliveryPreview) -> Vec<String> {
    let mut lines = vec![String::new(), format!("subscription {key}")];
    let types =
        if preview.admitted { "the type is delivered" } else { "the type is not delivered: the event is skipped" };
    lines.push(format!("  {}", field("types", types)));
    match &preview.filter {
        None => {}
        Some(Ok(true)) => lines.push(format!("  {}", field("filter", "true"))),
        Some(Ok(false)) => lines.push(format!("  {}", field("filter", "false: the event is skipped"))),
        Some(Err(error)) => lines.push(format!("  {}", field("filter", &format!("fails: {error}")))),
    }
    match &preview.delivery {
        None => {}
        Some(Ok(body)) => {
            let content_type = body.content_type.as_deref().unwrap_or("without a content type");
            lines.push(format!("  {}", field("body", &format!("{} bytes, {content_type}", body.bytes.len()))));
            lines.extend(readable(body).lines().map(|line| format!("    {line}")));
        }
        Some(Err(error)) => lines.push(format!("  {}", field("body", &format!("fails: {error}")))),
    }
    lines
}

/// Indented JSON, text as it is, or nothing for other bytes.
fn readable(body: &DeliveryBody) -> String {
    match (serde_json::from_slice::<Value>(&body.bytes), std::str::from_utf8(&body.bytes)) {
        (Ok(json), _) => format!("{json:#}"),
        (_, Ok(text)) => text.to_owned(),
        _ => "(not text; -o json gives it in base64)".into(),
    }
}

fn delivery_json((key, preview): &(ObjectKey, DeliveryPreview)) -> Value {
    let mut fields = Map::from_iter([
        ("subscription".to_owned(), json!(key.to_string())),
        ("typeMatches".to_owned(), json!(preview.admitted)),
        ("delivered".to_owned(), json!(matches!(preview.delivery, Some(Ok(_))))),
    ]);
    match &preview.filter {
        Some(Ok(result)) => drop(fields.insert("filter".into(), json!(result))),
        Some(Err(error)) => drop(fields.insert("filterError".into(), json!(error.to_string()))),
        None => {}
    }
    match &preview.delivery {
        Some(Ok(body)) => {
            fields.insert("contentType".into(), json!(body.content_type));
            let (name, value) = match (serde_json::from_slice(&body.bytes), std::str::from_utf8(&body.bytes)) {
                (Ok(json), _) => ("body", json),
                (_, Ok(text)) => ("bodyText", json!(text)),
                _ => ("bodyBase64", json!(STANDARD.encode(&body.bytes))),
            };
            fields.insert(name.into(), value);
        }
        Some(Err(error)) => drop(fields.insert("bodyError".into(), json!(error.to_string()))),
        None => {}
    }
    Value::Object(fields)
}
