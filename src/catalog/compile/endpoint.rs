//! Compiles `WebhookEndpoint` to [`Endpoint`].

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use grapnel_api::{self, EventSource, KeyReference, ObjectKey, Reason, UnmatchedTypes, WebhookEndpointSpec};
use grapnel_delivery::rate_limit::Scope;
use grapnel_event::{
    identity::{JsonPointer, Source, Sources as IdentitySources, id_defaults, kind_defaults},
    schema::{SchemaSet, Unmatched},
};
use grapnel_expression::{ExpectedType, Scope as Names};
use grapnel_signature::{Provider, limits::DEFAULT_WINDOW};
use grapnel_values::{duration, glob::Glob, quantity};
use http::{HeaderName, HeaderValue, StatusCode};
use ipnet::IpNet;
use serde_json::Value;

use super::{
    Options, Problems, References, subscribers,
    verification::{handshake, scheme, verifier},
};
use crate::{
    catalog::{
        limits,
        observed::EndpointFacts,
        snapshot::{Deduplicate, Endpoint, Reply},
    },
    telemetry::metrics::EndpointMetrics,
};

/// Inputs of an endpoint from its object and its earlier versions.
pub struct Served<'a> {
    /// `metadata.uid`; empty for an object from a file.
    pub uid: Arc<str>,
    /// Its facts for the status.
    pub facts: Arc<EndpointFacts>,
    /// Its metric series.
    pub metrics: Arc<EndpointMetrics>,
    /// The version that is served now; an unchanged rate limit keeps its state.
    pub previous: Option<&'a Endpoint>,
}

/// Compiles an endpoint. It is returned together with problems if it can be served in spite of them: some, but not all,
/// of its Secrets are missing.
pub fn endpoint(
    key: &ObjectKey,
    spec: &WebhookEndpointSpec,
    references: &References<'_>,
    options: &Options,
    served: Served<'_>,
    problems: &mut Problems,
) -> Option<Endpoint> {
    let path = path(key, spec);
    let (scheme, provider) = scheme(key, &spec.verification, options, problems);
    let verifier = scheme.and_then(|scheme| verifier(scheme, &spec.verification, references, problems));
    let event = spec.event.clone().unwrap_or_default();
    let own_credentials = || verifier.iter().flat_map(|verifier| verifier.credential_headers()).cloned().collect();
    let kind_sources = IdentitySources {
        explicit: source(event.kind.as_ref(), "/spec/event/type", problems),
        defaults: kind_defaults(provider),
        hidden: own_credentials(),
    };
    let id_sources = IdentitySources {
        explicit: source(event.id.as_ref(), "/spec/event/id", problems),
        defaults: id_defaults(provider),
        hidden: own_credentials(),
    };
    let schemas = schemas(spec, references, problems);
    let deduplication = deduplication(spec, problems);
    let rate_limit = spec.rate_limit.as_ref().and_then(|limit| {
        let scope = match limit.scope {
            Some(grapnel_api::RateLimitScope::Source) => Scope::Source,
            Some(grapnel_api::RateLimitScope::Endpoint) | None => Scope::Endpoint,
        };
        let per = time(limit.per.as_ref(), "/spec/rateLimit/per", Duration::from_secs(1), problems)?;
        let previous = served.previous.and_then(|previous| previous.rate_limit.as_ref());
        super::subscription::rate(limit.requests, per, limit.burst, scope, previous, "/spec/rateLimit", problems)
    });
    let limits = spec.limits.clone().unwrap_or_default();
    let body_bytes = body_bytes(limits.body_bytes.as_ref(), provider, problems);
    let timeout = bounded(
        time(limits.timeout.as_ref(), "/spec/limits/timeout", limits::DEFAULT_REQUEST_TIMEOUT, problems),
        "/spec/limits/timeout",
        limits::MAX_REQUEST_TIMEOUT,
        problems,
    );
    let allowed_sources = allowed_sources(spec, problems);
    let reply = reply(spec.response.as_ref(), problems);
    let max_bytes = storage(spec, problems);
    let retention =
        time(spec.retention.as_ref(), "/spec/retention", grapnel_journal::limits::DEFAULT_RETENTION, problems);
    // The index evaluates the subscribers itself; here only problems matter.
    subscribers::read(spec, problems);
    if problems.refuse() {
        return None;
    }
    Some(Endpoint {
        key: key.clone(),
        uid: served.uid,
        path: path.into(),
        suspended: spec.suspend.unwrap_or(false),
        verifier: verifier?,
        handshake: handshake(provider),
        kind_sources,
        id_sources,
        schemas: schemas?,
        deduplication,
        rate_limit,
        body_bytes: body_bytes?,
        timeout: timeout?,
        allowed_sources: allowed_sources.into(),
        reply: reply?,
        retention: retention?,
        max_bytes,
        facts: served.facts,
        metrics: served.metrics,
    })
}

/// The path below the namespace: `spec.path`, by default the name.
pub fn path(key: &ObjectKey, spec: &WebhookEndpointSpec) -> String {
    spec.path.as_deref().unwrap_or(&key.name).trim_matches('/').to_owned()
}

fn source(source: Option<&EventSource>, pointer: &str, problems: &mut Problems) -> Option<Source> {
    let source = source?;
    if let Some(name) = &source.header {
        header_name(name, &format!("{pointer}/header"), problems).map(Source::Header)
    } else if let Some(text) = &source.pointer {
        problems.check(format!("{pointer}/pointer"), JsonPointer::parse(text)).map(Source::Pointer)
    } else if let Some(text) = &source.expression {
        let pointer = format!("{pointer}/expression");
        problems.expression(&pointer, text, Names::Request, ExpectedType::Text).map(Source::Expression)
    } else {
        source.value.clone().map(Source::Value)
    }
}

fn schemas(spec: &WebhookEndpointSpec, references: &References<'_>, problems: &mut Problems) -> Option<SchemaSet> {
    let mut rules = Vec::new();
    let mut numbers = Vec::new();
    let mut complete = true;
    for (number, rule) in spec.schemas.iter().enumerate() {
        let pointer = format!("/spec/schemas/{number}");
        let types = globs(&rule.types, &format!("{pointer}/types"), problems);
        let schema = if let Some(schema) = &rule.schema {
            Some(schema.clone())
        } else if let Some(reference) = &rule.config_map_ref {
            let pointer = format!("{pointer}/configMapRef");
            references.config_map(reference, &pointer, problems).and_then(|text| {
                serde_json::from_str::<Value>(text)
                    .map_err(|error| {
                        let KeyReference { name, key } = reference;
                        let message =
                            format!("key {key} of ConfigMap {name} is not JSON: {error}; put one JSON Schema there");
                        problems.add(pointer, Reason::InvalidSchema, message);
                    })
                    .ok()
            })
        } else {
            None
        };
        let Some(schema) = schema else {
            complete = false;
            continue;
        };
        rules.push((types, schema));
        numbers.push(number);
    }
    let unmatched = match spec.unmatched_types {
        Some(UnmatchedTypes::Reject) => Unmatched::Reject,
        Some(UnmatchedTypes::Accept) | None => Unmatched::Accept,
    };
    match SchemaSet::compile(rules, unmatched) {
        // An endpoint without one of its schemas would accept events that it has to reject.
        Ok(set) => complete.then_some(set),
        Err(error) => {
            let number = numbers.get(error.index).copied().unwrap_or(error.index);
            problems.add(format!("/spec/schemas/{number}"), Reason::InvalidSchema, error.message);
            None
        }
    }
}

fn deduplication(spec: &WebhookEndpointSpec, problems: &mut Problems) -> Option<Deduplicate> {
    let given = spec.deduplication.clone().unwrap_or_default();
    let window = time(given.window.as_ref(), "/spec/deduplication/window", DEFAULT_WINDOW, problems)?;
    (!given.disabled.unwrap_or(false)).then_some(Deduplicate { window })
}

/// The largest body; by default what the provider sends at most.
fn body_bytes(
    size: Option<&grapnel_api::ByteSize>,
    provider: Option<&Provider>,
    problems: &mut Problems,
) -> Option<usize> {
    let pointer = "/spec/limits/bodyBytes";
    let of_provider = provider.and_then(|provider| provider.body_bytes);
    let Some(size) = size else { return Some(of_provider.unwrap_or(limits::DEFAULT_BODY_BYTES)) };
    let bytes = problems.check(pointer, quantity::parse(&size.0))?;
    let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
    if bytes == 0 || bytes > limits::MAX_BODY_BYTES {
        let message = format!("{} is not between 1 and {} bytes", size.0, limits::MAX_BODY_BYTES);
        problems.add(pointer, Reason::InvalidSpec, message);
        return None;
    }
    Some(bytes)
}

/// Maximum bytes of an endpoint's events in the journal: `spec.storage.maxBytes`.
fn storage(spec: &WebhookEndpointSpec, problems: &mut Problems) -> Option<u64> {
    let pointer = "/spec/storage/maxBytes";
    let size = spec.storage.as_ref()?.max_bytes.as_ref()?;
    let bytes = problems.check(pointer, quantity::parse(&size.0))?;
    if bytes < limits::STORAGE_MIN_BYTES {
        let message = format!("{} is less than {} bytes", size.0, limits::STORAGE_MIN_BYTES);
        problems.add(pointer, Reason::InvalidSpec, message);
        return None;
    }
    Some(bytes)
}

/// The same for an endpoint that is appended to without being compiled; `None` also for an invalid size.
pub fn max_bytes(spec: &WebhookEndpointSpec) -> Option<u64> {
    storage(spec, &mut Problems::default())
}

fn allowed_sources(spec: &WebhookEndpointSpec, problems: &mut Problems) -> Vec<IpNet> {
    let mut allowed = Vec::new();
    for (number, text) in spec.allowed_sources.iter().enumerate() {
        let parsed = text.parse::<IpNet>().or_else(|_| text.parse::<std::net::IpAddr>().map(IpNet::from));
        match parsed {
            Ok(net) => allowed.push(net.trunc()),
            Err(_) => problems.add(
                format!("/spec/allowedSources/{number}"),
                Reason::InvalidSpec,
                format_args!("`{text}` is not a CIDR such as 192.0.2.0/24 or 2001:db8::/32"),
            ),
        }
    }
    allowed
}

fn reply(response: Option<&grapnel_api::Response>, problems: &mut Problems) -> Option<Reply> {
    let Some(response) = response else { return Some(Reply { status: StatusCode::OK, body: None }) };
    let status = match response.status.unwrap_or(200) {
        number @ (200 | 201 | 202 | 204) => problems.check("/spec/response/status", StatusCode::from_u16(number))?,
        other => {
            problems.add(
                "/spec/response/status",
                Reason::InvalidSpec,
                format_args!("{other} is not 200, 201, 202 or 204"),
            );
            return None;
        }
    };
    let body = match &response.body {
        None => None,
        Some(body) => {
            let default = if serde_json::from_str::<serde::de::IgnoredAny>(body).is_ok() {
                "application/json"
            } else {
                "text/plain; charset=utf-8"
            };
            let kind = HeaderValue::from_str(response.content_type.as_deref().unwrap_or(default));
            let kind = problems.check("/spec/response/contentType", kind)?;
            Some((Bytes::from(body.clone()), kind))
        }
    };
    Some(Reply { status, body })
}

/// A header name, lower-cased.
pub(super) fn header_name(name: &str, pointer: &str, problems: &mut Problems) -> Option<HeaderName> {
    let parsed = HeaderName::from_bytes(name.as_bytes());
    if parsed.is_err() {
        let message = format!("`{name}` is not a header name; use letters, digits and hyphens (RFC 9110, 5.1)");
        problems.add(pointer, Reason::InvalidSpec, message);
    }
    parsed.ok()
}

/// Compiles globs; an invalid one is a problem at its pointer.
pub(super) fn globs(texts: &[String], pointer: &str, problems: &mut Problems) -> Vec<Glob> {
    let mut globs = Vec::new();
    for (number, text) in texts.iter().enumerate() {
        globs.extend(problems.check(format!("{pointer}/{number}"), Glob::parse(text)));
    }
    globs
}

/// A duration, or its default. Zero is a problem, since each of these durations is a bound.
pub(super) fn time(
    text: Option<&grapnel_api::GoDuration>,
    pointer: &str,
    default: Duration,
    problems: &mut Problems,
) -> Option<Duration> {
    let Some(text) = text else { return Some(default) };
    let time = problems.check(pointer, duration::parse(&text.0))?;
    if time.is_zero() {
        problems.add(pointer, Reason::InvalidSpec, "must be greater than zero");
        return None;
    }
    Some(time)
}

/// A duration with an upper bound.
pub(super) fn bounded(
    time: Option<Duration>,
    pointer: &str,
    max: Duration,
    problems: &mut Problems,
) -> Option<Duration> {
    let time = time?;
    if time > max {
        let message = format!("{} is longer than {}", duration::format(time), duration::format(max));
        problems.add(pointer, Reason::InvalidSpec, message);
        return None;
    }
    Some(time)
}
