//! Signatures, both ways.

use std::fmt::Write;

use http::HeaderMap;
use serde_json::{Value, json};

use crate::{
    home::Home,
    program::{self, receiver::Receiver},
    sdk::{Language, Sdks},
};

/// An SDK and the provider whose requests it signs and verifies.
struct Row {
    language: Language,
    sdk: &'static str,
    /// `verification.provider.name`.
    provider: &'static str,
    /// `grapnel send --provider`.
    sender: &'static str,
    /// What the sender signs with.
    secret: &'static str,
    /// What the receiver knows, if it is another.
    public: Option<&'static str>,
    /// A secret of the same form.
    other: Option<&'static str>,
}

impl Row {
    fn public(&self) -> &'static str {
        self.public.unwrap_or(self.secret)
    }

    fn other(&self) -> String {
        let almost = || format!("{}abcd", &self.secret[..self.secret.len() - 4]);
        self.other.map_or_else(almost, str::to_owned)
    }
}

/// Made for these tests by `openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256`: a key pair, and another key.
const P256: [&str; 3] = [
    "-----BEGIN PRIVATE KEY-----\nMIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgmzkGxHt3G33X9G8u\nESk995SOL3lVhIFfNp9RodDMNDChRANCAAQfacKLsfyiutqRnPAZamqzrSTkRAcS\nPpeTPwDOxD3fiL5QpkPO7Vt9QDSveEVvxUkNy0gbWH4UpvORYn5FqMyB\n-----END PRIVATE KEY-----\n",
    "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEH2nCi7H8orrakZzwGWpqs60k5EQHEj6Xkz8AzsQ934i+UKZDzu1bfUA0r3hFb8VJDctIG1h+FKbzkWJ+RajMgQ==",
    "-----BEGIN PRIVATE KEY-----\nMIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQg99B+OfBbH0toxiTC\nn8sFuGAj6Yu2c989YrU6wL3In5yhRANCAAQ3k64fmikQNNBRhAke9TkUd1o+nNI9\naA5vXeHhEPDbufL2ggMgprk5/PR5MJH9oK2ti8xp7uHH4RUYVpQia5qb\n-----END PRIVATE KEY-----\n",
];

const WHSEC: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// One row an SDK: a provider that is added to Grapnel gets its row here, and its SDK an entry in `sdks/driver.*`.
const ROWS: &[Row] = &[
    row(Language::JavaScript, "octokit", "GitHub", "github", "It's a Secret to Everybody"),
    row(Language::Python, "stripe", "Stripe", "stripe", "whsec_hard-to-guess"),
    row(Language::JavaScript, "stripe", "Stripe", "stripe", "whsec_hard-to-guess"),
    row(Language::Python, "slack_sdk", "Slack", "slack", "8f742231b10e8888abcd99yyyzzz85a5"),
    row(Language::Python, "svix", "StandardWebhooks", "standard-webhooks", WHSEC),
    row(Language::JavaScript, "svix", "StandardWebhooks", "standard-webhooks", WHSEC),
    row(Language::Python, "svix_own", "Svix", "svix", WHSEC),
    row(Language::JavaScript, "svix_own", "Svix", "svix", WHSEC),
    row(Language::Python, "standardwebhooks", "StandardWebhooks", "standard-webhooks", WHSEC),
    row(Language::JavaScript, "standardwebhooks", "StandardWebhooks", "standard-webhooks", WHSEC),
    // GitLab has no SDK; its signing tokens are those of Standard Webhooks.
    row(Language::Python, "standardwebhooks_gitlab", "GitLab", "gitlab", WHSEC),
    Row {
        public: Some(P256[1]),
        other: Some(P256[2]),
        ..row(Language::Python, "sendgrid", "SendGrid", "sendgrid", P256[0])
    },
];

const fn row(
    language: Language,
    sdk: &'static str,
    provider: &'static str,
    sender: &'static str,
    secret: &'static str,
) -> Row {
    Row { language, sdk, provider, sender, secret, public: None, other: None }
}

fn rows(language: Language) -> impl Iterator<Item = &'static Row> {
    ROWS.iter().filter(move |row| row.language == language)
}

/// An endpoint for each row: `/default/{sdk}`.
fn endpoints(language: Language) -> String {
    let mut text = String::new();
    for row in rows(language) {
        let Row { sdk, provider, .. } = row;
        let name = sdk.replace('_', "-");
        let secret = json!(row.public());
        write!(
            text,
            "---\napiVersion: v1\nkind: Secret\nmetadata: {{name: {name}}}\nstringData: {{key: {secret}}}\n\
             ---\napiVersion: grapnel.dev/v1beta1\nkind: WebhookEndpoint\nmetadata: {{name: {name}}}\n\
             spec: {{verification: {{provider: {{name: {provider}}}, secretRefs: [{{name: {name}, key: key}}]}}}}\n"
        )
        .unwrap();
    }
    text
}

/// As SDKs take them: names in small letters.
fn headers(map: &HeaderMap) -> Value {
    map.iter()
        .map(|(name, value)| (name.to_string(), value.to_str().unwrap().into()))
        .collect::<serde_json::Map<_, _>>()
        .into()
}

async fn signed_by_sdks(language: Language) {
    let home = Home::new();
    home.write("endpoints.yaml", &endpoints(language));
    let grapnel = home.start();
    let mut sdks = Sdks::start(language);
    for (number, row) in rows(language).enumerate() {
        let Row { sdk, secret, .. } = row;
        let path = format!("/default/{}", sdk.replace('_', "-"));
        // Beyond ASCII, and with blanks and escapes that must not be touched.
        for (part, data) in ["{}", r#"{"a":  1, "b": "\u00e9 é \/ 🦀", "c": [1e2, -0.0]}"#].into_iter().enumerate() {
            let id = format!("evt_{number}_{part}");
            let body = format!(r#"{{"id":"{id}","type":"some.thing","event_id":"{id}","data":{data}}}"#);
            let signed = sdks.sign(sdk, secret, &id, &body);
            let mut headers: Vec<_> = signed.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
            if *sdk == "octokit" {
                headers.extend([("x-github-event", "push"), ("x-github-delivery", &id)]);
            }
            let (status, answer) = grapnel.post(&path, &headers, body.clone()).await;
            // SendGrid sends lists of events, which have no id together.
            if *sdk != "sendgrid" {
                assert_eq!(answer["id"], json!(id), "{language:?} {sdk}: {answer}");
            }
            assert_eq!(status, 200, "{language:?} {sdk}: {answer}");
            let (status, answer) = grapnel.post(&path, &headers, body.replace("some.thing", "some.other")).await;
            assert_eq!((status, &answer["code"]), (401, &json!("invalid_signature")), "{language:?} {sdk}");
            let other = sdks.sign(sdk, &row.other(), &id, &body);
            let headers: Vec<_> = other.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
            let (status, answer) = grapnel.post(&path, &headers, body).await;
            assert_eq!((status, &answer["code"]), (401, &json!("invalid_signature")), "{language:?} {sdk}");
        }
    }
}

#[tokio::test]
async fn what_python_sdks_sign_is_accepted() {
    signed_by_sdks(Language::Python).await;
}

#[tokio::test]
async fn what_javascript_sdks_sign_is_accepted() {
    signed_by_sdks(Language::JavaScript).await;
}

async fn signed_by_send(language: Language) {
    let receiver = Receiver::start().await;
    let home = Home::new();
    let mut sdks = Sdks::start(language);
    for row in rows(language) {
        let Row { sdk, sender, secret, .. } = row;
        home.write("secret", secret);
        let secret_file = home.manifests().join("secret");
        let url = receiver.url.clone();
        let output = tokio::task::spawn_blocking(move || {
            program::run(&["send", &url, "--provider", sender, "--secret-file", secret_file.to_str().unwrap()])
        });
        let output = output.await.unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let arrived = receiver.next().await;
        let (headers, body) = (headers(&arrived.headers), std::str::from_utf8(&arrived.body).unwrap());
        let public = row.public();
        assert_eq!(sdks.refuses(sdk, public, &headers, body), None, "{language:?} {sdk}: {headers} {body}");
        assert!(sdks.refuses(sdk, public, &headers, &body.replacen('e', "é", 1)).is_some(), "{language:?} {sdk}");
    }
}

#[tokio::test]
async fn what_send_signs_is_verified_by_python_sdks() {
    signed_by_send(Language::Python).await;
}

#[tokio::test]
async fn what_send_signs_is_verified_by_javascript_sdks() {
    signed_by_send(Language::JavaScript).await;
}

/// The messages of Amazon SNS have their signature in the body; its library keeps the first certificate that it gets.
#[test]
fn what_send_signs_as_sns_is_verified_by_its_library() {
    const DATA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/crates/signature/src/tests/data");
    let read = |name: &str| std::fs::read_to_string(format!("{DATA}/{name}")).unwrap();
    let certificate = read("sns-1.crt");
    let mut sdks = Sdks::start(Language::JavaScript);
    let mut refuses = |body: &str| sdks.refuses("sns", &certificate, &json!({}), body);
    // For the end of a subscription the library leaves out Token, which SNS documents as signed.
    for name in ["sns-notification.json", "sns-subscription.json"] {
        let message = read(name);
        assert_eq!(refuses(&message), None, "{name}");
        assert!(refuses(&message.replace("\"Message\": \"", "\"Message\": \"x")).is_some(), "{name}");
    }
}

/// Deliveries, signed with an old and a new key, are verified with either; and GitHub's own library verifies the
/// hexadecimal HMAC under its own name.
#[tokio::test]
async fn deliveries_are_verified_by_sdks() {
    const OLD: &str = "whsec_b2xkIG9sZCBvbGQgb2xkIG9sZCBvbGQ=";
    let receiver = Receiver::start().await;
    let home = Home::new();
    let url = &receiver.url;
    home.write(
        "all.yaml",
        &format!(
            r#"
apiVersion: v1
kind: Secret
metadata: {{name: keys}}
stringData: {{old: "{OLD}", new: "{WHSEC}"}}
---
apiVersion: grapnel.dev/v1beta1
kind: WebhookEndpoint
metadata: {{name: in}}
spec: {{verification: {{none: {{}}}}}}
---
apiVersion: grapnel.dev/v1beta1
kind: WebhookSubscription
metadata: {{name: standard}}
spec:
  endpointRef: {{name: in}}
  target: {{url: "{url}/standard"}}
  signing: {{scheme: StandardWebhooks, secretRefs: [{{name: keys, key: new}}, {{name: keys, key: old}}]}}
---
apiVersion: grapnel.dev/v1beta1
kind: WebhookSubscription
metadata: {{name: envelope}}
spec:
  endpointRef: {{name: in}}
  format: Envelope
  target: {{url: "{url}/envelope"}}
  signing: {{scheme: StandardWebhooks, secretRefs: [{{name: keys, key: new}}, {{name: keys, key: old}}]}}
---
apiVersion: grapnel.dev/v1beta1
kind: WebhookSubscription
metadata: {{name: hex}}
spec:
  endpointRef: {{name: in}}
  target: {{url: "{url}/hex"}}
  signing: {{scheme: HmacSha256Hex, header: X-Hub-Signature-256, secretRefs: [{{name: keys, key: new}}]}}
"#
        ),
    );
    let grapnel = home.start();
    let (mut python, mut javascript) = (Sdks::start(Language::Python), Sdks::start(Language::JavaScript));
    let body = r#"{"id":"evt é","type":"invoice.paid","amount": 1.10}"#;
    assert_eq!(grapnel.post("/default/in", &[], body).await.0, 200);
    for _ in 0..3 {
        let arrived = receiver.next().await;
        let (mut headers, body) = (headers(&arrived.headers), std::str::from_utf8(&arrived.body).unwrap());
        if arrived.path == "/hex" {
            // GitHub writes the algorithm in front; the scheme has no prefix.
            let hex = headers["x-hub-signature-256"].as_str().unwrap();
            headers["x-hub-signature-256"] = format!("sha256={hex}").into();
            assert_eq!(javascript.refuses("octokit", WHSEC, &headers, body), None);
            assert!(javascript.refuses("octokit", OLD, &headers, body).is_some());
            continue;
        }
        for sdk in ["svix", "standardwebhooks"] {
            for sdks in [&mut python, &mut javascript] {
                for secret in [OLD, WHSEC] {
                    assert_eq!(sdks.refuses(sdk, secret, &headers, body), None, "{sdk} {}: {headers}", arrived.path);
                }
                let another = "whsec_YW5vdGhlciBhbm90aGVyIGFub3RoZXI=";
                assert!(sdks.refuses(sdk, another, &headers, body).is_some(), "{sdk}");
            }
        }
    }
}
