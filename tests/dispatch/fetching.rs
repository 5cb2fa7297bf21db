//! Documents that are fetched: no more than is asked for, from nowhere that is forbidden.

use std::time::Duration;

use axum::{Router, body::Body, http::StatusCode, routing::get};
use grapnel::dispatch::{Client, ClientOptions, FetchError, SendError};
use grapnel_delivery::egress::EgressPolicy;
use url::Url;

const LIMIT: usize = 1000;

fn client(egress: EgressPolicy) -> Client {
    Client::new(ClientOptions::new(egress)).unwrap()
}

/// A server whose documents are of every sort.
async fn library() -> Url {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}/", listener.local_addr().unwrap()).parse().unwrap();
    let streamed = |length: usize| {
        let chunks = (0..length / 100).map(|_| Ok::<_, std::io::Error>("x".repeat(100)));
        Body::from_stream(futures_util::stream::iter(chunks))
    };
    let stalled = || {
        use futures_util::StreamExt;
        let first = futures_util::stream::iter([Ok::<_, std::io::Error>("x")]);
        Body::from_stream(first.chain(futures_util::stream::pending()))
    };
    let router = Router::new()
        .route("/whole", get(async || "x".repeat(LIMIT)))
        .route("/large", get(async || "x".repeat(LIMIT + 1)))
        .route("/endless", get(async move || streamed(100 * LIMIT)))
        .route("/stalled", get(async move || stalled()))
        .route("/moved", get(async || (StatusCode::FOUND, [("location", "/whole")], "")))
        .route("/empty", get(async || StatusCode::NO_CONTENT));
    tokio::spawn(async move { axum::serve(listener, router).await });
    base
}

#[tokio::test]
async fn a_document_comes_whole_or_not_at_all() {
    let base = library().await;
    let client = client(EgressPolicy::default().allowing_loopback());
    let get = async |path: &str, patience| client.get(base.join(path).unwrap(), LIMIT, patience).await;
    let patience = Duration::from_secs(30);
    assert_eq!(get("whole", patience).await.unwrap().len(), LIMIT);
    for path in ["large", "endless"] {
        assert!(matches!(get(path, patience).await, Err(FetchError::TooLarge(LIMIT))), "{path}");
    }
    for (path, status) in [("moved", 302), ("none", 404), ("empty", 204)] {
        let answer = get(path, patience).await;
        assert!(matches!(&answer, Err(FetchError::Status(got)) if got.as_u16() == status), "{path}: {answer:?}");
    }
    let answer = get("stalled", Duration::from_millis(50)).await;
    assert!(matches!(answer, Err(FetchError::Exchange(SendError::Timeout(_)))), "{answer:?}");
}

#[tokio::test]
async fn forbidden_addresses_are_not_contacted() {
    let base = library().await;
    let client = client(EgressPolicy::default());
    let port = base.port().unwrap();
    for url in
        [base.as_str(), &format!("http://localhost:{port}/whole"), "http://169.254.169.254/", "file:///etc/passwd"]
    {
        let answer = client.get(url.parse().unwrap(), LIMIT, Duration::from_secs(30)).await;
        assert!(matches!(answer, Err(FetchError::Exchange(SendError::Forbidden(_)))), "{url}: {answer:?}");
    }
}
