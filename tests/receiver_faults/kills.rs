//! Killed (SIGKILL) in the middle, again and again.

use std::{
    collections::{BTreeMap, BTreeSet},
    hash::{BuildHasher, RandomState},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use futures_util::FutureExt;
use serde_json::Value;

use crate::{home::Home, program::Grapnel, recorder::Recorder, size};

/// Any number below `bound`.
fn any(bound: usize) -> usize {
    usize::try_from(RandomState::new().hash_one(()) % bound as u64).unwrap()
}

/// The endpoint of orders, whose events name themselves.
const ORDERS: &str = "apiVersion: grapnel.dev/v1beta1
kind: WebhookEndpoint
metadata: {name: orders}
spec:
  verification: {none: {}}
  event: {id: {pointer: /id}}
";

/// Most deliveries that a subscription has claimed and not settled: under way, and claimed ahead.
const HELD: usize = 16 + 32;

/// Waits until every delivery of a subscription is settled, and returns its status.
async fn settled(grapnel: &Grapnel, name: &str) -> Value {
    let idle = async || {
        let status = grapnel.status("WebhookSubscription", name).await;
        let count = |field: &str| status[field].as_u64().unwrap_or_default();
        if count("pending") + count("inFlight") + count("retrying") == 0 { Ok(status) } else { Err(status) }
    };
    grapnel.eventually(&format!("every delivery of {name} is settled"), idle).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_event_that_is_given_up_reaches_the_other_endpoint_once_whenever_it_is_killed() {
    let kills = size("RECEIVERS_KILLS", 4);
    let gone = Recorder::new("", |_| async { 410 }.boxed()).await;
    let archive = Recorder::new("grapnel-dead-letter-id", |_| async { 200 }.boxed()).await;
    let home = Home::new();
    home.write(
        "orders.yaml",
        &format!(
            "{ORDERS}---
apiVersion: grapnel.dev/v1beta1
kind: WebhookEndpoint
metadata: {{name: letters}}
spec:
  suspend: true
  verification: {{none: {{}}}}
---
apiVersion: grapnel.dev/v1beta1
kind: WebhookSubscription
metadata: {{name: gone}}
spec:
  endpointRef: {{name: orders}}
  target: {{url: '{}/'}}
  deadLetter: {{endpointRef: {{name: letters}}}}
---
apiVersion: grapnel.dev/v1beta1
kind: WebhookSubscription
metadata: {{name: archive}}
spec:
  endpointRef: {{name: letters}}
  target: {{url: '{}/'}}
",
            gone.url, archive.url
        ),
    );
    let next = Arc::new(AtomicUsize::new(0));
    let mut accepted = BTreeSet::new();
    for _ in 0..kills {
        let grapnel = Arc::new(home.start());
        let senders: Vec<_> = (0..8)
            .map(|_| {
                let (grapnel, next) = (Arc::clone(&grapnel), Arc::clone(&next));
                tokio::spawn(async move {
                    let mut accepted = Vec::new();
                    loop {
                        let id = format!("order-{}", next.fetch_add(1, Ordering::SeqCst));
                        let body = format!(r#"{{"id":"{id}","type":"order.created"}}"#);
                        match grapnel.try_post("/default/orders", &[], body).await {
                            Ok(answer) if answer.status() == 200 => accepted.push(id),
                            Ok(answer) => panic!("{}", answer.status()),
                            // Killed.
                            Err(_) => return accepted,
                        }
                    }
                })
            })
            .collect();
        // At some moment between the first attempt and many dead letters.
        let (tried, filed) = (gone.count() + any(200), archive.count() + any(200));
        let moment = async || (gone.count() >= tried && archive.count() >= filed).then_some(());
        grapnel.eventually("enough has happened", moment).await;
        grapnel.send_signal("KILL");
        for sender in senders {
            accepted.extend(sender.await.unwrap());
        }
    }
    let grapnel = home.start();
    assert!(accepted.len() >= kills, "only {} were accepted", accepted.len());
    let mut left = usize::MAX;
    while left > 0 {
        left = grapnel
            .eventually("further dead letters arrive", async || {
                let arrived: BTreeSet<_> = archive.seen().into_iter().map(|seen| seen.extra).collect();
                let now = accepted.difference(&arrived).count();
                (now < left).then_some(now)
            })
            .await;
    }
    let dead = settled(&grapnel, "gone").await["deadLettered"].as_u64().unwrap_or_default();
    settled(&grapnel, "archive").await;

    let seen = archive.seen();
    let mut names: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for letter in &seen {
        names.entry(&letter.extra).or_default().insert(&letter.id);
    }
    assert_eq!(names.len() as u64, dead, "a dead letter for each that was given up, and none besides");
    assert!(names.values().all(|ids| ids.len() == 1), "each under one id");
    let unique: BTreeSet<_> = names.values().flatten().collect();
    assert_eq!(unique.len(), names.len(), "and none under another's");
    let again = seen.len() - names.len();
    assert!(again <= kills * HELD, "{again} came again after {kills} kills");
    println!("{kills} kills, {} accepted, {dead} given up, {dead} archived, {again} of them twice", accepted.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_order_holds_whenever_it_is_killed_and_however_the_receiver_fails() {
    let kills = size("RECEIVERS_KILLS", 4);
    // Four failures in a row out of ten, which opens the circuit each time.
    let receiver =
        Recorder::new("grapnel-attempt", |number| async move { if number % 10 < 4 { 503 } else { 200 } }.boxed()).await;
    let home = Home::new();
    home.write(
        "orders.yaml",
        &format!(
            "{ORDERS}---
apiVersion: grapnel.dev/v1beta1
kind: WebhookSubscription
metadata: {{name: ordered}}
spec:
  endpointRef: {{name: orders}}
  target: {{url: '{}/'}}
  ordering: Ordered
  retry: {{maxAttempts: 100, initialDelay: 1ms, maxDelay: 2ms}}
  circuitBreaker: {{failures: 3, cooldown: 1ms, maxCooldown: 2ms}}
",
            receiver.url
        ),
    );
    let mut sent = 0;
    for kill in 0..=kills {
        let grapnel = Arc::new(home.start());
        // One sender, so that the order of acceptance is known; what it is not sure of it sends again.
        let sender = tokio::spawn({
            let grapnel = Arc::clone(&grapnel);
            async move {
                let mut number = sent;
                let enough = if kill == kills { number + 20 } else { usize::MAX };
                while number < enough {
                    let body = format!(r#"{{"id":"{number}","type":"order.created"}}"#);
                    match grapnel.try_post("/default/orders", &[], body).await {
                        Ok(answer) if answer.status() == 200 => number += 1,
                        Ok(answer) => panic!("{}", answer.status()),
                        // Killed.
                        Err(_) => break,
                    }
                }
                number
            }
        });
        if kill < kills {
            let tried = receiver.count() + any(100);
            let moment = async || (receiver.count() >= tried).then_some(());
            grapnel.eventually("enough has been tried", moment).await;
            grapnel.send_signal("KILL");
            sent = sender.await.unwrap();
            continue;
        }
        sent = sender.await.unwrap();
        let mut delivered = 0;
        while delivered < sent {
            delivered = grapnel
                .eventually("more is delivered", async || {
                    let seen = receiver.seen();
                    let now: BTreeSet<_> = seen.iter().filter(|seen| seen.status == 200).map(|seen| &seen.id).collect();
                    (now.len() > delivered).then_some(now.len())
                })
                .await;
        }
    }
    let tried: Vec<usize> = receiver.seen().iter().map(|seen| seen.id.parse().unwrap()).collect();
    let (mut done, mut back) = (0, 0);
    for (seen, pair) in receiver.seen().iter().zip(tried.windows(2)) {
        assert!(pair[0] <= done, "{} was tried when only {done} had been delivered", pair[0]);
        if pair[0] == done && seen.status == 200 {
            done += 1;
        }
        back += usize::from(pair[1] < pair[0]);
    }
    assert!(back <= kills, "{back} steps back after {kills} kills");
    let failed = receiver.seen().iter().filter(|seen| seen.status == 503).count();
    println!("{kills} kills, {sent} events in order, {failed} failed attempts, {back} steps back");
}
