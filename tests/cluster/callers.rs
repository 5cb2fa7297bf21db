//! Who calls: applications of the cluster at endpoints, and people and programs at the admin API.

use std::time::Duration;

use k8s_openapi::api::{
    authentication::v1::{BoundObjectReference, TokenRequest, TokenRequestSpec, TokenReview, TokenReviewSpec},
    core::v1::ServiceAccount,
    rbac::v1::{ClusterRole, ClusterRoleBinding, PolicyRule, RoleRef, Subject},
};
use kube::{
    Api,
    api::{DeleteParams, ObjectMeta, PostParams},
};
use serde_json::Value;

use crate::{
    fixture::Cluster,
    program::{Grapnel, PATIENCE, client, receiver::Receiver},
    shop,
};

pub(crate) const AUDIENCE: &str = "https://grapnel.example";

/// A fresh token of a ServiceAccount, for audiences, or for the API server if there are none.
pub(crate) async fn token(cluster: &Cluster, account: &str, audiences: &[&str]) -> String {
    let api: Api<ServiceAccount> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    let request = TokenRequest {
        spec: TokenRequestSpec {
            audiences: audiences.iter().map(|audience| (*audience).to_owned()).collect(),
            expiration_seconds: Some(600),
            bound_object_ref: None::<BoundObjectReference>,
        },
        ..TokenRequest::default()
    };
    let granted = api.create_token_request(account, &PostParams::default(), &request).await.unwrap();
    granted.status.unwrap().token
}

/// Waits until the API server itself refuses a token: it hears of deleted accounts a moment later.
async fn until_refused(cluster: &Cluster, token: &str) {
    let spec = TokenReviewSpec { audiences: Some(vec![AUDIENCE.into()]), token: Some(token.into()) };
    let review = TokenReview { spec, ..TokenReview::default() };
    let api: Api<TokenReview> = Api::all(cluster.client.clone());
    let refused = tokio::time::timeout(PATIENCE, async {
        while api.create(&PostParams::default(), &review).await.unwrap().status.unwrap().authenticated == Some(true) {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    });
    refused.await.expect("the API server takes the token for good");
}

pub(crate) async fn account(cluster: &Cluster, name: &str) {
    cluster.apply(&format!("apiVersion: v1\nkind: ServiceAccount\nmetadata: {{ name: {name} }}\n")).await;
}

pub(crate) fn internal(allowed: &str) -> String {
    format!(
        "apiVersion: grapnel.dev/v1beta1
kind: WebhookEndpoint
metadata: {{ name: internal }}
spec:
  verification:
    serviceAccount:
      audiences: ['{AUDIENCE}']
      allowed: [{allowed}]
"
    )
}

#[tokio::test]
async fn an_application_publishes_with_the_token_of_its_service_account() {
    let receiver = Receiver::start().await;
    let cluster = Cluster::new().await;
    let other = cluster.another(&[]).await;
    let grapnel = cluster.operator().start().await;
    for (cluster, name) in [(&cluster, "publisher"), (&cluster, "stranger"), (&other, "publisher"), (&other, "guest")] {
        account(cluster, name).await;
    }
    cluster.apply(&shop::secret(shop::ORDERS)).await;
    cluster
        .apply(&internal(&format!("{{ name: publisher }}, {{ namespace: {}, name: guest }}", other.namespace)))
        .await;
    cluster.apply(&shop::subscription("fulfilment", "internal", &receiver.url)).await;
    cluster.until_ready("WebhookEndpoint", "internal").await;
    cluster.until_ready("WebhookSubscription", "fulfilment").await;

    let path = format!("/{}/internal", cluster.namespace);
    let send = async |token: &str, id: &str| -> (u16, Value) {
        let body = format!(r#"{{"id":"{id}","type":"order.created"}}"#);
        grapnel.post(&path, &[("authorization", &format!("Bearer {token}"))], body).await
    };
    let good = token(&cluster, "publisher", &[AUDIENCE]).await;
    for number in 0..3 {
        let (status, answer) = send(&good, &format!("own-{number}")).await;
        assert_eq!(status, 200, "{answer}");
        let arrived = receiver.next().await;
        assert!(!arrived.headers.contains_key("authorization"), "the token goes no further");
    }
    assert_eq!(send(&token(&other, "guest", &[AUDIENCE]).await, "abroad").await.0, 200);
    receiver.next().await;

    let elsewhere = token(&cluster, "publisher", &["https://other.example"]).await;
    let refused = [
        ("a stranger's", token(&cluster, "stranger", &[AUDIENCE]).await),
        ("one of the same name in another namespace", token(&other, "publisher", &[AUDIENCE]).await),
        ("one for another audience", elsewhere),
        ("one for the API server", token(&cluster, "publisher", &[]).await),
        ("one with a broken signature", format!("{}x", &good[..good.len() - 5])),
        ("no token at all", "made-up".to_owned()),
    ];
    for (what, token) in &refused {
        let (status, answer) = send(token, "refused").await;
        assert_eq!((status, answer["code"].as_str()), (401, Some("invalid_signature")), "{what}: {answer}");
        assert!(!answer.to_string().contains(&token[..token.len().min(40)]), "{what}: {answer}");
    }
    let (status, answer) = grapnel.post(&path, &[], r#"{"id":"x"}"#).await;
    assert_eq!((status, answer["code"].as_str()), (401, Some("missing_signature")));
    let object = cluster
        .until("WebhookEndpoint", "internal", "its counts", |object| {
            object["status"]["received"] == 4 && object["status"]["rejected"] == refused.len() + 1
        })
        .await;
    assert!(!object["status"].to_string().contains("eyJ") && !grapnel.log().contains("eyJ"), "no token is shown");
    assert!(receiver.rest().is_empty());
}

#[tokio::test]
async fn the_token_of_a_deleted_service_account_is_of_no_use() {
    let cluster = Cluster::new().await;
    let grapnel = cluster.operator().start().await;
    account(&cluster, "publisher").await;
    cluster.apply(&internal("{ name: publisher }")).await;
    cluster.until_ready("WebhookEndpoint", "internal").await;
    let token = token(&cluster, "publisher", &[AUDIENCE]).await;
    let accounts: Api<ServiceAccount> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    accounts.delete("publisher", &DeleteParams::default()).await.unwrap();
    until_refused(&cluster, &token).await;
    let path = format!("/{}/internal", cluster.namespace);
    let (status, answer) = grapnel.post(&path, &[("authorization", &format!("Bearer {token}"))], r#"{"id":"x"}"#).await;
    assert_eq!((status, answer["code"].as_str()), (401, Some("invalid_signature")), "{answer}");
}

/// Asks the admin API as the holder of a token; status and text.
pub(crate) async fn ask(grapnel: &Grapnel, path: &str, token: Option<&str>) -> (u16, String) {
    let mut request = client().get(format!("{}{path}", grapnel.admin));
    if let Some(token) = token {
        request = request.bearer_auth(token);
    }
    let answer = request.send().await.unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
}

#[tokio::test]
async fn the_admin_api_gives_what_the_clusters_roles_give() {
    let receiver = Receiver::start().await;
    let cluster = Cluster::new().await;
    let other = cluster.another(&[]).await;
    let grapnel = cluster.operator().with(["--watch-namespaces", &other.namespace]).start().await;
    for cluster in [&cluster, &other] {
        shop::open(cluster, &receiver.url).await;
        shop::ready(cluster).await;
        assert_eq!(shop::order(&grapnel, cluster, "orders", "first").await.0, 200);
        receiver.next().await;
    }
    for name in ["reader", "follower", "nobody"] {
        account(&cluster, name).await;
    }
    let role = |name: &str, rules: &str| {
        format!(
            "apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {{ name: {name} }}
rules: [{{ apiGroups: [grapnel.dev], {rules} }}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {{ name: {name} }}
roleRef: {{ apiGroup: rbac.authorization.k8s.io, kind: Role, name: {name} }}
subjects: [{{ kind: ServiceAccount, name: {name} }}]
"
        )
    };
    let reads = "resources: [webhookendpoints/events, webhooksubscriptions/deliveries], verbs: [get]";
    cluster.apply(&role("reader", reads)).await;
    cluster.apply(&role("follower", "resources: [webhooksubscriptions/deliveries], verbs: [get]")).await;
    let tokens = [
        token(&cluster, "reader", &[]).await,
        token(&cluster, "follower", &[]).await,
        token(&cluster, "nobody", &[]).await,
    ];
    let [reader, follower, nobody] = tokens.each_ref().map(String::as_str);
    let at = |cluster: &Cluster, rest: &str| format!("/api/v1/namespaces/{}/{rest}", cluster.namespace);
    let events = at(&cluster, "endpoints/orders/events");
    let deliveries = at(&cluster, "subscriptions/fulfilment/deliveries");
    let kubeconfig = std::fs::read_to_string(&cluster.kubeconfig).unwrap();
    let admin = kubeconfig.rsplit_once("token: ").unwrap().1.split(' ').next().unwrap();
    let cases = [
        (events.clone(), None, 401),
        (events.clone(), Some("made-up"), 401),
        (events.clone(), Some(reader), 200),
        (events.clone(), Some(nobody), 403),
        (events, Some(follower), 403),
        (at(&other, "endpoints/orders/events"), Some(reader), 403),
        (at(&other, "endpoints/does-not-exist/events"), Some(reader), 403),
        (deliveries.clone(), Some(reader), 200),
        (deliveries, Some(follower), 200),
        ("/api/v1/objects".into(), Some(reader), 403),
        ("/api/v1/objects".into(), Some(admin), 200),
    ];
    for (path, token, expected) in cases {
        let (status, text) = ask(&grapnel, &path, token).await;
        assert_eq!(status, expected, "{path}: {text}");
        assert!(token.is_none_or(|token| !text.contains(token)), "{path}: {text}");
    }
    for open in ["/healthz", "/readyz", "/metrics"] {
        assert_eq!(ask(&grapnel, open, None).await.0, 200, "{open} is for probes and Prometheus");
    }
}

#[tokio::test]
async fn metrics_can_be_for_those_alone_whom_a_role_lets_read_them() {
    let cluster = Cluster::new().await;
    let grapnel = cluster.operator().with(["--metrics-access", "authorized"]).start().await;
    for name in ["prometheus", "tenant"] {
        account(&cluster, name).await;
    }
    let name = format!("metrics-{}", cluster.namespace);
    let metadata = ObjectMeta { name: Some(name.clone()), ..ObjectMeta::default() };
    let rule = PolicyRule {
        non_resource_urls: Some(vec!["/metrics".into()]),
        verbs: vec!["get".into()],
        ..PolicyRule::default()
    };
    let role = ClusterRole { metadata: metadata.clone(), rules: Some(vec![rule]), ..ClusterRole::default() };
    let subject = Subject {
        kind: "ServiceAccount".into(),
        name: "prometheus".into(),
        namespace: Some(cluster.namespace.clone()),
        ..Subject::default()
    };
    let role_ref = RoleRef { api_group: "rbac.authorization.k8s.io".into(), kind: "ClusterRole".into(), name };
    let binding = ClusterRoleBinding { metadata, role_ref, subjects: Some(vec![subject]) };
    Api::all(cluster.client.clone()).create(&PostParams::default(), &role).await.unwrap();
    Api::all(cluster.client.clone()).create(&PostParams::default(), &binding).await.unwrap();
    let (prometheus, tenant) = (token(&cluster, "prometheus", &[]).await, token(&cluster, "tenant", &[]).await);
    // The API server hears of a role a moment after it is there.
    grapnel
        .eventually("Prometheus's metrics", async || {
            let (status, text) = ask(&grapnel, "/metrics", Some(&prometheus)).await;
            (status == 200 && text.contains("grapnel_build_info")).then_some(())
        })
        .await;
    let (status, text) = ask(&grapnel, "/metrics", Some(&tenant)).await;
    assert_eq!(status, 403, "{text}");
    assert!(text.contains("may not get /metrics") && !text.contains("webhook_"), "{text}");
    assert_eq!(ask(&grapnel, "/metrics", None).await.0, 401);
    assert_eq!(ask(&grapnel, "/readyz", None).await.0, 200, "probes need no token");
}
