//! A dead receiver with a queue that grows beside one that is served.

use std::{collections::HashSet, sync::Arc};

use futures_util::{FutureExt, StreamExt, stream};
use tokio::{net::TcpSocket, sync::Semaphore};

use crate::{home::Home, program::Grapnel, recorder::Recorder, size};

/// Senders at once.
const SENDERS: usize = 32;

fn subscription(name: &str, url: &str, more: &str) -> String {
    format!(
        "---\napiVersion: grapnel.dev/v1beta1\nkind: WebhookSubscription\nmetadata: {{name: {name}}}\nspec:\n  \
         endpointRef: {{name: orders}}\n  target: {{url: '{url}/', timeout: 60s}}\n{more}"
    )
}

const ENDPOINT: &str = "apiVersion: grapnel.dev/v1beta1\nkind: WebhookEndpoint\nmetadata: {name: orders}\nspec:\n  \
                        verification: {none: {}}\n  event: {id: {pointer: /id}}\n  limits: {bodyBytes: 4Mi}\n";

/// A body of that size that no compression makes smaller.
fn body(number: usize, bytes: usize) -> String {
    let mut body = format!(r#"{{"id":"order-{number}","type":"order.created","pad":""#);
    let mut state = number as u64 ^ 0x9e37_79b9_7f4a_7c15;
    while body.len() < bytes {
        // Knuth's linear congruential generator (MMIX).
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        body.push_str(&format!("{state:016x}"));
    }
    body.push_str("\"}");
    body
}

async fn send(grapnel: &Grapnel, numbers: std::ops::Range<usize>, bytes: usize) {
    let sending = stream::iter(numbers).for_each_concurrent(SENDERS, |number| async move {
        let answer = grapnel.post("/default/orders", &[], body(number, bytes)).await;
        assert_eq!(answer.0, 200, "{}", answer.1);
    });
    sending.await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dead_receivers_with_long_queues_delay_nobody_and_fill_no_memory() {
    let (events, bytes) = (size("RECEIVERS_EVENTS", 5_000), size("RECEIVERS_BODY", 16 * 1024));
    let live = Recorder::new("", |_| async { 200 }.boxed()).await;
    // One that takes every request and says nothing, until it is let.
    let gate = Arc::new(Semaphore::new(0));
    let hanging = Recorder::new("", {
        let gate = gate.clone();
        move |_| {
            let gate = gate.clone();
            async move {
                gate.acquire().await.unwrap().forget();
                200
            }
            .boxed()
        }
    })
    .await;
    // One that refuses every connection: bound, and not listening.
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let refusing = format!("http://{}", socket.local_addr().unwrap());

    let home = Home::new();
    home.write(
        "orders.yaml",
        &[
            ENDPOINT.to_owned(),
            subscription("live", &live.url, ""),
            subscription("hanging", &hanging.url, ""),
            subscription("refusing", &refusing, "  circuitBreaker: {failures: 3}\n"),
        ]
        .concat(),
    );
    let grapnel = home.start();

    // Warm, so that what a process needs at all is not counted as growth.
    let first = events / 5;
    send(&grapnel, 0..first, bytes).await;
    grapnel.eventually("the first are delivered", async || (live.count() >= first).then_some(())).await;
    let before = grapnel.memory("VmRSS");

    // Every further event is delivered to the live one while the others have had none of theirs settled.
    let step = (events / 20).max(1);
    let (mut sent, mut most) = (first, before);
    while sent < events {
        let until = (sent + step).min(events);
        send(&grapnel, sent..until, bytes).await;
        grapnel.eventually("what was just sent is delivered", async || (live.count() >= until).then_some(())).await;
        most = most.max(grapnel.memory("VmRSS"));
        sent = until;
    }
    // One after another: each comes next, before anything that waits for the dead ones.
    for number in events..events + 50 {
        send(&grapnel, number..number + 1, bytes).await;
        let id = format!("order-{number}");
        grapnel.eventually("the next one is delivered", async || (live.count_of(&id) == 1).then_some(())).await;
        assert_eq!(live.count(), number + 1, "and nothing else is");
    }
    let all = (events + 50) as u64;
    for name in ["hanging", "refusing"] {
        let status = grapnel.status("WebhookSubscription", name).await;
        let count = |field: &str| status[field].as_u64().unwrap_or_default();
        assert_eq!(count("delivered") + count("deadLettered"), 0, "{name}: {status}");
        assert_eq!(count("pending") + count("inFlight") + count("retrying"), all, "{name}: {status}");
        assert!(count("inFlight") <= 16 + 32, "{name}: {status}");
    }
    assert_eq!(hanging.count(), 0);
    let unique: HashSet<_> = live.seen().into_iter().map(|seen| seen.id).collect();
    assert_eq!((unique.len(), live.count()), (events + 50, events + 50), "each exactly once");

    let queued = all * bytes as u64;
    let grown = most.saturating_sub(before);
    println!(
        "{all} events of {bytes} bytes queued for each of two dead receivers, {} MiB; resident {} MiB, then at most {} MiB",
        queued >> 20,
        before >> 20,
        most >> 20
    );
    assert!(grown < 48 << 20, "resident memory grew by {} MiB", grown >> 20);
    assert!(grown < queued / 2, "resident memory grew by {} of {} MiB queued", grown >> 20, queued >> 20);

    // The dead come back, and have everything.
    gate.add_permits(Semaphore::MAX_PERMITS >> 1);
    let listener = socket.listen(1024).unwrap();
    let accepted = Arc::new(std::sync::Mutex::new(HashSet::new()));
    let served = tokio::spawn({
        let accepted = accepted.clone();
        let router = axum::Router::new().fallback(move |headers: axum::http::HeaderMap| {
            let accepted = accepted.clone();
            async move {
                let id = headers["webhook-id"].to_str().unwrap().to_owned();
                accepted.lock().unwrap().insert(id);
            }
        });
        async move { axum::serve(listener, router).await.unwrap() }
    });
    // A change of the target makes the circuit probe at once.
    let manifest = home.read("orders.yaml").replace(&format!("{refusing}/"), &format!("{refusing}/back"));
    home.write("orders.yaml", &manifest);
    let progress = async || {
        let status = grapnel.status("WebhookSubscription", "refusing").await;
        ["pending", "inFlight"].iter().map(|field| status[field].as_u64().unwrap_or_default()).sum::<u64>()
    };
    let mut left = all;
    while left > 0 {
        left = grapnel
            .eventually("the queue gets shorter", async || {
                let now = progress().await;
                (now < left || now == 0).then_some(now)
            })
            .await;
    }
    let mut had = 0;
    while had < events + 50 {
        had = grapnel
            .eventually("more is delivered", async || {
                let now = hanging.count();
                (now > had || now >= events + 50).then_some(now)
            })
            .await;
    }
    assert!(accepted.lock().unwrap().len() >= events + 50 - 16 - 3, "but for those whose retry is not due yet");
    served.abort();
}
