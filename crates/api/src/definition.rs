//! The CustomResourceDefinitions, as they are installed.

#[cfg(test)]
mod tests;

use kube::CustomResourceExt;
use serde_json::{Value, json};

use super::{DEPRECATED_VERSION, GROUP, VERSION, WebhookEndpoint, WebhookReplay, WebhookSubscription, convention};

/// The CustomResourceDefinition of `WebhookEndpoint`.
pub fn endpoint() -> Value {
    of::<WebhookEndpoint>()
}

/// The CustomResourceDefinition of `WebhookSubscription`.
pub fn subscription() -> Value {
    of::<WebhookSubscription>()
}

/// The CustomResourceDefinition of `WebhookReplay`.
pub fn replay() -> Value {
    of::<WebhookReplay>()
}

/// The CustomResourceDefinitions of all kinds.
pub fn all() -> [Value; 3] {
    [endpoint(), subscription(), replay()]
}

/// The OpenAPI schema of a definition. It is the same for every version.
pub fn schema(definition: &Value) -> Option<&Value> {
    definition.pointer("/spec/versions/0/schema/openAPIV3Schema")
}

/// The definition as JSON, because the typed form has no integer bounds. It has no status, which is the server's.
fn of<K: CustomResourceExt>() -> Value {
    let mut definition = json!(K::crd());
    if let Some(fields) = definition.as_object_mut() {
        fields.remove("status");
    }
    let kind = definition.pointer("/spec/names/kind").cloned().unwrap_or_default();
    if let Some(schema) = definition.pointer_mut("/spec/versions/0/schema/openAPIV3Schema") {
        convention::apply(schema);
        status(schema);
    }
    if let Some(versions) = definition.pointer_mut("/spec/versions").and_then(Value::as_array_mut) {
        let deprecated = versions.first().map(|version| deprecated(version.clone(), kind.as_str().unwrap_or_default()));
        versions.extend(deprecated);
    }
    definition
}

/// An object that no operator has seen has a status of an earlier generation, so that kstatus waits for it.
fn status(schema: &mut Value) {
    let Some(status) = schema.pointer_mut("/properties/status").and_then(Value::as_object_mut) else { return };
    status.insert("default".into(), json!({ "observedGeneration": -1 }));
    if let Some(conditions) = status.get_mut("properties").and_then(|fields| fields.get_mut("conditions")) {
        *conditions = convention::conditions(conditions["description"].take());
    }
}

/// The same version under its old name: served, with a warning from the API server, but not stored.
fn deprecated(mut version: Value, kind: &str) -> Value {
    if let Some(fields) = version.as_object_mut() {
        let warning = format!("{GROUP}/{DEPRECATED_VERSION} {kind} is deprecated; use {GROUP}/{VERSION} {kind}");
        fields.insert("name".into(), DEPRECATED_VERSION.into());
        fields.insert("storage".into(), false.into());
        fields.insert("deprecated".into(), true.into());
        fields.insert("deprecationWarning".into(), warning.into());
    }
    version
}
