//! Names that lead inside, at once or when they have been looked at.

use std::{collections::BTreeSet, net::IpAddr};

use serde_json::Value;

use crate::{
    home::Home,
    program::Grapnel,
    world::{Dns, Everywhere, FORBIDDEN, PUBLIC, PUBLIC_V6, assert_inside, inside, ok},
};

/// Where receivers listen in these tests.
const PORT: u16 = 8080;

/// An endpoint that takes everything, and subscriptions to it: name and URL. They try again every second, for long.
pub(crate) fn manifests(targets: &[(&str, &str)]) -> String {
    let mut text = String::from(
        "apiVersion: grapnel.dev/v1beta1\nkind: WebhookEndpoint\nmetadata: { name: in }\nspec: { verification: { none: {} } }\n",
    );
    for (name, url) in targets {
        text += &format!(
            "---
apiVersion: grapnel.dev/v1beta1
kind: WebhookSubscription
metadata: {{ name: {name} }}
spec:
  endpointRef: {{ name: in }}
  target: {{ url: '{url}' }}
  retry: {{ maxAttempts: 100, initialDelay: 1s, multiplier: 1, jitter: None }}
  circuitBreaker: {{ failures: 1000 }}
"
        );
    }
    text
}

/// Sends an event to the endpoint of [`manifests`].
pub(crate) async fn send(grapnel: &Grapnel, id: &str) {
    let (status, answer) = grapnel.post("/default/in", &[], format!(r#"{{"id":"{id}","type":"t"}}"#)).await;
    assert_eq!(status, 200, "{answer}");
}

pub(crate) async fn until(grapnel: &Grapnel, name: &str, what: &str, check: impl Fn(&Value) -> bool) -> Value {
    grapnel
        .eventually(&format!("{name}: {what}"), async || {
            let status = grapnel.status("WebhookSubscription", name).await;
            check(&status).then_some(status)
        })
        .await
}

#[test]
fn a_name_that_changes_its_mind_never_leads_inside() {
    inside("rebinding::changes_its_mind");
}

#[tokio::test]
#[ignore = "runs in the network that the test before it makes"]
async fn changes_its_mind() {
    assert_inside();
    let dns = Dns::start().await;
    let everywhere = Everywhere::start(PORT, ok).await;
    // Who looks once to check and again to connect is told another thing each time, at every place in the order.
    let inside: Vec<&[&str]> = FORBIDDEN.iter().map(std::slice::from_ref).collect();
    let mut turns: Vec<&[&str]> = Vec::new();
    for forbidden in &inside {
        turns.extend([&[PUBLIC][..], forbidden, forbidden, &[PUBLIC_V6], forbidden]);
    }
    dns.set("flip.example", &turns);
    let home = Home::new();
    home.write("all.yaml", &manifests(&[("flip", &format!("http://flip.example:{PORT}/hook"))]));
    let grapnel = home.start();
    let mut sent = 0;
    // A lookup may serve several deliveries, so it is the answers that count.
    while dns.queries("flip.example") < turns.len() {
        send(&grapnel, &format!("e-{sent}")).await;
        sent += 1;
        until(&grapnel, "flip", "the next lookup or delivery", |status| {
            status["delivered"] == sent || status["retrying"].as_u64() > Some(0)
        })
        .await;
    }
    // The next answers are public again some time: nothing is lost over it.
    let status = until(&grapnel, "flip", "every delivery", |status| status["delivered"] == sent).await;
    assert_eq!(status["lastFailure"]["reason"], "forbidden", "{status}");
    everywhere.assert_only_public();
    let reached: BTreeSet<IpAddr> = everywhere.connections().into_iter().collect();
    assert_eq!(reached.len(), 2, "both families were used: {reached:?}");
}

#[test]
fn names_of_every_forbidden_address_are_refused() {
    inside("rebinding::every_forbidden_address");
}

#[tokio::test]
#[ignore = "runs in the network that the test before it makes"]
async fn every_forbidden_address() {
    assert_inside();
    let dns = Dns::start().await;
    let everywhere = Everywhere::start(PORT, ok).await;
    let forms = [
        "::ffff:10.0.0.7",
        "::ffff:169.254.169.254",
        "::10.0.0.7",
        "64:ff9b::a00:7",
        "64:ff9b:1::a00:7",
        "2002:a00:7::1",
        "2001:0:a00:7::1",
        "0.0.0.0",
        "::",
        "224.0.0.1",
        "255.255.255.255",
    ];
    let addresses: Vec<&str> = FORBIDDEN.iter().copied().chain(forms).collect();
    let names: Vec<String> = (0..addresses.len()).map(|number| format!("inside-{number}")).collect();
    let urls: Vec<String> = names.iter().map(|name| format!("http://{name}.example:{PORT}/hook")).collect();
    for (name, address) in names.iter().zip(&addresses) {
        dns.set(&format!("{name}.example"), &[&[address]]);
    }
    // Among addresses of both kinds the public ones are called.
    dns.set("mixed.example", &[&["10.0.0.7", PUBLIC, "fd00::7", "169.254.169.254"]]);
    let mixed = format!("http://mixed.example:{PORT}/hook");
    let mut targets: Vec<(&str, &str)> =
        names.iter().map(String::as_str).zip(urls.iter().map(String::as_str)).collect();
    targets.push(("mixed", &mixed));
    let home = Home::new();
    home.write("all.yaml", &manifests(&targets));
    let grapnel = home.start();
    send(&grapnel, "e").await;
    for (name, address) in names.iter().zip(&addresses) {
        let status = until(&grapnel, name, "a failure", |status| status["lastFailure"].is_object()).await;
        let failure = &status["lastFailure"];
        assert_eq!(failure["reason"], "forbidden", "{address}: {failure}");
        let message = failure["message"].as_str().unwrap();
        assert!(message.contains(&format!("{name}.example resolves to a forbidden address")), "{message}");
    }
    until(&grapnel, "mixed", "its delivery", |status| status["delivered"] == 1).await;
    everywhere.assert_only_public();
    assert_eq!(everywhere.requests().len(), 1);
}
