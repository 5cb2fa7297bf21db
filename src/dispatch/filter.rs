//! Whether a subscription wants an event: its `filter`.

use std::sync::Arc;

use grapnel_api::ObjectKey;
use grapnel_event::limits::INLINE_BODY_BYTES;
use grapnel_expression::{Expression, ExpressionError};
use grapnel_journal::StoredEvent;
use grapnel_payload::reading::Reading;

use super::decoded_event::DecodedEvent;

/// Why it is not known whether an event is wanted.
#[derive(Debug, thiserror::Error)]
pub enum FilterError {
    /// The filter could not be evaluated.
    #[error("filter, {0}")]
    Evaluation(#[source] ExpressionError),
    /// The evaluation was interrupted, which is a bug.
    #[error("the evaluation of the filter was interrupted")]
    Interrupted,
}

/// Evaluates a filter for an event; large bodies are evaluated on a blocking thread. Returns the event with what has been
/// parsed of it.
pub(super) async fn wants(
    filter: &Arc<Expression>,
    endpoint: &ObjectKey,
    decoded: DecodedEvent,
) -> (DecodedEvent, Result<bool, FilterError>) {
    if !filter.uses_payload() || decoded.event().body.len() <= INLINE_BODY_BYTES {
        return test(filter, endpoint, decoded);
    }
    let again = decoded.afresh();
    let (filter, endpoint) = (Arc::clone(filter), endpoint.clone());
    let tested = tokio::task::spawn_blocking(move || test(&filter, &endpoint, decoded));
    tested.await.unwrap_or((again, Err(FilterError::Interrupted)))
}

/// Evaluates a filter for an event that is not claimed.
///
/// # Errors
/// Returns an error if the filter fails.
pub async fn admits(
    filter: &Arc<Expression>,
    endpoint: &ObjectKey,
    reading: &Reading,
    event: StoredEvent,
) -> Result<bool, FilterError> {
    wants(filter, endpoint, DecodedEvent::new(Arc::new(event), reading.clone())).await.1
}

fn test(filter: &Expression, endpoint: &ObjectKey, decoded: DecodedEvent) -> (DecodedEvent, Result<bool, FilterError>) {
    let wanted = filter.test(&decoded.inputs(filter, endpoint)).map_err(FilterError::Evaluation);
    (decoded, wanted)
}
