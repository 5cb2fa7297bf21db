//! The floor: an axum handler that checks the HMAC and does nothing else.

use axum::{Router, body::Bytes, extract::State, http::HeaderMap, http::StatusCode, routing::post};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

type HmacSha256 = Hmac<Sha256>;

/// Serves on a free port of this machine, and says which.
pub(crate) async fn serve() {
    let key = HmacSha256::new_from_slice(crate::SECRET.as_bytes()).unwrap();
    let app = Router::new().route("/default/bench", post(check)).with_state(key);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    println!("http://{}", listener.local_addr().unwrap());
    axum::serve(listener, app).await.unwrap();
}

async fn check(State(key): State<HmacSha256>, headers: HeaderMap, body: Bytes) -> (StatusCode, &'static str) {
    let signature = headers.get("x-webhook-signature").and_then(|value| hex::decode(value.as_bytes()).ok());
    let mut mac = key;
    mac.update(&body);
    match signature.map(|signature| mac.verify_slice(&signature)) {
        Some(Ok(())) => (StatusCode::OK, r#"{"success":true}"#),
        _ => (StatusCode::UNAUTHORIZED, r#"{"error":"invalid signature","code":"invalid_signature"}"#),
    }
}
