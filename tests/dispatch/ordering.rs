//! One after another, strictly by sequence.

use std::{num::NonZeroU32, sync::Arc, time::Duration};

use grapnel::catalog::{Snapshot, Subscription};
use grapnel_api::Ordering;
use grapnel_journal::{DeliveryState, Progress};
use grapnel_values::glob::{Glob, GlobSet};

use crate::stage::{Received, Receiver, Stage, arrival, event_id, eventually, status, subscription};

fn ordered(receiver: &Receiver, stage: &Stage) -> Subscription {
    let mut ordered = subscription("ordered", &receiver.url, &stage.metrics);
    ordered.ordering = Ordering::Ordered;
    ordered.max_in_flight = 1.try_into().unwrap();
    // The clock stands still; a worker that waits for milliseconds looks at it often.
    ordered.retry.initial = Duration::from_millis(1);
    ordered
}

fn id(request: &Received) -> &str {
    request.header("webhook-id")
}

async fn append(stage: &Stage, numbers: std::ops::Range<usize>) {
    stage.append_all(numbers.map(|number| arrival(&format!("evt_{number}"), "t", b"{}", stage.now()))).await;
}

impl Stage {
    /// Goes from one due retry to the next until everything has been delivered or given up.
    async fn run_down(&self, mut ended: impl FnMut(Progress) -> bool) {
        eventually("everything has ended", async || {
            let progress = self.progress("ordered");
            if progress.retrying > 0 && progress.in_flight == 0 {
                self.clock.advance(Duration::from_millis(1));
            }
            ended(progress)
        })
        .await;
    }
}

#[tokio::test]
async fn an_event_that_fails_holds_up_those_behind_it() {
    let mut stage = Stage::new().await;
    let mut receiver = Receiver::statuses(&[200, 500, 500, 200]).await;
    stage.publish([ordered(&receiver, &stage)]).await;
    append(&stage, 0..10).await;
    assert_eq!([id(&receiver.next().await), id(&receiver.next().await)], ["evt_0", "evt_1"]);
    stage.until("ordered", "waiting for the retry", |progress| progress.retrying == 1 && progress.in_flight == 0).await;
    // However much comes.
    append(&stage, 10..20).await;
    stage.worker_has_looked().await;
    assert!(receiver.rest().is_empty());
    assert_eq!(stage.progress("ordered").pending, 18);
    stage.clock.advance(Duration::from_millis(1));
    assert_eq!(id(&receiver.next().await), "evt_1");
    stage.until("ordered", "waiting for the retry", |progress| progress.retrying == 1 && progress.in_flight == 0).await;
    stage.clock.advance(Duration::from_millis(2));
    for number in 1..20 {
        assert_eq!(id(&receiver.next().await), format!("evt_{number}"));
    }
    stage.until("ordered", "delivered", |progress| progress.delivered == 20).await;
    assert!(receiver.rest().is_empty());
    stage.stop().await;
}

#[tokio::test]
async fn one_that_is_given_up_lets_the_next_one_pass() {
    let mut stage = Stage::new().await;
    let mut receiver = Receiver::statuses(&[500, 500, 500, 410, 200]).await;
    stage.publish([ordered(&receiver, &stage)]).await;
    append(&stage, 0..4).await;
    stage.run_down(|progress| progress.delivered == 2 && progress.dead == 2).await;
    let requests = receiver.rest();
    let ids: Vec<_> = requests.iter().map(id).collect();
    assert_eq!(ids, ["evt_0", "evt_0", "evt_0", "evt_1", "evt_2", "evt_3"]);
    let dead = stage.deliveries("ordered", DeliveryState::DeadLettered).await;
    assert_eq!(
        dead.iter().map(|letter| (event_id(letter), letter.attempts)).collect::<Vec<_>>(),
        [("evt_0", 3), ("evt_1", 1)]
    );
    stage.stop().await;
}

#[tokio::test]
async fn the_order_holds_under_failures_restarts_and_the_breaker() {
    let mut stage = Stage::new().await;
    // Two of three attempts fail, and now and then many in a row do.
    let mut receiver =
        Receiver::new(async |number| status(if number % 3 == 2 && number % 40 < 30 { 200 } else { 503 })).await;
    let lenient = |stage: &Stage| {
        let mut lenient = ordered(&receiver, stage);
        lenient.retry.max_attempts = 100;
        lenient.retry.max_delay = Duration::from_millis(3);
        lenient.breaker.failures = NonZeroU32::new(4).unwrap();
        lenient.breaker.cooldown = Duration::from_millis(5);
        lenient.breaker.max_cooldown = Duration::from_millis(20);
        lenient
    };
    let subscription = lenient(&stage);
    let facts = subscription.facts.clone();
    stage.publish([subscription]).await;
    append(&stage, 0..60).await;
    let mut opened = false;
    for restart in 1..=3u64 {
        stage
            .run_down(|progress| {
                opened |= facts.read().circuit.is_some();
                progress.delivered >= restart * 15
            })
            .await;
        stage = stage.reopen().await;
        let mut subscription = lenient(&stage);
        subscription.facts = facts.clone();
        stage.publish([subscription]).await;
    }
    stage.run_down(|progress| progress.delivered == 60).await;
    assert!(opened);
    let requests = receiver.rest();
    let numbers: Vec<usize> = requests.iter().map(|it| id(it).strip_prefix("evt_").unwrap().parse().unwrap()).collect();
    assert!(numbers.is_sorted(), "{numbers:?}");
    assert!(numbers.len() > 120 && numbers.last() == Some(&59));
    stage.stop().await;
}

#[tokio::test]
async fn types_that_are_not_delivered_hold_up_nothing() {
    let mut stage = Stage::new().await;
    let mut receiver = Receiver::statuses(&[200]).await;
    let mut some = ordered(&receiver, &stage);
    some.event_types = GlobSet::new(vec![Glob::parse("wanted").unwrap()]);
    stage.publish([some]).await;
    let kind = |number: usize| if number.is_multiple_of(100) { "wanted" } else { "other" };
    stage.append_all((0..1000).map(|it| arrival(&format!("evt_{it}"), kind(it), b"{}", stage.now()))).await;
    for number in 0..10 {
        assert_eq!(id(&receiver.next().await), format!("evt_{}", number * 100));
    }
    stage.until("ordered", "done", |progress| progress.delivered == 10 && progress.pending == 0).await;
    stage.stop().await;
}

#[tokio::test]
async fn ordering_can_be_turned_on_later() {
    let mut stage = Stage::new().await;
    let mut receiver = Receiver::statuses(&[500, 500, 500, 500, 500, 200]).await;
    // Five have failed, in whatever order, and their retries are due in whatever order.
    let mut before = subscription("ordered", &receiver.url, &stage.metrics);
    before.max_in_flight = 5.try_into().unwrap();
    before.retry.initial = Duration::from_millis(1);
    let before = Arc::new(before);
    let unordered = Arc::downgrade(&before);
    stage.publish_snapshot(Snapshot::new([], [before])).await;
    append(&stage, 0..5).await;
    stage.until("ordered", "failed", |progress| progress.retrying == 5).await;
    assert_eq!(receiver.rest().len(), 5);
    stage.publish([ordered(&receiver, &stage)]).await;
    // Only then does the worker hold on to the order.
    eventually("the worker lets go of what it was", async || unordered.strong_count() == 0).await;
    append(&stage, 5..10).await;
    stage.clock.advance(Duration::from_millis(1));
    for number in 0..10 {
        assert_eq!(id(&receiver.next().await), format!("evt_{number}"));
    }
    stage.until("ordered", "delivered", |progress| progress.delivered == 10).await;
    stage.stop().await;
}

#[tokio::test]
async fn parking_and_going_on_keeps_the_order_and_skips_nothing() {
    let mut stage = Stage::new().await;
    let mut receiver = Receiver::new(async |number| status(if number % 3 == 1 { 503 } else { 200 })).await;
    let url = receiver.url.clone();
    let version = |suspended: bool, stage: &Stage| {
        let mut version = subscription("ordered", &url, &stage.metrics);
        version.ordering = Ordering::Ordered;
        version.max_in_flight = 1.try_into().unwrap();
        version.retry.initial = Duration::from_millis(1);
        version.retry.max_attempts = 100;
        version.suspended = suspended;
        version
    };
    stage.publish([version(false, &stage)]).await;
    append(&stage, 0..60).await;
    for parked in 1..=5u64 {
        stage.run_down(|progress| progress.delivered >= parked * 10).await;
        stage.publish([version(true, &stage)]).await;
        let rests = stage.until("ordered", "at rest", |progress| progress.in_flight == 0).await;
        assert!(rests.delivered < 60);
        if parked == 3 {
            stage = stage.reopen().await;
        }
        stage.publish([version(false, &stage)]).await;
    }
    stage.run_down(|progress| progress.delivered == 60).await;
    let requests = receiver.rest();
    let numbers: Vec<usize> = requests.iter().map(|it| id(it).strip_prefix("evt_").unwrap().parse().unwrap()).collect();
    assert!(numbers.windows(2).all(|pair| pair[1] == pair[0] || pair[1] == pair[0] + 1), "{numbers:?}");
    assert_eq!((numbers.first(), numbers.last()), (Some(&0), Some(&59)));
    stage.stop().await;
}
