//! The page of an object's conditions and YAML.

use std::sync::Arc;

use axum::{
    extract::{Extension, Path, State},
    http::Uri,
    response::Response,
};
use grapnel_api::{GROUP, ObjectKey, VERSION};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use maud::html;
use serde::Serialize;

use super::{
    Shown, health,
    layout::{Home, Page},
    links, payload, text,
};
use crate::{
    admin::{Shared, authn::Caller, query::Query, response::Problem},
    catalog::{
        JournalReading, ObjectKind,
        status::{ObjectSpec, ObjectStatus},
    },
};

/// An object in the form of a manifest.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Manifest<'a> {
    api_version: String,
    kind: &'a str,
    metadata: Metadata<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    spec: Option<&'a ObjectSpec>,
    status: &'a ObjectStatus,
}

#[derive(Serialize)]
struct Metadata<'a> {
    namespace: &'a str,
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    generation: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    uid: Option<&'a str>,
}

/// `GET /console/{endpoints|subscriptions|replays}/{namespace}/{name}/yaml`
pub(super) async fn show(
    kind: ObjectKind,
    State(shared): State<Arc<Shared>>,
    Extension(caller): Extension<Caller>,
    Path((namespace, name)): Path<(String, String)>,
    uri: Uri,
) -> Shown {
    let key = ObjectKey::new(namespace, name);
    let home = shared.home(&caller, &key.namespace).await;
    let result = page(&shared, &caller, home, kind, &key, &uri);
    Shown::of(kind, key, result)
}

fn page(
    shared: &Shared,
    caller: &Caller,
    home: Home,
    kind: ObjectKind,
    key: &ObjectKey,
    uri: &Uri,
) -> Result<Response, Problem> {
    Query::of_page(uri, &[])?;
    let view = shared.view(kind, key)?;
    let now = shared.admin.clock.now();
    let status = view.typed_status(&JournalReading::of(&*shared.admin.journal, &view), now, &[]);
    let manifest = Manifest {
        api_version: format!("{GROUP}/{VERSION}"),
        kind: kind.as_str(),
        metadata: Metadata {
            namespace: &key.namespace,
            name: &key.name,
            generation: view.generation,
            uid: view.uid.as_deref().filter(|uid| !uid.is_empty()),
        },
        spec: view.spec.as_ref(),
        status: &status,
    };
    let yaml = serde_yaml::to_string(&manifest).map_err(|error| {
        tracing::error!(%error, "an object cannot be written as YAML");
        Problem::unavailable("the object cannot be shown as YAML")
    })?;
    let excerpt = payload::excerpt(yaml.as_bytes(), Some("application/yaml"), true);
    let content = html! {
        p { (kind.as_str()) @if let Some(source) = &view.source { ", defined in " code { (source) } } }
        h2 { "Conditions" }
        (health::conditions(conditions(&status), now))
        h2 { "YAML" }
        @if view.spec.is_none() { p.remark { "No version of its spec can be read." } }
        pre.payload tabindex="0" aria-label="YAML" { code dir="ltr" { (text::visible(excerpt.text.as_deref().unwrap_or_default())) } }
        @if excerpt.is_cut { p.remark { "The end is not shown: the object is too long." } }
    };
    let above = links::above(key, [(key.to_string(), links::object(kind, key))]);
    Ok(Page { title: format!("{key} as YAML"), home, above, caller: Some(caller), content }.respond())
}

fn conditions(status: &ObjectStatus) -> &[Condition] {
    match status {
        ObjectStatus::Endpoint(status) => &status.conditions,
        ObjectStatus::Subscription(status) => &status.conditions,
        ObjectStatus::Replay(status) => &status.conditions,
    }
}
