//! `grapnel status`, and what commands say when there is no operator to ask.

use std::time::Duration;

use grapnel::admin::Access;
use grapnel_delivery::breaker::OpenCircuit;
use grapnel_values::clock::{Clock, SystemClock};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

use super::{Server, grapnel, now, start, with_deliveries};

/// The cells of the row that begins with a name.
fn row<'a>(stdout: &'a str, name: &str) -> Vec<&'a str> {
    let line = stdout.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("{name}: {stdout}"));
    line.split("  ").filter(|cell| !cell.is_empty()).map(str::trim).collect()
}

async fn shown(server: &Server, args: &[&str]) -> (String, String) {
    let (code, stdout, stderr) = server.grapnel(&[&["status"], args].concat()).await;
    assert_eq!(code, 0, "{args:?}: {stderr}");
    (stdout, stderr)
}

#[tokio::test]
async fn all_objects_are_shown_at_a_glance() {
    let server = start(Access::LoopbackOnly).await;
    with_deliveries(&server).await;
    let next_probe = SystemClock.now() + Duration::from_secs(4000);
    server.facts().circuit(Some(OpenCircuit { since: now(), failures: 5, next_probe }));
    let (stdout, _) = shown(&server, &[]).await;
    assert_eq!(row(&stdout, "shop/orders")[..5], ["shop/orders", "True", "0", "0", "0"]);
    assert_eq!(row(&stdout, "shop/orders").last(), Some(&"/shop/orders"));
    assert_eq!(row(&stdout, "shop/locked")[1], "False (SecretNotFound)");
    let billing = row(&stdout, "shop/billing");
    // One is delivered; one retries, one is in flight and one pending; one is dead.
    assert_eq!(billing[..7], ["shop/billing", "shop/orders", "True", "1", "3", "1", "1"]);
    assert!(
        billing[7].starts_with("open (probe in 66m") || billing[7].starts_with("open (probe in 65m"),
        "{billing:?}"
    );
    for problem in [
        "WebhookEndpoint shop/locked: SecretNotFound: spec.verification.secretRefs[0]",
        "WebhookSubscription shop/lost: EndpointNotFound: ",
        "WebhookSubscription shop/billing: CircuitOpen: ",
    ] {
        assert_eq!(stdout.matches(problem).count(), 1, "{problem}: {stdout}");
    }
    let (wide, _) = shown(&server, &["-o", "wide"]).await;
    assert!(row(&wide, "shop/orders").contains(&"shop.yaml:1"), "{wide}");
    for output in ["json", "yaml"] {
        let (stdout, _) = shown(&server, &["-o", output]).await;
        let page: Value = serde_yaml::from_str(&stdout).unwrap();
        assert_eq!(page["items"].as_array().unwrap().len(), 5, "{stdout}");
    }
    server.end().await;
}

#[tokio::test]
async fn a_namespace_is_chosen_and_left() {
    let server = start(Access::LoopbackOnly).await;
    let (stdout, stderr) = shown(&server, &["-n", "other"]).await;
    assert_eq!(stdout, "");
    assert_eq!(stderr, "no objects in namespace other; -A shows those of all namespaces\n");
    let elsewhere = |args: &'static [&str]| {
        let command = grapnel(server.address, args).env("GRAPNEL_NAMESPACE", "other").output();
        async move { String::from_utf8(command.await.unwrap().stdout).unwrap() }
    };
    assert_eq!(elsewhere(&["status"]).await, "");
    assert!(elsewhere(&["status", "-A"]).await.contains("shop/orders"));
    assert!(elsewhere(&["status", "-n", "shop"]).await.contains("shop/orders"));
    server.end().await;
}

#[tokio::test]
async fn an_unknown_name_comes_with_the_way_to_the_known_ones() {
    let server = start(Access::LoopbackOnly).await;
    for (args, kind) in
        [(&["events", "list", "orderz"], "WebhookEndpoint"), (&["deliveries", "list", "orderz"], "WebhookSubscription")]
    {
        let (code, _, stderr) = server.grapnel(args).await;
        assert_eq!(code, 1);
        assert!(stderr.contains(&format!("there is no {kind} shop/orderz; `grapnel status`")), "{stderr}");
    }
    for (flag, value, word) in [
        ("--type", "", "write `*`"),
        ("-o", "xml", "wide"),
        ("--before", "x", "SEQUENCE"),
        ("--limit", "0", "1..=1000"),
    ] {
        let (code, _, stderr) = server.grapnel(&["events", "list", "orders", flag, value]).await;
        assert!(code == 2 && stderr.contains(word), "{flag} {value}: {code} {stderr}");
    }
    server.end().await;
}

#[tokio::test]
async fn another_server_is_not_taken_for_the_operator() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    // As the server that receives webhooks responds to a path that is no endpoint's.
    let serving = tokio::spawn(async move {
        let body = r#"{"error":"no endpoint at this path","code":"not_found"}"#;
        let (mut socket, _) = listener.accept().await.unwrap();
        let mut request = [0; 4096];
        assert!(socket.read(&mut request).await.unwrap() > 0);
        let response = format!("HTTP/1.1 404 Not Found\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        socket.write_all(response.as_bytes()).await.unwrap();
    });
    let output = grapnel(address, &["status"]).output().await.unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.code() == Some(1) && stderr.contains("not from an admin server of Grapnel"), "{stderr}");
    serving.await.unwrap();
    // The listener is gone.
    let output = grapnel(address, &["status"]).output().await.unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    for word in [&*format!("cannot reach the operator at http://{address}"), "--admin-url", "--kubeconfig"] {
        assert!(output.status.code() == Some(1) && stderr.contains(word), "{stderr}");
    }
}
