use http::{HeaderMap, HeaderValue};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

/// From the JSON format's specification, 3.2, with a subject that is null and extensions of every type.
const THRIFT: &str = r#"{
    "specversion" : "1.0",
    "type" : "com.example.someevent",
    "source" : "/mycontext",
    "subject": null,
    "id" : "C234-1234-1234",
    "time" : "2018-04-05T17:31:00Z",
    "comexampleextension1" : "value",
    "comexampleothervalue" : 5,
    "comexampleflag" : true,
    "datacontenttype" : "application/vnd.apache.thrift.binary",
    "data_base64" : "/wA="
}"#;

fn structured(event: &Value) -> Result<Value, String> {
    let text = event.to_string();
    let event = CloudEvent::structured(text.as_bytes()).map_err(|error| error.to_string())?;
    Ok(serde_json::from_slice(&event.to_structured().unwrap()).unwrap())
}

fn event(more: &Value) -> Value {
    let mut event = json!({ "specversion": "1.0", "id": "1", "source": "/s", "type": "t" });
    event.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    event
}

fn headers(event: &CloudEvent<'_>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    event.to_headers(&mut headers);
    headers
}

fn read_back<'a>(headers: &'a HeaderMap, body: &'a [u8]) -> CloudEvent<'a> {
    let content_type = headers.get("content-type").map(|value| value.to_str().unwrap());
    CloudEvent::binary(headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes())), content_type, body)
        .unwrap()
}

#[test]
fn the_json_format_is_read() {
    let event = CloudEvent::structured(THRIFT.as_bytes()).unwrap();
    assert_eq!((&*event.id, &*event.source, &*event.kind), ("C234-1234-1234", "/mycontext", "com.example.someevent"));
    assert_eq!(
        event.others,
        [
            ("time".into(), Attribute::Text("2018-04-05T17:31:00Z".into())),
            ("comexampleextension1".into(), Attribute::Text("value".into())),
            ("comexampleothervalue".into(), Attribute::Integer(5)),
            ("comexampleflag".into(), Attribute::Bool(true)),
        ]
    );
    assert_eq!(event.content.content_type.as_deref(), Some("application/vnd.apache.thrift.binary"));
    assert!(matches!(&event.content.data, Data::Bytes(bytes) if **bytes == *b"\xff\x00"));
}

/// The data examples of the specification (JSON format, 3.1).
#[test]
fn data_keeps_its_form() {
    for (more, body) in [
        (json!({}), ""),
        (json!({ "data": null }), "null"),
        (json!({ "data": { "appinfoA": "abc", "appinfoB": 123 } }), r#"{"appinfoA":"abc","appinfoB":123}"#),
        (json!({ "datacontenttype": "application/json", "data": "text" }), r#""text""#),
        (json!({ "data": "text" }), r#""text""#),
        (json!({ "data": "5" }), r#""5""#),
        (json!({ "datacontenttype": "application/vnd.x+json", "data": [1.10] }), "[1.1]"),
        (json!({ "datacontenttype": "application/xml", "data": "<much wow=\"xml\"/>" }), r#"<much wow="xml"/>"#),
        (json!({ "datacontenttype": "text/plain", "data": "é" }), "é"),
        (json!({ "datacontenttype": "application/octet-stream", "data_base64": "3q2+7w==" }), ""),
        (json!({ "datacontenttype": "text/odd", "data": { "a": 1 } }), r#"{"a":1}"#),
    ] {
        let event = event(&more);
        assert_eq!(structured(&event), Ok(event.clone()), "there and back");
        let text = event.to_string();
        let read = CloudEvent::structured(text.as_bytes()).unwrap();
        if more.get("data_base64").is_none() {
            assert_eq!(String::from_utf8_lossy(read.body()), body, "{more}");
        } else {
            assert_eq!(read.body(), [0xde, 0xad, 0xbe, 0xef]);
        }
    }
    // JSON in base64 is still JSON.
    let event = event(&json!({ "datacontenttype": "application/json", "data_base64": "eyJhIjoxfQ==" }));
    assert_eq!(structured(&event).unwrap()["data"], json!({ "a": 1 }));
}

#[test]
fn what_is_no_event_says_why() {
    let without = |name: &str| {
        let mut event = event(&json!({}));
        event.as_object_mut().unwrap().remove(name);
        event
    };
    let many: serde_json::Map<_, _> = (0..100).map(|number| (format!("x{number}"), json!("v"))).collect();
    for (event, sentence) in [
        (without("specversion"), "it has no specversion; the only supported one is 1.0"),
        (without("id"), "it has no id"),
        (without("source"), "it has no source"),
        (without("type"), "it has no type"),
        (event(&json!({ "specversion": "0.3" })), "specversion must be 1.0"),
        (event(&json!({ "id": "" })), "it has no id"),
        (event(&json!({ "id": null })), "it has no id"),
        (event(&json!({ "id": 5 })), "its id is not a string"),
        (event(&json!({ "time": "yesterday" })), "time must be an RFC 3339 timestamp"),
        (event(&json!({ "ext": { "a": 1 } })), "its ext must be a string, integer or boolean"),
        (event(&json!({ "ext": 1.5 })), "its ext must be a string"),
        (event(&json!({ "my_ext": "a" })), "must consist of letters and digits"),
        (event(&json!({ "data": 1, "data_base64": "" })), "both data and data_base64"),
        (event(&json!({ "data_base64": 1 })), "its data_base64 is not a string"),
        (event(&json!({ "data_base64": "!" })), "its data_base64 is not base64"),
        (event(&Value::Object(many)), "more than the 64 attributes"),
        (json!(["secret"]), "it is not a JSON object"),
        (json!("secret"), "it is not a JSON object"),
    ] {
        let error = structured(&event).unwrap_err();
        assert!(error.contains(sentence) && !error.contains("secret"), "{event}: {error}");
    }
    let error = batch(br#"{"a": "secret"}"#).unwrap_err().to_string();
    assert_eq!(error, "invalid batch of CloudEvents: it is not an array");
    let many = format!("[{}1]", "1,".repeat(crate::limits::CLOUDEVENTS_BATCH));
    assert!(batch(many.as_bytes()).unwrap_err().to_string().contains("more than the 1000 events"));
    assert_eq!(
        batch(b" [ {\"a\":1} , 2 ] ").unwrap().iter().map(|event| event.get()).collect::<Vec<_>>(),
        [r#"{"a":1}"#, "2"]
    );
    assert!(batch(b"[]").unwrap().is_empty());
}

/// The example of the HTTP protocol binding, 3.1.3.2.
#[test]
fn header_values_are_percent_encoded() {
    let text = event(&json!({ "ext": "Euro € 😀", "quote": "a\"b%c" })).to_string();
    let event = CloudEvent::structured(text.as_bytes()).unwrap();
    let written = headers(&event);
    assert_eq!(written["ce-ext"], "Euro%20%E2%82%AC%20%F0%9F%98%80");
    assert_eq!(written["ce-quote"], "a%22b%25c");
    assert_eq!(written["ce-specversion"], "1.0");
    assert!(!written.contains_key("content-type"), "there is no data");
    let read = read_back(&written, b"");
    assert_eq!(read.others, event.others);
    for (value, expected) in [
        ("plain", "plain"),
        ("%c3%A9", "é"),
        ("\"a b \\\"c\\\\ %41\"", "a b \"c\\ A"),
        ("50%", "50%"),
        ("%zz%4", "%zz%4"),
        ("%ff", "\u{fffd}"),
        (" padded ", "padded"),
        ("\"", "\""),
    ] {
        assert_eq!(decode(value.as_bytes()), expected, "{value}");
    }
}

#[test]
fn headers_carry_an_event_only_as_a_whole() {
    let read = |headers: &[(&'static str, &'static str)]| {
        let headers = headers.iter().map(|(name, value)| (*name, value.as_bytes()));
        CloudEvent::binary(headers, Some("text/plain"), b"body").map(|event| event.kind.into_owned())
    };
    let whole = [("ce-specversion", "1.0"), ("ce-id", "1"), ("ce-source", "/s"), ("ce-type", "t"), ("x-other", "é")];
    assert_eq!(read(&whole).unwrap(), "t");
    for missing in 0..4 {
        let mut headers = whole.to_vec();
        headers.remove(missing);
        assert!(read(&headers).unwrap_err().to_string().contains("it has no"), "{missing}");
    }
    assert!(
        CloudEvent::is_binary(["a", "ce-specversion"].into_iter()) && !CloudEvent::is_binary(["ce-id"].into_iter())
    );
    for (content_type, one, several) in [
        ("application/cloudevents+json", true, false),
        ("Application/CloudEvents+JSON; charset=utf-8", true, false),
        ("application/cloudevents-batch+json", false, true),
        ("application/json", false, false),
    ] {
        assert_eq!(CloudEvent::is_structured(Some(content_type)), one, "{content_type}");
        assert_eq!(CloudEvent::is_batch(Some(content_type)), several, "{content_type}");
    }
    assert!(!CloudEvent::is_structured(None));
}

fn attributes() -> impl Strategy<Value = Value> {
    let text = "[ -~é€😀\"%\\\\]{1,20}";
    (text, text, text, proptest::collection::btree_map("[a-z][a-z0-9]{3,9}x", text, 0..5)).prop_map(
        |(id, source, kind, others)| {
            let mut event = event(&json!({ "id": id, "source": source, "type": kind }));
            event.as_object_mut().unwrap().extend(others.into_iter().map(|(name, value)| (name, json!(value))));
            event
        },
    )
}

proptest! {
    /// Converting from one mode to the other and back loses nothing.
    #[test]
    fn round_trips(mut event in attributes(), data in proptest::option::of("[ -~é]{0,20}"), text in any::<bool>()) {
        if let Some(data) = data {
            event["data"] = json!(data);
            event["datacontenttype"] = json!(if text { "text/plain" } else { "application/json" });
        }
        prop_assert_eq!(structured(&event).unwrap(), event.clone());
        let written = event.to_string();
        let read = CloudEvent::structured(written.as_bytes()).unwrap();
        let (headers, body) = (headers(&read), read.body());
        let again = read_back(&headers, body);
        let mut again: Value = serde_json::from_slice(&again.to_structured().unwrap()).unwrap();
        if event.get("data") == Some(&json!("")) && text {
            again["data"] = json!("");
        }
        // Without data, headers have no content type.
        prop_assert_eq!(again, event);
    }

    #[test]
    fn nothing_panics(body in proptest::collection::vec(any::<u8>(), 0..60), text in r#"(\{|\}|\[|\]|"|:|,|id|data|data_base64|1\.0|specversion|null){0,30}"#) {
        for bytes in [&*body, text.as_bytes()] {
            let _ = CloudEvent::structured(bytes);
            let _ = batch(bytes);
            let _ = decode(bytes);
            if let Ok(value) = HeaderValue::from_bytes(bytes) {
                let headers = [("ce-specversion", &b"1.0"[..]), ("ce-id", value.as_bytes())];
                let _ = CloudEvent::binary(headers.into_iter(), None, bytes);
            }
        }
    }
}
