//! The console: pages for people, below `/` and `/console/`.
//!
//! Pages are rendered here, need no script for reading, and show what the API shows, under the same guards: [`authn`]
//! first, then handlers that ask for what else a page has (`Shared::may`). Everything that strangers wrote is escaped by
//! the templates, and what cannot be seen in it is named ([`text`]); the headers of every response confine what a page
//! may do ([`layout`]). A page costs a bounded number of bounded reads of the journal.
//!
//! [`authn`]: super::authn

mod assets;
mod chart;
pub(super) mod csrf;
mod endpoint;
mod event;
mod health;
mod layout;
mod links;
mod missing;
mod object;
mod outcome;
mod overview;
mod payload;
pub(super) mod rates;
mod redelivery;
mod replay;
mod shadow;
mod subscription;
mod tail;
mod text;

use std::sync::Arc;

use axum::{
    Router,
    extract::{Extension, Path, RawPathParams, Request, State},
    http::Uri,
    middleware::{self, Next},
    response::Response,
    routing::{MethodRouter, get, post},
};
use grapnel_api::ObjectKey;
use maud::html;

use self::layout::Home;
use super::{
    Shared,
    authn::{Caller, Guard, Peer},
    authz::{self, Ask, Asks, Resource, Verb},
    contract::ErrorCode,
    query::Query,
    response::Problem,
};
use crate::catalog::ObjectKind;

/// The routes of the console.
pub(super) fn routes(shared: &Arc<Shared>) -> Router<Arc<Shared>> {
    let guarded = |asks: Asks, handler: MethodRouter<Arc<Shared>>| {
        handler.route_layer(middleware::from_fn_with_state(Guard::new(shared, asks), guard))
    };
    const ENDPOINT: &str = "/console/endpoints/{namespace}/{name}";
    const SUBSCRIPTION: &str = "/console/subscriptions/{namespace}/{name}";
    const REPLAY: &str = "/console/replays/{namespace}/{name}";
    let events: Asks = |params, _| authz::one(Verb::Get, Resource::Events, params);
    let deliveries: Asks = |params, _| authz::one(Verb::Get, Resource::Deliveries, params);
    let redelivery: Asks = |params, _| authz::one(Verb::Update, Resource::Deliveries, params);
    let endpoints: Asks = |params, _| authz::one(Verb::Get, Resource::Endpoints, params);
    let subscriptions: Asks = |params, _| authz::one(Verb::Get, Resource::Subscriptions, params);
    let replays: Asks = |params, _| authz::one(Verb::Get, Resource::Replays, params);
    let yaml = |kind| {
        get(move |shared: State<_>, caller: Extension<_>, name: Path<_>, uri: Uri| {
            object::show(kind, shared, caller, name, uri)
        })
    };
    Router::new()
        .route(links::OVERVIEW, guarded(overview_asks, get(overview::show)))
        .route(ENDPOINT, guarded(events, get(endpoint::show)))
        .route(&format!("{ENDPOINT}/event"), guarded(events, get(event::show)))
        .route(&format!("{ENDPOINT}/payload"), guarded(events, get(event::download)))
        .route(&format!("{ENDPOINT}/tail"), guarded(events, get(tail::follow)))
        .route(&format!("{ENDPOINT}/yaml"), guarded(endpoints, yaml(ObjectKind::Endpoint)))
        .route(SUBSCRIPTION, guarded(deliveries, get(subscription::show)))
        .route(&format!("{SUBSCRIPTION}/redeliver"), guarded(redelivery, post(redelivery::order).get(redelivery::back)))
        .route(&format!("{SUBSCRIPTION}/resume"), guarded(redelivery, post(redelivery::resume).get(redelivery::back)))
        .route(&format!("{SUBSCRIPTION}/yaml"), guarded(subscriptions, yaml(ObjectKind::Subscription)))
        .route(REPLAY, guarded(replays, get(replay::show)))
        .route(&format!("{REPLAY}/yaml"), guarded(replays, yaml(ObjectKind::Replay)))
        .route(assets::ROUTE, get(assets::show))
        .route("/console/{*rest}", get(no_such_page))
}

/// The access required for the overview: what the list of objects requires.
fn overview_asks(_: &RawPathParams, uri: &Uri) -> Result<Vec<Ask>, Problem> {
    Ok(authz::listing(Query::of_page(uri, overview::PARAMETERS)?.namespace()?).into())
}

/// The guard of the API, whose errors are pages.
async fn guard(State(guard): State<Guard>, params: RawPathParams, mut request: Request, next: Next) -> Response {
    match guard.admit(&params, Peer::of(&request), request.uri(), request.headers()).await {
        Ok(caller) => {
            request.extensions_mut().insert(caller);
            next.run(request).await
        }
        // Many people may see the objects of their own namespace only.
        Err(problem) if problem.body().code == ErrorCode::Forbidden && request.uri().path() == links::OVERVIEW => {
            layout::problem_with(
                &problem,
                Home::default(),
                html! {
                    p { "You may be allowed to see one namespace:" }
                    (overview::namespace_form(None, false))
                },
            )
        }
        Err(problem) => {
            let namespace = params.iter().find(|(name, _)| *name == "namespace").map(|(_, namespace)| namespace);
            layout::problem(&problem, namespace.map(Home::of).unwrap_or_default())
        }
    }
}

async fn no_such_page() -> Response {
    layout::problem(&Problem::not_found("there is no such page"), Home::default())
}

/// A page, or an error as a page.
struct Shown {
    result: Result<Response, Problem>,
    /// The object that the page is about.
    object: Option<(ObjectKind, ObjectKey)>,
}

impl Shown {
    /// A page about an object.
    fn of(kind: ObjectKind, key: ObjectKey, result: Result<Response, Problem>) -> Self {
        Self { result, object: Some((kind, key)) }
    }
}

impl axum::response::IntoResponse for Shown {
    fn into_response(self) -> Response {
        let Self { result, object } = self;
        match (result, object) {
            (Ok(response), _) => response,
            (Err(problem), Some((kind, key))) if problem.body().code == ErrorCode::NotFound => {
                missing::object(kind, &key, &problem)
            }
            (Err(problem), Some((_, key))) => layout::problem(&problem, Home::of(&key.namespace)),
            (Err(problem), None) => layout::problem(&problem, Home::default()),
        }
    }
}

impl Shared {
    /// Where the first link of a page about an object of a namespace leads.
    async fn home(&self, caller: &Caller, namespace: &str) -> Home {
        if self.sees_all_namespaces(caller).await { Home::default() } else { Home::of(namespace) }
    }

    /// Whether a caller may see the overview of all namespaces.
    async fn sees_all_namespaces(&self, caller: &Caller) -> bool {
        for ask in authz::listing(None) {
            if !self.may(caller, &ask).await {
                return false;
            }
        }
        true
    }
}
