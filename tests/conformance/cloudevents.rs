//! CloudEvents of the official SDKs, in and out.

use serde_json::{Value, json};

use crate::{
    home::Home,
    program::receiver::Receiver,
    sdk::{Language, Sdks},
};

/// An event that an SDK makes in each mode comes in, and the receiver's SDK reads the same event, extension attributes
/// included.
async fn there_and_back(language: Language) {
    let receiver = Receiver::start().await;
    let home = Home::new();
    home.write(
        "all.yaml",
        &format!(
            r#"
apiVersion: grapnel.dev/v1alpha1
kind: WebhookEndpoint
metadata: {{name: in}}
spec: {{verification: {{none: {{}}}}}}
---
apiVersion: grapnel.dev/v1alpha1
kind: WebhookSubscription
metadata: {{name: out}}
spec:
  endpointRef: {{name: in}}
  forwardHeaders: ["ce-*"]
  target: {{url: "{}"}}
"#,
            receiver.url
        ),
    );
    let grapnel = home.start();
    let mut sdks = Sdks::start(language);
    for mode in ["binary", "structured"] {
        let id = format!("A234-{mode}");
        let attributes = json!({
            "specversion": "1.0",
            "type": "com.example.order.paid",
            "source": "/shop/orders",
            "id": id,
            "time": "2026-03-01T12:00:00+00:00",
            "subject": "order-7",
            "datacontenttype": "application/json",
            "tenant": "north",
        });
        let data = json!({ "order": 7, "lines": ["é", "🦀"] });
        let question = json!({ "mode": mode, "attributes": attributes, "data": data });
        let made = sdks.ask("cloudevents", "make", question);
        let headers = made["headers"].as_object().unwrap();
        let headers: Vec<_> = headers.iter().map(|(name, value)| (name.as_str(), value.as_str().unwrap())).collect();
        let body = made["body"].as_str().unwrap();
        let (status, answer) = grapnel.post("/default/in", &headers, body).await;
        assert_eq!((status, &answer["id"]), (200, &json!(id)), "{language:?} {mode}: {answer}");
        let stored = grapnel.api(&format!("/api/v1/namespaces/default/endpoints/in/events/{id}")).await;
        assert_eq!(stored["type"], "com.example.order.paid", "{language:?} {mode}");

        let arrived = receiver.next().await;
        let headers: serde_json::Map<String, Value> =
            arrived.headers.iter().map(|(name, value)| (name.to_string(), value.to_str().unwrap().into())).collect();
        let question = json!({ "headers": headers, "body": std::str::from_utf8(&arrived.body).unwrap() });
        let mut read = sdks.ask("cloudevents", "read", question);
        // One moment, written differently.
        let time = read["attributes"]["time"].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
        assert_eq!(time, "2026-03-01T12:00:00Z".parse().unwrap());
        read["attributes"]["time"] = attributes["time"].clone();
        for (name, value) in attributes.as_object().unwrap() {
            let seen = &read["attributes"][name];
            // An SDK adds the charset, which is its right.
            let same = seen == value
                || name == "datacontenttype" && seen.as_str().is_some_and(|seen| seen.starts_with("application/json"));
            assert!(same, "{language:?} {mode} {name}: {read}");
        }
        assert_eq!(read["data"], data, "{language:?} {mode}");
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
