//! CloudEvents 1.0 (<https://github.com/cloudevents/spec>): the JSON format, with its batches, and the HTTP protocol
//! binding.
//!
//! In *binary* mode the attributes of an event are headers (`ce-id`, `ce-type`, …) and its data is the body; in
//! *structured* mode the body is a JSON object of both; a *batch* is a JSON array of such objects.
//!
//! ```
//! use grapnel_payload::cloudevents::CloudEvent;
//!
//! let body = br#"{"specversion":"1.0","id":"1","source":"/shop","type":"order.created","data":{"total":3}}"#;
//! let event = CloudEvent::structured(body).unwrap();
//! assert_eq!((&*event.id, &*event.kind), ("1", "order.created"));
//! assert_eq!(&*event.body(), br#"{"total":3}"#);
//! ```

mod batch;
mod binary;
mod structured;
#[cfg(test)]
mod tests;

use std::borrow::Cow;

pub use self::{
    batch::batch,
    binary::{decode, encode},
};
use super::{
    event_data::{Content, Data},
    limits::CLOUDEVENTS_EXTENSIONS,
    malformed::MalformedPayload,
};

/// Content type of an event in the JSON format.
pub const STRUCTURED: &str = "application/cloudevents+json";

/// Content type of a batch of events.
pub const BATCH: &str = "application/cloudevents-batch+json";

/// The supported version of the specification.
const SPEC_VERSION: &str = "1.0";

/// A CloudEvent.
#[derive(Debug, Clone)]
pub struct CloudEvent<'a> {
    /// `id`.
    pub id: Cow<'a, str>,
    /// `source`.
    pub source: Cow<'a, str>,
    /// `type`.
    pub kind: Cow<'a, str>,
    /// `time`, `subject`, `dataschema` and extension attributes, in the order of their appearance.
    pub others: Vec<(Cow<'a, str>, Attribute<'a>)>,
    /// The data, with `datacontenttype`.
    pub content: Content<'a>,
}

/// The value of an attribute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Attribute<'a> {
    /// A string, or a type that is represented as one.
    Text(Cow<'a, str>),
    /// A boolean, in the JSON format.
    Bool(bool),
    /// An integer, in the JSON format.
    Integer(i64),
}

impl Attribute<'_> {
    /// Returns the value as a string (CloudEvents 1.0, "Type System").
    pub fn to_text(&self) -> Cow<'_, str> {
        match self {
            Self::Text(text) => Cow::Borrowed(text),
            Self::Bool(flag) => Cow::Borrowed(if *flag { "true" } else { "false" }),
            Self::Integer(number) => Cow::Owned(number.to_string()),
        }
    }
}

impl<'a> CloudEvent<'a> {
    /// Returns whether a body of this content type is an event in the JSON format.
    pub fn is_structured(content_type: Option<&str>) -> bool {
        is(content_type, STRUCTURED)
    }

    /// Returns whether a body of this content type is a batch.
    pub fn is_batch(content_type: Option<&str>) -> bool {
        is(content_type, BATCH)
    }

    /// Iterates over the attributes and their names, except `datacontenttype`.
    pub fn attributes(&self) -> impl Iterator<Item = (&str, Cow<'_, str>)> {
        let required =
            [("specversion", SPEC_VERSION), ("id", &*self.id), ("source", &*self.source), ("type", &*self.kind)];
        let required = required.into_iter().map(|(name, value)| (name, Cow::Borrowed(value)));
        required.chain(self.others.iter().map(|(name, value)| (&**name, value.to_text())))
    }
}

fn is(content_type: Option<&str>, wanted: &str) -> bool {
    let essence = content_type.unwrap_or_default();
    let essence = essence.split_once(';').map_or(essence, |(essence, _)| essence).trim();
    essence.eq_ignore_ascii_case(wanted)
}

/// Attributes read so far, from either mode.
#[derive(Default)]
struct PartialAttributes<'a> {
    spec_version: Option<Cow<'a, str>>,
    id: Option<Cow<'a, str>>,
    source: Option<Cow<'a, str>>,
    kind: Option<Cow<'a, str>>,
    content_type: Option<Cow<'a, str>>,
    others: Vec<(Cow<'a, str>, Attribute<'a>)>,
}

impl<'a> PartialAttributes<'a> {
    fn add(&mut self, name: Cow<'a, str>, value: Attribute<'a>) -> Result<(), MalformedPayload> {
        let own = match &*name {
            "specversion" => Some(&mut self.spec_version),
            "id" => Some(&mut self.id),
            "source" => Some(&mut self.source),
            "type" => Some(&mut self.kind),
            "datacontenttype" => Some(&mut self.content_type),
            _ => None,
        };
        if let Some(place) = own {
            let Attribute::Text(text) = value else {
                return Err(malformed(format!("its {name} is not a string")));
            };
            *place = Some(text);
            return Ok(());
        }
        if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            return Err(malformed("attribute names must consist of letters and digits"));
        }
        if name == "time" && value.to_text().parse::<jiff::Timestamp>().is_err() {
            return Err(malformed("time must be an RFC 3339 timestamp, such as 2026-03-01T12:00:00Z"));
        }
        // The last of equal names counts.
        self.others.retain(|(known, _)| *known != name);
        if self.others.len() == CLOUDEVENTS_EXTENSIONS {
            return Err(malformed(format!("it has more than the {CLOUDEVENTS_EXTENSIONS} attributes allowed")));
        }
        self.others.push((name, value));
        Ok(())
    }

    fn event(
        self,
        data: impl FnOnce(Option<&str>) -> Result<Data<'a>, MalformedPayload>,
    ) -> Result<CloudEvent<'a>, MalformedPayload> {
        match self.spec_version.as_deref() {
            Some(SPEC_VERSION) => {}
            Some(_) => return Err(malformed(format!("specversion must be {SPEC_VERSION}"))),
            None => return Err(malformed(format!("it has no specversion; the only supported one is {SPEC_VERSION}"))),
        }
        let required = |value: Option<Cow<'a, str>>, name: &str| match value {
            Some(value) if !value.is_empty() => Ok(value),
            _ => Err(malformed(format!("it has no {name}"))),
        };
        let data = data(self.content_type.as_deref())?;
        Ok(CloudEvent {
            id: required(self.id, "id")?,
            source: required(self.source, "source")?,
            kind: required(self.kind, "type")?,
            others: self.others,
            content: Content { content_type: self.content_type, data },
        })
    }
}

fn malformed(why: impl std::fmt::Display) -> MalformedPayload {
    MalformedPayload::new(format!("invalid CloudEvent: {why}"))
}
