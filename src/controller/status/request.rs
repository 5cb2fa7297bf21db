//! The request that writes a status.

use std::{sync::Arc, time::Duration};

use grapnel_api::{ObjectKey, WebhookEndpoint, WebhookReplay, WebhookSubscription};
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
    /// Writes the status. Returns the object's new version.
    ///
    /// # Errors
    /// Returns an error if the status was not written, or if it is not known whether it was.
    pub(super) async fn send(&self, client: &Client, timeout: Duration) -> Result<Option<String>, WriteError> {
        let request = self.request().map_err(kube::Error::BuildRequest)?;
        let body = write::send(client, request, timeout).await?;
        Ok(serde_json::from_slice(&body).ok().and_then(version))
    }

    fn request(&self) -> Result<http::Request<Vec<u8>>, kube::core::request::Error> {
        let resource = match self.kind {
            ObjectKind::Endpoint => ApiResource::erase::<WebhookEndpoint>(&()),
            ObjectKind::Subscription => ApiResource::erase::<WebhookSubscription>(&()),
            ObjectKind::Replay => ApiResource::erase::<WebhookReplay>(&()),
        };
        // The uid prevents writing the status to a later object of the same name.
        let patch = json!({
            "apiVersion": resource.api_version,
            "kind": resource.kind,
            "metadata": { "name": self.key.name, "uid": self.uid },
            "status": self.status,
        });
        let path = <DynamicObject as kube::Resource>::url_path(&resource, Some(&self.key.namespace));
        let params = PatchParams::apply(FIELD_MANAGER).force();
        Request::new(path).patch_subresource("status", &self.key.name, &params, &Patch::Apply(patch))
    }
}

fn version(object: Value) -> Option<String> {
    Some(object.get("metadata")?.get("resourceVersion")?.as_str()?.to_owned())
}
