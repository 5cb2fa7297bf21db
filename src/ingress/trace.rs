//! The span of a receipt, which is stored with its events.

use bytes::Bytes;
use grapnel_journal::Arrival;
use grapnel_values::traceparent::Traceparent;

use super::{inbound::Inbound, reject::Rejected, response::Stored};
use crate::{
    catalog::Endpoint,
    ingress::limits::STORED_HEADERS,
    telemetry::spans::{OpenSpan, Spans},
};

const TRACEPARENT: &str = "traceparent";

/// Begins the span, if tracing is enabled, as a child of the sender's. The events are stored with its `traceparent`
/// instead of the sender's; `tracestate` stays as received.
pub(super) fn begin(spans: &Spans, inbound: &Inbound, arrivals: &mut [Arrival]) -> Option<OpenSpan> {
    if !spans.are_on() {
        return None;
    }
    let parent = Traceparent::single(inbound.headers.get_all(TRACEPARENT).iter().map(|value| value.as_bytes()));
    let key = &inbound.endpoint.key;
    let span = spans.receipt(parent, &key.namespace, &key.name, inbound.received)?;
    let own = Bytes::from(span.traceparent()?.to_string());
    for arrival in arrivals {
        arrival.headers.retain(|(name, _)| **name != *TRACEPARENT && (parent.is_some() || **name != *"tracestate"));
        arrival.headers.truncate(STORED_HEADERS.saturating_sub(1));
        arrival.headers.push((TRACEPARENT.into(), own.clone()));
    }
    Some(span)
}

/// Ends the span with the result of the request.
pub(super) fn end(span: Option<OpenSpan>, endpoint: &Endpoint, outcome: &Result<Vec<Stored>, Rejected>) {
    let Some(mut span) = span else { return };
    match outcome {
        Ok(events) => {
            for Stored { id, kind, duplicate, .. } in events {
                span.event(id, kind, *duplicate);
            }
            span.end(Some(endpoint.reply.status.as_u16()), None);
        }
        Err(rejected) => span.end(Some(rejected.status().as_u16()), Some(rejected.code())),
    }
}
