//! From `kubectl apply` to the counters.

use serde_json::json;

use crate::{
    fixture::{Cluster, condition},
    program::receiver::Receiver,
    shop,
};

#[tokio::test]
async fn applied_objects_become_ready_and_a_webhook_flows_and_is_counted() {
    let receiver = Receiver::start().await;
    let cluster = Cluster::new().await;
    let operator = cluster.operator().with(["--public-url", "https://hooks.example"]);
    let grapnel = operator.start().await;
    shop::open(&cluster, &receiver.url).await;

    let endpoint = cluster.until_ready("WebhookEndpoint", "orders").await;
    let path = format!("/{}/orders", cluster.namespace);
    assert_eq!(endpoint["status"]["path"], path);
    assert_eq!(endpoint["status"]["url"], format!("https://hooks.example{path}"));
    for wanted in ["Accepted", "SecretsResolved", "Ready"] {
        assert_eq!(condition(&endpoint, wanted).0, "True", "{wanted}");
    }
    assert_eq!(condition(&endpoint, "Ready").1, "Programmed");
    let subscription = cluster.until_ready("WebhookSubscription", "fulfilment").await;
    let (status, reason, _) = condition(&subscription, "Delivering");
    assert_eq!((status.as_str(), reason.as_str()), ("Unknown", "NotAttempted"));
    for object in [&endpoint, &subscription] {
        for absent in ["Reconciling", "Stalled"] {
            assert_eq!(condition(object, absent).0, "", "{absent} is there only while it holds");
        }
    }

    let (status, answer) = shop::order(&grapnel, &cluster, "orders", "first").await;
    assert_eq!((status, &answer), (200, &json!({ "success": true, "id": "first" })));
    let arrived = receiver.next().await;
    assert_eq!((arrived.path.as_str(), arrived.header("webhook-id")), ("/fulfilment", "first"));
    arrived.assert_signed(shop::SIGNING);
    assert_eq!(shop::order(&grapnel, &cluster, "orders", "first").await.1["duplicate"], true);
    let (status, answer) = shop::order_signed(&grapnel, &cluster, "orders", "second", "wrong").await;
    assert_eq!((status, &answer["code"]), (401, &json!("invalid_signature")));

    let endpoint = cluster
        .until("WebhookEndpoint", "orders", "the counters", |object| {
            let status = &object["status"];
            (&status["received"], &status["duplicates"], &status["rejected"]) == (&json!(1), &json!(1), &json!(1))
        })
        .await;
    assert_eq!(endpoint["status"]["lastRejection"]["reason"], "invalid_signature");
    assert!(endpoint["status"]["lastReceivedTime"].is_string());
    let subscription = cluster
        .until("WebhookSubscription", "fulfilment", "the counters", |object| {
            let status = &object["status"];
            status["delivered"] == 1 && status["pending"] == 0 && status["inFlight"] == 0
        })
        .await;
    assert_eq!(subscription["status"]["lastDelivery"]["eventId"], "first");
    assert_eq!(subscription["status"]["lastDelivery"]["statusCode"], 200);
    for object in [&endpoint, &subscription] {
        let status = object["status"].to_string();
        assert!(!status.contains(shop::ORDERS) && !status.contains(shop::SIGNING), "{status}");
    }

    let labels = format!(r#"namespace="{}",endpoint="orders""#, cluster.namespace);
    assert_eq!(grapnel.metric(&format!(r#"webhook_processed_total{{{labels},type="order.created"}}"#)).await, 1.0);
    assert_eq!(grapnel.metric(&format!("webhook_duplicates_total{{{labels}}}")).await, 1.0);
    assert_eq!(grapnel.metric("grapnel_leader").await, 1.0);
}

#[tokio::test]
async fn kubectl_applies_waits_and_shows() {
    let receiver = Receiver::start().await;
    let cluster = Cluster::new().await;
    let operator = cluster.operator().with(["--public-url", "https://hooks.example"]);
    let _grapnel = operator.start().await;
    let file = operator.data().join("shop.yaml");
    let manifests = [
        shop::secret(shop::ORDERS),
        shop::endpoint("orders"),
        shop::subscription("fulfilment", "orders", &receiver.url),
        shop::subscription("lost", "nowhere", &receiver.url),
    ];
    std::fs::write(&file, manifests.join("---\n")).unwrap();
    let file = file.to_str().unwrap();
    let good = async |arguments: &[&str]| {
        let output = cluster.kubectl(arguments).await;
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };

    good(&["apply", "-f", file]).await;
    for object in ["whe/orders", "whs/fulfilment"] {
        good(&["wait", "--for=condition=Ready", "--timeout=90s", object]).await;
    }
    let again = good(&["apply", "-f", file]).await;
    let changed: Vec<_> =
        again.lines().filter(|line| !line.ends_with("unchanged") && !line.contains("secret/")).collect();
    assert!(changed.is_empty(), "a status is not a change of the spec: {changed:?}");

    cluster.until_condition("WebhookSubscription", "lost", "Ready", "False", "EndpointNotFound").await;
    let table = |text: &str| -> Vec<Vec<String>> {
        let rows = text.lines().filter(|line| !line.is_empty());
        rows.map(|line| line.split_whitespace().map(str::to_owned).collect()).collect()
    };
    let endpoints = table(&good(&["get", "webhookendpoints"]).await);
    assert_eq!(endpoints[0], ["NAME", "READY", "URL", "RECEIVED", "REJECTED", "SUSPENDED", "AGE"]);
    let url = format!("https://hooks.example/{}/orders", cluster.namespace);
    assert_eq!(endpoints[1][..5], ["orders", "True", &url, "0", "0"]);
    let subscriptions = table(&good(&["get", "grapnel", "--output", "wide"]).await);
    let header = subscriptions.iter().find(|row| row.get(2).is_some_and(|word| word == "DELIVERING"));
    assert_eq!(
        header.expect("the category names both kinds")[1..],
        [
            "READY",
            "DELIVERING",
            "ENDPOINT",
            "ENDPOINT",
            "NAMESPACE",
            "TARGET",
            "DELIVERED",
            "PENDING",
            "RETRYING",
            "DEAD",
            "SUSPENDED",
            "MODE",
            "REASON",
            "MESSAGE",
            "AGE"
        ]
    );
    let lost = subscriptions.iter().find(|row| row[0].ends_with("lost")).unwrap();
    assert!(lost.contains(&"False".into()) && lost.contains(&"EndpointNotFound".into()), "{lost:?}");
    let described = good(&["describe", "whs", "lost"]).await;
    assert!(described.contains("EndpointNotFound") && described.contains("nowhere"), "{described}");
    let explained = good(&["explain", "webhookendpoint.spec.verification.secretRefs"]).await;
    assert!(explained.contains("DESCRIPTION") && !explained.contains("<empty>"), "{explained}");
}
