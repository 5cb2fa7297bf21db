//! Every row of the table of codes that is decided before the signature.

use std::{net::IpAddr, sync::Arc, time::Duration};

use grapnel::{catalog::Snapshot, ingress::IngressOptions};
use grapnel_delivery::rate_limit::{LimitScope, RateLimiter};
use grapnel_journal::Journal;

use super::{
    client::{Post, Wire},
    fixture::{Plan, Served, endpoint},
    front::{Front, Fronted},
};

#[tokio::test]
async fn unknown_paths_are_not_found() {
    let served = Served::one().await;
    for path in [
        "/",
        "/shop",
        "/shop/",
        "/shop/none",
        "/shop/orders/",
        "//shop/orders",
        "/other/orders",
        "/shop/%6frders",
        "/shop/orders/x",
    ] {
        let answer = Post::signed(path, "{}").send(served.address).await;
        answer.refused(404, "not_found");
    }
    assert_eq!(served.facts("orders").rejected, 0);
    assert!(served.stored("orders").await.is_empty());
}

#[tokio::test]
async fn the_query_is_ignored_and_the_absolute_form_understood() {
    let served = Served::one().await;
    Post::signed("/shop/orders?id=7&x", r#"{"id":"q"}"#).send(served.address).await.accepted();
    Post::signed("http://example.test/shop/orders", r#"{"id":"a"}"#).send(served.address).await.accepted();
    Post::signed("*", "{}").method("OPTIONS").send(served.address).await.refused(404, "not_found");
}

#[tokio::test]
async fn the_prefix_is_part_of_the_path() {
    for prefix in ["/hooks", "/hooks/", "hooks", "/a/b"] {
        let mut plan = Plan::of([endpoint("orders")]);
        plan.options = IngressOptions { path_prefix: prefix.into(), ..plan.options };
        let served = plan.serve().await;
        let path = format!("/{}/shop/orders", prefix.trim_matches('/'));
        Post::signed(&path, "{}").send(served.address).await.accepted();
        for wrong in ["/shop/orders", "/hooksshop/orders", "/hooks"] {
            Post::signed(wrong, "{}").send(served.address).await.refused(404, "not_found");
        }
    }
    let mut plan = Plan::of([]);
    plan.options = IngressOptions { path_prefix: "/a b".into(), ..plan.options };
    let error = plan.serve().await.server.await.unwrap().unwrap_err();
    assert!(error.to_string().contains("\"/a b\""), "{error}");
}

#[tokio::test]
async fn what_may_still_come_is_not_ready() {
    let served = Served::one().await;
    let known = |snapshot: &Snapshot| snapshot.endpoints().cloned().collect::<Vec<_>>();
    let endpoints = known(&served.snapshot.borrow());
    served.snapshot.send_replace(Arc::new(Snapshot::new(endpoints.clone(), []).with_unready([("shop", "broken")])));
    let answer = Post::signed("/shop/broken", "{}").send(served.address).await;
    answer.refused(503, "not_ready");
    assert!(answer.retry_after() >= 1);
    Post::signed("/shop/later", "{}").send(served.address).await.refused(404, "not_found");

    served.snapshot.send_replace(Arc::new(Snapshot::new(endpoints, []).incomplete()));
    Post::signed("/shop/later", "{}").send(served.address).await.refused(503, "not_ready");
    Post::signed("/shop/orders", "{}").send(served.address).await.accepted();
}

#[tokio::test]
async fn only_post_is_allowed() {
    let served = Served::one().await;
    for method in ["GET", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "BREW"] {
        let answer = Post::signed("/shop/orders", "{}").method(method).send(served.address).await;
        answer.refused(405, "method_not_allowed");
        assert_eq!(answer.headers["allow"], "POST");
    }
    let mut wire = Wire::open(served.address).await;
    wire.send(&Post::to("/shop/orders", "").method("HEAD").head()).await;
    assert_eq!(wire.answer_to_head().await.status, 405);
    assert_eq!(served.facts("orders").rejected, 8);
}

#[tokio::test]
async fn a_suspended_endpoint_says_come_back() {
    let served = Served::with([grapnel::catalog::Endpoint { suspended: true, ..endpoint("orders") }]).await;
    let answer = Post::signed("/shop/orders", "{}").send(served.address).await;
    answer.refused(503, "suspended");
    assert!(answer.retry_after() >= 1);
    let rejection = served.facts("orders").last_rejection.unwrap();
    assert_eq!(
        (&*rejection.code, rejection.message.as_str()),
        ("suspended", answer.refused(503, "suspended").as_str())
    );
}

#[tokio::test]
async fn sources_are_checked_behind_trusted_proxies_only() {
    let restricted = || {
        let mut endpoint = endpoint("orders");
        endpoint.allowed_sources = Box::new(["192.0.2.0/24".parse().unwrap()]);
        endpoint
    };
    let served = Served::with([restricted()]).await;
    let forged = Post::signed("/shop/orders", "{}").header("X-Forwarded-For", "192.0.2.1");
    let sentence = forged.send(served.address).await.refused(403, "source_not_allowed");
    assert!(sentence.contains("127.0.0.1"), "{sentence}");

    let mut plan = Plan::of([restricted()]);
    plan.options.trusted_proxies = vec!["127.0.0.0/8".parse().unwrap()];
    let served = plan.serve().await;
    let through = |list: &str| Post::signed("/shop/orders", "{}").header("X-Forwarded-For", list);
    through("192.0.2.1").send(served.address).await.accepted();
    assert_eq!(served.stored("orders").await[0].remote, Some(IpAddr::from([192, 0, 2, 1])));
    for list in ["203.0.113.9", "192.0.2.1, 203.0.113.9", "192.0.2.1, nonsense", ""] {
        through(list).send(served.address).await.refused(403, "source_not_allowed");
    }
}

/// A journal that two replicas share.
struct OfTwo(Arc<dyn Journal>);

impl Front for OfTwo {
    fn journal(&self) -> &dyn Journal {
        &*self.0
    }
    fn replicas(&self) -> usize {
        2
    }
}

#[tokio::test]
async fn replicas_share_the_rate() {
    let mut limited = endpoint("orders");
    limited.rate_limit =
        Some(Arc::new(RateLimiter::new(4, Duration::from_secs(3600), None, LimitScope::Endpoint).unwrap()));
    let mut plan = Plan::of([limited]);
    plan.wrap = Box::new(|journal| Arc::new(Fronted(Arc::new(OfTwo(journal)))));
    let served = plan.serve().await;
    for id in ["1", "2"] {
        Post::signed("/shop/orders", format!(r#"{{"id":"{id}"}}"#)).send(served.address).await.accepted();
    }
    Post::signed("/shop/orders", r#"{"id":"3"}"#).send(served.address).await.refused(429, "rate_limited");
}

#[tokio::test]
async fn beyond_the_rate_the_response_says_when_to_retry() {
    let mut limited = endpoint("orders");
    limited.rate_limit =
        Some(Arc::new(RateLimiter::new(2, Duration::from_secs(3600), None, LimitScope::Endpoint).unwrap()));
    let served = Served::with([limited]).await;
    let mut wire = Wire::open(served.address).await;
    for id in ["1", "2"] {
        wire.exchange(&Post::signed("/shop/orders", format!(r#"{{"id":"{id}"}}"#)).bytes()).await.accepted();
    }
    let answer = wire.exchange(&Post::signed("/shop/orders", r#"{"id":"3"}"#).bytes()).await;
    answer.refused(429, "rate_limited");
    let after = answer.retry_after();
    assert!((1..=1800).contains(&after), "{after}");
    assert_eq!(served.stored("orders").await.len(), 2);
    let metrics = served.metrics.encode();
    let line = r#"webhook_failed_total{namespace="shop",endpoint="orders",type="unknown",error="rate_limited"} 1"#;
    assert!(metrics.contains(line), "{metrics}");
}
