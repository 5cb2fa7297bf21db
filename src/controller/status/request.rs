//! The request that writes a status.
//!
//! Statuses are applied (server-side apply). That of a replay is merged instead: an API server of Kubernetes 1.20 counts the
//! status that it fills in as written by the client that created the object, and gives this client every field that is
//! applied later, so that conditions that are no longer applied stay. The statuses of the other kinds escape that, because
//! this server cannot type their specs.

use std::{sync::Arc, time::Duration};

use grapnel_api::{ConditionType, ObjectKey, WebhookEndpoint, WebhookReplay, WebhookSubscription};
use kube::{
    Client,
    api::{Patch, PatchParams, Request},
    core::{ApiResource, DynamicObject},
};
use serde_json::{Value, json};

use super::FIELD_MANAGER;
use crate::{
    catalog::ObjectKind,
    controller::write::{self, WriteError},
};

/// A status to write.
pub(super) struct StatusPatch {
    pub(super) kind: ObjectKind,
    pub(super) key: ObjectKey,
    pub(super) uid: Option<Arc<str>>,
    pub(super) status: Value,
}

impl StatusPatch {
    /// Writes the status over the one before. Returns the object's new version.
    ///
    /// # Errors
    /// Returns an error if the status was not written, or if it is not known whether it was.
    pub(super) async fn send(
        &self,
        before: Option<&Value>,
        client: &Client,
        timeout: Duration,
    ) -> Result<Option<String>, WriteError> {
        let request = self.request(before).map_err(kube::Error::BuildRequest)?;
        let body = write::send(client, request, timeout).await?;
        Ok(serde_json::from_slice(&body).ok().and_then(version))
    }

    fn request(&self, before: Option<&Value>) -> Result<http::Request<Vec<u8>>, kube::core::request::Error> {
        let resource = match self.kind {
            ObjectKind::Endpoint => ApiResource::erase::<WebhookEndpoint>(&()),
            ObjectKind::Subscription => ApiResource::erase::<WebhookSubscription>(&()),
            ObjectKind::Replay => ApiResource::erase::<WebhookReplay>(&()),
        };
        // The uid prevents writing the status to a later object of the same name.
        let patch = |status: Value| {
            json!({
                "apiVersion": resource.api_version,
                "kind": resource.kind,
                "metadata": { "name": self.key.name, "uid": self.uid },
                "status": status,
            })
        };
        let path = <DynamicObject as kube::Resource>::url_path(&resource, Some(&self.key.namespace));
        let request = Request::new(path);
        if self.kind == ObjectKind::Replay {
            let patch = patch(merging(before.unwrap_or(&Value::Null), &self.status));
            let params = PatchParams { field_manager: Some(FIELD_MANAGER.into()), ..PatchParams::default() };
            return request.patch_subresource("status", &self.key.name, &params, &Patch::Merge(patch));
        }
        let params = PatchParams::apply(FIELD_MANAGER).force();
        request.patch_subresource("status", &self.key.name, &params, &Patch::Apply(patch(self.status.clone())))
    }
}

/// Returns the JSON Merge Patch (RFC 7386) that makes one status of another. Conditions of others stay.
fn merging(before: &Value, status: &Value) -> Value {
    let mut patch = replacing(before, status);
    let is_foreign = |condition: &&Value| !ConditionType::ALL.iter().any(|own| condition["type"] == own.as_str());
    let foreign = before["conditions"].as_array().into_iter().flatten().filter(is_foreign).cloned();
    if let Some(conditions) = patch.get_mut("conditions").and_then(Value::as_array_mut) {
        conditions.extend(foreign);
    }
    patch
}

/// The same for any value: a field that is gone is null.
fn replacing(before: &Value, after: &Value) -> Value {
    let (Value::Object(before), Value::Object(after)) = (before, after) else { return after.clone() };
    let gone = before.keys().filter(|name| !after.contains_key(*name)).map(|name| (name.clone(), Value::Null));
    let kept =
        after.iter().map(|(name, value)| (name.clone(), replacing(before.get(name).unwrap_or(&Value::Null), value)));
    gone.chain(kept).collect()
}

fn version(object: Value) -> Option<String> {
    Some(object.get("metadata")?.get("resourceVersion")?.as_str()?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_merge_replaces_the_status_and_keeps_conditions_of_others() {
        let before = json!({
            "matched": 2, "completionTime": "2026-01-31T12:00:00Z", "position": { "next": "9-40", "examined": false },
            "conditions": [{ "type": "Reconciling" }, { "type": "Complete" }, { "type": "Audited", "status": "True" }],
        });
        let status = json!({ "matched": 3, "position": { "examined": true }, "conditions": [{ "type": "Complete" }] });
        let patch = json!({
            "matched": 3, "completionTime": null, "position": { "next": null, "examined": true },
            "conditions": [{ "type": "Complete" }, { "type": "Audited", "status": "True" }],
        });
        assert_eq!(merging(&before, &status), patch);
        assert_eq!(merging(&json!({ "observedGeneration": -1 }), &status)["conditions"], status["conditions"]);
    }
}
