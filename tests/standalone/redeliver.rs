//! From the dead letter to the receiver, and what went well once more.

use crate::{
    home::Home,
    program::{Grapnel, command, hmac_hex, receiver::Receiver},
    walk::{ORDERS, RECEIVER},
};

/// A receiver that refuses for good kills an event at its first attempt.
const GONE: u16 = 410;

async fn send(grapnel: &Grapnel, id: &str) {
    let body = format!(r#"{{"id":"{id}","type":"order.created","total":1}}"#).into_bytes();
    let signature = hmac_hex(ORDERS, &body);
    assert_eq!(grapnel.post("/default/orders", &[("X-Webhook-Signature", &signature)], body).await.0, 200);
}

async fn counted(grapnel: &Grapnel, field: &str, count: u64) {
    grapnel
        .eventually(field, async || {
            (grapnel.status("WebhookSubscription", "fulfilment").await[field] == count).then_some(())
        })
        .await;
}

/// `grapnel redeliver fulfilment …`: exit code, what it prints, what it says on standard error.
fn redeliver(grapnel: &Grapnel, args: &[&str]) -> (i32, String, String) {
    let output =
        command().args(["redeliver", "fulfilment", "--admin-url", &grapnel.admin]).args(args).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

#[tokio::test]
async fn a_dead_letter_is_delivered_when_the_receiver_is_mended() {
    let receiver = Receiver::start().await;
    receiver.answer(GONE);
    let home = Home::quickstart(&receiver.url);
    let grapnel = home.start();
    for id in ["order-1", "order-2"] {
        send(&grapnel, id).await;
        let refused = receiver.next().await;
        assert_eq!(
            (refused.header("webhook-id"), refused.header("grapnel-attempt"), refused.status()),
            (id, "1", Some(GONE))
        );
    }
    counted(&grapnel, "deadLettered", 2).await;

    let (code, stdout, _) = redeliver(&grapnel, &["--dead-lettered", "--dry-run"]);
    assert_eq!((code, &*stdout), (0, "2 would be queued, 0 skipped, 0 gone\n"));
    receiver.answer(200);
    let (code, stdout, stderr) = redeliver(&grapnel, &["--dead-lettered"]);
    assert_eq!((code, &*stdout, &*stderr), (0, "2 queued, 0 skipped, 0 gone\n", ""));
    let mut ids = Vec::new();
    for _ in 0..2 {
        let arrived = receiver.next().await;
        assert_eq!((arrived.header("grapnel-attempt"), arrived.status()), ("1", Some(200)), "attempts begin anew");
        arrived.assert_signed(RECEIVER);
        ids.push(arrived.header("webhook-id").to_owned());
    }
    ids.sort_unstable();
    assert_eq!(ids, ["order-1", "order-2"]);
    counted(&grapnel, "delivered", 2).await;
    counted(&grapnel, "deadLettered", 0).await;
    assert_eq!(redeliver(&grapnel, &["--dead-lettered"]).1, "0 queued, 0 skipped, 0 gone\n");

    // What was delivered is kept, and delivered again for whoever asks.
    let (code, stdout, _) = redeliver(&grapnel, &["--id", "order-1"]);
    assert_eq!((code, &*stdout), (0, "1 queued, 0 skipped, 0 gone\n"));
    assert_eq!(receiver.next().await.header("webhook-id"), "order-1");
    let (code, stdout, _) = redeliver(&grapnel, &["--since", "1h", "--until", "2999-01-01T00:00:00Z"]);
    assert_eq!(code, 0);
    assert!(stdout.starts_with("2 queued") || stdout.starts_with("1 queued, 1 skipped"), "{stdout}");
    receiver.next().await;
    assert!(grapnel.log().contains("events queued for redelivery"));
}

#[tokio::test]
async fn what_is_queued_survives_a_kill_and_a_suspension() {
    let receiver = Receiver::start().await;
    receiver.answer(GONE);
    let home = Home::quickstart(&receiver.url);
    let grapnel = home.start();
    send(&grapnel, "order-1").await;
    receiver.next().await;
    counted(&grapnel, "deadLettered", 1).await;
    let orders = home.read("orders.yaml");
    home.write("orders.yaml", &orders.replace("  format: Envelope", "  format: Envelope\n  suspend: true"));
    grapnel
        .eventually("the suspension", async || {
            let condition = grapnel.condition("WebhookSubscription", "fulfilment", "Delivering").await;
            (condition.1 == "Suspended").then_some(())
        })
        .await;
    receiver.answer(200);
    assert_eq!(redeliver(&grapnel, &["--dead-lettered"]).1, "1 queued, 0 skipped, 0 gone\n");
    counted(&grapnel, "pending", 1).await;
    grapnel.kill();

    let grapnel = home.start();
    counted(&grapnel, "pending", 1).await;
    assert!(receiver.rest().is_empty(), "nothing is sent while it is suspended");
    home.write("orders.yaml", &orders);
    let arrived = receiver.next().await;
    assert_eq!((arrived.header("webhook-id"), arrived.header("grapnel-attempt")), ("order-1", "1"));
}

/// The standard output of a command that succeeds.
fn grapnel_says(grapnel: &Grapnel, args: &[&str]) -> String {
    let output = command().args(args).args(["--admin-url", &grapnel.admin]).output().unwrap();
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test]
async fn an_open_circuit_is_shown_and_probed_on_request() {
    let receiver = Receiver::start().await;
    receiver.answer(GONE);
    let home = Home::quickstart(&receiver.url);
    let orders = home.read("orders.yaml");
    let breaker = "  circuitBreaker: { failures: 1, cooldown: 10m }\n  format: Envelope";
    let orders = orders.replace("initialDelay: 1s", "initialDelay: 1h");
    home.write("orders.yaml", &orders.replace("  format: Envelope", breaker));
    let grapnel = home.start();
    send(&grapnel, "order-1").await;
    receiver.next().await;
    counted(&grapnel, "deadLettered", 1).await;
    receiver.answer(500);
    send(&grapnel, "order-2").await;
    receiver.next().await;
    counted(&grapnel, "retrying", 1).await;
    receiver.answer(200);
    let status = grapnel_says(&grapnel, &["status"]);
    assert!(status.contains("open (probe in 9m") && status.contains("fulfilment: CircuitOpen: "), "{status}");
    assert!(grapnel_says(&grapnel, &["deliveries", "list", "fulfilment"]).contains("paused (circuit open until "));

    let (_, stdout, stderr) = redeliver(&grapnel, &["--dead-lettered"]);
    assert_eq!(stdout, "1 queued, 0 skipped, 0 gone\n");
    assert!(stderr.contains("the circuit is open: nothing is sent before the next probe in 9m"), "{stderr}");
    assert!(receiver.rest().is_empty(), "nothing is sent");
    let (_, stdout, stderr) = redeliver(&grapnel, &["--retrying", "--now"]);
    assert_eq!(stdout, "0 queued, 1 hastened, 0 skipped, 0 gone\n");
    assert_eq!(stderr, "the circuit was open: the receiver is probed with one event\n");
    counted(&grapnel, "delivered", 2).await;
    let status = grapnel_says(&grapnel, &["status"]);
    assert!(status.contains("closed") && !status.contains("CircuitOpen"), "{status}");
}

#[tokio::test]
async fn wrong_input_and_failure_have_different_exit_codes() {
    let home = Home::quickstart("http://127.0.0.1:9");
    let grapnel = home.start();
    let (code, _, stderr) = redeliver(&grapnel, &["--since", "a while"]);
    assert!(code == 2 && stderr.contains("a while"), "{code} {stderr}");
    let (code, _, stderr) = redeliver(&grapnel, &["--dead-lettered", "--id", "x"]);
    assert!(code == 2 && stderr.contains("--dead-lettered"), "{code} {stderr}");
    let (code, stdout, stderr) = redeliver(&grapnel, &["--id", "never-sent"]);
    assert_eq!((code, &*stdout), (1, "0 queued, 0 skipped, 1 gone\n"));
    assert!(stderr.contains("never-sent"), "{stderr}");
    let output = command().args(["redeliver", "absent", "--dead-lettered", "--admin-url", &grapnel.admin]).output();
    let output = output.unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("there is no WebhookSubscription default/absent"));
}
