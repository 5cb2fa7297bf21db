//! Targets whose secrets are more than the value of a header: URLs, clients of authorization servers with the tokens that
//! they are given, and keys of certificates; each where it works, where it fails, and where those who are called repeat it
//! all.

use std::fmt::Write;

use grapnel_test_support::{
    certificates::{Authority, PROTOCOLS, Pair},
    home::unused_address,
    receiver::{Received, Receiver},
};
use http::Response;
use rcgen::KeyPair;

const PATH: &str = "path-secret-Wq7Zx2";
const QUERY: &str = "query-secret-Lm4Vb8";
const HOST: &str = "host-secret-rk5tn3";
const USERINFO: &str = "userinfo-secret-Pb2Ds6";
const CLIENT: &str = "client-secret+Gy7/Hj4=Kx";
/// Every token begins like this.
const TOKEN: &str = "access-token-Qw8Er5Ty2";
const KEYS: [&str; 2] =
    ["whsec_c2V2ZXJhbC1hdC1vbmNlLXRoZS1maXJzdC1rZXk=", "whsec_c2V2ZXJhbC1hdC1vbmNlLXRoZS1vdGhlci1rZXk="];
const HEADERS: [&str; 2] = ["several-header-Ax3Cv9", "Token several-header-Bz6Nm1"];

/// Receivers, an authorization server, and what is to be written to use them.
pub(crate) struct Targets {
    pub(crate) manifests: String,
    /// Subscriptions to the endpoint `hmac` whose deliveries fail, and whether the answer is shown, which repeats all.
    pub(crate) failing: Vec<(&'static str, bool)>,
    pub(crate) secrets: Vec<(&'static str, Vec<u8>)>,
    issuer: Receiver,
    receiver: Receiver,
}

/// All that is known of a request.
fn repeated(request: &Received) -> String {
    let mut echo = format!("what is this?\n{}\n", request.uri);
    // The shown ones first: only the start of it is kept.
    let mut lines: Vec<_> = request.headers.iter().map(|(name, value)| format!("{name}: {value:?}")).collect();
    lines.sort_by_key(|line| !line.starts_with("authorization") && !line.starts_with("x-"));
    let body = String::from_utf8_lossy(&request.body);
    write!(echo, "{}\n{body}", lines.join("\n")).unwrap();
    echo
}

fn answer(status: u16, text: impl Into<String>) -> Response<String> {
    Response::builder().status(status).body(text.into()).unwrap()
}

/// An authorization server that gives a token, or repeats what it was sent in each of the places where something is read.
fn authorize(request: &Received) -> Response<String> {
    let echo = repeated(request);
    match &*request.path {
        "/token" => answer(
            200,
            serde_json::json!({ "access_token": format!("{TOKEN}-1"), "token_type": "Bearer", "expires_in": 3600 })
                .to_string(),
        ),
        "/refused" => answer(
            401,
            serde_json::json!({ "error": "invalid_client", "error_description": echo, "error_uri": echo }).to_string(),
        ),
        "/refused-oddly" => answer(400, serde_json::json!({ "error": echo }).to_string()),
        "/moved" => {
            let place = format!("/elsewhere?{}", hex::encode(echo));
            Response::builder().status(307).header("location", place).body(String::new()).unwrap()
        }
        "/garbled" => answer(200, echo),
        "/of-another-type" => {
            answer(200, serde_json::json!({ "access_token": format!("{TOKEN}-2"), "token_type": echo }).to_string())
        }
        "/of-no-use" => answer(
            200,
            serde_json::json!({ "access_token": format!("{TOKEN}-3\n{echo}"), "token_type": "Bearer" }).to_string(),
        ),
        path => panic!("nobody was told of {path}"),
    }
}

/// A value of a YAML mapping, over several lines.
pub(crate) fn block(text: &str) -> String {
    text.lines().fold(String::from("|\n"), |block, line| block + "    " + line + "\n")
}

fn pair(name: &str, chain: &str, key: &str) -> String {
    format!(
        "---\napiVersion: v1\nkind: Secret\nmetadata: {{ name: {name} }}\nstringData:\n  tls.crt: {}  tls.key: {}",
        block(chain),
        block(key)
    )
}

fn subscription(name: &str, target: &str, more: &str) -> String {
    format!(
        "---\napiVersion: grapnel.dev/v1beta1\nkind: WebhookSubscription\nmetadata: {{ name: {name} }}\nspec:\n  endpointRef: {{ name: hmac }}\n  target: {{ timeout: 5s, {target} }}\n  retry: {{ maxAttempts: 2, initialDelay: 1s, jitter: None }}\n  {more}\n"
    )
}

impl Targets {
    /// `echo` is a receiver without TLS that repeats everything.
    pub(crate) async fn start(echo: &str) -> Self {
        let (servers, clients) = (Authority::new(), Authority::new());
        let issuer = Receiver::setup().tls(servers.issue("localhost").acceptor(PROTOCOLS)).respond(authorize).await;
        let receiver = Receiver::setup().tls(servers.issue("localhost").acceptor_for(&clients));
        let receiver = receiver.respond(|request| answer(403, repeated(request))).await;
        let closed = unused_address();
        let (mine, stranger, other) = (clients.issue("grapnel"), servers.issue("grapnel"), clients.issue("grapnel"));
        let garbled = other.key.replace("\n-----END", "!\n-----END");
        let hook = receiver.url_of("localhost", "/hook");

        let urls = [
            ("url", format!("{echo}/{PATH}?code={QUERY}"), true),
            ("url-refused", format!("http://{closed}/{PATH}?code={QUERY}"), true),
            ("url-nowhere", format!("http://{HOST}.invalid/{PATH}?code={QUERY}"), true),
            ("url-misnamed", format!("{}?code={QUERY}", receiver.url_of("127.0.0.1", &format!("/{PATH}"))), true),
            ("url-everything", format!("{}?code={QUERY}", receiver.url_of("localhost", &format!("/{PATH}"))), true),
            ("url-forbidden", format!("http://10.0.0.7/{PATH}?code={QUERY}"), false),
            ("url-not-one", format!("{PATH} {QUERY}"), false),
            ("url-of-files", format!("file:///{PATH}"), false),
            ("url-of-somebody", format!("https://me:{USERINFO}@localhost/{PATH}"), false),
            ("url-of-a-port", format!("https://localhost:{PATH}/"), false),
        ];
        let mut manifests = String::from("apiVersion: v1\nkind: Secret\nmetadata: { name: targets }\nstringData:\n");
        let values = [("id", "grapnel"), ("client", CLIENT), ("sign-1", KEYS[0]), ("sign-2", KEYS[1])];
        let headers = [("header-1", HEADERS[0]), ("header-2", HEADERS[1])];
        let urls_by_key = urls.iter().map(|(name, url, _)| (*name, url.as_str()));
        for (key, value) in values.into_iter().chain(headers).chain(urls_by_key) {
            writeln!(manifests, "  {key}: {value:?}").unwrap();
        }
        write!(
            manifests,
            "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {{ name: trust }}\ndata:\n  ca.crt: {}",
            block(&servers.pem)
        )
        .unwrap();
        manifests += &pair("mine", &mine.chain, &mine.key);
        manifests += &pair("stranger", &stranger.chain, &stranger.key);
        manifests += &pair("mismatched", &mine.chain, &other.key);
        manifests += &pair("garbled", &other.chain, &garbled);

        let trust = "caRef: { configMapRef: { name: trust, key: ca.crt } }";
        let mut failing = Vec::new();
        for (name, _, delivers) in &urls {
            let url = format!("urlFrom: {{ secretKeyRef: {{ name: targets, key: {name} }} }}");
            if *name != "url-everything" {
                manifests += &subscription(name, &url, "");
                failing.extend(delivers.then_some((*name, false)));
            }
        }
        let oauth = |path: &str, method: &str| {
            let url = issuer.url_of("localhost", path);
            format!(
                "auth: {{ oauth2ClientCredentials: {{ tokenUrl: '{url}', clientIdRef: {{ name: targets, key: id }}, clientSecretRef: {{ name: targets, key: client }}, method: {method}, tls: {{ {trust} }} }} }}"
            )
        };
        for (name, path, method, called) in [
            ("oauth-basic", "/token", "ClientSecretBasic", true),
            ("oauth-post", "/token", "ClientSecretPost", true),
            ("oauth-refused", "/refused", "ClientSecretPost", false),
            ("oauth-refused-basic", "/refused", "ClientSecretBasic", false),
            ("oauth-refused-oddly", "/refused-oddly", "ClientSecretPost", false),
            ("oauth-moved", "/moved", "ClientSecretPost", false),
            ("oauth-garbled", "/garbled", "ClientSecretPost", false),
            ("oauth-of-another-type", "/of-another-type", "ClientSecretPost", false),
            ("oauth-of-no-use", "/of-no-use", "ClientSecretPost", false),
        ] {
            manifests += &subscription(name, &format!("url: '{echo}/{name}', {}", oauth(path, method)), "");
            failing.push((name, called));
        }
        for (name, secret, called) in [
            ("certificate", "mine", Some(true)),
            ("certificate-of-strangers", "stranger", Some(false)),
            ("certificate-mismatched", "mismatched", None),
            ("certificate-garbled", "garbled", None),
        ] {
            let target = format!("url: '{hook}', tls: {{ {trust}, clientCertRef: {{ name: {secret} }} }}");
            manifests += &subscription(name, &target, "");
            failing.extend(called.map(|called| (name, called)));
        }
        let both = |key: &str| format!("secretKeyRef: {{ name: targets, key: {key} }}");
        let everything = format!(
            "urlFrom: {{ {} }}, headersFrom: [{{ name: X-One, {} }}, {{ name: X-Two, {} }}], {}, tls: {{ {trust}, clientCertRef: {{ name: mine }} }}",
            both("url-everything"),
            both("header-1"),
            both("header-2"),
            oauth("/token", "ClientSecretBasic")
        );
        let signing = "signing: { scheme: StandardWebhooks, secretRefs: [{ name: targets, key: sign-1 }, { name: targets, key: sign-2 }] }";
        manifests += &subscription("everything", &everything, signing);
        failing.push(("everything", false));

        let mut secrets: Vec<(&'static str, Vec<u8>)> = [
            ("path of a URL", PATH),
            ("query of a URL", QUERY),
            ("host of a URL", HOST),
            ("credentials in a URL", USERINFO),
            ("client's secret", CLIENT),
            ("access token", TOKEN),
            ("first key of two", KEYS[0]),
            ("second key of two", KEYS[1]),
            ("first header of two", HEADERS[0]),
            ("second header of two", "several-header-Bz6Nm1"),
        ]
        .map(|(name, secret)| (name, secret.into()))
        .into();
        for Pair { key, .. } in [mine, stranger, other] {
            secrets.extend(parts(&key).into_iter().map(|part| ("key of a certificate", part)));
        }
        Self { manifests, failing, secrets, issuer, receiver }
    }

    /// What was sent that is a secret as well; all that was to be sent was.
    pub(crate) fn sent(&self) -> Vec<(&'static str, Vec<u8>)> {
        let request = self.issuer.rest();
        let posted = |request: &Received| String::from_utf8_lossy(&request.body).contains("client_secret");
        assert!(request.iter().any(&posted) && request.iter().any(|request| !posted(request)));
        let received = self.receiver.rest();
        assert!(received.iter().all(|received| received.tls.certificates == 1));
        let full = received.iter().find(|received| received.path == format!("/{PATH}")).unwrap();
        assert_eq!(full.header("authorization"), format!("Bearer {TOKEN}-1"));
        assert_eq!(full.header("x-two"), HEADERS[1]);
        let signatures = full.header("webhook-signature");
        let signatures: Vec<_> = signatures.split(' ').map(|one| one.strip_prefix("v1,").unwrap()).collect();
        assert_eq!(signatures.len(), 2);
        signatures.into_iter().map(|one| ("signature of two", one.into())).collect()
    }
}

/// What of a private key in PEM must not be seen: its lines, and the number itself.
pub(crate) fn parts(pem: &str) -> Vec<Vec<u8>> {
    let mut parts: Vec<Vec<u8>> =
        pem.lines().filter(|line| line.len() >= 32 && !line.starts_with('-')).map(Into::into).collect();
    // RFC 5915 in RFC 5958, of a curve of 256 bits: 36 bytes of what it is, then the number.
    parts.push(KeyPair::from_pem(pem).unwrap().serialize_der()[36..68].into());
    parts
}
