//! What one version makes of one event.

use bytes::Bytes;
use grapnel_api::ObjectKey;
use grapnel_journal::StoredEvent;
use http::{HeaderMap, HeaderName, HeaderValue, header::CONTENT_TYPE};

use super::configuration::Configuration;
use crate::{
    catalog::{Endpoint, ObjectKind, Subscription},
    dispatch::preview::{self as delivery, DeliveryPreview},
    ingress::preview as receipt,
};

/// What an endpoint makes of a request.
#[derive(Debug, Clone)]
pub(super) enum Receipt {
    /// It is stored as this event.
    Accepted {
        event: StoredEvent,
        /// Whether its id is generated, so that it is a duplicate of nothing.
        generated_id: bool,
    },
    /// It is rejected, or answered without being stored.
    Refused { code: &'static str, message: String },
    /// The version has an endpoint of this name that does not compile.
    Unknown,
}

/// What an endpoint of a version makes of the request that has led to a stored event.
pub(super) fn receive(version: &Configuration, key: &ObjectKey, event: &StoredEvent) -> Receipt {
    let refused = |code, message: &str| Receipt::Refused { code, message: message.to_owned() };
    if !version.defines(ObjectKind::Endpoint, key) {
        return refused("not_found", "the endpoint does not exist");
    }
    let Some(endpoint) = version.endpoint(key) else { return Receipt::Unknown };
    if endpoint.suspended {
        return refused("suspended", "the endpoint is suspended");
    }
    if let Some(remote) = event.remote
        && !endpoint.allowed_sources.is_empty()
        && !endpoint.allowed_sources.iter().any(|network| network.contains(&remote))
    {
        return refused("source_not_allowed", "the sender's address is not in spec.allowedSources");
    }
    if event.body.len() > endpoint.body_bytes {
        return refused("body_too_large", "the body is larger than spec.limits.bodyBytes");
    }
    identified(endpoint, event)
}

fn identified(endpoint: &Endpoint, event: &StoredEvent) -> Receipt {
    let preview = receipt::preview(endpoint, &headers(event), event.body.clone(), event.received);
    if let Some(rejection) = preview.rejection {
        let first = rejection.violations.first().map(|(path, message)| format!(": {path} {message}"));
        let message = format!("{}{}", rejection.message, first.unwrap_or_default());
        return Receipt::Refused { code: rejection.code, message };
    }
    let generated_id = preview.origins.1.is_none();
    match preview.events.into_iter().next() {
        Some(seen) => {
            // A generated id is another one each time.
            let id = if generated_id { event.id.clone() } else { seen.id };
            Receipt::Accepted { event: StoredEvent { id, kind: seen.kind, ..event.clone() }, generated_id }
        }
        None => Receipt::Refused { code: "handshake", message: "it would be answered as a handshake".into() },
    }
}

/// The headers of the request, as far as they are stored.
fn headers(event: &StoredEvent) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in &event.headers {
        if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_bytes(value)) {
            // A map of headers has a largest size, which no stored event has reached.
            let _ = headers.try_append(name, value);
        }
    }
    if let Some(value) = event.content_type.as_deref().and_then(|text| HeaderValue::from_str(text).ok()) {
        headers.insert(CONTENT_TYPE, value);
    }
    headers
}

/// What a subscription makes of an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Delivered {
    /// It would be sent.
    Sent { content_type: Option<String>, body: Bytes },
    /// It would not be sent: one word that says why.
    NotSent(&'static str),
    /// The filter or the transformation fails.
    Fails(String),
    /// The subscription does not compile.
    Unknown,
}

/// The version has no such subscription of the endpoint.
pub(super) const ABSENT: Delivered = Delivered::NotSent("deleted");

impl Delivered {
    pub(super) fn is_sent(&self) -> bool {
        matches!(self, Self::Sent { .. })
    }

    /// Why it is not sent, in one word.
    pub(super) fn reason(&self) -> &'static str {
        match self {
            Self::NotSent(reason) => reason,
            Self::Fails(_) => "fails",
            Self::Sent { .. } | Self::Unknown => "unknown",
        }
    }
}

/// What a subscription of a version makes of an event of its endpoint. `unshadowed` means that what mode Shadow would
/// have sent counts as sent.
pub(super) fn deliver(version: &Configuration, key: &ObjectKey, event: &StoredEvent, unshadowed: bool) -> Delivered {
    if !version.defines(ObjectKind::Subscription, key) {
        return ABSENT;
    }
    match version.subscription(key) {
        Some(subscription) => of_subscription(subscription, event, unshadowed),
        None => Delivered::Unknown,
    }
}

fn of_subscription(subscription: &Subscription, event: &StoredEvent, unshadowed: bool) -> Delivered {
    let DeliveryPreview { admitted, filter, delivery } = delivery::preview(subscription, event.clone());
    match (filter, delivery) {
        _ if !admitted => Delivered::NotSent("type"),
        (Some(Err(error)), _) => Delivered::Fails(format!("filter, {error}")),
        (_, None) => Delivered::NotSent("filter"),
        (_, Some(Err(error))) => Delivered::Fails(error.to_string()),
        (_, Some(Ok(_))) if subscription.is_shadow() && !unshadowed => Delivered::NotSent("shadow"),
        (_, Some(Ok(made))) => Delivered::Sent { content_type: made.content_type, body: made.bytes },
    }
}
