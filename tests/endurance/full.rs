//! `--journal-max-bytes`, from the outside: more comes in than fits, with a receiver that takes it and with one that does
//! not.

use crate::{
    home::{self, MANIFEST, SECRET, orders},
    program::{Grapnel, hmac_hex, receiver::Receiver},
    size,
};

/// The bound, in bytes.
const BOUND: usize = 1 << 20;
/// Size of a body; it lies in a file of its own.
const BODY: usize = 4096;

async fn post(grapnel: &Grapnel, number: usize) -> u16 {
    let body = format!(r#"{{"id":"order-{number}","filler":"{}"}}"#, "x".repeat(BODY));
    let signature = hmac_hex(SECRET, body.as_bytes());
    let answer = grapnel.try_post("/default/orders", &[("x-webhook-signature", &signature)], body).await.unwrap();
    let status = answer.status().as_u16();
    if status == 503 {
        assert!(answer.headers().contains_key("retry-after"));
        assert!(answer.text().await.unwrap().contains(r#""code":"unavailable""#));
    }
    status
}

async fn used(grapnel: &Grapnel) -> f64 {
    grapnel.metric("grapnel_journal_bytes").await
}

#[tokio::test]
async fn settled_events_make_room_and_unsettled_ones_do_not() {
    let receiver = Receiver::start().await;
    // A subscription that takes what comes, and one that pins the first events, because it tries for hours.
    let manifest = |suspend: bool| {
        let pinning = format!("  suspend: {suspend}");
        orders(&receiver.url, "", &pinning)
    };
    let home = home::home(&manifest(false)).with(&["--journal-max-bytes", "1Mi", "--namespace-share", "1Mi"]);
    let grapnel = home.start();
    // Several times the bound, while all is delivered: a sender that comes again is never refused for long.
    let events = size("GRAPNEL_RETAINED_EVENTS", 1000).max(3 * BOUND / BODY);
    for number in 0..events {
        grapnel.eventually("room", async || (post(&grapnel, number).await == 200).then_some(())).await;
        if number % 50 == 0 {
            assert!(used(&grapnel).await <= BOUND as f64);
        }
    }
    for _ in 0..events {
        receiver.next().await;
    }

    // Parked: what is not settled is not removed, and the bound holds.
    home.write(MANIFEST, &manifest(true));
    grapnel
        .eventually("the suspension", async || {
            (grapnel.condition("WebhookSubscription", "out", "Delivering").await.1 == "Suspended").then_some(())
        })
        .await;
    let mut next = events;
    while post(&grapnel, next).await == 200 {
        next += 1;
        assert!(next < events + 2 * BOUND / BODY, "more than fits");
    }
    assert!(used(&grapnel).await <= BOUND as f64);
    assert!(next - events > BOUND / BODY / 2, "only {} events fitted", next - events);
    // Also for the next process, which finds it full.
    grapnel.send_signal("TERM");
    assert_eq!(grapnel.ended().await.0.code(), Some(0));
    let grapnel = home.start();
    assert_eq!(post(&grapnel, next).await, 503);
    assert_eq!(
        grapnel.api("/api/v1/namespaces/default/endpoints/orders/events").await["items"][0]["id"],
        format!("order-{events}")
    );

    // It is delivered after all, each once, and then there is room.
    home.write(MANIFEST, &manifest(false));
    for number in events..next {
        let _ = number;
        receiver.next().await;
    }
    grapnel.eventually("room", async || (post(&grapnel, next).await == 200).then_some(())).await;
    assert_eq!(receiver.next().await.header("webhook-id"), format!("order-{next}"));
}
