//! The command line reaches the operator through the API server. The kubelet at the end of the way is this test's own.

mod kubelet;

use std::{path::Path, process::Stdio};

use grapnel_test_support::certificates::Pair;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::{
    Api,
    api::{Patch, PatchParams, PostParams},
};
use serde_json::json;
use tokio::io::{AsyncBufReadExt, BufReader};

use self::kubelet::Kubelet;
use crate::{
    fixture::{Cluster, PATIENCE},
    program::{Grapnel, command},
};

const ENDPOINT: &str = "apiVersion: grapnel.dev/v1beta1\nkind: WebhookEndpoint\nmetadata: { name: orders }\n\
                        spec: { verification: { none: {} }, event: { id: { pointer: /id } } }\n";

const SUBSCRIPTION: &str = "apiVersion: grapnel.dev/v1beta1\nkind: WebhookSubscription\nmetadata: { name: billing }\n\
                            spec: { endpointRef: { name: orders }, suspend: true, target: { url: 'https://billing.example/' } }\n";

/// A command with the operator of this namespace.
fn grapnel(cluster: &Cluster, kubeconfig: &Path, arguments: &[&str]) -> tokio::process::Command {
    let mut command = tokio::process::Command::from(command());
    command.args(arguments).args(["--namespace", &cluster.namespace, "--operator-namespace", &cluster.namespace]);
    command.arg("--kubeconfig").arg(kubeconfig).kill_on_drop(true);
    command
}

/// Exit code, standard output and standard error.
async fn run(cluster: &Cluster, kubeconfig: &Path, arguments: &[&str]) -> (i32, String, String) {
    let output = grapnel(cluster, kubeconfig, arguments).output();
    let output = tokio::time::timeout(PATIENCE, output).await.expect("the command does not end").unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

/// A node with a kubelet at this port, and a pod there whose port is the operator's.
async fn place(cluster: &Cluster, kubelet: u16, admin: u16) {
    let nodes: Api<Node> = Api::all(cluster.client.clone());
    let node = json!({
        "apiVersion": "v1", "kind": "Node", "metadata": { "name": cluster.namespace },
        "status": {
            "addresses": [{ "type": "InternalIP", "address": "127.0.0.1" }],
            "daemonEndpoints": { "kubeletEndpoint": { "Port": kubelet } },
        },
    });
    nodes.create(&PostParams::default(), &serde_json::from_value(node).unwrap()).await.unwrap();
    let pods: Api<Pod> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": { "name": "grapnel-0", "labels": { "app.kubernetes.io/name": "grapnel" } },
        "spec": {
            "nodeName": cluster.namespace,
            "containers": [{
                "name": "grapnel", "image": "grapnel",
                "ports": [{ "name": "http", "containerPort": 8080 }, { "name": "admin", "containerPort": admin }],
            }],
        },
    });
    pods.create(&PostParams::default(), &serde_json::from_value(pod).unwrap()).await.unwrap();
}

async fn set(cluster: &Cluster, phase: &str, ready: &str) {
    let pods: Api<Pod> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    let status = json!({ "status": { "phase": phase, "conditions": [{ "type": "Ready", "status": ready }] } });
    pods.patch_status("grapnel-0", &PatchParams::default(), &Patch::Merge(status)).await.unwrap();
}

fn port(url: &str) -> u16 {
    url.rsplit_once(':').unwrap().1.parse().unwrap()
}

async fn post(operator: &Grapnel, cluster: &Cluster, id: &str) {
    let body = format!(r#"{{"id":"{id}","type":"order.created"}}"#);
    let (status, answer) = operator.post(&format!("/{}/orders", cluster.namespace), &[], body).await;
    assert_eq!(status, 200, "{answer}");
}

#[tokio::test]
async fn events_are_shown_by_way_of_the_api_server() {
    let cluster = Cluster::new().await;
    let operator = cluster.operator().start().await;
    cluster.apply(ENDPOINT).await;
    cluster.apply(SUBSCRIPTION).await;
    cluster.until_ready("WebhookEndpoint", "orders").await;
    cluster.until_ready("WebhookSubscription", "billing").await;
    post(&operator, &cluster, "first").await;
    let kubeconfig = &*cluster.kubeconfig;
    let list = ["events", "list", "orders"];

    let (code, _, stderr) = run(&cluster, kubeconfig, &list).await;
    assert!(code == 1 && stderr.contains("has no pod with labels app.kubernetes.io/name=grapnel"), "{stderr}");
    let kubelet = Kubelet::start().await;
    place(&cluster, kubelet.port, port(&operator.admin)).await;
    set(&cluster, "Pending", "False").await;
    let (code, _, stderr) = run(&cluster, kubeconfig, &list).await;
    assert!(code == 1 && stderr.contains("no pod of the operator runs") && stderr.contains("grapnel-0"), "{stderr}");
    // Not ready, as with a full volume.
    set(&cluster, "Running", "False").await;
    let (code, stdout, stderr) = run(&cluster, kubeconfig, &list).await;
    assert!(code == 0 && stdout.contains("first"), "{stdout}{stderr}");
    set(&cluster, "Running", "True").await;

    let (code, stdout, stderr) = run(&cluster, kubeconfig, &list).await;
    assert!(code == 0 && stdout.contains("first"), "{stdout}{stderr}");
    let (code, stdout, stderr) = run(&cluster, kubeconfig, &["events", "show", "orders", "first"]).await;
    assert!(code == 0 && stdout.contains("order.created"), "{stdout}{stderr}");
    let (code, stdout, stderr) = run(&cluster, kubeconfig, &["status"]).await;
    for object in ["orders", "billing"] {
        assert!(code == 0 && stdout.contains(&format!("{}/{object}", cluster.namespace)), "{stdout}{stderr}");
    }
    assert!(stdout.contains("suspended"), "{stdout}");
    let (code, _, stderr) = run(&cluster, kubeconfig, &["deliveries", "list", "nowhere"]).await;
    assert!(code == 1 && stderr.contains("there is no WebhookSubscription"), "{stderr}");
    let (code, stdout, stderr) = run(&cluster, kubeconfig, &["redeliver", "billing", "--id", "first"]).await;
    assert!(code == 0 && stdout == "0 queued, 1 skipped, 0 gone\n", "{stdout}{stderr}");

    console_is_served(&cluster, kubeconfig, &operator).await;

    // Another token than the kubeconfig's.
    let file = holding("no-such-token");
    let (code, _, stderr) =
        run(&cluster, kubeconfig, &[&list[..], &["--token-file", file.path().to_str().unwrap()]].concat()).await;
    assert!(code == 1 && stderr.contains("does not accept this bearer token"), "{stderr}");

    // Many requests go over one connection, and a new one is made when it has ended.
    let before = kubelet.connections();
    let mut tail = grapnel(&cluster, kubeconfig, &["events", "tail", "orders", "--interval", "20ms", "--since", "1h"]);
    let mut tail = tail.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(tail.stdout.take().unwrap()).lines();
    let mut next = async || {
        let line = tokio::time::timeout(PATIENCE, lines.next_line()).await.expect("no line comes").unwrap();
        line.expect("tail ended")
    };
    assert!(next().await.contains("first"));
    post(&operator, &cluster, "second").await;
    assert!(next().await.contains("second"));
    assert_eq!(kubelet.connections(), before + 1);
    kubelet.cut();
    post(&operator, &cluster, "third").await;
    assert!(next().await.contains("third"));
    assert_eq!(kubelet.connections(), before + 2);
    tail.kill().await.unwrap();

    // Nothing listens there any more.
    drop(operator);
    let (code, _, stderr) = run(&cluster, kubeconfig, &list).await;
    assert!(code == 1 && stderr.contains("the operator's pod cannot be reached: nothing listens"), "{stderr}");
}

/// The console with the rights of the kubeconfig's user, whose token the browser does not have.
async fn console_is_served(cluster: &Cluster, kubeconfig: &Path, operator: &Grapnel) {
    let mut console = grapnel(cluster, kubeconfig, &["console", "--no-open"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(console.stdout.take().unwrap()).lines();
    let line = tokio::time::timeout(PATIENCE, lines.next_line()).await.expect("nothing is printed").unwrap();
    let url = line.expect("it ended").strip_prefix("the console is at ").unwrap().to_owned();
    let origin = url.split_once("/login").unwrap().0;
    let client = crate::program::client();
    let login = client.get(&url).send().await.unwrap();
    let cookie = login.headers()["set-cookie"].to_str().unwrap().split(';').next().unwrap().to_owned();
    let get = async |path: &str| {
        let response = client.get(format!("{origin}{path}")).header("cookie", &cookie).send().await.unwrap();
        assert_eq!(response.status(), 200, "{path}");
        response
    };
    let namespace = &cluster.namespace;
    let overview = get(&format!("/?namespace={namespace}")).await.text().await.unwrap();
    assert!(overview.contains("/orders") && overview.contains("/billing"), "{overview}");
    let event = get(&format!("/console/endpoints/{namespace}/orders/event?id=first")).await.text().await.unwrap();
    assert!(event.contains("order.created") && event.contains("pending"), "{event}");
    let mut tail = get(&format!("/console/endpoints/{namespace}/orders/tail?after=0")).await;
    let seen = tokio::time::timeout(PATIENCE, tail.chunk()).await.expect("no event comes").unwrap().unwrap();
    assert!(String::from_utf8_lossy(&seen).contains("\"id\":\"first\""), "{seen:?}");

    let page = get(&format!("/console/subscriptions/{namespace}/billing")).await.text().await.unwrap();
    let token = page.split_once("name=\"csrf\" value=\"").unwrap().1.split_once('"').unwrap().0;
    let order = client.post(format!("{origin}/console/subscriptions/{namespace}/billing/redeliver"));
    let order = order.header("cookie", &cookie).header("origin", origin);
    let order = order.header("content-type", "application/x-www-form-urlencoded");
    let done = order.body(format!("csrf={token}&select=events&id=first&confirmed=yes")).send().await.unwrap();
    // The client has followed to the page that tells what was done, without its cookie.
    assert!(done.url().query().unwrap().contains("queued=0"), "{done:?}");
    let log = operator.log();
    let line = log.lines().rfind(|line| line.contains("events queued for redelivery")).unwrap();
    assert!(line.contains("caller=") && !line.contains("this machine"), "the user is named: {line}");
    console.kill().await.unwrap();
}

fn holding(token: &str) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), token).unwrap();
    file
}

#[tokio::test]
async fn without_a_token_it_says_how_to_get_one() {
    let cluster = Cluster::new().await;
    let text = std::fs::read_to_string(&cluster.kubeconfig).unwrap();
    let user = text.find("user: { token:").unwrap();
    let certificate = Pair::self_signed("client");
    let encode = |pem: &str| base64::Engine::encode(&base64::engine::general_purpose::STANDARD, pem);
    let text = format!(
        "{}user: {{ client-certificate-data: {}, client-key-data: {} }} }}]\n",
        &text[..user],
        encode(&certificate.chain),
        encode(&certificate.key)
    );
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    let (code, _, stderr) = run(&cluster, file.path(), &["events", "list", "orders"]).await;
    assert!(code == 1 && stderr.contains("client certificate") && stderr.contains("kubectl create token"), "{stderr}");
}
