//! A stored event as expressions see it, and as a CloudEvent.

use std::borrow::Cow;

use grapnel_api::ObjectKey;
use grapnel_expression::{Event, Expression, Inputs};
use grapnel_journal::StoredEvent;
use grapnel_payload::{
    cloudevents::{Attribute, CloudEvent},
    event_data::{Content, Data, add_attributes, expression_headers},
    reading::Reading,
};

/// The inputs of an expression for an event of an endpoint. Only what the expression uses is parsed.
pub(super) fn inputs<'a>(
    expression: &Expression,
    reading: &Reading,
    event: &'a StoredEvent,
    endpoint: &'a ObjectKey,
) -> Inputs<'a> {
    let mut inputs = Inputs {
        event: Some(Event {
            id: &event.id,
            kind: &event.kind,
            time: event.received,
            endpoint: &endpoint.name,
            namespace: &endpoint.namespace,
        }),
        ..Inputs::default()
    };
    if expression.uses_headers() {
        inputs.headers = expression_headers(event.headers.iter().map(|(name, value)| (&**name, &**value)));
        if CloudEvent::is_structured(event.content_type.as_deref())
            && let Ok(cloud_event) = CloudEvent::structured(&event.body)
        {
            add_attributes(&mut inputs, &cloud_event);
        }
    }
    if expression.uses_payload() {
        inputs.payload = Content::read(reading, event.content_type.as_deref(), &event.body).payload();
    }
    inputs
}

/// The payload of an event as its endpoint declares how bodies are read, or the JSON made from it.
pub(super) fn payload<'a>(reading: &Reading, event: &'a StoredEvent, made: Option<&'a [u8]>) -> Content<'a> {
    match made {
        Some(_) => content(event, made),
        None => Content::read(reading, event.content_type.as_deref(), &event.body),
    }
}

/// The content of an event as received, or the JSON made from it.
fn content<'a>(event: &'a StoredEvent, made: Option<&'a [u8]>) -> Content<'a> {
    const JSON: &str = "application/json";
    match made {
        Some(made) => Content { content_type: Some(Cow::Borrowed(JSON)), data: Data::of(Some(JSON), made) },
        None => Content::of(event.content_type.as_deref(), &event.body),
    }
}

/// The CloudEvent that was received, with all its attributes, or one made from another event: its `source` is
/// `/{namespace}/{endpoint}`, its `time` the time of receipt.
pub(super) fn cloud_event<'a>(event: &'a StoredEvent, endpoint: &ObjectKey, made: Option<&'a [u8]>) -> CloudEvent<'a> {
    let content_type = event.content_type.as_deref();
    let headers = || event.headers.iter().map(|(name, value)| (&**name, &**value));
    let came = if CloudEvent::is_structured(content_type) {
        CloudEvent::structured(&event.body).ok()
    } else if CloudEvent::is_binary(headers().map(|(name, _)| name)) {
        CloudEvent::binary(headers(), content_type, &event.body).ok()
    } else {
        None
    };
    let mut cloud_event = came.unwrap_or_else(|| CloudEvent {
        id: Cow::Borrowed(&event.id),
        source: Cow::Owned(format!("/{}/{}", endpoint.namespace, endpoint.name)),
        kind: Cow::Borrowed(&event.kind),
        others: vec![(Cow::Borrowed("time"), Attribute::Text(Cow::Owned(event.received.to_string())))],
        content: match event.body.is_empty() {
            true => Content { content_type: None, data: Data::Nothing },
            false => content(event, None),
        },
    });
    if made.is_some() {
        cloud_event.content = content(event, made);
        // It described the data that the transformation replaced.
        cloud_event.others.retain(|(name, _)| name != "dataschema");
    }
    cloud_event
}
