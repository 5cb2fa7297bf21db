//! Compiled circuit breakers and ordering of deliveries.

use std::time::Duration;

use grapnel_api::Ordering;

use super::*;
use crate::catalog::admission::Admission;

/// A subscription with additional fields in its spec.
fn with(more: Value) -> Object {
    let mut object = subscriber("shop", "billing", "orders");
    let spec = object.spec.as_object_mut().unwrap();
    spec.extend(more.as_object().unwrap().clone());
    object
}

fn compiled(more: Value) -> Arc<crate::catalog::Subscription> {
    let mut stage = Stage::new();
    stage.tell([open("shop", "orders").endpoint(), with(more).subscription()]);
    let subscription = stage.published.snapshot.subscription(&key("shop", "billing"));
    Arc::clone(
        subscription.unwrap_or_else(|| panic!("{:?}", stage.ready(ObjectKind::Subscription, &key("shop", "billing")))),
    )
}

fn refused(more: Value) -> String {
    let mut stage = Stage::new();
    stage.tell([open("shop", "orders").endpoint(), with(more).subscription()]);
    let (_, reason, message) = stage.ready(ObjectKind::Subscription, &key("shop", "billing"));
    assert_eq!(reason, Reason::InvalidSpec);
    message
}

#[test]
fn pauses_have_defaults_that_give_way() {
    let pauses = |breaker: Value| {
        let breaker = compiled(json!({ "circuitBreaker": breaker })).breaker;
        (breaker.failures.get(), breaker.cooldown.as_secs(), breaker.max_cooldown.as_secs())
    };
    assert_eq!(compiled(json!({})).breaker, grapnel_delivery::breaker::BreakerPolicy::default());
    assert_eq!(pauses(json!({})), (10, 30, 600));
    assert_eq!(pauses(json!({ "failures": 1, "cooldown": "1m", "maxCooldown": "1m" })), (1, 60, 60));
    assert_eq!(pauses(json!({ "maxCooldown": "10s" })), (10, 10, 10));
    assert_eq!(pauses(json!({ "cooldown": "1h" })), (10, 3600, 3600));
    let shortest = compiled(json!({ "circuitBreaker": { "cooldown": "1ms" } })).breaker;
    assert_eq!(shortest.cooldown, Duration::from_millis(1));
}

#[test]
fn breakers_that_make_no_sense_are_refused_with_what_to_do() {
    for (breaker, parts) in [
        (json!({ "failures": 0 }), vec!["failures", "between 1 and 1000"]),
        (json!({ "failures": 1001 }), vec!["failures", "between 1 and 1000"]),
        (json!({ "cooldown": "0s" }), vec!["cooldown", "greater than zero"]),
        (json!({ "cooldown": "soon" }), vec!["cooldown"]),
        (json!({ "cooldown": "25h" }), vec!["cooldown", "25h", "24h"]),
        (json!({ "maxCooldown": "25h" }), vec!["maxCooldown", "24h"]),
        (json!({ "cooldown": "2m", "maxCooldown": "1m" }), vec!["maxCooldown", "1m", "2m", "raise it"]),
    ] {
        let message = refused(json!({ "circuitBreaker": breaker }));
        for part in parts {
            assert!(message.contains(part), "{breaker}: {part} is not in {message}");
        }
    }
}

#[test]
fn an_order_means_one_at_a_time() {
    let unordered = compiled(json!({}));
    assert_eq!((unordered.ordering, unordered.max_in_flight.get()), (Ordering::Unordered, 16));
    for more in [json!({ "ordering": "Ordered" }), json!({ "ordering": "Ordered", "maxInFlight": 1 })] {
        let ordered = compiled(more);
        assert_eq!((ordered.ordering, ordered.max_in_flight.get()), (Ordering::Ordered, 1));
    }
    assert_eq!(compiled(json!({ "ordering": "Unordered", "maxInFlight": 5 })).max_in_flight.get(), 5);
    let message = refused(json!({ "ordering": "Ordered", "maxInFlight": 2 }));
    assert!(message.contains("maxInFlight") && message.contains("remove maxInFlight"), "{message}");
    // An API server with CEL rejects this earlier.
    let cel = |more: Value| {
        let Change::Subscription(applied) = with(more).subscription() else { unreachable!() };
        let problems = Admission::subscription().rules(&serde_json::to_value(&applied.object).unwrap());
        if problems.is_empty() { Ok(()) } else { Err(format!("{problems:?}")) }
    };
    assert!(cel(json!({ "ordering": "Ordered", "maxInFlight": 2 })).unwrap_err().contains("remove maxInFlight"));
    for fine in [json!({}), json!({ "ordering": "Ordered" }), json!({ "ordering": "Ordered", "maxInFlight": 1 })] {
        cel(fine).unwrap();
    }
}

/// What the API server sets in an object changes nothing of what the compiler makes of it.
#[test]
fn an_object_with_its_defaults_compiles_to_the_same() {
    let completed = |admission: &Admission, object: &Object| {
        let mut completed = json!({ "spec": object.spec });
        admission.complete(&mut completed);
        assert_ne!(completed["spec"], object.spec);
        completed["spec"].clone()
    };
    let said = |subscription: &crate::catalog::Subscription| {
        let it = subscription;
        let target = (it.target.timeout, it.dead_letter_retention, it.max_in_flight, &it.ordering, &it.start_from);
        format!("{:?} {:?} {target:?} {:?} {}", it.retry, it.breaker, it.format, it.suspended)
    };
    let object = with(json!({}));
    let spec = completed(Admission::subscription(), &object);
    assert_eq!(said(&compiled(json!({}))), said(&compiled(spec)));

    let endpoint = |spec: Value| {
        let mut stage = Stage::new();
        stage.tell([Object::new("shop", "orders", spec).endpoint()]);
        let snapshot = &stage.published.snapshot;
        let it = snapshot.endpoint(&key("shop", "orders")).unwrap();
        let times = (it.timeout, it.retention, it.deduplication.as_ref().map(|deduplicate| deduplicate.window));
        format!("{times:?} {} {:?} {} {:?}", it.body_bytes, it.reading, it.suspended, it.reply.status)
    };
    let object = open("shop", "orders");
    let spec = completed(Admission::endpoint(), &object);
    assert_eq!(endpoint(object.spec), endpoint(spec));
}
