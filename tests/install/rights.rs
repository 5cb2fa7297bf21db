//! The rights that the chart gives are those that the operator needs: no call of it is refused, and no right is unused.
//!
//! The operator runs as the chart's ServiceAccount, with the arguments of the chart's StatefulSet, through all that it does
//! in a cluster. The API server's audit log tells what it asked for.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use k8s_openapi::api::{
    authentication::v1::{TokenRequest, TokenRequestSpec},
    core::v1::ServiceAccount,
};
use kube::{Api, api::PostParams};
use serde_json::{Value, json};

use crate::{
    chart::{objects, render_text, the},
    fixture::{Cluster, Operator, PATIENCE, given},
    program::{Grapnel, client, hmac_hex, receiver::Receiver},
    server,
};

/// Kinds that the operator needs to be there.
const NEEDED: &[&str] = &["ServiceAccount", "ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding"];

/// One verb on one resource, as a role bound to the operator gives it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Right {
    /// Where it holds; everywhere if it is empty.
    namespace: String,
    group: String,
    resource: String,
    verb: String,
    /// Of which objects; of all if it is empty.
    names: Vec<String>,
}

/// One call, as the audit log has it.
#[derive(Debug, Clone)]
struct Call {
    namespace: String,
    group: String,
    resource: String,
    verb: String,
    /// A patch that has created the object, for which the API server asks for the right to create too.
    creates: bool,
    name: String,
    refused: bool,
    line: String,
}

impl Right {
    fn covers(&self, call: &Call) -> bool {
        (self.namespace.is_empty() || self.namespace == call.namespace)
            && (&self.group, &self.resource) == (&call.group, &call.resource)
            && (self.verb == call.verb || (call.creates && self.verb == "create"))
            && (self.names.is_empty() || self.names.contains(&call.name))
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn texts(list: &Value) -> Vec<String> {
    list.as_array().into_iter().flatten().map(text).collect()
}

/// What the bindings among the objects give to the ServiceAccount.
fn rights(objects: &[Value], account: &str, home: &str) -> BTreeSet<Right> {
    let mut rights = BTreeSet::new();
    for binding in objects.iter().filter(|it| text(&it["kind"]).ends_with("RoleBinding")) {
        let subjects = binding["subjects"].as_array().unwrap();
        if !subjects.iter().any(|subject| subject["name"] == account && subject["namespace"] == home) {
            continue;
        }
        let namespace = &binding["metadata"]["namespace"];
        let role = objects.iter().find(|it| {
            let local = it["kind"] == "ClusterRole" || &it["metadata"]["namespace"] == namespace;
            it["kind"] == binding["roleRef"]["kind"] && it["metadata"]["name"] == binding["roleRef"]["name"] && local
        });
        for rule in role.expect("the role of a binding is rendered too")["rules"].as_array().unwrap() {
            for group in texts(&rule["apiGroups"]) {
                for resource in texts(&rule["resources"]) {
                    for verb in texts(&rule["verbs"]) {
                        rights.insert(Right {
                            namespace: text(namespace),
                            group: group.clone(),
                            resource: resource.clone(),
                            verb,
                            names: texts(&rule["resourceNames"]),
                        });
                    }
                }
            }
        }
    }
    rights
}

/// Calls of a user about objects, and all that were refused.
fn calls(log: &Path, user: &str) -> Vec<Call> {
    let log = fs::read_to_string(log).unwrap();
    let entries = log.lines().filter_map(|line| Some((serde_json::from_str::<Value>(line).ok()?, line)));
    let own = entries.filter(|(entry, _)| entry["user"]["username"] == user);
    own.map(|(entry, line)| {
        let about = &entry["objectRef"];
        let part = text(&about["subresource"]);
        let plural = text(&about["resource"]);
        Call {
            namespace: text(&about["namespace"]),
            group: text(&about["apiGroup"]),
            resource: if part.is_empty() { plural } else { format!("{plural}/{part}") },
            verb: text(&entry["verb"]),
            creates: entry["verb"] == "patch" && entry["responseStatus"]["code"] == 201,
            name: text(&about["name"]),
            refused: entry["annotations"]["authorization.k8s.io/decision"] == "forbid"
                || [401, 403].iter().any(|code| entry["responseStatus"]["code"] == *code),
            line: line.to_owned(),
        }
    })
    .collect()
}

/// A token of a ServiceAccount.
async fn token(cluster: &Cluster, account: &str, audiences: &[&str]) -> String {
    let api: Api<ServiceAccount> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    let audiences = audiences.iter().map(|it| (*it).to_owned()).collect();
    let spec = TokenRequestSpec { audiences, expiration_seconds: Some(3600), ..TokenRequestSpec::default() };
    let request = TokenRequest { spec, ..TokenRequest::default() };
    let answer = api.create_token_request(account, &PostParams::default(), &request).await.unwrap();
    answer.status.unwrap().token
}

/// The administrator's kubeconfig with the token of somebody else.
fn kubeconfig(cluster: &Cluster, token: &str, directory: &Path) -> PathBuf {
    let mut config: Value = serde_yaml::from_str(&fs::read_to_string(&cluster.kubeconfig).unwrap()).unwrap();
    config["users"][0]["user"] = json!({ "token": token });
    let path = directory.join("kubeconfig");
    fs::write(&path, serde_json::to_string(&config).unwrap()).unwrap();
    path
}

const OBJECTS: &str = r#"
apiVersion: v1
kind: Secret
metadata: { name: orders }
stringData: { secret: first }
---
apiVersion: v1
kind: ConfigMap
metadata: { name: schemas }
data: { order.json: '{"type": "object", "required": ["id"]}' }
---
apiVersion: grapnel.dev/v1beta1
kind: WebhookEndpoint
metadata: { name: orders }
spec:
  verification:
    hmac: { header: X-Signature, algorithm: SHA256, encoding: Hex }
    secretRefs: [{ name: orders, key: secret }]
  schemas:
    - types: ["*"]
      configMapRef: { name: schemas, key: order.json }
---
apiVersion: grapnel.dev/v1beta1
kind: WebhookSubscription
metadata: { name: receiver }
spec:
  endpointRef: { name: orders }
  deletionPolicy: Drain
  target: { url: RECEIVER }
---
apiVersion: v1
kind: ServiceAccount
metadata: { name: application }
---
apiVersion: grapnel.dev/v1beta1
kind: WebhookEndpoint
metadata: { name: inside }
spec:
  verification:
    serviceAccount: { audiences: [grapnel], allowed: [{ name: application }] }
---
apiVersion: v1
kind: ServiceAccount
metadata: { name: person }
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: { name: person }
roleRef: { apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: grapnel-events-view }
subjects: [{ kind: ServiceAccount, name: person, namespace: NAMESPACE }]
"#;

/// Sends an order that is signed with a secret; gives the status.
async fn order(grapnel: &Grapnel, namespace: &str, secret: &str, id: &str) -> u16 {
    let body = json!({ "id": id, "type": "order.created" }).to_string();
    let signature = hmac_hex(secret, body.as_bytes());
    grapnel.post(&format!("/{namespace}/orders"), &[("x-signature", &signature)], body).await.0
}

/// All that the operator does with the API server.
async fn scenario(shop: &Cluster, grapnel: &Grapnel, routed: bool) {
    let receiver = Receiver::start().await;
    shop.apply(&OBJECTS.replace("RECEIVER", &receiver.url).replace("NAMESPACE", &shop.namespace)).await;
    for (kind, name) in
        [("WebhookEndpoint", "orders"), ("WebhookSubscription", "receiver"), ("WebhookEndpoint", "inside")]
    {
        shop.until_ready(kind, name).await;
    }

    // A webhook, its delivery, and the counters in the statuses.
    assert_eq!(order(grapnel, &shop.namespace, "first", "1").await, 200);
    receiver.next().await;
    shop.until("WebhookEndpoint", "orders", "one received", |it| it["status"]["received"] == 1).await;
    shop.until("WebhookSubscription", "receiver", "one delivered", |it| it["status"]["delivered"] == 1).await;

    // The finalizer of its deletion policy.
    let is_held = |it: &serde_json::Value| it["metadata"]["finalizers"] == serde_json::json!(["grapnel.dev/drain"]);
    shop.until("WebhookSubscription", "receiver", "the finalizer", is_held).await;

    // A replay of nothing, which ends and is deleted.
    shop.apply(REPLAY).await;
    let gone = async || shop.list("WebhookReplay").await.is_empty().then_some(());
    grapnel.eventually("the end of the replay", gone).await;

    // A rotated secret.
    shop.apply(SECRET).await;
    grapnel
        .eventually("the new secret", async || {
            (order(grapnel, &shop.namespace, "second", "2").await == 200).then_some(())
        })
        .await;

    // The same Event twice, which is one Event with a count.
    shop.delete("Secret", "orders").await;
    shop.until_condition("WebhookEndpoint", "orders", "Ready", "False", "SecretNotFound").await;
    shop.apply(SECRET).await;
    shop.until_ready("WebhookEndpoint", "orders").await;

    // A caller from inside the cluster.
    let bearer = format!("Bearer {}", token(shop, "application", &["grapnel"]).await);
    let inside = format!("/{}/inside", shop.namespace);
    let headers = [
        ("authorization", bearer.as_str()),
        ("ce-id", "1"),
        ("ce-type", "a"),
        ("ce-specversion", "1.0"),
        ("ce-source", "/test"),
    ];
    assert_eq!(grapnel.post(&inside, &headers, "{}").await.0, 200);

    // A route, which is created, changed and deleted, and the Gateway that accepts it.
    if routed {
        shop.apply(ROUTED).await;
        shop.until("HTTPRoute", "routed", "its route", |_| true).await;
        shop.report("routed", ("True", "Accepted"), ("True", "ResolvedRefs")).await;
        shop.until("WebhookEndpoint", "routed", "its URL", |it| it["status"]["url"].is_string()).await;
        shop.apply(ROUTED.split("  route:").next().unwrap()).await;
        let gone = async || shop.list("HTTPRoute").await.is_empty().then_some(());
        grapnel.eventually("the end of the route", gone).await;
    }

    // People who read events: one who may, and one who may not.
    let events = format!("{}/api/v1/namespaces/{}/endpoints/orders/events", grapnel.admin, shop.namespace);
    for (account, expected) in [("person", 200), ("application", 403)] {
        let bearer = token(shop, account, &[]).await;
        let answer = client().get(&events).bearer_auth(bearer).send().await.unwrap();
        assert_eq!(answer.status().as_u16(), expected, "{account}: {}", answer.text().await.unwrap());
    }
}

const ROUTED: &str = "
apiVersion: grapnel.dev/v1beta1
kind: WebhookEndpoint
metadata: { name: routed }
spec:
  verification: { none: {} }
  route: { parentRefs: [{ name: public }], hostnames: [hooks.example.com] }
";

const REPLAY: &str = "
apiVersion: grapnel.dev/v1beta1
kind: WebhookReplay
metadata: { name: again }
spec: { subscriptionRef: { name: receiver }, select: { deadLettered: true }, ttlSecondsAfterFinished: 0 }
";

const SECRET: &str = "
apiVersion: v1
kind: Secret
metadata: { name: orders }
stringData: { secret: second }
";

/// Installs the chart's rights in a namespace of their own, runs the operator with them, and compares.
pub(crate) async fn prove(shop: &Cluster, audit_log: &Path, arguments: &[&str]) {
    let home = shop.another(&[]).await;
    let rendered = objects(&render_text(&home.namespace, arguments));
    let needed: Vec<_> = rendered.iter().filter(|it| NEEDED.contains(&it["kind"].as_str().unwrap())).cloned().collect();
    server::install(&home.client, &needed).await;

    let account = text(&the(&rendered, "ServiceAccount")["metadata"]["name"]);
    let directory = tempfile::tempdir().unwrap();
    let kubeconfig = kubeconfig(&home, &token(&home, &account, &[]).await, directory.path());
    // The chart's own arguments, but for those that a test has its own of.
    let ours = ["run", "--listen=", "--admin-listen=", "--data-dir=", "--status-interval=", "--log-format="];
    let container = &the(&rendered, "StatefulSet")["spec"]["template"]["spec"]["containers"][0];
    let flags = texts(&container["args"]).into_iter().filter(|flag| !ours.iter().any(|own| flag.starts_with(own)));
    let operator = Operator::new(&kubeconfig).with(flags);
    let grapnel = operator.start().await;
    scenario(shop, &grapnel, arguments.contains(&"routes.enabled=true")).await;
    grapnel.send_signal("TERM");
    let (status, log) = grapnel.ended().await;
    assert!(status.success(), "{log}");

    let user = format!("system:serviceaccount:{}:{account}", home.namespace);
    let rights = rights(&rendered, &account, &home.namespace);
    assert!(rights.len() >= 15, "the bindings give too little: {rights:#?}");
    let verdict = |calls: &[Call]| {
        let unused: Vec<_> =
            rights.iter().filter(|right| !calls.iter().any(|call| right.covers(call))).cloned().collect();
        let refused: Vec<_> = calls.iter().filter(|call| call.refused).map(|call| call.line.clone()).collect();
        (unused, refused)
    };
    // The log is written after the answer, so the last calls may still come.
    let _ = tokio::time::timeout(PATIENCE, async {
        while !verdict(&calls(audit_log, &user)).0.is_empty() {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    })
    .await;
    let calls = calls(audit_log, &user);
    let (unused, refused) = verdict(&calls);
    assert!(
        unused.is_empty() && refused.is_empty(),
        "rights that no call used: {unused:#?}\ncalls that were refused, so a right is missing: {refused:#?}"
    );
    // Nothing was allowed by roles of others, such as those that everybody has.
    let foreign: BTreeSet<_> = calls
        .iter()
        .filter(|call| !call.resource.is_empty() && !rights.iter().any(|right| right.covers(call)))
        .map(|call| format!("{} {} {}", call.verb, call.group, call.resource))
        .collect();
    assert_eq!(foreign, BTreeSet::new(), "calls that no role of the chart allows");
}

#[tokio::test]
async fn every_right_in_named_namespaces_is_needed_and_none_is_missing() {
    let shop = Cluster::new().await;
    let namespaces = format!("watchNamespaces={{{}}}", shop.namespace);
    let log = given("GRAPNEL_TEST_AUDIT_LOG");
    prove(&shop, &log, &["--set", "rbac.scope=Namespaced", "--set", &namespaces]).await;
}

#[test]
fn an_unused_right_would_be_found() {
    let rendered = objects(&render_text("home", &[]));
    let rights = rights(&rendered, "grapnel", "home");
    let call = |namespace: &str, group: &str, resource: &str, verb: &str, name: &str| Call {
        namespace: namespace.into(),
        group: group.into(),
        resource: resource.into(),
        verb: verb.into(),
        creates: false,
        name: name.into(),
        refused: false,
        line: String::new(),
    };
    let covered = |call: Call| rights.iter().any(|right| right.covers(&call));
    assert!(covered(call("shop", "", "secrets", "get", "orders")));
    assert!(covered(call("home", "coordination.k8s.io", "leases", "update", "grapnel")));
    assert!(covered(call("shop", "grapnel.dev", "webhookendpoints/status", "patch", "orders")));
    assert!(!covered(call("home", "coordination.k8s.io", "leases", "update", "other")), "only its own Lease");
    assert!(!covered(call("shop", "coordination.k8s.io", "leases", "get", "grapnel")), "only in its own namespace");
    assert!(!covered(call("shop", "", "secrets", "update", "orders")));
    assert!(!covered(call("shop", "grapnel.dev", "webhookendpoints", "patch", "orders")), "only their status");
}
