//! Senders by name, through the real program: signed by `grapnel send`, as the documentation sets them up.

use std::{
    fs,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
};

use axum::{Router, http::StatusCode, routing::get};
use grapnel_signature::{names, provider, testing};
use grapnel_values::secret::Secret;

use crate::{
    home::Home,
    program::{Grapnel, run},
};

const DATA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/crates/signature/src/tests/data");

/// What a sender signs with in tests, and what its receiver knows.
fn keys(name: &str) -> (String, String) {
    let keys = testing::keys(&provider(name).unwrap().scheme());
    let text = |secret: &Secret| String::from_utf8(secret.expose().to_vec()).unwrap();
    (text(&keys.private), text(&keys.public))
}

/// An endpoint of a provider that needs nothing but its secret, as the example of GitHub in the documentation.
fn plain(name: &str) -> String {
    let (endpoint, key) = (name.to_lowercase(), serde_json::json!(keys(name).1));
    format!(
        "apiVersion: v1\nkind: Secret\nmetadata: {{name: {endpoint}}}\nstringData: {{key: {key}}}\n---\n\
         apiVersion: grapnel.dev/v1beta1\nkind: WebhookEndpoint\nmetadata: {{name: {endpoint}}}\n\
         spec: {{verification: {{provider: {{name: {name}}}, secretRefs: [{{name: {endpoint}, key: key}}]}}}}\n"
    )
}

/// Sends an event to an endpoint of the namespace `default`; whether it was taken, and what was said.
fn send(grapnel: &Grapnel, endpoint: &str, arguments: &[&str]) -> (bool, String) {
    let url = format!("{}/default/{endpoint}", grapnel.webhooks);
    let output = run(&[&["send", &url], arguments].concat());
    let printed = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&printed).into_owned())
}

#[tokio::test]
async fn every_sender_of_the_documentation_is_let_in() {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/providers.md")).unwrap();
    let blocks: Vec<_> = text.split("```yaml\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
    let home = Home::new();
    for (number, block) in blocks.iter().enumerate() {
        home.write(&format!("{number:02}.yaml"), block);
    }
    let example = |name: &str| {
        let line = format!("      name: {name}");
        blocks.iter().find(|block| block.lines().any(|other| other == line))
    };
    for name in names().filter(|name| provider(name).unwrap().scheme().needs_secrets() && example(name).is_none()) {
        home.write(&format!("plain-{name}.yaml"), &plain(name));
    }
    let secrets = blocks.last().unwrap();
    let value = |key: &str| {
        let line = secrets.lines().find_map(|line| line.strip_prefix(&format!("  {key}: ")));
        line.unwrap_or_else(|| panic!("no Secret has the key {key}"))
    };
    let grapnel = home.start();
    let mut sent = 0;
    // Keys of the others are fetched, or there are none.
    for name in names().filter(|name| provider(name).unwrap().scheme().needs_secrets()) {
        let keys = keys(name);
        let (endpoint, shared) = match example(name) {
            Some(block) => {
                let endpoint = block.lines().find_map(|line| line.strip_prefix("  name: ")).unwrap();
                (endpoint.to_owned(), value(endpoint).to_owned())
            }
            None => (name.to_lowercase(), keys.1.clone()),
        };
        // The documentation has the public keys of the tests.
        let secret = if keys.0 == keys.1 { shared } else { keys.0 };
        let endpoint = endpoint.as_str();
        let (taken, printed) = send(&grapnel, endpoint, &["--provider", name, "--secret", &secret]);
        assert!(taken, "{name}: {printed}");
        let (taken, printed) = send(&grapnel, endpoint, &["--provider", name, "--secret", &secret, "--example"]);
        assert!(taken && !printed.contains("duplicate"), "{name}, its example: {printed}");
        // Of the same form, but not the one.
        let wrong = testing::keys(&provider(name).unwrap().scheme()).other_private;
        let wrong = String::from_utf8(wrong.expose().to_vec()).unwrap();
        let (taken, printed) = send(&grapnel, endpoint, &["--provider", name, "--secret", &wrong]);
        assert!(!taken && printed.contains("invalid_signature"), "{name}: {printed}");
        sent += 1;
    }
    assert!(sent >= 17, "only {sent} were tried");
    for secret in [value("gitlab"), value("gitlab-token")] {
        let (taken, printed) = send(&grapnel, "gitlab-moving", &["--provider", "GitLab", "--secret", secret]);
        assert!(taken, "{printed}");
    }
    let (taken, printed) = send(&grapnel, "gitlab", &["--provider", "GitLab", "--secret", value("gitlab-token")]);
    assert!(!taken && printed.contains("missing_signature"), "{printed}");
    let login = "legacy:a-long-random-string";
    assert!(send(&grapnel, "legacy", &["--provider", "basic", "--secret", login]).0);
    assert!(!send(&grapnel, "legacy", &["--provider", "basic", "--secret", "legacy:another"]).0);
    let (verified, reason, message) = grapnel.condition("WebhookEndpoint", "dockerhub", "Verified").await;
    assert_eq!((verified.as_str(), reason.as_str()), ("False", "Unauthenticated"), "{message}");
}

/// An issuer on this machine; counts how often its keys are asked for.
async fn issuer() -> (String, Arc<AtomicUsize>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let description = serde_json::json!({ "issuer": url, "jwks_uri": format!("{url}/keys") }).to_string();
    let fetches = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&fetches);
    let keys = move || {
        count.fetch_add(1, SeqCst);
        async { fs::read_to_string(format!("{DATA}/rsa-1.jwks.json")).unwrap() }
    };
    let router = Router::new()
        .route("/.well-known/openid-configuration", get(async || description))
        .route("/keys", get(keys))
        .route("/moved", get(async || (StatusCode::FOUND, [("location", "/keys")], "")));
    tokio::spawn(async move { axum::serve(listener, router).await });
    (url, fetches)
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_of_an_issuer_open_what_they_were_issued_for() {
    let (issuer, fetches) = issuer().await;
    let home = Home::new();
    let endpoint = |name: &str, rest: &str| {
        let text = format!(
            "apiVersion: grapnel.dev/v1beta1\nkind: WebhookEndpoint\nmetadata:\n  name: {name}\nspec:\n  verification:\n    \
             jwt:\n      issuer: {issuer}\n      audiences: [mine]\n{rest}"
        );
        home.write(&format!("{name}.yaml"), &text);
    };
    endpoint("found", "");
    endpoint("named", &format!("      jwksUri: {issuer}/keys\n"));
    endpoint("moved", &format!("      jwksUri: {issuer}/moved\n"));
    let grapnel = home.start();
    let key = |number: u8| format!("{DATA}/rsa-{number}.pem");
    let jwt = |endpoint: &str, key: &str, audience: &str, issuer: &str| {
        let arguments = [
            "--provider",
            "jwt",
            "--secret-file",
            key,
            "--audience",
            audience,
            "--issuer",
            issuer,
            "--timestamp",
            "-1s",
        ];
        tokio::task::block_in_place(|| send(&grapnel, endpoint, &arguments))
    };
    for name in ["found", "named", "found"] {
        let (taken, printed) = jwt(name, &key(1), "mine", &issuer);
        assert!(taken, "{name}: {printed}");
    }
    for (key, audience, from) in [
        (key(2), "mine", issuer.as_str()),
        (key(1), "another", issuer.as_str()),
        (key(1), "mine", "https://another.example"),
    ] {
        let (taken, printed) = jwt("found", &key, audience, from);
        assert!(!taken && printed.contains("invalid_signature"), "{printed}");
    }
    assert_eq!(fetches.load(SeqCst), 2, "one fetch for each of the two sets");
    let (taken, printed) = jwt("moved", &key(1), "mine", &issuer);
    assert!(
        !taken && printed.contains("503") && printed.contains("unavailable"),
        "redirects are not followed: {printed}"
    );
    // The response may arrive before the line has been read.
    let logged = async || grapnel.log().contains("public keys cannot be fetched").then_some(());
    grapnel.eventually("a line about the keys", logged).await;
}
