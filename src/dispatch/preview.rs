//! What a subscription makes of an event, by the code that delivers: for `grapnel eval`.

use bytes::Bytes;
use grapnel_expression::ExpressionError;
use grapnel_journal::StoredEvent;
use http::{HeaderMap, header::CONTENT_TYPE};

use super::{decoded_event, request, send_error::SendError};
use crate::catalog::Subscription;

/// The result of an event.
#[derive(Debug)]
pub struct Preview {
    /// Whether its type is one of `eventTypes`.
    pub admitted: bool,
    /// The result of the filter, if there is one and the type is admitted.
    pub filter: Option<Result<bool, ExpressionError>>,
    /// What would be delivered, if anything.
    pub delivery: Option<Result<Body, SendError>>,
}

/// The body of a delivery.
#[derive(Debug)]
pub struct Body {
    /// Its content type.
    pub content_type: Option<String>,
    /// Its bytes.
    pub bytes: Bytes,
}

/// What the subscription makes of an event of its endpoint.
pub fn preview(subscription: &Subscription, event: &StoredEvent) -> Preview {
    let admitted = subscription.event_types.admits(&event.kind);
    let filter = subscription.filter.as_ref().filter(|_| admitted);
    let inputs = |filter| decoded_event::inputs(filter, &subscription.reading, event, &subscription.endpoint.key);
    let filter = filter.map(|filter| filter.test(&inputs(filter)));
    let wanted = admitted && !matches!(filter, Some(Ok(false) | Err(_)));
    Preview { admitted, filter, delivery: wanted.then(|| body(subscription, event)) }
}

fn body(subscription: &Subscription, event: &StoredEvent) -> Result<Body, SendError> {
    let mut headers = HeaderMap::new();
    let bytes = request::body(subscription, event, &mut headers)?;
    let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).map(str::to_owned);
    Ok(Body { content_type, bytes })
}
