//! Twilio, whose signature is over the URL that it calls: its own SDK signs and validates.

use serde_json::json;

use crate::{
    home::Home,
    program::{self, Grapnel, receiver::Receiver},
    sdk::{Language, Sdks},
};

const TOKEN: &str = "12345-auth-token";
const PUBLIC: &str = "https://hooks.example.com/in";
const FORM: &str = "application/x-www-form-urlencoded";

/// Bodies, and whether they are forms. Names in no order, one more than once, one without a value; text beyond ASCII and
/// what has a meaning in forms and URLs.
const BODIES: [(bool, &str); 4] = [
    (true, "To=%2B18005551212&CallSid=CA1234567890ABCDE&From=%2B14158675309&Digits=1234&Caller=%2B14158675309"),
    (
        true,
        "Body=caf%C3%A9+%F0%9F%A6%80+%26+100%25&MediaUrl=https%3A%2F%2Fa.example%2F%3Fb&Tag=b&Tag=a&Tag=b&Empty=&a=1&A=2",
    ),
    (false, r#"{"CallStatus":"ringing","a":  "\u00e9 é 🦀"}"#),
    (false, "{}"),
];

fn start(home: &Home) -> Grapnel {
    home.write(
        "all.yaml",
        &format!(
            r#"
apiVersion: v1
kind: Secret
metadata: {{name: twilio}}
stringData: {{key: "{TOKEN}"}}
---
apiVersion: grapnel.dev/v1beta1
kind: WebhookEndpoint
metadata: {{name: twilio}}
spec: {{verification: {{provider: {{name: Twilio}}, secretRefs: [{{name: twilio, key: key}}]}}}}
"#
        ),
    );
    let (manifests, data) = (home.manifests(), home.data());
    let [manifests, data] = [&manifests, &data].map(|path| path.to_str().unwrap());
    Grapnel::start(["standalone", "-f", manifests, "--data-dir", data, "--public-url", PUBLIC])
}

#[tokio::test]
async fn what_the_sdk_signs_is_accepted_behind_the_public_url() {
    let home = Home::new();
    let grapnel = start(&home);
    let mut sdks = Sdks::start(Language::Python);
    let mut number = 0;
    for (form, body) in BODIES {
        let content_type = if form { FORM } else { "application/json" };
        for query in ["", "?foo=1&bar=2", "?name=caf%C3%A9&plus=a+b&empty="] {
            let mut sign = |secret: &str, url: &str, body: &str| {
                let question = json!({ "secret": secret, "url": url, "form": form, "body": body });
                let signed = sdks.ask("twilio", "sign_url", question);
                let [url, signature] = ["url", "signature"].map(|name| signed[name].as_str().unwrap().to_owned());
                (url.strip_prefix(PUBLIC).map(str::to_owned), signature)
            };
            let url = format!("{PUBLIC}/default/twilio{query}");
            let (target, signature) = sign(TOKEN, &url, body);
            let target = target.unwrap();
            let other = format!("{body}&x=y");
            number += 1;
            let id = format!("id-{number}");
            let send = async |target: &str, signature: &str, body: &str| {
                let headers = [
                    ("content-type", content_type),
                    ("x-twilio-signature", signature),
                    ("i-twilio-idempotency-token", &id),
                ];
                grapnel.post(target, &headers, body.to_owned()).await
            };
            let what = format!("{body} to {target}");
            for (signature, sent) in [
                (sign("another", &url, body).1, body),
                (sign(TOKEN, &url.replace("https:", "http:"), body).1, body),
                (sign(TOKEN, &format!("{PUBLIC}/default/other{query}"), body).1, body),
                (signature.clone(), &other),
            ] {
                let (status, answer) = send(&target, &signature, sent).await;
                assert_eq!((status, &answer["code"]), (401, &json!("invalid_signature")), "{what}: {answer}");
            }
            let (status, answer) = send(&target, &signature, body).await;
            assert_eq!((status, &answer["id"]), (200, &json!(id)), "{what}: {answer}");
        }
    }
}

#[tokio::test]
async fn what_send_signs_is_validated_by_the_sdk() {
    let receiver = Receiver::start().await;
    let home = Home::new();
    let mut sdks = Sdks::start(Language::Python);
    for (form, body) in BODIES {
        home.write("body", body);
        let file = home.manifests().join("body");
        let url = format!("{}/hooks/in?foo=1&name=caf%C3%A9", receiver.url);
        let output = tokio::task::spawn_blocking(move || {
            let content_type = if form { FORM } else { "application/json" };
            let data = file.to_str().unwrap();
            let signed = ["--provider", "twilio", "--secret", TOKEN];
            program::run(&[&["send", &url, "--data", data, "--content-type", content_type][..], &signed].concat())
        });
        let output = output.await.unwrap();
        assert!(output.status.success(), "{body}: {}", String::from_utf8_lossy(&output.stderr));
        let arrived = receiver.next().await;
        let (url, body) = (format!("{}{}", receiver.url, arrived.target), std::str::from_utf8(&arrived.body).unwrap());
        let headers = json!({ "x-twilio-signature": arrived.header("x-twilio-signature") });
        let mut validate = |secret: &str, url: &str, body: &str| {
            let question = json!({ "secret": secret, "url": url, "form": form, "headers": headers, "body": body });
            sdks.ask("twilio", "verify", question)["verified"] == true
        };
        assert!(validate(TOKEN, &url, body), "{body} to {url}");
        assert!(!validate("another", &url, body), "{body} to {url}");
        assert!(!validate(TOKEN, &url.replace("/in", "/on"), body), "{body} to {url}");
        assert!(!validate(TOKEN, &url, &format!("{body}&x=y")), "{body} to {url}");
    }
}
