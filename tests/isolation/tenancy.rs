//! Tenants on one operator: what they can take of each other, and what answers tell them.

use std::collections::BTreeSet;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::{
    home::Home,
    program::{Grapnel, PATIENCE, hmac_hex},
};

const OURS: &str = "secret-of-namespace-a";
const THEIRS: &str = "secret-of-namespace-b";
const BODY: &str = r#"{"id":"e","type":"t"}"#;

fn secret(namespace: &str, name: &str, value: &str) -> String {
    format!(
        "---\napiVersion: v1\nkind: Secret\nmetadata: {{ namespace: {namespace}, name: {name} }}\nstringData: {{ key: {value} }}\n"
    )
}

fn endpoint(namespace: &str, name: &str, path: Option<&str>, secret: &str) -> String {
    let path = path.map(|path| format!("  path: '{path}'\n")).unwrap_or_default();
    format!(
        "---\napiVersion: grapnel.dev/v1beta1\nkind: WebhookEndpoint\nmetadata: {{ namespace: {namespace}, name: {name} }}\nspec:\n{path}  verification:\n    hmac: {{ header: X-Signature, algorithm: SHA256, encoding: Hex }}\n    secretRefs: [{{ name: {secret}, key: key }}]\n"
    )
}

/// Sends a request with a path as it is written here, and a signature; the answer without its date.
async fn raw(grapnel: &Grapnel, path: &str, signature: &str) -> (u16, String) {
    let address = grapnel.webhooks.strip_prefix("http://").unwrap();
    let mut connection = TcpStream::connect(address).await.unwrap();
    let request = format!(
        "POST {path} HTTP/1.1\r\nHost: a.example\r\nX-Signature: {signature}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{BODY}",
        BODY.len()
    );
    connection.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    timeout(PATIENCE, connection.read_to_string(&mut answer)).await.expect("no answer").unwrap();
    let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
    (status, answer.lines().filter(|line| !line.starts_with("date:")).collect::<Vec<_>>().join("\n"))
}

#[tokio::test]
async fn nobody_takes_the_path_of_another_namespace() {
    let home = Home::new();
    let takes = [
        "../a/orders",
        "/../a/orders",
        "..%2fa%2forders",
        "%2e%2e/a/orders",
        "a/orders",
        "//a/orders",
        "./../a/orders",
        "..",
        ".",
        "orders/../../a/orders",
        "orders?x",
        "orders#x",
        "b/../../a/orders",
        "\\..\\a\\orders",
    ];
    let mut text = secret("a", "s", OURS) + &secret("b", "s", THEIRS) + &endpoint("a", "orders", None, "s");
    for (number, path) in takes.iter().enumerate() {
        text += &endpoint("b", &format!("take-{number}"), Some(path), "s");
    }
    home.write("all.yaml", &text);
    let grapnel = home.start();
    let (ours, theirs) = (hmac_hex(OURS, BODY.as_bytes()), hmac_hex(THEIRS, BODY.as_bytes()));
    assert_eq!(raw(&grapnel, "/a/orders", &theirs).await.0, 401);
    assert_eq!(raw(&grapnel, "/a/orders", &ours).await.0, 200);
    // Neither is what a path says about the way to it followed.
    for path in [
        "/b/../a/orders",
        "/b/%2e%2e/a/orders",
        "/b/..%2fa%2forders",
        "/a%2forders",
        "//a/orders",
        "/a//orders",
        "/a/./orders",
        "/a/orders/",
        "/a/orders;x=y",
        "/a/%6frders",
        "/A/orders",
        "/a/ORDERS",
        "/a",
        "/a/",
        "/",
    ] {
        for signature in [&ours, &theirs] {
            let (status, answer) = raw(&grapnel, path, signature).await;
            // Nobody knows the paths of endpoints that have never been readable: those of their own namespace may be any.
            let expected = if path.starts_with("/b/") { 503 } else { 404 };
            assert_eq!(status, expected, "{path}: {answer}");
        }
    }
    // Of what the other namespace asked for, it is served what is below its own name.
    let objects = grapnel.api("/api/v1/objects").await;
    for object in objects["items"].as_array().unwrap() {
        let (namespace, status) = (object["namespace"].as_str().unwrap(), &object["status"]);
        if let Some(path) = status["path"].as_str() {
            assert!(path.starts_with(&format!("/{namespace}/")) && !path.contains(".."), "{object}");
        }
    }
    assert_eq!(grapnel.metric(r#"webhook_received_total{namespace="a",endpoint="orders",type="t"}"#).await, 1.0);
}

#[tokio::test]
async fn secrets_of_another_namespace_are_as_if_they_did_not_exist() {
    let home = Home::new();
    let text = secret("a", "theirs", OURS)
        + &endpoint("a", "in", None, "theirs")
        + &endpoint("b", "there", None, "theirs")
        + &endpoint("b", "nowhere", None, "absent")
        + "---\napiVersion: grapnel.dev/v1beta1\nkind: WebhookSubscription\nmetadata: { namespace: b, name: sends }\nspec:\n  endpointRef: { name: there }\n  target: { url: 'http://127.0.0.1:2/', headersFrom: [{ name: X-Key, secretKeyRef: { name: theirs, key: key } }] }\n"
        + "---\napiVersion: grapnel.dev/v1beta1\nkind: WebhookSubscription\nmetadata: { namespace: b, name: signs }\nspec:\n  endpointRef: { name: there }\n  target: { url: 'http://127.0.0.1:2/' }\n  signing: { scheme: HmacSha256Hex, secretRefs: [{ name: theirs, key: key }] }\n";
    home.write("all.yaml", &text);
    let grapnel = home.start();
    let mut messages = Vec::new();
    for (kind, name) in [
        ("WebhookEndpoint", "there"),
        ("WebhookEndpoint", "nowhere"),
        ("WebhookSubscription", "sends"),
        ("WebhookSubscription", "signs"),
    ] {
        let (status, reason, message) = grapnel.condition(kind, name, "SecretsResolved").await;
        assert_eq!((status.as_str(), reason.as_str()), ("False", "SecretNotFound"), "{name}: {message}");
        assert!(!message.contains("namespace a"), "{message}");
        messages.push(message);
    }
    assert_eq!(messages[0], messages[1].replace("absent", "theirs"), "there or not, it looks the same");
    // Not even with the right signature.
    assert_eq!(raw(&grapnel, "/b/there", &hmac_hex(OURS, BODY.as_bytes())).await.0, 503);
}

#[tokio::test]
async fn refusals_tell_nothing_but_that_they_are_refusals() {
    let home = Home::new();
    let both = endpoint("a", "both", None, "s").replace("key: key }]", "key: key }, { name: t, key: key }]");
    let text = secret("a", "s", OURS)
        + &secret("a", "t", "another-secret-of-a")
        + &secret("b", "s", THEIRS)
        + &endpoint("a", "orders", None, "s")
        + &both
        + &endpoint("b", "orders", None, "s");
    home.write("all.yaml", &text);
    let grapnel = home.start();
    let right = hmac_hex(OURS, BODY.as_bytes());
    let theirs = hmac_hex(THEIRS, BODY.as_bytes());

    // 404: a namespace with endpoints, one without, one that cannot be, a longer path.
    let mut absent = BTreeSet::new();
    for path in ["/a/absent", "/b/absent", "/c/orders", "/nobody/absent", "/-/x", "/a/orders/absent", "/absent"] {
        for signature in [right.as_str(), "", "00"] {
            let (status, answer) = raw(&grapnel, path, signature).await;
            assert_eq!(status, 404, "{path}");
            absent.insert(answer);
        }
    }
    assert_eq!(absent.len(), 1, "{absent:#?}");

    // 401: nothing of it right, all but the last digit, the first half, another tenant's, other bytes signed, and by one
    // secret or by two.
    let last = if right.ends_with('0') { "1" } else { "0" };
    let mut refused = BTreeSet::new();
    for signature in [
        "0".repeat(64),
        format!("{}{last}", &right[..63]),
        format!("{}{}", &right[..32], "0".repeat(32)),
        theirs,
        hmac_hex(OURS, b"{}"),
        hmac_hex("secret-of-namespace", BODY.as_bytes()),
    ] {
        for path in ["/a/orders", "/a/both"] {
            let (status, answer) = raw(&grapnel, path, &signature).await;
            assert_eq!(status, 401, "{path}");
            refused.insert(answer);
        }
    }
    assert_eq!(refused.len(), 1, "{refused:#?}");
    let shown = format!("{absent:?}{refused:?}");
    for word in ["namespace a", "orders", "both", "secret-of", &right] {
        assert!(!shown.contains(word), "{word}: {shown}");
    }
    assert_eq!(raw(&grapnel, "/a/orders", &right).await.0, 200, "and it was the right one");
}
