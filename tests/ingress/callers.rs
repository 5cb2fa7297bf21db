//! Callers known by their ServiceAccount; here a table says whose a token is.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use futures_util::{FutureExt, future::BoxFuture};
use grapnel::{
    catalog::{Endpoint, Snapshot},
    ingress::{Callers, Review, ReviewError},
};
use grapnel_api::ObjectKey;
use grapnel_signature::{Scheme, ServiceAccountScheme, Verifier};

use super::{
    client::{Answer, Post},
    fixture::{Plan, Served, endpoint},
};

const BODY: &str = r#"{"id":"e1","type":"t"}"#;

/// Tokens: `billing`, `cron`, `person`, `elsewhere` (for another audience), `never` (no answer); all others are none.
#[derive(Default)]
struct Table {
    reviews: AtomicUsize,
}

impl Callers for Table {
    fn review<'a>(&'a self, token: &'a str, audiences: &'a [Box<str>]) -> BoxFuture<'a, Result<Review, ReviewError>> {
        self.reviews.fetch_add(1, SeqCst);
        let review = |username: &str| Ok(Review { username: username.into(), audiences: audiences.into() });
        let answer = match token {
            "billing" => review("system:serviceaccount:shop:billing"),
            "cron" => review("system:serviceaccount:shop:cron"),
            "person" => review("shop:billing"),
            "elsewhere" => {
                Ok(Review { username: "system:serviceaccount:shop:billing".into(), audiences: ["other".into()].into() })
            }
            "down" => Err(ReviewError::Unavailable),
            "expired" => Err(ReviewError::Expired),
            "never" => return std::future::pending().boxed(),
            _ => Err(ReviewError::Refused),
        };
        async move { answer }.boxed()
    }
}

fn inside(name: &str) -> Endpoint {
    let scheme =
        ServiceAccountScheme { audiences: vec!["grapnel".into()], allowed: vec![("shop".into(), "billing".into())] };
    Endpoint { verifier: Verifier::new(Scheme::ServiceAccount(scheme), Vec::new()).unwrap(), ..endpoint(name) }
}

async fn serving() -> (Served, Arc<Table>) {
    let table = Arc::new(Table::default());
    let mut plan = Plan::of([inside("orders"), endpoint("signed")]);
    plan.callers = Some(table.clone());
    (plan.serve().await, table)
}

async fn post(served: &Served, authorization: &str) -> Answer {
    Post::to("/shop/orders", BODY).header("Authorization", authorization).send(served.address).await
}

#[tokio::test]
async fn an_allowed_account_gets_in_and_its_token_is_not_kept() {
    let (served, _) = serving().await;
    assert_eq!(post(&served, "Bearer billing").await.accepted(), "e1");
    let stored = served.stored("orders").await;
    assert_eq!(stored.len(), 1);
    assert!(stored[0].headers.iter().all(|(name, _)| &**name != "authorization"), "{:?}", stored[0].headers);
    assert!(!format!("{stored:?}").contains("billing"));
}

#[tokio::test]
async fn nobody_else_gets_in() {
    let (served, _) = serving().await;
    let answer = Post::to("/shop/orders", BODY).send(served.address).await;
    let sentence = answer.refused(401, "missing_signature");
    assert!(sentence.contains("Authorization: Bearer"), "{sentence}");
    for (token, word) in [
        ("cron", "allowed"),
        ("person", "allowed"),
        ("elsewhere", "audience"),
        ("unheard-of", "the cluster does not accept"),
        ("expired", "expired"),
    ] {
        let sentence = post(&served, &format!("Bearer {token}")).await.refused(401, "invalid_signature");
        assert!(sentence.contains(word) && !sentence.contains("unheard-of"), "{sentence}");
    }
    for wrong in ["billing", "Basic billing", "Bearer", "Bearer billing billing", "Bearer bill\u{e4}ng"] {
        post(&served, wrong).await.refused(401, "invalid_signature");
    }
    let twice = Post::to("/shop/orders", BODY).header("Authorization", "Bearer billing");
    let twice = twice.header("Authorization", "Bearer billing").send(served.address).await;
    twice.refused(401, "invalid_signature");
    assert!(served.stored("orders").await.is_empty());
    assert!(!served.facts("orders").last_rejection.unwrap().message.contains("billing"));
}

#[tokio::test]
async fn without_a_review_the_response_says_when_to_retry() {
    let (served, _) = serving().await;
    let answer = post(&served, "Bearer down").await;
    let sentence = answer.refused(503, "unavailable");
    assert!(sentence.contains("API server"), "{sentence}");
    assert!(answer.retry_after() > 0);

    let mut plan = Plan::of([Endpoint { timeout: std::time::Duration::from_millis(50), ..inside("orders") }]);
    plan.callers = Some(Arc::new(Table::default()));
    let served = plan.serve().await;
    post(&served, "Bearer never").await.refused(503, "unavailable");

    let without = Served::with([inside("orders")]).await;
    post(&without, "Bearer billing").await.refused(503, "unavailable");
    assert!(without.stored("orders").await.is_empty());
}

#[tokio::test]
async fn what_is_rejected_anyway_is_not_reviewed() {
    let (served, table) = serving().await;
    let to = |path: &str| Post::to(path, BODY).header("Authorization", "Bearer billing");
    to("/shop/orders").method("PUT").send(served.address).await.refused(405, "method_not_allowed");
    to("/shop/signed").send(served.address).await.refused(401, "missing_signature");
    let large = Post::to("/shop/orders", "x".repeat(2 << 20)).header("Authorization", "Bearer billing");
    large.send(served.address).await.refused(413, "body_too_large");
    assert_eq!(table.reviews.load(SeqCst), 0);
    // Nothing is parsed before the caller is known.
    let broken = Post::to("/shop/orders", "not json");
    broken.clone().header("Authorization", "Bearer cron").send(served.address).await.refused(401, "invalid_signature");
    broken.header("Authorization", "Bearer billing").send(served.address).await.accepted();
}

#[tokio::test]
async fn a_namespace_whose_requests_take_long_leaves_room_to_others() {
    // What a namespace may have in progress at least.
    const BOUND: usize = 64;
    let key = ObjectKey::new("elsewhere", "orders");
    let place = Snapshot::place(&key.namespace, &key.name);
    let elsewhere = Endpoint { key, place, ..endpoint("orders") };
    let mut plan = Plan::of([inside("orders"), endpoint("signed"), elsewhere]);
    let table = Arc::new(Table::default());
    plan.callers = Some(table.clone());
    plan.options.max_connections = 2 * BOUND;
    let served = plan.serve().await;
    let address = served.address;
    let waiting: Vec<_> = (0..BOUND)
        .map(|_| {
            let slow = Post::to("/shop/orders", BODY).header("Authorization", "Bearer never");
            tokio::spawn(async move { slow.send(address).await })
        })
        .collect();
    while table.reviews.load(SeqCst) < BOUND {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    for path in ["/shop/orders", "/shop/signed"] {
        let answer = Post::signed(path, BODY).send(address).await;
        let sentence = answer.refused(503, "unavailable");
        assert!(sentence.contains("namespace") && answer.retry_after() > 0, "{sentence}");
    }
    let failed = r#"webhook_failed_total{namespace="shop",endpoint="signed""#;
    let metrics = served.metrics.encode();
    assert!(metrics.lines().any(|line| line.starts_with(failed) && line.contains("unavailable")), "{metrics}");
    Post::signed("/elsewhere/orders", BODY).send(address).await.accepted();
    drop(waiting);
}
