//! Every object with its status, in the form of `kubectl get -o yaml`.

use std::sync::Arc;

use axum::{
    extract::{Extension, RawPathParams, State},
    http::Uri,
    response::Response,
};
use grapnel_api::{DeliveryMode, Incarnation, ObjectKey};

use super::{
    Shared,
    authn::Caller,
    authz::{self, Ask},
    contract::{CircuitName, EndpointItem, ObjectItem, Operation, Page, ReplayItem, Sending, SubscriptionItem},
    limits::OBJECTS_AT_A_TIME,
    query::Query,
    response::{self, Problem},
};
use crate::catalog::status::{JournalReading, ObjectKind, ObjectSpec, ObjectStatus, ObjectView};

/// The access required to list objects with their statuses.
pub(super) fn asks(_: &RawPathParams, uri: &Uri) -> Result<Vec<Ask>, Problem> {
    authz::objects(uri, Operation::ListObjects)
}

/// `GET /api/v1/objects`
pub(super) async fn list(
    State(shared): State<Arc<Shared>>,
    Extension(caller): Extension<Caller>,
    uri: Uri,
) -> Result<Response, Problem> {
    let query = Query::parse(&uri, Operation::ListObjects)?;
    Ok(response::ok(&Page { items: items(&shared, &caller, query.namespace()?).await, next: None }))
}

/// All objects, or those of one namespace. Replays only if the caller may list them.
pub(super) async fn items(shared: &Shared, caller: &Caller, namespace: Option<&str>) -> Vec<ObjectItem> {
    let now = shared.admin.clock.now();
    let views = Arc::clone(&shared.admin.objects.borrow());
    let is_wanted = |view: &ObjectView| namespace.is_none_or(|namespace| *view.key.namespace == *namespace);
    let has_replays = views.iter().any(|view| view.kind == ObjectKind::Replay && is_wanted(view));
    let shows_replays = has_replays && shared.may(caller, &authz::replays(namespace)).await;
    let mut items = Vec::new();
    for part in views.chunks(OBJECTS_AT_A_TIME) {
        let wanted = part.iter().filter(|view| is_wanted(view) && (shows_replays || view.kind != ObjectKind::Replay));
        items.extend(wanted.map(|view| item(shared, view, now)));
        // Requests of senders do not wait until all are read.
        tokio::task::yield_now().await;
    }
    items
}

/// An object with its status.
pub(super) fn item(shared: &Shared, view: &ObjectView, now: jiff::Timestamp) -> ObjectItem {
    let reading = JournalReading::of(&*shared.admin.journal, view);
    let text = |text: &Arc<str>| text.to_string();
    let (namespace, name) = (text(&view.key.namespace), text(&view.key.name));
    let (generation, source) = (view.generation, view.source.as_ref().map(text));
    match view.typed_status(&reading, now, &[]) {
        ObjectStatus::Endpoint(status) => ObjectItem::Endpoint(EndpointItem {
            namespace,
            name,
            generation,
            source,
            path: view.path.as_ref().map(text),
            url: view.sender_url(),
            status,
        }),
        ObjectStatus::Replay(status) => ObjectItem::Replay(ReplayItem {
            namespace,
            name,
            generation,
            source,
            subscription: view.subscription_ref.as_ref().map(|key| text(&key.name)),
            dry_run: matches!(&view.spec, Some(ObjectSpec::Replay(spec)) if spec.dry_run == Some(true)),
            status,
        }),
        ObjectStatus::Subscription(status) => {
            let endpoint = view.endpoint_ref.as_ref();
            let elsewhere = endpoint.filter(|endpoint| endpoint.namespace != view.key.namespace);
            ObjectItem::Subscription(SubscriptionItem {
                namespace,
                name,
                generation,
                source,
                endpoint: endpoint.map(|key| text(&key.name)),
                endpoint_namespace: elsewhere.map(|key| text(&key.namespace)),
                sending: shared.sending(&view.key),
                status,
            })
        }
    }
}

fn absent(kind: ObjectKind, key: &ObjectKey) -> Problem {
    Problem::not_found(format!(
        "there is no {} {key}; `grapnel status` and GET /api/v1/objects list what there is",
        kind.as_str()
    ))
}

impl Shared {
    /// The endpoint object of this name, compiled or not.
    pub(super) fn endpoint(&self, key: &ObjectKey) -> Result<Incarnation, Problem> {
        let served = self.admin.snapshot.borrow().endpoint(key).map(|endpoint| endpoint.incarnation());
        let found = served.or_else(|| self.object(ObjectKind::Endpoint, key));
        found.ok_or_else(|| absent(ObjectKind::Endpoint, key))
    }

    /// The subscription object of this name, compiled or not.
    pub(super) fn subscription(&self, key: &ObjectKey) -> Result<Incarnation, Problem> {
        let known = self.admin.snapshot.borrow().known(key);
        let found = known.or_else(|| self.object(ObjectKind::Subscription, key));
        found.ok_or_else(|| absent(ObjectKind::Subscription, key))
    }

    /// Whether the events of a subscription are sent now, as the process says that delivers them.
    pub(super) fn sending(&self, key: &ObjectKey) -> Sending {
        let snapshot = self.admin.snapshot.borrow();
        let Some(subscription) = snapshot.subscription(key) else { return Sending::default() };
        let facts = subscription.facts.read();
        let attached = facts.unattached.is_none();
        let serves = self.admin.journal.tenure().borrow().serves(&subscription.endpoint.key);
        let delivers = attached && (serves || subscription.facts.is_delivered_elsewhere());
        let circuit = if facts.circuit.is_some() { CircuitName::Open } else { CircuitName::Closed };
        Sending {
            suspended: Some(subscription.suspended),
            mode: Some(subscription.mode).filter(|mode| *mode == DeliveryMode::Shadow),
            circuit: delivers.then_some(circuit),
            next_probe_time: facts.circuit.filter(|_| delivers).map(|circuit| circuit.next_probe),
            paused_until: facts.pause.filter(|_| delivers),
        }
    }

    fn object(&self, kind: ObjectKind, key: &ObjectKey) -> Option<Incarnation> {
        self.view(kind, key).ok().map(|view| view.incarnation())
    }

    /// The view of an object.
    pub(super) fn view(&self, kind: ObjectKind, key: &ObjectKey) -> Result<Arc<ObjectView>, Problem> {
        let objects = self.admin.objects.borrow();
        let found = objects.iter().find(|view| view.kind == kind && view.key == *key);
        found.cloned().ok_or_else(|| absent(kind, key))
    }
}
