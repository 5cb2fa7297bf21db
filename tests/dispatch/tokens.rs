//! Tokens of an authorization server, over TLS like everything that is worth something.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use base64::{Engine, engine::general_purpose::STANDARD};
use grapnel::{
    catalog::{OAuthClient, Subscription},
    dispatch::{Client, ClientOptions, SendError, client::Outgoing},
};
use grapnel_delivery::egress::EgressPolicy;
use grapnel_journal::DeliveryState;
use grapnel_test_support::{
    certificates::{Authority, PROTOCOLS},
    receiver,
};
use grapnel_values::{clock::ManualClock, secret::Secret};
use http::{Response, StatusCode};

use crate::{
    identities::{hook, outgoing, trusting},
    stage::{Received, Receiver, Stage, start, status, subscription},
};

/// An authorization server that counts, and can be scripted what to answer.
struct Issuer {
    server: receiver::Receiver,
    authority: Authority,
    scripted: Arc<Mutex<Option<(u16, &'static str)>>>,
    given: Arc<AtomicUsize>,
}

impl Issuer {
    /// Gives tokens that live for so many seconds: `token-1`, `token-2` and so on.
    async fn start(lifetime: u32) -> Self {
        let authority = Authority::new();
        let scripted: Arc<Mutex<Option<(u16, &'static str)>>> = Arc::default();
        let given = Arc::new(AtomicUsize::new(0));
        let (tells, gives) = (Arc::clone(&scripted), Arc::clone(&given));
        let answer = move |_: &Received| {
            if let Some((status, text)) = *tells.lock().unwrap() {
                return Response::builder().status(status).body(text.to_owned()).unwrap();
            }
            let number = gives.fetch_add(1, Ordering::SeqCst) + 1;
            Response::new(format!(
                r#"{{"access_token":"token-{number}","token_type":"Bearer","expires_in":{lifetime}}}"#
            ))
        };
        let server =
            receiver::Receiver::setup().tls(authority.issue("localhost").acceptor(PROTOCOLS)).respond(answer).await;
        Self { server, authority, scripted, given }
    }

    fn client(&self) -> OAuthClient {
        OAuthClient {
            token_url: hook(&self.server, "localhost"),
            id: Secret::from("the id"),
            secret: Secret::from("hush:7f3a"),
            in_body: false,
            scope: "read write".into(),
            audience: Some("https://api.example".into()),
            tls: Some(Arc::new(trusting(&self.authority))),
        }
    }

    fn given(&self) -> usize {
        self.given.load(Ordering::SeqCst)
    }

    fn tell(&self, answer: Option<(u16, &'static str)>) {
        *self.scripted.lock().unwrap() = answer;
    }
}

fn at(clock: &Arc<ManualClock>) -> Client {
    let options = ClientOptions::new(EgressPolicy::default().allowing_loopback());
    Client::new(ClientOptions { clock: Arc::clone(clock) as _, ..options }).unwrap()
}

fn to(receiver: &Receiver, client: OAuthClient) -> Outgoing {
    Outgoing { oauth: Some(Arc::new(client)), ..outgoing(receiver.url.clone(), None) }
}

fn authorization(received: &Received) -> &str {
    received.header("authorization")
}

#[tokio::test]
async fn a_token_is_requested_as_the_standard_says() {
    let issuer = Issuer::start(3600).await;
    let mut receiver = Receiver::statuses(&[200]).await;
    let client = at(&Arc::new(ManualClock::new(start())));
    client.post(to(&receiver, issuer.client())).await.unwrap();
    assert_eq!(authorization(&receiver.next().await), "Bearer token-1");
    let request = issuer.server.next().await;
    assert_eq!(request.method, "POST");
    assert_eq!(request.header("content-type"), "application/x-www-form-urlencoded");
    assert_eq!(request.header("accept"), "application/json");
    // RFC 6749, 2.3.1: both are encoded as in a form, then put together.
    let basic = format!("Basic {}", STANDARD.encode("the+id:hush%3A7f3a"));
    assert_eq!(request.header("authorization"), basic);
    let form: Vec<_> = url::form_urlencoded::parse(&request.body).into_owned().collect();
    let pairs = |pairs: &[(&str, &str)]| -> Vec<_> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    };
    let common = [("grant_type", "client_credentials"), ("scope", "read write"), ("audience", "https://api.example")];
    assert_eq!(form, pairs(&common));

    client.post(to(&receiver, OAuthClient { in_body: true, ..issuer.client() })).await.unwrap();
    assert_eq!(authorization(&receiver.next().await), "Bearer token-2", "another client has another token");
    let request = issuer.server.next().await;
    assert!(!request.headers.contains_key("authorization"));
    let form: Vec<_> = url::form_urlencoded::parse(&request.body).into_owned().collect();
    assert_eq!(form, pairs(&[&common[..], &[("client_id", "the id"), ("client_secret", "hush:7f3a")]].concat()));
}

#[tokio::test]
async fn one_token_serves_all_and_is_renewed_before_it_expires() {
    let issuer = Issuer::start(3600).await;
    let mut receiver = Receiver::statuses(&[200]).await;
    let clock = Arc::new(ManualClock::new(start()));
    let client = at(&clock);
    let together = (0..32).map(|_| client.post(to(&receiver, issuer.client())));
    for answer in futures_util::future::join_all(together).await {
        assert_eq!(answer.unwrap().status, StatusCode::OK);
    }
    assert_eq!(issuer.given(), 1);
    assert!(receiver.rest().iter().all(|received| authorization(received) == "Bearer token-1"));
    clock.advance(Duration::from_secs(3539));
    client.post(to(&receiver, issuer.client())).await.unwrap();
    assert_eq!(authorization(&receiver.next().await), "Bearer token-1");
    clock.advance(Duration::from_secs(2));
    client.post(to(&receiver, issuer.client())).await.unwrap();
    assert_eq!(authorization(&receiver.next().await), "Bearer token-2");
    // A renewal that fails does no harm while the token holds, and ends the delivery when it does not.
    issuer.tell(Some((503, "hush")));
    clock.advance(Duration::from_secs(3590));
    client.post(to(&receiver, issuer.client())).await.unwrap();
    assert_eq!(authorization(&receiver.next().await), "Bearer token-2");
    clock.advance(Duration::from_secs(20));
    let error = client.post(to(&receiver, issuer.client())).await.unwrap_err();
    assert_eq!((error.reason(), error.to_string().as_str()), ("auth_failed", "the token endpoint responded with 503"));
    assert!(receiver.rest().is_empty(), "nothing is sent without a token");
}

#[tokio::test]
async fn a_token_that_the_receiver_refuses_is_replaced_once() {
    let issuer = Issuer::start(3600).await;
    let clock = Arc::new(ManualClock::new(start()));
    let client = at(&clock);
    let mut receiver = Receiver::statuses(&[200, 401, 200, 401, 401, 401]).await;
    let mut sent = async |expected: u16| {
        let answer = client.post(to(&receiver, issuer.client())).await.unwrap();
        assert_eq!(answer.status.as_u16(), expected);
        receiver.rest().iter().map(|received| authorization(received).to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(sent(200).await, ["Bearer token-1"]);
    // Revoked: the next one is fetched, and the same event goes out with it.
    assert_eq!(sent(200).await, ["Bearer token-1", "Bearer token-2"]);
    // A receiver that refuses everything does not make this a load on the authorization server.
    assert_eq!(sent(401).await, ["Bearer token-2"]);
    assert_eq!(issuer.given(), 2);
    clock.advance(Duration::from_secs(10));
    assert_eq!(sent(401).await, ["Bearer token-2", "Bearer token-3"]);
    assert_eq!(issuer.given(), 3);
}

#[tokio::test]
async fn a_token_endpoint_is_guarded_like_a_target() {
    let issuer = Issuer::start(3600).await;
    let receiver = Receiver::statuses(&[200]).await;
    // The receiver may be called, the token endpoint may not.
    let networks = vec!["127.0.0.1/32".parse().unwrap()];
    let client = Client::new(ClientOptions::new(EgressPolicy::default().allowing(networks))).unwrap();
    for host in ["127.0.0.2", "10.1.2.3", "169.254.169.254", "[::1]"] {
        let token_url = format!("https://{host}:{}/", issuer.server.address.port()).parse().unwrap();
        let error = client.post(to(&receiver, OAuthClient { token_url, ..issuer.client() })).await.unwrap_err();
        assert!(matches!(error, SendError::Auth(_)), "{error:?}");
        assert!(error.to_string().contains("is a "), "{error}");
    }
    // Nor is it believed who it is without its authority.
    let unknown = OAuthClient { tls: None, ..issuer.client() };
    let networks = vec!["127.0.0.0/8".parse().unwrap(), "::1/128".parse().unwrap()];
    let client = Client::new(ClientOptions::new(EgressPolicy::default().allowing(networks))).unwrap();
    let error = client.post(to(&receiver, unknown)).await.unwrap_err();
    assert_eq!(error.reason(), "auth_failed");
    assert!(error.to_string().contains("TLS"), "{error}");
    assert_eq!(issuer.given(), 0);
}

#[tokio::test]
async fn an_endpoint_that_does_not_answer_ends_with_the_delivery() {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let receiver = Receiver::statuses(&[200]).await;
    let issuer = Issuer::start(3600).await;
    let token_url = format!("http://{}/", silent.local_addr().unwrap()).parse().unwrap();
    let request = Outgoing {
        timeout: Duration::from_millis(50),
        ..to(&receiver, OAuthClient { token_url, tls: None, ..issuer.client() })
    };
    let error = at(&Arc::new(ManualClock::new(start()))).post(request).await.unwrap_err();
    assert_eq!(error.reason(), "auth_failed");
    assert!(error.to_string().starts_with("no response from the token endpoint within"), "{error}");
}

/// The walk of a delivery: without a token it fails with a reason, is tried again, and arrives.
#[tokio::test]
async fn deliveries_without_a_token_are_tried_again() {
    let issuer = Issuer::start(3600).await;
    issuer.tell(Some((401, r#"{"error":"invalid_client","error_description":"hush:7f3a is wrong"}"#)));
    let mut stage = Stage::new().await;
    let mut receiver = Receiver::new(|_| async { status(200) }).await;
    let mut billing: Subscription = subscription("billing", &receiver.url, &stage.metrics);
    billing.target.oauth = Some(Arc::new(issuer.client()));
    let facts = Arc::clone(&billing.facts);
    stage.publish([billing]).await;
    stage.append("evt_1", "invoice.paid").await;
    let waiting = stage.delivery("billing", DeliveryState::Retrying).await;
    let failure = waiting.failure.expect("a failure");
    assert_eq!((&*failure.reason, failure.status), ("auth_failed", None));
    assert_eq!(&*failure.message, "the token endpoint responded with 401, invalid_client");
    assert_eq!(facts.read().last_failure.map(|failed| failed.reason.to_string()).as_deref(), Some("auth_failed"));
    assert!(stage.metrics.encode().contains(r#"outcome="auth_failed"} 1"#), "{}", stage.metrics.encode());
    issuer.tell(None);
    stage.clock.advance(Duration::from_secs(1));
    assert_eq!(authorization(&receiver.next().await), "Bearer token-1");
    stage.until("billing", "delivered", |progress| progress.delivered == 1).await;
    stage.stop().await;
}
