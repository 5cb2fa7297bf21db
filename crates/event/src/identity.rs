//! The identity of an event: its type and its id.

use std::{borrow::Cow, collections::BTreeMap, sync::Arc};

use grapnel_expression::{self, Expression, Inputs};
pub use grapnel_payload::payload::{MalformedPayload, Payload};
use grapnel_payload::{
    cloudevents::{self, CloudEvent},
    event_data::{self, Content},
    headers::is_credential,
    json::Found,
};
use grapnel_signature::{Place, Provider};
use grapnel_values::cost_budget::CostBudget;
pub use grapnel_values::pointer::{JsonPointer, PointerError};
use http::{HeaderMap, HeaderName};
use parking_lot::Mutex;
use sha2::{Digest, Sha256};

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
}

/// A location in a request that a value is read from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A request header.
    Header(HeaderName),
    /// A location in the body, which must hold a non-empty string, an integer or a boolean.
    Pointer(JsonPointer),
    /// A constant for every event.
    Value(String),
    /// The result of an expression, which must be a non-empty string, an integer or a boolean.
    Expression(Arc<Expression>),
}

/// The sources of one value.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sources {
    /// The source configured for the endpoint. A request without its value is malformed.
    pub explicit: Option<Source>,
    /// The sources tried in order when none is configured.
    pub defaults: Arc<[Source]>,
    /// Headers hidden from expressions, in addition to the general credentials: those of the endpoint's own
    /// verification.
    pub hidden: Vec<HeaderName>,
}

/// Returns the default sources of the type: the provider's locations, then the CloudEvents header (HTTP protocol
/// binding 1.0, 3.1.3), then `/type` of the body.
pub fn kind_defaults(provider: Option<&Provider>) -> Arc<[Source]> {
    static SHARED: Shared = Mutex::new(BTreeMap::new());
    let generic = [Place::Header("ce-type"), Place::Pointer("/type")];
    shared(&SHARED, provider, || sources(provider.map(|provider| provider.kinds), &generic))
}

/// Returns the default sources of the id: the provider's locations, then the headers of CloudEvents and of Standard
/// Webhooks, then `/id` of the body.
pub fn id_defaults(provider: Option<&Provider>) -> Arc<[Source]> {
    static SHARED: Shared = Mutex::new(BTreeMap::new());
    let generic = [Place::Header("ce-id"), Place::Header("webhook-id"), Place::Pointer("/id")];
    shared(&SHARED, provider, || sources(provider.map(|provider| provider.ids), &generic))
}

/// Defaults by provider name, shared because thousands of endpoints have the same.
type Shared = Mutex<BTreeMap<&'static str, Arc<[Source]>>>;

fn shared(shared: &Shared, provider: Option<&Provider>, make: impl FnOnce() -> Vec<Source>) -> Arc<[Source]> {
    let name = provider.map_or("", |provider| provider.name.as_str());
    Arc::clone(shared.lock().entry(name).or_insert_with(|| make().into()))
}

/// Converts a location of the provider table to a source; `None` only if the table had an invalid header name.
fn source(place: &Place) -> Option<Source> {
    match place {
        Place::Header(name) => name.parse().ok().map(Source::Header),
        Place::Pointer(pointer) => JsonPointer::parse(pointer).ok().map(Source::Pointer),
    }
}

fn sources(provider: Option<&[Place]>, generic: &[Place]) -> Vec<Source> {
    let mut sources: Vec<Source> = Vec::new();
    for source in provider.unwrap_or_default().iter().chain(generic).filter_map(source) {
        if !sources.contains(&source) {
            sources.push(source);
        }
    }
    sources
}

/// Determines the type and id of a verified request.
///
/// The type defaults to [`UNKNOWN_TYPE`]. The id defaults to `sha256-` and the first 32 hexadecimal digits of the
/// body's SHA-256, so that the same bytes sent again are still a duplicate.
///
/// # Errors
///
/// [`MalformedPayload`] when a configured source yields nothing, or when a value is too long or has control characters.
pub fn identify(
    kind: &Sources,
    id: &Sources,
    headers: &HeaderMap,
    payload: &Payload,
    body: &[u8],
) -> Result<Identity, MalformedPayload> {
    let request = Request { headers, payload, body, event: None };
    let mut budget = CostBudget::default();
    let kind = KIND.find(kind, &request, &mut budget)?.unwrap_or_else(|| UNKNOWN_TYPE.into());
    let id = match ID.find(id, &request, &mut budget)? {
        Some(id) => id,
        None => digest(body),
    };
    Ok(Identity { id, kind })
}

/// Determines the type and id of a CloudEvent whose attributes are in the body: its own attributes, unless the endpoint
/// configures other sources. Pointers refer to the body; expressions see its data and take their steps from the
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
    event: &CloudEvent<'_>,
    budget: &mut CostBudget,
) -> Result<Identity, MalformedPayload> {
    let request = Request { headers, payload, body: b"", event: Some(event) };
    let mut own = |value: &Value, sources: &Sources, own: &str| match &sources.explicit {
        Some(_) => value.find(sources, &request, budget).map(|found| found.unwrap_or_else(|| own.into())),
        None => value.usable(own, || "the CloudEvent's".into()),
    };
    Ok(Identity { id: own(&ID, id, &event.id)?, kind: own(&KIND, kind, &event.kind)? })
}

/// The inputs of sources.
struct Request<'a> {
    headers: &'a HeaderMap,
    payload: &'a Payload,
    body: &'a [u8],
    /// The CloudEvent in the body.
    event: Option<&'a CloudEvent<'a>>,
}

impl<'a> Request<'a> {
    fn inputs(&self, expression: &Expression, hidden: &[HeaderName]) -> Inputs<'a> {
        let mut inputs = Inputs::default();
        if expression.uses_headers() {
            let visible = self.headers.iter().filter(|(name, _)| !is_credential(name) && !hidden.contains(name));
            inputs.headers =
                event_data::expression_headers(visible.map(|(name, value)| (name.as_str(), value.as_bytes())));
            if let Some(event) = self.event {
                event_data::add_attributes(&mut inputs, event);
            }
        }
        if expression.uses_payload() {
            inputs.payload = match (self.event, self.payload.value()) {
                (Some(event), _) => event.content.clone().payload(),
                (None, Some(value)) => grapnel_expression::Payload::Json(Cow::Borrowed(value)),
                (None, None) => Content::of(Some("application/octet-stream"), self.body).payload(),
            };
        }
        inputs
    }
}

fn digest(body: &[u8]) -> Box<str> {
    let digest = Sha256::digest(body);
    let half = digest.split_at_checked(16).map_or(&*digest, |(half, _)| half);
    format!("sha256-{}", hex::encode(half)).into()
}

struct Value {
    name: &'static str,
    max: usize,
}

const KIND: Value = Value { name: "event.type", max: EVENT_TYPE_BYTES };
const ID: Value = Value { name: "event.id", max: EVENT_ID_BYTES };

impl Value {
    fn find(
        &self,
        sources: &Sources,
        request: &Request<'_>,
        budget: &mut CostBudget,
    ) -> Result<Option<Box<str>>, MalformedPayload> {
        if let Some(explicit) = &sources.explicit {
            return match self.look(explicit, &sources.hidden, request, budget)? {
                Ok(value) => Ok(Some(value)),
                Err(why) => Err(self.malformed(&why)),
            };
        }
        for source in &*sources.defaults {
            if let Ok(value) = self.look(source, &sources.hidden, request, budget)? {
                return Ok(Some(value));
            }
        }
        Ok(None)
    }

    /// Returns the value, or why there is none. The outer error means that a value is unusable but must not be skipped
    /// either: another source would give the event an identity that its sender did not intend.
    fn look(
        &self,
        source: &Source,
        hidden: &[HeaderName],
        request: &Request<'_>,
        budget: &mut CostBudget,
    ) -> Result<Result<Box<str>, String>, MalformedPayload> {
        match source {
            Source::Value(value) if value.is_empty() => Ok(Err("its fixed value is empty".into())),
            Source::Value(value) => self.usable(value, || "its value".into()).map(Ok),
            Source::Expression(expression) => {
                match expression.text_within(&request.inputs(expression, hidden), budget) {
                    Err(error) => Ok(Err(format!("its expression fails: {error}"))),
                    Ok(value) if value.is_empty() => Ok(Err("its expression returns an empty string".into())),
                    Ok(value) => self.usable(&value, || "what its expression gives".into()).map(Ok),
                }
            }
            Source::Header(name) => {
                match request.headers.get(name).map(|value| std::str::from_utf8(value.as_bytes())) {
                    None => Ok(Err(format!("header {name} is missing"))),
                    Some(Ok("")) => Ok(Err(format!("header {name} is empty"))),
                    Some(Ok(value)) if name.as_str().starts_with("ce-") => {
                        self.usable(&cloudevents::decode(value.as_bytes()), || format!("header {name}")).map(Ok)
                    }
                    Some(Ok(value)) => self.usable(value, || format!("header {name}")).map(Ok),
                    Some(Err(_)) => Err(self.malformed(&format!("header {name} is not UTF-8"))),
                }
            }
            Source::Pointer(pointer) => match request.payload.find(pointer) {
                None => Ok(Err(format!("it is read from {pointer}, but the body is neither JSON nor a form"))),
                Some(Found::Nothing) => Ok(Err(format!("the body has no {pointer}"))),
                Some(Found::Unusable) => {
                    Ok(Err(format!("{pointer} of the body is not a string with text, an integer or a boolean")))
                }
                Some(Found::Text(value)) => self.usable(&value, || format!("{pointer} of the body")).map(Ok),
            },
        }
    }

    fn usable(&self, value: &str, place: impl Fn() -> String) -> Result<Box<str>, MalformedPayload> {
        if value.len() > self.max {
            let (length, max) = (value.len(), self.max);
            return Err(self.malformed(&format!("{} has {length} bytes, at most {max} are allowed", place())));
        }
        if value.chars().any(char::is_control) {
            return Err(self.malformed(&format!("{} has control characters", place())));
        }
        Ok(value.into())
    }

    fn malformed(&self, why: &str) -> MalformedPayload {
        MalformedPayload::new(format!("{}: {why}", self.name))
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use grapnel_signature as signature;
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn request(headers: &[(&'static str, &'static str)], body: &'static str) -> (HeaderMap, Payload, &'static [u8]) {
        let headers = headers
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
            .collect();
        (headers, Payload::parse(None, &Bytes::from(body)).unwrap(), body.as_bytes())
    }

    #[test]
    fn every_place_of_the_table_is_a_source() {
        for provider in signature::PROVIDERS {
            for place in provider.kinds.iter().chain(provider.ids) {
                assert!(source(place).is_some(), "{}: {place:?}", provider.name);
            }
        }
    }

    fn named(kind: Source, id: Source) -> (Sources, Sources) {
        (
            Sources { explicit: Some(kind), defaults: Arc::default(), hidden: vec![] },
            Sources { explicit: Some(id), defaults: Arc::default(), hidden: vec![] },
        )
    }

    fn of(provider: Option<&str>, headers: &[(&'static str, &'static str)], body: &'static str) -> (String, String) {
        let provider = provider.map(|name| signature::provider(name).unwrap());
        let (kind, id) = (
            Sources { explicit: None, defaults: kind_defaults(provider), hidden: vec![] },
            Sources { explicit: None, defaults: id_defaults(provider), hidden: vec![] },
        );
        let (headers, payload, body) = request(headers, body);
        let identity = identify(&kind, &id, &headers, &payload, body).unwrap();
        (identity.kind.into(), identity.id.into())
    }

    fn pair(kind: &str, id: &str) -> (String, String) {
        (kind.into(), id.into())
    }

    #[test]
    fn defaults_in_order() {
        assert_eq!(of(None, &[], r#"{"type":"t","id":7}"#), pair("t", "7"));
        assert_eq!(of(None, &[("webhook-id", "w")], r#"{"type":"t","id":7}"#), pair("t", "w"));
        let cloud = [("ce-type", "c"), ("ce-id", "1"), ("webhook-id", "w")];
        assert_eq!(of(None, &cloud, r#"{"type":"t","id":7}"#), pair("c", "1"));
        assert_eq!(of(None, &[("ce-type", ""), ("ce-id", "")], r#"{"type":"t","id":true}"#), pair("t", "true"));
    }

    #[test]
    fn provider_places_come_first() {
        let github = [("x-github-event", "push"), ("x-github-delivery", "d"), ("ce-type", "x")];
        assert_eq!(of(Some("GitHub"), &github, r#"{"type":"t","id":7}"#), pair("push", "d"));
        assert_eq!(
            of(Some("Stripe"), &[("ce-id", "x")], r#"{"id":"evt_1","type":"invoice.paid"}"#),
            pair("invoice.paid", "evt_1")
        );
        let slack = r#"{"type":"event_callback","event_id":"Ev1","event":{"type":"message"}}"#;
        assert_eq!(of(Some("Slack"), &[], slack), pair("message", "Ev1"));
        assert_eq!(of(Some("Slack"), &[], r#"{"type":"url_verification","id":"x"}"#), pair("url_verification", "x"));
        assert_eq!(
            of(Some("StandardWebhooks"), &[("webhook-id", "w"), ("ce-id", "x")], r#"{"type":"t"}"#),
            pair("t", "w")
        );
    }

    #[test]
    fn without_any_the_type_is_unknown_and_the_id_is_of_the_bytes() {
        // SHA-256 of `{}` by sha256sum: 44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a.
        assert_eq!(of(None, &[], "{}"), pair("unknown", "sha256-44136fa355b3678a1146ad16f7e8649e"));
        for unusable in [r#"{"type":null,"id":[]}"#, r#"{"type":1.5,"id":{}}"#, r#"{"type":"","id":""}"#, "[]", "3"] {
            let (kind, id) = of(None, &[], unusable);
            assert_eq!(kind, "unknown", "{unusable}");
            assert!(id.starts_with("sha256-") && id.len() == 39, "{unusable}: {id}");
        }
    }

    #[test]
    fn explicit_sources_must_be_there() {
        let header = |name| Source::Header(HeaderName::from_static(name));
        let pointer = |text| Source::Pointer(JsonPointer::parse(text).unwrap());
        let fixed = || Source::Value("fixed".into());
        let found = |kind, id, headers: &[_], body| {
            let (kind, id) = named(kind, id);
            let (headers, payload, body) = request(headers, body);
            identify(&kind, &id, &headers, &payload, body).map_err(|error| error.to_string())
        };
        let identity = found(fixed(), pointer("/a/0"), &[], r#"{"a":["x"]}"#).unwrap();
        assert_eq!((&*identity.kind, &*identity.id), ("fixed", "x"));
        assert_eq!(found(fixed(), header("x-foo"), &[], "{}").unwrap_err(), "event.id: header x-foo is missing");
        assert_eq!(
            found(header("x-foo"), fixed(), &[("x-foo", "")], "{}").unwrap_err(),
            "event.type: header x-foo is empty"
        );
        assert_eq!(found(pointer("/a"), fixed(), &[], "{}").unwrap_err(), "event.type: the body has no /a");
        assert!(found(pointer("/a"), fixed(), &[], r#"{"a":null}"#).unwrap_err().contains("not a string"));
    }

    #[test]
    fn expressions_see_no_credentials() {
        let headers = [("authorization", "Bearer x"), ("x-gitlab-token", "secret"), ("x-shop", "7")];
        let (headers, payload, body) = request(&headers, "{}");
        let id = |hidden: Vec<HeaderName>| {
            let source = "(['authorization', 'x-gitlab-token', 'x-shop'].filter(h, h in headers)).join('+')";
            let source =
                Expression::compile(source, grapnel_expression::Scope::Request, grapnel_expression::ExpectedType::Text)
                    .unwrap();
            let id = Sources { explicit: Some(Source::Expression(Arc::new(source))), defaults: Arc::default(), hidden };
            identify(&Sources::default(), &id, &headers, &payload, body).unwrap().id
        };
        assert_eq!(&*id(vec![]), "x-gitlab-token+x-shop");
        assert_eq!(&*id(vec![HeaderName::from_static("x-gitlab-token")]), "x-shop");
    }

    #[test]
    fn unfit_values_are_not_passed_over() {
        let (kind, id) = (
            Sources { explicit: None, defaults: kind_defaults(None), hidden: vec![] },
            Sources { explicit: None, defaults: id_defaults(None), hidden: vec![] },
        );
        for (body, sentence) in [
            (format!(r#"{{"id":"{}"}}"#, "x".repeat(257)), "event.id: /id of the body has 257 bytes"),
            (format!(r#"{{"type":"{}"}}"#, "x".repeat(129)), "event.type: /type of the body has 129 bytes"),
            (r#"{"id":"a\nb"}"#.into(), "event.id: /id of the body has control characters"),
            (r#"{"type":"a\u0000"}"#.into(), "event.type: /type of the body has control characters"),
        ] {
            let payload = Payload::parse(None, &Bytes::from(body.clone())).unwrap();
            let error = identify(&kind, &id, &HeaderMap::new(), &payload, body.as_bytes()).unwrap_err();
            assert!(error.sentence.contains(sentence), "{error}");
        }
        let mut headers = HeaderMap::new();
        headers.insert("ce-id", HeaderValue::from_bytes(b"\xff").unwrap());
        let (_, payload, body) = request(&[], "{}");
        assert!(identify(&kind, &id, &headers, &payload, body).unwrap_err().sentence.contains("not UTF-8"));
        let exactly = format!(r#"{{"id":"{}"}}"#, "x".repeat(256));
        let payload = Payload::parse(None, &Bytes::from(exactly.clone())).unwrap();
        assert!(identify(&kind, &id, &HeaderMap::new(), &payload, exactly.as_bytes()).is_ok());
    }

    #[test]
    fn opaque_bodies_have_headers_only() {
        let payload = Payload::parse(Some("text/plain"), &Bytes::from("{}")).unwrap();
        let (kind, id) = named(Source::Value("t".into()), Source::Pointer(JsonPointer::parse("/id").unwrap()));
        let error = identify(&kind, &id, &HeaderMap::new(), &payload, b"{}").unwrap_err();
        assert_eq!(error.sentence, "event.id: it is read from /id, but the body is neither JSON nor a form");
    }

    proptest! {
        #[test]
        fn never_panics_and_keeps_the_bounds(
            body in prop_oneof![
                proptest::collection::vec(any::<u8>(), 0..100),
                r#"\{"(id|type)":("[a-z\\n]{0,9}"|[0-9]{1,30}|null|\[\]|true),"(id|type)":"[ -~]{0,300}"\}"#
                    .prop_map(String::into_bytes),
            ],
            header in proptest::collection::vec(prop_oneof![32u8..=126, 128u8..=255], 0..300),
            content_type in proptest::option::of("application/json|text/plain|application/x-www-form-urlencoded"),
        ) {
            let Ok(payload) = Payload::parse(content_type.as_deref(), &Bytes::from(body.clone())) else { return Ok(()) };
            let mut headers = HeaderMap::new();
            headers.insert("ce-id", HeaderValue::from_bytes(&header).unwrap());
            let kind = Sources { explicit: None, defaults: kind_defaults(None), hidden: vec![] };
            let id = Sources { explicit: None, defaults: id_defaults(None), hidden: vec![] };
            if let Ok(identity) = identify(&kind, &id, &headers, &payload, &body) {
                prop_assert!((1..=EVENT_ID_BYTES).contains(&identity.id.len()));
                prop_assert!((1..=EVENT_TYPE_BYTES).contains(&identity.kind.len()));
                prop_assert!(!identity.id.chars().chain(identity.kind.chars()).any(char::is_control));
            }
        }
    }
}
