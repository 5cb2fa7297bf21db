//! The pages of what does not exist, or no longer: what happened, and where to go on.

use axum::{http::StatusCode, response::Response};
use grapnel_api::ObjectKey;
use maud::{Markup, html};

use super::{
    layout::{Home, Page},
    links, text,
};
use crate::{admin::response::Problem, catalog::ObjectKind};

/// The page of an object that does not exist.
pub(super) fn object(kind: ObjectKind, key: &ObjectKey, problem: &Problem) -> Response {
    let rest = match kind {
        ObjectKind::Endpoint => html! { "The events of a deleted endpoint can no longer be shown or delivered." },
        ObjectKind::Subscription => html! {
            "What a deleted subscription had not delivered, and its dead letters, are no longer listed. The events are on the \
             page of the endpoint, as long as they are retained."
        },
        ObjectKind::Replay => html! {
            "The operator deletes a replay " code { "ttlSecondsAfterFinished" } " after its end. What it has queued is still \
             delivered: see the page of the subscription."
        },
    };
    let content = html! {
        p.problem role="alert" { "There is no " (kind.as_str()) " " (text::inline(&key.to_string())) "." }
        // Another path below the object may be what is missing.
        @if !problem.body().error.contains(kind.as_str()) { p { (text::inline(&problem.body().error)) } }
        p { "It has been deleted or renamed since the link was made, or the name in the link is misspelled. " (rest) }
        (go_on(&[(format!("Objects in namespace {}", key.namespace), links::overview(Some(&key.namespace)))]))
    };
    respond(key, Vec::new(), content)
}

/// The page of an event that an endpoint does not have.
pub(super) fn event(endpoint: &ObjectKey, id: &str) -> Response {
    let content = html! {
        p.problem role="alert" { "WebhookEndpoint " (endpoint) " has no event " (text::inline(id)) "." }
        p {
            "It has been removed since the link was made, because its retention is over or the journal needed its space, or the \
             id in the link is misspelled. A removed event can no longer be shown or delivered."
        }
        (go_on(&[(format!("Events of {endpoint}"), links::endpoint(endpoint))]))
    };
    respond(endpoint, vec![(endpoint.to_string(), links::endpoint(endpoint))], content)
}

fn go_on(links: &[(String, String)]) -> Markup {
    html! { ul { @for (name, link) in links { li { a href=(link) { (text::inline(name)) } } } } }
}

fn respond(key: &ObjectKey, more: Vec<(String, String)>, content: Markup) -> Response {
    let home = Home::of(&key.namespace);
    let page = Page { title: "Not found".into(), home, above: links::above(key, more), caller: None, content };
    page.respond_with(StatusCode::NOT_FOUND)
}
