//! CloudEvents of the official SDKs, in and out.

use std::collections::BTreeMap;

use base64::{Engine, engine::general_purpose::STANDARD};
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::{
    home::Home,
    program::{
        Grapnel,
        receiver::{Received, Receiver},
    },
    sdk::{Language, Sdks},
};

/// In which forms everything is delivered.
const FORMATS: [&str; 3] = ["Original", "CloudEventsBinary", "CloudEventsStructured"];

/// An event as an SDK is told of it, and tells.
#[derive(Debug, Clone)]
struct Event {
    attributes: Value,
    data: Value,
}

/// An endpoint whose events are delivered in every format, each to a path of its name.
fn start(home: &Home, receiver: &Receiver) -> Grapnel {
    let endpoint = "apiVersion: grapnel.dev/v1beta1\nkind: WebhookEndpoint\nmetadata: {name: in}\nspec: {verification: {none: {}}}\n";
    let url = &receiver.url;
    let subscriptions = FORMATS.map(|format| {
        let name = format.to_lowercase();
        format!(
            "---\napiVersion: grapnel.dev/v1beta1\nkind: WebhookSubscription\nmetadata: {{name: {name}}}\n\
             spec:\n  endpointRef: {{name: in}}\n  format: {format}\n  forwardHeaders: [\"ce-*\"]\n  \
             target: {{url: \"{url}/{format}\"}}\n"
        )
    });
    home.write("all.yaml", &format!("{endpoint}{}", subscriptions.concat()));
    home.start()
}

/// Events with every kind of data, and with attributes of every kind that the SDK writes and reads as it should.
fn events(language: Language, mode: &str) -> Vec<Event> {
    let event = |name: &str, content_type: Option<&str>, data: Value| {
        let mut attributes = json!({
            "specversion": "1.0",
            "type": "com.example.order.paid",
            "source": "/shop/orders?of=north",
            "id": format!("A234-{mode}-{name}"),
            "time": "2026-03-01T12:00:00.125000+00:00",
            "subject": "order-7",
            "dataschema": "https://schemas.example/order.json",
            "tenant": "north",
            "sequence": 7,
        });
        if language == Language::Python {
            // The JavaScript SDK leaves out the percent-encoding of headers (HTTP protocol binding 1.0, 3.1.3.2).
            attributes["subject"] = "order 7, \"Söder\", 100% paid %41".into();
        }
        if (language, mode) != (Language::Python, "binary") {
            // There the Python SDK writes `True`, which is no boolean (CloudEvents 1.0, "Type System").
            attributes["express"] = true.into();
        }
        if let Some(content_type) = content_type {
            attributes["datacontenttype"] = content_type.into();
        }
        Event { attributes, data }
    };
    let mut events = vec![
        event("json", Some("application/json"), json!({ "order": 7, "lines": ["é", "🦀"], "total": 1.5 })),
        event("text", Some("text/plain"), json!("é, \"quoted\",\nand more")),
        event("bytes", Some("application/octet-stream"), json!({ "base64": "AP8BAv+A/g==" })),
        event("nothing", None, Value::Null),
    ];
    // The JavaScript SDK does not know such types for JSON in binary mode.
    events.extend(
        (language == Language::Python).then(|| event("vendor", Some("application/vnd.a+json"), json!({ "b": 7 }))),
    );
    events
}

/// Headers and body that an SDK makes of an event.
fn made(sdks: &mut Sdks, mode: &str, event: &Event) -> (Vec<(String, String)>, Vec<u8>) {
    let question = json!({ "mode": mode, "attributes": event.attributes, "data": event.data });
    let made = sdks.ask("cloudevents", "make", question);
    let headers = made["headers"].as_object().unwrap().iter();
    let headers = headers.map(|(name, value)| (name.clone(), text(value))).collect();
    (headers, STANDARD.decode(made["body"].as_str().unwrap()).unwrap())
}

/// What an SDK makes of a delivery.
fn read(sdks: &mut Sdks, arrived: &Received) -> Event {
    let headers: Map<String, Value> =
        arrived.headers.iter().map(|(name, value)| (name.to_string(), value.to_str().unwrap().into())).collect();
    let question = json!({ "headers": headers, "body": STANDARD.encode(&arrived.body) });
    let mut read = sdks.ask("cloudevents", "read", question);
    Event { attributes: read["attributes"].take(), data: read["data"].take() }
}

/// A value as it is in a header, which has no type.
fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// Whether an attribute is what it was.
fn is_same(name: &str, seen: &Value, sent: &Value) -> bool {
    let time = |value: &Value| value.as_str().and_then(|text| text.parse::<Timestamp>().ok());
    match name {
        // One moment, written differently.
        "time" => time(seen).is_some() && time(seen) == time(sent),
        // An SDK may add the charset.
        "datacontenttype" => seen.as_str().zip(sent.as_str()).is_some_and(|(seen, sent)| seen.starts_with(sent)),
        _ => seen == sent,
    }
}

/// The deliveries of some events: each in every format, read by the SDK, is what was sent.
async fn arrive(receiver: &Receiver, sdks: &mut Sdks, events: &[Event], mode: &str) {
    let mut missing: BTreeMap<(String, String), &Event> = BTreeMap::new();
    for event in events {
        let id = event.attributes["id"].as_str().unwrap();
        missing.extend(FORMATS.map(|format| ((id.to_owned(), format!("/{format}")), event)));
    }
    while !missing.is_empty() {
        let arrived = receiver.next().await;
        let place = (arrived.header("webhook-id").to_owned(), arrived.path.clone());
        let sent = missing.remove(&place).unwrap_or_else(|| panic!("{mode}: {place:?} came unasked or twice"));
        let seen = read(sdks, &arrived);
        let in_headers = mode == "binary" || place.1 == "/CloudEventsBinary";
        for (name, value) in sent.attributes.as_object().unwrap() {
            let value = if in_headers { &text(value).into() } else { value };
            assert!(is_same(name, &seen.attributes[name], value), "{mode} {place:?} {name}: {seen:?}");
        }
        for name in seen.attributes.as_object().unwrap().keys() {
            let known = !sent.attributes[name].is_null() || name == "datacontenttype";
            assert!(known, "{mode} {place:?}: {name} is new: {seen:?}");
        }
        assert_eq!(seen.data, sent.data, "{mode} {place:?}: {:?}", String::from_utf8_lossy(&arrived.body));
    }
}

/// Events that an SDK makes in each mode come in, alone and in a batch, and the receiver's SDK reads the same events,
/// extension attributes included, whatever the format in which they go out.
async fn there_and_back(language: Language) {
    let (receiver, home) = (Receiver::start().await, Home::new());
    let grapnel = start(&home, &receiver);
    let mut sdks = Sdks::start(language);
    for mode in ["binary", "structured"] {
        let events = events(language, mode);
        for event in &events {
            let (headers, body) = made(&mut sdks, mode, event);
            let headers: Vec<_> = headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
            let (status, answer) = grapnel.post("/default/in", &headers, body).await;
            let id = &event.attributes["id"];
            assert_eq!((status, &answer["id"]), (200, id), "{language:?} {mode}: {answer}");
            let id = id.as_str().unwrap();
            let stored = grapnel.api(&format!("/api/v1/namespaces/default/endpoints/in/events/{id}")).await;
            assert_eq!(stored["type"], "com.example.order.paid", "{language:?} {mode}");
        }
        arrive(&receiver, &mut sdks, &events, mode).await;
    }
    // The SDKs make no batches: one is an array of what they make in structured mode.
    let events = events(language, "batch");
    let bodies = events.iter().map(|event| made(&mut sdks, "structured", event).1).collect::<Vec<_>>();
    let batch = [b"[".as_slice(), &bodies.join(&b','), b"]"].concat();
    let headers = [("content-type", "application/cloudevents-batch+json")];
    let (status, answer) = grapnel.post("/default/in", &headers, batch).await;
    let ids: Vec<_> = events.iter().map(|event| event.attributes["id"].clone()).collect();
    assert_eq!((status, &answer["ids"]), (200, &json!(ids)), "{language:?}: {answer}");
    arrive(&receiver, &mut sdks, &events, "batch").await;
}

/// What came as no CloudEvent goes out as one that the SDK reads.
async fn made_of_others(language: Language) {
    let (receiver, home) = (Receiver::start().await, Home::new());
    let grapnel = start(&home, &receiver);
    let mut sdks = Sdks::start(language);
    for (number, (content_type, body, data)) in [
        ("application/json", br#"{"type":"order.paid","n":[1.5,"\u00e9"]}"#.as_slice(), None),
        ("text/plain", "é, \"quoted\"".as_bytes(), Some(json!("é, \"quoted\""))),
        ("application/octet-stream", b"\x00\xff\xfe", Some(json!({ "base64": "AP/+" }))),
    ]
    .into_iter()
    .enumerate()
    {
        let begun = Timestamp::now();
        let id = format!("other-{number}");
        let headers = [("content-type", content_type), ("ce-id", &id)];
        let (status, answer) = grapnel.post("/default/in", &headers, body).await;
        assert_eq!((status, &answer["id"]), (200, &json!(id)), "{language:?} {content_type}: {answer}");
        for _ in FORMATS {
            let arrived = receiver.next().await;
            if arrived.path == "/Original" {
                assert_eq!(arrived.body, body, "{language:?} {content_type}");
                continue;
            }
            let what = format!("{language:?} {content_type} {}", arrived.path);
            let Event { attributes, data: seen } = read(&mut sdks, &arrived);
            assert_eq!(attributes["id"], id, "{what}");
            assert_eq!(attributes["source"], "/default/in", "{what}");
            let kind = if number == 0 { "order.paid" } else { "unknown" };
            assert_eq!(attributes["type"], kind, "{what}");
            assert!(is_same("datacontenttype", &attributes["datacontenttype"], &json!(content_type)), "{what}");
            let time: Timestamp = attributes["time"].as_str().unwrap().parse().unwrap();
            // To the millisecond: so much is kept by all.
            assert!(begun.as_millisecond() <= time.as_millisecond() && time <= Timestamp::now(), "{what}: {time}");
            let expected = data.clone().unwrap_or_else(|| serde_json::from_slice(body).unwrap());
            assert_eq!(seen, expected, "{what}");
        }
    }
}

#[tokio::test]
async fn events_of_the_python_sdk_come_through_whole() {
    there_and_back(Language::Python).await;
}

#[tokio::test]
async fn events_of_the_javascript_sdk_come_through_whole() {
    there_and_back(Language::JavaScript).await;
}

#[tokio::test]
async fn the_python_sdk_reads_what_was_made_a_cloudevent() {
    made_of_others(Language::Python).await;
}

#[tokio::test]
async fn the_javascript_sdk_reads_what_was_made_a_cloudevent() {
    made_of_others(Language::JavaScript).await;
}
