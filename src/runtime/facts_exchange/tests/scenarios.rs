//! Single situations.

use std::time::Duration;

use grapnel_api::ShadowCounts;
use grapnel_delivery::breaker::OpenCircuit;

use super::board::{Faults, Replica, World};
use crate::{
    catalog::observed::{Failed, LastDelivery, LastResult},
    runtime::limits::{FACTS_DEAD, FACTS_ROW_BYTES, FACTS_STALE},
};

/// Ticks all in turn, three times.
async fn settle(world: &World, replicas: &mut [&mut Replica]) {
    for _ in 0..3 {
        for replica in &mut *replicas {
            replica.tick(world).await;
        }
    }
}

/// Lets the others notice that a replica is gone.
async fn bury(world: &World, replicas: &mut [&mut Replica]) {
    settle(world, replicas).await;
    world.time.pass(FACTS_DEAD);
    settle(world, replicas).await;
}

fn authors(world: &World) -> Vec<String> {
    let mut authors: Vec<String> = world.rows.lock().rows.keys().map(|(author, _)| author.clone()).collect();
    authors.dedup();
    authors
}

#[tokio::test]
async fn every_replica_shows_the_sum_and_the_latest_of_all() {
    let world = World::new(&[100, 0]);
    let (mut a, mut b) = (world.start("a"), world.start("b"));
    a.receive(0, 2, &world);
    world.time.pass(Duration::from_secs(1));
    b.receive(0, 3, &world);
    b.reject(0, "no signature", &world);
    assert_eq!((a.shown(), b.shown()), (vec![100, 0], vec![100, 0]), "nothing is known yet");
    settle(&world, &mut [&mut a, &mut b]).await;
    assert_eq!((a.shown(), b.shown()), (vec![105, 0], vec![105, 0]));
    let (of_a, of_b) = (a.endpoints[0].read(), b.endpoints[0].read());
    assert_eq!(of_a, of_b);
    assert_eq!(of_a.last_received, of_b.last_rejection.as_ref().map(|rejection| rejection.time));
    assert_eq!(of_a.last_rejection.map(|rejection| rejection.message).as_deref(), Some("no signature"));
    b.receive(1, 1, &world);
    assert_eq!(b.shown(), [105, 1], "its own counts are shown at once");
}

#[tokio::test]
async fn counts_survive_the_end_of_all_replicas() {
    let mut world = World::new(&[100]);
    let (mut a, mut b) = (world.start("a"), world.start("b"));
    settle(&world, &mut [&mut a, &mut b]).await;
    a.receive(0, 2, &world);
    b.receive(0, 3, &world);
    settle(&world, &mut [&mut a, &mut b]).await;
    world.write_statuses(&a);
    world.leave(&a);
    world.leave(&b);
    drop((a, b));
    let mut c = world.start("c");
    c.receive(0, 1, &world);
    settle(&world, &mut [&mut c]).await;
    assert_eq!(c.shown(), [106]);
    bury(&world, &mut [&mut c]).await;
    assert_eq!(c.shown(), [106]);
    assert_eq!(authors(&world), ["_total", "c"], "rows of dead replicas are removed");
}

#[tokio::test]
async fn a_paused_replica_that_was_added_to_the_total_counts_on() {
    let world = World::new(&[0]);
    let (mut a, mut b) = (world.start("a"), world.start("b"));
    b.receive(0, 5, &world);
    settle(&world, &mut [&mut a, &mut b]).await;
    world.leave(&b);
    bury(&world, &mut [&mut a]).await;
    b.receive(0, 2, &world);
    assert_eq!((a.shown(), b.shown()), (vec![5], vec![7]));
    settle(&world, &mut [&mut b, &mut a]).await;
    assert_eq!((a.shown(), b.shown()), (vec![7], vec![7]));
    // It was away for so long that nothing tells what became of its rows.
    bury(&world, &mut [&mut a]).await;
    world.time.pass(3 * FACTS_STALE);
    settle(&world, &mut [&mut a]).await;
    b.receive(0, 1, &world);
    settle(&world, &mut [&mut b, &mut a]).await;
    settle(&world, &mut [&mut b, &mut a]).await;
    assert_eq!((a.shown(), b.shown()), (vec![8], vec![8]));
}

#[tokio::test]
async fn a_replica_that_goes_on_when_its_row_is_sealed_counts_on() {
    let world = World::new(&[0]);
    let (mut a, mut b) = (world.start("a"), world.start("b"));
    b.receive(0, 5, &world);
    settle(&world, &mut [&mut a, &mut b]).await;
    world.leave(&b);
    a.tick(&world).await;
    world.time.pass(FACTS_DEAD);
    // It seals the row of the other one, and ends.
    a.tick(&world).await;
    world.leave(&a);
    world.rows.lock().live.push("b".into());
    b.receive(0, 2, &world);
    settle(&world, &mut [&mut b]).await;
    let mut c = world.start("c");
    settle(&world, &mut [&mut b, &mut c]).await;
    assert_eq!((b.shown(), c.shown()), (vec![7], vec![7]));
}

/// A tick that loses its connection after some calls.
async fn interrupt(world: &World, replica: &mut Replica, calls: usize, is_stored: bool) {
    *replica.faults.lock() = Faults { calls: Some(calls), is_stored };
    replica.tick(world).await;
    *replica.faults.lock() = Faults::default();
}

#[tokio::test]
async fn what_was_never_in_a_row_ends_with_its_replica() {
    let world = World::new(&[10]);
    let (mut c, mut a) = (world.start("c"), world.start("a"));
    c.receive(0, 1, &world);
    // It writes no row: there is no total yet, and that is up to the other one.
    c.tick(&world).await;
    assert_eq!(authors(&world), Vec::<String>::new());
    world.leave(&c);
    a.receive(0, 1, &world);
    drop(c);
    bury(&world, &mut [&mut a]).await;
    assert_eq!(a.shown(), [11]);
}

#[tokio::test]
async fn a_failed_write_beside_a_sealed_row_takes_nothing_back() {
    let world = World::new(&[0]);
    let (mut a, mut b) = (world.start("a"), world.start("b"));
    b.receive(0, 5, &world);
    settle(&world, &mut [&mut a, &mut b]).await;
    world.leave(&b);
    a.tick(&world).await;
    world.time.pass(FACTS_DEAD);
    // It seals the row of the other one.
    a.tick(&world).await;
    b.receive(0, 1, &world);
    world.rows.lock().live.push("b".into());
    b.tick(&world).await;
    // The read and the question who is alive succeed, the write does not.
    interrupt(&world, &mut b, 2, false).await;
    for _ in 0..2 {
        world.time.pass(FACTS_STALE);
        settle(&world, &mut [&mut b, &mut a]).await;
    }
    assert_eq!((a.shown(), b.shown()), (vec![6], vec![6]));
}

#[tokio::test]
async fn of_two_failed_writes_the_second_may_be_the_row() {
    let world = World::new(&[0]);
    let (mut a, mut b) = (world.start("a"), world.start("b"));
    settle(&world, &mut [&mut a, &mut b]).await;
    b.receive(0, 1, &world);
    interrupt(&world, &mut b, 2, false).await;
    b.receive(0, 1, &world);
    interrupt(&world, &mut b, 2, true).await;
    world.leave(&b);
    bury(&world, &mut [&mut a]).await;
    assert_eq!(a.shown(), [2]);
    world.rows.lock().live.push("b".into());
    settle(&world, &mut [&mut b, &mut a]).await;
    assert_eq!((a.shown(), b.shown()), (vec![2], vec![2]));
}

#[tokio::test]
async fn a_process_of_the_same_name_goes_on_with_the_row() {
    let mut world = World::new(&[10]);
    let (mut a, mut b) = (world.start("a"), world.start("b"));
    b.receive(0, 5, &world);
    settle(&world, &mut [&mut a, &mut b]).await;
    world.write_statuses(&a);
    drop(b);
    let mut b = world.start("b");
    b.receive(0, 1, &world);
    settle(&world, &mut [&mut b, &mut a]).await;
    assert_eq!((a.shown(), b.shown()), (vec![16], vec![16]));
}

#[tokio::test]
async fn an_object_that_is_read_anew_keeps_its_counts() {
    let mut world = World::new(&[10]);
    let mut a = world.start("a");
    settle(&world, &mut [&mut a]).await;
    a.receive(0, 5, &world);
    settle(&world, &mut [&mut a]).await;
    world.write_statuses(&a);
    world.see(&mut a);
    a.receive(0, 1, &world);
    settle(&world, &mut [&mut a]).await;
    assert_eq!(a.shown(), [16]);
}

#[tokio::test]
async fn a_recreated_object_begins_at_zero() {
    let mut world = World::new(&[10]);
    let (mut a, mut b) = (world.start("a"), world.start("b"));
    a.receive(0, 5, &world);
    settle(&world, &mut [&mut a, &mut b]).await;
    world.recreate("another");
    world.see(&mut a);
    world.see(&mut b);
    b.receive(0, 1, &world);
    settle(&world, &mut [&mut a, &mut b]).await;
    assert_eq!((a.shown(), b.shown()), (vec![1], vec![1]));
    // The counts of the earlier object are forgotten after a while.
    for _ in 0..30 {
        world.time.pass(FACTS_DEAD);
        settle(&world, &mut [&mut a, &mut b]).await;
    }
    assert_eq!((a.shown(), b.shown()), (vec![1], vec![1]));
    let stored = world.rows.lock().rows.values().map(|(_, value)| value.clone()).collect::<Vec<_>>();
    assert!(stored.iter().all(|value| !value.windows(11).any(|part| part == b"\"uid\":\"uid\"")), "{stored:?}");
}

#[tokio::test]
async fn many_objects_take_few_rows() {
    let world = World::new(&[7; 3000]);
    let mut a = world.start("a");
    for _ in 0..5 {
        a.tick(&world).await;
    }
    (0..3000).for_each(|endpoint| a.receive(endpoint, 1, &world));
    a.tick(&world).await;
    assert!(a.shown().iter().all(|shown| *shown == 8));
    assert_eq!(world.rows.lock().rows.len(), 2 * 256);
}

fn failed(world: &World) -> Failed {
    Failed {
        time: world.time.now_wall(),
        event_id: "evt-1".into(),
        reason: "timeout".into(),
        status: None,
        message: "the receiver did not respond".into(),
        next_attempt: None,
        gone: false,
        own: false,
    }
}

#[tokio::test]
async fn a_subscription_is_shown_as_by_the_replica_that_delivers_it() {
    let world = World::new(&[0]);
    let (mut a, mut b) = (world.start("a"), world.start("b"));
    a.deliver(true);
    settle(&world, &mut [&mut a, &mut b]).await;
    world.time.pass(Duration::from_secs(1));
    let opened = OpenCircuit { since: world.time.now_wall(), failures: 5, next_probe: world.time.now_wall() };
    a.subscription.failed(failed(&world));
    a.subscription.circuit(Some(opened));
    // Without waiting for the interval.
    for replica in [&mut a, &mut b] {
        replica.exchange.tick(world.time.now()).await.unwrap();
    }
    assert_eq!(b.subscription.read(), a.subscription.read());
    assert_eq!(b.subscription.standing(), a.subscription.standing());
    assert_eq!(b.subscription.read().circuit, Some(opened));

    // It moves: the circuit of the new replica is closed, whatever the old one says.
    world.time.pass(Duration::from_secs(1));
    b.deliver(true);
    world.leave(&a);
    settle(&world, &mut [&mut b]).await;
    assert_eq!((b.subscription.read().circuit, b.subscription.read().outcome), (None, LastResult::Failing));
    a.deliver(false);
    b.subscription.delivered(LastDelivery {
        time: world.time.now_wall(),
        event_id: "evt-2".into(),
        status: 200,
        duration_ms: 3,
    });
    settle(&world, &mut [&mut b, &mut a]).await;
    assert_eq!(a.subscription.read(), b.subscription.read());
    assert_eq!(a.subscription.standing().outcome, LastResult::Succeeding);
}

#[tokio::test]
async fn what_mode_shadow_has_counted_goes_with_the_subscription() {
    let world = World::new(&[0]);
    let (mut a, mut b) = (world.start("a"), world.start("b"));
    a.deliver(true);
    a.subscription.shadowed();
    a.subscription.shadowed();
    a.subscription.shadow_failed(failed(&world));
    settle(&world, &mut [&mut a, &mut b]).await;
    assert_eq!(b.subscription.read().shadow, ShadowCounts { would_send: 2, failed: 1 });
    a.deliver(false);
    b.deliver(true);
    b.subscription.shadowed();
    settle(&world, &mut [&mut a, &mut b]).await;
    for replica in [&a, &b] {
        assert_eq!(replica.subscription.read().shadow, ShadowCounts { would_send: 3, failed: 1 });
    }
}

#[tokio::test]
async fn facts_of_subscriptions_that_are_too_large_do_not_keep_counts_from_the_others() {
    let world = World::new(&[0]);
    let (mut a, mut b) = (world.start("a"), world.start("b"));
    settle(&world, &mut [&mut a, &mut b]).await;
    a.deliver(true);
    a.subscription.failed(Failed { event_id: "x".repeat(FACTS_ROW_BYTES).into(), ..failed(&world) });
    a.receive(0, 2, &world);
    a.exchange.written = None;
    let result = a.exchange.tick(world.time.now()).await;
    assert!(result.is_err_and(|error| error.to_string().contains("bytes")), "it is told");
    b.tick(&world).await;
    assert_eq!(b.shown(), [2]);
}
