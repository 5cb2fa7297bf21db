//! Answers agree with the OpenAPI document: every answer that a test reads is checked.

use std::sync::LazyLock;

use grapnel::admin::{Access, openapi};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::{DELIVERIES, EVENTS, Server, arrival, now, start, with_deliveries};

/// The document, strict: a field that it does not have is an error.
static DOCUMENT: LazyLock<Value> = LazyLock::new(|| {
    let mut document = openapi::document();
    let schemas = document["components"]["schemas"].as_object_mut().unwrap();
    for (name, schema) in schemas.iter_mut() {
        // These three are parts of `Object`.
        if schema.get("properties").is_some() && !matches!(&**name, "Endpoint" | "Subscription" | "Replay") {
            schema["unevaluatedProperties"] = json!(false);
        }
    }
    for part in schemas["Object"]["oneOf"].as_array_mut().unwrap() {
        part["unevaluatedProperties"] = json!(false);
    }
    document
});

/// Whether a path is one of a path with parameters in braces.
fn is_of(template: &str, path: &str) -> bool {
    let (template, path): (Vec<_>, Vec<_>) = (template.split('/').collect(), path.split('/').collect());
    let fits = |(part, text): (&&str, &&str)| part.starts_with('{') || part == text;
    template.len() == path.len() && template.iter().zip(&path).all(fits)
}

/// Checks a JSON answer against the document.
pub(crate) fn check(method: &str, path: &str, status: StatusCode, body: &Value) {
    let path = path.split('?').next().unwrap();
    let paths = DOCUMENT["paths"].as_object().unwrap();
    let operation = paths.iter().find(|(template, _)| is_of(template, path)).and_then(|(_, item)| item.get(method));
    let schema = match operation {
        Some(operation) => &operation["responses"][status.as_str()]["content"]["application/json"]["schema"],
        // Of a path or a method that is not there.
        None => &json!({ "$ref": "#/components/schemas/Error" }),
    };
    assert!(schema.is_object(), "{method} {path}: {status} is not in the document: {body}");
    let schema = json!({ "allOf": [schema], "components": DOCUMENT["components"] });
    let validator = jsonschema::options().should_validate_formats(true).build(&schema).unwrap();
    let errors: Vec<_> =
        validator.iter_errors(body).map(|error| format!("{}: {error}", error.instance_path())).collect();
    assert!(errors.is_empty(), "{method} {path} {status}: {errors:#?}\n{body}");
}

#[tokio::test]
async fn the_document_is_served_to_everybody() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("token");
    std::fs::write(&file, "secret").unwrap();
    let server = start(Access::TokenFile(file)).await;
    assert_eq!(server.json("/api/v1/objects", StatusCode::UNAUTHORIZED).await["code"], "unauthorized");
    assert_eq!(server.json("/api/v1/openapi.json", StatusCode::OK).await, openapi::document());
    server.end().await;
}

#[test]
fn the_document_in_the_repository_is_that_of_the_code() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/reference/openapi.json");
    let text = std::fs::read_to_string(path).unwrap();
    assert!(text == format!("{:#}\n", openapi::document()), "docs/reference/openapi.json differs: run `just generate`");
}

#[tokio::test]
async fn every_path_of_the_document_is_served_with_its_methods_only() {
    let server = start(Access::LoopbackOnly).await;
    server.append(vec![arrival("e1", "t", now(), None, b"{}")]).await;
    for (path, item) in openapi::document()["paths"].as_object().unwrap() {
        let kind = if path.contains("/endpoints/") { "orders" } else { "billing" };
        let path = path.replace("{namespace}", "shop").replace("{name}", kind).replace("{id}", "e1");
        for method in [Method::GET, Method::POST, Method::PUT, Method::DELETE] {
            let request = server.client.request(method.clone(), format!("http://{}{path}", server.address));
            let status = request.json(&json!({})).send().await.unwrap().status();
            let name = method.as_str().to_ascii_lowercase();
            if let Some(operation) = item.get(&name) {
                assert!(operation["responses"].get(status.as_str()).is_some(), "{method} {path}: {status}");
            } else {
                assert_eq!(status, StatusCode::METHOD_NOT_ALLOWED, "{method} {path}");
            }
        }
    }
    server.end().await;
}

#[tokio::test]
async fn a_wrong_answer_would_be_noticed() {
    let wrong = |body: Value| {
        let check = move || check("get", EVENTS, StatusCode::OK, &body);
        std::panic::catch_unwind(check).is_err()
    };
    assert!(!wrong(json!({ "items": [{ "sequence": 1, "damaged": true }] })));
    assert!(wrong(json!({ "items": [{ "sequence": "1" }] })), "a wrong type");
    assert!(wrong(json!({ "items": [{ "sequence": 1, "colour": "red" }] })), "an unknown field");
    assert!(wrong(json!({ "items": [{ "sequence": 1, "receivedTime": "yesterday" }] })), "a wrong format");
    assert!(wrong(json!({})), "a missing field");
}

/// The ids of a page of events, or of deliveries.
fn ids<'a>(page: &'a Value, field: &str) -> Vec<&'a str> {
    page["items"].as_array().unwrap().iter().map(|item| item[field].as_str().unwrap()).collect()
}

async fn all_backwards(server: &Server, path: &str, field: &str) -> Vec<String> {
    let (mut found, mut after) = (Vec::new(), String::new());
    loop {
        let page = server.json(&format!("{path}{after}"), StatusCode::OK).await;
        found.extend(ids(&page, field).into_iter().map(str::to_owned));
        match page["continue"].as_str() {
            Some(next) => after = format!("&after={next}"),
            None => return found,
        }
    }
}

#[tokio::test]
async fn lists_are_read_from_the_newest_backwards() {
    let server = start(Access::LoopbackOnly).await;
    let hour = std::time::Duration::from_secs(3600);
    let arrival = |n: u32| {
        let kind = if n.is_multiple_of(300) { "rare.one" } else { "often" };
        arrival(&format!("e{n}"), kind, now() - hour * (2000 - n), None, b"{}")
    };
    with_deliveries(&server).await;
    for part in 0..4 {
        server.append((part * 250..(part + 1) * 250).map(|n| arrival(n + 1000)).collect::<Vec<_>>()).await;
    }
    let newest = server.json(&format!("{EVENTS}?order=desc&limit=3"), StatusCode::OK).await;
    assert_eq!(ids(&newest, "id"), ["e1999", "e1998", "e1997"]);
    let all = all_backwards(&server, &format!("{EVENTS}?order=desc&limit=70"), "id").await;
    assert_eq!((all.len(), &*all[1004]), (1005, "e0"));
    let rare = all_backwards(&server, &format!("{EVENTS}?order=desc&limit=2&type=rare.*"), "id").await;
    assert_eq!(rare, ["e1800", "e1500", "e1200"]);
    let rare = server.json(&format!("{EVENTS}?limit=2&type=r*e.?ne"), StatusCode::OK).await;
    assert_eq!(ids(&rare, "id"), ["e1200", "e1500"]);
    let deliveries = all_backwards(&server, &format!("{DELIVERIES}?order=desc&limit=90"), "eventId").await;
    assert_eq!(deliveries, all);
    let dead = all_backwards(&server, &format!("{DELIVERIES}?order=desc&state=dead"), "eventId").await;
    assert_eq!(dead, ["e2"], "far back, and by the short word");
    server.end().await;
}

#[tokio::test]
async fn a_time_bounds_a_list_that_goes_backwards() {
    let server = start(Access::LoopbackOnly).await;
    let minute = std::time::Duration::from_secs(60);
    let arrivals = (0..300_u32).map(|n| arrival(&format!("e{n}"), "t", now() - minute * (300 - n), None, b"{}"));
    server.append(arrivals.collect()).await;
    let recent = all_backwards(&server, &format!("{EVENTS}?order=desc&limit=2&since=4m"), "id").await;
    assert_eq!(recent, ["e299", "e298", "e297", "e296"]);
    server.end().await;
}
