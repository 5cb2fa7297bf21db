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

use std::{borrow::Cow, collections::BTreeMap, fmt, sync::Arc};

use grapnel_expression::{self, Expression, Inputs};
use grapnel_payload::{
    cloudevents::{self, CloudEvent},
    event_data::{self, Content},
    headers::is_credential,
    json::Found,
};
pub use grapnel_payload::{
    payload::{MalformedPayload, Payload},
    reading::{BodyFormat, Reading},
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
    /// Where the id comes from.
    pub origin: IdOrigin,
}

/// Where the id of an event comes from; [`Sources::describe`] says it in words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IdOrigin {
    /// The source that the endpoint declares.
    Declared,
    /// The default source with this index.
    Default(usize),
    /// The event itself: a CloudEvent, or an event that has been accepted before.
    Event,
    /// No source gives an id, so Grapnel generated one (UUIDv7). The event is never a duplicate.
    Generated,
}

impl Identity {
    /// Creates the identity of an event that states its own id.
    pub fn new(id: impl Into<Box<str>>, kind: impl Into<Box<str>>) -> Self {
        Self { id: id.into(), kind: kind.into(), origin: IdOrigin::Event }
    }
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
    /// The digest of the body: `sha256-` and the first 32 hexadecimal digits of its SHA-256, so that the same bytes
    /// have the same id.
    Digest,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Header(name) => write!(f, "header {name}"),
            Self::Pointer(pointer) => write!(f, "{pointer} of the body"),
            Self::Value(_) => f.write_str("a fixed value"),
            Self::Expression(_) => f.write_str("an expression"),
            Self::Digest => f.write_str("the digest of the body"),
        }
    }
}

/// The sources of one value.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sources {
    /// The source declared for the endpoint. A request without its value is malformed.
    pub explicit: Option<Source>,
    /// The sources tried in order when none is declared. One without a usable value is passed over.
    pub defaults: Arc<[Source]>,
    /// Headers hidden from expressions, in addition to the general credentials: those of the endpoint's own
    /// verification.
    pub hidden: Vec<HeaderName>,
}

impl Sources {
    /// Says where an id comes from.
    pub fn describe(&self, origin: IdOrigin) -> Cow<'static, str> {
        match self.source(origin) {
            Some(source) => source.to_string().into(),
            None if origin == IdOrigin::Event => "the event itself".into(),
            None => "generated".into(),
        }
    }

    /// Returns the source of a value with this origin, if it comes from one.
    fn source(&self, origin: IdOrigin) -> Option<&Source> {
        match origin {
            IdOrigin::Declared => self.explicit.as_ref(),
            IdOrigin::Default(index) => self.defaults.get(index),
            IdOrigin::Event | IdOrigin::Generated => None,
        }
    }

    /// Says where ids come from, in order of precedence.
    pub fn describe_ids(&self) -> String {
        if let Some(source) = &self.explicit {
            return source.to_string();
        }
        let mut described: String = self.defaults.iter().map(|source| format!("{source}, ")).collect();
        described.push_str("else generated");
        described
    }
}

/// Returns the default sources of the type: the provider's locations, then the CloudEvents header (HTTP protocol
/// binding 1.0, 3.1.3), then `/type` of the body.
pub fn kind_defaults(provider: Option<&Provider>) -> Arc<[Source]> {
    static SHARED: Shared = Mutex::new(BTreeMap::new());
    let generic = [Place::Header("ce-type"), Place::Pointer("/type")];
    shared(&SHARED, provider, || sources(provider.map(|provider| provider.kinds), &generic))
}

/// Returns the default sources of the id: the provider's locations, then the headers of CloudEvents and of Standard
/// Webhooks. The body's `/id` is not among them: it is often the id of a resource, which has several events.
pub fn id_defaults(provider: Option<&Provider>) -> Arc<[Source]> {
    static SHARED: Shared = Mutex::new(BTreeMap::new());
    let generic = [Place::Header("ce-id"), Place::Header("webhook-id")];
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
    let request = Request { headers, payload, body, event: None };
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
    let request = Request { headers, payload, body, event: None };
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
    let request = Request { headers, payload, body, event: Some(event) };
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

fn digest(body: &[u8]) -> String {
    let digest = Sha256::digest(body);
    let half = digest.split_at_checked(16).map_or(&*digest, |(half, _)| half);
    format!("sha256-{}", hex::encode(half))
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
                Some(Found::Nothing) => Err(match request.payload.flaw() {
                    Some(flaw) => format!("the body has no {pointer} that can be read: {flaw}"),
                    None => format!("the body has no {pointer}"),
                }),
                Some(Found::Unusable) => {
                    Err(format!("{pointer} of the body is not a string with text, an integer or a boolean"))
                }
                Some(Found::Text(value)) => self.usable(&value).map_err(|why| format!("{pointer} of the body {why}")),
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

    fn usable(&self, value: &str) -> Result<Box<str>, String> {
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
        (headers, Payload::read(&Reading::default(), None, &Bytes::from(body)), body.as_bytes())
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
        assert_eq!(of(None, &[("webhook-id", "w")], r#"{"type":"t","id":7}"#), pair("t", "w"));
        let cloud = [("ce-type", "c"), ("ce-id", "1"), ("webhook-id", "w")];
        assert_eq!(of(None, &cloud, r#"{"type":"t","id":7}"#), pair("c", "1"));
        assert_eq!(of(None, &[("ce-type", ""), ("ce-id", ""), ("webhook-id", "w")], r#"{"type":"t"}"#), pair("t", "w"));
    }

    /// Three updates of one order have one `/id`, and are three events.
    #[test]
    fn an_id_that_nobody_declared_is_never_taken_from_the_body() {
        let defaults = Sources { explicit: None, defaults: id_defaults(None), hidden: vec![] };
        let mut ids = Vec::new();
        for body in [r#"{"id":"order-1"}"#, r#"{"id":"order-1"}"#, r#"{"id":false}"#, "id=tr_1", "", "{}"] {
            let (headers, payload, bytes) = request(&[], body);
            let identity = identify(&Sources::default(), &defaults, &headers, &payload, bytes).unwrap();
            assert_eq!(identity.origin, IdOrigin::Generated, "{body}");
            assert_eq!(uuid::Uuid::parse_str(&identity.id).unwrap().get_version_num(), 7, "{body}");
            assert!(!ids.contains(&identity.id), "{body}");
            ids.push(identity.id);
        }
    }

    #[test]
    fn the_digest_is_of_the_bytes() {
        // SHA-256 of `{}` by sha256sum: 44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a.
        let digest = Sources { explicit: Some(Source::Digest), defaults: id_defaults(None), hidden: vec![] };
        let (headers, payload, body) = request(&[("webhook-id", "w")], "{}");
        let identity = identify(&Sources::default(), &digest, &headers, &payload, body).unwrap();
        assert_eq!(&*identity.id, "sha256-44136fa355b3678a1146ad16f7e8649e");
        assert_eq!(digest.describe(identity.origin), "the digest of the body");
    }

    #[test]
    fn the_origin_is_told_in_words() {
        let github = Sources { explicit: None, defaults: id_defaults(signature::provider("GitHub")), hidden: vec![] };
        assert_eq!(github.describe_ids(), "header x-github-delivery, header ce-id, header webhook-id, else generated");
        let (headers, payload, body) = request(&[("x-github-delivery", "d")], "{}");
        let identity = identify(&Sources::default(), &github, &headers, &payload, body).unwrap();
        assert_eq!(github.describe(identity.origin), "header x-github-delivery");
        assert_eq!(github.describe(IdOrigin::Generated), "generated");
        let pointer = Source::Pointer(JsonPointer::parse("/order/id").unwrap());
        let declared = Sources { explicit: Some(pointer), ..github };
        assert_eq!(declared.describe_ids(), "/order/id of the body");
    }

    #[test]
    fn origins_are_the_sources_that_identify_uses() {
        let sources = |defaults| Sources { explicit: None, defaults, hidden: vec![] };
        let (kind, id) = (sources(kind_defaults(None)), sources(id_defaults(None)));
        let origins = |headers: &[(&'static str, &'static str)], body| {
            let (headers, payload, body) = request(headers, body);
            let Origins { kind, id } = origins(&kind, &id, &headers, &payload, body);
            [kind, id].map(|source| source.map_or_else(String::new, |source| source.to_string()))
        };
        let both = r#"{"type":"t","id":7}"#;
        assert_eq!(origins(&[("webhook-id", "w")], both), ["/type of the body", "header webhook-id"]);
        assert_eq!(origins(&[("ce-type", "")], both), ["/type of the body", ""]);
        assert_eq!(origins(&[], "{}"), ["", ""]);
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
        assert_eq!(of(Some("Slack"), &[("ce-id", "x")], r#"{"type":"t","id":"y"}"#), pair("t", "x"));
        assert_eq!(
            of(Some("StandardWebhooks"), &[("webhook-id", "w"), ("ce-id", "x")], r#"{"type":"t"}"#),
            pair("t", "w")
        );
    }

    #[test]
    fn without_any_the_type_is_unknown() {
        for unusable in [r#"{"type":null}"#, r#"{"type":1.5}"#, r#"{"type":""}"#, "[]", "3", "", "hello"] {
            assert_eq!(of(None, &[("webhook-id", "w")], unusable), pair("unknown", "w"), "{unusable}");
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
    fn unusable_defaults_are_passed_over_and_unusable_declared_values_are_refused() {
        let long = "x".repeat(257);
        for unusable in [long.as_bytes(), b"\xff", b"a\tb", b"", b"\"\""] {
            let mut headers = HeaderMap::new();
            headers.insert("ce-id", HeaderValue::from_bytes(unusable).unwrap());
            headers.insert("ce-type", HeaderValue::from_bytes(unusable).unwrap());
            headers.insert("webhook-id", HeaderValue::from_static("w"));
            let (_, payload, body) = request(&[], r#"{"type":"t"}"#);
            let defaults = |defaults| Sources { explicit: None, defaults, hidden: vec![] };
            let identity =
                identify(&defaults(kind_defaults(None)), &defaults(id_defaults(None)), &headers, &payload, body)
                    .unwrap();
            assert_eq!((&*identity.kind, &*identity.id), ("t", "w"), "{unusable:?}");
            let (kind, id) = named(Source::Value("t".into()), Source::Header(HeaderName::from_static("ce-id")));
            assert!(identify(&kind, &id, &headers, &payload, body).is_err(), "{unusable:?}");
        }
        let (kind, id) = named(
            Source::Pointer(JsonPointer::parse("/type").unwrap()),
            Source::Pointer(JsonPointer::parse("/id").unwrap()),
        );
        for (body, sentence) in [
            (format!(r#"{{"type":"t","id":"{}"}}"#, "x".repeat(257)), "event.id: /id of the body has 257 bytes"),
            (format!(r#"{{"type":"{}","id":"x"}}"#, "x".repeat(129)), "event.type: /type of the body has 129 bytes"),
            (r#"{"type":"t","id":"a\nb"}"#.into(), "event.id: /id of the body has control characters"),
            (r#"{"type":"a\u0000","id":"x"}"#.into(), "event.type: /type of the body has control characters"),
            (r#"{"type":"t","#.into(), "event.type: it is read from /type, but the body is neither JSON nor a form"),
        ] {
            let payload = Payload::read(&Reading::default(), None, &Bytes::from(body.clone()));
            let error = identify(&kind, &id, &HeaderMap::new(), &payload, body.as_bytes()).unwrap_err();
            assert!(error.sentence.contains(sentence), "{error}");
        }
        let broken = Bytes::from_static(b"{\"type\":");
        let payload = Payload::read(&Reading::default(), Some("application/json"), &broken);
        let error = identify(&kind, &id, &HeaderMap::new(), &payload, &broken).unwrap_err();
        assert!(error.sentence.contains("no /type that can be read: the body is not valid JSON: EOF"), "{error}");
        let exactly = format!(r#"{{"type":"t","id":"{}"}}"#, "x".repeat(256));
        let payload = Payload::read(&Reading::default(), None, &Bytes::from(exactly.clone()));
        assert!(identify(&kind, &id, &HeaderMap::new(), &payload, exactly.as_bytes()).is_ok());
    }

    #[test]
    fn opaque_bodies_have_headers_only() {
        let payload = Payload::read(&Reading::default(), Some("text/plain"), &Bytes::from("{}"));
        let (kind, id) = named(Source::Value("t".into()), Source::Pointer(JsonPointer::parse("/id").unwrap()));
        let error = identify(&kind, &id, &HeaderMap::new(), &payload, b"{}").unwrap_err();
        assert_eq!(error.sentence, "event.id: it is read from /id, but the body is neither JSON nor a form");
        let declared = Reading { format: BodyFormat::Json, field: None };
        let payload = Payload::read(&declared, Some("text/plain"), &Bytes::from(r#"{"id":"x"}"#));
        assert_eq!(&*identify(&kind, &id, &HeaderMap::new(), &payload, b"").unwrap().id, "x");
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
            let payload = Payload::read(&Reading::default(), content_type.as_deref(), &Bytes::from(body.clone()));
            let mut headers = HeaderMap::new();
            headers.insert("ce-id", HeaderValue::from_bytes(&header).unwrap());
            let kind = Sources { explicit: None, defaults: kind_defaults(None), hidden: vec![] };
            let id = Sources { explicit: None, defaults: id_defaults(None), hidden: vec![] };
            // Without a declared source nothing about a body or its headers can refuse it.
            let identity = identify(&kind, &id, &headers, &payload, &body).unwrap();
                prop_assert!((1..=EVENT_ID_BYTES).contains(&identity.id.len()));
                prop_assert!((1..=EVENT_TYPE_BYTES).contains(&identity.kind.len()));
                prop_assert!(!identity.id.chars().chain(identity.kind.chars()).any(char::is_control));
        }
    }
}
