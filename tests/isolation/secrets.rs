//! Secrets of every kind go in, requests good and bad go through, and then every word that came out is searched for them.

use std::sync::{Arc, Mutex};

use base64::{Engine, engine::general_purpose::STANDARD};
use grapnel_test_support::receiver::{Receiver, rejection};
use http::Response;

use crate::{
    home::Home,
    program::{Grapnel, command, hmac_hex, leaks::Secrets, run},
    targets::{Targets, parts},
};

#[test]
fn every_form_of_a_secret_is_found() {
    let mut secrets = Secrets::default();
    secrets.add("password", "pass\"word-häh?");
    for text in [
        "x pass\"word-häh? x".to_owned(),
        serde_json::json!({ "a": "pass\"word-häh?" }).to_string(),
        format!("{:?}", "pass\"word-häh?".as_bytes()),
        format!("{:?}", bytes::Bytes::from("pass\"word-häh?")),
        hex::encode("user:pass\"word-häh?"),
        STANDARD.encode("pass\"word-häh?"),
        STANDARD.encode("u:pass\"word-häh?!"),
        base64::engine::general_purpose::URL_SAFE.encode("us:pass\"word-häh?!!"),
    ] {
        let found = std::panic::catch_unwind(|| secrets.assert_none_in("here", &text));
        assert!(found.is_err(), "{text}");
    }
    secrets.assert_none_in("here", "password pass\"word");
}

/// A kind of secret that requests prove themselves with.
struct Inbound {
    name: &'static str,
    verification: &'static str,
    secret: &'static str,
    /// What the endpoint knows instead, where only the sender has a secret.
    public: Option<&'static str>,
    /// How `grapnel send` calls it, with its flags.
    send: &'static [&'static str],
}

const INBOUND: &[Inbound] = &[
    Inbound {
        name: "github",
        verification: "provider: { name: GitHub }",
        secret: "github-Aq3xVt9z",
        public: None,
        send: &["github"],
    },
    Inbound {
        name: "stripe",
        verification: "provider: { name: Stripe }",
        secret: "whsec_stripe8Zq2Lm",
        public: None,
        send: &["stripe"],
    },
    Inbound {
        name: "slack",
        verification: "provider: { name: Slack }",
        secret: "slack-8f742231b10e",
        public: None,
        send: &["slack"],
    },
    Inbound {
        name: "standard",
        verification: "provider: { name: StandardWebhooks }",
        secret: "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        public: None,
        send: &["standard-webhooks"],
    },
    Inbound {
        name: "hmac",
        verification: "hmac: { header: X-Signature, algorithm: SHA512, encoding: Base64 }",
        secret: "hmac-\\\"quoted\\\"-Wz7",
        public: None,
        send: &["hmac-sha512-base64", "--hmac-header", "X-Signature"],
    },
    Inbound {
        name: "gitlab",
        verification: "provider: { name: GitLab }",
        secret: "gitlab-token-Nb7Ew3Rk",
        public: None,
        send: &["git-lab"],
    },
    Inbound {
        name: "gitlab-signed",
        verification: "provider: { name: GitLab }",
        secret: "whsec_c2lnbmluZyB0b2tlbiBvZiBnaXRsYWIsIDMyIGJ5dGVz",
        public: None,
        send: &["gitlab"],
    },
    Inbound { name: "token", verification: "token: {}", secret: "token-Kd83hSx0qP", public: None, send: &["token"] },
    Inbound {
        name: "key",
        verification: "token: { header: X-Api-Key, scheme: '' }",
        secret: "api-key-Xc8Vb1Nm",
        public: None,
        send: &["token", "--token-header", "X-Api-Key", "--token-scheme", ""],
    },
    // With the user name of the Secret that holds them all.
    Inbound {
        name: "basic-in",
        verification: "basic: {}",
        secret: "password-of-callers-Sd5Fg8",
        public: None,
        send: &["basic"],
    },
    Inbound {
        name: "discord",
        verification: "provider: { name: Discord }",
        secret: "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
        public: Some("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"),
        send: &["discord"],
    },
    Inbound {
        name: "sendgrid",
        verification: "provider: { name: SendGrid }",
        secret: "-----BEGIN PRIVATE KEY-----\nMIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgmzkGxHt3G33X9G8u\nESk995SOL3lVhIFfNp9RodDMNDChRANCAAQfacKLsfyiutqRnPAZamqzrSTkRAcS\nPpeTPwDOxD3fiL5QpkPO7Vt9QDSveEVvxUkNy0gbWH4UpvORYn5FqMyB\n-----END PRIVATE KEY-----\n",
        public: Some(
            "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEH2nCi7H8orrakZzwGWpqs60k5EQHEj6Xkz8AzsQ934i+UKZDzu1bfUA0r3hFb8VJDctIG1h+FKbzkWJ+RajMgQ==",
        ),
        send: &["send-grid"],
    },
];

/// A kind of secret that deliveries carry or are signed with: name, what uses it, secret.
const OUTBOUND: &[(&str, &str, &str)] = &[
    (
        "sign-standard",
        "signing: { scheme: StandardWebhooks, secretRefs: [{ name: all, key: sign-standard }] }",
        "whsec_cXVpY2tzdGFydC1yZWNlaXZlci1zaWduaW5nLWtleSE=",
    ),
    ("sign-hex", "signing: { scheme: HmacSha256Hex, secretRefs: [{ name: all, key: sign-hex }] }", "hex-signing-R4w9"),
    (
        "sign-ed25519",
        "signing: { scheme: Ed25519, secretRefs: [{ name: all, key: sign-ed25519 }] }",
        "whsk_T2w5bXBpYyBwb29scyBhcmUgYmx1ZSBhbmQgZGVlcCE=",
    ),
    (
        "header",
        "HEADERS: [{ name: Authorization, secretKeyRef: { name: all, key: header } }]",
        "Bearer delivery-J5kq2Lz8",
    ),
    ("bearer", "TARGET auth: { bearer: { secretKeyRef: { name: all, key: bearer } } }", "bearer-of-deliveries-Uj6Gt1"),
    // The Secret of that name holds it as a password.
    ("basic", "TARGET auth: { basic: { secretRef: { name: basic } } }", "password-of-deliveries-Ik9Po4"),
    (
        "header-plain",
        "HEADERS: [{ name: X-Key, secretKeyRef: { name: all, key: header-plain } }]",
        "plain key with blanks",
    ),
];

/// Secrets that are of no use, so that there is something to complain about: name, object, secret.
const USELESS: &[(&str, &str, &str)] = &[
    ("bad-whsec", "provider: { name: StandardWebhooks }", "whsec_not:base64:at:all:Pz6"),
    ("short-whsec", "provider: { name: StandardWebhooks }", "whsec_c2hvcnQtZm9v"),
    (
        "bad-ed25519",
        "signing: { scheme: Ed25519, secretRefs: [{ name: all, key: bad-ed25519 }] }",
        "whsk_dG9vLXNob3J0LXNlZWQ=",
    ),
    (
        "wrong-kind",
        "signing: { scheme: Ed25519, secretRefs: [{ name: all, key: wrong-kind }] }",
        "whsec_d3Jvbmcta2luZC1vZi1rZXk=",
    ),
    ("bad-header", "HEADERS: [{ name: X-Key, secretKeyRef: { name: all, key: bad-header } }]", "two\\nlines-of-Bn5"),
];

const PAYLOAD: &str = "payload-marker-Yt7Rw2";
const ADMIN: &str = "admin-token-Mv4Xs9";
const COLLECTOR: &str = "collector-token-Ew5Rt2";
const PROXY: &str = "proxy-password-Hg6Df3";

fn endpoint(name: &str, verification: &str) -> String {
    format!(
        "---\napiVersion: grapnel.dev/v1beta1\nkind: WebhookEndpoint\nmetadata: {{ name: {name} }}\nspec:\n  verification:\n    {verification}\n    secretRefs: [{{ name: all, key: {name} }}]\n"
    )
}

fn subscription(name: &str, uses: &str, url: &str) -> String {
    let (headers, rest) = match (uses.strip_prefix("HEADERS"), uses.strip_prefix("TARGET ")) {
        (Some(headers), _) => (format!(", headersFrom{headers}"), ""),
        (None, Some(fields)) => (format!(", {fields}"), ""),
        (None, None) => (String::new(), uses),
    };
    format!(
        "---\napiVersion: grapnel.dev/v1beta1\nkind: WebhookSubscription\nmetadata: {{ name: {name} }}\nspec:\n  endpointRef: {{ name: hmac }}\n  target: {{ url: '{url}/{name}'{headers} }}\n  retry: {{ maxAttempts: 2, initialDelay: 1s, jitter: None }}\n  {rest}\n"
    )
}

fn manifests(url: &str) -> String {
    let mut text =
        String::from("apiVersion: v1\nkind: Secret\nmetadata: { name: all }\nstringData:\n  username: grapnel\n");
    let inbound = INBOUND.iter().map(|kind| (kind.name, kind.public.unwrap_or(kind.secret)));
    let others = OUTBOUND.iter().chain(USELESS).map(|(name, _, secret)| (*name, *secret));
    for (name, secret) in inbound.chain(others) {
        text += &format!("  {name}: \"{secret}\"\n");
    }
    for (name, uses, secret) in OUTBOUND.iter().filter(|(_, uses, _)| uses.contains("basic:")) {
        let data = format!("{{ username: grapnel, password: {secret} }}");
        text += &format!("---\napiVersion: v1\nkind: Secret\nmetadata: {{ name: {name} }}\nstringData: {data}\n");
        assert!(uses.contains(name));
    }
    for kind in INBOUND {
        text += &endpoint(kind.name, kind.verification);
    }
    for (name, uses, _) in OUTBOUND.iter().chain(USELESS) {
        text += &if uses.starts_with("provider") { endpoint(name, uses) } else { subscription(name, uses, url) };
    }
    text
}

/// The value as YAML reads it.
fn plain(secret: &str) -> String {
    secret.replace("\\\"", "\"").replace("\\n", "\n")
}

type Signatures = Arc<Mutex<Vec<String>>>;

/// A receiver that rejects everything and repeats all that it knows.
async fn echo() -> (Receiver, Signatures) {
    let signatures = Signatures::default();
    let seen = Arc::clone(&signatures);
    let echo = Receiver::setup().keeping_nothing().respond(move |request| {
        for name in ["webhook-signature", "x-webhook-signature"] {
            let values = request.headers.get(name).and_then(|value| value.to_str().ok());
            seen.lock().unwrap().extend(values.map(str::to_owned));
        }
        rejection(&request.headers, &format!("{}\n", request.uri))
    });
    (echo.await, signatures)
}

/// What is sent to a collector of traces, whose answers repeat the credentials that it was shown.
async fn collector() -> (Receiver, Arc<Mutex<Vec<u8>>>) {
    let collected = Arc::<Mutex<Vec<u8>>>::default();
    let bytes = Arc::clone(&collected);
    let collector = Receiver::setup().keeping_nothing().respond(move |request| {
        assert_eq!(request.header("authorization"), format!("Bearer {COLLECTOR}"));
        let mut bytes = bytes.lock().unwrap();
        let first = bytes.is_empty();
        bytes.extend_from_slice(&request.body);
        let (status, text) = if first { (401, format!("{:?}", request.headers)) } else { (200, String::new()) };
        Response::builder().status(status).body(text).unwrap()
    });
    (collector.await, collected)
}

fn secrets() -> Secrets {
    let mut secrets = Secrets::default();
    for kind in INBOUND {
        match kind.secret.starts_with("-----") {
            true => parts(kind.secret).iter().for_each(|part| secrets.add(kind.name, part)),
            false => secrets.add(kind.name, plain(kind.secret)),
        }
    }
    for (name, _, secret) in OUTBOUND.iter().chain(USELESS) {
        secrets.add(name, plain(secret));
    }
    secrets.add("delivery token without its scheme", "delivery-J5kq2Lz8");
    secrets.add("admin token", ADMIN);
    secrets.add("proxy's password", PROXY);
    secrets.add("collector's token", COLLECTOR);
    secrets.add("cookie", "session-cookie-Lp2");
    secrets.add("caller's password", "callers-password-Zx9");
    secrets
}

/// Every answer to bad requests.
async fn bad_requests(grapnel: &Grapnel) -> String {
    let mut printed = String::new();
    let body = format!(r#"{{"id":"e","type":"t","x":"{PAYLOAD}"}}"#);
    for kind in INBOUND {
        let path = format!("/default/{}", kind.name);
        // Of several lines, which no header holds.
        let secret = plain(kind.secret).replace('\n', " ");
        // What senders do by mistake: the secret itself where its signature should be, in another scheme, for another
        // endpoint, with something before or after it.
        let header =
            ["X-Hub-Signature-256", "Stripe-Signature", "X-Slack-Signature", "webhook-signature", "X-Signature"];
        for value in [
            secret.clone(),
            format!("sha256={secret}"),
            format!("t=1,v1={secret}"),
            format!("v0={secret}"),
            format!("v1,{secret}"),
            format!("Bearer {secret}x"),
            format!("Basic {}", STANDARD.encode(format!("user:{secret}"))),
            format!("Basic {}", STANDARD.encode(format!("grapnel:{secret}x"))),
        ] {
            let mut headers: Vec<(&str, &str)> = header.iter().map(|name| (*name, value.as_str())).collect();
            headers.extend([("authorization", value.as_str()), ("cookie", "a=session-cookie-Lp2")]);
            headers.extend([("webhook-id", "e"), ("webhook-timestamp", value.as_str())]);
            headers.extend([("x-slack-request-timestamp", value.as_str())]);
            if kind.name != "key" {
                headers.push(("x-api-key", &value));
            }
            let answer = grapnel.try_post(&path, &headers, body.clone()).await.unwrap();
            printed += &format!("{:?} {:?}\n", answer.status(), answer.headers());
            printed += &answer.text().await.unwrap();
        }
        // Right, and yet not to be understood.
        let signature = hmac_hex(&secret, b"{");
        for (name, value) in [("x-hub-signature-256", format!("sha256={signature}")), ("x-api-key", secret.clone())] {
            let answer = grapnel.try_post(&path, &[(name, &value)], "{").await.unwrap();
            printed += &answer.text().await.unwrap();
        }
    }
    for (path, headers) in [
        ("/default/absent", vec![("authorization", "Basic dXNlcjpjYWxsZXJzLXBhc3N3b3JkLVp4OQ==")]),
        ("/default/useless?key=callers-password-Zx9", vec![]),
        ("/default/bad-whsec", vec![("authorization", "callers-password-Zx9")]),
    ] {
        printed += &grapnel.try_post(path, &headers, body.clone()).await.unwrap().text().await.unwrap();
    }
    printed
}

/// Runs it all, with logs in a format; gives everything that was said, by place.
async fn everything(format: &str) {
    let (echo, signatures) = echo().await;
    let home = Home::new();
    home.write("all.yaml", &manifests(&echo.url));
    let mut targets = Targets::start(&echo.url).await;
    home.write("targets.yaml", &targets.manifests);
    let token = home.data().with_file_name("admin-token");
    std::fs::write(&token, ADMIN).unwrap();
    let proxy = format!("http://grapnel:{PROXY}@127.0.0.1:9");
    let (collector, collected) = collector().await;
    let shown = format!("authorization=Bearer%20{COLLECTOR}");
    let environment = [
        ("RUST_LOG", "trace"),
        ("RUST_BACKTRACE", "full"),
        ("GRAPNEL_EGRESS_PROXY", proxy.as_str()),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url.as_str()),
        ("OTEL_EXPORTER_OTLP_HEADERS", shown.as_str()),
        ("OTEL_BSP_SCHEDULE_DELAY", "100"),
    ];
    let (manifest_dir, data) = (home.manifests(), home.data());
    let grapnel = Grapnel::start_in(
        &environment,
        [
            "standalone",
            "-f",
            manifest_dir.to_str().unwrap(),
            "--data-dir",
            data.to_str().unwrap(),
            "--admin-token-file",
            token.to_str().unwrap(),
            "--log-format",
            format,
        ],
    );
    let mut secrets = secrets();
    let ask = async |path: &str, token: &str| {
        let request = reqwest::Client::builder().no_proxy().build().unwrap().get(format!("{}{path}", grapnel.admin));
        request.bearer_auth(token).send().await.unwrap().text().await.unwrap()
    };

    let mut printed = bad_requests(&grapnel).await;
    for kind in INBOUND {
        let url = format!("{}/default/{}", grapnel.webhooks, kind.name);
        let data = format!(r#"{{"id":"sent","type":"t","event_id":"sent","x":"{PAYLOAD}"}}"#);
        let file = home.data().with_file_name("payload.json");
        std::fs::write(&file, data).unwrap();
        let secret = if kind.name == "basic-in" { format!("grapnel:{}", kind.secret) } else { plain(kind.secret) };
        let mut arguments = vec!["send", &url, "--data", file.to_str().unwrap(), "--provider"];
        arguments.extend(kind.send);
        arguments.extend(["--secret-env", "SECRET", "--header", "Cookie: a=session-cookie-Lp2"]);
        let output = command().args(&arguments).env("SECRET", &secret).env("RUST_LOG", "trace").output().unwrap();
        printed += &[output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap()).concat();
        assert!(output.status.success(), "{}: {printed}", kind.name);
    }
    // Deliveries of what came to `hmac`: each is refused twice by the echo, and then dead.
    let delivering = || OUTBOUND.iter().map(|(name, ..)| (*name, true)).chain(targets.failing.iter().copied());
    for (name, _) in delivering() {
        grapnel
            .eventually(&format!("the dead letter of {name}"), async || {
                let objects: serde_json::Value = serde_json::from_str(&ask("/api/v1/objects", ADMIN).await).unwrap();
                let items = objects["items"].as_array().unwrap();
                let object = items.iter().find(|object| object["name"] == name).unwrap();
                (object["status"]["deadLettered"] == 1).then_some(())
            })
            .await;
    }
    // Files that break, around a secret.
    let broken = [
        "apiVersion: v1\nkind: Secret\nmetadata: { name: b }\nstringData: { a: \"callers-password-Zx9 }\n",
        "apiVersion: v1\nkind: Secret\nmetadata: { name: b }\ndata: { a: callers-password-Zx9 }\n",
        "apiVersion: v1\nkind: Secret\nmetadata: { name: b }\nstringData: { a: [callers-password-Zx9] }\n",
        "apiVersion: v1\nkind: Secret\nmetadata: { name: b }\nstringData: callers-password-Zx9\n",
        "apiVersion: v1\nkind: Secret\nmetadata: { name: b }\nstringData: { a: callers-password-Zx9\n  b: callers-password-Zx9: c\n",
        "apiVersion: v1\nkind: Secret\nmetadata: { name: b }\nstringData: { a: x, a: callers-password-Zx9 }\n",
        "apiVersion: v1\nkind: Secret\nmetadata: { name: b }\nstringData: *callers-password-Zx9\n",
        "apiVersion: v1\nkind: Secret\nmetadata: { name: b }\nstringData: !!int callers-password-Zx9\n",
    ];
    for (number, text) in broken.iter().enumerate() {
        let name = format!("broken-{number}.yaml");
        home.write(&name, text);
        grapnel.eventually("a complaint", async || grapnel.log().contains(&name).then_some(())).await;
        let output = run(&["check", "-f", home.manifests().join(&name).to_str().unwrap()]);
        assert_eq!(output.status.code(), Some(1), "{text}");
        printed += &[output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap()).concat();
    }

    let mut places =
        vec![("answers and commands".to_owned(), printed), ("metrics".into(), grapnel.admin("/metrics").await.1)];
    for path in ["/api/v1/objects", "/readyz", "/healthz"] {
        places.push((path.into(), ask(path, ADMIN).await));
        places.push((format!("{path}, refused"), ask(path, "admin-token-Mv4Xs8").await));
    }
    let help = command().args(["standalone", "--help"]).envs(environment).output().unwrap();
    places.push(("--help".into(), String::from_utf8(help.stdout).unwrap()));
    let usage = command().args(["standalone", "-f", "."]).env("GRAPNEL_EGRESS_PROXY", format!("{proxy}/x")).output();
    places.push(("a usage error".into(), String::from_utf8(usage.unwrap().stderr).unwrap()));
    for kind in INBOUND {
        let base = format!("/api/v1/namespaces/default/endpoints/{}/events", kind.name);
        let events = ask(&base, ADMIN).await;
        assert!(events.contains("\"id\""), "{events}");
        places.push((base.clone(), events));
        places.push((format!("{base}/sent"), ask(&format!("{base}/sent"), ADMIN).await));
    }
    for (name, shown) in delivering() {
        let base = format!("/api/v1/namespaces/default/subscriptions/{name}/deliveries");
        let deliveries = ask(&base, ADMIN).await;
        assert_eq!(deliveries.contains("what is this?"), shown, "{name}: {deliveries}");
        places.push((base, deliveries));
    }
    // Stop it, so that its log is whole.
    grapnel.send_signal("TERM");
    let (status, log) = grapnel.ended().await;
    assert!(status.success(), "{log}");
    assert!(log.contains("TRACE"), "the log is not as detailed as it should be");
    places.push(("log".into(), log));
    // Spans as protobuf, in which texts are as they are.
    let spans = String::from_utf8_lossy(&collected.lock().unwrap()).into_owned();
    assert!(spans.contains("deliver default/everything"), "no spans came");
    places.push(("spans".into(), spans));

    let signatures = signatures.lock().unwrap().clone();
    assert!(signatures.len() >= 6, "{signatures:?}");
    for signature in signatures {
        secrets.add("signature of a delivery", signature.rsplit(',').next().unwrap());
    }
    for (name, secret) in [targets.sent(), std::mem::take(&mut targets.secrets)].concat() {
        secrets.add(name, secret);
    }
    // Neither the secrets of objects nor those that requests showed are kept with the events.
    let mut directories = vec![home.data()];
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                directories.push(path);
            } else {
                let bytes = std::fs::read(&path).unwrap();
                // Space that the journal has taken ahead.
                let used = bytes.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
                secrets.assert_none_in(&path.display().to_string(), &String::from_utf8_lossy(&bytes[..used]));
            }
        }
    }
    for (place, text) in &places {
        secrets.assert_none_in(place, text);
    }
    // Payloads are for those alone who ask for the event.
    let mut payload = Secrets::default();
    payload.add("payload", PAYLOAD);
    for (place, text) in places.iter().filter(|(place, _)| !place.ends_with("/sent")) {
        payload.assert_none_in(place, text);
    }
}

#[tokio::test]
async fn no_secret_is_in_what_is_logged_as_text_or_answered() {
    everything("text").await;
}

#[tokio::test]
async fn no_secret_is_in_what_is_logged_as_json_or_answered() {
    everything("json").await;
}
