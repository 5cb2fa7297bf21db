//! The configuration, the history of an endpoint, and what a subscription makes of an event.

use grapnel::admin::Access;
use reqwest::StatusCode;
use serde_json::{Value, json};

use super::{ENDPOINT, EVENTS, arrival, now, start};

fn ids(page: &Value) -> Vec<&str> {
    page["items"].as_array().unwrap().iter().map(|item| item["id"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn the_configuration_has_every_spec_and_the_version() {
    let server = start(Access::LoopbackOnly).await;
    let page = server.json("/api/v1/configuration", StatusCode::OK).await;
    assert_eq!(page["version"], env!("CARGO_PKG_VERSION"));
    let seen: Vec<_> =
        page["items"].as_array().unwrap().iter().map(|it| (it["name"].as_str().unwrap(), &it["inUse"])).collect();
    let (yes, no) = (json!(true), json!(false));
    assert_eq!(seen, [("locked", &no), ("orders", &yes), ("billing", &yes), ("lost", &no), ("again", &yes)]);
    assert_eq!(page["items"][1]["spec"], json!({ "verification": { "none": {} } }));
    assert_eq!(page["items"][2]["spec"]["target"]["url"], "https://billing.example/hook");
    let again = &page["items"][4];
    assert_eq!((&again["spec"]["select"], &again["ended"]), (&json!({ "deadLettered": true }), &no));
    assert_eq!(page["withoutReplays"], json!(null));
    let rest = server.json("/api/v1/configuration?after=WebhookEndpoint/shop/orders", StatusCode::OK).await;
    assert_eq!(rest["items"].as_array().unwrap().len(), 3);
    let last = server.json("/api/v1/configuration?after=WebhookSubscription/shop/lost", StatusCode::OK).await;
    assert_eq!(last["items"].as_array().unwrap().len(), 1);
    let other = server.json("/api/v1/configuration?namespace=other", StatusCode::OK).await;
    assert_eq!(other["items"], json!([]));
    for wrong in ["after=7", "after=Secret/a/b", "after=WebhookEndpoint/a", "limit=3", "namespace=A_B"] {
        server.json(&format!("/api/v1/configuration?{wrong}"), StatusCode::BAD_REQUEST).await;
    }
    server.end().await;
}

#[tokio::test]
async fn a_history_has_bodies_and_is_read_in_pages() {
    let server = start(Access::LoopbackOnly).await;
    let event = |n: u32| arrival(&format!("e{n}"), "t", now(), None, format!(r#"{{"n":{n}}}"#).as_bytes());
    server.append((0..250).map(event).collect()).await;
    // The id of the first is used again, so that only the newer one can be found by it.
    server.append(vec![event(0)]).await;
    let (mut after, mut found, mut omitted) = (String::new(), Vec::new(), 0);
    loop {
        let page = server.json(&format!("{ENDPOINT}/history?order=desc&limit=120{after}"), StatusCode::OK).await;
        found.extend(page["items"].as_array().unwrap().iter().map(|item| item["payload"]["n"].as_u64().unwrap()));
        omitted += page["omitted"].as_u64().unwrap_or(0);
        match page["continue"].as_str() {
            Some(next) => after = format!("&after={next}"),
            None => break,
        }
    }
    assert_eq!((found.len(), found[0], found[1], *found.last().unwrap(), omitted), (250, 0, 249, 1, 1));
    let oldest = server.json(&format!("{ENDPOINT}/history?limit=2"), StatusCode::OK).await;
    assert_eq!(ids(&oldest), ["e1", "e2"]);
    let none = server.json(&format!("{ENDPOINT}/history?since=2026-02-01T00:00:00Z"), StatusCode::OK).await;
    assert_eq!(none["items"], json!([]));
    server.json(&format!("{ENDPOINT}/history?type=t"), StatusCode::BAD_REQUEST).await;
    server.json("/api/v1/namespaces/shop/endpoints/absent/history", StatusCode::NOT_FOUND).await;
    server.end().await;
}

#[tokio::test]
async fn a_page_of_a_history_ends_when_its_bodies_are_large() {
    let server = start(Access::LoopbackOnly).await;
    let body = format!("\"{}\"", "x".repeat(3 << 20));
    for n in 0..5 {
        server.append(vec![arrival(&format!("e{n}"), "t", now(), None, body.as_bytes())]).await;
    }
    let page = server.json(&format!("{ENDPOINT}/history"), StatusCode::OK).await;
    assert_eq!(ids(&page), ["e0", "e1", "e2"]);
    let rest = format!("{ENDPOINT}/history?after={}", page["continue"].as_str().unwrap());
    assert_eq!(ids(&server.json(&rest, StatusCode::OK).await), ["e3", "e4"]);
    server.end().await;
}

#[tokio::test]
async fn a_preview_shows_the_body_and_sends_nothing() {
    let server = start(Access::LoopbackOnly).await;
    server.append(vec![arrival("e1", "t", now(), Some("application/json"), br#"{"n":1}"#)]).await;
    let path = |subscription: &str| format!("{EVENTS}/e1/preview?subscription={subscription}");
    let shown = server.json(&path("shop/billing"), StatusCode::OK).await;
    assert_eq!((&shown["contentType"], &shown["payload"]), (&json!("application/json"), &json!({ "n": 1 })));
    for wrong in ["billing", "shop/", "a/b/c"] {
        server.json(&path(wrong), StatusCode::BAD_REQUEST).await;
    }
    server.json(&format!("{EVENTS}/e1/preview"), StatusCode::BAD_REQUEST).await;
    server.json(&path("shop/lost"), StatusCode::NOT_FOUND).await;
    server.json(&format!("{EVENTS}/absent/preview?subscription=shop/billing"), StatusCode::NOT_FOUND).await;
    server.end().await;
}
