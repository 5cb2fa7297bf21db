//! The monitoring URLs of the brokers.

use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::{StatusCode, Uri};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};

use super::facts::BrokerFacts;

/// How long an answer may take.
const TIMEOUT: Duration = Duration::from_secs(2);

/// Maximum size of an answer; they have some 4 KiB.
const ANSWER_BYTES: usize = 1 << 20;

/// Asks every broker; returns what each says, or why it does not.
pub(super) async fn ask(monitors: &[String]) -> (Vec<Result<BrokerFacts, String>>, Vec<String>) {
    let asked = monitors.iter().map(|url| async move {
        match tokio::time::timeout(TIMEOUT, ask_one(url)).await {
            Ok(answer) => answer,
            Err(_) => Err("no answer in time".to_owned()),
        }
        .map_err(|failure| format!("{}: {failure}", shown(url)))
    });
    (join_all(asked).await, Vec::new())
}

async fn ask_one(url: &str) -> Result<BrokerFacts, String> {
    let uri = varz(url)?;
    // One request a minute: no connection is kept.
    let client: Client<_, Empty<Bytes>> = Client::builder(TokioExecutor::new()).pool_max_idle_per_host(0).build_http();
    let answer = client.get(uri).await.map_err(|_| "the broker's monitoring cannot be reached")?;
    if answer.status() != StatusCode::OK {
        return Err(format!("the broker's monitoring answers {}", answer.status()));
    }
    let body = Limited::new(answer.into_body(), ANSWER_BYTES).collect().await;
    BrokerFacts::from_monitor(&body.map_err(|_| "the answer breaks off")?.to_bytes())
}

/// The URL to ask, from the one of the monitoring.
fn varz(url: &str) -> Result<Uri, String> {
    let base = url.trim_end_matches('/');
    let uri: Uri = format!("{base}/varz").parse().map_err(|_| "this is not a URL")?;
    match uri.scheme_str() {
        Some("http") if uri.authority().is_some_and(|authority| !authority.as_str().contains('@')) => Ok(uri),
        _ => Err("a monitoring URL has the form http://HOST:PORT".to_owned()),
    }
}

/// A URL without what may be secret in it.
fn shown(url: &str) -> &str {
    url.rsplit_once('@').map_or(url, |(_, rest)| rest)
}
