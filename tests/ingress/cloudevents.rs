//! CloudEvents, however they come.

use grapnel::catalog::IdSources;
use grapnel_event::{
    identity::{Source, Sources},
    schema::{SchemaSet, Unmatched},
};
use grapnel_expression::{ExpectedType, Expression, Scope};
use grapnel_values::{glob::Glob, pointer::JsonPointer};
use serde_json::{Value, json};

use super::{
    client::Post,
    fixture::{Served, endpoint},
};

const STRUCTURED: &str = "application/cloudevents+json";
const BATCH: &str = "application/cloudevents-batch+json";

fn event(id: &str, data: &Value) -> Value {
    json!({ "specversion": "1.0", "id": id, "source": "/s", "type": "order.paid", "tenant": "acme", "data": data })
}

fn post(content_type: &str, body: &Value) -> Post {
    Post::signed("/shop/orders", body.to_string()).header("Content-Type", content_type)
}

#[tokio::test]
async fn one_in_the_body_is_stored_as_it_came() {
    let served = Served::one().await;
    let event = event("évt 1", &json!({ "type": "other", "id": 7 }));
    let answer = post("application/cloudevents+json; charset=utf-8", &event).send(served.address).await;
    assert_eq!(answer.accepted(), "évt 1");
    let stored = served.stored("orders").await;
    assert_eq!((&*stored[0].id, &*stored[0].kind), ("évt 1", "order.paid"));
    assert_eq!(stored[0].body, event.to_string());
    let again = post(STRUCTURED, &event).send(served.address).await;
    assert_eq!(again.json()["duplicate"], true);
}

#[tokio::test]
async fn one_in_the_headers_is_decoded() {
    let served = Served::one().await;
    let binary = |version: &str| {
        Post::signed("/shop/orders", r#"{"id":"body","type":"body"}"#)
            .header("Content-Type", "application/json")
            .header("ce-specversion", version)
            .header("ce-source", "/s")
            .header("ce-type", "order%20paid")
    };
    assert_eq!(binary("1.0").header("ce-id", "%C3%A9vt").send(served.address).await.accepted(), "évt");
    assert_eq!(&*served.stored("orders").await[0].kind, "order paid");
    let empty = Post::signed("/shop/orders", "").header("ce-specversion", "1.0").header("ce-source", "/s");
    let empty = empty.header("ce-type", "t").header("ce-id", "empty");
    assert_eq!(empty.send(served.address).await.accepted(), "empty", "all of it is headers");
    let refused = binary("1.0").send(served.address).await.refused(400, "malformed_payload");
    assert_eq!(refused, "invalid CloudEvent: it has no id");
    let refused = binary("0.3").header("ce-id", "2").send(served.address).await.refused(400, "malformed_payload");
    assert!(refused.contains("specversion must be 1.0"), "{refused}");
}

#[tokio::test]
async fn every_event_of_a_batch_is_one() {
    let served = Served::one().await;
    let batch = json!([event("1", &json!({ "a": 1 })), event("2", &json!(null)), event("1", &json!({ "a": 2 }))]);
    let answer = post(BATCH, &batch).header("X-Kept", "1").send(served.address).await;
    assert_eq!((answer.status, answer.text()), (200, r#"{"success":true,"ids":["1","2","1"],"duplicates":["1"]}"#));
    let stored = served.stored("orders").await;
    assert_eq!(stored.len(), 2);
    for (stored, sent) in stored.iter().zip(batch.as_array().unwrap()) {
        assert_eq!(stored.body, sent.to_string());
        assert_eq!(stored.content_type.as_deref(), Some(STRUCTURED));
        let header =
            |wanted: &str| stored.headers.iter().find(|(name, _)| &**name == wanted).map(|(_, value)| &**value);
        assert_eq!((header("content-type"), header("x-kept")), (Some(STRUCTURED.as_bytes()), Some(&b"1"[..])));
    }
    let facts = served.facts("orders");
    assert_eq!((facts.received, facts.duplicates), (2, 1));
    let many: Vec<_> = (0..1000).map(|number| event(&format!("many-{number}"), &json!(number))).collect();
    let answer = post(BATCH, &json!(many)).send(served.address).await;
    assert_eq!(answer.json()["ids"].as_array().map(Vec::len), Some(1000));
    assert_eq!(served.facts("orders").received, 1002);
    let answer = post(BATCH, &json!([])).send(served.address).await;
    assert_eq!((answer.status, answer.text()), (200, r#"{"success":true,"ids":[]}"#));
}

#[tokio::test]
async fn a_batch_is_taken_as_a_whole_or_not_at_all() {
    let mut strict = endpoint("orders");
    let schema = json!({ "type": "object", "required": ["amount"] });
    strict.schemas = SchemaSet::compile(vec![(vec![Glob::parse("*").unwrap()], schema)], Unmatched::Accept).unwrap();
    let served = Served::with([strict]).await;
    let good = event("1", &json!({ "amount": 1 }));

    let answer = post(BATCH, &json!([good, event("2", &json!({}))])).send(served.address).await;
    answer.refused(422, "schema_violation");
    assert_eq!(answer.json()["violations"][0]["path"], "/1/data");
    let sentence =
        post(BATCH, &json!([good, { "id": "2" }])).send(served.address).await.refused(400, "malformed_payload");
    assert_eq!(
        sentence,
        "event 2 of the batch: invalid CloudEvent: it has no specversion; the only supported one is 1.0"
    );
    post(BATCH, &json!({})).send(served.address).await.refused(400, "malformed_payload");
    let too_many: Vec<_> = (0..1001).map(|number| event(&number.to_string(), &json!({ "amount": 1 }))).collect();
    post(BATCH, &json!(too_many)).send(served.address).await.refused(400, "malformed_payload");
    let forged = Post::to("/shop/orders", json!([good]).to_string())
        .header("Content-Type", BATCH)
        .header("X-Hub-Signature-256", format!("sha256={}", "0".repeat(64)));
    forged.send(served.address).await.refused(401, "invalid_signature");
    assert!(served.stored("orders").await.is_empty());

    // Schemas are for the data, in whichever form it is.
    let answer = post(STRUCTURED, &event("3", &json!({}))).send(served.address).await;
    answer.refused(422, "schema_violation");
    assert_eq!(answer.json()["violations"][0]["path"], "/data");
    let mut base64 = event("4", &Value::Null);
    base64.as_object_mut().unwrap().remove("data");
    base64["datacontenttype"] = json!("application/json");
    base64["data_base64"] = json!("eyJhbW91bnQiOjF9");
    post(STRUCTURED, &base64).send(served.address).await.accepted();
    // Without a content type, data is JSON: here a string, which is no object.
    let answer = post(STRUCTURED, &event("5", &json!("5"))).send(served.address).await;
    answer.refused(422, "schema_violation");
    let violation = &answer.json()["violations"][0];
    assert!(violation["message"].as_str().unwrap().contains("is not of type \"object\""), "{violation}");
    post(STRUCTURED, &good).send(served.address).await.accepted();
}

#[tokio::test]
async fn sources_that_the_endpoint_names_come_first() {
    let mut named = endpoint("orders");
    let expression = Expression::compile(
        "headers['ce-tenant'] + '/' + payload.region + (has(payload.test) ? '/test' : '')",
        Scope::Request,
        ExpectedType::Text,
    );
    named.kind_sources.explicit = Some(Source::Expression(expression.unwrap().into()));
    let explicit = Some(Source::Pointer(JsonPointer::parse("/data/order").unwrap()));
    named.id_sources = IdSources::new(Sources { explicit, ..Sources::default() });
    let served = Served::with([named]).await;
    let answer = post(STRUCTURED, &event("1", &json!({ "order": 17, "region": "eu" }))).send(served.address).await;
    assert_eq!(answer.accepted(), "17");
    let batch = json!([event("1", &json!({ "order": 18, "region": "us", "test": true }))]);
    assert_eq!(post(BATCH, &batch).send(served.address).await.json()["ids"], json!(["18"]));
    let kinds: Vec<_> = served.stored("orders").await.into_iter().map(|event| event.kind).collect();
    assert_eq!(kinds, ["acme/eu".into(), "acme/us/test".into()] as [Box<str>; 2]);
    let refused = post(STRUCTURED, &event("1", &json!({ "order": 1 }))).send(served.address).await;
    let sentence = refused.refused(400, "malformed_payload");
    assert!(
        sentence.contains("event.type: its expression fails: line 1, column 38: no such key `region`"),
        "{sentence}"
    );
}

#[tokio::test]
async fn expressions_say_who_any_request_is() {
    let mut named = endpoint("orders");
    let text = |source| {
        let expression = Expression::compile(source, Scope::Request, ExpectedType::Text).unwrap();
        Some(Source::Expression(expression.into()))
    };
    named.kind_sources.explicit = text("type(payload) == map ? payload.object_kind + '.' + payload.action : 'text'");
    let explicit = text("has(headers.authorization) ? 'leaked' : headers['x-request-id'] + string(size(payload))");
    named.id_sources = IdSources::new(Sources { explicit, ..named.id_sources.sources().clone() });
    let served = Served::with([named]).await;
    let send = async |content_type: &str, body: &str| {
        let post = Post::signed("/shop/orders", body).header("Content-Type", content_type);
        post.header("X-Request-Id", "r-").header("Authorization", "Bearer x").send(served.address).await
    };
    let json = send("application/json", r#"{"object_kind":"merge_request","action":"open"}"#).await;
    assert_eq!(json.accepted(), "r-2");
    assert_eq!(send("application/x-www-form-urlencoded", "object_kind=a&action=b&c=d").await.accepted(), "r-3");
    assert_eq!(send("text/plain", "four").await.accepted(), "r-4");
    let kinds: Vec<_> = served.stored("orders").await.into_iter().map(|event| event.kind).collect();
    assert_eq!(kinds, ["merge_request.open".into(), "a.b".into(), "text".into()] as [Box<str>; 3]);
    let refused = send("application/json", "{}").await;
    refused.refused(400, "malformed_payload");
}

#[tokio::test]
async fn a_batch_takes_no_more_steps_than_one_event_may() {
    let rows = json!({ "rows": vec![0; 100] });
    let mut named = endpoint("named");
    let slow = "payload.rows.all(a, payload.rows.all(b, true)) ? 'all' : 'some'";
    named.kind_sources.explicit =
        Some(Source::Expression(Expression::compile(slow, Scope::Request, ExpectedType::Text).unwrap().into()));
    let mut strict = endpoint("strict");
    let schema = json!({ "properties": { "text": { "pattern": "[ax]{0,400}([ax]{0,40}x){0,9}[0-9][0-9]" } } });
    strict.schemas = SchemaSet::compile(vec![(vec![Glob::parse("*").unwrap()], schema)], Unmatched::Accept).unwrap();
    let mut seen = endpoint("seen");
    let headers = "headers['ce-tenant']";
    seen.kind_sources.explicit =
        Some(Source::Expression(Expression::compile(headers, Scope::Request, ExpectedType::Text).unwrap().into()));
    let served = Served::with([named, strict, seen]).await;
    let send_with = async |name: &str, more: usize, events: usize, data: &Value| {
        let events: Vec<_> = (0..events).map(|number| event(&format!("{events}-{number}"), data)).collect();
        let mut post = Post::signed(&format!("/shop/{name}"), json!(events).to_string()).header("Content-Type", BATCH);
        for number in 0..more {
            post = post.header(&format!("X-{number}"), "1");
        }
        post.send(served.address).await
    };
    let send = async |name: &str, events: usize, data: &Value| send_with(name, 0, events, data).await;

    assert_eq!(send("named", 2, &rows).await.status, 200);
    let sentence = send("named", 100, &rows).await.refused(400, "malformed_payload");
    assert!(sentence.contains("of the batch: event.type: its expression fails"), "{sentence}");
    assert!(sentence.contains("exceeds 500000 steps"), "{sentence}");

    let text = json!({ "text": "xa".repeat(250) + "11" });
    assert_eq!(send("strict", 2, &text).await.status, 200);
    let answer = send("strict", 200, &text).await;
    answer.refused(422, "schema_violation");
    let why = answer.json()["violations"][0]["message"].to_string();
    assert!(why.contains("too many steps"), "{why}");

    // Headers are made ready for the expressions of each event.
    assert_eq!(send_with("seen", 85, 10, &json!(1)).await.status, 200);
    let sentence = send_with("seen", 85, 1000, &json!(1)).await.refused(400, "malformed_payload");
    assert!(sentence.contains("exceeds 500000 steps"), "{sentence}");
    assert_eq!(send("seen", 1000, &json!(1)).await.status, 200);

    assert!(served.stored("named").await.len() == 2 && served.stored("strict").await.len() == 2);
}

#[tokio::test]
async fn headers_are_not_stored_a_thousand_times() {
    let served = Served::one().await;
    let send = async |events: usize| {
        let events: Vec<_> = (0..events).map(|number| event(&number.to_string(), &json!(number))).collect();
        post(BATCH, &json!(events)).header("X-Long", "x".repeat(12_000)).send(served.address).await
    };
    assert_eq!(send(2).await.status, 200);
    let sentence = send(400).await.refused(400, "malformed_payload");
    assert!(sentence.contains("each of the 400 events") && sentence.contains("send fewer events"), "{sentence}");
    assert_eq!(served.stored("orders").await.len(), 2);
}
