//! Compiles `WebhookEndpoint` to [`Endpoint`].

use std::sync::Arc;

use bytes::Bytes;
use grapnel_api::{
    self, ByteSize, DeduplicateBy, EventSource, ObjectKey, PayloadFormat, ProbeMethod, Reason, WebhookEndpointSpec,
};
use grapnel_event::identity::{BodyFormat, JsonPointer, Reading, Source, Sources, id_defaults, kind_defaults};
use grapnel_expression::{ExpectedType, Scope};
use grapnel_signature::{Bodies, Handshake, Provider, Scheme, limits::DEFAULT_WINDOW};
use grapnel_values::quantity;
use http::{HeaderValue, Method, StatusCode};
use ipnet::IpNet;

use super::{
    Compiled, Options, Reference, ReferencedValues, Subscribers,
    field::Field,
    pacing,
    run::Compilation,
    schemas::schemas,
    sender, subscribers,
    verification::{handshake, scheme, verifier, verify_token},
};
use crate::{
    catalog::{
        id_sources::IdSources,
        limits,
        observed::EndpointFacts,
        snapshot::{Deduplicate, Endpoint, Reply, Snapshot},
    },
    telemetry::metrics::EndpointMetrics,
};

/// Inputs of an endpoint from its object, from other objects and from its earlier versions.
pub struct Served<'a> {
    /// `metadata.uid`; empty for an object from a file.
    pub uid: Arc<str>,
    /// The older endpoint that owns its path, if there is one.
    pub path_owner: Option<&'a ObjectKey>,
    /// Its facts for the status.
    pub facts: Arc<EndpointFacts>,
    /// Its metric series.
    pub metrics: Arc<EndpointMetrics>,
    /// The version that is served now; an unchanged rate limit keeps its state.
    pub previous: Option<&'a Endpoint>,
}

/// What the index has to know of an endpoint before the values of its references are known.
pub struct EndpointOutline {
    /// The Secrets and ConfigMaps that it refers to, in order.
    pub references: Box<[Reference]>,
    /// Which namespaces may read it; none if the rule is invalid.
    pub subscribers: Subscribers,
}

/// Outlines an endpoint without compiling it.
pub fn outline_endpoint(key: &ObjectKey, spec: &WebhookEndpointSpec, options: &Options) -> EndpointOutline {
    let run = Compilation::survey(key, options);
    let spec = Field::object(&run).at("spec", spec);
    let subscribers = subscribers::read(&spec).unwrap_or_default();
    drop(read(&spec));
    EndpointOutline { subscribers, references: run.into_references() }
}

/// Compiles an endpoint. It is returned together with problems if it can be served in spite of them: some, but not all,
/// of its Secrets are missing.
pub fn endpoint(
    key: &ObjectKey,
    spec: &WebhookEndpointSpec,
    options: &Options,
    sources: &dyn ReferencedValues,
    served: Served<'_>,
) -> Compiled<Endpoint> {
    let run = Compilation::new(key, options, sources);
    let object = Field::object(&run);
    if let Some(owner) = served.path_owner {
        path_conflict(&object, spec, owner);
    }
    let complete = read(&object.at("spec", spec));
    let endpoint = complete.map(|complete| complete(served));
    run.end(endpoint)
}

fn path_conflict(object: &Field<'_, ()>, spec: &WebhookEndpointSpec, owner: &ObjectKey) {
    let field = match &spec.path {
        Some(path) => object.at("spec", spec).at("path", path.as_str()),
        None => object.at("metadata", &()).at("name", &*object.run().key().name),
    };
    let message = format!("the path is in use by the older WebhookEndpoint {}; choose another path", owner.name);
    field.problem(Reason::PathConflict, message);
}

/// Reads the spec. Returns the function that completes it to an endpoint, or `None` if it cannot be served.
pub(super) fn read(spec: &Field<'_, WebhookEndpointSpec>) -> Option<impl FnOnce(Served<'_>) -> Endpoint + use<>> {
    let key = spec.run().key().clone();
    let place = Snapshot::place(&key.namespace, path(&key, spec));
    let verification = spec.at("verification", &spec.verification);
    let (scheme, provider) = scheme(&verification);
    let verifier = verifier(scheme, &verification);
    let verify_token = verify_token(&verification);
    let event = spec.event.clone().unwrap_or_default();
    let event = spec.at("event", &event);
    let own_credentials = || verifier.iter().flat_map(|verifier| verifier.credential_headers()).cloned().collect();
    let kind_sources = Sources {
        explicit: event.at("type", &event.kind).given().and_then(|kind| source(&kind)),
        defaults: kind_defaults(provider),
        hidden: own_credentials(),
    };
    let id_sources = IdSources::new(Sources {
        explicit: id_source(spec, event.at("id", &event.id)),
        defaults: id_defaults(provider),
        hidden: own_credentials(),
    });
    let probes = probes(spec);
    check_handshake(spec, provider);
    let schemas = schemas(spec);
    let deduplication = deduplication(spec);
    let rate_limit = spec.at("rateLimit", &spec.rate_limit).given().and_then(|limit| pacing::inbound_rate(&limit));
    let limits = spec.limits.clone().unwrap_or_default();
    let limits = spec.at("limits", &limits);
    let body_bytes = body_bytes(&limits.at("bodyBytes", &limits.body_bytes), provider);
    let timeout = limits
        .at("timeout", &limits.timeout)
        .duration_at_most(limits::MAX_REQUEST_TIMEOUT, limits::DEFAULT_REQUEST_TIMEOUT);
    let allowed_sources = allowed_sources(spec);
    let reply = reply(spec);
    let max_bytes = storage(spec);
    let retention = spec.at("retention", &spec.retention).duration(grapnel_journal::limits::DEFAULT_RETENTION);
    // The index has the subscribers from the outline; here only problems matter.
    drop(subscribers::read(spec));
    if spec.run().refuses() {
        return None;
    }
    let (verifier, schemas, reply) = (verifier?, schemas?, reply?);
    let (body_bytes, timeout, retention) = (body_bytes?, timeout?, retention?);
    let suspended = spec.suspend.unwrap_or(false);
    let reading = reading(spec);
    let route = spec.route.clone().map(Arc::from);
    let sender = sender::options(&spec.verification);
    Some(move |served: Served<'_>| Endpoint {
        key,
        uid: served.uid,
        place,
        suspended,
        verifier,
        provider: provider.map(|provider| provider.name.as_str()),
        sender,
        handshake: handshake(provider),
        verify_token,
        kind_sources,
        id_sources,
        reading,
        probes,
        schemas,
        deduplication,
        rate_limit: rate_limit
            .map(|limit| pacing::kept(limit, served.previous.and_then(|previous| previous.rate_limit.as_ref()))),
        body_bytes,
        timeout,
        allowed_sources: allowed_sources.into(),
        reply,
        retention,
        max_bytes,
        route,
        facts: served.facts,
        metrics: served.metrics,
    })
}

/// The path below the namespace: `spec.path`, by default the name.
pub fn path<'a>(key: &'a ObjectKey, spec: &'a WebhookEndpointSpec) -> &'a str {
    spec.path.as_deref().unwrap_or(&key.name).trim_matches('/')
}

/// How bodies are read: `spec.payload`, by default as the provider defines.
pub fn reading(spec: &WebhookEndpointSpec) -> Reading {
    let payload = spec.payload.clone().unwrap_or_default();
    let bodies = spec.verification.provider.as_ref().map(|preset| Provider::of(preset.name).bodies);
    let format = match payload.format {
        Some(PayloadFormat::Json) => BodyFormat::Json,
        Some(PayloadFormat::Form) => BodyFormat::Form,
        Some(PayloadFormat::Opaque) => BodyFormat::Opaque,
        Some(PayloadFormat::Auto) | None if bodies == Some(Bodies::Json) => BodyFormat::Json,
        Some(PayloadFormat::Auto) | None => BodyFormat::Auto,
    };
    let implied = match (format, bodies) {
        (BodyFormat::Auto | BodyFormat::Form, Some(Bodies::Form(field))) => Some(field),
        _ => None,
    };
    Reading { format, field: payload.field.as_deref().or(implied).map(Into::into) }
}

/// The declared source of the id: `spec.event.id`, or the body's digest.
fn id_source(spec: &Field<'_, WebhookEndpointSpec>, id: Field<'_, Option<EventSource>>) -> Option<Source> {
    let deduplication = spec.deduplication.clone().unwrap_or_default();
    if deduplication.by != Some(DeduplicateBy::Body) {
        return id.given().and_then(|id| source(&id));
    }
    if id.is_some() {
        let deduplication = spec.at("deduplication", &deduplication);
        let message = "Body makes the digest of the body the event's id, but spec.event.id declares another one; remove \
                       either";
        deduplication.at("by", &deduplication.by).problem(Reason::InvalidSpec, message);
    }
    Some(Source::Digest)
}

/// A handshake in the body must be read to be answered.
fn check_handshake(spec: &Field<'_, WebhookEndpointSpec>, provider: Option<&Provider>) {
    let Some(payload) = spec.at("payload", &spec.payload).given() else { return };
    let (Some(provider), Some(format)) = (provider, payload.format) else { return };
    let unread = match provider.handshake {
        Handshake::DiscordPing | Handshake::SlackUrlVerification | Handshake::ZoomUrlValidation => {
            format == PayloadFormat::Opaque
        }
        Handshake::SnsConfirmation => matches!(format, PayloadFormat::Opaque | PayloadFormat::Form),
        _ => false,
    };
    if unread {
        let message = format_args!("{} sends its handshake in the body, which {format:?} does not read", provider.name);
        payload.at("format", &payload.format).problem(Reason::InvalidSpec, message);
    }
}

/// The methods of probes. A probe is known by its lack of a signature.
fn probes(spec: &Field<'_, WebhookEndpointSpec>) -> Box<[Method]> {
    let is_open = |preset: &grapnel_api::Provider| Provider::of(preset.name).scheme() == Scheme::None;
    let unsigned = spec.verification.none.is_some() || spec.verification.provider.as_deref().is_some_and(is_open);
    let probes = spec.at("probes", &spec.probes);
    if unsigned && probes.contains(&ProbeMethod::Post) {
        let message = "a POST without a signature is a probe, but the events of this endpoint have no signature either; \
                       remove POST";
        probes.problem(Reason::InvalidSpec, message);
    }
    let method = |probe: &ProbeMethod| match probe {
        ProbeMethod::Get => Method::GET,
        ProbeMethod::Head => Method::HEAD,
        ProbeMethod::Post => Method::POST,
    };
    probes.iter().map(method).collect()
}

fn source(source: &Field<'_, EventSource>) -> Option<Source> {
    if let Some(name) = &source.header {
        source.at("header", name).header_name().map(Source::Header)
    } else if let Some(text) = &source.pointer {
        source.at("pointer", text).check(JsonPointer::parse(text)).map(Source::Pointer)
    } else if let Some(text) = &source.expression {
        source.at("expression", text).expression(Scope::Request, ExpectedType::Text).map(Source::Expression)
    } else {
        source.value.clone().map(Source::Value)
    }
}

fn deduplication(spec: &Field<'_, WebhookEndpointSpec>) -> Option<Deduplicate> {
    let given = spec.deduplication.clone().unwrap_or_default();
    let given = spec.at("deduplication", &given);
    let window = given.at("window", &given.window).duration(DEFAULT_WINDOW)?;
    (!given.disabled.unwrap_or(false)).then_some(Deduplicate { window })
}

/// The largest body; by default what the provider sends at most.
fn body_bytes(size: &Field<'_, Option<ByteSize>>, provider: Option<&Provider>) -> Option<usize> {
    let of_provider = provider.and_then(|provider| provider.body_bytes);
    let Some(ByteSize(text)) = size.value() else { return Some(of_provider.unwrap_or(limits::DEFAULT_BODY_BYTES)) };
    let bytes = size.check(quantity::parse(text))?;
    let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
    if bytes == 0 || bytes > limits::MAX_BODY_BYTES {
        let message = format_args!("{text} is not between 1 and {} bytes", limits::MAX_BODY_BYTES);
        return size.fail(Reason::InvalidSpec, message);
    }
    Some(bytes)
}

/// Maximum bytes of an endpoint's events in the journal: `spec.storage.maxBytes`.
fn storage(spec: &Field<'_, WebhookEndpointSpec>) -> Option<u64> {
    let storage = spec.at("storage", &spec.storage).given()?;
    let size = storage.at("maxBytes", &storage.max_bytes).given()?;
    size.check(storage_bytes(&size))
}

/// The same for an endpoint that is appended to without being compiled; `None` also for an invalid size.
pub fn max_bytes(spec: &WebhookEndpointSpec) -> Option<u64> {
    storage_bytes(spec.storage.as_ref()?.max_bytes.as_ref()?).ok()
}

fn storage_bytes(ByteSize(text): &ByteSize) -> Result<u64, String> {
    let bytes = quantity::parse(text).map_err(|error| error.to_string())?;
    if bytes < limits::STORAGE_MIN_BYTES {
        return Err(format!("{text} is less than {} bytes", limits::STORAGE_MIN_BYTES));
    }
    Ok(bytes)
}

fn allowed_sources(spec: &Field<'_, WebhookEndpointSpec>) -> Vec<IpNet> {
    let mut allowed = Vec::new();
    for text in spec.at("allowedSources", &spec.allowed_sources).items() {
        let parsed = text.parse::<IpNet>().or_else(|_| text.parse::<std::net::IpAddr>().map(IpNet::from));
        match parsed {
            Ok(net) => allowed.push(net.trunc()),
            Err(_) => {
                let message = format!("`{}` is not a CIDR such as 192.0.2.0/24 or 2001:db8::/32", text.value());
                text.problem(Reason::InvalidSpec, message);
            }
        }
    }
    allowed
}

fn reply(spec: &Field<'_, WebhookEndpointSpec>) -> Option<Reply> {
    let Some(response) = spec.at("response", &spec.response).given() else {
        return Some(Reply { status: StatusCode::OK, body: None });
    };
    let status = reply_status(&response.at("status", &response.status.unwrap_or(200)))?;
    let body = match &response.body {
        None => None,
        Some(body) => Some((Bytes::from(body.clone()), content_type(&response, body)?)),
    };
    Some(Reply { status, body })
}

fn reply_status(status: &Field<'_, u16>) -> Option<StatusCode> {
    match *status.value() {
        number @ (200 | 201 | 202 | 204) => status.check(StatusCode::from_u16(number)),
        other => status.fail(Reason::InvalidSpec, format_args!("{other} is not 200, 201, 202 or 204")),
    }
}

fn content_type(response: &Field<'_, grapnel_api::Response>, body: &str) -> Option<HeaderValue> {
    let default = if serde_json::from_str::<serde::de::IgnoredAny>(body).is_ok() {
        "application/json"
    } else {
        "text/plain; charset=utf-8"
    };
    let given = response.content_type.as_deref().unwrap_or(default);
    response.at("contentType", given).check(HeaderValue::from_str(given))
}
