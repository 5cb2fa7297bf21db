//! Access by what the cluster allows, here told by a table.

use std::sync::{Arc, Mutex};

use futures_util::{FutureExt, future::BoxFuture};
use grapnel::admin::{
    Access, AdminOptions, Authority,
    authz::{Ask, Denied},
};
use reqwest::{Response, StatusCode};
use serde_json::Value;

use super::{DELIVERIES, ENDPOINT, EVENTS, Server, arrival, now, start, start_with};

/// The token `developer` may do what the table says; `down` finds no API server. What is asked is kept.
#[derive(Default)]
struct Table {
    allowed: Vec<&'static str>,
    reviewed: Mutex<Vec<String>>,
}

impl Authority for Table {
    fn allow<'a>(&'a self, token: &'a str, ask: &'a Ask) -> BoxFuture<'a, Result<Arc<str>, Denied>> {
        let reviewed = ask.to_string();
        self.reviewed.lock().unwrap().push(reviewed.clone());
        let answer = match token {
            "developer" if self.allowed.contains(&&*reviewed) => Ok("dana".into()),
            "developer" => Err(Denied::Forbidden { user: "dana".into() }),
            "down" => Err(Denied::Unavailable),
            _ => Err(Denied::NotAuthenticated),
        };
        async move { answer }.boxed()
    }
}

async fn serving(allowed: &[&'static str]) -> (Server, Arc<Table>) {
    let table = Arc::new(Table { allowed: allowed.to_vec(), reviewed: Mutex::default() });
    let server = start(Access::Cluster(table.clone())).await;
    server.append(vec![arrival("e1", "t", now(), None, b"{}")]).await;
    (server, table)
}

async fn ask(server: &Server, path: &str, token: &str) -> Response {
    // Not by a loopback name: in a cluster the name is the pod's, or whatever leads to it.
    let request = server.client.get(format!("http://{}{path}", server.address)).header("host", "elsewhere");
    let request = if token.is_empty() { request } else { request.bearer_auth(token) };
    request.send().await.unwrap()
}

/// The sentence of a refusal.
async fn refused(server: &Server, path: &str, token: &str, status: StatusCode) -> String {
    let response = ask(server, path, token).await;
    assert_eq!(response.status(), status, "{path}");
    let body: Value = response.json().await.unwrap();
    body["error"].as_str().unwrap().to_owned()
}

const GET_EVENTS: &str = r#"get webhookendpoints/events "orders" in namespace "shop""#;
const GET_DELIVERIES: &str = r#"get webhooksubscriptions/deliveries "billing" in namespace "shop""#;

#[tokio::test]
async fn every_path_asks_for_its_own_verb_and_resource() {
    let all = [
        GET_EVENTS,
        GET_DELIVERIES,
        "list webhookendpoints in all namespaces",
        "list webhooksubscriptions in all namespaces",
        "list webhookreplays in all namespaces",
        r#"list webhookendpoints in namespace "shop""#,
        r#"list webhooksubscriptions in namespace "shop""#,
        r#"list webhookreplays in namespace "shop""#,
    ];
    let (server, table) = serving(&all).await;
    for (path, reviewed) in [
        (EVENTS, &all[..1]),
        (&format!("{EVENTS}/e1"), &all[..1]),
        (&format!("{EVENTS}?limit=1"), &all[..1]),
        (DELIVERIES, &all[1..2]),
        (&format!("{ENDPOINT}/history"), &all[..1]),
        (&format!("{EVENTS}/e1/preview?subscription=shop/billing"), &all[..2]),
        ("/api/v1/objects", &all[2..5]),
        ("/api/v1/configuration", &all[2..5]),
        ("/api/v1/configuration?namespace=shop&after=WebhookEndpoint/shop/orders", &all[5..]),
        ("/api/v1/objects?namespace=shop", &all[5..]),
    ] {
        assert_eq!(ask(&server, path, "developer").await.status(), StatusCode::OK, "{path}");
        assert_eq!(*std::mem::take(&mut *table.reviewed.lock().unwrap()), *reviewed, "{path}");
    }
    server.end().await;
}

#[tokio::test]
async fn the_configuration_says_that_it_leaves_replays_out() {
    let list = [
        r#"list webhookendpoints in namespace "shop""#,
        r#"list webhooksubscriptions in namespace "shop""#,
        r#"list webhookreplays in namespace "shop""#,
    ];
    let path = "/api/v1/configuration?namespace=shop";
    for (allowed, left_out) in [(&list[..2], true), (&list[..], false)] {
        let (server, _) = serving(allowed).await;
        let page: Value = ask(&server, path, "developer").await.json().await.unwrap();
        let has_replays = page["items"].as_array().unwrap().iter().any(|item| item["kind"] == "WebhookReplay");
        assert_eq!((page["withoutReplays"] == true, has_replays), (left_out, !left_out), "{page}");
        server.end().await;
    }
}

#[tokio::test]
async fn without_a_good_token_nobody_gets_in() {
    let (server, table) = serving(&[GET_EVENTS]).await;
    for path in [EVENTS, DELIVERIES, "/api/v1/objects", "/api/v1/objects?namespace=shop", "/api/v1/objects?x=y"] {
        let response = ask(&server, path, "").await;
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED, "{path}");
        assert_eq!(response.headers()["www-authenticate"], "Bearer");
    }
    assert!(table.reviewed.lock().unwrap().is_empty(), "nobody is asked about no token");
    let sentence = refused(&server, EVENTS, "stolen", StatusCode::UNAUTHORIZED).await;
    assert!(!sentence.contains("stolen") && sentence.contains("kubectl create token"), "{sentence}");
    let twice = server.client.get(format!("http://{}{EVENTS}", server.address));
    let twice = twice.bearer_auth("developer").header("authorization", "Bearer other").send().await.unwrap();
    assert_eq!(twice.status(), StatusCode::UNAUTHORIZED);
    for open in ["/healthz", "/readyz", "/metrics"] {
        assert_eq!(ask(&server, open, "").await.status(), StatusCode::OK, "{open}");
    }
    server.end().await;
}

#[tokio::test]
async fn a_refusal_says_what_is_missing_and_nothing_of_what_exists() {
    let (server, _) = serving(&[]).await;
    let sentence = refused(&server, EVENTS, "developer", StatusCode::FORBIDDEN).await;
    assert!(sentence.contains("dana") && sentence.contains(GET_EVENTS), "{sentence}");
    assert!(sentence.contains("as the chart's ClusterRole grapnel-events-view does"), "{sentence}");
    let absent = refused(&server, &EVENTS.replace("orders", "absent"), "developer", StatusCode::FORBIDDEN).await;
    assert_eq!(absent, sentence.replace("orders", "absent"));
    let event = refused(&server, &format!("{EVENTS}/no-such-event"), "developer", StatusCode::FORBIDDEN).await;
    assert_eq!(event, sentence);
    let sentence = refused(&server, DELIVERIES, "developer", StatusCode::FORBIDDEN).await;
    assert!(sentence.contains(GET_DELIVERIES), "{sentence}");
    let sentence = refused(&server, "/api/v1/objects", "developer", StatusCode::FORBIDDEN).await;
    for part in
        ["list webhookendpoints in all namespaces", "list webhooksubscriptions in all", "grapnel-view", "?namespace="]
    {
        assert!(sentence.contains(part), "{sentence}");
    }
    server.end().await;
}

#[tokio::test]
async fn what_is_allowed_in_one_place_is_not_in_another() {
    let (server, _) = serving(&[GET_EVENTS, r#"list webhookendpoints in namespace "shop""#]).await;
    assert_eq!(ask(&server, EVENTS, "developer").await.status(), StatusCode::OK);
    for path in [
        EVENTS.replace("shop", "other"),
        EVENTS.replace("orders", "locked"),
        EVENTS.replace("/shop/", "/shop%2F/"),
        EVENTS.replace("orders", "%2A"),
        DELIVERIES.to_owned(),
        "/api/v1/objects?namespace=other".to_owned(),
    ] {
        assert_eq!(ask(&server, &path, "developer").await.status(), StatusCode::FORBIDDEN, "{path}");
    }
    let sentence = refused(&server, "/api/v1/objects?namespace=shop", "developer", StatusCode::FORBIDDEN).await;
    assert!(!sentence.contains("webhookendpoints") && sentence.contains("webhooksubscriptions"), "{sentence}");
    server.end().await;
}

#[tokio::test]
async fn objects_of_one_namespace_are_that_and_no_more() {
    let server = start(Access::LoopbackOnly).await;
    let count = async |path: &str| server.json(path, StatusCode::OK).await["items"].as_array().unwrap().len();
    assert_eq!(count("/api/v1/objects?namespace=shop").await, 5);
    assert_eq!(count("/api/v1/objects?namespace=sho").await, 0);
    let refusal = server.json("/api/v1/objects?namespace=", StatusCode::BAD_REQUEST).await;
    assert_eq!(refusal["code"], "invalid_parameter");
    server.end().await;
}

#[tokio::test]
async fn without_an_api_server_it_says_so() {
    let (server, _) = serving(&[GET_EVENTS]).await;
    let sentence = refused(&server, EVENTS, "down", StatusCode::SERVICE_UNAVAILABLE).await;
    assert!(sentence.contains("API server"), "{sentence}");
    server.end().await;
}

#[tokio::test]
async fn a_url_and_a_cluster_cannot_both_be_meant() {
    let list_in = |environment: &[(&str, &str)], more: &[&str]| {
        let mut command = std::process::Command::new(grapnel_test_support::program::path());
        command.args(["events", "list", "orders"]).args(more);
        for variable in ["ADMIN_URL", "KUBECONFIG", "CONTEXT", "OPERATOR_NAMESPACE", "OPERATOR_SELECTOR"] {
            command.env_remove(format!("GRAPNEL_{variable}"));
        }
        command.envs(environment.iter().copied());
        let output = command.output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let list = |more: &[&str]| list_in(&[], more);
    let url = ["--admin-url", "http://127.0.0.1:9090"];
    for cluster in [
        &["--kubeconfig"][..],
        &["--kubeconfig", "file"],
        &["--context", "c"],
        &["--operator-namespace", "n"],
        &["--operator-selector", "a=b"],
    ] {
        let (code, stderr) = list(&[&url, cluster].concat());
        assert!(code == Some(2) && stderr.contains("--admin-url") && stderr.contains(cluster[0]), "{stderr}");
    }
    let (code, stderr) = list(&["--kubeconfig", "/nowhere/config"]);
    let reason = "the kubeconfig /nowhere/config cannot be read: No such file or directory (os error 2)";
    assert_eq!((code, &*stderr), (Some(1), &*format!("error: {reason}\n")));

    // What is typed wins over the environment, even over what makes no sense.
    let (code, stderr) = list_in(&[("GRAPNEL_ADMIN_URL", "nonsense")], &["--kubeconfig", "/nowhere/config"]);
    assert!(code == Some(1) && stderr.contains(reason), "{stderr}");
    let closed = ["--admin-url", "http://127.0.0.1:1"];
    let (code, stderr) = list_in(&[("GRAPNEL_KUBECONFIG", "/nowhere/config")], &closed);
    assert!(code == Some(1) && stderr.contains("cannot reach the operator at http://127.0.0.1:1/"), "{stderr}");
    let both = [("GRAPNEL_ADMIN_URL", "http://127.0.0.1:1"), ("GRAPNEL_OPERATOR_NAMESPACE", "n")];
    let (code, stderr) = list_in(&both, &[]);
    let named = both.iter().all(|(variable, _)| stderr.contains(variable));
    assert!(code == Some(2) && named, "{stderr}");
}

#[test]
fn what_cannot_be_meant_is_a_usage_error() {
    for (args, part) in [
        (&["resume", "a/b/c"][..], "NAMESPACE/NAME"),
        (&["resume", "shop/billing", "-n", "other"], "--namespace says other"),
        (&["redeliver", "shop/billing", "-n", "other", "--dead-lettered"], "--namespace says other"),
        (&["deliveries", "list", "a/b/c"], "NAMESPACE/NAME"),
        (&["events", "show", "a/b/c", "id"], "NAMESPACE/NAME"),
        (&["resume", "billing", "--admin-url", "127.0.0.1:9191"], "must begin with http:// or https://"),
    ] {
        let output = std::process::Command::new(grapnel_test_support::program::path()).args(args).output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.code() == Some(2) && stderr.contains(part), "{args:?}: {stderr}");
    }
}

#[tokio::test]
async fn metrics_can_be_guarded_like_the_rest() {
    let table = Arc::new(Table { allowed: vec!["get /metrics"], reviewed: Mutex::default() });
    let guarded = |access| start_with(AdminOptions { access, guarded_metrics: true });
    let server = guarded(Access::Cluster(table.clone())).await;
    assert_eq!(ask(&server, "/metrics", "").await.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(ask(&server, "/metrics", "stolen").await.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(ask(&server, "/metrics", "down").await.status(), StatusCode::SERVICE_UNAVAILABLE);
    let response = ask(&server, "/metrics", "developer").await;
    assert_eq!(response.status(), StatusCode::OK);
    assert!(response.text().await.unwrap().contains("webhook_"));
    assert!(table.reviewed.lock().unwrap().iter().all(|reviewed| reviewed == "get /metrics"));
    for open in ["/healthz", "/readyz"] {
        assert_eq!(ask(&server, open, "").await.status(), StatusCode::OK, "{open} is for probes");
    }
    server.end().await;

    let server = guarded(Access::Cluster(Arc::new(Table::default()))).await;
    let sentence = refused(&server, "/metrics", "developer", StatusCode::FORBIDDEN).await;
    assert!(sentence.contains("may not get /metrics") && sentence.contains("nonResourceURLs"), "{sentence}");
    server.end().await;

    let server = guarded(Access::LoopbackOnly).await;
    assert_eq!(ask(&server, "/metrics", "").await.status(), StatusCode::FORBIDDEN, "another name than a loopback one");
    let own = server.client.get(format!("http://{}/metrics", server.address)).send().await.unwrap();
    assert_eq!(own.status(), StatusCode::OK);
    server.end().await;
}
