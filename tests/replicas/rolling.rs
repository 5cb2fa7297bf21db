//! An update of the Deployment, as the chart runs it: a new replica is ready before an old one gets SIGTERM, and the Service
//! goes on sending to that one for a moment.

use std::time::Duration;

use grapnel_test_support::{PATIENCE, program::Grapnel, size};

use crate::{
    audit::all_is_well,
    receipts::{KINDS, receiver},
    senders::Senders,
    site::{Site, objects, ready, start},
};

/// How long the Service sends to a replica that has got SIGTERM: less than the delay of its shutdown.
const NOTICE: Duration = Duration::from_secs(1);

/// No request and no connection is refused while every replica is replaced.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_request_is_refused_by_a_rolling_update() {
    let count = size("ROLLING_REPLICAS", 2);
    let (receiver, receipts) = receiver().await;
    let site = Site::new().await.with(&["--shutdown-delay", "2s"]);
    let objects = site.objects("all", &objects(&receiver.url, &KINDS));
    let arguments = site.arguments(&objects, &site.brokers.url());
    let mut senders = Senders::start();
    let mut running: Vec<Grapnel> = Vec::new();
    for place in 0..2 * count {
        let replica = start(arguments.clone(), None).await;
        ready(&replica).await;
        senders.set(place, Some(&replica.webhooks));
        running.push(replica);
        let Some(old) = place.checked_sub(count) else { continue };
        let replica = running.remove(0);
        replica.send_signal("TERM");
        tokio::time::sleep(NOTICE).await;
        senders.set(old, None);
        let (status, log) = replica.ended().await;
        assert!(status.success(), "{status}: {log}");
    }
    senders.finish(PATIENCE).await;
    let sent = senders.sent().clone();
    eprintln!("{} events accepted", sent.total());
    assert!(sent.refusals.is_empty(), "{:?}", sent.refusals);
    let replicas: Vec<&Grapnel> = running.iter().collect();
    all_is_well(&sent, &receipts, &replicas).await;
    let receipts = receipts.lock().unwrap();
    let again: usize = receipts.arrivals.values().map(|arrivals| arrivals.again.len()).sum();
    eprintln!("{again} deliveries made twice");
}
