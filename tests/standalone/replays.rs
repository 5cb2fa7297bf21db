//! `WebhookReplay` in files: it runs once for each content.

use serde_json::Value;

use crate::{
    home::Home,
    program::{Grapnel, command, hmac_hex, receiver::Receiver},
    walk::ORDERS,
};

async fn send(grapnel: &Grapnel, id: &str) {
    let body = format!(r#"{{"id":"{id}","type":"order.created","total":1}}"#).into_bytes();
    let signature = hmac_hex(ORDERS, &body);
    assert_eq!(grapnel.post("/default/orders", &[("X-Webhook-Signature", &signature)], body).await.0, 200);
}

fn replay(more: &str) -> String {
    format!(
        "apiVersion: grapnel.dev/v1beta1
kind: WebhookReplay
metadata: {{ name: again }}
spec:
  subscriptionRef: {{ name: fulfilment }}
{more}
"
    )
}

/// The status of the replay once it is complete.
async fn complete(grapnel: &Grapnel) -> Value {
    grapnel
        .eventually("the end of the replay", async || {
            let (status, _, _) = grapnel.condition("WebhookReplay", "again", "Complete").await;
            (status == "True").then_some(())
        })
        .await;
    grapnel.status("WebhookReplay", "again").await
}

#[tokio::test]
async fn a_replay_in_a_file_runs_once_for_each_content() {
    let receiver = Receiver::start().await;
    receiver.answer(410);
    let home = Home::quickstart(&receiver.url);
    let grapnel = home.start();
    for id in ["order-1", "order-2"] {
        send(&grapnel, id).await;
        assert_eq!(receiver.next().await.status(), Some(410));
    }
    receiver.answer(200);
    home.write("replay.yaml", &replay("  select: { deadLettered: true }\n  filter: payload.id == 'order-1'"));
    let status = complete(&grapnel).await;
    for (field, count) in [("matched", 1), ("queued", 1), ("delivered", 1), ("failed", 0)] {
        assert_eq!(status[field], count, "{field}: {status}");
    }
    let arrived = receiver.next().await;
    assert_eq!((arrived.header("webhook-id"), arrived.header("grapnel-attempt")), ("order-1", "1"));
    let output = command().args(["status", "--admin-url", &grapnel.admin]).output().unwrap();
    let shown = String::from_utf8(output.stdout).unwrap();
    let row = shown.lines().find(|line| line.starts_with("default/again")).expect("a row of the replay");
    assert!(
        row.split_whitespace().collect::<Vec<_>>().starts_with(&["default/again", "fulfilment", "True", "1"]),
        "{row}"
    );

    // Neither a restart nor a change of what may be changed runs it again.
    grapnel.send_signal("TERM");
    grapnel.ended().await;
    home.write(
        "replay.yaml",
        &replay("  select: { deadLettered: true }\n  filter: payload.id == 'order-1'\n  ttlSecondsAfterFinished: 60"),
    );
    let grapnel = home.start();
    let before = complete(&grapnel).await;
    assert_eq!((&before["delivered"], &before["startTime"]), (&1.into(), &status["startTime"]));

    // Another content does.
    home.write("replay.yaml", &replay("  select: { ids: [order-1, order-2, order-3] }"));
    grapnel
        .eventually("the other replay", async || {
            let status = grapnel.status("WebhookReplay", "again").await;
            (status["delivered"] == 2 && status["gone"] == 1).then_some(())
        })
        .await;
    complete(&grapnel).await;
    let mut ids = Vec::new();
    for _ in 0..2 {
        ids.push(receiver.next().await.header("webhook-id").to_owned());
    }
    ids.sort_unstable();
    assert_eq!(ids, ["order-1", "order-2"]);
    assert!(receiver.rest().is_empty(), "nothing is delivered more often");
}

#[tokio::test]
async fn a_replay_of_no_subscription_is_reported_and_begins_when_there_is_one() {
    let receiver = Receiver::start().await;
    let home = Home::quickstart(&receiver.url);
    home.write("replay.yaml", &replay("  select: { deadLettered: true }").replace("fulfilment", "nobody"));
    let grapnel = home.start();
    let (status, reason, message) = grapnel.condition("WebhookReplay", "again", "Failed").await;
    assert_eq!((&*status, &*reason), ("True", "SubscriptionNotFound"));
    assert!(message.contains("WebhookSubscription nobody does not exist in namespace default"), "{message}");
    let output = command().arg("check").arg("-f").arg(home.manifests()).arg("--allow-loopback").output().unwrap();
    let problems = String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{problems}");
    assert!(problems.contains("replay.yaml:5") && problems.contains("SubscriptionNotFound"), "{problems}");
    home.write("replay.yaml", &replay("  select: { deadLettered: true }"));
    let status = complete(&grapnel).await;
    assert_eq!(status["matched"], 0, "nothing to deliver is complete: {status}");
}

#[test]
fn the_example_is_good_together_with_the_quickstart() {
    let root = env!("CARGO_MANIFEST_DIR");
    let paths = [format!("{root}/examples/quickstart"), format!("{root}/examples/replays")];
    let output = command().args(["check", "--allow-loopback", "-f", &paths[0], "-f", &paths[1]]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success() && text.contains("1 WebhookReplay"), "{text}");
}
