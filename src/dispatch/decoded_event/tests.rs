use std::sync::atomic::Ordering;

use grapnel_api::Format;
use grapnel_expression::{ExpectedType, Scope};
use http::HeaderMap;
use serde_json::Value;

use super::*;
use crate::dispatch::body;

const CLOUD_EVENT: &str = r#"{"specversion":"1.0","id":"7","source":"/s","type":"paid","subject":"x",
    "datacontenttype":"application/json","data":{"amount": 1.10}}"#;

const FORMATS: [Format; 4] =
    [Format::Original, Format::Envelope, Format::CloudEventsBinary, Format::CloudEventsStructured];

fn stored(content_type: &str, body: impl Into<Bytes>) -> Arc<StoredEvent> {
    Arc::new(StoredEvent {
        sequence: 1,
        id: "evt_1".into(),
        kind: "invoice.paid".into(),
        received: "2026-03-01T12:00:00Z".parse().unwrap(),
        content_type: Some(content_type.into()),
        remote: None,
        headers: vec![("x-shop".into(), Bytes::from_static(b"one"))],
        body: body.into(),
    })
}

fn decoded(content_type: &str, body: impl Into<Bytes>) -> DecodedEvent {
    DecodedEvent::new(stored(content_type, body), Reading::default())
}

fn endpoint() -> ObjectKey {
    ObjectKey::new("shop", "stripe")
}

fn expression(source: &str, gives: ExpectedType) -> Expression {
    Expression::compile(source, Scope::Delivery, gives).unwrap()
}

fn parses(decoded: &DecodedEvent) -> usize {
    decoded.parses.load(Ordering::Relaxed)
}

fn build(decoded: &DecodedEvent, transform: Option<&Expression>, format: Format) -> Bytes {
    body::build(transform, format, &endpoint(), decoded, &mut HeaderMap::new()).unwrap()
}

/// Goes the whole way: filter, keep, transformation, format. Returns how many parses it took.
fn walk(decoded: &mut DecodedEvent, filter: Option<&str>, transform: Option<&str>, format: Format) -> usize {
    if let Some(filter) = filter.map(|filter| expression(filter, ExpectedType::Bool)) {
        assert!(filter.test(&decoded.inputs(&filter, &endpoint())).unwrap());
    }
    decoded.keep_within(usize::MAX);
    let transform = transform.map(|transform| expression(transform, ExpectedType::Json));
    build(decoded, transform.as_ref(), format);
    parses(decoded)
}

#[test]
fn a_body_is_parsed_once_whatever_looks_into_it() {
    let filters = [None, Some("payload.amount > 1.0"), Some("payload.amount > 1.0 && headers['x-shop'] == 'one'")];
    let transforms = [None, Some("{'amount': payload.amount}"), Some("{'id': event.id}")];
    for filter in filters {
        for transform in transforms {
            for format in FORMATS {
                let mut event = decoded("application/json", r#" {"amount": 1.10} "#);
                let parses = walk(&mut event, filter, transform, format);
                let transforms = transform.is_some_and(|transform| transform.contains("payload"));
                let shows = transform.is_none() && format != Format::Original;
                let looks = filter.is_some() || transforms || shows;
                assert_eq!(parses, usize::from(looks), "{filter:?} {transform:?} {format:?}");
            }
        }
    }
}

#[test]
fn nothing_is_parsed_when_nothing_looks_into_the_body() {
    for filter in ["event.type == 'invoice.paid'", "headers['x-shop'] == 'one'"] {
        assert_eq!(walk(&mut decoded("application/json", "{}"), Some(filter), None, Format::Original), 0, "{filter}");
    }
}

#[test]
fn the_two_parts_of_a_cloud_event_are_parsed_once_each() {
    for format in FORMATS {
        let mut event = decoded("application/cloudevents+json", CLOUD_EVENT);
        let filter = Some("headers['ce-subject'] == 'x' && payload.amount > 1.0");
        assert_eq!(walk(&mut event, filter, Some("{'a': payload.amount}"), format), 2, "{format:?}");
        let mut event = decoded("application/cloudevents+json", CLOUD_EVENT);
        let attributes = Some("headers['ce-subject'] == 'x'");
        assert_eq!(walk(&mut event, attributes, None, format), 1, "{format:?}: its data is copied");
    }
}

#[test]
fn what_was_parsed_before_makes_no_difference() {
    for (content_type, body) in [
        ("application/json", r#" {"b":1.10, "a":[12345678901234567890123,"é"],"a":2} "#.to_owned()),
        ("application/json", String::new()),
        ("application/json", "no JSON".into()),
        ("application/json", "[1e999]".into()),
        ("application/json", format!("{}{}", "[".repeat(500), "]".repeat(500))),
        ("application/x-www-form-urlencoded", "a=1&b=x+y&a=3".into()),
        ("text/plain", " text ".into()),
        ("application/cloudevents+json", CLOUD_EVENT.into()),
        ("application/cloudevents+json", "{}".into()),
        ("application/cloudevents+json", CLOUD_EVENT.replace("application/json", "text/plain")),
    ] {
        for format in FORMATS {
            let fresh = decoded(content_type, body.clone());
            let looked = decoded(content_type, body.clone());
            let looks = expression("payload == payload && headers == headers", ExpectedType::Bool);
            looks.test(&looked.inputs(&looks, &endpoint())).unwrap();
            assert_eq!(build(&looked, None, format), build(&fresh, None, format), "{content_type} {body} {format:?}");
            let transform = expression("{'p': payload}", ExpectedType::Json);
            let (looked, fresh) = (build(&looked, Some(&transform), format), build(&fresh, Some(&transform), format));
            assert_eq!(looked, fresh, "{content_type} {body} {format:?}");
        }
    }
}

#[test]
fn what_is_too_large_to_keep_is_parsed_again() {
    let filter = expression("size(payload) > 0", ExpectedType::Bool);
    for (budget, parses_in_all) in [(1 << 20, 1), (100, 2)] {
        let mut event = decoded("application/json", format!("[{}1]", "0,".repeat(1000)));
        assert!(filter.test(&event.inputs(&filter, &endpoint())).unwrap());
        let kept = event.keep_within(budget);
        assert_eq!((kept, kept <= budget), (event.kept_bytes(), true));
        assert!(filter.test(&event.inputs(&filter, &endpoint())).unwrap());
        assert_eq!(parses(&event), parses_in_all, "{budget}");
    }
}

#[test]
fn estimates_are_no_less_than_the_memory_of_the_values() {
    let value = size_of::<Value>();
    let entry = value + size_of::<String>();
    for (body, least) in [
        (format!("[{}0]", "0,".repeat(9_999)), 10_000 * value),
        (format!("[{}[]]", "[],".repeat(9_999)), 10_000 * value),
        (format!(r#"["{}"]"#, "x".repeat(100_000)), 100_000 + 2 * value),
        (format!("{{{}\"k\":0}}", (0..999).map(|n| format!("\"{n:04}\":0,")).collect::<String>()), 1000 * (entry + 4)),
    ] {
        let event = decoded("application/json", body);
        assert_eq!(event.parsed_bytes(), 0);
        event.payload();
        let estimate = event.parsed_bytes();
        assert!((least..3 * least).contains(&estimate), "{estimate} {least}");
    }
}

#[test]
fn the_data_of_a_cloud_event_is_not_copied() {
    let event = decoded("application/cloudevents+json", CLOUD_EVENT);
    let Some(SharedData::Json(data)) = event.structured().map(|structured| &structured.data) else { panic!() };
    assert!(event.event.body.as_ptr_range().contains(&data.as_ptr()));
    assert_eq!(&data[..], br#"{"amount": 1.10}"#);
}
