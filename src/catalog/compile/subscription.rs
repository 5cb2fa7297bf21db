//! Compiles `WebhookSubscription` to [`Subscription`].

use std::{sync::Arc, time::Duration};

use grapnel_api::{self, Incarnation, ObjectKey, Reason, WebhookSubscriptionSpec};
use grapnel_event::identity::Reading;
use grapnel_expression::{ExpectedType, Scope};
use grapnel_journal::limits::DEFAULT_DEAD_LETTER_RETENTION;
use grapnel_payload::headers::HeaderGlobs;
use grapnel_signature::{DeliveryScheme, Signer};
use grapnel_values::glob::GlobSet;

use super::{Compiled, Options, Reference, ReferencedValues, field::Field, pacing, run::Compilation, target::target};
use crate::{
    catalog::{
        observed::SubscriptionFacts,
        snapshot::{DeadLetterEndpoint, Subscription},
    },
    telemetry::metrics::SubscriptionMetrics,
};

/// Inputs of a subscription from its object, from other objects and from its earlier versions.
pub struct SubscriptionInputs<'a> {
    /// `metadata.uid`; empty for an object from a file.
    pub uid: Arc<str>,
    /// Whether it may read its endpoint.
    pub standing: Standing,
    /// `metadata.uid` of its endpoint; empty for an object from a file and if there is no endpoint.
    pub endpoint_uid: Arc<str>,
    /// How the bodies of its endpoint are read.
    pub reading: Reading,
    /// The endpoint for its dead letters, if it names one that exists.
    pub dead_letter_endpoint: Option<DeadLetterEndpoint>,
    /// Whether the endpoint for its dead letters has another class.
    pub dead_letters_elsewhere: bool,
    /// Its facts for the status.
    pub facts: Arc<SubscriptionFacts>,
    /// Its metric series.
    pub metrics: Arc<SubscriptionMetrics>,
    /// The version that is delivered now; an unchanged rate limit keeps its state.
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
    /// It has another class than the subscription, so that another operator serves it.
    OtherClass,
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

/// The Secrets and ConfigMaps that a subscription refers to, in order, found without compiling it.
pub fn outline_subscription(key: &ObjectKey, spec: &WebhookSubscriptionSpec, options: &Options) -> Box<[Reference]> {
    let run = Compilation::survey(key, options);
    drop(read(&Field::object(&run).at("spec", spec)));
    run.into_references()
}

/// Compiles a subscription.
pub fn subscription(
    key: &ObjectKey,
    spec: &WebhookSubscriptionSpec,
    options: &Options,
    sources: &dyn ReferencedValues,
    delivered: SubscriptionInputs<'_>,
) -> Compiled<Subscription> {
    let run = Compilation::new(key, options, sources);
    let spec = Field::object(&run).at("spec", spec);
    check_dead_letter_endpoint(
        &spec,
        match delivered.dead_letter_endpoint {
            _ if delivered.dead_letters_elsewhere => Standing::OtherClass,
            Some(_) => Standing::Open,
            None => Standing::Absent,
        },
    );
    check_endpoint(&spec, delivered.standing);
    let complete = read(&spec);
    let subscription = complete.map(|complete| complete(delivered));
    run.end(subscription)
}

fn check_dead_letter_endpoint(spec: &Field<'_, WebhookSubscriptionSpec>, standing: Standing) {
    let Some(dead_letter) = spec.at("deadLetter", &spec.dead_letter).given() else { return };
    let Some(reference) = dead_letter.at("endpointRef", &dead_letter.endpoint_ref).given() else { return };
    let name = reference.at("name", &reference.name);
    let (namespace, text) = (spec.namespace(), name.value());
    let read = endpoint_of(spec.run().key(), spec);
    if read.namespace == *namespace && *read.name == **text {
        let message = format!("WebhookEndpoint {text} is the one that the subscription reads; name another endpoint");
        name.problem(Reason::InvalidSpec, message);
    } else if standing == Standing::OtherClass {
        name.problem(Reason::ClassMismatch, of_other_class(spec, namespace, text));
    } else if standing == Standing::Absent {
        name.problem(Reason::EndpointNotFound, absent(namespace, text));
    }
}

fn check_endpoint(spec: &Field<'_, WebhookSubscriptionSpec>, standing: Standing) {
    let reference = spec.at("endpointRef", &spec.endpoint_ref);
    let ObjectKey { namespace, name } = endpoint_of(spec.run().key(), spec);
    match standing {
        Standing::Open => {}
        Standing::Absent => {
            reference.at("name", &reference.name).problem(Reason::EndpointNotFound, absent(&namespace, &name));
        }
        Standing::OtherClass => {
            let message = of_other_class(spec, &namespace, &name);
            reference.at("name", &reference.name).problem(Reason::ClassMismatch, message);
        }
        Standing::Closed => {
            let message = format!(
                "no WebhookEndpoint {name} in namespace {namespace} allows subscriptions of namespace {}; ask its owner \
                 to allow it in spec.allowedSubscribers, or correct the reference",
                spec.namespace()
            );
            reference.at("namespace", &reference.namespace).problem(Reason::NotAllowed, message);
        }
    }
}

fn absent(namespace: &str, name: &str) -> String {
    format!("WebhookEndpoint {name} does not exist in namespace {namespace}; create it or correct the name")
}

fn of_other_class(spec: &WebhookSubscriptionSpec, namespace: &str, name: &str) -> String {
    let own = spec.class_name.as_deref().map_or("has none".to_owned(), |class| format!("has {class}"));
    format!(
        "WebhookEndpoint {name} in namespace {namespace} has another spec.className than this subscription, which {own}; \
         give both the same, so that one operator serves them"
    )
}

/// Reads the spec. Returns the function that completes it to a subscription, or `None` if it cannot be delivered.
pub(super) fn read(
    spec: &Field<'_, WebhookSubscriptionSpec>,
) -> Option<impl FnOnce(SubscriptionInputs<'_>) -> Subscription + use<>> {
    let key = spec.run().key().clone();
    let endpoint = endpoint_of(&key, spec);
    let event_types = GlobSet::new(spec.at("eventTypes", &spec.event_types).globs());
    let expression =
        |field: Field<'_, Option<String>>, gives| field.given().map(|source| source.expression(Scope::Delivery, gives));
    let filter = expression(spec.at("filter", &spec.filter), ExpectedType::Bool);
    let transform = expression(spec.at("transform", &spec.transform), ExpectedType::Json);
    let target = target(&spec.at("target", &spec.target));
    let forward_headers =
        spec.at("forwardHeaders", &spec.forward_headers).check(HeaderGlobs::parse(&spec.forward_headers));
    let signer = spec.at("signing", &spec.signing).given().map(|signing| signer(&signing));
    let retry = pacing::retry(&spec.at("retry", &spec.retry.clone().unwrap_or_default()));
    let rate_limit = spec.at("rateLimit", &spec.rate_limit).given().and_then(|limit| pacing::outbound_rate(&limit));
    let dead_letter_retention = dead_letter_retention(spec);
    let breaker = pacing::breaker(&spec.at("circuitBreaker", &spec.circuit_breaker.clone().unwrap_or_default()));
    let max_in_flight = pacing::in_flight(spec);
    if spec.run().refuses() {
        return None;
    }
    let (filter, transform, signer) = (if_given(filter)?, if_given(transform)?, if_given(signer)?);
    let (target, forward_headers, dead_letter_retention) = (target?, forward_headers?, dead_letter_retention?);
    let (retry, breaker) = (retry?, breaker?);
    let format = spec.format.unwrap_or(grapnel_api::Format::Original);
    let ordering = spec.ordering.unwrap_or(grapnel_api::Ordering::Unordered);
    let start_from = spec.start_from.unwrap_or(grapnel_api::StartFrom::Now);
    let mode = spec.mode.unwrap_or_default();
    let suspended = spec.suspend.unwrap_or(false);
    Some(move |delivered: SubscriptionInputs<'_>| Subscription {
        key,
        uid: delivered.uid,
        endpoint: Incarnation::new(endpoint, delivered.endpoint_uid),
        reading: delivered.reading,
        event_types,
        filter,
        transform,
        target,
        format,
        forward_headers,
        signer,
        retry,
        breaker,
        ordering,
        max_in_flight,
        rate_limit: rate_limit
            .map(|limit| pacing::kept(limit, delivered.previous.and_then(|previous| previous.rate_limit.as_ref()))),
        dead_letter_retention,
        dead_letter_endpoint: delivered.dead_letter_endpoint,
        start_from,
        mode,
        suspended,
        facts: delivered.facts,
        metrics: delivered.metrics,
    })
}

/// A field that is not set is complete without a value; one that is set needs its compiled form.
fn if_given<T>(compiled: Option<Option<T>>) -> Option<Option<T>> {
    match compiled {
        None => Some(None),
        Some(compiled) => compiled.map(Some),
    }
}

fn dead_letter_retention(spec: &Field<'_, WebhookSubscriptionSpec>) -> Option<Duration> {
    let dead_letter = spec.at("deadLetter", &spec.dead_letter);
    let retention = dead_letter.value().as_ref().and_then(|dead_letter| dead_letter.retention.clone());
    dead_letter.at("retention", &retention).duration(DEFAULT_DEAD_LETTER_RETENTION)
}

/// Resolves the secrets and prepares the signing keys. A subscription without any usable key is parked.
fn signer(signing: &Field<'_, grapnel_api::Signing>) -> Option<Signer> {
    let scheme = match signing.scheme {
        grapnel_api::SigningScheme::StandardWebhooks => DeliveryScheme::StandardWebhooks,
        grapnel_api::SigningScheme::Ed25519 => DeliveryScheme::Ed25519,
        grapnel_api::SigningScheme::HmacSha256Hex => {
            let name = signing.header.as_deref().unwrap_or("X-Webhook-Signature");
            DeliveryScheme::HmacSha256Hex { header: signing.at("header", name).header_name()? }
        }
    };
    let secrets = signing
        .at("secretRefs", &signing.secret_refs)
        .keys(|secret| Signer::new(scheme.clone(), vec![secret]).map(drop));
    if secrets.is_empty() {
        return None;
    }
    signing.check(Signer::new(scheme, secrets))
}
