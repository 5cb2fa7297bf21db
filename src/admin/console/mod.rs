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
mod object;
mod outcome;
mod overview;
mod payload;
pub(super) mod rates;
mod redelivery;
mod subscription;
mod tail;
mod text;

use std::sync::Arc;

use axum::{
    Router,
    extract::{RawPathParams, Request, State},
    http::Uri,
    middleware::{self, Next},
    response::Response,
    routing::{MethodRouter, get, post},
};
use maud::html;

use super::{
    Shared,
    authn::{Guard, Peer},
    authz::{self, Ask, Asks, Resource, Verb},
    contract::ErrorCode,
    query::Query,
    response::Problem,
};

/// The routes of the console.
pub(super) fn routes(shared: &Arc<Shared>) -> Router<Arc<Shared>> {
    let guarded = |asks: Asks, handler: MethodRouter<Arc<Shared>>| {
        handler.route_layer(middleware::from_fn_with_state(Guard::new(shared, asks), guard))
    };
    const ENDPOINT: &str = "/console/endpoints/{namespace}/{name}";
    const SUBSCRIPTION: &str = "/console/subscriptions/{namespace}/{name}";
    let events: Asks = |params, _| authz::one(Verb::Get, Resource::Events, params);
    let deliveries: Asks = |params, _| authz::one(Verb::Get, Resource::Deliveries, params);
    let redelivery: Asks = |params, _| authz::one(Verb::Update, Resource::Deliveries, params);
    let endpoints: Asks = |params, _| authz::one(Verb::Get, Resource::Endpoints, params);
    let subscriptions: Asks = |params, _| authz::one(Verb::Get, Resource::Subscriptions, params);
    Router::new()
        .route(links::OVERVIEW, guarded(overview_asks, get(overview::show)))
        .route(ENDPOINT, guarded(events, get(endpoint::show)))
        .route(&format!("{ENDPOINT}/event"), guarded(events, get(event::show)))
        .route(&format!("{ENDPOINT}/payload"), guarded(events, get(event::download)))
        .route(&format!("{ENDPOINT}/tail"), guarded(events, get(tail::follow)))
        .route(&format!("{ENDPOINT}/yaml"), guarded(endpoints, get(object::endpoint)))
        .route(SUBSCRIPTION, guarded(deliveries, get(subscription::show)))
        .route(&format!("{SUBSCRIPTION}/redeliver"), guarded(redelivery, post(redelivery::order).get(redelivery::back)))
        .route(&format!("{SUBSCRIPTION}/yaml"), guarded(subscriptions, get(object::subscription)))
        .route(assets::ROUTE, get(assets::show))
        .route("/console/{*rest}", get(no_such_page))
}

/// The access required for the overview: what the list of objects requires.
fn overview_asks(_: &RawPathParams, uri: &Uri) -> Result<Vec<Ask>, Problem> {
    let query = Query::of_page(uri, overview::PARAMETERS)?;
    let namespace: Option<Box<str>> = query.get("namespace").map(Box::from);
    let list = |resource| Ask { verb: Verb::List, resource, namespace: namespace.clone(), name: None };
    Ok([Resource::Endpoints, Resource::Subscriptions].map(list).into())
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
                html! {
                    p { "You may be allowed to see one namespace:" }
                    (overview::namespace_form(None))
                },
            )
        }
        Err(problem) => layout::problem(&problem),
    }
}

async fn no_such_page() -> Response {
    layout::problem(&Problem::not_found("there is no such page"))
}

/// A page, or an error as a page.
struct Shown(Result<Response, Problem>);

impl axum::response::IntoResponse for Shown {
    fn into_response(self) -> Response {
        self.0.unwrap_or_else(|problem| layout::problem(&problem))
    }
}
