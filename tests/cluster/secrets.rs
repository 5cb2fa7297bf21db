//! Secrets in the cluster: nothing that the operator writes or says shows one, its own credentials included.

use std::fmt::Write;

use crate::{
    callers::{AUDIENCE, account, ask, internal, token},
    fixture::{Cluster, condition},
    program::{
        leaks::Secrets,
        receiver::{Receiver, echoing},
    },
    shop,
};

const HEADER: &str = "Bearer delivery-token-Jw6Xc1";
const USELESS: &str = "whsec_not:base64:Pz6Qr9";
const ROTATED: &str = "rotated-secret-Tn5Bv8";

/// An administrator's token, which the operator of these tests uses itself.
fn own_token(cluster: &Cluster) -> String {
    let kubeconfig = std::fs::read_to_string(&cluster.kubeconfig).unwrap();
    kubeconfig.rsplit_once("token: ").unwrap().1.split(' ').next().unwrap().to_owned()
}

#[tokio::test]
async fn no_secret_is_in_statuses_events_logs_metrics_or_answers() {
    let cluster = Cluster::new().await;
    let receiver = Receiver::start().await;
    let echoing = echoing().await;
    let echo = &echoing.url;
    let grapnel = cluster
        .operator()
        .with_variable("RUST_LOG", "trace")
        .with_variable("RUST_BACKTRACE", "full")
        // Nobody is there: the API server is reached all the same.
        .with_variable("HTTPS_PROXY", "http://127.0.0.1:2")
        .start()
        .await;
    for name in ["publisher", "stranger"] {
        account(&cluster, name).await;
    }
    cluster
        .apply(&format!(
            "apiVersion: v1\nkind: Secret\nmetadata: {{ name: shop }}\nstringData: {{ orders: {}, signing: {}, header: {HEADER}, useless: '{USELESS}' }}\n",
            shop::ORDERS,
            shop::SIGNING,
        ))
        .await;
    cluster.apply(&shop::endpoint("orders")).await;
    cluster.apply(&internal("{ name: publisher }")).await;
    cluster.apply(&shop::subscription("good", "orders", &receiver.url)).await;
    let headers = "headersFrom: [{ name: Authorization, secretKeyRef: { name: shop, key: header } }] }";
    let bad = shop::subscription("bad", "orders", echo)
        .replace(&format!("{echo}/bad' }}"), &format!("{echo}/bad', {headers}"));
    assert!(bad.contains(headers), "{bad}");
    cluster.apply(&bad).await;
    cluster
        .apply(&shop::subscription("useless", "orders", &receiver.url).replace("key: signing", "key: useless"))
        .await;
    for name in ["orders", "internal"] {
        cluster.until_ready("WebhookEndpoint", name).await;
    }
    for name in ["good", "bad"] {
        cluster.until_ready("WebhookSubscription", name).await;
    }
    cluster.until_condition("WebhookSubscription", "useless", "Ready", "False", "InvalidSecret").await;

    let tokens = [
        token(&cluster, "publisher", &[AUDIENCE]).await,
        token(&cluster, "stranger", &[AUDIENCE]).await,
        token(&cluster, "publisher", &[]).await,
    ];
    let mut printed = String::new();
    for path in ["internal", "orders", "absent"].map(|name| format!("/{}/{name}", cluster.namespace)) {
        for (number, token) in tokens.iter().enumerate() {
            let headers = [("authorization", format!("Bearer {token}")), ("x-signature", token.clone())];
            let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
            let (status, answer) = grapnel.post(&path, &headers, format!(r#"{{"id":"t-{number}"}}"#)).await;
            writeln!(printed, "{status} {answer}").unwrap();
        }
        let answer = grapnel.post(&path, &[("x-signature", shop::ORDERS)], r#"{"id":"x"}"#).await;
        writeln!(printed, "{answer:?}").unwrap();
    }
    assert!(printed.contains("\"success\":true") && printed.contains("invalid_signature"), "{printed}");
    let (status, answer) = shop::order(&grapnel, &cluster, "orders", "first").await;
    assert_eq!(status, 200, "{answer}");
    receiver.next().await;
    cluster
        .until("WebhookSubscription", "bad", "the dead letter", |object| {
            object["status"]["deadLettered"] == 1 && condition(object, "Delivering").0 == "False"
        })
        .await;
    // A Secret that goes, and comes back with less in it.
    cluster.delete("Secret", "shop").await;
    cluster.until_condition("WebhookSubscription", "bad", "Ready", "False", "SecretNotFound").await;
    cluster.apply(&shop::secret(ROTATED)).await;
    cluster.until_condition("WebhookSubscription", "bad", "Ready", "False", "KeyNotFound").await;
    grapnel
        .eventually("the new secret's use", async || {
            let (status, _) = shop::order_signed(&grapnel, &cluster, "orders", "rotated", ROTATED).await;
            (status == 200).then_some(())
        })
        .await;

    let mut secrets = Secrets::default();
    for (name, secret) in [
        ("secret of the endpoint", shop::ORDERS),
        ("secret of the endpoint after its rotation", ROTATED),
        ("signing key", shop::SIGNING),
        ("header's value", HEADER),
        ("header's token", "delivery-token-Jw6Xc1"),
        ("useless secret", USELESS),
    ] {
        secrets.add(name, secret);
    }
    let own = own_token(&cluster);
    secrets.add("operator's own token", &own);
    for token in &tokens {
        // What makes it a token. The rest says who somebody is, which is no secret.
        secrets.add("token of an account", token.rsplit('.').next().unwrap());
    }
    let mut places = vec![("answers".to_owned(), printed), ("metrics".into(), grapnel.admin("/metrics").await.1)];
    for kind in ["WebhookEndpoint", "WebhookSubscription", "Event", "Lease"] {
        let objects = cluster.list(kind).await;
        assert!(!objects.is_empty(), "{kind}");
        places.push((kind.into(), serde_json::to_string(&objects).unwrap()));
    }
    let at = |rest: &str| format!("/api/v1/namespaces/{}/{rest}", cluster.namespace);
    for path in [
        "/api/v1/objects".to_owned(),
        at("endpoints/orders/events"),
        at("endpoints/orders/events/first"),
        at("endpoints/internal/events"),
        at("subscriptions/bad/deliveries"),
    ] {
        let (status, text) = ask(&grapnel, &path, Some(&own)).await;
        assert_eq!(status, 200, "{path}: {text}");
        places.push((path.clone(), text));
        for token in [&tokens[1], &tokens[2]] {
            places.push((format!("{path}, refused"), ask(&grapnel, &path, Some(token)).await.1));
        }
    }
    grapnel.send_signal("TERM");
    let (status, log) = grapnel.ended().await;
    assert!(status.success(), "{log}");
    assert!(log.contains("TRACE"), "the log is not as detailed as it should be");
    places.push(("log".into(), log));
    for (place, text) in &places {
        secrets.assert_none_in(place, text);
    }
}
