//! Every sender of the table, over the wire: signed as it would, taken in, and its proof not kept.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
};

use futures_util::{FutureExt, future::BoxFuture};
use grapnel::{
    catalog::{Endpoint, IdSources},
    ingress::{IngressOptions, KeysUnavailable, RemoteKeys},
};
use grapnel_event::identity::{Sources, id_defaults, kind_defaults};
use grapnel_signature::{
    Handshake, KeySet, KeySource, KeysWanted, PROVIDERS, Provider, Scheme, Verifier, provider, sign_request_to, testing,
};
use grapnel_values::{clock::ManualClock, secret::Secret};
use http::{HeaderMap, header::CONTENT_TYPE};
use jiff::Timestamp;
use url::Url;

use super::{
    client::Post,
    fixture::{Plan, Served, endpoint},
};

const NOW: i64 = 1_700_000_000;

/// What a sender signs with, and what its receiver knows.
pub(crate) fn keys(name: &str) -> (Secret, Secret) {
    let keys = testing::keys(&scheme(name));
    (keys.private, keys.public)
}

/// How a sender authenticates, with what the endpoint has to configure.
fn scheme(name: &str) -> Scheme {
    testing::complete(provider(name).unwrap().scheme())
}

/// The keys of Google and of PayPal, without the way there; counts how often it is asked.
#[derive(Default)]
pub(crate) struct Shelf {
    pub(crate) lookups: AtomicUsize,
    pub(crate) empty: AtomicBool,
}

impl RemoteKeys for Shelf {
    fn keys<'a>(&'a self, wanted: &'a KeysWanted, _: &'a str) -> BoxFuture<'a, Result<Arc<KeySet>, KeysUnavailable>> {
        self.lookups.fetch_add(1, SeqCst);
        let keys = match &wanted.source {
            _ if self.empty.load(SeqCst) => Err(KeysUnavailable),
            KeySource::Certificate(url) => {
                let name = if url.starts_with("https://sns.") { "AmazonSNS" } else { "PayPal" };
                Ok(KeySet::certificate(keys(name).1.expose()).unwrap().into())
            }
            KeySource::Jwks(_) | KeySource::Issuer(_) => Ok(KeySet::jwks(keys("Google").1.expose()).unwrap().into()),
        };
        async move { keys }.boxed()
    }
}

/// An endpoint for a sender of the table, as the compiler makes it.
pub(crate) fn preset(provider: &'static Provider, name: &str) -> Endpoint {
    let secrets = if provider.scheme().needs_secrets() { vec![keys(provider.name.as_str()).1] } else { Vec::new() };
    Endpoint {
        verifier: Verifier::new(scheme(provider.name.as_str()), secrets).unwrap(),
        handshake: provider.handshake,
        verify_token: (provider.handshake == Handshake::MetaChallenge).then(|| "meatyhamhock".into()),
        kind_sources: Sources { explicit: None, defaults: kind_defaults(Some(provider)), hidden: vec![] },
        id_sources: IdSources::new(Sources { defaults: id_defaults(Some(provider)), ..Sources::default() }),
        ..endpoint(name)
    }
}

/// Endpoints named after all senders, in lower case, at a time that stands still.
pub(crate) async fn all(options: IngressOptions) -> Served {
    with_keys(options, Arc::default()).await
}

async fn with_keys(options: IngressOptions, keys: Arc<Shelf>) -> Served {
    let mut plan = Plan::of(PROVIDERS.iter().map(|provider| preset(provider, &provider.name.as_str().to_lowercase())));
    plan.clock = Arc::new(ManualClock::new(Timestamp::from_second(NOW).unwrap()));
    plan.options = options;
    plan.keys = Some(keys);
    plan.serve().await
}

/// A request to an endpoint, signed as a sender would that calls `url`.
pub(crate) fn signed(name: &str, mut url: Url, content_type: &str, body: &str) -> Post {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, content_type.parse().unwrap());
    let scheme = scheme(name);
    let now = Timestamp::from_second(NOW).unwrap();
    let mut body = body.as_bytes().to_vec();
    sign_request_to(&scheme, &keys(name).0, &mut url, &mut headers, &mut body, now).unwrap();
    let target = match url.query() {
        Some(query) => format!("{}?{query}", url.path()),
        None => url.path().to_owned(),
    };
    let mut post = Post::to(&target, body);
    for (name, value) in &headers {
        post = post.header(name.as_str(), value.to_str().unwrap());
    }
    post
}

/// The URL of an endpoint, as its sender calls it when nothing stands between.
pub(crate) fn direct(name: &str) -> Url {
    // `Post` writes this host.
    format!("http://test/shop/{}", name.to_lowercase()).parse().unwrap()
}

#[tokio::test]
async fn every_sender_is_let_in_and_its_proof_is_not_kept() {
    let served = all(IngressOptions::default()).await;
    let body = format!(r#"{{"id":"e1","type":"t","webhookTimestamp":{}}}"#, NOW * 1000);
    for provider in PROVIDERS {
        let name = provider.name.as_str();
        let post = signed(name, direct(name), "application/json", &body);
        let first = post.send(served.address).await;
        first.accepted();
        let stored = served.stored(&name.to_lowercase()).await;
        assert_eq!(stored.len(), 1, "{name}");
        let verifier = &preset(provider, name).verifier;
        for (header, _) in &stored[0].headers {
            assert!(verifier.credential_headers().all(|secret| secret.as_str() != &**header), "{name}: {header}");
        }
        // The same again is a duplicate if the sender says what its id is.
        let again = post.send(served.address).await;
        let known = (first.headers["grapnel-id-from"] != "generated").then_some(true);
        assert_eq!((again.status, again.json()["duplicate"].as_bool()), (200, known), "{name}");
        if provider.scheme() == Scheme::None {
            continue;
        }
        let mut torn = post.clone();
        torn.body = String::from_utf8(torn.body).unwrap().replace("e1", "e2").into_bytes();
        if !matches!(provider.scheme(), Scheme::Token(_) | Scheme::Jwt(_) | Scheme::Basic) {
            torn.send(served.address).await.refused(401, "invalid_signature");
        }
        Post::to(&format!("/shop/{}", name.to_lowercase()), body.as_str())
            .send(served.address)
            .await
            .refused(401, "missing_signature");
    }
}

#[tokio::test]
async fn types_and_ids_are_where_senders_put_them() {
    let served = all(IngressOptions::default()).await;
    let json = "application/json";
    let dated = format!(r#"{{"webhookTimestamp":{}}}"#, NOW * 1000);
    for (name, headers, body, kind, id) in [
        ("GitLab", &[("X-Gitlab-Event", "Push Hook")][..], "{}", "Push Hook", ""),
        ("Bitbucket", &[("X-Event-Key", "repo:push"), ("X-Request-UUID", "u1")], "{}", "repo:push", "u1"),
        (
            "Shopify",
            &[("X-Shopify-Topic", "orders/create"), ("X-Shopify-Webhook-Id", "w1")],
            "{}",
            "orders/create",
            "w1",
        ),
        ("Linear", &[("Linear-Event", "Issue"), ("Linear-Delivery", "d1")], dated.as_str(), "Issue", "d1"),
        (
            "PagerDuty",
            &[],
            r#"{"event":{"id":"5ac","event_type":"incident.priority_updated"}}"#,
            "incident.priority_updated",
            "5ac",
        ),
        ("Sentry", &[("Sentry-Hook-Resource", "issue"), ("Request-ID", "r1")], "{}", "issue", "r1"),
        ("Zoom", &[], r#"{"event":"meeting.started","event_ts":1}"#, "meeting.started", ""),
        ("Discord", &[], r#"{"type":2,"id":"846462639134605312"}"#, "2", "846462639134605312"),
        ("Discord", &[], r#"{"type":1,"event":{"type":"ENTITLEMENT_CREATE"}}"#, "ENTITLEMENT_CREATE", ""),
        ("SendGrid", &[], r#"[{"event":"dropped","sg_event_id":"a"}]"#, "unknown", ""),
        ("X", &[], r#"{"for_user_id":"1","tweet_create_events":[]}"#, "unknown", ""),
        ("Harbor", &[], r#"{"type":"PUSH_ARTIFACT","occur_at":1}"#, "PUSH_ARTIFACT", ""),
        (
            "Nexus",
            &[("X-Nexus-Webhook-Id", "rm:repository:component"), ("X-Nexus-Webhook-Delivery", "n1")],
            "{}",
            "rm:repository:component",
            "n1",
        ),
        (
            "Google",
            &[],
            r#"{"message":{"attributes":{"eventType":"OBJECT_FINALIZE"},"messageId":"7"}}"#,
            "OBJECT_FINALIZE",
            "7",
        ),
        ("PayPal", &[], r#"{"id":"WH-1","event_type":"PAYMENT.SALE.COMPLETED"}"#, "PAYMENT.SALE.COMPLETED", "WH-1"),
        ("Twilio", &[("I-Twilio-Idempotency-Token", "i1")], r#"{"CallStatus":"ringing"}"#, "ringing", "i1"),
    ] {
        let mut post = signed(name, direct(name), json, body);
        for (header, value) in headers {
            post = post.header(header, *value);
        }
        let given = post.send(served.address).await.accepted();
        if !id.is_empty() {
            assert_eq!(given, id, "{name}");
        }
        let stored = served.stored(&name.to_lowercase()).await;
        let event = stored.iter().find(|event| *event.id == *given).unwrap();
        assert_eq!(&*event.kind, kind, "{name}");
    }
}

/// GitLab sends what is set of signing token and secret token, and an endpoint may know both.
#[tokio::test]
async fn a_signature_counts_before_a_token_and_neither_is_kept() {
    let scheme = provider("GitLab").unwrap().scheme();
    let (signing, token, other) = (keys("GitLab").0, Secret::from("a-secret-token"), Secret::from("another-token"));
    let knows = |name: &str, secrets: &[&Secret]| Endpoint {
        verifier: Verifier::new(scheme.clone(), secrets.iter().copied().cloned().collect()).unwrap(),
        ..preset(provider("GitLab").unwrap(), name)
    };
    let endpoints =
        [knows("signed", &[&signing]), knows("shown", &[&token]), knows("moving", &[&token, &signing, &other])];
    let mut plan = Plan::of(endpoints);
    plan.clock = Arc::new(ManualClock::new(Timestamp::from_second(NOW).unwrap()));
    let served = plan.serve().await;
    let post = |name: &str, id: &str, secrets: &[&Secret]| {
        let mut headers = HeaderMap::new();
        headers.insert("webhook-id", id.parse().unwrap());
        for secret in secrets {
            sign_request_to(
                &scheme,
                secret,
                &mut direct(name),
                &mut headers,
                &mut b"{}".to_vec(),
                Timestamp::from_second(NOW).unwrap(),
            )
            .unwrap();
        }
        let post = Post::to(&format!("/shop/{name}"), "{}").header("X-Gitlab-Event", "Push Hook");
        headers.iter().fold(post, |post, (name, value)| post.header(name.as_str(), value.to_str().unwrap()))
    };
    for (name, secrets) in [
        ("signed", &[&signing][..]),
        ("signed", &[&signing, &token]),
        ("shown", &[&token]),
        ("shown", &[&signing, &token]),
        ("moving", &[&token]),
        ("moving", &[&other]),
        ("moving", &[&signing]),
        ("moving", &[&signing, &token]),
    ] {
        let id = format!("{name}-{}", secrets.len());
        let given = post(name, &id, secrets).send(served.address).await;
        assert_eq!((given.status, given.json()["id"].as_str()), (200, Some(id.as_str())), "{name}");
    }
    for (name, secrets, code) in [
        ("signed", &[&token][..], "missing_signature"),
        ("shown", &[&signing], "missing_signature"),
        ("shown", &[&other], "invalid_signature"),
        ("moving", &[], "missing_signature"),
    ] {
        post(name, "x", secrets).send(served.address).await.refused(401, code);
    }
    // A wrong signature is not made up for by the right token.
    let mut torn = post("moving", "x", &[&signing, &token]);
    torn.body = b"[]".to_vec();
    torn.send(served.address).await.refused(401, "invalid_signature");
    for name in ["signed", "shown", "moving"] {
        for event in served.stored(name).await {
            assert_eq!(&*event.kind, "Push Hook");
            let kept = |wanted: &str| event.headers.iter().any(|(header, _)| &**header == wanted);
            assert!(!kept("x-gitlab-token") && !kept("webhook-signature"), "{name}: {:?}", event.headers);
            assert!(kept("webhook-id"), "{name}");
        }
    }
}

const FORM: &str = "CallSid=CA1234567890ABCDE&Digits=1234&From=%2B14158675309&To=%2B18005551212&Caller=%2B14158675309";
const A_FORM: &str = "application/x-www-form-urlencoded";

/// Sends a form as Twilio does that calls `called`.
async fn twilio(address: SocketAddr, called: &str, headers: &[(&str, &str)]) -> u16 {
    let mut post = signed("Twilio", called.parse().unwrap(), A_FORM, FORM);
    post.line = "POST /shop/twilio?foo=1&bar=2 HTTP/1.1".into();
    for (name, value) in headers {
        post = post.header(name, *value);
    }
    post.send(address).await.status
}

#[tokio::test]
async fn the_url_that_is_signed_is_the_public_one() {
    let public = "https://hooks.example.com/in/";
    let served = all(IngressOptions { public_url: Some(public.parse().unwrap()), ..IngressOptions::default() }).await;
    let right = "https://hooks.example.com/in/shop/twilio?foo=1&bar=2";
    assert_eq!(twilio(served.address, right, &[]).await, 200);
    for wrong in [
        "http://test/shop/twilio?foo=1&bar=2",
        "http://hooks.example.com/in/shop/twilio?foo=1&bar=2",
        "https://hooks.example.com/shop/twilio?foo=1&bar=2",
        "https://hooks.example.com/in/shop/twilio?foo=1",
        "https://hooks.example.com/in/shop/other?foo=1&bar=2",
    ] {
        assert_eq!(twilio(served.address, wrong, &[]).await, 401, "{wrong}");
    }
    // Nobody else says what the URL is, once it is known.
    let forwarded = [("X-Forwarded-Host", "test"), ("X-Forwarded-Proto", "http")];
    assert_eq!(twilio(served.address, right, &forwarded).await, 200);
}

#[tokio::test]
async fn without_it_a_trusted_proxy_says_what_it_is() {
    let forwarded = [("X-Forwarded-Proto", "https"), ("X-Forwarded-Host", "hooks.example.com")];
    let behind = "https://hooks.example.com/shop/twilio?foo=1&bar=2";
    let direct = "http://test/shop/twilio?foo=1&bar=2";
    let trusting =
        all(IngressOptions { trusted_proxies: vec!["127.0.0.0/8".parse().unwrap()], ..IngressOptions::default() })
            .await;
    assert_eq!(twilio(trusting.address, behind, &forwarded).await, 200);
    assert_eq!(twilio(trusting.address, direct, &forwarded).await, 401);
    let wary = all(IngressOptions::default()).await;
    assert_eq!(twilio(wary.address, behind, &forwarded).await, 401);
    assert_eq!(twilio(wary.address, direct, &forwarded).await, 200);
}

#[tokio::test]
async fn a_json_body_is_covered_by_its_digest_in_the_query() {
    let served = all(IngressOptions::default()).await;
    let right = signed("Twilio", direct("Twilio"), "application/json", r#"{"id":"1"}"#);
    assert!(right.line.contains("bodySHA256="), "{}", right.line);
    right.send(served.address).await.accepted();
    let mut torn = right.clone();
    torn.body = br#"{"id":"2"}"#.to_vec();
    torn.send(served.address).await.refused(401, "invalid_signature");
    let mut without = right;
    without.line = "POST /shop/twilio HTTP/1.1".into();
    without.send(served.address).await.refused(401, "invalid_signature");
}

#[tokio::test]
async fn username_and_password_are_required() {
    let basic = Verifier::new(Scheme::Basic, vec!["Aladdin:open sesame".into()]).unwrap();
    let served = Served::with([Endpoint { verifier: basic, ..endpoint("orders") }]).await;
    let post = |pair: &str| Post::to("/shop/orders", r#"{"id":"1"}"#).header("Authorization", pair);
    post("Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==").send(served.address).await.accepted();
    post("Basic QWxhZGRpbjpvcGVu").send(served.address).await.refused(401, "invalid_signature");
    Post::to("/shop/orders", "{}").send(served.address).await.refused(401, "missing_signature");
    let stored = served.stored("orders").await;
    assert!(stored[0].headers.iter().all(|(name, _)| &**name != "authorization"), "{:?}", stored[0].headers);
}

#[tokio::test]
async fn when_keys_cannot_be_fetched_the_response_says_when_to_retry() {
    let shelf = Arc::new(Shelf::default());
    let served = with_keys(IngressOptions::default(), Arc::clone(&shelf)).await;
    for name in ["Google", "PayPal"] {
        // What cannot be right is refused without asking anybody.
        Post::to(&format!("/shop/{}", name.to_lowercase()), "{}")
            .send(served.address)
            .await
            .refused(401, "missing_signature");
    }
    let garbled = Post::to("/shop/google", "{}").header("Authorization", "Bearer abc");
    garbled.send(served.address).await.refused(401, "invalid_signature");
    let mut elsewhere = signed("PayPal", direct("PayPal"), "application/json", "{}");
    let place = elsewhere.headers.iter_mut().find(|(name, _)| name == "paypal-cert-url").unwrap();
    place.1 = "https://evil.example/v1/notifications/certs/CERT-1".into();
    elsewhere.send(served.address).await.refused(401, "invalid_signature");
    assert_eq!(shelf.lookups.load(SeqCst), 0);
    shelf.empty.store(true, SeqCst);
    for name in ["Google", "PayPal"] {
        let answer = signed(name, direct(name), "application/json", "{}").send(served.address).await;
        answer.refused(503, "unavailable");
        assert!(answer.retry_after() > 0);
    }
    assert_eq!(shelf.lookups.load(SeqCst), 2);
}
