//! The walk of a request.

use std::{
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use axum::{
    body::Body,
    extract::{Request, State},
    response::Response,
};
use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode, header::CONTENT_TYPE};
use http_body::Body as _;
use jiff::Timestamp;
use tokio::time::{Instant, timeout_at};

use super::{
    Ingress, IngressError, address,
    body::{self, Memory},
    connection::{Activity, Underway},
    headers,
    reject::{JSON, Rejected},
};
use crate::{
    catalog::{Endpoint, Route, observed::Rejection},
    journal::{Appended, Arrival, JournalError},
    rules::{
        identity::{MalformedPayload, Payload, identify},
        limits::{INLINE_BODY_BYTES, JOURNAL_LOG_INTERVAL},
        schema::Validated,
        signature::{HandshakeReply, Review},
    },
};

/// What all requests share.
pub(super) struct Shared {
    pub(super) ingress: Ingress,
    /// The prefix without a slash at its end; empty for `/`.
    prefix: Box<str>,
    memory: Arc<Memory>,
    started: Instant,
    /// Milliseconds since `started` from which on the journal's trouble may be logged again.
    log_again: AtomicU64,
}

/// What a request knows of its connection.
#[derive(Clone)]
pub(super) struct Caller {
    shared: Arc<Shared>,
    activity: Arc<Activity>,
    peer: IpAddr,
}

/// A request whose body has not been read.
pub(super) struct Inbound {
    pub(super) endpoint: Arc<Endpoint>,
    method: Method,
    pub(super) headers: HeaderMap,
    remote: IpAddr,
    received: Timestamp,
    pub(super) deadline: Instant,
}

/// What verified bytes turned out to be.
enum Judged {
    Handshake(HandshakeReply),
    Event(Validated),
}

/// The end of a walk without refusal.
enum Outcome {
    Handshake(HandshakeReply),
    Event { id: Box<str>, kind: Box<str>, duplicate: bool, bytes: usize },
}

impl Caller {
    pub(super) fn new(shared: Arc<Shared>, activity: Arc<Activity>, peer: IpAddr) -> Self {
        Self { shared, activity, peer }
    }
}

/// Answers a request.
pub(super) async fn accept(State(caller): State<Caller>, request: Request) -> Response {
    let Caller { shared, activity, peer } = caller;
    let started = Instant::now();
    let version = request.version();
    let underway = activity.request(version);
    let (head, body) = request.into_parts();

    let endpoint = match shared.route(head.uri.path()) {
        Ok(endpoint) => endpoint,
        Err(rejected) => {
            tracing::debug!(path = head.uri.path(), %peer, code = rejected.code(), "request to no endpoint");
            if !body.is_end_stream() {
                activity.leave_unread();
            }
            return rejected.answer(version);
        }
    };
    let inbound = Inbound {
        remote: address::client(peer, &head.headers, &shared.ingress.options.trusted_proxies),
        received: shared.ingress.clock.now(),
        deadline: started.checked_add(endpoint.timeout).unwrap_or(started),
        method: head.method,
        headers: head.headers,
        endpoint: Arc::clone(&endpoint),
    };
    let remote = inbound.remote;
    let received = inbound.received;
    if body.is_end_stream() {
        underway.has_been_read();
    }
    let outcome = shared.walk(inbound, body, &underway).await;
    if underway.is_unread() {
        activity.leave_unread();
    }

    let (namespace, name) = (&*endpoint.key.namespace, &*endpoint.key.name);
    let time = started.elapsed();
    let took_ms = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    match outcome {
        Ok(Outcome::Event { id, kind, duplicate, bytes }) => {
            if duplicate {
                endpoint.facts.duplicate();
                endpoint.metrics.duplicate(&kind, time);
            } else {
                endpoint.facts.received(received);
                endpoint.metrics.accepted(&kind, time);
            }
            tracing::info!(
                namespace, endpoint = name, %id, "type" = %kind, duplicate, bytes, %remote, took_ms,
                "event accepted"
            );
            confirm(&endpoint, &id, duplicate)
        }
        Ok(Outcome::Handshake(reply)) => {
            tracing::info!(namespace, endpoint = name, %remote, took_ms, "handshake answered");
            let mut response = Response::new(Body::from(reply.body));
            *response.status_mut() = reply.status;
            response.headers_mut().insert(CONTENT_TYPE, reply.content_type);
            response
        }
        Err(rejected) => {
            let code = rejected.code();
            endpoint.metrics.failed(rejected.kind(), code);
            endpoint.facts.rejected(Rejection {
                time: received,
                code: code.into(),
                message: rejected.sentence().into_owned(),
            });
            tracing::info!(namespace, endpoint = name, code, %remote, took_ms, "request refused");
            rejected.answer(version)
        }
    }
}

impl Shared {
    pub(super) fn new(ingress: Ingress) -> Result<Self, IngressError> {
        let prefix = ingress.options.path_prefix.trim_matches('/');
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte);
        if !prefix.bytes().all(is_plain) || prefix.contains("//") {
            return Err(IngressError::PathPrefix(ingress.options.path_prefix.clone()));
        }
        let prefix = if prefix.is_empty() { Box::from("") } else { format!("/{prefix}").into_boxed_str() };
        let memory = Memory::new(ingress.options.body_memory);
        Ok(Self { ingress, prefix, memory, started: Instant::now(), log_again: AtomicU64::new(0) })
    }

    /// The steps, cheapest refusal first; nothing is parsed before it is verified. `underway` learns when the body has
    /// been read to its end.
    async fn walk(&self, inbound: Inbound, body: Body, underway: &Underway) -> Result<Outcome, Rejected> {
        allow_method(&inbound.method)?;
        allow_endpoint(&inbound.endpoint)?;
        allow_source(&inbound.endpoint, inbound.remote)?;
        allow_rate(&inbound.endpoint, inbound.remote)?;
        let limit = inbound.endpoint.body_bytes;
        body::admit(&inbound.headers, &body, limit)?;
        let body = body::receive(body, limit, inbound.deadline, &self.memory).await?;
        underway.has_been_read();
        let review = self.review(&inbound).await?;
        let (inbound, judged) = judge(inbound, review, body.bytes.clone()).await?;
        match judged {
            Judged::Handshake(reply) => Ok(Outcome::Handshake(reply)),
            Judged::Event(validated) => self.store(inbound, validated).await,
        }
    }

    /// What is at a path.
    fn route(&self, path: &str) -> Result<Arc<Endpoint>, Rejected> {
        let snapshot = self.ingress.snapshot.borrow();
        let below = path.strip_prefix(&*self.prefix).and_then(|below| below.strip_prefix('/'));
        match below.and_then(|below| snapshot.route(below)) {
            Some(Route::Ready(endpoint)) => Ok(Arc::clone(endpoint)),
            Some(Route::NotReady) => Err(Rejected::NotReady),
            // A sender must not be told that an endpoint is gone which has only not been read yet.
            None if snapshot.may_have(below.unwrap_or_default()) => Err(Rejected::NotReady),
            None => Err(Rejected::NotFound),
        }
    }

    /// Makes the event durable. When the journal takes too long this gives up waiting, not the event: it may still be
    /// stored, and is then a duplicate when it is sent again.
    async fn store(&self, inbound: Inbound, validated: Validated) -> Result<Outcome, Rejected> {
        let endpoint = &inbound.endpoint;
        let (id, kind) = (validated.identity().id.clone(), validated.identity().kind.clone());
        let bytes = validated.body().len();
        let arrival = Arrival {
            endpoint: endpoint.key.clone(),
            validated,
            received: inbound.received,
            content_type: content_type(&inbound.headers).ok().flatten().map(Box::from),
            remote: Some(inbound.remote),
            headers: headers::stored(&inbound.headers, &endpoint.verifier),
            window: endpoint.deduplication.map(|deduplicate| deduplicate.window),
        };
        let began = Instant::now();
        let unheard = Unheard { endpoint, id: &id };
        let answer = timeout_at(inbound.deadline, self.ingress.journal.append(vec![arrival])).await;
        std::mem::forget(unheard);
        self.ingress.metrics.appended(began.elapsed());
        let duplicate = match answer.as_ref().map(|answer| answer.as_deref()) {
            Ok(Ok([Appended::Stored(_)])) => false,
            Ok(Ok([Appended::Duplicate(_)])) => true,
            Ok(Ok(_)) => return Err(self.unavailable(kind, endpoint, "answers", &"not one answer for one event")),
            Ok(Err(error)) => return Err(self.unavailable(kind, endpoint, JournalError::kind(error), error)),
            Err(_) => {
                return Err(self.unavailable(kind, endpoint, "timeout", &"no answer within the endpoint's timeout"));
            }
        };
        Ok(Outcome::Event { id, kind, duplicate, bytes })
    }

    /// The caller learns no details; the log does, once in a while.
    fn unavailable(
        &self,
        kind: Box<str>,
        endpoint: &Endpoint,
        reason: &'static str,
        error: &dyn std::fmt::Display,
    ) -> Rejected {
        let now = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        let next = now.saturating_add(u64::try_from(JOURNAL_LOG_INTERVAL.as_millis()).unwrap_or(u64::MAX));
        let due = |again: u64| (now >= again).then_some(next);
        if self.log_again.fetch_update(Relaxed, Relaxed, due).is_ok() {
            let (namespace, endpoint) = (&*endpoint.key.namespace, &*endpoint.key.name);
            tracing::warn!(namespace, endpoint, reason, %error, "event not confirmed by the journal");
        }
        Rejected::Unavailable { kind: Some(kind) }
    }
}

/// Dropped only when a request ends while its event is being stored, because its client has gone or the server ends.
struct Unheard<'a> {
    endpoint: &'a Endpoint,
    id: &'a str,
}

impl Drop for Unheard<'_> {
    fn drop(&mut self) {
        let (namespace, endpoint) = (&*self.endpoint.key.namespace, &*self.endpoint.key.name);
        tracing::info!(
            namespace,
            endpoint,
            id = self.id,
            "request ended before its event was confirmed; it may be stored"
        );
    }
}

fn allow_method(method: &Method) -> Result<(), Rejected> {
    if *method == Method::POST { Ok(()) } else { Err(Rejected::MethodNotAllowed) }
}

fn allow_endpoint(endpoint: &Endpoint) -> Result<(), Rejected> {
    if endpoint.suspended { Err(Rejected::Suspended) } else { Ok(()) }
}

fn allow_source(endpoint: &Endpoint, address: IpAddr) -> Result<(), Rejected> {
    let allowed = &endpoint.allowed_sources;
    if allowed.is_empty() || address::is_in(address, allowed) {
        Ok(())
    } else {
        Err(Rejected::SourceNotAllowed { address })
    }
}

fn allow_rate(endpoint: &Endpoint, address: IpAddr) -> Result<(), Rejected> {
    let Some(limit) = &endpoint.rate_limit else { return Ok(()) };
    limit.check(Some(address)).map_err(|retry_after| Rejected::RateLimited { retry_after })
}

/// Verifies, identifies and validates a body; a large one on a thread where that holds nobody up.
async fn judge(inbound: Inbound, review: Option<Review>, body: Bytes) -> Result<(Inbound, Judged), Rejected> {
    if body.len() <= INLINE_BODY_BYTES {
        let judged = examine(&inbound, review.as_ref(), body)?;
        return Ok((inbound, judged));
    }
    tokio::task::spawn_blocking(move || {
        let judged = examine(&inbound, review.as_ref(), body)?;
        Ok((inbound, judged))
    })
    .await
    .unwrap_or(Err(Rejected::Unavailable { kind: None }))
}

fn examine(inbound: &Inbound, review: Option<&Review>, body: Bytes) -> Result<Judged, Rejected> {
    let Inbound { endpoint, headers, received, .. } = inbound;
    let verified = match review {
        Some(review) => endpoint.verifier.verify_reviewed(review, body)?,
        None => endpoint.verifier.verify(headers, body, *received)?,
    };
    let payload = Payload::parse(content_type(headers)?, &verified)?;
    if let Some(reply) = endpoint.handshake.reply(&payload) {
        return Ok(Judged::Handshake(reply));
    }
    let identity = identify(&endpoint.kind_sources, &endpoint.id_sources, headers, &payload, verified.body())?;
    let kind = identity.kind.clone();
    endpoint
        .schemas
        .validate(verified, &payload, identity)
        .map(Judged::Event)
        .map_err(|violation| Rejected::Invalid { kind, violation })
}

fn content_type(headers: &HeaderMap) -> Result<Option<&str>, MalformedPayload> {
    headers
        .get(CONTENT_TYPE)
        .map(|value| {
            value.to_str().map_err(|_| MalformedPayload { sentence: "the header Content-Type is not text".into() })
        })
        .transpose()
}

/// The answer to an event that is safe.
fn confirm(endpoint: &Endpoint, id: &str, duplicate: bool) -> Response {
    let reply = &endpoint.reply;
    let mut response = match &reply.body {
        Some((body, content_type)) => {
            let mut response = Response::new(Body::from(body.clone()));
            response.headers_mut().insert(CONTENT_TYPE, content_type.clone());
            response
        }
        None if reply.status == StatusCode::NO_CONTENT => Response::new(Body::empty()),
        None => {
            let mut response = Response::new(Body::from(confirmation(id, duplicate)));
            response.headers_mut().insert(CONTENT_TYPE, JSON);
            response
        }
    };
    *response.status_mut() = reply.status;
    response
}

fn confirmation(id: &str, duplicate: bool) -> Vec<u8> {
    let mut body = Vec::with_capacity(64 + id.len());
    body.extend_from_slice(br#"{"success":true,"id":"#);
    // Writing a string to a vector cannot fail.
    let _ = serde_json::to_writer(&mut body, id);
    body.extend_from_slice(if duplicate { br#","duplicate":true}"# } else { b"}" });
    body
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_confirmation_is_json_whatever_the_id() {
        assert_eq!(confirmation("evt_1", false), br#"{"success":true,"id":"evt_1"}"#);
        assert_eq!(confirmation("a\"b", true), br#"{"success":true,"id":"a\"b","duplicate":true}"#);
    }
}
