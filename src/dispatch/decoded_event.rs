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
use grapnel_expression::{EventInput, Expression, Inputs, PayloadInput};
use grapnel_journal::StoredEvent;
use grapnel_payload::{
    cloudevents::{Attribute, CloudEvent},
    event_data::{Content, Data, add_attributes, expression_headers},
    lenient,
    reading::{BodyKind, Reading},
};
use serde_json::Value;

const JSON: &str = "application/json";

/// A stored event and what has been parsed of it.
pub(super) struct DecodedEvent {
    event: Arc<StoredEvent>,
    /// How its endpoint reads bodies.
    reading: Reading,
    /// The CloudEvent in the body, if it is one in the JSON format.
    structured: OnceLock<Option<Box<StructuredEvent>>>,
    tree: OnceLock<Tree>,
    /// Estimated bytes of what has been parsed and is kept.
    kept: usize,
    #[cfg(test)]
    parses: std::sync::atomic::AtomicUsize,
}

/// The data as a tree.
#[derive(Default)]
struct Tree {
    /// `None` if the data is neither JSON nor a form.
    value: Option<Value>,
    /// Whether the tree is the whole body, which is strict JSON.
    is_body: bool,
}

/// A CloudEvent in the JSON format.
struct StructuredEvent {
    /// Its attributes. The data is nothing.
    attributes: CloudEvent<'static>,
    data: OwnedData,
}

/// Data without a copy where it is a part of the body.
enum OwnedData {
    Nothing,
    Json(Bytes),
    Text(Bytes),
    Bytes(Bytes),
}

impl DecodedEvent {
    /// An event of which nothing has been parsed.
    pub(super) fn new(event: Arc<StoredEvent>, reading: Reading) -> Self {
        Self {
            event,
            reading,
            structured: OnceLock::new(),
            tree: OnceLock::new(),
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
            (self.structured, self.tree) = (OnceLock::new(), OnceLock::new());
            self.kept = 0;
        }
        self.kept
    }

    /// What [`DecodedEvent::keep_within`] has returned, at first 0.
    pub(super) fn kept_bytes(&self) -> usize {
        self.kept
    }

    fn parsed_bytes(&self) -> usize {
        let tree = self.tree.get().and_then(|tree| tree.value.as_ref()).map_or(0, size::of_tree);
        let structured = self.structured.get().and_then(Option::as_deref).map_or(0, |structured| {
            let data = match &structured.data {
                OwnedData::Nothing => 0,
                OwnedData::Json(bytes) | OwnedData::Text(bytes) | OwnedData::Bytes(bytes) => bytes.len(),
            };
            data + size::of_attributes(&structured.attributes)
        });
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
            inputs.payload = self.payload();
        }
        inputs
    }

    /// The content of the event. For a CloudEvent in the JSON format, this is its data.
    pub(super) fn content(&self) -> Content<'_> {
        let (content_type, body) = (self.event.content_type.as_deref(), &self.event.body);
        if let Some(structured) = self.structured() {
            let content_type = structured.attributes.content.content_type.as_deref().map(Cow::Borrowed);
            return Content { content_type, data: structured.data.borrowed() };
        }
        let data = match self.parsed_body() {
            Some(text) if is_json(content_type) => Data::Json(Cow::Borrowed(text)),
            _ => {
                #[cfg(test)]
                self.count_parse();
                Data::of(content_type, body)
            }
        };
        Content { content_type: content_type.map(Cow::Borrowed), data }
    }

    /// The content as the endpoint declares how bodies are read: what the event's payload is.
    pub(super) fn data(&self) -> Content<'_> {
        if self.structured().is_some() {
            return self.content();
        }
        match self.parsed_body() {
            Some(text) => made_content(text),
            None => {
                #[cfg(test)]
                self.count_parse();
                Content::read(&self.reading, self.event.content_type.as_deref(), &self.event.body)
            }
        }
    }

    /// The text of a body that has been parsed and is JSON.
    fn parsed_body(&self) -> Option<&str> {
        let is_body = self.tree.get().is_some_and(|tree| tree.is_body);
        let text = is_body.then(|| std::str::from_utf8(lenient::without_bom(&self.event.body)).ok()).flatten();
        text.map(trimmed)
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

    /// The data as expressions see it.
    fn payload(&self) -> PayloadInput<'_> {
        match self.tree() {
            Some(tree) => PayloadInput::Json(Cow::Borrowed(tree)),
            None => self.data().payload(),
        }
    }

    fn tree(&self) -> Option<&Value> {
        self.tree.get_or_init(|| self.parse_tree()).value.as_ref()
    }

    fn parse_tree(&self) -> Tree {
        let body = &self.event.body;
        let kind = self.reading.kind(self.event.content_type.as_deref());
        let strict: Option<&[u8]> = match self.structured().map(|structured| &structured.data) {
            Some(OwnedData::Json(text)) => Some(text),
            None if matches!(kind, BodyKind::Json | BodyKind::Undeclared) => Some(lenient::without_bom(body)),
            _ => None,
        };
        #[cfg(test)]
        self.count_parse();
        if let Some(value) = strict.and_then(|text| serde_json::from_slice(text).ok()) {
            return Tree { value: Some(value), is_body: self.structured().is_none() };
        }
        let read = match self.structured() {
            Some(_) => self.content(),
            None => Content::read(&self.reading, self.event.content_type.as_deref(), body),
        };
        match read.payload() {
            PayloadInput::Json(value) => Tree { value: Some(value.into_owned()), is_body: false },
            PayloadInput::Nothing | PayloadInput::Text(_) | PayloadInput::Bytes(_) => Tree::default(),
        }
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
        Some(Self { attributes, data: OwnedData::of(content.data, body) })
    }
}

impl OwnedData {
    fn of(data: Data<'_>, body: &Bytes) -> Self {
        let text = |text: Cow<'_, str>| match text {
            Cow::Borrowed(text) => body.slice_ref(text.as_bytes()),
            Cow::Owned(text) => Bytes::from(text),
        };
        match data {
            Data::Nothing => Self::Nothing,
            Data::Json(json) => Self::Json(text(json)),
            Data::Text(other) => Self::Text(text(other)),
            Data::Bytes(Cow::Borrowed(bytes)) => Self::Bytes(body.slice_ref(bytes)),
            Data::Bytes(Cow::Owned(bytes)) => Self::Bytes(Bytes::from(bytes)),
        }
    }

    fn borrowed(&self) -> Data<'_> {
        match self {
            Self::Nothing => Data::Nothing,
            Self::Json(json) => Data::Json(String::from_utf8_lossy(json)),
            Self::Text(text) => Data::Text(String::from_utf8_lossy(text)),
            Self::Bytes(bytes) => Data::Bytes(Cow::Borrowed(bytes)),
        }
    }
}

/// The content that a transformation has made.
pub(super) fn made_content(json: &str) -> Content<'_> {
    Content { content_type: Some(Cow::Borrowed(JSON)), data: Data::Json(Cow::Borrowed(json)) }
}

fn is_json(content_type: Option<&str>) -> bool {
    matches!(BodyKind::of(content_type), BodyKind::Json | BodyKind::Undeclared)
}

/// A JSON text without the blanks around it (RFC 8259, 2).
fn trimmed(text: &str) -> &str {
    text.trim_matches([' ', '\t', '\n', '\r'])
}
