//! Every reason for which an object is not ready, or does not deliver, as it stands in its status.

use crate::{
    fixture::{Cluster, condition, documents},
    program::receiver::Receiver,
    shop,
};

fn endpoint(name: &str, spec: &str) -> String {
    format!("apiVersion: grapnel.dev/v1beta1\nkind: WebhookEndpoint\nmetadata: {{ name: {name} }}\nspec:\n{spec}")
}

fn subscription(name: &str, spec: &str) -> String {
    format!("apiVersion: grapnel.dev/v1beta1\nkind: WebhookSubscription\nmetadata: {{ name: {name} }}\nspec:\n{spec}")
}

/// What an object's `Ready` says, and the condition that it repeats.
struct Case {
    object: String,
    condition: &'static str,
    reason: &'static str,
    message: &'static str,
}

fn case(object: String, condition: &'static str, reason: &'static str, message: &'static str) -> Case {
    Case { object, condition, reason, message }
}

/// Applies all of it at once, and waits for each to say what it should.
async fn check(cluster: &Cluster, cases: Vec<Case>) {
    for case in &cases {
        cluster.apply(&case.object).await;
    }
    for case in cases {
        let object: serde_json::Value = documents(&case.object).remove(0);
        let (kind, name) = (object["kind"].as_str().unwrap(), object["metadata"]["name"].as_str().unwrap());
        let message = cluster.until_condition(kind, name, "Ready", "False", case.reason).await;
        assert!(message.contains(case.message), "{kind} {name}: expected `{}` in `{message}`", case.message);
        let object = cluster.get(kind, name).await;
        let (status, reason, _) = condition(&object, case.condition);
        assert_eq!((status.as_str(), reason.as_str()), ("False", case.reason), "{kind} {name}: {}", case.condition);
        let (status, reason, _) = condition(&object, "Stalled");
        assert_eq!((status.as_str(), reason.as_str()), ("True", case.reason), "{kind} {name} waits for a person");
        let (resolved, _, _) = condition(&object, "ReferencesResolved");
        assert_eq!(resolved, condition(&object, "SecretsResolved").0, "{kind} {name}: ReferencesResolved");
        let other = if case.condition == "Accepted" { "SecretsResolved" } else { "Accepted" };
        assert_eq!(condition(&object, other).0, "True", "{kind} {name}: {other}");
    }
}

#[tokio::test]
async fn endpoints_say_what_is_wrong_and_what_to_do() {
    let cluster = Cluster::new().await;
    let _grapnel = cluster.operator().start().await;
    cluster
        .apply(
            "apiVersion: v1
kind: Secret
metadata: { name: keys }
stringData: { good: a-long-random-string, standard: 'whsec_not base64', empty: '' }
---
apiVersion: v1
kind: ConfigMap
metadata: { name: schemas }
data: { broken: 'type: object', nonsense: '{\"type\":\"nonsense\"}' }
",
        )
        .await;
    const NONE: &str = "  verification: { none: {} }\n  event: { id: { pointer: /id } }\n";
    let github = |name: &str, secret: &str, key: &str| {
        endpoint(
            name,
            &format!(
                "  verification: {{ provider: {{ name: GitHub }}, secretRefs: [{{ name: {secret}, key: {key} }}] }}\n"
            ),
        )
    };
    let schema =
        |name: &str, schema: &str| endpoint(name, &format!("{NONE}  schemas: [{{ types: ['*'], {schema} }}]\n"));
    check(
        &cluster,
        vec![
            case(
                endpoint("network", &format!("{NONE}  allowedSources: ['1.2.3.4:5']\n")),
                "Accepted",
                "InvalidSpec",
                "spec.allowedSources[0]: `1.2.3.4:5` is not a CIDR",
            ),
            case(
                endpoint("content", "  verification:\n    hmac: { header: 'X Y', algorithm: SHA256, encoding: Hex }\n    secretRefs: [{ name: keys, key: good }]\n"),
                "Accepted",
                "InvalidSpec",
                "spec.verification.hmac.header: ",
            ),
            case(schema("schema", "schema: { type: nonsense }"), "Accepted", "InvalidSchema", "spec.schemas[0]"),
            case(
                endpoint("expression", "  verification: { none: {} }\n  event: { type: { expression: evnt.kind } }"),
                "Accepted",
                "InvalidExpression",
                "spec.event.type.expression: line 1, column 1: unknown variable `evnt`",
            ),
            case(
                schema("remote", "schema: { $ref: 'http://schemas.invalid/a.json' }"),
                "Accepted",
                "InvalidSchema",
                "spec.schemas[0]",
            ),
            case(
                schema("referred", "configMapRef: { name: schemas, key: nonsense }"),
                "Accepted",
                "InvalidSchema",
                "spec.schemas[0]",
            ),
            case(
                schema("yaml", "configMapRef: { name: schemas, key: broken }"),
                "Accepted",
                "InvalidSchema",
                "key broken of ConfigMap schemas is not JSON",
            ),
            case(
                schema("no-map", "configMapRef: { name: absent, key: x }"),
                "SecretsResolved",
                "SecretNotFound",
                "ConfigMap absent does not exist in namespace",
            ),
            case(
                schema("no-map-key", "configMapRef: { name: schemas, key: x }"),
                "SecretsResolved",
                "KeyNotFound",
                "ConfigMap schemas has no key x; it has broken, nonsense",
            ),
            case(
                github("no-secret", "absent", "x"),
                "SecretsResolved",
                "SecretNotFound",
                "Secret absent does not exist in namespace",
            ),
            case(
                github("no-key", "keys", "x"),
                "SecretsResolved",
                "KeyNotFound",
                "Secret keys has no key x; it has empty, good, standard",
            ),
            case(github("empty", "keys", "empty"), "SecretsResolved", "InvalidSecret", "key empty of Secret keys is empty"),
            case(
                endpoint(
                    "standard",
                    "  verification: { provider: { name: StandardWebhooks }, secretRefs: [{ name: keys, key: standard }] }\n",
                ),
                "SecretsResolved",
                "InvalidSecret",
                "key standard of Secret keys: ",
            ),
        ],
    )
    .await;
    // An API server that knows CEL refuses it, one that does not leaves it to the compiler; the sentence is the same.
    let two: serde_json::Value = documents(&endpoint("two", "  verification: { none: {}, token: {} }\n")).remove(0);
    let sentence = "must be set";
    match cluster.try_apply(&two).await {
        Ok(_) => {
            let message = cluster.until_condition("WebhookEndpoint", "two", "Ready", "False", "InvalidSpec").await;
            assert!(message.contains("exactly one of") && message.contains(sentence), "{message}");
        }
        Err(error) => assert!(error.to_string().contains(sentence), "{error}"),
    }
    let unverified = endpoint("unverified", NONE);
    cluster.apply(&unverified).await;
    let message =
        cluster.until_condition("WebhookEndpoint", "unverified", "Verified", "False", "Unauthenticated").await;
    assert!(message.contains("every request is accepted"), "{message}");
    cluster.until_ready("WebhookEndpoint", "unverified").await;
}

#[tokio::test]
async fn subscriptions_say_what_is_wrong_and_what_to_do() {
    let cluster = Cluster::new().await;
    let _grapnel = cluster.operator().start().await;
    cluster.apply(&endpoint("x", "  verification: { none: {} }\n")).await;
    cluster
        .apply("apiVersion: v1\nkind: Secret\nmetadata: { name: keys }\nstringData: { bad: 'whsec_not base64', lines: \"a\\nb\" }\n")
        .await;
    let to = |name: &str, url: &str| {
        subscription(name, &format!("  endpointRef: {{ name: x }}\n  target: {{ url: '{url}' }}\n"))
    };
    let target =
        |name: &str, target: &str| subscription(name, &format!("  endpointRef: {{ name: x }}\n  target: {target}\n"));
    let signed = |name: &str, secret: &str, key: &str| {
        format!(
            "{}  signing: {{ scheme: StandardWebhooks, secretRefs: [{{ name: {secret}, key: {key} }}] }}\n",
            to(name, "https://receiver.example/")
        )
    };
    check(
        &cluster,
        vec![
            case(
                target("headers", "{ url: 'https://receiver.example/', headers: [{ name: 'X Y', value: a }] }"),
                "Accepted",
                "InvalidSpec",
                "spec.target.headers",
            ),
            case(
                to("unfit", "https://receiver.example/") + "  filter: |\n    true &&\n    event.type\n",
                "Accepted",
                "InvalidExpression",
                "spec.filter: line 2, column 1: `&&` requires a bool, not a string",
            ),
            case(
                to("lost", "https://receiver.example/").replace("name: x", "name: elsewhere"),
                "Accepted",
                "EndpointNotFound",
                "WebhookEndpoint elsewhere does not exist in namespace",
            ),
            case(
                to("letters", "https://receiver.example/") + "  deadLetter: { endpointRef: { name: elsewhere } }\n",
                "Accepted",
                "EndpointNotFound",
                "spec.deadLetter.endpointRef.name: WebhookEndpoint elsewhere does not exist in namespace",
            ),
            case(to("metadata", "http://169.254.169.254/latest"), "Accepted", "TargetForbidden", "spec.target.url: "),
            case(to("inside", "http://10.0.0.1/"), "Accepted", "TargetForbidden", "spec.target.url: "),
            case(
                signed("no-secret", "absent", "k"),
                "SecretsResolved",
                "SecretNotFound",
                "Secret absent does not exist",
            ),
            case(
                signed("no-key", "keys", "k"),
                "SecretsResolved",
                "KeyNotFound",
                "Secret keys has no key k; it has bad, lines",
            ),
            case(signed("bad", "keys", "bad"), "SecretsResolved", "InvalidSecret", "key bad of Secret keys: "),
            case(
                to("header", "https://receiver.example/")
                    .replace("/' }", "/', headersFrom: [{ name: X-Key, secretKeyRef: { name: keys, key: lines } }] }"),
                "SecretsResolved",
                "InvalidSecret",
                "key lines of Secret keys is not a header value",
            ),
            case(
                target("secret-url", "{ urlFrom: { secretKeyRef: { name: keys, key: bad } } }"),
                "SecretsResolved",
                "InvalidSecret",
                "spec.target.urlFrom.secretKeyRef: key bad of Secret keys is not a URL",
            ),
            case(
                target("basic", "{ url: 'https://a.example/', auth: { basic: { secretRef: { name: keys } } } }"),
                "SecretsResolved",
                "KeyNotFound",
                "spec.target.auth.basic.secretRef: Secret keys has no key username",
            ),
            case(
                target(
                    "oauth",
                    "{ url: 'https://a.example/', auth: { oauth2ClientCredentials: { tokenUrl: 'https://10.0.0.1/', \
                     clientIdRef: { name: keys, key: bad }, clientSecretRef: { name: keys, key: bad } } } }",
                ),
                "Accepted",
                "TargetForbidden",
                "spec.target.auth.oauth2ClientCredentials.tokenUrl: ",
            ),
            case(
                target(
                    "private-ca",
                    "{ url: 'https://a.example/', tls: { caRef: { configMapRef: { name: absent, key: ca.crt } } } }",
                ),
                "SecretsResolved",
                "SecretNotFound",
                "spec.target.tls.caRef.configMapRef: ConfigMap absent does not exist",
            ),
        ],
    )
    .await;
    // A server that knows CEL says so itself.
    let own = to("own", "https://receiver.example/") + "  deadLetter: { endpointRef: { name: x } }\n";
    match cluster.try_apply(&documents(&own).remove(0)).await {
        Ok(_) => {
            let message = cluster.until_condition("WebhookSubscription", "own", "Ready", "False", "InvalidSpec").await;
            assert!(message.contains("name another endpoint"), "{message}");
        }
        Err(error) => assert!(error.to_string().contains("name another endpoint"), "{error}"),
    }
}

#[tokio::test]
async fn what_is_missing_may_come_later_and_what_is_wrong_may_be_mended() {
    let receiver = Receiver::start().await;
    let cluster = Cluster::new().await;
    let grapnel = cluster.operator().start().await;
    // The wrong way round: the last of them makes the others ready.
    cluster.apply(&shop::subscription("fulfilment", "orders", &receiver.url)).await;
    cluster.until_condition("WebhookSubscription", "fulfilment", "Ready", "False", "EndpointNotFound").await;
    cluster.apply(&shop::endpoint("orders")).await;
    cluster.until_condition("WebhookEndpoint", "orders", "Ready", "False", "SecretNotFound").await;
    cluster.until_condition("WebhookSubscription", "fulfilment", "Ready", "False", "SecretNotFound").await;
    let (status, answer) = shop::order(&grapnel, &cluster, "orders", "early").await;
    assert_eq!((status, answer["code"].as_str()), (503, Some("not_ready")), "its sender tries again");
    cluster.apply(&shop::secret(shop::ORDERS)).await;
    shop::ready(&cluster).await;
    assert_eq!(shop::order(&grapnel, &cluster, "orders", "first").await.0, 200);
    assert_eq!(receiver.next().await.header("webhook-id"), "first");

    // A key that is taken away: the endpoint says so; put back, it goes on.
    cluster.apply("apiVersion: v1\nkind: Secret\nmetadata: { name: shop }\nstringData: { unrelated: x }\n").await;
    cluster.delete("Secret", "shop").await;
    cluster.until_condition("WebhookEndpoint", "orders", "SecretsResolved", "False", "SecretNotFound").await;
    cluster.apply(&shop::secret(shop::ORDERS)).await;
    shop::ready(&cluster).await;

    // A wrong change is refused, and the last good version stays in use.
    cluster.apply(&(shop::endpoint("orders") + "  allowedSources: ['1.2.3.4:5']\n")).await;
    let message = cluster.until_condition("WebhookEndpoint", "orders", "Ready", "False", "InvalidSpec").await;
    assert!(
        message.contains("spec.allowedSources[0]") && message.contains("the last valid version is still in use"),
        "{message}"
    );
    assert_eq!(shop::order(&grapnel, &cluster, "orders", "second").await.0, 200);
    cluster.apply(&shop::endpoint("orders")).await;
    cluster.until_ready("WebhookEndpoint", "orders").await;
}

#[tokio::test]
async fn of_two_endpoints_with_one_path_the_older_has_it_until_it_goes() {
    let cluster = Cluster::new().await;
    let grapnel = cluster.operator().start().await;
    let with_path = |name: &str| endpoint(name, "  path: shared\n  verification: { none: {} }\n");
    // Objects made within one second are ordered by name, so this holds however fast they come.
    cluster.apply(&with_path("a-older")).await;
    cluster.until_ready("WebhookEndpoint", "a-older").await;
    cluster.apply(&with_path("b-newer")).await;
    let message = cluster.until_condition("WebhookEndpoint", "b-newer", "Accepted", "False", "PathConflict").await;
    assert!(message.contains("in use by the older WebhookEndpoint a-older"), "{message}");
    cluster.until_condition("WebhookEndpoint", "b-newer", "Ready", "False", "PathConflict").await;
    let (older, newer) =
        (cluster.get("WebhookEndpoint", "a-older").await, cluster.get("WebhookEndpoint", "b-newer").await);
    assert!(older["status"]["path"].is_string() && newer["status"]["path"].is_null(), "{newer}");
    let path = format!("/{}/shared", cluster.namespace);
    assert_eq!(grapnel.post(&path, &[], r#"{"id":"1"}"#).await.0, 200);

    cluster.delete("WebhookEndpoint", "a-older").await;
    cluster.until_ready("WebhookEndpoint", "b-newer").await;
    assert_eq!(grapnel.post(&path, &[], r#"{"id":"2"}"#).await.0, 200);
    cluster.until("WebhookEndpoint", "b-newer", "its own count", |object| object["status"]["received"] == 1).await;
}

#[tokio::test]
async fn a_failing_a_vanished_and_a_parked_receiver_have_different_reasons() {
    let receiver = Receiver::start().await;
    let cluster = Cluster::new().await;
    let grapnel = cluster.operator().start().await;
    shop::open(&cluster, &receiver.url).await;
    shop::ready(&cluster).await;

    receiver.answer(500);
    assert_eq!(shop::order(&grapnel, &cluster, "orders", "failing").await.0, 200);
    let message =
        cluster.until_condition("WebhookSubscription", "fulfilment", "Delivering", "False", "TargetFailing").await;
    assert!(message.contains("check the receiver"), "{message}");
    let object = cluster.until_ready("WebhookSubscription", "fulfilment").await;
    assert_eq!(condition(&object, "Stalled").0, "", "a failing receiver does not unready a subscription");
    assert_eq!(object["status"]["lastFailure"]["eventId"], "failing");
    assert_eq!(object["status"]["lastFailure"]["statusCode"], 500);
    cluster
        .until("WebhookSubscription", "fulfilment", "the dead letter", |object| object["status"]["deadLettered"] == 1)
        .await;

    receiver.answer(410);
    assert_eq!(shop::order(&grapnel, &cluster, "orders", "gone").await.0, 200);
    let message =
        cluster.until_condition("WebhookSubscription", "fulfilment", "Delivering", "False", "TargetGone").await;
    assert!(message.contains("spec.retry.stopOn"), "{message}");

    let parked = shop::subscription("fulfilment", "orders", &receiver.url) + "  suspend: true\n";
    cluster.apply(&parked).await;
    cluster.until_condition("WebhookSubscription", "fulfilment", "Delivering", "False", "Suspended").await;
    cluster.until_condition("WebhookSubscription", "fulfilment", "Suspended", "True", "Suspended").await;
    cluster.until_ready("WebhookSubscription", "fulfilment").await;
    receiver.answer(200);
    receiver.rest();
    assert_eq!(shop::order(&grapnel, &cluster, "orders", "parked").await.0, 200);
    cluster.until("WebhookSubscription", "fulfilment", "one pending", |object| object["status"]["pending"] == 1).await;
    assert!(receiver.rest().is_empty(), "nothing is sent while it is parked");
    cluster.apply(&(shop::subscription("fulfilment", "orders", &receiver.url) + "  suspend: false\n")).await;
    assert_eq!(receiver.next().await.header("webhook-id"), "parked");
    cluster.until_condition("WebhookSubscription", "fulfilment", "Delivering", "True", "Succeeding").await;
}

#[tokio::test]
async fn a_subscription_says_that_its_endpoint_is_suspended_or_not_ready() {
    let cluster = Cluster::new().await;
    let _grapnel = cluster.operator().start().await;
    shop::open(&cluster, "https://receiver.example").await;
    shop::ready(&cluster).await;
    let object = cluster.get("WebhookSubscription", "fulfilment").await;
    assert_eq!(condition(&object, "Delivering").1, "NotAttempted");
    cluster.apply(&(shop::endpoint("orders") + "  suspend: true\n")).await;
    cluster.until_condition("WebhookEndpoint", "orders", "Suspended", "True", "Suspended").await;
    cluster.until_condition("WebhookSubscription", "fulfilment", "Ready", "Unknown", "EndpointSuspended").await;
    cluster.apply(&(shop::endpoint("orders") + "  suspend: false\n  allowedSources: ['1.2.3.4:5']\n")).await;
    let message =
        cluster.until_condition("WebhookSubscription", "fulfilment", "Ready", "False", "EndpointNotReady").await;
    assert!(message.contains("WebhookEndpoint orders") && message.contains("InvalidSpec"), "{message}");
    cluster.apply(&(shop::endpoint("orders") + "  suspend: false\n  retention: 24h\n")).await;
    shop::ready(&cluster).await;
    let missing = "  schemas: [{ types: ['*'], configMapRef: { name: absent, key: x } }]\n";
    cluster.apply(&endpoint("pictures", &format!("  verification: {{ none: {{}} }}\n{missing}"))).await;
    cluster.until_condition("WebhookEndpoint", "pictures", "ReferencesResolved", "False", "ConfigMapNotFound").await;
    cluster.until_condition("WebhookEndpoint", "pictures", "Unauthenticated", "True", "Unauthenticated").await;
}
