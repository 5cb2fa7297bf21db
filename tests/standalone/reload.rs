//! Manifests that are added, changed, broken and mended while webhooks come in.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use crate::{
    home::Home,
    program::{Grapnel, client, hmac_hex, receiver::Receiver},
    walk::ORDERS,
};

/// Sends orders without pause until it is told to stop; counts answers that are not 200.
struct Traffic {
    stop: Arc<AtomicBool>,
    sent: Arc<AtomicUsize>,
    refused: Arc<AtomicUsize>,
    task: tokio::task::JoinHandle<()>,
}

impl Traffic {
    fn start(grapnel: &Grapnel) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (sent, refused) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let url = format!("{}/default/orders", grapnel.webhooks);
        let task = tokio::spawn({
            let (stop, sent, refused) = (Arc::clone(&stop), Arc::clone(&sent), Arc::clone(&refused));
            async move {
                let client = client();
                while !stop.load(Ordering::SeqCst) {
                    let number = sent.load(Ordering::SeqCst);
                    let body = format!(r#"{{"id":"traffic-{number}","type":"order.created","total":1}}"#);
                    let signature = hmac_hex(ORDERS, body.as_bytes());
                    let request = client.post(&url).header("x-webhook-signature", signature);
                    let answer = request.header("content-type", "application/json").body(body).send().await.unwrap();
                    if answer.status() != 200 {
                        refused.fetch_add(1, Ordering::SeqCst);
                    }
                    sent.fetch_add(1, Ordering::SeqCst);
                }
            }
        });
        Self { stop, sent, refused, task }
    }

    async fn end(self) {
        self.stop.store(true, Ordering::SeqCst);
        self.task.await.unwrap();
        assert!(self.sent.load(Ordering::SeqCst) > 0);
        assert_eq!(self.refused.load(Ordering::SeqCst), 0, "requests were refused while files changed");
    }
}

fn unlimited(home: &Home) {
    let orders = home.read("orders.yaml");
    let start = orders.find("  rateLimit:").unwrap();
    let end = orders[start..].find("---").unwrap() + start;
    home.write("orders.yaml", &format!("{}{}", &orders[..start], &orders[end..]));
}

#[tokio::test]
async fn files_are_added_changed_broken_and_mended_while_traffic_flows() {
    let receiver = Receiver::start().await;
    let home = Home::quickstart(&receiver.url);
    unlimited(&home);
    let grapnel = home.start();
    let traffic = Traffic::start(&grapnel);

    // Added.
    let extra = |path: &str| {
        format!(
            "apiVersion: grapnel.dev/v1beta1\nkind: WebhookEndpoint\nmetadata:\n  name: extra\nspec:\n  path: {path}\n  \
             verification:\n    none: {{}}\n"
        )
    };
    assert_eq!(grapnel.post("/default/one", &[], "{}").await.0, 404);
    home.write("extra.yaml", &extra("one"));
    let served = async |path: &str| grapnel.post(path, &[], "{}").await.0 == 200;
    grapnel.eventually("the new endpoint", async || served("/default/one").await.then_some(())).await;
    let condition = grapnel.condition("WebhookEndpoint", "extra", "Verified").await;
    assert_eq!((condition.0.as_str(), condition.1.as_str()), ("False", "Unauthenticated"));

    // Changed.
    home.write("extra.yaml", &extra("two"));
    grapnel.eventually("the new path", async || served("/default/two").await.then_some(())).await;
    assert_eq!(grapnel.post("/default/one", &[], "{}").await.0, 404);

    // Broken as a file: the last good version stays.
    home.write("extra.yaml", "kind: [");
    grapnel
        .eventually("the report of the broken file", async || {
            grapnel.log().lines().any(|line| line.contains("extra.yaml:1") && line.contains("last valid")).then_some(())
        })
        .await;
    assert!(served("/default/two").await);

    // Broken as an object: the same, and its conditions say why.
    home.write("extra.yaml", &extra("two").replace("    none: {}", "    nun: {}"));
    let condition = grapnel
        .eventually("the refusal of the object", async || {
            let condition = grapnel.condition("WebhookEndpoint", "extra", "Accepted").await;
            (condition.0 == "False").then_some(condition)
        })
        .await;
    assert_eq!(condition.1, "InvalidSpec");
    assert!(condition.2.contains("spec.verification.nun: unknown field `nun`"), "{condition:?}");
    assert!(condition.2.contains("last valid version"), "{condition:?}");
    // The status may be seen before the line in the log.
    grapnel
        .eventually("the line of the refusal", async || {
            grapnel.log().contains("extra.yaml:8: InvalidSpec").then_some(())
        })
        .await;
    assert!(served("/default/two").await);

    // Mended.
    home.write("extra.yaml", &extra("three"));
    grapnel.eventually("the mended endpoint", async || served("/default/three").await.then_some(())).await;
    assert_eq!(grapnel.condition("WebhookEndpoint", "extra", "Ready").await.0, "True");

    // Removed.
    home.remove("extra.yaml");
    grapnel
        .eventually("the end of the endpoint", async || {
            (grapnel.post("/default/three", &[], "{}").await.0 == 404).then_some(())
        })
        .await;
    // A request that came before holds the endpoint until it is answered.
    grapnel
        .eventually("the end of its series", async || {
            (!grapnel.admin("/metrics").await.1.contains(r#"endpoint="extra""#)).then_some(())
        })
        .await;
    traffic.end().await;
}

#[tokio::test]
async fn secrets_rotate_and_go() {
    let receiver = Receiver::start().await;
    let home = Home::quickstart(&receiver.url);
    unlimited(&home);
    let grapnel = home.start();
    let send = async |secret: &str, id: &str| {
        let body = format!(r#"{{"id":"{id}","type":"order.created","total":1}}"#);
        let signature = hmac_hex(secret, body.as_bytes());
        let (status, answer) = grapnel.post("/default/orders", &[("X-Webhook-Signature", &signature)], body).await;
        (status, answer["code"].as_str().unwrap_or_default().to_owned())
    };
    let traffic = Traffic::start(&grapnel);
    // Both during the overlap.
    let orders = home.read("orders.yaml").replacen(
        "        key: secret\n",
        "        key: secret\n      - name: orders\n        key: next\n",
        1,
    );
    home.write("orders.yaml", &orders);
    let secrets = home.read("secrets.yaml");
    home.write(
        "secrets.yaml",
        &secrets.replace(&format!("  secret: {ORDERS}\n"), &format!("  secret: {ORDERS}\n  next: the-next-one\n")),
    );
    let mut number = 0;
    grapnel
        .eventually("the new secret", async || {
            number += 1;
            (send("the-next-one", &format!("next-{number}")).await.0 == 200).then_some(())
        })
        .await;
    assert_eq!(send(ORDERS, "old").await.0, 200);
    traffic.end().await;

    // The old one goes; the new one stays.
    home.write("secrets.yaml", &secrets.replace(&format!("  secret: {ORDERS}\n"), "  next: the-next-one\n"));
    grapnel
        .eventually("the end of the old secret", async || {
            number += 1;
            let answer = send(ORDERS, &format!("old-{number}")).await;
            (answer == (401, "invalid_signature".into())).then_some(())
        })
        .await;
    assert_eq!(send("the-next-one", "after").await.0, 200);
    let condition = grapnel.condition("WebhookEndpoint", "orders", "SecretsResolved").await;
    assert_eq!((condition.0.as_str(), condition.1.as_str()), ("False", "KeyNotFound"));

    // All go: nobody is believed.
    home.write("secrets.yaml", secrets.split("---").nth(2).unwrap());
    grapnel
        .eventually("the end of every secret", async || {
            number += 1;
            let answer = send("the-next-one", &format!("gone-{number}")).await;
            (answer == (503, "not_ready".into())).then_some(())
        })
        .await;
    let condition = grapnel.condition("WebhookEndpoint", "orders", "Ready").await;
    assert_eq!((condition.0.as_str(), condition.1.as_str()), ("False", "SecretNotFound"));
}

#[tokio::test]
async fn what_a_file_defined_stays_while_one_of_its_documents_cannot_be_read() {
    let receiver = Receiver::start().await;
    let home = Home::quickstart(&receiver.url);
    let orders = home.read("orders.yaml");
    let parked = orders.replace("  format: Envelope\n", "  format: Envelope\n  suspend: true\n");
    home.write("orders.yaml", &parked);
    let secrets = home.read("secrets.yaml");
    let grapnel = home.start();
    let send = async |id: &str| {
        let body = format!(r#"{{"id":"{id}","type":"order.created","total":1}}"#);
        let signature = hmac_hex(ORDERS, body.as_bytes());
        grapnel.post("/default/orders", &[("X-Webhook-Signature", &signature)], body).await.0
    };
    assert_eq!(send("one").await, 200);

    // The subscription's name is lost, and a Secret is no base64.
    home.write("orders.yaml", &parked.replace("  name: fulfilment\n", "  nome: fulfilment\n"));
    home.write("secrets.yaml", &secrets.replace(&format!("stringData:\n  secret: {ORDERS}"), "data:\n  secret: '***'"));
    grapnel
        .eventually("the reports", async || {
            let log = grapnel.log();
            (log.contains("metadata.name is missing") && log.contains("data.secret: not base64")).then_some(())
        })
        .await;
    assert_eq!(send("two").await, 200, "the last good Secret is still in use");
    assert_eq!(grapnel.status("WebhookSubscription", "fulfilment").await["pending"], 2, "nothing is forgotten");

    home.write("secrets.yaml", &secrets);
    home.write("orders.yaml", &orders);
    let mut arrived = [receiver.next().await, receiver.next().await].map(|one| one.header("webhook-id").to_owned());
    arrived.sort();
    assert_eq!(arrived, ["one", "two"]);
}

#[tokio::test]
async fn suspension_parks_and_loses_nothing() {
    let receiver = Receiver::start().await;
    let home = Home::quickstart(&receiver.url);
    let orders = home.read("orders.yaml");
    home.write("orders.yaml", &orders.replace("  format: Envelope\n", "  format: Envelope\n  suspend: true\n"));
    let grapnel = home.start();
    let body = r#"{"id":"parked","type":"order.created","total":1}"#;
    let signature = hmac_hex(ORDERS, body.as_bytes());
    assert_eq!(grapnel.post("/default/orders", &[("X-Webhook-Signature", &signature)], body).await.0, 200);
    let condition = grapnel.condition("WebhookSubscription", "fulfilment", "Delivering").await;
    assert_eq!((condition.0.as_str(), condition.1.as_str()), ("False", "Suspended"));
    assert_eq!(grapnel.status("WebhookSubscription", "fulfilment").await["pending"], 1);
    assert!(receiver.rest().is_empty());
    home.write("orders.yaml", &orders);
    assert_eq!(receiver.next().await.header("webhook-id"), "parked");

    home.write("orders.yaml", &orders.replacen("spec:\n", "spec:\n  suspend: true\n", 1));
    grapnel
        .eventually("the suspension of the endpoint", async || {
            let (status, answer) = grapnel.post("/default/orders", &[("X-Webhook-Signature", &signature)], body).await;
            (status == 503 && answer["code"] == "suspended").then_some(())
        })
        .await;
}

#[tokio::test]
async fn of_two_endpoints_with_one_path_the_first_keeps_it() {
    let home = Home::new();
    let endpoint = |name: &str| {
        format!(
            "apiVersion: grapnel.dev/v1beta1\nkind: WebhookEndpoint\nmetadata: {{ name: {name} }}\nspec:\n  path: shared\n  \
             event: {{ type: {{ value: {name} }} }}\n  verification: {{ none: {{}} }}\n"
        )
    };
    home.write("a.yaml", &endpoint("older"));
    home.write("b.yaml", &endpoint("newer"));
    let grapnel = home.start();
    assert_eq!(grapnel.post("/default/shared", &[], "{}").await.0, 200);
    assert_eq!(grapnel.status("WebhookEndpoint", "older").await["received"], 1);
    let condition = grapnel.condition("WebhookEndpoint", "newer", "Accepted").await;
    assert_eq!((condition.0.as_str(), condition.1.as_str()), ("False", "PathConflict"));
    home.remove("a.yaml");
    grapnel
        .eventually("the path to go over", async || {
            (grapnel.condition("WebhookEndpoint", "newer", "Ready").await.0 == "True").then_some(())
        })
        .await;
    assert_eq!(grapnel.post("/default/shared", &[], "{\"b\":1}").await.0, 200);
    assert_eq!(grapnel.status("WebhookEndpoint", "newer").await["received"], 1);
}

#[tokio::test]
async fn an_unreadable_document_at_the_first_start_costs_only_itself() {
    let home = Home::new();
    let endpoint = |name: &str, path: &str| {
        format!(
            "apiVersion: grapnel.dev/v1beta1\nkind: WebhookEndpoint\nmetadata:\n  name: {name}\nspec:\n  path: {path}\n  \
             verification:\n    none: {{}}\n---\n"
        )
    };
    let all = |path: &str| [endpoint("first", "first"), endpoint("second", path), endpoint("third", "third")].concat();
    home.write("all.yaml", &all("!second"));
    let grapnel = home.start();
    let post = async |path: &str| grapnel.post(path, &[], "{}").await.0;
    for path in ["/default/first", "/default/third"] {
        assert_eq!(post(path).await, 200, "{path}");
    }
    assert_eq!(post("/default/second").await, 503, "it must not look deleted");
    assert!(grapnel.log().contains("all.yaml:15"), "{}", grapnel.log());

    home.write("all.yaml", &all("second"));
    grapnel.eventually("the mended endpoint", async || (post("/default/second").await == 200).then_some(())).await;
    assert_eq!(post("/default/fourth").await, 404);
}
