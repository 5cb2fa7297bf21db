//! Compiles `WebhookSubscription` to [`Subscription`].

use std::{sync::Arc, time::Duration};

use grapnel_api::{self, Incarnation, ObjectKey, Reason, WebhookSubscriptionSpec};
use grapnel_delivery::{
    limits::{DEFAULT_ATTEMPTS, DEFAULT_INITIAL_DELAY, DEFAULT_MAX_DELAY, DEFAULT_MULTIPLIER},
    rate_limit::{RateLimit, Scope},
    retry::{Jitter, RetryPolicy},
};
use grapnel_event::identity::Reading;
use grapnel_expression::{ExpectedType, Scope as Names};
use grapnel_payload::headers::HeaderGlobs;
use grapnel_signature::{Signer, SigningScheme};
use grapnel_values::glob::GlobSet;

use super::{
    Options, Problem, Problems, References, delivery,
    endpoint::{globs, header_name, time},
    target::target,
};
use crate::{
    catalog::{
        observed::SubscriptionFacts,
        snapshot::{DeadLetterEndpoint, Subscription},
    },
    telemetry::metrics::SubscriptionMetrics,
};

/// Inputs of a subscription from its object, from other objects and from its earlier versions.
pub struct Delivered<'a> {
    /// `metadata.uid`; empty for an object from a file.
    pub uid: Arc<str>,
    /// `metadata.uid` of its endpoint; empty for an object from a file and if there is no endpoint.
    pub endpoint_uid: Arc<str>,
    /// How the bodies of its endpoint are read.
    pub reading: Reading,
    /// The endpoint for its dead letters.
    pub dead_letter_endpoint: Option<DeadLetterEndpoint>,
    /// Its facts for the status.
    pub facts: Arc<SubscriptionFacts>,
    /// Its metric series.
    pub metrics: Arc<SubscriptionMetrics>,
    /// The version that is delivered now.
    pub previous: Option<&'a Subscription>,
}

/// Whether a subscription may read the endpoint that it names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It exists and may be read.
    Open,
    /// The endpoint does not exist in the subscription's own namespace.
    Absent,
    /// The endpoint is in another namespace, and either does not exist or does not allow this one. Which of the two is
    /// not revealed to the subscription's namespace.
    Closed,
}

/// The endpoint that a subscription names.
pub fn endpoint_of(key: &ObjectKey, spec: &WebhookSubscriptionSpec) -> ObjectKey {
    let reference = &spec.endpoint_ref;
    let namespace = match &reference.namespace {
        Some(namespace) if **namespace != *key.namespace => Arc::from(namespace.as_str()),
        _ => Arc::clone(&key.namespace),
    };
    ObjectKey::new(namespace, reference.name.as_str())
}

/// The endpoint for a subscription's dead letters, in its own namespace.
pub fn dead_letter_endpoint_of(key: &ObjectKey, spec: &WebhookSubscriptionSpec) -> Option<ObjectKey> {
    let reference = spec.dead_letter.as_ref()?.endpoint_ref.as_ref()?;
    Some(ObjectKey::new(Arc::clone(&key.namespace), reference.name.as_str()))
}

/// The problem of the endpoint for a subscription's dead letters. `exists` says whether the endpoint exists.
pub fn dead_letter_problem(key: &ObjectKey, spec: &WebhookSubscriptionSpec, exists: bool) -> Option<Problem> {
    const POINTER: &str = "/spec/deadLetter/endpointRef/name";
    let ObjectKey { namespace, name } = &dead_letter_endpoint_of(key, spec)?;
    let read = endpoint_of(key, spec);
    if read.namespace == *namespace && read.name == *name {
        let message = format!("WebhookEndpoint {name} is the one that the subscription reads; name another endpoint");
        return Some(Problem::new(POINTER, Reason::InvalidSpec, message));
    }
    (!exists).then(|| {
        let message =
            format!("WebhookEndpoint {name} does not exist in namespace {namespace}; create it or correct the name");
        Problem::new(POINTER, Reason::EndpointNotFound, message)
    })
}

impl Standing {
    /// The problem of a reference to such an endpoint.
    pub fn problem(self, key: &ObjectKey, endpoint: &ObjectKey) -> Option<Problem> {
        let ObjectKey { namespace, name } = endpoint;
        match self {
            Self::Open => None,
            Self::Absent => Some(Problem::new(
                "/spec/endpointRef/name",
                Reason::EndpointNotFound,
                format!(
                    "WebhookEndpoint {name} does not exist in namespace {namespace}; create it or correct the name"
                ),
            )),
            Self::Closed => Some(Problem::new(
                "/spec/endpointRef/namespace",
                Reason::NotAllowed,
                format!(
                    "no WebhookEndpoint {name} in namespace {namespace} allows subscriptions of namespace {}; ask its \
                     owner to allow it in spec.allowedSubscribers, or correct the reference",
                    key.namespace
                ),
            )),
        }
    }
}

/// Compiles a subscription.
pub fn subscription(
    key: &ObjectKey,
    spec: &WebhookSubscriptionSpec,
    references: &References<'_>,
    options: &Options,
    standing: Standing,
    delivered: Delivered<'_>,
    problems: &mut Problems,
) -> Option<Subscription> {
    let endpoint = endpoint_of(key, spec);
    problems.extend(standing.problem(key, &endpoint));
    let event_types = GlobSet::new(globs(&spec.event_types, "/spec/eventTypes", problems));
    let mut expression = |source: &Option<String>, pointer, gives| {
        source.as_ref().map(|source| problems.expression(pointer, source, Names::Delivery, gives))
    };
    let filter = expression(&spec.filter, "/spec/filter", ExpectedType::Bool);
    let transform = expression(&spec.transform, "/spec/transform", ExpectedType::Json);
    let target = target(key, &spec.target, references, options, problems);
    let forward_headers = problems.check("/spec/forwardHeaders", HeaderGlobs::parse(&spec.forward_headers));
    let signer = spec.signing.as_ref().map(|signing| signer(signing, references, problems));
    let retry = retry(spec.retry.as_ref(), problems);
    let rate_limit = spec.rate_limit.as_ref().and_then(|limit| {
        let per = time(limit.per.as_ref(), "/spec/rateLimit/per", Duration::from_secs(1), problems)?;
        let previous = delivered.previous.and_then(|previous| previous.rate_limit.as_ref());
        rate(limit.requests, per, limit.burst, Scope::Endpoint, previous, "/spec/rateLimit", problems)
    });
    let retention = spec.dead_letter.as_ref().and_then(|dead_letter| dead_letter.retention.as_ref());
    let dead_letter_retention =
        time(retention, "/spec/deadLetter/retention", grapnel_journal::limits::DEFAULT_DEAD_LETTER_RETENTION, problems);
    let breaker = delivery::breaker(spec.circuit_breaker.as_ref(), problems);
    let max_in_flight = delivery::in_flight(spec, problems);
    if problems.refuse() {
        return None;
    }
    Some(Subscription {
        key: key.clone(),
        uid: delivered.uid,
        endpoint: Incarnation::new(endpoint, delivered.endpoint_uid),
        reading: delivered.reading,
        event_types,
        filter: match filter {
            Some(filter) => Some(filter?),
            None => None,
        },
        transform: match transform {
            Some(transform) => Some(transform?),
            None => None,
        },
        target: target?,
        format: spec.format.unwrap_or(grapnel_api::Format::Original),
        forward_headers: forward_headers?,
        signer: match signer {
            Some(signer) => Some(signer?),
            None => None,
        },
        retry: retry?,
        breaker: breaker?,
        ordering: spec.ordering.unwrap_or(grapnel_api::Ordering::Unordered),
        max_in_flight,
        rate_limit,
        dead_letter_retention: dead_letter_retention?,
        dead_letter_endpoint: delivered.dead_letter_endpoint,
        start_from: spec.start_from.unwrap_or(grapnel_api::StartFrom::Now),
        suspended: spec.suspend.unwrap_or(false),
        facts: delivered.facts,
        metrics: delivered.metrics,
    })
}

/// Resolves the secrets and prepares the signing keys. A subscription without any usable key is parked.
fn signer(signing: &grapnel_api::Signing, references: &References<'_>, problems: &mut Problems) -> Option<Signer> {
    let scheme = match signing.scheme {
        grapnel_api::SigningScheme::StandardWebhooks => SigningScheme::StandardWebhooks,
        grapnel_api::SigningScheme::Ed25519 => SigningScheme::Ed25519,
        grapnel_api::SigningScheme::HmacSha256Hex => {
            let name = signing.header.as_deref().unwrap_or("X-Webhook-Signature");
            SigningScheme::HmacSha256Hex { header: header_name(name, "/spec/signing/header", problems)? }
        }
    };
    let secrets = references.keys(&signing.secret_refs, "/spec/signing/secretRefs", problems, |secret| {
        Signer::new(scheme.clone(), vec![secret]).map(drop)
    });
    if secrets.is_empty() {
        return None;
    }
    problems.check("/spec/signing", Signer::new(scheme, secrets))
}

fn retry(retry: Option<&grapnel_api::Retry>, problems: &mut Problems) -> Option<RetryPolicy> {
    let retry = retry.cloned().unwrap_or_default();
    let initial = time(retry.initial_delay.as_ref(), "/spec/retry/initialDelay", DEFAULT_INITIAL_DELAY, problems);
    let max_delay = time(retry.max_delay.as_ref(), "/spec/retry/maxDelay", DEFAULT_MAX_DELAY, problems);
    let multiplier = retry.multiplier.unwrap_or(DEFAULT_MULTIPLIER);
    if !(1.0..=10.0).contains(&multiplier) {
        problems.add("/spec/retry/multiplier", Reason::InvalidSpec, "must be between 1 and 10");
    }
    let max_attempts = retry.max_attempts.unwrap_or(DEFAULT_ATTEMPTS);
    if max_attempts == 0 {
        problems.add("/spec/retry/maxAttempts", Reason::InvalidSpec, "must be at least 1");
    }
    Some(RetryPolicy {
        max_attempts,
        initial: initial?,
        multiplier,
        max_delay: max_delay?,
        jitter: match retry.jitter {
            Some(grapnel_api::Jitter::Full) => Jitter::Full,
            Some(grapnel_api::Jitter::Equal) | None => Jitter::Equal,
            Some(grapnel_api::Jitter::None) => Jitter::None,
        },
        stop_on: retry.stop_on.unwrap_or_else(|| vec![410]),
    })
}

/// A rate limit; one that is equal to the previous one keeps its state.
pub(super) fn rate(
    requests: u32,
    per: Duration,
    burst: Option<u32>,
    scope: Scope,
    previous: Option<&Arc<RateLimit>>,
    pointer: &str,
    problems: &mut Problems,
) -> Option<Arc<RateLimit>> {
    let rate = problems.check(pointer, RateLimit::new(requests, per, burst, scope))?;
    match previous {
        Some(previous) if previous.is_same_limit(&rate) => Some(Arc::clone(previous)),
        _ => Some(Arc::new(rate)),
    }
}
