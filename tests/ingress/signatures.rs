//! Nobody gets in.

use std::sync::Arc;

use grapnel::catalog::Endpoint;
use grapnel_values::clock::ManualClock;
use hmac::{Hmac, KeyInit, Mac};
use jiff::Timestamp;
use sha2::Sha256;

use super::{
    client::{Post, Wire, sign},
    fixture::{Plan, SECRET, Served, endpoint, verifier},
};

const HEADER: &str = "X-Hub-Signature-256";
const BODY: &str = r#"{"id":"e1","type":"t"}"#;

/// From the sender's own documentation:
/// <https://docs.github.com/en/webhooks/using-webhooks/validating-webhook-deliveries#testing-the-webhook-payload-validation>.
#[tokio::test]
async fn the_published_vector_is_accepted() {
    let served = Served::one().await;
    let post = Post::to("/shop/orders", "Hello, World!")
        .header("Content-Type", "text/plain")
        .header(HEADER, "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17");
    post.send(served.address).await.accepted();
}

#[tokio::test]
async fn without_a_signature_nobody_gets_in() {
    let served = Served::one().await;
    let answer = Post::to("/shop/orders", BODY).send(served.address).await;
    let sentence = answer.refused(401, "missing_signature");
    assert!(sentence.to_lowercase().contains("x-hub-signature-256"), "{sentence}");
    assert!(served.stored("orders").await.is_empty());
}

#[tokio::test]
async fn a_wrong_signature_gets_nobody_in_and_is_repeated_nowhere() {
    let served = Served::one().await;
    let right = sign(SECRET, BODY.as_bytes());
    let cut = &right[..right.len() - 2];
    let other = sign("another secret", BODY.as_bytes());
    let mut flipped = right.clone();
    let last = flipped.pop().unwrap();
    flipped.push(if last == '0' { '1' } else { '0' });
    for wrong in [
        "sha256=",
        "sha256=zz",
        &right[7..],
        &right.replace("sha256=", "sha1="),
        cut,
        &format!("{right}00"),
        &format!("{right},{right}"),
        &other,
        &flipped,
        &"f".repeat(20_000),
    ] {
        let answer = Post::to("/shop/orders", BODY).header(HEADER, wrong).send(served.address).await;
        assert!(!answer.text().contains(&right[7..40]), "{}", answer.text());
        answer.refused(401, "invalid_signature");
    }
    let empty = Post::to("/shop/orders", BODY).header(HEADER, "").send(served.address).await;
    assert_eq!(empty.status, 401, "{}", empty.text());
    let twice = Post::signed("/shop/orders", BODY).header(HEADER, &*other).send(served.address).await;
    twice.refused(401, "invalid_signature");
    let changed = Post::to("/shop/orders", BODY.replace("e1", "e2")).header(HEADER, &*right);
    changed.send(served.address).await.refused(401, "invalid_signature");
    let spaced = Post::to("/shop/orders", BODY.replace(':', ": ")).header(HEADER, &*right);
    spaced.send(served.address).await.refused(401, "invalid_signature");
    assert!(served.stored("orders").await.is_empty());
    assert!(!served.facts("orders").last_rejection.unwrap().message.contains(&right[7..40]));
    Post::to("/shop/orders", BODY).header(HEADER, &*right).send(served.address).await.accepted();
}

#[tokio::test]
async fn nothing_is_parsed_before_it_is_verified() {
    let served = Served::one().await;
    Post::to("/shop/orders", "not json")
        .header(HEADER, "sha256=00")
        .send(served.address)
        .await
        .refused(401, "invalid_signature");
}

#[tokio::test]
async fn any_of_the_secrets_may_match() {
    let rotating = Endpoint { verifier: verifier("GitHub", &["new secret", SECRET]), ..endpoint("orders") };
    let served = Served::with([rotating]).await;
    for (number, secret) in ["new secret", SECRET].into_iter().enumerate() {
        let body = format!(r#"{{"id":"{number}"}}"#);
        let signature = sign(secret, body.as_bytes());
        Post::to("/shop/orders", body).header(HEADER, signature).send(served.address).await.accepted();
    }
}

#[tokio::test]
async fn an_old_signature_is_stale() {
    let now = Timestamp::from_second(1_700_000_000).unwrap();
    let mut plan = Plan::of([Endpoint { verifier: verifier("Stripe", &["whsec_test"]), ..endpoint("orders") }]);
    plan.clock = Arc::new(ManualClock::new(now));
    let served = plan.serve().await;
    let post = |age: i64| {
        let time = now.as_second() - age;
        let mut mac = Hmac::<Sha256>::new_from_slice(b"whsec_test").unwrap();
        mac.update(format!("{time}.{BODY}").as_bytes());
        let signature = hex::encode(mac.finalize().into_bytes());
        Post::to("/shop/orders", BODY).header("Stripe-Signature", format!("t={time},v1={signature}"))
    };
    for age in [301, -301, 1_000_000] {
        post(age).send(served.address).await.refused(401, "stale_timestamp");
    }
    post(299).send(served.address).await.accepted();
    let mut forged = post(400);
    forged.body.push(b' ');
    forged.send(served.address).await.refused(401, "invalid_signature");
}

#[tokio::test]
async fn a_refused_request_leaves_the_connection_as_it_was() {
    let served = Served::one().await;
    let mut wire = Wire::open(served.address).await;
    wire.exchange(&Post::to("/shop/orders", BODY).bytes()).await.refused(401, "missing_signature");
    wire.exchange(&Post::to("/shop/none", BODY).bytes()).await.refused(404, "not_found");
    wire.exchange(&Post::signed("/shop/orders", BODY).bytes()).await.accepted();
}
