//! Filters, transformations, and the formats of CloudEvents.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use grapnel::catalog::Subscription;
use grapnel_api::{Format, Ordering};
use grapnel_delivery::rate_limit::{LimitScope, RateLimiter};
use grapnel_event::limits::INLINE_BODY_BYTES;
use grapnel_expression::{ExpectedType, Expression, Scope};
use grapnel_journal::{Arrival, DeliveryState, Outcome, SkipReason};
use grapnel_payload::headers::HeaderGlobs;
use grapnel_values::glob::{Glob, GlobSet};
use serde_json::{Value, json};

use crate::stage::{Received, Receiver, Stage, arrival, event_id, eventually, start, subscription};

fn filter(source: &str) -> Option<Arc<Expression>> {
    Some(Arc::new(Expression::compile(source, Scope::Delivery, ExpectedType::Bool).unwrap()))
}

fn transform(source: &str) -> Option<Arc<Expression>> {
    Some(Arc::new(Expression::compile(source, Scope::Delivery, ExpectedType::Json).unwrap()))
}

fn amount(id: &str, amount: &Value) -> Arrival {
    arrival(id, "order.paid", json!({ "amount": amount }).to_string().as_bytes(), start())
}

fn ids(requests: &[Received]) -> Vec<&str> {
    requests.iter().map(|request| request.header("webhook-id")).collect()
}

/// One delivery of one event to a subscription made so.
async fn delivered(change: impl FnOnce(&mut Subscription), event: Arrival) -> Received {
    let mut stage = Stage::new().await;
    let mut receiver = Receiver::statuses(&[200]).await;
    let mut billing = subscription("billing", &receiver.url, &stage.metrics);
    change(&mut billing);
    stage.publish([billing]).await;
    stage.append_all([event]).await;
    receiver.next().await
}

#[tokio::test]
async fn only_what_the_filter_wants_is_delivered() {
    let mut stage = Stage::new().await;
    let mut receiver = Receiver::statuses(&[200]).await;
    let mut large = subscription("large", &receiver.url, &stage.metrics);
    large.filter = filter("payload.amount >= 1000 && event.type == 'order.paid' && event.endpoint == 'stripe'");
    // What is not wanted takes nothing of the rate: of these there are many more than it allows.
    large.rate_limit =
        Some(Arc::new(RateLimiter::new(2, Duration::from_secs(3600), Some(2), LimitScope::Endpoint).unwrap()));
    stage.publish([large]).await;
    let small = (0..300).map(|number| amount(&format!("small-{number}"), &json!(number)));
    stage.append_all(small.chain([amount("large-1", &json!(1000)), amount("large-2", &json!(1e9))])).await;
    let progress = stage.until("large", "all are settled", |progress| progress.delivered == 2).await;
    assert_eq!((progress.pending, progress.retrying, progress.dead), (0, 0, 0));
    let mut requests = receiver.rest();
    requests.sort_by_key(|request| request.header("webhook-id").to_owned());
    assert_eq!(ids(&requests), ["large-1", "large-2"]);
}

#[tokio::test]
async fn a_filter_that_fails_is_a_failure_and_never_drops_an_event() {
    let mut stage = Stage::new().await;
    let mut receiver = Receiver::statuses(&[200]).await;
    let mut strict = subscription("strict", &receiver.url, &stage.metrics);
    strict.filter = filter("payload.amount > 10");
    strict.breaker.failures = 1.try_into().unwrap();
    let facts = strict.facts.clone();
    stage.publish([strict]).await;
    stage.append_all([amount("odd", &json!("12.50 secret"))]).await;

    let waiting = stage.delivery("strict", DeliveryState::Retrying).await;
    let failure = waiting.failure.unwrap();
    assert_eq!((&*failure.reason, failure.status), ("filter_failed", None));
    assert_eq!(&*failure.message, "filter, line 1, column 16: `>` is not defined for string and int");
    assert_eq!(waiting.due, Some(start() + Duration::from_secs(1)));
    let reading = facts.read();
    assert!(reading.circuit.is_none(), "it says nothing of the receiver");
    assert_eq!(reading.last_failure.unwrap().reason, "filter_failed".into());
    // Others pass meanwhile.
    stage.append_all([amount("good", &json!(11)), amount("small", &json!(1))]).await;
    assert_eq!(receiver.next().await.header("webhook-id"), "good");
    for seconds in [1, 2] {
        stage.until("strict", "it waits", |progress| progress.retrying == 1 && progress.in_flight == 0).await;
        stage.clock.advance(Duration::from_secs(seconds));
        stage.worker_has_looked().await;
    }
    let dead = stage.delivery("strict", DeliveryState::DeadLettered).await;
    assert_eq!((event_id(&dead), dead.attempts), ("odd", 3));
    let metrics = stage.metrics.encode();
    let series = r#"webhook_delivery_attempts_total{namespace="shop",subscription="strict",outcome="filter_failed"} 3"#;
    assert!(metrics.contains(series), "{series} is not in\n{metrics}");
    assert!(receiver.rest().is_empty());
}

#[tokio::test]
async fn a_new_filter_is_for_what_waits_too() {
    let mut stage = Stage::new().await;
    let mut receiver = Receiver::statuses(&[200]).await;
    let plan = |source: &str, parked| {
        let mut plan = subscription("plan", &receiver.url, &stage.metrics);
        plan.filter = filter(source);
        plan.suspended = parked;
        plan
    };
    let (parked, mended) = (plan("payload.missing", true), plan("payload.amount == 2", false));
    stage.publish([parked]).await;
    stage.append_all([1, 2, 3].map(|number| amount(&number.to_string(), &json!(number)))).await;
    stage.publish([mended]).await;
    stage.until("plan", "all are settled", |progress| progress.pending == 0 && progress.in_flight == 0).await;
    assert_eq!(receiver.next().await.header("webhook-id"), "2");
    assert!(receiver.rest().is_empty());
}

#[tokio::test]
async fn an_order_is_kept_among_what_is_wanted() {
    let mut stage = Stage::new().await;
    let mut receiver = Receiver::statuses(&[500, 200]).await;
    let mut even = subscription("even", &receiver.url, &stage.metrics);
    even.filter = filter("payload.amount % 2 == 0");
    even.ordering = Ordering::Ordered;
    even.max_in_flight = 1.try_into().unwrap();
    stage.publish([even]).await;
    stage.append_all((0..10).map(|number| amount(&number.to_string(), &json!(number)))).await;
    assert_eq!(receiver.next().await.header("webhook-id"), "0");
    stage.until("even", "it waits", |progress| progress.retrying == 1).await;
    stage.clock.advance(Duration::from_secs(1));
    stage.until("even", "all are delivered", |progress| progress.delivered == 5).await;
    assert_eq!(ids(&receiver.rest()), ["0", "2", "4", "6", "8"]);
}

#[tokio::test]
async fn an_order_waits_for_what_the_filter_fails_on() {
    let mut stage = Stage::new().await;
    let mut receiver = Receiver::statuses(&[200]).await;
    let mut even = subscription("even", &receiver.url, &stage.metrics);
    even.filter = filter("payload.amount % 2 == 0");
    even.ordering = Ordering::Ordered;
    even.max_in_flight = 1.try_into().unwrap();
    stage.publish([even]).await;
    // One that is not wanted, so that the next are looked through together; then one that the filter fails on.
    let amounts = [json!(1), json!("many"), json!(4), json!("many more"), json!(6)];
    let arrivals = amounts.iter().enumerate().map(|(number, value)| amount(&number.to_string(), value));
    stage.append_all(arrivals).await;
    for (dead, id) in [(1, "2"), (2, "4")] {
        for attempt in [1, 2] {
            eventually("it has been tried", async || {
                let retrying = stage.deliveries("even", DeliveryState::Retrying).await;
                retrying.iter().any(|delivery| delivery.attempts == attempt)
            })
            .await;
            assert!(receiver.rest().is_empty(), "nothing is sent before it is given up");
            stage.clock.advance(Duration::from_secs(2));
        }
        stage.until("even", "it is given up", |progress| progress.dead == dead).await;
        assert_eq!(receiver.next().await.header("webhook-id"), id);
    }
}

#[tokio::test]
async fn what_is_made_of_an_event_is_signed_and_sent() {
    let source = "{'text': event.type + ': ' + string(payload.amount), 'blocks': [{'id': event.id, 'more': payload}]}";
    let request = delivered(|billing| billing.transform = transform(source), amount("evt_1", &json!(5))).await;
    assert_eq!(request.header("content-type"), "application/json");
    assert_eq!(request.body, r#"{"text":"order.paid: 5","blocks":[{"id":"evt_1","more":{"amount":5}}]}"#);
    let enveloped = |billing: &mut Subscription| {
        billing.transform = transform("payload.amount");
        billing.format = Format::Envelope;
    };
    let request = delivered(enveloped, amount("evt_1", &json!(5))).await;
    assert_eq!(request.body, r#"{"id":"evt_1","type":"order.paid","timestamp":"2026-03-01T12:00:00Z","data":5}"#);
}

#[tokio::test]
async fn a_transformation_that_fails_says_nothing_of_the_receiver() {
    let mut stage = Stage::new().await;
    let mut receiver = Receiver::statuses(&[500, 200]).await;
    let mut chat = subscription("chat", &receiver.url, &stage.metrics);
    chat.transform = transform("{'text': payload.text}");
    chat.breaker.failures = 2.try_into().unwrap();
    chat.max_in_flight = 1.try_into().unwrap();
    let facts = chat.facts.clone();
    stage.publish([chat]).await;
    let text = |id| arrival(id, "t", br#"{"text":"hello"}"#, start());
    // Failures of the transformation between two of the receiver: the second still opens the circuit, the first did not.
    stage.append_all([text("one")]).await;
    receiver.next().await;
    stage.until("chat", "it waits", |progress| progress.retrying == 1).await;
    stage.append_all([amount("two", &json!(1)), amount("three", &json!(1))]).await;
    stage.until("chat", "they wait", |progress| progress.retrying == 3 && progress.in_flight == 0).await;
    assert!(facts.read().circuit.is_none());
    let failed = stage.deliveries("chat", DeliveryState::Retrying).await;
    let failure = failed[1].failure.as_ref().unwrap();
    assert_eq!((&*failure.reason, failure.status), ("transform_failed", None));
    assert_eq!(&*failure.message, "transform, line 1, column 18: no such key `text`; use has(…) to test for it");
    assert!(receiver.rest().is_empty());
    stage.clock.advance(Duration::from_secs(1));
    stage.until("chat", "one is delivered", |progress| progress.delivered == 1).await;
}

#[tokio::test]
async fn large_bodies_are_looked_at_too() {
    let filler = "x".repeat(INLINE_BODY_BYTES);
    let body = json!({ "filler": filler, "amount": 7 }).to_string();
    let change = |billing: &mut Subscription| {
        billing.filter = filter("size(payload.filler) > 1000");
        billing.transform = transform("payload.amount");
    };
    assert_eq!(delivered(change, arrival("evt_1", "t", body.as_bytes(), start())).await.body, "7");
}

fn as_event(format: Format) -> impl FnOnce(&mut Subscription) {
    move |billing| {
        billing.format = format;
        billing.forward_headers = HeaderGlobs::parse(&["*"]).unwrap();
    }
}

#[tokio::test]
async fn any_event_becomes_a_cloud_event() {
    let request = delivered(as_event(Format::CloudEventsStructured), amount("évt", &json!(1.50))).await;
    assert_eq!(request.header("content-type"), "application/cloudevents+json");
    assert_eq!(
        serde_json::from_slice::<Value>(&request.body).unwrap(),
        json!({ "specversion": "1.0", "id": "évt", "source": "/shop/stripe", "type": "order.paid",
            "time": "2026-03-01T12:00:00Z", "datacontenttype": "application/json", "data": { "amount": 1.5 } }),
    );
    let mut binary = amount("évt", &json!(1));
    binary.content_type = Some("image/png".into());
    binary.headers = vec![("ce-type".into(), Bytes::from_static(b"stray"))];
    let request = delivered(as_event(Format::CloudEventsBinary), binary).await;
    for (name, value) in [
        ("ce-specversion", "1.0"),
        ("ce-id", "%C3%A9vt"),
        ("ce-source", "/shop/stripe"),
        ("ce-type", "order.paid"),
        ("ce-time", "2026-03-01T12:00:00Z"),
        ("content-type", "image/png"),
        ("webhook-id", "%C3%A9vt"),
    ] {
        assert_eq!(request.headers.get_all(name).iter().collect::<Vec<_>>(), [value], "{name}");
    }
    assert_eq!(request.body, r#"{"amount":1}"#);
}

#[tokio::test]
async fn a_cloud_event_stays_the_one_it_was() {
    let structured = || {
        let body = r#"{"specversion":"1.0","id":"C-1","source":"https://a.example/","type":"x.y","subject":"s é",
            "tenant":"acme","retries":3,"datacontenttype":"text/xml","data":"<a/>"}"#;
        let mut event = arrival("C-1", "x.y", body.as_bytes(), start());
        event.content_type = Some("application/cloudevents+json".into());
        event
    };
    let attributes = |request: &Received| {
        ["ce-id", "ce-source", "ce-type", "ce-subject", "ce-tenant", "ce-retries", "content-type"]
            .map(|name| request.header(name).to_owned())
    };
    let request = delivered(as_event(Format::CloudEventsBinary), structured()).await;
    assert_eq!(attributes(&request), ["C-1", "https://a.example/", "x.y", "s%20%C3%A9", "acme", "3", "text/xml"]);
    assert_eq!(request.body, "<a/>");
    assert!(!request.headers.contains_key("ce-time"), "it had none");

    // What was sent, received by another endpoint and sent on in the other form.
    let mut again = arrival("C-1", "x.y", &request.body, start());
    again.content_type = Some(request.header("content-type").into());
    again.headers = request
        .headers
        .iter()
        .map(|(name, value)| (name.as_str().into(), Bytes::copy_from_slice(value.as_bytes())))
        .collect();
    let request = delivered(as_event(Format::CloudEventsStructured), again).await;
    assert_eq!(
        serde_json::from_slice::<Value>(&request.body).unwrap(),
        json!({ "specversion": "1.0", "id": "C-1", "source": "https://a.example/", "type": "x.y", "subject": "s é",
            "tenant": "acme", "retries": "3", "datacontenttype": "text/xml", "data": "<a/>" }),
    );
    let request = delivered(as_event(Format::Original), structured()).await;
    assert_eq!(request.header("content-type"), "application/cloudevents+json");
    assert_eq!(request.body, structured().validated.body());
    let request = delivered(as_event(Format::Envelope), structured()).await;
    assert_eq!(serde_json::from_slice::<Value>(&request.body).unwrap()["data"], "<a/>", "the data, not the attributes");
}

#[tokio::test]
async fn expressions_see_a_cloud_event_the_same_way_however_it_came() {
    let wanted = "{'payload': payload, 'tenant': headers['ce-tenant'], 'id': headers['ce-id']}";
    let change = || {
        |billing: &mut Subscription| {
            billing.filter = filter("headers['ce-tenant'] == 'a é' && payload.amount == 1");
            billing.transform = transform(wanted);
            billing.format = Format::CloudEventsStructured;
        }
    };
    let body = r#"{"specversion":"1.0","id":"1","source":"/s","type":"t","tenant":"a é","dataschema":"/x","data":{"amount":1}}"#;
    let mut structured = arrival("1", "t", body.as_bytes(), start());
    structured.content_type = Some("application/cloudevents+json".into());
    let mut binary = arrival("1", "t", br#"{"amount":1}"#, start());
    let header = |name: &str, value: &'static str| (Box::from(name), Bytes::from_static(value.as_bytes()));
    binary.headers = vec![
        header("ce-specversion", "1.0"),
        header("ce-id", "1"),
        header("ce-source", "/s"),
        header("ce-type", "t"),
        header("ce-tenant", "a%20%C3%A9"),
        header("ce-dataschema", "/x"),
    ];
    for event in [structured, binary] {
        let request = delivered(change(), event).await;
        assert_eq!(
            serde_json::from_slice::<Value>(&request.body).unwrap(),
            json!({ "specversion": "1.0", "id": "1", "source": "/s", "type": "t", "tenant": "a é",
                "datacontenttype": "application/json",
                "data": { "payload": { "amount": 1 }, "tenant": "a é", "id": "1" } }),
        );
    }
}

#[tokio::test]
async fn what_is_not_delivered_is_skipped_with_its_reason() {
    let mut stage = Stage::new().await;
    let receiver = Receiver::statuses(&[200]).await;
    let mut billing = subscription("billing", &receiver.url, &stage.metrics);
    billing.event_types = GlobSet::new(vec![Glob::parse("t").unwrap()]);
    billing.filter = filter("event.id != 'evt_2'");
    stage.publish([billing]).await;
    for (id, kind) in [("evt_1", "t"), ("evt_2", "t"), ("evt_3", "other")] {
        stage.append(id, kind).await;
    }
    let settled = async || stage.deliveries("billing", DeliveryState::Settled).await.len() == 3;
    eventually("all settled", settled).await;
    let outcomes: Vec<_> =
        stage.deliveries("billing", DeliveryState::Settled).await.iter().map(|record| record.outcome).collect();
    let skipped = Outcome::Skipped;
    assert_eq!(outcomes, [Outcome::Delivered, skipped(SkipReason::Filter), skipped(SkipReason::Type)]);
    let metrics = stage.metrics.encode();
    for reason in ["filter", "type"] {
        let series = format!(
            r#"webhook_deliveries_skipped_total{{namespace="shop",subscription="billing",reason="{reason}"}} 1"#
        );
        assert!(metrics.contains(&series), "{series} is not in\n{metrics}");
    }
    stage.stop().await;
}
