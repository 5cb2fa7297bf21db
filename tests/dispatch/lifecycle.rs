//! Subscriptions that come, change, rest and go; processes that stop and start.

use std::{sync::Arc, time::Duration};

use axum::response::Response;
use grapnel::{
    catalog::{Snapshot, Subscription, observed::Unattached},
    dispatch::Consumers,
};
use grapnel_api::StartFrom;
use grapnel_journal::{Claim, DeliveryState, Journal, JournalError, Retention};
use grapnel_values::clock::Clock;
use tokio::sync::Semaphore;

use crate::stage::{Receiver, Stage, arrival, endpoint, event_id, eventually, file, key, start, status, subscription};

/// A receiver whose answers wait for permits.
async fn gated() -> (Receiver, Arc<Semaphore>) {
    let gate = Arc::new(Semaphore::new(0));
    let receiver = Receiver::new({
        let gate = gate.clone();
        move |_| {
            let gate = gate.clone();
            async move {
                gate.acquire().await.unwrap().forget();
                status(200)
            }
        }
    });
    (receiver.await, gate)
}

#[tokio::test]
async fn due_retries_survive_a_restart() {
    let mut stage = Stage::new().await;
    let mut receiver = Receiver::statuses(&[500, 200]).await;
    stage.publish([subscription("billing", &receiver.url, &stage.metrics)]).await;
    stage.append("evt_1", "t").await;
    receiver.next().await;
    let due = stage.delivery("billing", DeliveryState::Retrying).await.due;
    let mut stage = stage.reopen().await;
    assert_eq!(stage.delivery("billing", DeliveryState::Retrying).await.due, due);
    stage.publish([subscription("billing", &receiver.url, &stage.metrics)]).await;
    assert!(receiver.rest().is_empty());
    stage.clock.advance(Duration::from_secs(1));
    let request = receiver.next().await;
    assert_eq!((request.header("webhook-id"), request.header("grapnel-attempt")), ("evt_1", "2"));
    stage.until("billing", "delivered", |progress| progress.delivered == 1).await;
    stage.stop().await;
}

#[tokio::test]
async fn a_suspended_subscription_sends_nothing_and_loses_nothing() {
    let mut stage = Stage::new().await;
    let (mut receiver, gate) = gated().await;
    let mut billing = subscription("billing", &receiver.url, &stage.metrics);
    billing.max_in_flight = 1.try_into().unwrap();
    stage.publish([billing]).await;
    for number in 0..5 {
        stage.append(&format!("evt_{number}"), "t").await;
    }
    assert_eq!(receiver.next().await.header("webhook-id"), "evt_0");
    let mut billing = subscription("billing", &receiver.url, &stage.metrics);
    billing.suspended = true;
    stage.publish([billing]).await;
    // What was claimed ahead is given back while what is under way goes on.
    stage.until("billing", "given back", |progress| progress.pending == 4 && progress.in_flight == 1).await;
    gate.add_permits(100);
    stage.until("billing", "ended", |progress| progress.delivered == 1 && progress.in_flight == 0).await;
    stage.append("evt_5", "t").await;
    assert_eq!(stage.progress("billing").pending, 5);
    assert!(receiver.rest().is_empty());
    stage.publish([subscription("billing", &receiver.url, &stage.metrics)]).await;
    stage.until("billing", "delivered", |progress| progress.delivered == 6).await;
    let mut ids: Vec<_> = receiver.rest().iter().map(|request| request.header("webhook-id").to_owned()).collect();
    ids.sort();
    assert_eq!(ids, ["evt_1", "evt_2", "evt_3", "evt_4", "evt_5"], "each once");
    stage.stop().await;
}

#[tokio::test]
async fn a_change_does_not_disturb_attempts_in_flight() {
    let mut stage = Stage::new().await;
    let (mut before, gate) = gated().await;
    let mut after = Receiver::statuses(&[200]).await;
    stage.publish([subscription("billing", &before.url, &stage.metrics)]).await;
    stage.append("evt_1", "t").await;
    before.next().await;
    stage.publish([subscription("billing", &after.url, &stage.metrics)]).await;
    // What is claimed before the worker has heard of the change still goes where it went.
    let (mut sent, mut arrived) = (1, vec!["evt_1".to_owned()]);
    while arrived.len() == 1 {
        sent += 1;
        assert!(sent < 16, "the change never comes");
        stage.append(&format!("evt_{sent}"), "t").await;
        if let Ok(request) = tokio::time::timeout(Duration::from_millis(200), after.next()).await {
            arrived.push(request.header("webhook-id").to_owned());
        }
    }
    gate.add_permits(sent);
    stage.until("billing", "all delivered", |progress| progress.delivered == sent as u64).await;
    let rest = before.rest().into_iter().chain(after.rest());
    arrived.extend(rest.map(|request| request.header("webhook-id").to_owned()));
    arrived.sort();
    let mut expected: Vec<_> = (1..=sent).map(|number| format!("evt_{number}")).collect();
    expected.sort();
    assert_eq!(arrived, expected, "each was sent once");
    stage.stop().await;
}

#[tokio::test]
async fn stopping_waits_for_what_ends_and_gives_back_the_rest() {
    let mut stage = Stage::new().await;
    let mut receiver = Receiver::new(async |number| match number {
        0 => {
            tokio::time::sleep(Duration::from_millis(300)).await;
            status(200)
        }
        _ => std::future::pending::<Response>().await,
    })
    .await;
    let mut billing = subscription("billing", &receiver.url, &stage.metrics);
    billing.max_in_flight = 2.try_into().unwrap();
    billing.target.timeout = Duration::from_secs(60);
    stage.publish([billing]).await;
    for id in ["evt_1", "evt_2"] {
        stage.append(id, "t").await;
        receiver.next().await;
    }
    stage.append("evt_3", "t").await;
    let (journal, _directory, clock) = stage.stop().await;
    let progress = journal.progress(&file("billing")).unwrap();
    assert_eq!((progress.delivered, progress.pending, progress.in_flight), (1, 2, 0));
    let claimed = journal.claim(&file("billing"), Claim::new(10, clock.now())).await.unwrap();
    let left: Vec<_> = claimed.deliveries.iter().map(|delivery| (&*delivery.event.id, delivery.attempt)).collect();
    assert_eq!(left, [("evt_2", 1), ("evt_3", 1)], "given back unattempted");
}

#[tokio::test]
async fn a_new_endpoints_first_event_is_not_missed() {
    let mut stage = Stage::new().await;
    let mut receiver = Receiver::statuses(&[200]).await;
    // The order in which the runtime does it: align, then let events in.
    let snapshot = Snapshot::new([], [Arc::new(subscription("billing", &receiver.url, &stage.metrics))]);
    stage.publish_snapshot(snapshot).await;
    stage.append("evt_1", "t").await;
    assert_eq!(receiver.next().await.header("webhook-id"), "evt_1");
    // One that comes later begins now, or with everything that is kept.
    let late = subscription("late", &receiver.url, &stage.metrics);
    let mut history = subscription("history", &receiver.url, &stage.metrics);
    history.start_from = StartFrom::Earliest;
    stage.publish([subscription("billing", &receiver.url, &stage.metrics), late, history]).await;
    stage.append("evt_2", "t").await;
    stage.until("history", "both delivered", |progress| progress.delivered == 2).await;
    stage.until("late", "one delivered", |progress| progress.delivered == 1).await;
    stage.stop().await;
}

#[tokio::test]
async fn a_deleted_subscription_ends_and_its_consumer_goes() {
    let mut stage = Stage::new().await;
    let (mut receiver, gate) = gated().await;
    let mut other = Receiver::statuses(&[200]).await;
    let first = Subscription { uid: "1".into(), ..subscription("billing", &receiver.url, &stage.metrics) };
    let again = Subscription { uid: "2".into(), ..subscription("billing", &other.url, &stage.metrics) };
    let (gone, consumer) = (first.incarnation(), again.incarnation());
    stage.publish([first]).await;
    stage.append("evt_1", "t").await;
    receiver.next().await;
    stage.publish([]).await;
    assert!(stage.journal.progress(&gone).is_none());
    gate.add_permits(1);
    // Created again, it begins anew, when its old worker has ended.
    stage.publish([again]).await;
    stage.append("evt_2", "t").await;
    assert_eq!(other.next().await.header("webhook-id"), "evt_2");
    eventually("delivered", async || stage.journal.progress(&consumer).unwrap().delivered == 1).await;
    stage.stop().await;
}

#[tokio::test]
async fn consumers_go_only_when_it_is_known_that_their_subscription_is_gone() {
    let mut stage = Stage::new().await;
    let receiver = Receiver::statuses(&[200]).await;
    // From an earlier run; what became of them meanwhile is not known yet.
    stage.attach("deleted").await;
    stage.attach("broken").await;
    let billing = || Arc::new(subscription("billing", &receiver.url, &stage.metrics));
    let consumers = async || {
        let mut names: Vec<_> =
            stage.journal.consumers().await.unwrap().into_iter().map(|it| it.consumer.key.name.to_string()).collect();
        names.sort();
        names
    };
    let mut alignment = Consumers::new(stage.journal.clone(), stage.metrics.clone());
    alignment.align(&Snapshot::new([], [billing()]).incomplete()).await.unwrap();
    assert_eq!(consumers().await, ["billing", "broken", "deleted"]);
    alignment.align(&Snapshot::new([], [billing()]).with_uncompiled([file("broken")])).await.unwrap();
    assert_eq!(consumers().await, ["billing", "broken"]);
    alignment.align(&Snapshot::new([], [])).await.unwrap();
    assert!(consumers().await.is_empty());
    alignment.align(&Snapshot::new([], [billing()])).await.unwrap();
    assert_eq!(consumers().await, ["billing"]);
    stage.publish([]).await;
    stage.stop().await;
}

#[tokio::test]
async fn another_endpoint_is_refused_and_nothing_is_sent() {
    let mut stage = Stage::new().await;
    let mut receiver = Receiver::statuses(&[200]).await;
    stage.attach("billing").await;
    stage.append("evt_1", "t").await;
    let mut moved = subscription("billing", &receiver.url, &stage.metrics);
    moved.endpoint = file("github");
    let facts = moved.facts.clone();
    stage.publish([moved]).await;
    let sentence = JournalError::EndpointChanged { consumer: key("billing"), endpoint: endpoint().key }.to_string();
    assert_eq!(facts.read().unattached, Some(Unattached::Refused(sentence)));
    // The other endpoint's first event finds nobody who reads it, and those that wait stay where they are.
    let mut elsewhere = arrival("evt_2", "t", b"{}", stage.now());
    elsewhere.endpoint = file("github");
    stage.append_all([elsewhere]).await;
    assert_eq!(stage.progress("billing").pending, 1);
    let mut mended = subscription("billing", &receiver.url, &stage.metrics);
    mended.facts = facts.clone();
    stage.publish([mended]).await;
    assert_eq!(facts.read().unattached, None);
    assert_eq!(receiver.next().await.header("webhook-id"), "evt_1");
    stage.until("billing", "delivered", |progress| progress.delivered == 1).await;
    assert!(receiver.rest().is_empty());
    stage.stop().await;
}

#[tokio::test]
async fn ten_thousand_events_leave_nothing_behind() {
    let mut stage = Stage::new().await;
    let receiver = Receiver::statuses(&[200]).await;
    stage.publish([subscription("billing", &receiver.url, &stage.metrics)]).await;
    for batch in 0..100 {
        let events = (0..100).map(|number| arrival(&format!("evt_{batch}_{number}"), "t", b"{}", stage.now()));
        stage.append_all(events).await;
    }
    eventually("everything delivered", async || stage.progress("billing").delivered == 10_000).await;
    let progress = stage.progress("billing");
    assert_eq!((progress.pending, progress.in_flight, progress.retrying, progress.dead), (0, 0, 0, 0));
    stage.stop().await;
}

#[tokio::test]
async fn a_retry_that_a_clock_ahead_has_scheduled_is_not_stranded() {
    let mut stage = Stage::new().await;
    let mut receiver = Receiver::statuses(&[500, 200]).await;
    stage.publish([subscription("billing", &receiver.url, &stage.metrics)]).await;
    let ahead = Duration::from_secs(365 * 24 * 3600);
    stage.clock.advance(ahead);
    stage.append("evt_1", "t").await;
    receiver.next().await;
    stage.delivery("billing", DeliveryState::Retrying).await;
    stage.until("billing", "settled", |progress| progress.in_flight == 0).await;
    stage.clock.set(start());
    stage.until("billing", "delivered", |progress| progress.delivered == 1).await;
    stage.stop().await;
}

/// Sweeps as if everything settled were old.
async fn sweep(stage: &Stage) -> u64 {
    let retention =
        Retention { endpoints: vec![(endpoint(), Duration::ZERO)], consumers: vec![(key("billing"), Duration::ZERO)] };
    stage.journal.sweep(retention, stage.now() + Duration::from_secs(1)).await.unwrap().events
}

#[tokio::test]
async fn a_subscription_that_is_parked_from_the_beginning_has_what_came_since_then() {
    let mut stage = Stage::new().await;
    let mut receiver = Receiver::statuses(&[200]).await;
    stage.append("before", "t").await;
    let url = receiver.url.clone();
    let parked = |stage: &Stage| {
        let mut parked = subscription("billing", &url, &stage.metrics);
        parked.suspended = true;
        parked
    };
    stage.publish([parked(&stage)]).await;
    stage.append_all((0..50).map(|number| arrival(&format!("evt_{number}"), "t", b"{}", stage.now()))).await;
    // Neither a restart nor retention takes anything from it.
    let mut stage = stage.reopen().await;
    stage.publish([parked(&stage)]).await;
    assert_eq!(sweep(&stage).await, 1, "the one before it");
    assert_eq!(stage.progress("billing").pending, 50);
    stage.publish([subscription("billing", &receiver.url, &stage.metrics)]).await;
    stage.until("billing", "delivered", |progress| progress.delivered == 50).await;
    assert!(receiver.rest().iter().all(|request| request.header("webhook-id").starts_with("evt_")));
    stage.stop().await;
}

#[tokio::test]
async fn retries_that_fall_due_while_it_is_parked_wait_and_burn_no_attempt() {
    let mut stage = Stage::new().await;
    let mut receiver = Receiver::statuses(&[500, 200]).await;
    stage.publish([subscription("billing", &receiver.url, &stage.metrics)]).await;
    stage.append("evt_1", "t").await;
    receiver.next().await;
    stage.delivery("billing", DeliveryState::Retrying).await;
    let mut parked = subscription("billing", &receiver.url, &stage.metrics);
    parked.suspended = true;
    stage.publish([parked]).await;
    stage.clock.advance(Duration::from_secs(100 * 24 * 3600));
    assert_eq!(sweep(&stage).await, 0);
    // An event for another one goes its way, so the process is not simply at rest.
    let mut well = Receiver::statuses(&[200]).await;
    let mut parked = subscription("billing", &receiver.url, &stage.metrics);
    parked.suspended = true;
    stage.publish([parked, subscription("other", &well.url, &stage.metrics)]).await;
    stage.append("evt_2", "t").await;
    well.next().await;
    assert!(receiver.rest().is_empty());
    let retrying = stage.delivery("billing", DeliveryState::Retrying).await;
    assert_eq!((event_id(&retrying), retrying.attempts), ("evt_1", 1));
    stage.publish([subscription("billing", &receiver.url, &stage.metrics)]).await;
    let mut attempts: Vec<_> = [receiver.next().await, receiver.next().await]
        .iter()
        .map(|request| format!("{} {}", request.header("webhook-id"), request.header("grapnel-attempt")))
        .collect();
    attempts.sort();
    assert_eq!(attempts, ["evt_1 2", "evt_2 1"]);
    stage.until("billing", "delivered", |progress| progress.delivered == 2).await;
    stage.stop().await;
}

#[tokio::test]
async fn where_a_subscription_begins_is_decided_once() {
    let mut stage = Stage::new().await;
    let mut receiver = Receiver::statuses(&[200]).await;
    for id in ["old", "kept"] {
        stage.append(id, "t").await;
    }
    let url = receiver.url.clone();
    let beginning = |name: &str, start: StartFrom, stage: &Stage| {
        let mut subscription = subscription(name, &url, &stage.metrics);
        subscription.start_from = start;
        subscription
    };
    stage.publish([beginning("now", StartFrom::Now, &stage)]).await;
    stage.append("evt_1", "t").await;
    assert_eq!(receiver.next().await.header("webhook-id"), "evt_1");
    stage.until("now", "delivered", |progress| progress.delivered == 1).await;
    // Asked for later, in this process or the next one, the beginning is not replayed.
    stage.publish([beginning("now", StartFrom::Earliest, &stage)]).await;
    stage.append("evt_2", "t").await;
    assert_eq!(receiver.next().await.header("webhook-id"), "evt_2");
    let mut stage = stage.reopen().await;
    stage.publish([beginning("now", StartFrom::Earliest, &stage)]).await;
    stage.append("evt_3", "t").await;
    assert_eq!(receiver.next().await.header("webhook-id"), "evt_3");
    stage.until("now", "delivered", |progress| progress.delivered == 3).await;
    assert!(receiver.rest().is_empty());
    // One that is new begins with the oldest that is still kept, and does not start anew after a restart.
    stage.publish([beginning("now", StartFrom::Now, &stage), beginning("all", StartFrom::Earliest, &stage)]).await;
    stage.until("all", "delivered", |progress| progress.delivered == 5).await;
    let mut stage = stage.reopen().await;
    receiver.rest();
    stage.publish([beginning("all", StartFrom::Earliest, &stage)]).await;
    stage.append("evt_4", "t").await;
    assert_eq!(receiver.next().await.header("webhook-id"), "evt_4");
    assert!(receiver.rest().is_empty());
    stage.until("all", "delivered", |progress| progress.delivered == 6).await;
    assert_eq!(sweep(&stage).await, 6, "nothing pins what has been delivered to all");
    stage.append("evt_5", "t").await;
    stage
        .publish([beginning("all", StartFrom::Earliest, &stage), beginning("late", StartFrom::Earliest, &stage)])
        .await;
    stage.until("late", "delivered", |progress| progress.delivered == 1).await;
    stage.stop().await;
}
