//! The floors: an axum handler that checks the HMAC and answers, alone or after it has stored the body in a file.

use std::{fs::File, io::Write, path::PathBuf, sync::mpsc};

use axum::{Router, body::Bytes, extract::State, http::HeaderMap, http::StatusCode, routing::post};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use tokio::sync::oneshot;

/// The argument that makes this program a floor; the path of the file follows, if there is one.
pub(crate) const ARGUMENT: &str = "floor-server";

type HmacSha256 = Hmac<Sha256>;
type Waiting = (Bytes, oneshot::Sender<()>);

#[derive(Clone)]
struct Floor {
    key: HmacSha256,
    writer: Option<mpsc::Sender<Waiting>>,
}

/// Serves on a free port of this machine and prints its address.
pub(crate) async fn serve(file: Option<PathBuf>) {
    let writer = file.map(|path| {
        let (sender, waiting) = mpsc::channel();
        let file = File::create(path).unwrap();
        std::thread::spawn(move || write(file, waiting));
        sender
    });
    let key = HmacSha256::new_from_slice(crate::SECRET.as_bytes()).unwrap();
    let app = Router::new().route("/default/bench", post(take)).with_state(Floor { key, writer });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    println!("http://{}", listener.local_addr().unwrap());
    axum::serve(listener, app).await.unwrap();
}

async fn take(State(floor): State<Floor>, headers: HeaderMap, body: Bytes) -> (StatusCode, &'static str) {
    let signature = headers.get("x-webhook-signature").and_then(|value| hex::decode(value.as_bytes()).ok());
    let mut mac = floor.key;
    mac.update(&body);
    if signature.is_none_or(|signature| mac.verify_slice(&signature).is_err()) {
        return (StatusCode::UNAUTHORIZED, r#"{"error":"invalid signature","code":"invalid_signature"}"#);
    }
    if let Some(writer) = floor.writer {
        let (sender, stored) = oneshot::channel();
        writer.send((body, sender)).unwrap();
        stored.await.unwrap();
    }
    (StatusCode::OK, r#"{"success":true}"#)
}

/// Group commit: everything that waits is one write and one fdatasync.
fn write(mut file: File, waiting: mpsc::Receiver<Waiting>) {
    let mut buffer = Vec::new();
    while let Ok(first) = waiting.recv() {
        buffer.clear();
        let mut answers = Vec::new();
        for (body, answer) in std::iter::once(first).chain(waiting.try_iter()) {
            buffer.extend_from_slice(&(body.len() as u32).to_le_bytes());
            buffer.extend_from_slice(&body);
            answers.push(answer);
        }
        file.write_all(&buffer).unwrap();
        file.sync_data().unwrap();
        for answer in answers {
            // The client may be gone.
            let _ = answer.send(());
        }
    }
}
