//! Finds the type and the id in a request.

use std::cell::OnceCell;

use grapnel_expression::{Expression, Inputs, PayloadInput};
use grapnel_payload::{
    cloudevents::{self, CloudEvent},
    expression_inputs::{add_attributes, expression_headers},
    headers::is_credential,
    json::FoundValue,
    malformed::MalformedPayload,
    payload::Payload,
};
use grapnel_values::cost_budget::CostBudget;
use http::{HeaderMap, HeaderName};
use sha2::{Digest, Sha256};

use super::source::{IdOrigin, Source, Sources};
use crate::limits::{EVENT_ID_BYTES, EVENT_TYPE_BYTES};

/// What sources read.
pub(super) struct Request<'a> {
    headers: &'a HeaderMap,
    payload: &'a Payload,
    body: &'a [u8],
    /// The CloudEvent in the body.
    event: Option<EventInBody<'a>>,
}

/// A CloudEvent in the JSON format.
struct EventInBody<'a> {
    event: &'a CloudEvent<'a>,
    /// The payload of its data, if an expression has needed it.
    payload: OnceCell<Payload>,
}

impl<'a> Request<'a> {
    /// A request that is one event.
    pub(super) fn new(headers: &'a HeaderMap, payload: &'a Payload, body: &'a [u8]) -> Self {
        Self { headers, payload, body, event: None }
    }

    /// The same request, with the CloudEvent in its body.
    pub(super) fn with_event(self, event: &'a CloudEvent<'a>) -> Self {
        Self { event: Some(EventInBody { event, payload: OnceCell::new() }), ..self }
    }

    fn inputs(&self, expression: &Expression, hidden: &[HeaderName]) -> Inputs<'_> {
        let mut inputs = Inputs::default();
        if expression.uses_headers() {
            let visible = self.headers.iter().filter(|(name, _)| !is_credential(name) && !hidden.contains(name));
            inputs.headers = expression_headers(visible.map(|(name, value)| (name.as_str(), value.as_bytes())));
            if let Some(in_body) = &self.event {
                add_attributes(&mut inputs, in_body.event);
            }
        }
        if expression.uses_payload() {
            inputs.payload = match &self.event {
                Some(in_body) => in_body.payload(),
                None => self.payload.input(self.body),
            };
        }
        inputs
    }
}

impl EventInBody<'_> {
    fn payload(&self) -> PayloadInput<'_> {
        let content = &self.event.content;
        let payload = self.payload.get_or_init(|| Payload::of(content));
        payload.input(content.data.bytes())
    }
}

/// A value of an event that is found in a request.
pub(super) struct Value {
    name: &'static str,
    max: usize,
}

/// The type.
pub(super) const KIND: Value = Value { name: "event.type", max: EVENT_TYPE_BYTES };
/// The id.
pub(super) const ID: Value = Value { name: "event.id", max: EVENT_ID_BYTES };

impl Value {
    /// Finds the value and its origin; `None` if no source has one.
    ///
    /// # Errors
    ///
    /// [`MalformedPayload`] if the declared source has no usable value.
    pub(super) fn find(
        &self,
        sources: &Sources,
        request: &Request<'_>,
        budget: &mut CostBudget,
    ) -> Result<Option<(Box<str>, IdOrigin)>, MalformedPayload> {
        let mut look = |source| self.look(source, &sources.hidden, request, budget);
        if let Some(explicit) = &sources.explicit {
            return match look(explicit) {
                Ok(value) => Ok(Some((value, IdOrigin::Declared))),
                Err(why) => Err(MalformedPayload::new(format!("{}: {why}", self.name))),
            };
        }
        let mut defaults = sources.defaults.iter().enumerate();
        Ok(defaults.find_map(|(index, source)| Some((look(source).ok()?, IdOrigin::Default(index)))))
    }

    /// Returns the value, or why there is none that can be used.
    fn look(
        &self,
        source: &Source,
        hidden: &[HeaderName],
        request: &Request<'_>,
        budget: &mut CostBudget,
    ) -> Result<Box<str>, String> {
        match source {
            Source::Value(value) if value.is_empty() => Err("its fixed value is empty".into()),
            Source::Value(value) => self.usable(value).map_err(|why| format!("its value {why}")),
            Source::Digest => Ok(digest(request.body).into()),
            Source::Expression(expression) => {
                match expression.text_within(&request.inputs(expression, hidden), budget) {
                    Err(error) => Err(format!("its expression fails: {error}")),
                    Ok(value) if value.is_empty() => Err("its expression returns an empty string".into()),
                    Ok(value) => self.usable(&value).map_err(|why| format!("what its expression gives {why}")),
                }
            }
            Source::Header(name) => self.header(name, request.headers).map_err(|why| format!("header {name} {why}")),
            Source::Pointer(pointer) => match request.payload.find(pointer) {
                None => Err(format!("it is read from {pointer}, but the body is neither JSON nor a form")),
                Some(FoundValue::Nothing) => Err(match request.payload.flaw() {
                    Some(flaw) => format!("the body has no {pointer} that can be read: {flaw}"),
                    None => format!("the body has no {pointer}"),
                }),
                Some(FoundValue::Unusable) => {
                    Err(format!("{pointer} of the body is not a string with text, an integer or a boolean"))
                }
                Some(FoundValue::Text(value)) => {
                    self.usable(&value).map_err(|why| format!("{pointer} of the body {why}"))
                }
            },
        }
    }

    fn header(&self, name: &HeaderName, headers: &HeaderMap) -> Result<Box<str>, String> {
        let value = headers.get(name).ok_or("is missing")?.as_bytes();
        let value = std::str::from_utf8(value).map_err(|_| "is not UTF-8")?;
        match value {
            "" => Err("is empty".into()),
            value if name.as_str().starts_with("ce-") => self.usable(&cloudevents::decode(value.as_bytes())),
            value => self.usable(value),
        }
    }

    /// Returns a value that can be used, or why it cannot.
    pub(super) fn usable(&self, value: &str) -> Result<Box<str>, String> {
        if value.len() > self.max {
            return Err(format!("has {} bytes, at most {} are allowed", value.len(), self.max));
        }
        if value.is_empty() {
            return Err("is empty".into());
        }
        if value.chars().any(char::is_control) {
            return Err("has control characters".into());
        }
        Ok(value.into())
    }
}

fn digest(body: &[u8]) -> String {
    let digest = Sha256::digest(body);
    let half = digest.split_at_checked(16).map_or(&*digest, |(half, _)| half);
    format!("sha256-{}", hex::encode(half))
}
