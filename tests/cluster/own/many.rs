//! Thousands of each: two by default, ten with `GRAPNEL_TEST_OBJECTS=10000`, which takes four minutes in a debug build.

use std::{collections::HashSet, pin::pin, time::Duration};

use futures_util::{StreamExt, stream};
use kube::{Api, api::DynamicObject};
use kube_runtime::{
    WatchStreamExt,
    watcher::{self, Event},
};
use serde_json::Value;
use tokio::time::{Instant, timeout};

use crate::{
    fixture::{Cluster, ControlPlane, Operator, condition, documents, kind},
    program::{hmac_hex, receiver::Receiver},
    shop,
};

/// How many endpoints, and how many subscriptions.
fn each() -> usize {
    match std::env::var("GRAPNEL_TEST_OBJECTS") {
        Ok(number) => number.parse().expect("GRAPNEL_TEST_OBJECTS is a number"),
        Err(_) => 2_000,
    }
}

/// Namespaces that they are in.
const NAMESPACES: usize = 10;
/// A deadline that only something quadratic, or something that hangs, misses.
const DEADLINE: Duration = Duration::from_secs(900);

/// Watches a kind in every namespace until as many are ready.
async fn ready(cluster: &Cluster, name: &str, count: usize) {
    let api: Api<DynamicObject> = Api::all_with(cluster.client.clone(), &kind(name));
    let mut ready = HashSet::new();
    let mut changes = pin!(watcher::watcher(api, watcher::Config::default()).default_backoff());
    let all = timeout(DEADLINE, async {
        while let Some(change) = changes.next().await {
            let Ok(Event::Apply(object) | Event::InitApply(object)) = change else { continue };
            let key = (object.metadata.namespace.clone(), object.metadata.name.clone());
            if condition(&object.data, "Ready").0 == "True" {
                ready.insert(key);
            }
            if ready.len() == count {
                return;
            }
        }
    });
    let ended = all.await;
    assert!(ended.is_ok(), "only {} of {count} {name} became ready", ready.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thousands_of_endpoints_and_subscriptions_become_ready() {
    let each = each();
    let receiver = Receiver::start().await;
    let plane = ControlPlane::start().await;
    let first = Cluster::at(&plane.kubeconfig()).await;
    let mut namespaces = vec![first.clone()];
    while namespaces.len() < NAMESPACES {
        namespaces.push(first.another(&[]).await);
    }
    for namespace in &namespaces {
        namespace.apply(&shop::secret(shop::ORDERS)).await;
    }
    let began = Instant::now();
    let create = async |template: fn(usize, &str) -> String| {
        let created = stream::iter(0..each).map(|number| {
            let (cluster, url) = (&namespaces[number % NAMESPACES], &receiver.url);
            async move {
                let object: Value = documents(&template(number, url)).remove(0);
                let api = cluster.api(object["kind"].as_str().unwrap());
                let object: DynamicObject = serde_json::from_value(object).unwrap();
                api.create(&Default::default(), &object).await.unwrap();
            }
        });
        created.buffer_unordered(32).collect::<Vec<()>>().await;
    };
    create(|number, _| shop::endpoint(&format!("e-{number}"))).await;
    create(|number, url| shop::subscription(&format!("s-{number}"), &format!("e-{number}"), url)).await;
    println!("{each} of each applied in {:.1?}", began.elapsed());

    let operator = Operator::new(&plane.kubeconfig()).with(["--lease-namespace", &first.namespace]);
    let began = Instant::now();
    let grapnel = operator.launch();
    let synced = timeout(DEADLINE, async {
        while grapnel.admin("/readyz").await.0 != 200 {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    });
    synced.await.expect("it is never ready");
    println!("listed, compiled and live after {:.1?}, {} MiB", began.elapsed(), grapnel.memory("VmRSS") >> 20);

    let last = each - 1;
    let send = async |id: &str| {
        let body = format!(r#"{{"id":"{id}","type":"order.created"}}"#);
        let signature = hmac_hex(shop::ORDERS, body.as_bytes());
        let path = format!("/{}/e-{last}", namespaces[last % NAMESPACES].namespace);
        grapnel.post(&path, &[("x-signature", &signature)], body).await.0
    };
    assert_eq!(send("first").await, 200);
    let arrived = receiver.next().await;
    assert_eq!((&*arrived.path, arrived.header("webhook-id")), (&*format!("/s-{last}"), "first"));

    ready(&first, "WebhookEndpoint", each).await;
    ready(&first, "WebhookSubscription", each).await;
    println!(
        "every status written after {:.1?}, {} MiB, {} MiB at most",
        began.elapsed(),
        grapnel.memory("VmRSS") >> 20,
        grapnel.memory("VmHWM") >> 20
    );

    // One change among twenty thousand objects.
    let began = Instant::now();
    let owner = &namespaces[last % NAMESPACES];
    owner.apply(&(shop::endpoint(&format!("e-{last}")) + "  response: { status: 202 }\n")).await;
    let live = timeout(DEADLINE, async {
        while send("again").await != 202 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    live.await.expect("the change is never live");
    println!("one change live after {:.1?}", began.elapsed());

    let writes = async || grapnel.metric(r#"grapnel_status_writes_total{outcome="ok"}"#).await;
    let before = writes().await;
    owner.until_ready("WebhookEndpoint", &format!("e-{last}")).await;
    assert!(writes().await - before < 10.0, "one change is not a write of every status");

    // A restart finds its consumers and writes next to nothing.
    grapnel.kill();
    let began = Instant::now();
    let grapnel = operator.launch();
    let synced = timeout(DEADLINE, async {
        while grapnel.admin("/readyz").await.0 != 200 {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    });
    synced.await.expect("it is never ready again");
    println!("after a kill ready again in {:.1?}, {} MiB", began.elapsed(), grapnel.memory("VmRSS") >> 20);
}
