use std::sync::Arc;

use bytes::Bytes;
use grapnel_expression::Expression;
use grapnel_signature as signature;
use http::{HeaderName, HeaderValue};
use proptest::prelude::*;

use super::*;
use crate::limits::{EVENT_ID_BYTES, EVENT_TYPE_BYTES};

fn request(headers: &[(&'static str, &'static str)], body: &'static str) -> (HeaderMap, Payload, &'static [u8]) {
    let headers =
        headers.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect();
    (headers, Payload::read(&Reading::default(), None, &Bytes::from(body)), body.as_bytes())
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
fn an_undeclared_id_is_never_taken_from_the_body() {
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
    assert_eq!(digest.source(identity.origin), Some(&Source::Digest));
}

#[test]
fn the_origin_reads_as_a_sentence() {
    let github = Sources { explicit: None, defaults: id_defaults(signature::provider("GitHub")), hidden: vec![] };
    assert_eq!(github.describe_ids(), "header x-github-delivery, header ce-id, header webhook-id, else generated");
    let (headers, payload, body) = request(&[("x-github-delivery", "d")], "{}");
    let identity = identify(&Sources::default(), &github, &headers, &payload, body).unwrap();
    assert_eq!(github.source(identity.origin).unwrap().to_string(), "header x-github-delivery");
    assert_eq!(github.source(IdOrigin::Generated), None);
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
fn sources_of_the_provider_come_first() {
    let github = [("x-github-event", "push"), ("x-github-delivery", "d"), ("ce-type", "x")];
    assert_eq!(of(Some("GitHub"), &github, r#"{"type":"t","id":7}"#), pair("push", "d"));
    assert_eq!(
        of(Some("Stripe"), &[("ce-id", "x")], r#"{"id":"evt_1","type":"invoice.paid"}"#),
        pair("invoice.paid", "evt_1")
    );
    let slack = r#"{"type":"event_callback","event_id":"Ev1","event":{"type":"message"}}"#;
    assert_eq!(of(Some("Slack"), &[], slack), pair("message", "Ev1"));
    assert_eq!(of(Some("Slack"), &[("ce-id", "x")], r#"{"type":"t","id":"y"}"#), pair("t", "x"));
    assert_eq!(of(Some("StandardWebhooks"), &[("webhook-id", "w"), ("ce-id", "x")], r#"{"type":"t"}"#), pair("t", "w"));
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
            identify(&defaults(kind_defaults(None)), &defaults(id_defaults(None)), &headers, &payload, body).unwrap();
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
