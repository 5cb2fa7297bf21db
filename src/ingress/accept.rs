//! The steps of a request, from its path to the confirmation.

use std::{net::IpAddr, sync::Arc, thread};

use axum::{
    body::Body,
    extract::{Request, State},
    response::Response,
};
use bytes::Bytes;
use grapnel_event::{identity::IdOrigin, schema::Validated};
use grapnel_journal::Arrival;
use grapnel_payload::cloudevents::STRUCTURED;
use grapnel_signature::{HandshakeReply, Refusal};
use http::Method;
use http_body::Body as _;
use tokio::{sync::Semaphore, time::Instant};

use super::{
    Ingress, IngressError, address,
    append::Appender,
    body::{self, Memory},
    cloudevents, handshake, headers,
    inbound::Inbound,
    reject::Rejected,
    response::{Stored, batch_confirmation, confirm, confirm_event},
    tenants::Tenants,
    verdict::{Verdict, content_type, judge},
};
use crate::{
    catalog::{Endpoint, Route, observed::LastRejection},
    connections::{Activity, RequestGuard},
    ingress::limits::LARGE_BODIES_PER_CPU,
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
    appender: Appender,
}

/// What a request knows about its connection.
#[derive(Clone)]
pub(super) struct Caller {
    shared: Arc<Shared>,
    activity: Arc<Activity>,
    peer: IpAddr,
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
        let appender = Appender::new(&ingress);
        Ok(Self { ingress, prefix, memory, tenants, judges, appender })
    }

    /// Runs the steps, cheapest rejection first; nothing is parsed before it is verified. `guard` is updated when
    /// the body has been read to its end.
    async fn walk(&self, inbound: Inbound, body: Body, guard: &RequestGuard) -> Result<AcceptedRequest, Rejected> {
        handshake::allow_method(&inbound)?;
        allow_endpoint(&inbound.endpoint)?;
        allow_source(&inbound.endpoint, inbound.remote)?;
        allow_rate(&inbound.endpoint, inbound.remote, self.ingress.journal.replicas())?;
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
                let stored =
                    self.appender.append(&inbound, vec![arrival(&inbound, validated, content_type, headers)]).await?;
                let event = stored.into_iter().next().ok_or(Rejected::Unavailable { kind: None })?;
                Ok(AcceptedRequest::Event(event))
            }
            Verdict::Batch(events) if events.is_empty() => Ok(AcceptedRequest::Batch(Vec::new())),
            Verdict::Batch(events) => {
                let headers = headers::stored(&inbound.headers, &inbound.endpoint.verifier);
                let arrive = |event| arrival(&inbound, event, Some(STRUCTURED.into()), cloudevents::stored(&headers));
                let arrivals = events.into_iter().map(arrive).collect();
                self.appender.append(&inbound, arrivals).await.map(AcceptedRequest::Batch)
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

/// Each replica allows its part of the limit.
fn allow_rate(endpoint: &Endpoint, address: IpAddr, replicas: usize) -> Result<(), Rejected> {
    let Some(limit) = &endpoint.rate_limit else { return Ok(()) };
    limit.check(Some(address), replicas).map_err(|retry_after| Rejected::RateLimited { retry_after })
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
