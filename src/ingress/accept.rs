//! The steps of a request, from its path to the confirmation.

use std::{
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    thread,
};

use axum::{
    body::Body,
    extract::{Request, State},
    response::Response,
};
use bytes::Bytes;
use grapnel_event::{
    identity::{IdOrigin, MalformedPayload, Payload, Reading, identify},
    limits::INLINE_BODY_BYTES,
    schema::Validated,
};
use grapnel_journal::{Appended, Arrival, JournalError};
use grapnel_payload::{
    cloudevents::{CloudEvent, STRUCTURED},
    reading::BodyKind,
};
use grapnel_signature::{HandshakeReply, Refusal, VerificationContext, Verified};
use http::{HeaderMap, Method, header::CONTENT_TYPE};
use http_body::Body as _;
use tokio::{
    sync::Semaphore,
    time::{Instant, timeout_at},
};

use super::{
    Ingress, IngressError, address,
    body::{self, Memory},
    cloudevents, handshake, headers,
    inbound::Inbound,
    reject::Rejected,
    response::{Stored, batch_confirmation, confirm, confirm_event},
    tenants::Tenants,
    trace,
};
use crate::{
    catalog::{Endpoint, Route, observed::LastRejection},
    connections::{Activity, RequestGuard},
    ingress::limits::{JOURNAL_LOG_INTERVAL, LARGE_BODIES_PER_CPU},
};

/// State shared by all requests.
pub(super) struct Shared {
    pub(super) ingress: Ingress,
    /// The prefix without a trailing slash; empty for `/`.
    prefix: Box<str>,
    memory: Arc<Memory>,
    tenants: Tenants,
    /// Bounds the large bodies that are verified and parsed concurrently.
    judges: Arc<Semaphore>,
    started: Instant,
    /// Milliseconds since `started` after which a journal error may be logged again.
    log_again: AtomicU64,
}

/// What a request knows about its connection.
#[derive(Clone)]
pub(super) struct Caller {
    shared: Arc<Shared>,
    activity: Arc<Activity>,
    peer: IpAddr,
}

/// The content of a verified body.
pub(super) enum Verdict {
    Handshake(HandshakeReply),
    Event(Validated),
    /// The events of a batch, possibly empty.
    Batch(Vec<Validated>),
}

/// The result of a request that was not rejected.
enum AcceptedRequest {
    Handshake(HandshakeReply),
    Event(Stored),
    Batch(Vec<Stored>),
    /// A request without an event, by which a sender tries the URL.
    Probe,
}

impl Caller {
    pub(super) fn new(shared: Arc<Shared>, activity: Arc<Activity>, peer: IpAddr) -> Self {
        Self { shared, activity, peer }
    }
}

/// Handles a request.
pub(super) async fn accept(State(caller): State<Caller>, request: Request) -> Response {
    let Caller { shared, activity, peer } = caller;
    let started = Instant::now();
    let version = request.version();
    let guard = activity.request(version);
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
        uri: head.uri,
        headers: head.headers,
        peer,
        endpoint: Arc::clone(&endpoint),
    };
    let remote = inbound.remote;
    let received = inbound.received;
    if body.is_end_stream() {
        guard.has_been_read();
    }
    let outcome = shared.walk(inbound, body, &guard).await;
    if guard.is_unread() {
        activity.leave_unread();
    }

    let (namespace, name) = (&*endpoint.key.namespace, &*endpoint.key.name);
    let time = started.elapsed();
    let took_ms = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    let announce = |Stored { id, kind, duplicate, bytes, .. }: &Stored| {
        if *duplicate {
            endpoint.facts.duplicate();
            endpoint.metrics.duplicate(kind, time);
        } else {
            endpoint.facts.received(received);
            endpoint.metrics.accepted(kind, time);
        }
        tracing::info!(
            namespace, endpoint = name, %id, "type" = %kind, duplicate, bytes, %remote, took_ms,
            "event accepted"
        );
    };
    match outcome {
        Ok(AcceptedRequest::Event(event)) => {
            announce(&event);
            confirm_event(&endpoint, &event)
        }
        Ok(AcceptedRequest::Batch(events)) => {
            events.iter().for_each(announce);
            confirm(&endpoint, || batch_confirmation(&events))
        }
        Ok(AcceptedRequest::Probe) => {
            tracing::info!(namespace, endpoint = name, %remote, took_ms, "probe answered");
            confirm(&endpoint, || br#"{"success":true}"#.to_vec())
        }
        Ok(AcceptedRequest::Handshake(reply)) => {
            tracing::info!(namespace, endpoint = name, %remote, took_ms, "handshake completed");
            handshake::answer(reply)
        }
        Err(rejected) => {
            let code = rejected.code();
            endpoint.metrics.failed(rejected.kind(), code);
            endpoint.facts.rejected(LastRejection {
                time: received,
                code: code.into(),
                message: rejected.sentence().into_owned(),
            });
            tracing::info!(namespace, endpoint = name, code, %remote, took_ms, "request rejected");
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
        let tenants = Tenants::new(ingress.options.max_connections);
        let cpus = thread::available_parallelism().map_or(1, usize::from);
        let judges = Arc::new(Semaphore::new(cpus.saturating_mul(LARGE_BODIES_PER_CPU)));
        Ok(Self { ingress, prefix, memory, tenants, judges, started: Instant::now(), log_again: AtomicU64::new(0) })
    }

    /// Runs the steps, cheapest rejection first; nothing is parsed before it is verified. `underway` is updated when
    /// the body has been read to its end.
    async fn walk(&self, inbound: Inbound, body: Body, guard: &RequestGuard) -> Result<AcceptedRequest, Rejected> {
        handshake::allow_method(&inbound)?;
        allow_endpoint(&inbound.endpoint)?;
        allow_source(&inbound.endpoint, inbound.remote)?;
        allow_rate(&inbound.endpoint, inbound.remote)?;
        if let Some(reply) = handshake::question(&inbound)? {
            return Ok(AcceptedRequest::Handshake(reply));
        }
        if handshake::is_probe(&inbound) {
            return Ok(AcceptedRequest::Probe);
        }
        let limit = inbound.endpoint.body_bytes;
        body::admit(&inbound.headers, &body, limit)?;
        let namespace = Arc::clone(&inbound.endpoint.key.namespace);
        let body = body::receive(body, limit, inbound.deadline, &namespace, &self.memory).await?;
        guard.has_been_read();
        let _in_progress = self.tenants.begin(&namespace)?;
        let may_be_probe = inbound.endpoint.probes.contains(&Method::POST) && handshake::is_unsigned(&inbound);
        let judged = async {
            let evidence = self.evidence(&inbound, &body.bytes).await?;
            judge(&self.judges, inbound, evidence, body.bytes.clone()).await
        };
        let (inbound, judged) = match judged.await {
            Err(Rejected::Unverified(Refusal::MissingSignature(_))) if may_be_probe => {
                return Ok(AcceptedRequest::Probe);
            }
            judged => judged?,
        };
        match judged {
            Verdict::Handshake(reply) => self.complete(&inbound, reply).await.map(AcceptedRequest::Handshake),
            Verdict::Event(validated) => {
                let headers = headers::stored(&inbound.headers, &inbound.endpoint.verifier);
                let content_type = content_type(&inbound.headers).map(Box::from);
                let stored = self.store(&inbound, vec![arrival(&inbound, validated, content_type, headers)]).await?;
                let event = stored.into_iter().next().ok_or(Rejected::Unavailable { kind: None })?;
                Ok(AcceptedRequest::Event(event))
            }
            Verdict::Batch(events) if events.is_empty() => Ok(AcceptedRequest::Batch(Vec::new())),
            Verdict::Batch(events) => {
                let headers = headers::stored(&inbound.headers, &inbound.endpoint.verifier);
                let arrive = |event| arrival(&inbound, event, Some(STRUCTURED.into()), cloudevents::stored(&headers));
                let arrivals = events.into_iter().map(arrive).collect();
                self.store(&inbound, arrivals).await.map(AcceptedRequest::Batch)
            }
        }
    }

    /// The endpoint at a path.
    fn route(&self, path: &str) -> Result<Arc<Endpoint>, Rejected> {
        let snapshot = self.ingress.snapshot.borrow();
        let below = path.strip_prefix(&*self.prefix).and_then(|below| below.strip_prefix('/'));
        match below.and_then(|below| snapshot.route(below)) {
            Some(Route::Ready(endpoint)) => Ok(Arc::clone(endpoint)),
            Some(Route::NotReady) => Err(Rejected::NotReady),
            // An endpoint that has not been read yet must not look deleted to the sender.
            None if snapshot.may_have(below.unwrap_or_default()) => Err(Rejected::NotReady),
            None => Err(Rejected::NotFound),
        }
    }

    /// Makes events durable, all or none; there is at least one. If the journal takes too long, only the wait ends: the
    /// events may still be stored, and those with an id are deduplicated when they are sent again.
    async fn store(&self, inbound: &Inbound, mut arrivals: Vec<Arrival>) -> Result<Vec<Stored>, Rejected> {
        let endpoint = &inbound.endpoint;
        let span = trace::begin(&self.ingress.spans, inbound, &mut arrivals);
        let stored = self.append(inbound, arrivals).await;
        trace::end(span, endpoint, &stored);
        stored
    }

    async fn append(&self, inbound: &Inbound, arrivals: Vec<Arrival>) -> Result<Vec<Stored>, Rejected> {
        let endpoint = &inbound.endpoint;
        let of = |Arrival { validated, .. }: &Arrival| {
            let identity = validated.identity();
            Stored {
                id: identity.id.clone(),
                kind: identity.kind.clone(),
                origin: identity.origin,
                duplicate: false,
                bytes: validated.body().len(),
            }
        };
        let mut stored: Vec<_> = arrivals.iter().map(of).collect();
        let (id, kind) = stored.first().map(|event| (event.id.clone(), event.kind.clone())).unwrap_or_default();
        let began = Instant::now();
        let unheard = LostConfirmationGuard { endpoint, id: &id };
        let answer = timeout_at(inbound.deadline, self.ingress.journal.append(arrivals)).await;
        std::mem::forget(unheard);
        self.ingress.metrics.appended(began.elapsed());
        let answers = match answer.as_ref().map(|answer| answer.as_deref()) {
            Ok(Ok(answers)) if answers.len() == stored.len() => answers,
            Ok(Ok(_)) => return Err(self.unavailable(kind, endpoint, "answers", &"not one answer for one event")),
            Ok(Err(error)) => {
                let rejected = self.unavailable(kind.clone(), endpoint, JournalError::kind(error), error);
                return Err(match error {
                    JournalError::ShareExhausted(_) => Rejected::StorageExhausted { kind },
                    JournalError::TooLarge { max, .. } => Rejected::TooLargeToStore { kind, max: *max },
                    _ => rejected,
                });
            }
            Err(_) => {
                return Err(self.unavailable(kind, endpoint, "timeout", &"no answer within the endpoint's timeout"));
            }
        };
        for (event, answer) in stored.iter_mut().zip(answers) {
            event.duplicate = matches!(answer, Appended::Duplicate(_));
        }
        Ok(stored)
    }

    /// Logs the details at a limited rate; the caller does not see them.
    fn unavailable(
        &self,
        kind: Box<str>,
        endpoint: &Endpoint,
        reason: &'static str,
        error: &dyn std::fmt::Display,
    ) -> Rejected {
        self.ingress.metrics.journal_failed(reason);
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

/// Records a lost confirmation when dropped, which happens only if a request ends while its event is being stored,
/// because the client disconnected or the server stops.
struct LostConfirmationGuard<'a> {
    endpoint: &'a Endpoint,
    id: &'a str,
}

impl Drop for LostConfirmationGuard<'_> {
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

/// Verifies, identifies and validates a body. A large body or a batch is handled on a blocking thread, when a permit is
/// free, and until the request's deadline at most.
async fn judge(
    judges: &Arc<Semaphore>,
    inbound: Inbound,
    evidence: VerificationContext,
    body: Bytes,
) -> Result<(Inbound, Verdict), Rejected> {
    if is_quick(&inbound.headers, &body) {
        let judged = examine(&inbound, &evidence, body)?;
        return Ok((inbound, judged));
    }
    let (deadline, judges) = (inbound.deadline, Arc::clone(judges));
    let judged = async move {
        let turn = judges.acquire_owned().await;
        let thread = tokio::task::spawn_blocking(move || {
            // Held until the work is done, even if the request has been answered before that.
            let _turn = turn;
            let judged = examine(&inbound, &evidence, body)?;
            Ok((inbound, judged))
        });
        thread.await.unwrap_or(Err(Rejected::Unavailable { kind: None }))
    };
    timeout_at(deadline, judged).await.unwrap_or(Err(Rejected::Late))
}

/// Whether a body is verified and parsed on the thread that received it. A batch is not, since even short ones hold
/// many events.
fn is_quick(headers: &HeaderMap, body: &[u8]) -> bool {
    body.len() <= INLINE_BODY_BYTES && !cloudevents::is_batch(headers)
}

fn examine(inbound: &Inbound, evidence: &VerificationContext, body: Bytes) -> Result<Verdict, Rejected> {
    let Inbound { endpoint, headers, received, .. } = inbound;
    let verified = endpoint.verifier.verify_with(evidence, headers, body, *received)?;
    interpret(endpoint, headers, verified)
}

/// Finds the events of a verified body, and validates them.
pub(super) fn interpret(endpoint: &Endpoint, headers: &HeaderMap, verified: Verified) -> Result<Verdict, Rejected> {
    let content_type = content_type(headers);
    let (structured, batch) = (CloudEvent::is_structured(content_type), CloudEvent::is_batch(content_type));
    let headers_alone = !structured && !batch && cloudevents::in_headers(headers)? && verified.body().is_empty();
    let payload = match headers_alone {
        true => Payload::nothing(),
        // These content types say more than an endpoint can.
        false if structured || batch => Payload::read(&Reading::default(), content_type, verified.body()),
        false => Payload::read(&endpoint.reading, content_type, verified.body()),
    };
    // The fields of a form may be what a user has written.
    if endpoint.reading.kind(content_type) != BodyKind::Form
        && let Some(reply) = endpoint.handshake.reply(&payload, &verified, &endpoint.verifier)?
    {
        return Ok(Verdict::Handshake(reply));
    }
    if !endpoint.handshake.is_event(&verified) {
        return Err(
            MalformedPayload { sentence: "the body of this sender's events must be a JSON object".into() }.into()
        );
    }
    if structured {
        return cloudevents::one(endpoint, headers, &payload, verified).map(Verdict::Event);
    }
    if batch {
        return cloudevents::all(endpoint, headers, &verified).map(Verdict::Batch);
    }
    let identity = identify(&endpoint.kind_sources, &endpoint.id_sources, headers, &payload, verified.body())?;
    let kind = identity.kind.clone();
    endpoint
        .schemas
        .validate(verified, &payload, identity)
        .map(Verdict::Event)
        .map_err(|violation| Rejected::Invalid { kind, violation })
}

/// The content type, if it is text.
pub(super) fn content_type(headers: &HeaderMap) -> Option<&str> {
    headers.get(CONTENT_TYPE)?.to_str().ok()
}

fn arrival(
    inbound: &Inbound,
    validated: Validated,
    content_type: Option<Box<str>>,
    headers: Vec<(Box<str>, Bytes)>,
) -> Arrival {
    // An id that the event got here is no sender's, so it need not be remembered.
    let declared = validated.identity().origin != IdOrigin::Generated;
    let window = inbound.endpoint.deduplication.filter(|_| declared).map(|deduplicate| deduplicate.window);
    Arrival {
        endpoint: inbound.endpoint.incarnation(),
        validated,
        received: inbound.received,
        content_type,
        remote: Some(inbound.remote),
        headers,
        window,
        max_bytes: inbound.endpoint.max_bytes,
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn batches_and_large_bodies_hold_nobody_up() {
        let of = |content_type| HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static(content_type))]);
        for single in ["application/json", STRUCTURED] {
            assert!(is_quick(&of(single), b"[]"), "{single}");
            assert!(!is_quick(&of(single), &vec![b' '; INLINE_BODY_BYTES + 1]), "{single}");
        }
        assert!(is_quick(&HeaderMap::new(), b"{}"));
        assert!(!is_quick(&of("application/cloudevents-batch+json"), b"[]"));
        assert!(!is_quick(&of("Application/CloudEvents-Batch+JSON; charset=utf-8"), b"[]"));
    }
}
