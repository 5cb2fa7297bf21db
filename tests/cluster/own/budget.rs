//! How often statuses are written when a thousand objects change all the time, as the audit log has it.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader},
    path::Path,
    time::Duration,
};

use futures_util::{StreamExt, stream};
use jiff::Timestamp;
use kube::api::DynamicObject;
use serde_json::Value;
use tokio::time::{Instant, sleep};

use crate::{
    fixture::{Cluster, ControlPlane, documents},
    program::Grapnel,
};

const OBJECTS: usize = 1000;
/// Default of `--status-writes-per-second`.
const PER_SECOND: usize = 10;

fn endpoint(number: usize) -> String {
    format!(
        "apiVersion: grapnel.dev/v1beta1\nkind: WebhookEndpoint\nmetadata: {{ name: e-{number} }}\nspec: {{ \
         verification: {{ none: {{}} }} }}\n"
    )
}

/// The writes of statuses in the audit log, by second, between two times.
fn writes(log: &Path, from: Timestamp, until: Timestamp) -> BTreeMap<i64, usize> {
    let mut writes = BTreeMap::new();
    for line in BufReader::new(std::fs::File::open(log).unwrap()).lines() {
        let Ok(call) = serde_json::from_str::<Value>(&line.unwrap()) else { continue };
        let time: Timestamp = call["requestReceivedTimestamp"].as_str().unwrap().parse().unwrap();
        let is_status = call["verb"] == "patch" && call["objectRef"]["subresource"] == "status";
        if is_status && from <= time && time < until {
            *writes.entry(time.as_second()).or_default() += 1;
        }
    }
    writes
}

/// Sends one event to each endpoint.
async fn excite(cluster: &Cluster, grapnel: &Grapnel) {
    let sent = stream::iter(0..OBJECTS).map(|number| {
        let path = format!("/{}/e-{number}", cluster.namespace);
        async move { grapnel.post(&path, &[], "{}").await.0 }
    });
    let answers: Vec<u16> = sent.buffer_unordered(16).collect().await;
    assert!(answers.iter().all(|status| *status == 200), "{answers:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_busy_objects_are_written_within_the_budget_and_a_condition_at_once() {
    let plane = ControlPlane::start().await;
    let cluster = Cluster::at(&plane.kubeconfig()).await;
    let created = stream::iter(0..OBJECTS).map(|number| {
        let cluster = &cluster;
        async move {
            let object: DynamicObject = documents(&endpoint(number)).remove(0);
            cluster.api("WebhookEndpoint").create(&Default::default(), &object).await.unwrap();
        }
    });
    created.buffer_unordered(16).collect::<Vec<()>>().await;
    let grapnel = cluster.operator().start().await;
    grapnel
        .eventually("every first status", async || {
            let (_, text) = grapnel.admin("/metrics").await;
            let series = r#"grapnel_status_writes_total{outcome="ok"}"#;
            let written = text.lines().find_map(|line| line.strip_prefix(series)?.trim().parse::<usize>().ok());
            (written? >= OBJECTS).then_some(())
        })
        .await;

    excite(&cluster, &grapnel).await;
    let from = Timestamp::now();
    sleep(Duration::from_secs(15)).await;
    let until = Timestamp::now();
    let each_second = writes(&plane.audit_log(), from, until);
    let (total, most) = (each_second.values().sum::<usize>(), each_second.values().max().copied().unwrap_or_default());
    // A request may be received in the second after the one in which it was sent.
    assert!(most <= PER_SECOND * 3 / 2, "{each_second:?}");
    assert!(total <= PER_SECOND * 16, "{total} writes in fifteen seconds");
    assert!(total >= PER_SECOND * 5, "the budget is used: {each_second:?}");

    // The counters of all of them wait for more than a minute; a changed condition does not.
    let began = Instant::now();
    cluster.apply(&(endpoint(999).replace("spec: {", "spec: { suspend: true,"))).await;
    cluster.until_condition("WebhookEndpoint", "e-999", "Suspended", "True", "Suspended").await;
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
}
