//! `grapnel sink`: a receiver for tests.

mod failing;
mod verify;

use std::{net::SocketAddr, process::ExitCode, sync::Arc, time::Duration};

use anyhow::Context;
use axum::{
    Router,
    body::Body,
    extract::{DefaultBodyLimit, State},
    http::{HeaderMap, Method, StatusCode, Uri, header},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use grapnel_payload::cloudevents::decode;
use grapnel_signature::{HandshakeReply, Refusal};
use grapnel_values::duration;
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};

use self::{failing::Failing, verify::Check};
use super::{
    print::{self, clean},
    scheme::ValueTarget,
    secret,
};
use crate::cli::limits::SINK_BODY_BYTES;

/// What to do with deliveries.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Prints one line for each delivery: time, response status, id, type, attempt, whether the signature is valid, \
and size. Without a secret signatures are not verified. An invalid signature gets 401.

Examples:
  grapnel sink --listen 127.0.0.1:9000
  grapnel sink --secret-file secret.txt --scheme standard-webhooks --fail 2
  grapnel sink --secret-file secret.txt --provider twilio --public-url https://hooks.example.com
  grapnel sink --status 503 --retry-after 30")]
pub struct SinkArgs {
    /// Listen address; port 0 selects a free port
    #[arg(long, value_name = "ADDRESS", env = "GRAPNEL_SINK_LISTEN", default_value = "127.0.0.1:9000")]
    listen: SocketAddr,

    #[command(flatten)]
    secret: secret::SecretArgs,

    #[command(flatten)]
    failing: failing::FailingArgs,

    /// Delay before each response
    #[arg(long, value_name = "DURATION", default_value = "0s", hide_default_value = true, value_parser = duration::parse)]
    delay: Duration,

    /// Also print bodies
    #[arg(short, long)]
    verbose: bool,

    // Last, like its own details within it.
    #[command(flatten)]
    verify: verify::VerifyArgs,
}

struct Sink {
    check: Check,
    places: (ValueTarget, ValueTarget),
    failing: Failing,
    delay: Duration,
    verbose: bool,
}

impl SinkArgs {
    /// Receives until SIGINT or SIGTERM.
    ///
    /// # Errors
    /// Returns an error if it cannot listen on the address, or the secret is not usable.
    pub async fn run(self) -> anyhow::Result<ExitCode> {
        let sink = Sink {
            check: self.verify.check(self.secret.read()?)?,
            places: self.verify.places(),
            failing: Failing::new(&self.failing),
            delay: self.delay,
            verbose: self.verbose,
        };
        let mut interrupted = signal(SignalKind::interrupt()).context("cannot wait for SIGINT")?;
        let mut terminated = signal(SignalKind::terminate()).context("cannot wait for SIGTERM")?;
        let listener =
            TcpListener::bind(self.listen).await.with_context(|| format!("cannot listen on {}", self.listen))?;
        let address = listener.local_addr().context("cannot determine the listen address")?;
        print::line(&format!("listening on http://{address}"))?;
        let router =
            Router::new().fallback(receive).layer(DefaultBodyLimit::max(SINK_BODY_BYTES)).with_state(Arc::new(sink));
        tokio::select! {
            served = std::future::IntoFuture::into_future(axum::serve(listener, router)) => served.context("cannot serve")?,
            _ = interrupted.recv() => {}
            _ = terminated.recv() => {}
        }
        Ok(ExitCode::SUCCESS)
    }
}

async fn receive(State(sink): State<Arc<Sink>>, method: Method, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    if method != Method::POST {
        if let Some(reply) = sink.check.question(&method, &uri, &headers) {
            let _ = print::line(&clean(&format!("{:.3} {} handshake", Timestamp::now(), reply.status.as_u16())));
            return handshake(reply);
        }
        return (StatusCode::METHOD_NOT_ALLOWED, [(header::ALLOW, "POST")], "use POST to send a webhook\n")
            .into_response();
    }
    let now = Timestamp::now();
    let (kind, id) = identity(&sink.places, &headers, &body);
    let checked = sink.check.verify(&uri, &headers, &body, now);
    let reply = match &checked {
        Some(Ok(verified)) => sink.check.handshake(text(&headers, "content-type").as_deref(), verified),
        _ => None,
    };
    let wrong = checked.map(|checked| checked.map(drop));
    let failure = sink.failing.status(id.as_deref().unwrap_or_default());
    let status = match (failure, &wrong) {
        (Some(status), _) => status,
        (None, Some(Err(_))) => StatusCode::UNAUTHORIZED,
        (None, _) => StatusCode::OK,
    };
    let line = format!(
        "{now:.3} {} id={} type={} attempt={} verified={} bytes={}",
        status.as_u16(),
        print::or_dash(id),
        print::or_dash(kind),
        print::or_dash(text(&headers, "grapnel-attempt")),
        match &wrong {
            None => "unchecked".into(),
            Some(Ok(())) => "yes".into(),
            Some(Err(refusal)) => format!("no ({refusal})"),
        },
        body.len(),
    );
    // A closed standard output is no reason to reject deliveries.
    let _ = print::line(&clean(&line));
    if sink.verbose {
        let _ = print::line(&print::clean_lines(&String::from_utf8_lossy(&body)));
    }
    tokio::time::sleep(sink.delay).await;
    match reply {
        Some(reply) if status.is_success() => handshake(reply),
        _ => answer(&sink, status, wrong),
    }
}

fn handshake(reply: HandshakeReply) -> Response {
    (reply.status, reply.headers, Body::from(reply.body)).into_response()
}

fn answer(sink: &Sink, status: StatusCode, wrong: Option<Result<(), Refusal>>) -> Response {
    let body = match wrong {
        Some(Err(refusal)) if status == StatusCode::UNAUTHORIZED => {
            json!({ "error": refusal.to_string(), "code": refusal.code() })
        }
        _ if status.is_success() => json!({ "success": true }),
        _ => json!({ "error": "failing on purpose", "code": "on_purpose" }),
    };
    let mut response = (status, axum::Json(body)).into_response();
    if !status.is_success()
        && let Some(seconds) = sink.failing.retry_after()
    {
        response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
    }
    response
}

fn text(headers: &HeaderMap, name: &str) -> Option<String> {
    headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
}

/// The event's type and id: where deliveries, Standard Webhooks and CloudEvents write them, else where senders of the
/// scheme do.
fn identity(places: &(ValueTarget, ValueTarget), headers: &HeaderMap, body: &[u8]) -> (Option<String>, Option<String>) {
    let body: Option<Value> = serde_json::from_slice(body).ok();
    let inside = |pointer: &str| match body.as_ref()?.pointer(pointer)? {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    };
    let placed = |place: &ValueTarget| match place {
        ValueTarget::Header { name, .. } => text(headers, name.as_str()),
        ValueTarget::Body(pointer) => inside(pointer),
        ValueTarget::Nowhere => None,
    };
    let attribute = |name: &str| headers.get(name).map(|value| decode(value.as_bytes()).into_owned());
    let kind = attribute("grapnel-event-type")
        .or_else(|| attribute("ce-type"))
        .or_else(|| placed(&places.0))
        .or_else(|| inside("/type"));
    let id = text(headers, "webhook-id").or_else(|| text(headers, "ce-id")).or_else(|| placed(&places.1));
    (kind, id)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn the_type_of_a_delivery_is_decoded_and_precedes_that_of_the_body() {
        let mut headers = HeaderMap::new();
        let found = |headers: &HeaderMap| {
            identity(&(ValueTarget::Nowhere, ValueTarget::Nowhere), headers, br#"{"type":"body"}"#).0
        };
        assert_eq!(found(&headers).as_deref(), Some("body"));
        headers.insert("ce-type", HeaderValue::from_static("a%20b"));
        assert_eq!(found(&headers).as_deref(), Some("a b"));
        headers.insert("grapnel-event-type", HeaderValue::from_static("gr%C3%B6%C3%9Fe"));
        assert_eq!(found(&headers).as_deref(), Some("größe"));
    }
}
