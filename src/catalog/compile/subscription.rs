//! `WebhookSubscription` to [`Subscription`].

use std::{num::NonZeroUsize, sync::Arc, time::Duration};

use http::{HeaderMap, HeaderValue, header};
use url::Url;

use super::{
    Options, Problems, References,
    endpoint::{bounded, globs, header_name, time},
};
use crate::{
    api::{self, ObjectKey, Reason, WebhookSubscriptionSpec},
    catalog::{
        observed::SubscriptionFacts,
        snapshot::{Subscription, Target},
    },
    rules::{
        glob::GlobSet,
        headers::{HeaderGlobs, is_framing},
        limits,
        ratelimit::{RateLimit, Scope},
        retry::{Jitter, RetryPolicy},
        signature::{Signer, SigningScheme},
    },
    telemetry::metrics::SubscriptionMetrics,
};

/// What a subscription shares with its earlier versions.
pub struct Delivered<'a> {
    /// Its facts.
    pub facts: Arc<SubscriptionFacts>,
    /// Its series.
    pub metrics: Arc<SubscriptionMetrics>,
    /// The version that is delivered now.
    pub previous: Option<&'a Subscription>,
}

/// Compiles a subscription. `endpoint_exists` answers whether an endpoint object of that name exists.
pub fn subscription(
    key: &ObjectKey,
    spec: &WebhookSubscriptionSpec,
    references: &References<'_>,
    options: &Options,
    endpoint_exists: impl FnOnce(&ObjectKey) -> bool,
    delivered: Delivered<'_>,
    problems: &mut Problems,
) -> Option<Subscription> {
    let endpoint = ObjectKey::new(Arc::clone(&key.namespace), spec.endpoint_ref.name.as_str());
    if !endpoint_exists(&endpoint) {
        problems.add(
            "/spec/endpointRef/name",
            Reason::EndpointNotFound,
            format_args!(
                "WebhookEndpoint {} does not exist in namespace {}; create it or correct the name",
                endpoint.name, endpoint.namespace
            ),
        );
    }
    let event_types = GlobSet::new(globs(&spec.event_types, "/spec/eventTypes", problems));
    let target = target(&spec.target, references, options, problems);
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
        time(retention, "/spec/deadLetter/retention", limits::DEFAULT_DEAD_LETTER_RETENTION, problems);
    if problems.refuse() {
        return None;
    }
    let max_in_flight = spec.max_in_flight.and_then(|count| usize::try_from(count).ok());
    Some(Subscription {
        key: key.clone(),
        endpoint,
        event_types,
        target: target?,
        format: spec.format.unwrap_or(api::Format::Original),
        forward_headers: forward_headers?,
        signer: match signer {
            Some(signer) => Some(signer?),
            None => None,
        },
        retry: retry?,
        max_in_flight: max_in_flight.and_then(NonZeroUsize::new).unwrap_or(limits::DEFAULT_IN_FLIGHT),
        rate_limit,
        dead_letter_retention: dead_letter_retention?,
        start_from: spec.start_from.unwrap_or(api::StartFrom::Now),
        suspended: spec.suspend.unwrap_or(false),
        facts: delivered.facts,
        metrics: delivered.metrics,
    })
}

fn target(
    target: &api::Target,
    references: &References<'_>,
    options: &Options,
    problems: &mut Problems,
) -> Option<Target> {
    let url = problems.check("/spec/target/url", Url::parse(&target.url));
    if let Some(url) = &url
        && let Err(forbidden) = options.egress.check_url(url)
    {
        problems.add("/spec/target/url", Reason::TargetForbidden, forbidden);
    }
    let mut headers = HeaderMap::new();
    let mut complete = true;
    for (number, entry) in target.headers.iter().enumerate() {
        let pointer = format!("/spec/target/headers/{number}");
        if let Some(name) = own_header(&entry.name, &format!("{pointer}/name"), &headers, problems)
            && let Some(value) = problems.check(format!("{pointer}/value"), HeaderValue::from_str(&entry.value))
        {
            headers.append(name, value);
        }
    }
    for (number, entry) in target.headers_from.iter().enumerate() {
        let pointer = format!("/spec/target/headersFrom/{number}");
        let name = own_header(&entry.name, &format!("{pointer}/name"), &headers, problems);
        let pointer = format!("{pointer}/secretKeyRef");
        let Some(secret) = references.secret(&entry.secret_key_ref, &pointer, problems) else {
            complete = false;
            continue;
        };
        // A Secret made from a file often ends with a newline that nobody meant.
        match (name, HeaderValue::from_bytes(secret.expose().trim_ascii_end())) {
            (Some(name), Ok(mut value)) => {
                value.set_sensitive(true);
                headers.append(name, value);
            }
            (_, Err(_)) => {
                complete = false;
                let api::KeyReference { name, key } = &entry.secret_key_ref;
                problems.add(
                    pointer,
                    Reason::InvalidSecret,
                    format_args!("key {key} of Secret {name} is not a header value: it holds control characters"),
                );
            }
            (None, Ok(_)) => {}
        }
    }
    let timeout = bounded(
        time(target.timeout.as_ref(), "/spec/target/timeout", limits::DEFAULT_DELIVERY_TIMEOUT, problems),
        "/spec/target/timeout",
        limits::MAX_DELIVERY_TIMEOUT,
        problems,
    );
    complete.then_some(Target { url: url?, headers, timeout: timeout? })
}

/// A header name that a target may set: not one of those that frame the request or that Grapnel itself sets.
fn own_header(name: &str, pointer: &str, present: &HeaderMap, problems: &mut Problems) -> Option<header::HeaderName> {
    let name = header_name(name, pointer, problems)?;
    let own = name.as_str().starts_with("webhook-") || name == "grapnel-attempt" || name == "traceparent";
    if own || is_framing(&name) {
        let message = format!("header {name} is set by Grapnel itself; remove it");
        problems.add(pointer, Reason::InvalidSpec, message);
        return None;
    }
    if present.contains_key(&name) {
        problems.add(pointer, Reason::InvalidSpec, format_args!("header {name} is set twice"));
        return None;
    }
    Some(name)
}

/// Resolves the secrets and prepares the keys. A subscription that cannot sign with any of them is parked.
fn signer(signing: &api::Signing, references: &References<'_>, problems: &mut Problems) -> Option<Signer> {
    let scheme = match signing.scheme {
        api::SigningScheme::StandardWebhooks => SigningScheme::StandardWebhooks,
        api::SigningScheme::Ed25519 => SigningScheme::Ed25519,
        api::SigningScheme::HmacSha256Hex => {
            let name = signing.header.as_deref().unwrap_or("X-Webhook-Signature");
            SigningScheme::HmacSha256Hex { header: header_name(name, "/spec/signing/header", problems)? }
        }
    };
    let mut secrets = Vec::new();
    for (number, reference) in signing.secret_refs.iter().enumerate() {
        let pointer = format!("/spec/signing/secretRefs/{number}");
        let Some(secret) = references.secret(reference, &pointer, problems) else { continue };
        match Signer::new(scheme.clone(), vec![secret.clone()]) {
            Ok(_) => secrets.push(secret),
            Err(error) => problems.add(
                pointer,
                Reason::InvalidSecret,
                format_args!("key {} of Secret {}: {}", reference.key, reference.name, error.problem),
            ),
        }
    }
    if secrets.is_empty() {
        return None;
    }
    problems.check("/spec/signing", Signer::new(scheme, secrets))
}

fn retry(retry: Option<&api::Retry>, problems: &mut Problems) -> Option<RetryPolicy> {
    let retry = retry.cloned().unwrap_or_default();
    let initial =
        time(retry.initial_delay.as_ref(), "/spec/retry/initialDelay", limits::DEFAULT_INITIAL_DELAY, problems);
    let max_delay = time(retry.max_delay.as_ref(), "/spec/retry/maxDelay", limits::DEFAULT_MAX_DELAY, problems);
    let multiplier = retry.multiplier.unwrap_or(limits::DEFAULT_MULTIPLIER);
    if !(1.0..=10.0).contains(&multiplier) {
        problems.add("/spec/retry/multiplier", Reason::InvalidSpec, "must be between 1 and 10");
    }
    let max_attempts = retry.max_attempts.unwrap_or(limits::DEFAULT_ATTEMPTS);
    if max_attempts == 0 {
        problems.add("/spec/retry/maxAttempts", Reason::InvalidSpec, "must be at least 1");
    }
    Some(RetryPolicy {
        max_attempts,
        initial: initial?,
        multiplier,
        max_delay: max_delay?,
        jitter: match retry.jitter {
            Some(api::Jitter::Full) => Jitter::Full,
            Some(api::Jitter::Equal) | None => Jitter::Equal,
            Some(api::Jitter::None) => Jitter::None,
        },
        stop_on: retry.stop_on.unwrap_or_else(|| vec![410]),
    })
}

/// A rate; one that is equal to the previous one goes on counting.
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
