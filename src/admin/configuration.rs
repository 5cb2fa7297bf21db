//! The specs of all objects, for commands that compare a change with what the operator has read.

use std::sync::Arc;

use axum::{
    extract::{Extension, RawPathParams, State},
    http::Uri,
    response::Response,
};
use grapnel_api::{ConditionStatus, ConditionType, ObjectKey};

use super::{
    Shared,
    authn::Caller,
    authz::{self, Ask},
    contract::{ConfigurationPage, ConfiguredObject, Operation, Page},
    query::Query,
    response::{self, Problem},
};
use crate::{
    admin::limits::ADMIN_CONFIGURATION_BYTES,
    catalog::status::{Facts, JournalReading, ObjectKind, ObjectView},
};

/// The access required: that to endpoints and subscriptions. Replays are left out for those who may not list them.
pub(super) fn asks(_: &RawPathParams, uri: &Uri) -> Result<Vec<Ask>, Problem> {
    authz::objects(uri, Operation::ShowConfiguration)
}

/// `GET /api/v1/configuration`
pub(super) async fn list(
    State(shared): State<Arc<Shared>>,
    Extension(caller): Extension<Caller>,
    uri: Uri,
) -> Result<Response, Problem> {
    let query = Query::parse(&uri, Operation::ShowConfiguration)?;
    let namespace = query.namespace()?;
    let after = query.get("after").map(position).transpose()?;
    let mut views: Vec<Arc<ObjectView>> = shared.admin.objects.borrow().to_vec();
    let shows_replays = shared.may(&caller, &authz::replays(namespace)).await;
    views.retain(|view| view.kind != ObjectKind::Replay || shows_replays);
    views.retain(|view| namespace.is_none_or(|namespace| *view.key.namespace == *namespace));
    views.retain(|view| after.as_ref().is_none_or(|after| (view.kind, &view.key) > (after.0, &after.1)));
    views.sort_by(|one, other| (one.kind, &one.key).cmp(&(other.kind, &other.key)));
    let (mut items, mut bytes, mut next) = (Vec::new(), 0, None);
    for view in &views {
        if bytes > ADMIN_CONFIGURATION_BYTES {
            next =
                items.last().map(|item: &ConfiguredObject| format!("{}/{}/{}", item.kind, item.namespace, item.name));
            break;
        }
        let item = item(&shared, view);
        bytes += item.spec.as_ref().map_or(0, |spec| spec.to_string().len());
        items.push(item);
    }
    let version = env!("CARGO_PKG_VERSION").to_owned();
    Ok(response::ok(&ConfigurationPage { version, without_replays: !shows_replays, page: Page { items, next } }))
}

fn item(shared: &Shared, view: &ObjectView) -> ConfiguredObject {
    let deliveries = JournalReading::of(&*shared.admin.journal, view).deliveries;
    let accepted = view.conditions.iter().find(|condition| condition.kind == ConditionType::Accepted);
    ConfiguredObject {
        kind: view.kind.as_str().to_owned(),
        namespace: view.key.namespace.to_string(),
        name: view.key.name.to_string(),
        // These types can always be serialized.
        spec: view.spec.as_ref().and_then(|spec| serde_json::to_value(spec).ok()),
        in_use: view.in_use && accepted.is_some_and(|condition| condition.status == ConditionStatus::True),
        unsettled: deliveries.map(|counts| counts.pending + counts.in_flight + counts.retrying),
        dead_lettered: deliveries.map(|counts| counts.dead),
        ended: match &view.facts {
            Facts::Replay(facts) => Some(facts.read().ended.is_some()),
            _ => None,
        },
    }
}

/// Where the previous page ended: the kind and the name of its last object.
fn position(text: &str) -> Result<(ObjectKind, ObjectKey), Problem> {
    let parts: Vec<&str> = text.split('/').collect();
    let position = match *parts {
        [kind, namespace, object] => ObjectKind::named(kind).map(|kind| (kind, ObjectKey::new(namespace, object))),
        _ => None,
    };
    position.ok_or_else(|| Problem::parameter(format!("after must be `continue` of the previous page, not {text:?}")))
}
