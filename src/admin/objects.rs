//! Every object with its status, in the form of `kubectl get -o yaml`.

use std::sync::Arc;

use axum::{
    extract::{RawPathParams, State},
    http::Uri,
    response::Response,
};
use grapnel_api::{Incarnation, ObjectKey};
use serde::Serialize;

use super::{
    Shared,
    authz::{self, Ask},
    query::Query,
    response::{self, Page, Problem},
};
use crate::catalog::status::{JournalReading, Kind, ObjectView};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Item<'a> {
    kind: &'static str,
    namespace: &'a str,
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    generation: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    endpoint: Option<&'a str>,
    /// Only if it differs from the subscription's namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    endpoint_namespace: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<&'a str>,
    status: serde_json::Value,
}

/// The query parameters.
pub(super) const PARAMETERS: &[&str] = &["namespace"];

/// The access required to list objects with their statuses.
pub(super) fn asks(_: &RawPathParams, uri: &Uri) -> Result<Vec<Ask>, Problem> {
    authz::objects(uri)
}

/// `GET /api/v1/objects`
pub(super) async fn list(State(shared): State<Arc<Shared>>, uri: Uri) -> Result<Response, Problem> {
    let query = Query::parse(&uri, PARAMETERS)?;
    let namespace = query.get("namespace");
    let now = shared.admin.clock.now();
    let views = Arc::clone(&shared.admin.objects.borrow());
    let wanted = views.iter().filter(|view| namespace.is_none_or(|namespace| *view.key.namespace == *namespace));
    let items = wanted.map(|view| item(&shared, view, now)).collect();
    Ok(response::ok(&Page { items, next: None }))
}

fn item<'a>(shared: &Shared, view: &'a ObjectView, now: jiff::Timestamp) -> Item<'a> {
    let reading = JournalReading::of(&*shared.admin.journal, view);
    Item {
        kind: view.kind.as_str(),
        namespace: &view.key.namespace,
        name: &view.key.name,
        generation: view.generation,
        source: view.source.as_deref(),
        endpoint: view.endpoint_ref.as_ref().map(|key| &*key.name),
        endpoint_namespace: view
            .endpoint_ref
            .as_ref()
            .map(|key| &*key.namespace)
            .filter(|namespace| *namespace != &*view.key.namespace),
        path: view.path.as_deref(),
        url: view.url.as_deref(),
        status: view.status(&reading, now, &[]),
    }
}

impl Shared {
    /// The endpoint object of this name, compiled or not.
    pub(super) fn endpoint(&self, key: &ObjectKey) -> Result<Incarnation, Problem> {
        let served = self.admin.snapshot.borrow().endpoint(key).map(|endpoint| endpoint.incarnation());
        let found = served.or_else(|| self.object(Kind::Endpoint, key));
        found.ok_or_else(|| Problem::not_found(format!("there is no WebhookEndpoint {key}")))
    }

    /// The subscription object of this name, compiled or not.
    pub(super) fn subscription(&self, key: &ObjectKey) -> Result<Incarnation, Problem> {
        let known = self.admin.snapshot.borrow().known(key);
        let found = known.or_else(|| self.object(Kind::Subscription, key));
        found.ok_or_else(|| Problem::not_found(format!("there is no WebhookSubscription {key}")))
    }

    fn object(&self, kind: Kind, key: &ObjectKey) -> Option<Incarnation> {
        let objects = self.admin.objects.borrow();
        objects.iter().find(|view| view.kind == kind && view.key == *key).map(ObjectView::incarnation)
    }
}
