//! A claimed event as expressions and formats see it.
//!
//! Filter, transformation and format look into the same event. Each part of its body is parsed when the first of them
//! needs it, and not again, on the whole way from the claim to the request. What is parsed is several times as large as
//! the body, and many claimed events may wait: [`DecodedEvent::keep_within`] bounds it, at the price of another parse.

mod size;
#[cfg(test)]
mod tests;

use std::{
    borrow::Cow,
    sync::{Arc, OnceLock},
};

use bytes::Bytes;
use grapnel_api::ObjectKey;
use grapnel_expression::{EventInput, Expression, Inputs};
use grapnel_journal::StoredEvent;
use grapnel_payload::{
    cloudevents::{Attribute, CloudEvent},
    event_data::{Content, Data, SharedData},
    expression_inputs::{add_attributes, expression_headers},
    payload::Payload,
    reading::{BodyKind, Reading},
};

const JSON: &str = "application/json";

/// A stored event and what has been parsed of it.
pub(super) struct DecodedEvent {
    event: Arc<StoredEvent>,
    /// How its endpoint reads bodies.
    reading: Reading,
    /// The CloudEvent in the body, if it is one in the JSON format.
    structured: OnceLock<Option<Box<StructuredEvent>>>,
    payload: OnceLock<Payload>,
    /// Estimated bytes of what has been parsed and is kept.
    kept: usize,
    #[cfg(test)]
    parses: std::sync::atomic::AtomicUsize,
}

/// A CloudEvent in the JSON format.
struct StructuredEvent {
    /// Its attributes. The data is nothing.
    attributes: CloudEvent<'static>,
    data: SharedData,
}

impl DecodedEvent {
    /// An event of which nothing has been parsed.
    pub(super) fn new(event: Arc<StoredEvent>, reading: Reading) -> Self {
        // This content type says more than an endpoint can.
        let structured = CloudEvent::is_structured(event.content_type.as_deref());
        let reading = if structured { Reading::default() } else { reading };
        Self {
            event,
            reading,
            structured: OnceLock::new(),
            payload: OnceLock::new(),
            kept: 0,
            #[cfg(test)]
            parses: std::sync::atomic::AtomicUsize::new(0),
        }
    }

    #[cfg(test)]
    fn count_parse(&self) {
        self.parses.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    }

    pub(super) fn event(&self) -> &StoredEvent {
        &self.event
    }

    /// The same event, of which nothing has been parsed.
    pub(super) fn afresh(&self) -> Self {
        Self::new(Arc::clone(&self.event), self.reading.clone())
    }

    /// Keeps what has been parsed if it is not larger than `budget` bytes, by an estimate; otherwise it is parsed again
    /// when it is needed. Returns the bytes that are kept.
    pub(super) fn keep_within(&mut self, budget: usize) -> usize {
        self.kept = self.parsed_bytes();
        if self.kept > budget {
            (self.structured, self.payload) = (OnceLock::new(), OnceLock::new());
            self.kept = 0;
        }
        self.kept
    }

    /// What [`DecodedEvent::keep_within`] has returned, at first 0.
    pub(super) fn kept_bytes(&self) -> usize {
        self.kept
    }

    fn parsed_bytes(&self) -> usize {
        let tree = self.payload.get().and_then(Payload::parsed).map_or(0, size::of_tree);
        let structured = self
            .structured
            .get()
            .and_then(Option::as_deref)
            .map_or(0, |structured| structured.data.bytes().len() + size::of_attributes(&structured.attributes));
        tree + structured
    }

    /// The inputs of an expression for an event of an endpoint. Only what the expression uses is parsed.
    pub(super) fn inputs<'a>(&'a self, expression: &Expression, endpoint: &'a ObjectKey) -> Inputs<'a> {
        let event = &*self.event;
        let mut inputs = Inputs {
            event: Some(EventInput {
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
            if let Some(structured) = self.structured() {
                add_attributes(&mut inputs, &structured.attributes);
            }
        }
        if expression.uses_payload() {
            inputs.payload = self.payload().input(self.raw());
        }
        inputs
    }

    /// The content of the event. For a CloudEvent in the JSON format, this is its data.
    pub(super) fn content(&self) -> Content<'_> {
        if let Some(StructuredEvent { attributes, data }) = self.structured() {
            let content_type = attributes.content.content_type.as_deref().map(Cow::Borrowed);
            return Content { content_type, data: data.borrowed() };
        }
        let content_type = self.event.content_type.as_deref();
        let data = match BodyKind::of(content_type) {
            BodyKind::Json | BodyKind::Undeclared => self.json(),
            BodyKind::Form | BodyKind::Opaque => Data::plain(&self.event.body),
        };
        Content { content_type: content_type.map(Cow::Borrowed), data }
    }

    /// The payload in its original form, read as the endpoint declares.
    pub(super) fn data(&self) -> Data<'_> {
        match self.structured() {
            Some(StructuredEvent { data: data @ (SharedData::Nothing | SharedData::Json(_)), .. }) => data.borrowed(),
            None if self.is_json() => self.json(),
            _ => self.payload().data(self.raw()),
        }
    }

    /// Whether the endpoint reads the body as JSON.
    fn is_json(&self) -> bool {
        let kind = self.reading.kind(self.event.content_type.as_deref());
        matches!(kind, BodyKind::Json | BodyKind::Undeclared)
    }

    /// The body as JSON, without another look at it if it has been parsed.
    fn json(&self) -> Data<'_> {
        let parsed = self.payload.get().filter(|_| self.is_json());
        if let Some(Payload::Json(text)) = parsed
            && let Some(text) = text.strict()
        {
            return Data::Json(Cow::Borrowed(text));
        }
        #[cfg(test)]
        self.count_parse();
        Data::json(&self.event.body)
    }

    /// The CloudEvent that was received, with all its attributes, or one made from another event: its `source` is
    /// `/{namespace}/{endpoint}`, its `time` the time of receipt. `made` is the JSON that replaces its data.
    pub(super) fn cloud_event<'a>(&'a self, endpoint: &ObjectKey, made: Option<&'a str>) -> CloudEvent<'a> {
        let mut cloud_event = self.attributes(endpoint);
        if let Some(made) = made {
            cloud_event.content = made_content(made);
            // It described the data that the transformation replaced.
            cloud_event.others.retain(|(name, _)| name != "dataschema");
        } else if self.structured().is_some() || !self.event.body.is_empty() {
            cloud_event.content = self.content();
        }
        cloud_event
    }

    /// The attributes of the CloudEvent, without its data.
    fn attributes<'a>(&'a self, endpoint: &ObjectKey) -> CloudEvent<'a> {
        let event = &*self.event;
        let headers = || event.headers.iter().map(|(name, value)| (&**name, &**value));
        if let Some(structured) = self.structured() {
            return structured.attributes.clone();
        }
        if CloudEvent::is_binary(headers().map(|(name, _)| name))
            && let Ok(came) = CloudEvent::binary(headers(), event.content_type.as_deref(), b"")
        {
            return came;
        }
        CloudEvent {
            id: Cow::Borrowed(&event.id),
            source: Cow::Owned(format!("/{}/{}", endpoint.namespace, endpoint.name)),
            kind: Cow::Borrowed(&event.kind),
            others: vec![(Cow::Borrowed("time"), Attribute::Text(Cow::Owned(event.received.to_string())))],
            content: Content { content_type: None, data: Data::Nothing },
        }
    }

    /// What the payload is read from: the body, or the data of the CloudEvent in it.
    fn raw(&self) -> &[u8] {
        self.structured().map_or(&self.event.body, |structured| structured.data.bytes())
    }

    fn payload(&self) -> &Payload {
        let read = || {
            #[cfg(test)]
            self.count_parse();
            match self.structured() {
                Some(StructuredEvent { attributes, data }) => {
                    Payload::of_shared(attributes.content.content_type.as_deref(), data)
                }
                None => Payload::read_tree(&self.reading, self.event.content_type.as_deref(), &self.event.body),
            }
        };
        self.payload.get_or_init(read)
    }

    fn structured(&self) -> Option<&StructuredEvent> {
        if !CloudEvent::is_structured(self.event.content_type.as_deref()) {
            return None;
        }
        let read = || {
            #[cfg(test)]
            self.count_parse();
            StructuredEvent::read(&self.event.body).map(Box::new)
        };
        self.structured.get_or_init(read).as_deref()
    }
}

impl StructuredEvent {
    fn read(body: &Bytes) -> Option<Self> {
        let CloudEvent { id, source, kind, others, content } = CloudEvent::structured(body).ok()?;
        let owned = |text: Cow<'_, str>| Cow::Owned(text.into_owned());
        let others = others.into_iter().map(|(name, value)| {
            let value = match value {
                Attribute::Text(text) => Attribute::Text(owned(text)),
                Attribute::Bool(flag) => Attribute::Bool(flag),
                Attribute::Integer(number) => Attribute::Integer(number),
            };
            (owned(name), value)
        });
        let attributes = CloudEvent {
            id: owned(id),
            source: owned(source),
            kind: owned(kind),
            others: others.collect(),
            content: Content { content_type: content.content_type.map(owned), data: Data::Nothing },
        };
        Some(Self { attributes, data: SharedData::of(content.data, body) })
    }
}

/// The content that a transformation has made.
pub(super) fn made_content(json: &str) -> Content<'_> {
    Content { content_type: Some(Cow::Borrowed(JSON)), data: Data::Json(Cow::Borrowed(json)) }
}
