//! Objects that are deleted and created again under the same name.

use std::time::Duration;

use grapnel::catalog::{Subscription, observed::AbandonedDeliveries};
use grapnel_api::Incarnation;
use grapnel_journal::Journal;

use crate::stage::{Log, Receiver, Stage, arrival, endpoint, eventually, file, key, subscription};

/// The subscription `billing` of a uid.
fn of_uid(uid: &str, receiver: &Receiver, stage: &Stage) -> Subscription {
    Subscription { uid: uid.into(), ..subscription("billing", &receiver.url, &stage.metrics) }
}

fn billing(uid: &str) -> Incarnation {
    Incarnation::new(key("billing"), uid)
}

#[tokio::test]
async fn a_subscription_that_was_created_again_begins_anew_and_may_read_another_endpoint() {
    let mut stage = Stage::new().await;
    let mut receiver = Receiver::statuses(&[500, 200]).await;
    stage.publish([of_uid("1", &receiver, &stage)]).await;
    for id in ["evt_1", "evt_0"] {
        stage.append(id, "t").await;
        receiver.next().await;
    }
    let left = async || {
        let progress = stage.journal.progress(&billing("1")).unwrap();
        (progress.retrying, progress.delivered, progress.in_flight) == (1, 1, 0)
    };
    eventually("one delivered and one retrying", left).await;
    // Nothing was published in between.
    let again = Subscription { endpoint: file("github"), ..of_uid("2", &receiver, &stage) };
    let facts = again.facts.clone();
    stage.publish([again]).await;
    assert_eq!(facts.read().unattached, None);
    assert!(stage.journal.progress(&billing("1")).is_none());
    let mut elsewhere = arrival("evt_2", "t", b"{}", stage.now());
    elsewhere.endpoint = file("github");
    stage.append_all([elsewhere]).await;
    assert_eq!(receiver.next().await.header("webhook-id"), "evt_2");
    eventually("delivered", async || stage.journal.progress(&billing("2")).unwrap().delivered == 1).await;
    let progress = stage.journal.progress(&billing("2")).unwrap();
    assert_eq!((progress.retrying, progress.pending), (0, 0));
    // What the first one had not settled is reported.
    let abandoned = AbandonedDeliveries { subscription: billing("1"), events: 1, dead_letters: 0 };
    assert_eq!(stage.abandoned.try_recv(), Ok(abandoned));
    let series = r#"webhook_deliveries_abandoned_total{namespace="shop",subscription="billing"} 1"#;
    assert!(stage.metrics.encode().contains(series));
    stage.stop().await;
}

#[tokio::test]
async fn a_subscription_that_was_created_again_while_no_process_ran_is_a_new_consumer() {
    let mut stage = Stage::new().await;
    let mut receiver = Receiver::statuses(&[200]).await;
    let mut parked = of_uid("1", &receiver, &stage);
    parked.suspended = true;
    stage.publish([parked]).await;
    stage.append_all((0..3).map(|number| arrival(&format!("old_{number}"), "t", b"{}", stage.now()))).await;
    let mut stage = stage.reopen().await;
    stage.publish([of_uid("2", &receiver, &stage)]).await;
    stage.append("new", "t").await;
    assert_eq!(receiver.next().await.header("webhook-id"), "new");
    let consumers = stage.journal.consumers().await.unwrap();
    assert_eq!(consumers.iter().map(|it| it.consumer.clone()).collect::<Vec<_>>(), [billing("2")]);
    let abandoned = AbandonedDeliveries { subscription: billing("1"), events: 3, dead_letters: 0 };
    assert_eq!(stage.abandoned.try_recv(), Ok(abandoned));
    stage.stop().await;
}

#[tokio::test]
async fn a_deleted_subscription_reports_what_it_left_behind() {
    let mut stage = Stage::new().await;
    let mut receiver = Receiver::statuses(&[500, 200]).await;
    stage.publish([of_uid("1", &receiver, &stage)]).await;
    stage.append("evt_1", "t").await;
    receiver.next().await;
    let waits = async || stage.journal.progress(&billing("1")).unwrap().retrying == 1;
    eventually("it waits for its retry", waits).await;
    stage.publish([]).await;
    let abandoned = AbandonedDeliveries { subscription: billing("1"), events: 1, dead_letters: 0 };
    assert_eq!(stage.abandoned.try_recv(), Ok(abandoned));
    // Nothing is left of one that had delivered everything.
    stage.publish([of_uid("2", &receiver, &stage)]).await;
    stage.append("evt_2", "t").await;
    receiver.next().await;
    eventually("delivered", async || stage.journal.progress(&billing("2")).unwrap().delivered == 1).await;
    stage.publish([]).await;
    assert!(stage.abandoned.try_recv().is_err());
    stage.stop().await;
}

#[tokio::test]
async fn an_endpoint_that_was_created_again_is_read_from_its_first_event_and_the_earlier_ones_are_delivered() {
    let mut stage = Stage::new().await;
    let mut receiver = Receiver::statuses(&[500, 200]).await;
    let at = |uid: &str| Incarnation::new(endpoint().key, uid);
    let reading = |uid: &str, stage: &Stage| Subscription { endpoint: at(uid), ..of_uid("s", &receiver, stage) };
    let event = |id: &str, uid: &str, stage: &Stage| {
        let mut event = arrival(id, "t", b"{}", stage.now());
        event.endpoint = at(uid);
        event
    };
    stage.publish([reading("1", &stage)]).await;
    stage.append_all([event("evt_1", "1", &stage)]).await;
    eventually("it waits", async || stage.journal.progress(&billing("s")).unwrap().retrying == 1).await;
    stage.publish([reading("2", &stage)]).await;
    // The id is not known to the new endpoint.
    stage.append_all([event("evt_1", "2", &stage), event("evt_2", "2", &stage)]).await;
    stage.clock.advance(Duration::from_secs(1));
    eventually("all delivered", async || stage.journal.progress(&billing("s")).unwrap().delivered == 3).await;
    let mut ids = receiver.rest();
    ids.sort_by_key(|request| request.header("webhook-id").to_owned());
    let ids: Vec<_> = ids.iter().map(|request| request.header("webhook-id")).collect();
    assert_eq!(ids, ["evt_1", "evt_1", "evt_1", "evt_2"]);
    stage.stop().await;
}

#[tokio::test]
async fn a_claim_after_a_deletion_is_no_failure_of_the_journal() {
    let log = Log::start();
    let mut stage = Stage::new().await;
    let mut receiver = Receiver::statuses(&[200]).await;
    stage.publish([of_uid("1", &receiver, &stage)]).await;
    stage.append("evt_1", "t").await;
    receiver.next().await;
    eventually("delivered", async || stage.journal.progress(&billing("1")).unwrap().delivered == 1).await;
    // The consumer goes first; the worker learns of it afterwards.
    stage.journal.detach(&billing("1")).await.unwrap();
    eventually("it claims", async || !log.lines("unknown_consumer").is_empty()).await;
    assert!(log.lines("unknown_consumer").iter().all(|line| line.contains("DEBUG")), "{:?}", log.lines("journal"));
    stage.publish([]).await;
    stage.stop().await;
}

#[tokio::test]
async fn the_dead_letters_of_a_deleted_subscription_are_counted() {
    let log = Log::start();
    let mut stage = Stage::new().await;
    let mut receiver = Receiver::statuses(&[410, 500, 410, 200]).await;
    stage.publish([of_uid("1", &receiver, &stage)]).await;
    stage.append("evt_1", "t").await;
    receiver.next().await;
    eventually("dead", async || stage.journal.progress(&billing("1")).unwrap().dead == 1).await;
    stage.append("evt_2", "t").await;
    receiver.next().await;
    eventually("it waits for its retry", async || stage.journal.progress(&billing("1")).unwrap().retrying == 1).await;
    stage.publish([]).await;
    let abandoned = AbandonedDeliveries { subscription: billing("1"), events: 1, dead_letters: 1 };
    assert_eq!(stage.abandoned.try_recv(), Ok(abandoned));
    let lines = log.lines("the subscription was deleted");
    assert!(matches!(&lines[..], [line] if line.contains("WARN") && line.contains("abandoned=1 dead_letters=1")));
    // Dead letters alone are told, and abandon nothing.
    stage.publish([of_uid("2", &receiver, &stage)]).await;
    stage.append("evt_3", "t").await;
    eventually("dead", async || stage.journal.progress(&billing("2")).unwrap().dead == 1).await;
    stage.publish([]).await;
    assert!(stage.abandoned.try_recv().is_err());
    let lines = log.lines("the subscription was deleted");
    assert!(matches!(&lines[..], [_, line] if line.contains("INFO") && line.contains("dead_letters=1")), "{lines:?}");
    let series = r#"webhook_deliveries_abandoned_total{namespace="shop",subscription="billing"} 1"#;
    assert!(stage.metrics.encode().contains(series));
    stage.stop().await;
}
