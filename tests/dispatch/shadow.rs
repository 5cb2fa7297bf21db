//! `mode: Shadow`: everything but the request.

use std::{sync::Arc, time::Duration};

use grapnel::catalog::{Subscription, SubscriptionFacts};
use grapnel_api::{DeliveryMode, Ordering, ShadowCounts};
use grapnel_expression::{ExpectedType, Expression, Scope};
use grapnel_journal::{DeliveryState, Journal, Outcome, RedeliveryStep, Selection, SkipReason};
use grapnel_values::glob::{Glob, GlobSet};

use crate::stage::{Receiver, Stage, event_id, eventually, file, subscription};

const SHADOW: Outcome = Outcome::Skipped(SkipReason::Shadow);

fn expression(source: &str, gives: ExpectedType) -> Option<Arc<Expression>> {
    Some(Arc::new(Expression::compile(source, Scope::Delivery, gives).unwrap()))
}

/// A subscription in a mode, with the facts of its other versions.
fn in_mode(mode: DeliveryMode, receiver: &Receiver, facts: &Arc<SubscriptionFacts>, stage: &Stage) -> Subscription {
    Subscription { mode, facts: Arc::clone(facts), ..subscription("billing", &receiver.url, &stage.metrics) }
}

/// The outcomes of the settled events by id, when all of these are settled.
async fn outcomes(stage: &Stage, settled: &[(&str, Outcome)]) {
    eventually("these outcomes", async || {
        let records = stage.deliveries("billing", DeliveryState::Settled).await;
        let now: Vec<_> = records.iter().map(|record| (event_id(record).to_owned(), record.outcome)).collect();
        let wanted: Vec<_> = settled.iter().map(|(id, outcome)| ((*id).to_owned(), *outcome)).collect();
        if now == wanted { Ok(()) } else { Err(now) }
    })
    .await;
}

#[tokio::test]
async fn a_shadow_filters_transforms_and_counts_and_sends_nothing() {
    let mut stage = Stage::new().await;
    let mut receiver = Receiver::statuses(&[200]).await;
    let facts = Arc::default();
    let mut billing = in_mode(DeliveryMode::Shadow, &receiver, &facts, &stage);
    billing.event_types = GlobSet::new(vec![Glob::parse("t").unwrap()]);
    billing.filter = expression("event.id == 'broken' ? payload.absent : event.id != 'unwanted'", ExpectedType::Bool);
    billing.transform = expression("event.id == 'odd' ? payload.absent : payload", ExpectedType::Json);
    stage.publish([billing]).await;
    for (id, kind) in [("a", "t"), ("unwanted", "t"), ("other", "u"), ("broken", "t"), ("odd", "t")] {
        stage.append(id, kind).await;
    }
    let skipped = |reason| Outcome::Skipped(reason);
    outcomes(
        &stage,
        &[
            ("a", SHADOW),
            ("unwanted", skipped(SkipReason::Filter)),
            ("other", skipped(SkipReason::Type)),
            ("broken", SHADOW),
            ("odd", SHADOW),
        ],
    )
    .await;
    let reading = facts.read();
    assert_eq!(reading.shadow, ShadowCounts { would_send: 1, failed: 2 });
    let failure = reading.last_failure.unwrap();
    assert!(failure.own && failure.next_attempt.is_none(), "{failure:?}");
    assert_eq!(stage.progress("billing").retrying, 0, "a failed expression is not retried");
    let metrics = stage.metrics.encode();
    let of_it = r#"{namespace="shop",subscription="billing","#;
    for series in [
        format!(r#"webhook_deliveries_skipped_total{of_it}reason="shadow"}} 3"#),
        format!(r#"webhook_shadow_deliveries_total{of_it}outcome="would_send"}} 1"#),
        format!(r#"webhook_shadow_deliveries_total{of_it}outcome="filter_failed"}} 1"#),
        format!(r#"webhook_shadow_deliveries_total{of_it}outcome="transform_failed"}} 1"#),
    ] {
        assert!(metrics.contains(&series), "{series} is not in\n{metrics}");
    }
    assert!(!metrics.contains("webhook_delivery_attempts_total"), "no attempt is made:\n{metrics}");
    stage.stop().await;
    assert!(receiver.rest().is_empty());
}

/// What was accepted while the mode was Shadow is not sent, also if it was not processed before the change.
#[tokio::test]
async fn deliveries_begin_with_the_next_event() {
    for ordering in [Ordering::Unordered, Ordering::Ordered] {
        let mut stage = Stage::new().await;
        let mut receiver = Receiver::statuses(&[200]).await;
        let facts = Arc::default();
        let version = |mode, suspended, stage: &Stage| Subscription {
            suspended,
            ordering,
            filter: expression("event.id == 'broken' ? payload.absent : true", ExpectedType::Bool),
            ..in_mode(mode, &receiver, &facts, stage)
        };
        stage.publish([version(DeliveryMode::Shadow, true, &stage)]).await;
        stage.append("broken", "t").await;
        let old: Vec<String> = (0..100).map(|number| format!("old_{number:02}")).collect();
        for id in &old {
            stage.append(id, "t").await;
        }
        let mut expected = vec![("broken", SHADOW)];
        expected.extend(old.iter().map(|id| (id.as_str(), SHADOW)));
        stage.publish([version(DeliveryMode::Deliver, false, &stage)]).await;
        outcomes(&stage, &expected).await;
        stage.append("new", "t").await;
        expected.push(("new", Outcome::Delivered));
        outcomes(&stage, &expected).await;
        // An old one is sent when somebody asks for it.
        let step = RedeliveryStep { from: None, limit: 10, dry_run: false, now: stage.now() };
        let one = Selection::Events(vec!["old_00".into()]);
        stage.journal.redeliver(&file("billing"), &one, step).await.unwrap();
        expected[1].1 = Outcome::Delivered;
        outcomes(&stage, &expected).await;
        stage.stop().await;
        let sent: Vec<_> = receiver.rest().into_iter().map(|request| request.headers["webhook-id"].clone()).collect();
        assert_eq!(sent, ["new", "old_00"]);
    }
}

/// Events that are not delivered yet are settled, also those that wait behind an open circuit.
#[tokio::test]
async fn a_change_to_shadow_settles_what_waits() {
    let mut stage = Stage::new().await;
    let mut receiver = Receiver::statuses(&[500]).await;
    let facts = Arc::default();
    let mut deliver = in_mode(DeliveryMode::Deliver, &receiver, &facts, &stage);
    deliver.breaker.failures = std::num::NonZeroU32::MIN;
    let breaker = deliver.breaker;
    stage.publish([deliver]).await;
    stage.append("a", "t").await;
    receiver.next().await;
    stage.until("billing", "it waits for a retry", |progress| progress.retrying == 1).await;
    stage.append("b", "t").await;
    stage.publish([Subscription { breaker, ..in_mode(DeliveryMode::Shadow, &receiver, &facts, &stage) }]).await;
    stage.until("billing", "the other is settled", |progress| progress.pending + progress.in_flight == 0).await;
    stage.clock.advance(Duration::from_secs(5));
    outcomes(&stage, &[("a", SHADOW), ("b", SHADOW)]).await;
    assert!(facts.read().circuit.is_none(), "nothing is known of the receiver");
    stage.stop().await;
    assert!(receiver.rest().is_empty());
}
