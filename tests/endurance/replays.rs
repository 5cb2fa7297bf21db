//! Requests that were signed once and are sent again.

use crate::{
    home::{self, SECRET, orders},
    program::{Grapnel, hmac_hex, receiver::Receiver},
};

/// Seconds since 1970.
fn now() -> i64 {
    jiff::Timestamp::now().as_second()
}

/// An endpoint as Stripe signs, whose signatures hold a timestamp.
fn stripe(target: &str, endpoint: &str) -> String {
    let hmac = "    hmac: { header: X-Webhook-Signature, algorithm: SHA256, encoding: Hex }\n";
    orders(target, endpoint, "").replace(hmac, "    provider: { name: Stripe, tolerance: 60s }\n")
}

/// A signed request: headers and body.
struct Signed(&'static str, String, String);

impl Signed {
    fn with_stripe(id: &str, time: i64) -> Self {
        let body = format!(r#"{{"id":"{id}","type":"order.created"}}"#);
        let signature = hmac_hex(SECRET, format!("{time}.{body}").as_bytes());
        Self("stripe-signature", format!("t={time},v1={signature}"), body)
    }

    fn plainly(id: &str, more: &str) -> Self {
        let body = format!(r#"{{"id":"{id}","more":"{more}"}}"#);
        Self("x-webhook-signature", hmac_hex(SECRET, body.as_bytes()), body)
    }

    /// Sends it; status and the code of a refusal, or whether it is called a duplicate.
    async fn send(&self, grapnel: &Grapnel) -> (u16, String) {
        let Self(header, signature, body) = self;
        let (status, answer) = grapnel.post("/default/orders", &[(header, signature)], body.clone()).await;
        let code = answer["code"].as_str().unwrap_or(if answer["duplicate"] == true { "duplicate" } else { "new" });
        (status, code.to_owned())
    }
}

fn new() -> (u16, String) {
    (200, "new".into())
}

fn duplicate() -> (u16, String) {
    (200, "duplicate".into())
}

fn stale() -> (u16, String) {
    (401, "stale_timestamp".into())
}

#[tokio::test]
async fn an_old_signature_is_stale_before_and_after_a_restart() {
    let receiver = Receiver::start().await;
    let home = home::home(&stripe(&receiver.url, ""));
    let grapnel = home.start();
    let old = Signed::with_stripe("old", now() - 62);
    let early = Signed::with_stripe("early", now() + 120);
    let good = Signed::with_stripe("good", now() - 5);
    assert_eq!(old.send(&grapnel).await, stale());
    assert_eq!(early.send(&grapnel).await, stale());
    assert_eq!(good.send(&grapnel).await, new());
    grapnel.kill();
    let grapnel = home.start();
    assert_eq!(old.send(&grapnel).await, stale());
    // A fresh time under the old signature is no signature.
    let Signed(header, signature, body) = &good;
    let (_, mac) = signature.split_once(',').unwrap();
    let forged = Signed(header, format!("t={},{mac}", now() - 4), body.clone());
    assert_eq!(forged.send(&grapnel).await, (401, "invalid_signature".into()));
    assert_eq!(Signed::with_stripe("last", now()).send(&grapnel).await, new());
    stored_and_delivered(&receiver, &grapnel, &["good", "last"]).await;
}

#[tokio::test]
async fn a_replay_within_the_tolerance_is_a_duplicate_across_restarts() {
    let receiver = Receiver::start().await;
    let home = home::home(&stripe(&receiver.url, ""));
    let signed = Signed::with_stripe("once", now());
    let mut grapnel = home.start();
    assert_eq!(signed.send(&grapnel).await, new());
    assert_eq!(signed.send(&grapnel).await, duplicate());
    grapnel.kill();
    grapnel = home.start();
    assert_eq!(signed.send(&grapnel).await, duplicate());
    grapnel.send_signal("TERM");
    assert_eq!(grapnel.ended().await.0.code(), Some(0));
    let grapnel = home.start();
    assert_eq!(signed.send(&grapnel).await, duplicate());
    // Signed anew at another time, it is the same event.
    assert_eq!(Signed::with_stripe("once", now() - 1).send(&grapnel).await, duplicate());
    stored_and_delivered(&receiver, &grapnel, &["once"]).await;
}

/// Without a timestamp in the signature there is the window, and nothing else.
#[tokio::test]
async fn a_scheme_without_a_timestamp_has_the_window() {
    let receiver = Receiver::start().await;
    let home = home::home(&orders(&receiver.url, "", ""));
    let grapnel = home.start();
    let signed = Signed::plainly("once", "a");
    assert_eq!(signed.send(&grapnel).await, new());
    grapnel.kill();
    let grapnel = home.start();
    assert_eq!(signed.send(&grapnel).await, duplicate());
    // The id is what counts: another body under it, rightly signed, is not delivered either.
    assert_eq!(Signed::plainly("once", "b").send(&grapnel).await, duplicate());
    let stored = grapnel.api("/api/v1/namespaces/default/endpoints/orders/events/once").await;
    assert_eq!(stored["payload"]["more"], "a", "{stored}");
    stored_and_delivered(&receiver, &grapnel, &["once"]).await;
}

/// An id is remembered for exactly the window, also by a process that has not seen it.
#[tokio::test]
async fn after_the_window_an_id_is_new() {
    let receiver = Receiver::start().await;
    let home = home::home(&orders(&receiver.url, "  deduplication: { window: 1s }", ""));
    let grapnel = home.start();
    let signed = Signed::plainly("again", "a");
    let began = jiff::Timestamp::now();
    assert_eq!(signed.send(&grapnel).await, new());
    let answered = jiff::Timestamp::now();
    grapnel.kill();
    let grapnel = home.start();
    grapnel
        .eventually("the end of the window", async || {
            let sent = jiff::Timestamp::now();
            let outcome = signed.send(&grapnel).await;
            // Whatever the machine does meanwhile: too early is too early, and too late is too late.
            let window = std::time::Duration::from_secs(1);
            if jiff::Timestamp::now() < began + window {
                assert_eq!(outcome, duplicate());
            }
            if sent >= answered + window {
                assert_eq!(outcome, new());
            }
            (outcome == new()).then_some(())
        })
        .await;
    stored_and_delivered(&receiver, &grapnel, &["again", "again"]).await;
}

/// These events are stored and no others, each of them is delivered.
async fn stored_and_delivered(receiver: &Receiver, grapnel: &Grapnel, ids: &[&str]) {
    let stored = grapnel.api("/api/v1/namespaces/default/endpoints/orders/events").await;
    let stored = stored["items"].as_array().unwrap().iter().map(|event| event["id"].as_str().unwrap().to_owned());
    assert_eq!(stored.collect::<Vec<_>>(), ids);
    let mut missing: Vec<_> = ids.to_vec();
    while !missing.is_empty() {
        let arrived = receiver.next().await;
        missing.retain(|id| *id != arrived.header("webhook-id"));
    }
}
