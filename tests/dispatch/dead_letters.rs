//! What is given up goes on to another endpoint.

use std::{collections::BTreeSet, time::Duration};

use bytes::Bytes;
use grapnel::{
    catalog::{DeadLetterEndpoint, Subscription},
    dispatch::{
        ClientOptions,
        limits::{DEAD_LETTER_PAUSE, DEAD_LETTER_WINDOW},
    },
};
use grapnel_api::{Incarnation, Ordering};
use grapnel_delivery::egress::EgressPolicy;
use grapnel_event::{dead_letter, identity::Identity, limits::DEAD_LETTER_HOPS, schema::Validated};
use grapnel_journal::{Appended, Arrival, DeliveryState, EventQuery, Journal, StoredEvent};
use url::Url;

use crate::stage::{Receiver, Stage, arrival, endpoint, event_id, eventually, file, subscription};

fn letters() -> Incarnation {
    file("letters")
}

/// Reads the endpoint, and passes on to another what it gives up.
fn passing(name: &str, url: &Url, stage: &Stage, from: &Incarnation, to: &Incarnation) -> Subscription {
    let mut passing = subscription(name, url, &stage.metrics);
    passing.endpoint = from.clone();
    passing.dead_letter_endpoint = Some(DeadLetterEndpoint { endpoint: to.clone(), max_bytes: None });
    passing
}

impl Stage {
    async fn events_of(&self, endpoint: &Incarnation) -> Vec<StoredEvent> {
        let page = self.journal.events(endpoint, EventQuery { limit: 1000, ..EventQuery::default() }).await.unwrap();
        let mut events = Vec::new();
        for entry in page.events {
            let id = &entry.kept().expect("a readable event").id;
            events.push(self.journal.event(endpoint, id).await.unwrap().expect("it is listed"));
        }
        events
    }

    fn passed_on(&self, subscription: &str, outcome: &str) -> bool {
        let series = format!(
            r#"webhook_dead_letters_passed_on_total{{namespace="shop",subscription="{subscription}",outcome="{outcome}"}} "#
        );
        self.metrics.encode().contains(&series)
    }
}

#[tokio::test]
async fn a_dead_letter_is_the_event_as_it_came_with_why_it_was_given_up() {
    let mut stage = Stage::new().await;
    let gone = Receiver::statuses(&[410]).await;
    let mut fallback = Receiver::statuses(&[200]).await;
    let billing = passing("billing", &gone.url, &stage, &endpoint(), &letters());
    let mut rest = subscription("fallback", &fallback.url, &stage.metrics);
    rest.endpoint = letters();
    stage.publish([billing, rest]).await;
    let received = stage.now();
    let body = b"\xff\x00 not even text";
    let mut event = arrival("evt é", "invoice.paid", body, received);
    event.content_type = Some("application/octet-stream".into());
    event.headers = vec![("x-other".into(), Bytes::from_static(b"not for everyone"))];
    stage.clock.advance(Duration::from_secs(5));
    stage.append_all([event]).await;

    let request = fallback.next().await;
    let id = dead_letter::id("shop/billing", "shop/stripe", 1, "evt é");
    assert_eq!(&request.body[..], body);
    for (name, value) in [
        ("webhook-id", &*id),
        ("content-type", "application/octet-stream"),
        ("grapnel-attempt", "1"),
        ("grapnel-dead-letter-id", "evt%20%C3%A9"),
        ("grapnel-dead-letter-received", "2026-03-01T12:00:00Z"),
        ("grapnel-dead-letter-trail", "shop/stripe"),
        ("grapnel-dead-letter-subscription", "shop/billing"),
        ("grapnel-dead-letter-time", "2026-03-01T12:00:05Z"),
        ("grapnel-dead-letter-attempts", "1"),
        ("grapnel-dead-letter-reason", "status"),
        ("grapnel-dead-letter-status", "410"),
        ("grapnel-dead-letter-message", "the target responded with 410 Gone"),
    ] {
        assert_eq!(request.header(name), value, "{name}");
    }
    assert!(request.headers.get("x-other").is_none(), "other headers are passed on only where it is asked for");
    let stored = stage.events_of(&letters()).await.remove(0);
    assert_eq!((&*stored.kind, stored.received), ("invoice.paid", stage.now()));
    assert!(stored.headers.iter().any(|(name, _)| &**name == "x-other"));
    // It is in the dead letter as well, from where it can be delivered again.
    let dead = stage.delivery("billing", DeliveryState::DeadLettered).await;
    assert_eq!((event_id(&dead), dead.attempts), ("evt é", 1));
    assert!(stage.passed_on("billing", "stored"));
    stage.until("fallback", "delivered", |progress| progress.delivered == 1).await;
    stage.stop().await;
}

#[tokio::test]
async fn every_way_of_giving_up_is_passed_on_and_nothing_else_is() {
    let mut stage = Stage::new().await;
    // The first event is delivered at once, the second after two failures, the third never.
    let mut receiver = Receiver::statuses(&[200, 500, 500, 200, 500]).await;
    let mut billing = passing("billing", &receiver.url, &stage, &endpoint(), &letters());
    billing.ordering = Ordering::Ordered;
    billing.max_in_flight = 1.try_into().unwrap();
    billing.retry.initial = Duration::from_millis(1);
    stage.publish([billing]).await;
    for number in 0..3 {
        stage.append(&format!("evt_{number}"), "t").await;
    }
    for _ in 0..7 {
        receiver.next().await;
        eventually("the attempt is settled", async || stage.progress("billing").in_flight == 0).await;
        stage.clock.advance(Duration::from_millis(2));
    }
    stage.until("billing", "ended", |progress| progress.delivered == 2 && progress.dead == 1).await;
    let stored = stage.events_of(&letters()).await;
    assert_eq!(stored.len(), 1);
    assert_eq!(&*stored[0].id, dead_letter::id("shop/billing", "shop/stripe", 3, "evt_2"));
    assert!(!stage.passed_on("billing", "duplicate"));
    stage.stop().await;
}

#[tokio::test]
async fn a_crash_after_it_was_passed_on_passes_it_on_no_second_time() {
    let stage = Stage::new().await;
    let mut gone = Receiver::statuses(&[410]).await;
    stage.attach("billing").await;
    stage.append("evt_1", "t").await;
    // What the log of the other endpoint holds when the process ends before the event is settled.
    let before = Arrival {
        endpoint: letters(),
        validated: Validated::again(
            Identity::new(dead_letter::id("shop/billing", "shop/stripe", 1, "evt_1"), "t"),
            Bytes::from_static(br#"{"a":1}"#),
        ),
        window: Some(DEAD_LETTER_WINDOW),
        ..arrival("evt_1", "t", b"", stage.now())
    };
    assert_eq!(stage.journal.append(vec![before]).await.unwrap(), [Appended::Stored(1)]);
    let mut stage = stage.reopen().await;
    stage.publish([passing("billing", &gone.url, &stage, &endpoint(), &letters())]).await;
    assert_eq!(gone.next().await.header("webhook-id"), "evt_1");
    stage.until("billing", "given up", |progress| progress.dead == 1).await;
    assert_eq!(stage.events_of(&letters()).await.len(), 1);
    assert!(stage.passed_on("billing", "duplicate") && !stage.passed_on("billing", "stored"));
    stage.stop().await;
}

#[tokio::test]
async fn while_there_is_no_room_nothing_is_given_up() {
    let loopback = ClientOptions::new(EgressPolicy::default().allowing_loopback());
    let mut stage = Stage::with_options(loopback, 88 * 1024).await;
    let mut gone = Receiver::statuses(&[410]).await;
    let mut well = Receiver::statuses(&[200]).await;
    stage.attach("billing").await;
    // Nearly all of the room is taken by an event that another subscription has not settled.
    stage.journal.attach(&file("holder"), &letters(), grapnel_journal::Start::Now).await.unwrap();
    let mut large = arrival("large", "t", &vec![b'x'; 40 * 1024], stage.now());
    large.endpoint = letters();
    stage.append_all([large, arrival("evt_1", "t", &vec![b'x'; 20 * 1024], stage.now())]).await;
    let billing = passing("billing", &gone.url, &stage, &endpoint(), &letters());
    let facts = billing.facts.clone();
    stage
        .publish_snapshot(
            grapnel::catalog::Snapshot::new([], [std::sync::Arc::new(billing)]).with_uncompiled([file("holder")]),
        )
        .await;
    for attempt in 1..=2 {
        assert_eq!(gone.next().await.header("grapnel-attempt"), attempt.to_string());
        let retrying = stage.delivery("billing", DeliveryState::Retrying).await;
        assert_eq!(retrying.due, Some(stage.now() + DEAD_LETTER_PAUSE));
        let failure = retrying.failure.unwrap();
        assert_eq!(failure.status, Some(410));
        for part in ["not dead-lettered yet", "endpoint letters", "the journal is full", "410 Gone"] {
            assert!(failure.message.contains(part), "{part} is not in {}", failure.message);
        }
        assert!(facts.read().last_failure.unwrap().next_attempt.is_some());
        assert_eq!((stage.progress("billing").dead, stage.events_of(&letters()).await.len()), (0, 1));
        stage.until("billing", "settled", |progress| progress.in_flight == 0).await;
        stage.clock.advance(DEAD_LETTER_PAUSE);
    }
    assert!(stage.passed_on("billing", "not_stored"));
    // Somebody makes room: what the other one held is delivered.
    let mut holder = subscription("holder", &well.url, &stage.metrics);
    holder.endpoint = letters();
    stage.publish([passing("billing", &gone.url, &stage, &endpoint(), &letters()), holder]).await;
    well.next().await;
    stage.until("holder", "delivered", |progress| progress.delivered == 1).await;
    stage.clock.advance(DEAD_LETTER_PAUSE);
    stage
        .until("billing", "given up", |progress| {
            // An attempt may have come before the room was made.
            if progress.retrying == 1 && progress.in_flight == 0 {
                stage.clock.advance(DEAD_LETTER_PAUSE);
            }
            progress.dead == 1
        })
        .await;
    assert_eq!(well.next().await.header("grapnel-dead-letter-id"), "evt_1");
    stage.stop().await;
}

#[tokio::test]
async fn circles_end_and_lose_nothing() {
    let mut stage = Stage::new().await;
    let mut gone = Receiver::statuses(&[410]).await;
    // One to two, two to three, three to one.
    let names = ["one", "two", "three"];
    let at = |number: usize| file(names[number % 3]);
    let mut circle: Vec<_> =
        (0..3).map(|number| passing(names[number], &gone.url, &stage, &at(number), &at(number + 1))).collect();
    // And one that hands back to where it came from.
    circle.push(passing("back", &gone.url, &stage, &at(1), &at(0)));
    stage.publish(circle).await;
    let mut event = arrival("evt_1", "t", b"{}", stage.now());
    event.endpoint = at(0);
    stage.append_all([event]).await;
    for name in ["one", "two", "three", "back"] {
        stage.until(name, "given up", |progress| progress.dead == 1).await;
    }
    assert!(stage.passed_on("three", "circle") && stage.passed_on("back", "circle"));
    for (number, name) in names.iter().enumerate() {
        assert_eq!(stage.events_of(&at(number)).await.len(), 1, "{name}");
    }
    let last = stage.events_of(&at(2)).await.remove(0);
    let header = |name: &str| {
        let value = last.headers.iter().find(|(found, _)| &**found == name).map(|(_, value)| value.clone());
        String::from_utf8(value.unwrap().to_vec()).unwrap()
    };
    assert_eq!(header(dead_letter::TRAIL), "shop/one, shop/two");
    assert_eq!((header(dead_letter::ID), header(dead_letter::SUBSCRIPTION)), ("evt_1".into(), "shop/two".into()));
    let names: Vec<_> = last.headers.iter().map(|(name, _)| name).collect();
    assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len(), "said once: {names:?}");
    assert_eq!(gone.rest().len(), 4);
    stage.stop().await;
}

#[tokio::test]
async fn a_long_way_ends_too() {
    let mut stage = Stage::new().await;
    let gone = Receiver::statuses(&[410]).await;
    let at = |number: usize| file(&format!("station-{number}"));
    let stations = DEAD_LETTER_HOPS + 3;
    let way: Vec<_> = (0..stations)
        .map(|number| passing(&format!("from-{number}"), &gone.url, &stage, &at(number), &at(number + 1)))
        .collect();
    stage.publish(way).await;
    let mut event = arrival("evt_1", "t", b"{}", stage.now());
    event.endpoint = at(0);
    stage.append_all([event]).await;
    let last = format!("from-{}", DEAD_LETTER_HOPS);
    stage.until(&last, "given up", |progress| progress.dead == 1).await;
    assert!(stage.passed_on(&last, "too_far"));
    assert_eq!(stage.events_of(&at(DEAD_LETTER_HOPS)).await.len(), 1);
    assert!(stage.events_of(&at(DEAD_LETTER_HOPS + 1)).await.is_empty());
    stage.stop().await;
}

#[tokio::test]
async fn one_endpoint_takes_the_dead_letters_of_many_and_tells_them_apart() {
    let mut stage = Stage::new().await;
    let gone = Receiver::statuses(&[410]).await;
    let names = ["a", "b", "c"];
    stage.publish(names.map(|name| passing(name, &gone.url, &stage, &endpoint(), &letters()))).await;
    let count = 50;
    let events = (0..count).map(|number| arrival(&format!("evt_{number}"), "t", b"{}", stage.now()));
    stage.append_all(events).await;
    for name in names {
        stage.until(name, "given up", |progress| progress.dead == count).await;
    }
    let stored = stage.events_of(&letters()).await;
    assert_eq!(stored.len(), 150);
    assert_eq!(stored.iter().map(|event| &event.id).collect::<BTreeSet<_>>().len(), 150);
    stage.stop().await;
}
