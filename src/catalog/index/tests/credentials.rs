//! Compiled URLs from Secrets, credentials and TLS of targets.

use grapnel_delivery::egress::Reach;
use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};

use super::*;

/// A value that occurs only in Secrets.
const HUSH: &str = "hush-7f3a";

fn certificate(name: &str) -> (String, String) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
}

fn to(target: Value) -> Object {
    Object::new("shop", "out", json!({ "endpointRef": { "name": "in" }, "target": target }))
}

fn secret(name: &str, data: &[(&str, &str)]) -> Change {
    let data = data.iter().map(|(key, value)| ((*key).to_owned(), Secret::from(*value))).collect();
    Change::Secret(key("shop", name), Some(data))
}

fn config_map(name: &str, data: &[(&str, &str)]) -> Change {
    let data = data.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    Change::ConfigMap(key("shop", name), Some(data))
}

fn stage(target: Value, values: Vec<Change>) -> Stage {
    let mut stage = Stage::new();
    stage.apply(values);
    stage.tell([open("shop", "in").endpoint(), to(target).subscription()]);
    stage
}

fn compiled(stage: &Stage) -> Arc<Subscription> {
    let found = stage.published.snapshot.subscription(&key("shop", "out"));
    Arc::clone(found.unwrap_or_else(|| panic!("{:?}", stage.ready(ObjectKind::Subscription, &key("shop", "out")))))
}

#[test]
fn a_url_from_a_secret_is_used_and_followed_when_it_changes() {
    let url_from = json!({ "urlFrom": { "secretKeyRef": { "name": "chat", "key": "url" } } });
    let mut stage = stage(url_from, vec![secret("chat", &[("url", "https://hooks.example/T0/hush-7f3a\n")])]);
    let target = &compiled(&stage).target;
    assert_eq!((target.url.as_str(), target.reach), ("https://hooks.example/T0/hush-7f3a", Reach::Url));
    assert!(target.secret_url);
    stage.tell([secret("chat", &[("url", "https://hooks.example/T0/other")])]);
    assert_eq!(compiled(&stage).target.url.path(), "/T0/other");
    stage.tell([Change::Secret(key("shop", "chat"), None)]);
    assert!(!stage.delivers(&key("shop", "out")));
    assert_eq!(stage.subscription(&key("shop", "out")), Reason::SecretNotFound);
}

#[test]
fn credentials_become_a_header_that_is_not_shown() {
    let basic = json!({ "basic": { "secretRef": { "name": "user" } } });
    let bearer = json!({ "bearer": { "secretKeyRef": { "name": "token", "key": "token" } } });
    for (auth, value, expected) in [
        // The example of RFC 7617, 2, with the line endings that files leave behind.
        (
            &basic,
            secret("user", &[("username", "Aladdin\n"), ("password", "open sesame\r\n")]),
            "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==",
        ),
        // An API key as the user name.
        (&basic, secret("user", &[("username", "key"), ("password", "")]), "Basic a2V5Og=="),
        (&basic, secret("user", &[("username", "a"), ("password", "b:c")]), "Basic YTpiOmM="),
        (&bearer, secret("token", &[("token", "mF_9.B5f-4.1JqM\n")]), "Bearer mF_9.B5f-4.1JqM"),
    ] {
        let stage = stage(json!({ "url": "https://receiver.example/", "auth": auth }), vec![value]);
        let header = compiled(&stage).target.headers.get("authorization").cloned().unwrap();
        assert_eq!(header, expected);
        assert!(header.is_sensitive());
    }
}

fn oauth(more: Value) -> Value {
    let mut client = json!({
        "tokenUrl": "https://id.example/token",
        "clientIdRef": { "name": "client", "key": "id" },
        "clientSecretRef": { "name": "client", "key": "secret" },
    });
    for (name, value) in more.as_object().unwrap() {
        client[name] = value.clone();
    }
    json!({ "url": "https://receiver.example/", "auth": { "oauth2ClientCredentials": client } })
}

#[test]
fn a_client_of_an_authorization_server_is_compiled_whole() {
    let client = || secret("client", &[("id", "me\n"), ("secret", "hush-7f3a")]);
    let more = json!({ "scopes": ["read", "write:all"], "audience": "https://api", "method": "ClientSecretPost" });
    let stage = stage(oauth(more), vec![client()]);
    let subscription = compiled(&stage);
    let compiled = subscription.target.oauth.as_ref().unwrap();
    assert_eq!(compiled.token_url.as_str(), "https://id.example/token");
    assert_eq!((&compiled.id, &compiled.secret), (&Secret::from("me"), &Secret::from(HUSH)));
    assert_eq!((compiled.scope.as_str(), compiled.audience.as_deref()), ("read write:all", Some("https://api")));
    assert!(compiled.in_body && compiled.tls.is_none());
    assert!(!subscription.target.headers.contains_key("authorization"));
}

#[test]
fn identities_are_equal_for_equal_content_and_change_with_it() {
    let (authority, key) = certificate("ca.example");
    let tls = json!({
        "caRef": { "configMapRef": { "name": "trust", "key": "ca.crt" } },
        "clientCertRef": { "name": "me" },
        "serverName": "inside.example",
    });
    let values = || {
        let chain = authority.as_str();
        vec![config_map("trust", &[("ca.crt", chain)]), secret("me", &[("tls.crt", chain), ("tls.key", &key)])]
    };
    let target = json!({ "url": "https://receiver.example/", "tls": tls });
    let mut first = stage(target.clone(), values());
    let second = stage(target, values());
    let identity = |stage: &Stage| Arc::clone(compiled(stage).target.tls.as_ref().unwrap());
    let before = identity(&first);
    assert_eq!(before, identity(&second));
    assert!(before.roots().is_some() && before.shown().is_some() && before.server_name().is_some());
    first.tell([config_map("trust", &[("ca.crt", &certificate("ca.example").0)])]);
    assert_ne!(before, identity(&first));
}

/// Problems name the pointer, the reason and what to do, and quote nothing from Secrets.
#[test]
fn wrong_input_is_a_problem_that_says_where_and_shows_no_secret() {
    use Reason::{InvalidSecret, InvalidSpec, KeyNotFound, SecretNotFound, TargetForbidden};
    let (chain, private) = certificate("ca.example");
    let (_, other) = certificate("ca.example");
    let url_from = json!({ "urlFrom": { "secretKeyRef": { "name": "s", "key": "k" } } });
    let url = "https://receiver.example/";
    let basic = json!({ "url": url, "auth": { "basic": { "secretRef": { "name": "s" } } } });
    let bearer = json!({ "url": url, "auth": { "bearer": { "secretKeyRef": { "name": "s", "key": "k" } } } });
    let tls = |tls: Value| json!({ "url": url, "tls": tls });
    let map = json!({ "caRef": { "configMapRef": { "name": "m", "key": "ca.crt" } } });
    let key_ref = json!({ "caRef": { "secretKeyRef": { "name": "s", "key": "k" } } });
    let shown = json!({ "clientCertRef": { "name": "s" } });
    let k = |value: &str| vec![secret("s", &[("k", value)])];
    let user = |name: &str, password: &str| vec![secret("s", &[("username", name), ("password", password)])];
    let pair = |chain: &str, key: &str| vec![secret("s", &[("tls.crt", chain), ("tls.key", key)])];
    let client = |id: &str, hush: &str| vec![secret("client", &[("id", id), ("secret", hush)])];
    let u = "target.urlFrom.secretKeyRef";
    let o = "target.auth.oauth2ClientCredentials";
    let cases: Vec<(Value, Vec<Change>, Reason, String)> = vec![
        (url_from.clone(), vec![], SecretNotFound, format!("{u}: Secret s does not exist")),
        (url_from.clone(), vec![secret("s", &[("other", HUSH)])], KeyNotFound, format!("{u}: Secret s has no key k")),
        (url_from.clone(), k(""), InvalidSecret, format!("{u}: key k of Secret s is empty")),
        (url_from.clone(), k("hush-7f3a"), InvalidSecret, format!("{u}: key k of Secret s is not a URL")),
        (url_from.clone(), k(&format!("https://a.example/{}", "x".repeat(2048))), InvalidSecret, "at most 2048".into()),
        (url_from.clone(), k("hush-7f3a://a.example/"), InvalidSecret, "neither http nor https".into()),
        (url_from.clone(), k("https://hush-7f3a@a.example/"), InvalidSecret, "a user name or password".into()),
        (url_from.clone(), k("http://10.7.3.1/hush-7f3a"), TargetForbidden, format!("{u}: the URL in key k")),
        (url_from.clone(), k("http://localhost/hush-7f3a"), TargetForbidden, "forbid".into()),
        (
            json!({ "url": url, "urlFrom": url_from["urlFrom"] }),
            k(url),
            InvalidSpec,
            "exactly one of url, urlFrom".into(),
        ),
        (basic.clone(), vec![], SecretNotFound, "auth.basic.secretRef: Secret s does not exist".into()),
        (
            basic.clone(),
            vec![secret("s", &[("password", HUSH)])],
            KeyNotFound,
            "no key username; it has password".into(),
        ),
        (basic.clone(), vec![secret("s", &[("username", HUSH)])], KeyNotFound, "no key password".into()),
        (basic.clone(), user("hush:7f3a", HUSH), InvalidSecret, "contains a colon".into()),
        (basic.clone(), user("a", "hush-7f3a\nmore"), InvalidSecret, "control characters".into()),
        (bearer.clone(), vec![], SecretNotFound, "auth.bearer.secretKeyRef: Secret s".into()),
        (bearer.clone(), k("hush-7f3a more"), InvalidSecret, "not a bearer token".into()),
        (bearer.clone(), k("\n"), InvalidSecret, "not a bearer token".into()),
        (json!({ "url": url, "auth": {} }), vec![], InvalidSpec, "exactly one of basic, bearer and".into()),
        (
            json!({ "url": url, "auth": { "basic": basic["auth"]["basic"], "bearer": bearer["auth"]["bearer"] } }),
            user("a", HUSH),
            InvalidSpec,
            "exactly one of basic, bearer and".into(),
        ),
        (
            json!({ "url": url, "auth": bearer["auth"], "headers": [{ "name": "Authorization", "value": "x" }] }),
            k(HUSH),
            InvalidSpec,
            "auth sets the header Authorization".into(),
        ),
        (oauth(json!({})), vec![], SecretNotFound, format!("{o}.clientIdRef: Secret client")),
        (oauth(json!({})), vec![secret("client", &[("id", HUSH)])], KeyNotFound, format!("{o}.clientSecretRef: ")),
        (oauth(json!({})), client("me", "hush-7f3a\u{7}"), InvalidSecret, format!("{o}.clientSecretRef: ")),
        (
            oauth(json!({ "tokenUrl": "http://169.254.169.254/" })),
            client("me", HUSH),
            TargetForbidden,
            format!("{o}.tokenUrl"),
        ),
        (
            oauth(json!({ "tokenUrl": "https://u:p@id.example/" })),
            client("me", HUSH),
            TargetForbidden,
            format!("{o}.tokenUrl"),
        ),
        (oauth(json!({ "scopes": ["read write"] })), client("me", HUSH), InvalidSpec, format!("{o}.scopes[0]")),
        (
            oauth(json!({ "tokenUrl": "http://id.example/", "tls": { "serverName": "a.example" } })),
            client("me", HUSH),
            InvalidSpec,
            "tls needs a tokenUrl with https".into(),
        ),
        (
            oauth(json!({ "tls": map })),
            client("me", HUSH),
            SecretNotFound,
            format!("{o}.tls.caRef.configMapRef: ConfigMap m"),
        ),
        (
            tls(map.clone()),
            vec![config_map("m", &[("x", "")])],
            KeyNotFound,
            "tls.caRef.configMapRef: ConfigMap m has no".into(),
        ),
        (tls(map.clone()), vec![config_map("m", &[("ca.crt", "none")])], InvalidSecret, "holds no certificate".into()),
        (tls(map), vec![config_map("m", &[("ca.crt", &private)])], InvalidSecret, "holds no certificate".into()),
        (
            tls(key_ref.clone()),
            k("-----BEGIN CERTIFICATE-----\naHVzaC03ZjNh\n-----END CERTIFICATE-----\n"),
            InvalidSecret,
            "certificate 1 of it cannot be used".into(),
        ),
        (tls(key_ref), k("-----BEGIN CERTIFICATE-----\nhush-7f3a"), InvalidSecret, "is incomplete PEM".into()),
        (tls(json!({ "caRef": {} })), vec![], InvalidSpec, "exactly one of configMapRef and secretKeyRef".into()),
        (tls(json!({})), vec![], InvalidSpec, "at least one of caRef".into()),
        (tls(shown.clone()), vec![], SecretNotFound, "tls.clientCertRef: Secret s does not exist".into()),
        (tls(shown.clone()), vec![secret("s", &[("tls.crt", &chain)])], KeyNotFound, "no key tls.key".into()),
        (
            tls(shown.clone()),
            pair("hush-7f3a", &private),
            InvalidSecret,
            "key tls.crt of Secret s: holds no certificate".into(),
        ),
        (
            tls(shown.clone()),
            pair(&chain, "hush-7f3a"),
            InvalidSecret,
            "key tls.key of Secret s: holds no private key".into(),
        ),
        (
            tls(shown.clone()),
            pair(&chain, &other),
            InvalidSecret,
            "Secret s: cannot use the certificate with the key".into(),
        ),
        (
            tls(json!({ "serverName": "not a name" })),
            vec![],
            InvalidSpec,
            "tls.serverName: `not a name` is neither".into(),
        ),
        (
            json!({ "url": "http://receiver.example/", "tls": shown }),
            pair(&chain, &private),
            InvalidSpec,
            "tls requires an https target".into(),
        ),
    ];
    for (target, values, reason, message) in cases {
        let stage = stage(target.clone(), values);
        let problems: Vec<_> = stage.index.problems().map(|(_, _, problem)| problem).collect();
        let found = problems.iter().find(|problem| problem.reason == reason && problem.to_string().contains(&message));
        assert!(found.is_some(), "{target}: wanted {reason:?} `{message}`, found {problems:#?}");
        assert!(!format!("{problems:?}").contains("7f3a"), "{problems:#?}");
        assert!(!format!("{problems:?}").contains("10.7.3.1"), "{problems:#?}");
        assert!(!stage.delivers(&key("shop", "out")), "{target}");
    }
}
