//! The console in a real browser: Debian's Chromium, without a window. `GRAPNEL_SCREENSHOTS=docs/images` also writes the
//! pictures of the documentation (`just screenshots`).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // How a test fails.

mod browser;
mod command;
mod hostile;
mod walk;

use std::{
    process::Stdio,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
};

use axum::{body::Body, http::Response};
use grapnel_test_support::{
    PATIENCE,
    home::Home,
    program::{self, Grapnel},
    receiver::Receiver,
};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::Child,
    time::timeout,
};

/// An operator without a cluster, with a receiver that fails until it is repaired.
struct Shop {
    grapnel: Grapnel,
    receiver: Receiver,
    works: Arc<AtomicBool>,
    _home: Home,
}

/// What the receiver answers while it fails.
const ANSWER: &str = "<b>out of stock</b>";

impl Shop {
    async fn open() -> Self {
        Self::open_with("").await
    }

    /// The same with more objects, in whose text `RECEIVER` is the URL of the receiver.
    async fn open_with(more: &str) -> Self {
        let works = Arc::new(AtomicBool::new(false));
        let now = Arc::clone(&works);
        let receiver = Receiver::setup().respond(move |_| {
            let (status, body) = if now.load(SeqCst) { (200, "") } else { (503, ANSWER) };
            Response::builder().status(status).body(Body::from(body)).unwrap()
        });
        let receiver = receiver.await;
        let home = Home::new();
        home.write("shop.yaml", &(manifests(&receiver.url) + &more.replace("RECEIVER", &receiver.url)));
        let grapnel = home.start();
        Self { grapnel, receiver, works, _home: home }
    }

    /// Sends an event to the endpoint `shop/orders`.
    async fn send(&self, id: &str, kind: &str) {
        let body = serde_json::json!({ "id": id, "type": kind, "order": { "total": 1999, "currency": "EUR" } });
        self.send_body(body.to_string()).await;
    }

    async fn send_body(&self, body: String) {
        let (status, answer) = self.grapnel.post("/shop/orders", &[], body).await;
        assert_eq!(status, 200, "{answer}");
    }

    /// Waits until the subscription `shop/billing` has this many dead letters.
    async fn until_dead(&self, letters: u64) {
        let dead = async || self.grapnel.status("WebhookSubscription", "billing").await["deadLettered"] == letters;
        self.grapnel.eventually("the dead letters", dead).await;
    }
}

fn manifests(receiver: &str) -> String {
    format!(
        "apiVersion: grapnel.dev/v1beta1\nkind: WebhookEndpoint\nmetadata: {{ namespace: shop, name: orders }}\n\
         spec: {{ verification: {{ none: {{}} }}, event: {{ id: {{ pointer: /id }}, type: {{ pointer: /type }} }} }}\n\
         ---\n\
         apiVersion: grapnel.dev/v1beta1\nkind: WebhookEndpoint\nmetadata: {{ namespace: shop, name: payments }}\n\
         spec: {{ verification: {{ provider: {{ name: Stripe }}, secretRefs: [{{ name: stripe, key: secret }}] }} }}\n\
         ---\n\
         apiVersion: grapnel.dev/v1beta1\nkind: WebhookSubscription\nmetadata: {{ namespace: shop, name: billing }}\n\
         spec: {{ endpointRef: {{ name: orders }}, target: {{ url: '{receiver}/billing' }}, \
         retry: {{ maxAttempts: 1 }}, circuitBreaker: {{ failures: 100 }} }}\n\
         ---\n\
         apiVersion: grapnel.dev/v1beta1\nkind: WebhookSubscription\nmetadata: {{ namespace: shop, name: refunds }}\n\
         spec: {{ endpointRef: {{ name: orders }}, eventTypes: ['refund.*'], target: {{ url: '{receiver}/refunds' }} }}\n"
    )
}

/// `grapnel console`, until it is dropped.
struct Console {
    _child: Child,
    /// The URL that it has printed.
    url: String,
}

impl Console {
    async fn start(admin: &str, arguments: &[&str]) -> Self {
        let mut command = tokio::process::Command::from(program::command());
        command.args(["console", "--no-open", "--admin-url", admin]).args(arguments);
        let mut child = command.stdout(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let line = timeout(PATIENCE, lines.next_line()).await.expect("nothing is printed").unwrap();
        let line = line.expect("it ended: see above");
        let url = line.strip_prefix("the console is at ").unwrap_or_else(|| panic!("{line}")).to_owned();
        Self { _child: child, url }
    }

    /// Its origin.
    fn origin(&self) -> &str {
        self.url.split_once("/login").unwrap().0
    }
}
