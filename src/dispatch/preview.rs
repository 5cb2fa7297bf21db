//! What a subscription makes of an event, by the code that delivers: for `grapnel eval`.

use std::sync::Arc;

use bytes::Bytes;
use grapnel_expression::{Expression, ExpressionError};
use grapnel_journal::StoredEvent;
use http::{HeaderMap, header::CONTENT_TYPE};

use super::{
    body::{self, BuildError},
    decoded_event::DecodedEvent,
};
use crate::catalog::Subscription;

/// The result of an event.
#[derive(Debug)]
pub struct DeliveryPreview {
    /// Whether its type is one of `eventTypes`.
    pub admitted: bool,
    /// The result of the filter, if there is one and the type is admitted.
    pub filter: Option<Result<bool, ExpressionError>>,
    /// What would be delivered, if anything.
    pub delivery: Option<Result<DeliveryBody, BuildError>>,
}

/// The body of a delivery.
#[derive(Debug)]
pub struct DeliveryBody {
    /// Its content type.
    pub content_type: Option<String>,
    /// Its bytes.
    pub bytes: Bytes,
}

/// What the subscription makes of an event of its endpoint.
pub fn preview(subscription: &Subscription, event: StoredEvent) -> DeliveryPreview {
    let admitted = subscription.event_types.admits(&event.kind);
    let decoded = DecodedEvent::new(Arc::new(event), subscription.reading.clone());
    let filter = subscription.filter.as_ref().filter(|_| admitted);
    let filter = filter.map(|filter| filter.test(&decoded.inputs(filter, &subscription.endpoint.key)));
    let wanted = admitted && !matches!(filter, Some(Ok(false) | Err(_)));
    DeliveryPreview { admitted, filter, delivery: wanted.then(|| body(subscription, &decoded)) }
}

/// Whether a filter, such as that of a replay, is true for an event of the subscription's endpoint.
///
/// # Errors
/// Returns an error if the filter fails.
pub fn admits(filter: &Expression, subscription: &Subscription, event: StoredEvent) -> Result<bool, ExpressionError> {
    let decoded = DecodedEvent::new(Arc::new(event), subscription.reading.clone());
    filter.test(&decoded.inputs(filter, &subscription.endpoint.key))
}

fn body(subscription: &Subscription, decoded: &DecodedEvent) -> Result<DeliveryBody, BuildError> {
    let Subscription { transform, format, endpoint, .. } = subscription;
    let mut headers = HeaderMap::new();
    let bytes = body::build(transform.as_deref(), *format, &endpoint.key, decoded, &mut headers)?;
    let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).map(str::to_owned);
    Ok(DeliveryBody { content_type, bytes })
}
