//! The power of brokers fails: what they had not synced is lost. Each broker has a disk of its own for that, which takes
//! root and loop devices (`just power`).

use std::time::Duration;

use grapnel_test_support::{
    PATIENCE,
    nats::{NatsCluster, NatsSettings},
    program::Grapnel,
    size,
};

use crate::{
    audit::all_is_well,
    receipts::{KINDS, receiver},
    senders::{SENDERS, Senders, Sent},
    site::{Site, objects, ready, start},
};

/// Events that are accepted between two failures.
const BETWEEN: u64 = 20 * SENDERS as u64;

async fn site(sync_always: bool) -> Site {
    Site::on(NatsCluster::start(3, NatsSettings { sync_always, disks: true, ..NatsSettings::default() }).await)
}

async fn replicas(site: &Site, receiver: &str, senders: &Senders) -> Vec<Grapnel> {
    let objects = site.objects("all", &objects(receiver, &KINDS));
    let mut replicas = Vec::new();
    for number in 0..2 {
        let replica = start(site.arguments(&objects, &site.brokers.url()), None).await;
        ready(&replica).await;
        senders.set(number, Some(&replica.webhooks));
        replicas.push(replica);
    }
    replicas
}

/// Waits until some more events are accepted.
async fn accept(senders: &Senders, replica: &Grapnel) -> Sent {
    let enough = senders.sent().total() + BETWEEN;
    let what = format!("{enough} accepted events");
    let sent = async || Some(senders.sent().clone()).filter(|sent| sent.total() >= enough);
    replica.eventually(&what, sent).await
}

/// The power of one broker after the other fails, and every other time that of all three: nothing that was answered 2xx is
/// lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes root and loop devices: just power"]
async fn nothing_is_lost_when_the_power_fails() {
    let rounds = size("POWER_ROUNDS", 4);
    let (receiver, receipts) = receiver().await;
    let mut site = site(true).await;
    let mut senders = Senders::start();
    let replicas = replicas(&site, &receiver.url, &senders).await;
    for round in 0..rounds {
        let before = accept(&senders, &replicas[0]).await;
        let nodes = if round % 2 == 0 { vec![0, 1, 2] } else { vec![round % 3] };
        eprintln!("round {round}: {nodes:?}; {} accepted, refusals {:?}", before.total(), before.refusals);
        site.brokers.cut_power(&nodes);
        nodes.iter().for_each(|node| site.brokers.restart(*node));
        site.brokers.ready().await;
    }
    accept(&senders, &replicas[0]).await;
    senders.finish(PATIENCE).await;
    let sent = senders.sent().clone();
    eprintln!("{rounds} failures, {} events accepted; refusals {:?}", sent.total(), sent.refusals);
    let replicas: Vec<&Grapnel> = replicas.iter().collect();
    all_is_well(&sent, &receipts, &replicas).await;
}

/// Brokers that sync now and then, which is their default, lose accepted events: the reason for the proof of sync, and what
/// shows that the test above can fail.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes root and loop devices: just power"]
async fn brokers_that_do_not_sync_lose_events() {
    let (receiver, _receipts) = receiver().await;
    let mut site = site(false).await.with(&["--nats-trust-sync"]);
    let mut senders = Senders::start();
    let replicas = replicas(&site, &receiver.url, &senders).await;
    accept(&senders, &replicas[0]).await;
    senders.finish(PATIENCE).await;
    drop(replicas);
    let stored = site.brokers.messages(0, "GRAPNEL_EV_").await;
    site.brokers.cut_power(&[0, 1, 2]);
    (0..3).for_each(|node| site.brokers.restart(node));
    // Perhaps they never are: they may have lost each other too.
    let _ = tokio::time::timeout(Duration::from_secs(30), site.brokers.ready()).await;
    let kept = site.brokers.messages(0, "GRAPNEL_EV_").await;
    eprintln!("{kept} of {stored} stored events are left");
    assert!(kept < stored, "{kept} of {stored}");
}
