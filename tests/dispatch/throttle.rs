//! Bounds on how much is sent at once and how fast.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{body::Body, response::Response};
use grapnel::{
    catalog::{Subscription, SubscriptionFacts},
    dispatch::limits::HELD_BYTES,
};
use grapnel_delivery::rate_limit::{LimitScope, RateLimiter};
use grapnel_journal::{Claim, Exchange, Journal, Settlement, limits::CLAIM_BYTES};
use grapnel_values::clock::Clock;
use tokio::sync::Semaphore;

use crate::stage::{Receiver, Stage, arrival, eventually, file, status, subscription};

#[tokio::test]
async fn no_more_than_allowed_are_in_flight() {
    let mut stage = Stage::new().await;
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let receiver = Receiver::new({
        let (now, most) = (now.clone(), most.clone());
        move |_| {
            let (now, most) = (now.clone(), most.clone());
            async move {
                most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                tokio::time::sleep(Duration::from_millis(2)).await;
                now.fetch_sub(1, Ordering::SeqCst);
                status(200)
            }
        }
    })
    .await;
    let mut billing = subscription("billing", &receiver.url, &stage.metrics);
    billing.max_in_flight = 3.try_into().unwrap();
    stage.publish([billing]).await;
    for number in 0..60 {
        stage.append(&format!("evt_{number}"), "t").await;
    }
    stage.until("billing", "delivered", |progress| progress.delivered == 60).await;
    assert_eq!(most.load(Ordering::SeqCst), 3, "all permits are used, and no more");
    stage.stop().await;
}

#[tokio::test]
async fn one_at_a_time_keeps_the_order() {
    let mut stage = Stage::new().await;
    let mut receiver = Receiver::statuses(&[200]).await;
    let mut billing = subscription("billing", &receiver.url, &stage.metrics);
    billing.max_in_flight = 1.try_into().unwrap();
    stage.publish([billing]).await;
    for number in 0..50 {
        stage.append(&format!("evt_{number}"), "t").await;
    }
    for number in 0..50 {
        assert_eq!(receiver.next().await.header("webhook-id"), format!("evt_{number}"));
    }
    stage.until("billing", "delivered", |progress| progress.delivered == 50).await;
    stage.stop().await;
}

#[tokio::test]
async fn a_rate_holds_back_and_delays_nobody_else() {
    let mut stage = Stage::new().await;
    let mut slow = Receiver::statuses(&[200]).await;
    let mut fast = Receiver::statuses(&[200]).await;
    let hour = Duration::from_secs(3600);
    let limited = |url| {
        let mut limited = subscription("limited", url, &stage.metrics);
        limited.rate_limit = Some(Arc::new(RateLimiter::new(1, hour, Some(2), LimitScope::Endpoint).unwrap()));
        limited
    };
    let free = |url| subscription("free", url, &stage.metrics);
    let both = [limited(&slow.url), free(&fast.url)];
    let mut suspended = limited(&slow.url);
    suspended.suspended = true;
    let lifted = [subscription("limited", &slow.url, &stage.metrics), free(&fast.url)];
    let suspended = [suspended, free(&fast.url)];
    stage.publish(both).await;
    for number in 0..5 {
        stage.append(&format!("evt_{number}"), "t").await;
    }
    stage.until("limited", "the burst is delivered", |progress| progress.delivered == 2).await;
    stage.until("free", "delivered", |progress| progress.delivered == 5).await;
    assert_eq!((slow.rest().len(), fast.rest().len()), (2, 5));
    // What waits for a permit is given back on suspension.
    stage.publish(suspended).await;
    stage.until("limited", "given back", |progress| progress.pending == 3 && progress.in_flight == 0).await;
    stage.publish(lifted).await;
    stage.until("limited", "delivered", |progress| progress.delivered == 5).await;
    assert_eq!(slow.rest().len(), 3);
    stage.stop().await;
}

#[tokio::test]
async fn a_rate_lets_through_as_time_passes() {
    let mut stage = Stage::new().await;
    let receiver = Receiver::statuses(&[200]).await;
    let mut limited = subscription("limited", &receiver.url, &stage.metrics);
    let rate = RateLimiter::new(100, Duration::from_secs(1), Some(1), LimitScope::Endpoint).unwrap();
    limited.rate_limit = Some(Arc::new(rate));
    stage.publish([limited]).await;
    let begun = std::time::Instant::now();
    for number in 0..21 {
        stage.append(&format!("evt_{number}"), "t").await;
    }
    stage.until("limited", "delivered", |progress| progress.delivered == 21).await;
    // A lower bound holds however slow the machine is.
    assert!(begun.elapsed() >= Duration::from_millis(200), "twenty permits take a fifth of a second");
    stage.stop().await;
}

#[tokio::test]
async fn retry_after_of_one_event_holds_back_all_others_for_as_long_as_allowed() {
    let mut stage = Stage::new().await;
    // The first event is rejected for longer than the policy allows.
    let mut limited = Receiver::new(|number| async move {
        let (status, header) = if number == 0 { (429, "3600") } else { (200, "0") };
        Response::builder().status(status).header("retry-after", header).body(Body::empty()).unwrap()
    })
    .await;
    let mut free = Receiver::statuses(&[200]).await;
    let mut billing = subscription("limited", &limited.url, &stage.metrics);
    billing.retry.max_delay = Duration::from_secs(60);
    let facts = Arc::clone(&billing.facts);
    stage.publish([billing, subscription("free", &free.url, &stage.metrics)]).await;
    stage.append("evt_0", "t").await;
    limited.next().await;
    stage.until("limited", "rejected", |progress| progress.retrying == 1 && progress.in_flight == 0).await;
    for number in 1..20 {
        stage.append(&format!("evt_{number}"), "t").await;
    }
    stage.until("free", "delivered", |progress| progress.delivered == 20).await;
    stage.clock.advance(Duration::from_secs(59));
    stage.worker_has_looked().await;
    let progress = stage.progress("limited");
    assert_eq!((progress.pending, progress.in_flight, progress.retrying), (19, 0, 1), "nothing is even claimed");
    let left = facts.read().pause.unwrap().duration_since(stage.clock.now());
    assert_eq!(left.as_secs(), 1, "the pause is reported with its end");
    let paused = r#"webhook_delivery_paused{namespace="shop",subscription="limited"} "#;
    assert!(stage.metrics.encode().contains(&format!("{paused}1\n")));
    assert_eq!((limited.rest().len(), free.rest().len()), (0, 20));
    stage.clock.advance(Duration::from_secs(1));
    stage.until("limited", "delivered", |progress| progress.delivered == 20).await;
    assert_eq!(limited.rest().len(), 20);
    assert_eq!(facts.read().pause, None);
    assert!(stage.metrics.encode().contains(&format!("{paused}0\n")));
    stage.stop().await;
}

#[tokio::test]
async fn resuming_and_a_new_target_end_the_pause_of_retry_after() {
    let mut stage = Stage::new().await;
    let mut busy = Receiver::new(|number| async move {
        let status = if number == 1 { 200 } else { 503 };
        Response::builder().status(status).header("retry-after", "50").body(Body::empty()).unwrap()
    })
    .await;
    let elsewhere = Receiver::statuses(&[200]).await;
    let billing = |url| subscription("billing", url, &stage.metrics);
    let (busy_one, other) = (billing(&busy.url), billing(&elsewhere.url));
    let facts = Arc::clone(&busy_one.facts);
    stage.publish([busy_one]).await;
    stage.append("evt_1", "t").await;
    busy.next().await;
    stage.until("billing", "rejected", |progress| progress.retrying == 1 && progress.in_flight == 0).await;
    stage.append("evt_2", "t").await;
    stage.worker_has_looked().await;
    assert!(busy.rest().is_empty());
    assert!(facts.read().pause.is_some());
    facts.request_probe();
    assert_eq!(busy.next().await.header("webhook-id"), "evt_2");
    stage.until("billing", "delivered", |progress| progress.delivered == 1).await;
    assert_eq!(facts.read().pause, None);

    stage.append("evt_3", "t").await;
    busy.next().await;
    stage.until("billing", "rejected", |progress| progress.retrying == 2 && progress.in_flight == 0).await;
    stage.append("evt_4", "t").await;
    stage.worker_has_looked().await;
    assert!(busy.rest().is_empty());
    stage.publish([other]).await;
    stage.until("billing", "delivered", |progress| progress.delivered == 2).await;
    stage.stop().await;
}

#[tokio::test]
async fn a_reported_pause_ends_though_the_subscription_is_suspended_or_delivered_elsewhere() {
    let mut stage = Stage::new().await;
    let mut busy = Receiver::new(|_| async move {
        Response::builder().status(503).header("retry-after", "50").body(Body::empty()).unwrap()
    })
    .await;
    let billing = || subscription("billing", &busy.url, &stage.metrics);
    let (first, suspended, again) = (billing(), billing(), billing());
    let facts = Arc::clone(&first.facts);
    let shared = |one: Subscription, suspended| Subscription { facts: Arc::clone(&facts), suspended, ..one };
    let (suspended, again) = (shared(suspended, true), shared(again, false));
    let paused = |facts: &SubscriptionFacts| facts.read().pause.is_some();
    stage.publish([first]).await;
    stage.append("evt_1", "t").await;
    busy.next().await;
    eventually("the pause is reported", async || paused(&facts)).await;
    stage.publish([suspended]).await;
    stage.worker_has_looked().await;
    assert!(paused(&facts), "the receiver has asked for it");
    stage.clock.advance(Duration::from_secs(50));
    eventually("the pause has ended", async || !paused(&facts)).await;

    stage.publish([again]).await;
    busy.next().await;
    eventually("the pause is reported", async || paused(&facts)).await;
    stage.publish([]).await;
    eventually("nothing is paused here", async || !paused(&facts)).await;
    stage.stop().await;
}

/// So many events of 1 MiB.
async fn append_large(stage: &Stage, count: usize) {
    let body = vec![b'x'; 1 << 20];
    for number in 0..count {
        stage.append_all([arrival(&format!("large_{number}"), "t", &body, stage.now())]).await;
    }
}

#[tokio::test]
async fn a_claim_of_large_events_is_cut_off_and_leaves_the_rest_for_the_next() {
    let stage = Stage::new().await;
    stage.attach("all").await;
    stage.attach("ordered").await;
    append_large(&stage, 12).await;
    for name in ["all", "ordered"] {
        let (consumer, mut sequences) = (file(name), Vec::new());
        while sequences.len() < 12 {
            let claim = Claim { in_order: name == "ordered", ..Claim::new(100, stage.now()) };
            let claimed = stage.journal.claim(&consumer, claim).await.unwrap();
            let bytes: usize = claimed.deliveries.iter().map(|delivery| delivery.event.body.len()).sum();
            assert!((1..=CLAIM_BYTES).contains(&bytes), "{bytes}");
            let claimed: Vec<_> = claimed.deliveries.iter().map(|delivery| delivery.event.sequence).collect();
            assert_eq!(stage.journal.progress(&consumer).unwrap().in_flight, claimed.len() as u64);
            let exchange = Exchange { time: stage.now(), status: Some(200), took: Duration::ZERO };
            let settlements = claimed.iter().map(|sequence| (*sequence, Settlement::Delivered(exchange))).collect();
            stage.journal.settle(&consumer, settlements).await.unwrap();
            sequences.extend(claimed);
        }
        assert_eq!(sequences, (1..=12).collect::<Vec<_>>(), "{name}: each once, and in order");
    }
    // One that is larger than that is claimed all the same, alone.
    let body = vec![b'x'; CLAIM_BYTES + 1];
    stage.append_all(["a", "b"].map(|id| arrival(id, "t", &body, stage.now()))).await;
    for _ in 0..2 {
        let claimed = stage.journal.claim(&file("all"), Claim::new(100, stage.now())).await.unwrap();
        assert_eq!(claimed.deliveries.len(), 1);
    }
    stage.stop().await;
}

#[tokio::test]
async fn a_receiver_that_hangs_holds_only_so_many_bytes_in_memory() {
    let mut stage = Stage::new().await;
    let gate = Arc::new(Semaphore::new(0));
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let mut hanging = Receiver::new({
        let (gate, now, most) = (gate.clone(), now.clone(), most.clone());
        move |_| {
            let (gate, now, most) = (gate.clone(), now.clone(), most.clone());
            async move {
                most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                gate.acquire().await.unwrap().forget();
                now.fetch_sub(1, Ordering::SeqCst);
                status(200)
            }
        }
    })
    .await;
    let mut well = Receiver::statuses(&[200]).await;
    let mut wide = subscription("wide", &hanging.url, &stage.metrics);
    wide.max_in_flight = 256.try_into().unwrap();
    stage.publish([wide, subscription("well", &well.url, &stage.metrics)]).await;
    append_large(&stage, 48).await;
    stage.until("well", "all delivered", |progress| progress.delivered == 48).await;
    let held = HELD_BYTES >> 20;
    for _ in 0..held {
        hanging.next().await;
    }
    let bound = held + (CLAIM_BYTES >> 20);
    // As permits come, so do further ones, and never more at once.
    for delivered in 1..=48 {
        gate.add_permits(1);
        stage.until("wide", "one more", |progress| progress.delivered == delivered).await;
    }
    assert!(most.load(Ordering::SeqCst) <= bound, "{most:?}");
    assert_eq!(well.rest().len(), 48);
    stage.stop().await;
}
