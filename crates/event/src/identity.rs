//! The identity of an event: its type and its id.
//!
//! ```
//! use bytes::Bytes;
//! use grapnel_event::identity::{JsonPointer, Payload, Reading, Source, Sources, origins};
//! use http::HeaderMap;
//!
//! let body = Bytes::from_static(br#"{"id":"evt_1","type":"order.created"}"#);
//! let payload = Payload::read(&Reading::default(), Some("application/json"), &body);
//! let pointer = |text| JsonPointer::parse(text).map(Source::Pointer);
//! let kind = Sources { explicit: Some(pointer("/type")?), ..Sources::default() };
//! let id = Sources { explicit: Some(pointer("/id")?), ..Sources::default() };
//! let found = origins(&kind, &id, &HeaderMap::new(), &payload, &body);
//! assert_eq!(found.id.unwrap().to_string(), pointer("/id")?.to_string());
//! # Ok::<(), grapnel_event::identity::PointerError>(())
//! ```

mod defaults;
mod lookup;
mod source;
#[cfg(test)]
mod tests;

use grapnel_payload::cloudevents::CloudEvent;
pub use grapnel_payload::{
    malformed::MalformedPayload,
    payload::Payload,
    reading::{BodyFormat, Reading},
};
use grapnel_values::cost_budget::CostBudget;
pub use grapnel_values::pointer::{JsonPointer, PointerError};
use http::HeaderMap;

use self::lookup::{ID, KIND, Request, Value};
pub use self::{
    defaults::{id_defaults, kind_defaults},
    source::{IdOrigin, Source, Sources},
};
#[cfg(doc)]
use super::limits::{EVENT_ID_BYTES, EVENT_TYPE_BYTES};

/// The type of an event without one.
pub const UNKNOWN_TYPE: &str = "unknown";

/// The id and type of an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Event id: at most [`EVENT_ID_BYTES`], not empty, without control characters.
    pub id: Box<str>,
    /// Event type: at most [`EVENT_TYPE_BYTES`], not empty, without control characters.
    pub kind: Box<str>,
    /// Where the id comes from.
    pub origin: IdOrigin,
}

impl Identity {
    /// Creates the identity of an event that states its own id.
    pub fn new(id: impl Into<Box<str>>, kind: impl Into<Box<str>>) -> Self {
        Self { id: id.into(), kind: kind.into(), origin: IdOrigin::Event }
    }
}

/// Determines the type and id of a verified request.
///
/// The type defaults to [`UNKNOWN_TYPE`]. An event for which no source gives an id gets one of its own.
///
/// # Errors
///
/// [`MalformedPayload`] when a declared source yields nothing, a value that is too long, or one with control characters.
pub fn identify(
    kind: &Sources,
    id: &Sources,
    headers: &HeaderMap,
    payload: &Payload,
    body: &[u8],
) -> Result<Identity, MalformedPayload> {
    let request = Request::new(headers, payload, body);
    let mut budget = CostBudget::default();
    let kind = KIND.find(kind, &request, &mut budget)?.map_or_else(|| UNKNOWN_TYPE.into(), |(kind, _)| kind);
    let (id, origin) = ID.find(id, &request, &mut budget)?.unwrap_or_else(generated);
    Ok(Identity { id, kind, origin })
}

/// The sources that give the type and the id of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origins {
    /// The source of the type; `None` if no source has one.
    pub kind: Option<Source>,
    /// The source of the id; `None` if it is generated.
    pub id: Option<Source>,
}

/// Determines from which sources [`identify`] takes the type and id of a request.
pub fn origins(kind: &Sources, id: &Sources, headers: &HeaderMap, payload: &Payload, body: &[u8]) -> Origins {
    let request = Request::new(headers, payload, body);
    let mut budget = CostBudget::default();
    let mut origin = |value: &Value, sources: &Sources| match value.find(sources, &request, &mut budget) {
        Ok(found) => found.and_then(|(_, origin)| sources.source(origin)).cloned(),
        // Only a declared source can fail.
        Err(_) => sources.explicit.clone(),
    };
    Origins { kind: origin(&KIND, kind), id: origin(&ID, id) }
}

/// Determines the type and id of a CloudEvent whose attributes are in `body`: its own attributes, unless the endpoint
/// declares other sources. Pointers refer to the body; expressions see its data and take their steps from the
/// request's `budget`.
///
/// # Errors
///
/// See [`identify`].
pub fn identify_event(
    kind: &Sources,
    id: &Sources,
    headers: &HeaderMap,
    payload: &Payload,
    body: &[u8],
    event: &CloudEvent<'_>,
    budget: &mut CostBudget,
) -> Result<Identity, MalformedPayload> {
    let request = Request::new(headers, payload, body).with_event(event);
    let mut own = |value: &Value, sources: &Sources, own: &str| match &sources.explicit {
        Some(_) => value.find(sources, &request, budget),
        None => Ok(value.usable(own).ok().map(|own| (own, IdOrigin::Event))),
    };
    let (id, origin) = own(&ID, id, &event.id)?.unwrap_or_else(generated);
    let kind = own(&KIND, kind, &event.kind)?.map_or_else(|| UNKNOWN_TYPE.into(), |(kind, _)| kind);
    Ok(Identity { id, kind, origin })
}

/// An id of the event's own. The first 48 bits are the time, so ids are in order of receipt (RFC 9562, 5.7).
fn generated() -> (Box<str>, IdOrigin) {
    (uuid::Uuid::now_v7().to_string().into(), IdOrigin::Generated)
}
