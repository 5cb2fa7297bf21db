//! The retention that objects ask for, as the program keeps it.

use crate::{
    home::{self, Home, MANIFEST, SECRET, orders},
    program::{Grapnel, hmac_hex, receiver::Receiver},
};

async fn post(grapnel: &Grapnel, id: &str) {
    let body = format!(r#"{{"id":"{id}"}}"#);
    let signature = hmac_hex(SECRET, body.as_bytes());
    assert_eq!(grapnel.post("/default/orders", &[("x-webhook-signature", &signature)], body).await.0, 200);
}

async fn kept(grapnel: &Grapnel) -> Vec<String> {
    let events = grapnel.api("/api/v1/namespaces/default/endpoints/orders/events").await;
    let items = events["items"].as_array().unwrap().iter();
    items.map(|event| event["id"].as_str().unwrap().to_owned()).collect()
}

/// Starts it until only these events are kept: it sweeps at every start.
async fn start_until_kept(home: &Home, ids: &[&str]) -> Grapnel {
    let deadline = tokio::time::Instant::now() + crate::program::PATIENCE;
    loop {
        let grapnel = home.start();
        // The sweep comes before the first status is asked for, or is under way.
        let mut looks = 0;
        while looks < 10 {
            let kept = kept(&grapnel).await;
            assert!(ids.iter().all(|id| kept.iter().any(|kept| kept == id)), "{kept:?} lacks one of {ids:?}");
            if kept == ids {
                return grapnel;
            }
            looks += 1;
            tokio::task::yield_now().await;
        }
        assert!(tokio::time::Instant::now() < deadline, "still more than {ids:?} is kept");
    }
}

#[tokio::test]
async fn events_go_when_their_endpoint_says_and_dead_letters_when_their_subscription_says() {
    let receiver = Receiver::start().await;
    let manifest = |letters: &str| {
        let dead = format!("  deadLetter: {{ retention: {letters} }}");
        orders(&receiver.url, "  retention: 1s", &dead)
    };
    let home = home::home(&manifest("1h"));
    let grapnel = home.start();
    let count = async |name: &str, expected: u64| {
        let reached = async || {
            let status = grapnel.status("WebhookSubscription", "out").await;
            (status[name] == expected).then_some(())
        };
        grapnel.eventually(name, reached).await;
    };
    receiver.answer(410);
    post(&grapnel, "dead").await;
    count("deadLettered", 1).await;
    receiver.answer(200);
    for id in ["a", "b", "c"] {
        post(&grapnel, id).await;
    }
    count("delivered", 3).await;
    grapnel.send_signal("TERM");
    assert_eq!(grapnel.ended().await.0.code(), Some(0));

    let grapnel = start_until_kept(&home, &["dead"]).await;
    assert_eq!(grapnel.status("WebhookSubscription", "out").await["deadLettered"], 1);
    drop(grapnel);
    home.write(MANIFEST, &manifest("1s"));
    let grapnel = start_until_kept(&home, &[]).await;
    let reached = async || (grapnel.status("WebhookSubscription", "out").await["deadLettered"] == 0).then_some(());
    grapnel.eventually("no dead letter", reached).await;
}
