//! What a person does: sees what has arrived, why it was not delivered, and sends it again.

use std::sync::atomic::Ordering::SeqCst;

use crate::{ANSWER, Console, Shop, browser::Browser};

#[tokio::test]
async fn an_event_is_seen_to_fail_and_sent_again() {
    let shop = Shop::open().await;
    let (status, refusal) = shop.grapnel.post("/shop/orders", &[], "{}").await;
    assert_eq!((status, &refusal["code"]), (400, &"malformed_payload".into()), "an event without its id");
    let console = Console::start(&shop.grapnel.admin, &[]).await;
    let mut browser = Browser::start().await;
    browser.goto(&console.url).await;
    browser.see("Overview").await;
    browser.link("shop/orders").await;
    browser.see("New events appear here.").await;
    // What the sender was answered.
    let endpoint = browser.text().await;
    assert!(endpoint.contains("malformed_payload") && endpoint.contains("0 accepted, 1 rejected"), "{endpoint}");
    // It appears without a reload.
    shop.send("ord-1001", "order.created").await;
    browser.see("1 new event").await;
    assert!(browser.text().await.contains("order.created"));
    shop.until_dead(1).await;
    for number in 1002..1006 {
        shop.send(&format!("ord-{number}"), "order.created").await;
    }
    shop.send("ref-2001", "order.refunded").await;
    browser.see("6 new events").await;
    browser.assert_usable().await;
    browser.picture("console-endpoint").await;
    shop.until_dead(6).await;

    browser.link("ord-1001").await;
    let event = browser.see("dead letter").await;
    assert!(event.contains(ANSWER) && event.contains("503") && event.contains("\"total\": 1999"), "{event}");
    assert!(event.contains("skipped by type"), "the other subscription: {event}");
    browser.assert_usable().await;
    browser.picture("console-event").await;

    // One event, in two steps.
    assert_eq!(shop.receiver.rest().len(), 6);
    shop.works.store(true, SeqCst);
    browser.button("Redeliver… to shop/billing").await;
    let preview = browser.see("Nothing has been sent yet").await;
    assert!(preview.contains("1 event, with attempts that start again at 1"), "{preview}");
    browser.assert_usable().await;
    browser.picture("console-redeliver").await;
    assert!(shop.receiver.rest().is_empty(), "a dry run sends nothing");
    browser.button("Redeliver").await;
    browser.see("1 event queued for redelivery.").await;
    let again = shop.receiver.next().await;
    assert_eq!((again.header("webhook-id"), again.header("grapnel-attempt")), ("ord-1001", "1"));
    browser.assert_usable().await;
    browser.link("ord-1001").await;
    let event = browser.reload_until("delivered").await;
    assert!(event.contains("200") && !event.contains(ANSWER), "{event}");

    // Selected ones.
    browser.link("shop/billing").await;
    browser.check("Select event ord-1002").await;
    browser.check("Select event ord-1004").await;
    browser.picture("console-subscription").await;
    browser.button("Redeliver selected…").await;
    browser.see("2 events, with attempts").await;
    browser.button("Redeliver").await;
    browser.see("2 events queued for redelivery.").await;
    let mut ids = [shop.receiver.next().await, shop.receiver.next().await].map(|it| it.header("webhook-id").to_owned());
    ids.sort();
    assert_eq!(ids, ["ord-1002", "ord-1004"]);
    shop.until_dead(3).await;

    // All that are left.
    browser.button("Redeliver all dead letters…").await;
    browser.see("3 events, with attempts").await;
    browser.button("Redeliver").await;
    browser.see("3 events queued for redelivery.").await;
    shop.until_dead(0).await;
    browser.reload_until("delivered").await;

    browser.link("Conditions and YAML").await;
    let yaml = browser.see("apiVersion: grapnel.dev/v1beta1").await;
    assert!(yaml.contains("endpointRef:") && yaml.contains("Delivering"), "{yaml}");
    browser.assert_usable().await;
    browser.link("Grapnel").await;
    let overview = browser.see("Overview").await;
    for word in ["shop/payments", "SecretNotFound", "6 accepted, 1 rejected", "6 delivered, 6 failed"] {
        assert!(overview.contains(word), "{word} is not in {overview}");
    }
    browser.assert_usable().await;
    browser.picture("console-overview").await;
    browser.assert_confined_to(console.origin()).await;
    let log = shop.grapnel.log();
    let line = log.lines().find(|line| line.contains("events queued for redelivery")).unwrap();
    assert!(line.contains("a client on this machine"), "it is told who asked: {line}");
}

#[tokio::test]
async fn it_is_used_by_keyboard() {
    let shop = Shop::open().await;
    let mut browser = Browser::start().await;
    browser.goto(&shop.grapnel.admin).await;
    browser.press("Tab").await;
    assert_eq!(browser.ask::<String>("focused", serde_json::json!({})).await, "Skip to content");
    browser.press("Enter").await;
    assert_eq!(browser.ask::<String>("focused", serde_json::json!({})).await, "content");
    browser.fill("Namespace", "other").await;
    browser.press("Enter").await;
    browser.see("There are no endpoints here.").await;
    browser.assert_confined_to(&shop.grapnel.admin).await;
}

#[tokio::test]
async fn it_is_read_and_used_without_script() {
    let shop = Shop::open().await;
    shop.send("ord-1", "order.created").await;
    shop.until_dead(1).await;
    let mut browser = Browser::start().await;
    browser.open(false).await;
    browser.goto(&shop.grapnel.admin).await;
    browser.link("shop/orders").await;
    assert_eq!(browser.count(".live:not([hidden])").await, 0, "without script nothing is live");
    browser.link("ord-1").await;
    browser.see(ANSWER).await;
    browser.button("Redeliver… to shop/billing").await;
    browser.see("Nothing has been sent yet").await;
    shop.works.store(true, SeqCst);
    browser.button("Redeliver").await;
    browser.see("1 event queued for redelivery.").await;
    shop.until_dead(0).await;
    browser.assert_confined_to(&shop.grapnel.admin).await;
}

/// A subscription whose circuit opens at the first failure, one in mode Shadow, and a replay that only counts.
const MORE: &str = "---
apiVersion: grapnel.dev/v1beta1
kind: WebhookSubscription
metadata: { namespace: shop, name: held }
spec:
  endpointRef: { name: orders }
  target: { url: 'RECEIVER/held' }
  retry: { initialDelay: 1s, maxDelay: 1s }
  circuitBreaker: { failures: 1, cooldown: 1h }
---
apiVersion: grapnel.dev/v1beta1
kind: WebhookSubscription
metadata: { namespace: shop, name: next }
spec:
  endpointRef: { name: orders }
  mode: Shadow
  transform: \"{'sum': payload.order.total}\"
  target: { url: 'RECEIVER/next' }
---
apiVersion: grapnel.dev/v1beta1
kind: WebhookReplay
metadata: { namespace: shop, name: counting }
spec:
  subscriptionRef: { name: billing }
  select: { since: 2026-01-01T00:00:00Z }
  filter: payload.order.total > 5
  dryRun: true
";

#[tokio::test]
async fn a_held_event_is_probed_and_replays_and_shadows_are_shown() {
    let shop = Shop::open_with(MORE).await;
    shop.send("ord-1", "order.created").await;
    let mut browser = Browser::start().await;
    let page = |path: &str| format!("{}{path}", shop.grapnel.admin);
    browser.goto(&page("/console/subscriptions/shop/held")).await;
    browser.reload_until("waits for the circuit (probe in").await;
    browser.assert_usable().await;
    shop.works.store(true, SeqCst);
    browser.button("Probe the receiver now").await;
    browser.see("The receiver is probed").await;
    browser.reload_until("circuit closed").await;
    let log = shop.grapnel.log();
    let line = log.lines().find(|line| line.contains("a probe of the receiver was requested")).expect("it is logged");
    assert!(line.contains("a client on this machine"), "it is told who asked: {line}");

    browser.goto(&page("/console/subscriptions/shop/next")).await;
    let shadow = browser.see("What would be sent").await;
    assert!(shadow.contains("1 event would have been sent") && shadow.contains("\"sum\": 1999"), "{shadow}");
    browser.assert_usable().await;

    browser.link("shop").await;
    browser.link("shop/counting").await;
    let replay = browser.see("Dry run: it counts").await;
    assert!(replay.contains("payload.order.total > 5") && replay.contains("Conditions"), "{replay}");
    browser.assert_usable().await;
    browser.assert_confined_to(&shop.grapnel.admin).await;

    // A link to what does not exist any more.
    assert_eq!(browser.goto(&page("/console/subscriptions/shop/gone")).await, Some(404));
    browser.see("There is no WebhookSubscription shop/gone").await;
    browser.assert_usable().await;
    browser.link("Objects in namespace shop").await;
    browser.see("Overview").await;
}
