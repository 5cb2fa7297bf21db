//! Callers known by their ServiceAccount, and users of the admin API, as the API server knows them: what is asked of it,
//! and how often.

mod wire;

use std::{sync::Arc, time::Duration};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use grapnel::{
    admin::{
        Authority,
        authz::{Ask, Denied, Resource, Verb},
    },
    controller::{
        limits::{CALLER_ACCEPTED_FOR, CALLER_REFUSED_FOR, REVIEW_LEEWAY},
        reviews::Reviews,
    },
    ingress::{Callers, ReviewError},
};
use grapnel_values::clock::{Clock, ManualClock, SystemClock};
use jiff::Timestamp;
use k8s_openapi::api::{
    authentication::v1::{TokenRequest, TokenRequestSpec},
    core::v1::ServiceAccount,
};
use kube::{Api, api::PostParams};
use serde_json::{Value, json};

use self::wire::Wire;
use crate::{
    fixture::{Cluster, PATIENCE},
    program::{Grapnel, client},
};

/// The shortest life that the API server gives a token.
const LIFE: Duration = Duration::from_secs(600);

const AUDIENCE: &str = "grapnel.dev";

async fn account(cluster: &Cluster, name: &str) {
    let manifest = format!("apiVersion: v1\nkind: ServiceAccount\nmetadata: {{ name: {name} }}\n");
    cluster.apply(&manifest).await;
}

/// A token of an account, for the API server itself if no audience is given.
async fn token(cluster: &Cluster, name: &str, audiences: &[&str]) -> String {
    let accounts: Api<ServiceAccount> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    let audiences = audiences.iter().map(|&audience| audience.to_owned()).collect();
    let seconds = i64::try_from(LIFE.as_secs()).unwrap();
    let spec = TokenRequestSpec { audiences, expiration_seconds: Some(seconds), ..TokenRequestSpec::default() };
    let request = TokenRequest { spec, ..TokenRequest::default() };
    let answer = accounts.create_token_request(name, &PostParams::default(), &request).await.unwrap();
    answer.status.unwrap().token
}

/// A token that looks like one of these, and is none.
fn forged(claims: &Value) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    format!("{}.{}.{}", part(&json!({ "alg": "RS256" })), part(claims), URL_SAFE_NO_PAD.encode([7; 256]))
}

fn audiences(names: &[&str]) -> Vec<Box<str>> {
    names.iter().map(|&name| name.into()).collect()
}

/// Reviews whose calls are counted and can be cut off, by a clock that stands at the present.
async fn reviews(cluster: &Cluster) -> (Arc<Reviews>, Arc<ManualClock>, Wire) {
    let clock = Arc::new(ManualClock::new(Timestamp::now()));
    let wire = Wire::to(&cluster.kubeconfig).await;
    (Reviews::new(wire.client.clone(), clock.clone()), clock, wire)
}

#[tokio::test]
async fn a_token_is_reviewed_once_and_again_when_its_time_is_over() {
    let cluster = Cluster::new().await;
    account(&cluster, "billing").await;
    let token = token(&cluster, "billing", &[AUDIENCE]).await;
    let (reviews, clock, wire) = reviews(&cluster).await;
    let wanted = audiences(&["first", AUDIENCE]);
    let ask = async || reviews.review(&token, &wanted).await;

    let review = ask().await.unwrap();
    assert_eq!(*review.username, format!("system:serviceaccount:{}:billing", cluster.namespace));
    assert_eq!(*review.audiences, *audiences(&[AUDIENCE]), "only what it was issued for");
    ask().await.unwrap();
    assert_eq!(wire.calls(), 1);
    // The same token for others is another question, and one that needs no call.
    assert_eq!(reviews.review(&token, &audiences(&["first"])).await, Err(ReviewError::Audience));
    assert_eq!(wire.calls(), 1);

    cluster.delete("ServiceAccount", "billing").await;
    // The API server itself remembers tokens for ten seconds.
    let forgotten = async {
        let fresh = || Reviews::new(cluster.client.clone(), Arc::new(SystemClock));
        while fresh().review(&token, &wanted).await != Err(ReviewError::Refused) {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(PATIENCE, forgotten).await.expect("the API server believes the token for ever");
    ask().await.unwrap();
    assert_eq!(wire.calls(), 1, "it is still believed");
    clock.advance(CALLER_ACCEPTED_FOR);
    assert_eq!(ask().await, Err(ReviewError::Refused));
    assert_eq!(ask().await, Err(ReviewError::Refused));
    assert_eq!(wire.calls(), 2, "a refusal is remembered too");
    clock.advance(CALLER_REFUSED_FOR);
    assert_eq!(ask().await, Err(ReviewError::Refused));
    assert_eq!(wire.calls(), 3);
}

#[tokio::test]
async fn a_review_does_not_outlive_the_token() {
    let cluster = Cluster::new().await;
    account(&cluster, "billing").await;
    let token = token(&cluster, "billing", &[AUDIENCE]).await;
    let (reviews, clock, wire) = reviews(&cluster).await;
    let wanted = audiences(&[AUDIENCE]);
    let ask = async || reviews.review(&token, &wanted).await;
    // By our clock it has a few seconds left at most; by the API server's it is still good.
    clock.advance(LIFE - Duration::from_secs(3));
    ask().await.unwrap();
    clock.advance(Duration::from_secs(5));
    ask().await.unwrap();
    ask().await.unwrap();
    assert_eq!(wire.calls(), 3, "what is over is not remembered, but asked about as long as clocks may differ");
    clock.advance(REVIEW_LEEWAY);
    assert_eq!(ask().await, Err(ReviewError::Expired));
    assert_eq!(wire.calls(), 3);
}

#[tokio::test]
async fn what_cannot_be_a_good_token_costs_no_call() {
    let cluster = Cluster::new().await;
    let (reviews, clock, wire) = reviews(&cluster).await;
    let now = clock.now().as_second();
    let wanted = audiences(&[AUDIENCE]);
    for (token, error) in [
        (String::new(), ReviewError::Malformed),
        ("garbage".into(), ReviewError::Malformed),
        ("a.b.c".into(), ReviewError::Malformed),
        ("x".repeat(1 << 20), ReviewError::Malformed),
        (forged(&json!({ "aud": "other" })), ReviewError::Audience),
        (forged(&json!({ "aud": AUDIENCE, "exp": now - 3600 })), ReviewError::Expired),
    ] {
        assert_eq!(reviews.review(&token, &wanted).await, Err(error), "{}", &token[..token.len().min(80)]);
    }
    assert_eq!(wire.calls(), 0);
    let plausible = forged(&json!({ "aud": AUDIENCE, "exp": now + 3600 }));
    assert_eq!(reviews.review(&plausible, &wanted).await, Err(ReviewError::Refused));
    assert_eq!(wire.calls(), 1);
}

#[tokio::test]
async fn equal_questions_become_one() {
    let cluster = Cluster::new().await;
    account(&cluster, "billing").await;
    let token = token(&cluster, "billing", &[AUDIENCE]).await;
    let (reviews, _, wire) = reviews(&cluster).await;
    let wanted = audiences(&[AUDIENCE]);
    let all = futures_util::future::join_all((0..100).map(|_| reviews.review(&token, &wanted))).await;
    assert!(all.iter().all(Result::is_ok));
    assert_eq!(wire.calls(), 1);
}

#[tokio::test]
async fn without_an_api_server_only_known_tokens_get_in() {
    let cluster = Cluster::new().await;
    account(&cluster, "billing").await;
    let known = token(&cluster, "billing", &[AUDIENCE]).await;
    let unknown = token(&cluster, "billing", &[AUDIENCE, "other"]).await;
    let admin = token(&cluster, "billing", &[]).await;
    let (reviews, clock, mut wire) = reviews(&cluster).await;
    let wanted = audiences(&[AUDIENCE]);
    reviews.review(&known, &wanted).await.unwrap();
    wire.cut();
    reviews.review(&known, &wanted).await.unwrap();
    assert_eq!(reviews.review(&unknown, &wanted).await, Err(ReviewError::Unavailable));
    let ask = Ask { verb: Verb::List, resource: Resource::Endpoints, namespace: None, name: None };
    assert_eq!(reviews.allow(&admin, &ask).await, Err(Denied::Unavailable));
    clock.advance(CALLER_ACCEPTED_FOR);
    assert_eq!(reviews.review(&known, &wanted).await, Err(ReviewError::Unavailable));
    wire.mend().await;
    reviews.review(&unknown, &wanted).await.unwrap();
    reviews.review(&known, &wanted).await.unwrap();
}

/// A role as the documentation has it for those who look after webhooks.
const ROLES: &str = r#"
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: { name: webhook-viewer }
rules:
  - apiGroups: [grapnel.dev]
    resources: [webhookendpoints, webhooksubscriptions]
    verbs: [get, list]
  - apiGroups: [grapnel.dev]
    resources: [webhookendpoints/events]
    verbs: [get]
  - apiGroups: [grapnel.dev]
    resources: [webhooksubscriptions/deliveries]
    resourceNames: [billing]
    verbs: [get]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: { name: webhook-viewer }
roleRef: { apiGroup: rbac.authorization.k8s.io, kind: Role, name: webhook-viewer }
subjects: [{ kind: ServiceAccount, name: developer }]
"#;

async fn admin(grapnel: &Grapnel, path: &str, token: &str) -> (u16, Value) {
    let answer = client().get(format!("{}{path}", grapnel.admin)).bearer_auth(token).send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

#[tokio::test]
async fn the_admin_api_shows_what_the_cluster_allows() {
    let cluster = Cluster::new().await;
    let other = cluster.another(&[]).await;
    for name in ["developer", "stranger"] {
        account(&cluster, name).await;
    }
    cluster.apply(ROLES).await;
    let endpoint = "apiVersion: grapnel.dev/v1beta1\nkind: WebhookEndpoint\nmetadata: { name: orders }\n\
                    spec: { verification: { none: {} }, event: { id: { pointer: /id } } }\n";
    cluster.apply(endpoint).await;
    other.apply(endpoint).await;
    let both = format!("{},{}", cluster.namespace, other.namespace);
    let operator = crate::fixture::Operator::new(&cluster.kubeconfig);
    let operator = operator.with(["--watch-namespaces", &both]).with(["--lease-namespace", &cluster.namespace]);
    let grapnel = operator.start().await;
    let (status, answer) = grapnel.post(&format!("/{}/orders", cluster.namespace), &[], r#"{"id":"e1"}"#).await;
    assert_eq!(status, 200, "{answer}");

    let developer = token(&cluster, "developer", &[]).await;
    let events = |namespace: &str, name: &str| format!("/api/v1/namespaces/{namespace}/endpoints/{name}/events");
    let deliveries = |name: &str| format!("/api/v1/namespaces/{}/subscriptions/{name}/deliveries", cluster.namespace);
    let (status, page) = admin(&grapnel, &events(&cluster.namespace, "orders"), &developer).await;
    assert_eq!((status, &page["items"][0]["id"]), (200, &json!("e1")), "{page}");
    let objects = format!("/api/v1/objects?namespace={}", cluster.namespace);
    let (status, page) = admin(&grapnel, &objects, &developer).await;
    assert_eq!((status, page["items"].as_array().map(Vec::len)), (200, Some(1)), "{page}");
    // Allowed, and so told that there is none.
    assert_eq!(admin(&grapnel, &events(&cluster.namespace, "absent"), &developer).await.0, 404);
    assert_eq!(admin(&grapnel, &deliveries("billing"), &developer).await.0, 404);

    for (path, word) in [
        (events(&other.namespace, "orders"), "get webhookendpoints/events"),
        (events(&other.namespace, "absent"), "get webhookendpoints/events"),
        (deliveries("shipping"), "get webhooksubscriptions/deliveries"),
        ("/api/v1/objects".into(), "list webhookendpoints in all namespaces"),
        (format!("/api/v1/objects?namespace={}", other.namespace), "list webhooksubscriptions in namespace"),
    ] {
        let (status, answer) = admin(&grapnel, &path, &developer).await;
        let sentence = answer["error"].as_str().unwrap();
        let user = format!("system:serviceaccount:{}:developer", cluster.namespace);
        assert!(status == 403 && sentence.contains(word) && sentence.contains(&user), "{status} {answer}");
    }
    let stranger = token(&cluster, "stranger", &[]).await;
    assert_eq!(admin(&grapnel, &events(&cluster.namespace, "orders"), &stranger).await.0, 403);
    for wrong in [token(&cluster, "developer", &[AUDIENCE]).await, forged(&json!({})), "garbage".into()] {
        let (status, answer) = admin(&grapnel, &events(&cluster.namespace, "orders"), &wrong).await;
        assert_eq!(status, 401, "{answer}");
    }
    assert_eq!(grapnel.admin(&events(&cluster.namespace, "orders")).await.0, 401);
    assert_eq!(grapnel.admin("/metrics").await.0, 200);

    // A role that is given takes effect soon.
    let binding = ROLES.split("\n---\n").nth(1).unwrap();
    cluster.apply(&binding.replace("name: developer", "name: stranger")).await;
    let path = events(&cluster.namespace, "orders");
    grapnel.eventually("the role", async || (admin(&grapnel, &path, &stranger).await.0 == 200).then_some(())).await;
}
