//! Hosts that are secret because the URL is, with a DNS server that knows them.

use grapnel_test_support::{
    certificates::{Authority, PROTOCOLS},
    home::unused_address,
};

use crate::{
    home::Home,
    program::{Grapnel, leaks::Secrets, receiver::Receiver},
    rebinding::{send, until},
    targets::block,
    world::{Dns, assert_inside, inside},
};

/// What all of the names have in common.
const HOST: &str = "host-secret-vn4hd8";

#[test]
fn no_secret_host_is_in_what_is_logged_or_answered() {
    inside("hosts::are_shown_nowhere");
}

#[tokio::test]
#[ignore = "runs in the network that the test before it makes"]
async fn are_shown_nowhere() {
    assert_inside();
    let dns = Dns::start().await;
    let authority = Authority::new();
    let (right, wrong) = (format!("right.{HOST}.example"), format!("wrong.{HOST}.example"));
    let secure = Receiver::setup().tls(authority.issue(&right).acceptor(PROTOCOLS)).start().await;
    let plain = Receiver::start().await;
    let closed = unused_address();
    let forbidden = format!("forbidden.{HOST}.example");
    dns.set(&right, &[&["127.0.0.1"]]);
    dns.set(&wrong, &[&["127.0.0.1"]]);
    dns.set(&forbidden, &[&["10.0.0.7"]]);
    let plain = plain.url.replace("127.0.0.1", &right);
    let targets = [
        ("plain", plain, true),
        ("secure", secure.url_of(&right, "/hook"), true),
        ("misnamed", secure.url_of(&wrong, "/hook"), false),
        ("forbidden", format!("http://{forbidden}/"), false),
        ("unknown", format!("http://unknown.{HOST}.example/"), false),
        ("closed", format!("http://{right}:{}/", closed.port()), false),
    ];
    let mut manifests = format!(
        "apiVersion: grapnel.dev/v1beta1\nkind: WebhookEndpoint\nmetadata: {{ name: in }}\nspec: {{ verification: {{ none: {{}} }} }}\n---\napiVersion: v1\nkind: ConfigMap\nmetadata: {{ name: trust }}\ndata:\n  ca.crt: {}---\napiVersion: v1\nkind: Secret\nmetadata: {{ name: urls }}\nstringData:\n",
        block(&authority.pem)
    );
    for (name, url, _) in &targets {
        manifests += &format!("  {name}: {url}\n");
    }
    for (name, url, _) in &targets {
        let tls = if url.starts_with("https") {
            ", tls: { caRef: { configMapRef: { name: trust, key: ca.crt } } }"
        } else {
            ""
        };
        manifests += &format!(
            "---\napiVersion: grapnel.dev/v1beta1\nkind: WebhookSubscription\nmetadata: {{ name: {name} }}\nspec:\n  endpointRef: {{ name: in }}\n  target: {{ urlFrom: {{ secretKeyRef: {{ name: urls, key: {name} }} }}{tls} }}\n  retry: {{ maxAttempts: 2, initialDelay: 1s, jitter: None }}\n"
        );
    }
    let home = Home::new();
    home.write("all.yaml", &manifests);
    let (files, data) = (home.manifests(), home.data());
    let grapnel = Grapnel::start_in(
        &[("RUST_LOG", "trace")],
        ["standalone", "-f", files.to_str().unwrap(), "--data-dir", data.to_str().unwrap()],
    );
    send(&grapnel, "e").await;
    let mut places = Vec::new();
    for (name, _, delivered) in targets {
        let count = if delivered { "delivered" } else { "deadLettered" };
        let status = until(&grapnel, name, count, |status| status[count] == 1).await;
        places.push((name, status.to_string()));
    }
    places.push(("metrics", grapnel.admin("/metrics").await.1));
    grapnel.send_signal("TERM");
    let (_, log) = grapnel.ended().await;
    assert!(log.contains("TRACE"), "the log is not as detailed as it should be");
    places.push(("log", log));
    let mut secrets = Secrets::default();
    secrets.add("host of a URL", HOST);
    for (place, text) in &places {
        secrets.assert_none_in(place, text);
    }
}
