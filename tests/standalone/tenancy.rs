//! `check` on what concerns a cluster: other namespaces, Services, ServiceAccounts.

use crate::{home::Home, program::run};

fn check(text: &str, flags: &[&str]) -> (Option<i32>, String) {
    let home = Home::new();
    home.write("case.yaml", text);
    let manifests = home.manifests();
    let output = run(&[&["check", "-f", manifests.to_str().unwrap()], flags].concat());
    (output.status.code(), String::from_utf8(output.stdout).unwrap())
}

fn endpoint(allowed: &str) -> String {
    format!(
        "apiVersion: grapnel.dev/v1beta1\nkind: WebhookEndpoint\nmetadata: {{ namespace: shop, name: in }}\nspec:\n  verification: {{ none: {{}} }}\n{allowed}---\n"
    )
}

fn subscription(namespace: &str, spec: &str) -> String {
    format!(
        "apiVersion: grapnel.dev/v1beta1\nkind: WebhookSubscription\nmetadata: {{ namespace: {namespace}, name: out }}\nspec:\n{spec}---\n"
    )
}

const ACROSS: &str = "  endpointRef: { namespace: shop, name: in }\n  target: { url: 'https://receiver.example/' }\n";
const SELECTED: &str = "  allowedSubscribers:\n    from: Selector\n    namespaceSelector:\n      matchLabels: { trusted: 'yes' }\n      matchExpressions:\n      - { key: env, operator: NotIn, values: [test] }\n";

fn namespace(labels: &str) -> String {
    format!("apiVersion: v1\nkind: Namespace\nmetadata:\n  name: team\n  labels: {labels}\n---\n")
}

#[test]
fn other_namespaces_subscribe_where_they_are_allowed() {
    for good in [
        endpoint("  allowedSubscribers: { from: All }\n"),
        endpoint(SELECTED) + &namespace("{ trusted: 'yes' }"),
        endpoint("  allowedSubscribers: { from: Selector, namespaceSelector: {} }\n"),
        endpoint(
            "  allowedSubscribers:\n    from: Selector\n    namespaceSelector:\n      matchLabels: { kubernetes.io/metadata.name: team }\n",
        ),
    ] {
        let (code, output) = check(&(good.clone() + &subscription("team", ACROSS)), &[]);
        assert_eq!(code, Some(0), "{good}{output}");
    }
    let (_, output) = check(&(endpoint(SELECTED) + &namespace("{ trusted: 'yes' }")), &[]);
    assert_eq!(output, "ok: 1 Namespace, 1 WebhookEndpoint\n");
}

#[test]
fn where_they_are_not_it_is_as_if_there_were_nothing() {
    let refusal = "NotAllowed: WebhookSubscription team/out: spec.endpointRef.namespace: no WebhookEndpoint in in namespace shop allows subscriptions of namespace team; ask its owner to allow it in spec.allowedSubscribers, or correct the reference";
    for bad in [
        String::new(),
        endpoint(""),
        endpoint("  allowedSubscribers: { from: Same }\n"),
        endpoint(SELECTED),
        endpoint(SELECTED) + &namespace("{ trusted: 'yes', env: test }"),
        endpoint(SELECTED) + &namespace("{ trusted: 'no' }"),
    ] {
        let (code, output) = check(&(bad.clone() + &subscription("team", ACROSS)), &[]);
        assert_eq!(code, Some(1), "{bad}{output}");
        assert!(output.ends_with(&format!("{refusal}\n")), "{bad}{output}");
        assert_eq!(output.lines().count(), 1, "{output}");
    }
}

#[test]
fn what_allows_is_checked() {
    for (allowed, expected) in [
        ("{ from: Selector }", "namespaceSelector must be set exactly when from is Selector"),
        ("{ namespaceSelector: {} }", "namespaceSelector must be set exactly when from is Selector"),
        ("{ from: All, namespaceSelector: {} }", "namespaceSelector must be set exactly when from is Selector"),
        ("{ from: Everyone }", "spec.allowedSubscribers.from: "),
        (
            "{ from: Selector, namespaceSelector: { matchExpressions: [{ key: a, operator: Gt, values: ['1'] }] } }",
            "spec.allowedSubscribers.namespaceSelector.matchExpressions[0].operator: ",
        ),
        (
            "{ from: Selector, namespaceSelector: { matchExpressions: [{ key: a, operator: In }] } }",
            "values must be set exactly when operator is In or NotIn",
        ),
        ("{ from: Selector, namespaceSelector: { matchLabels: { a/b/c: x } } }", "`a/b/c` is not the key of a label"),
    ] {
        let (code, output) = check(&endpoint(&format!("  allowedSubscribers: {allowed}\n")), &[]);
        assert_eq!(code, Some(1), "{allowed}: {output}");
        assert!(output.contains(expected), "{allowed}: expected `{expected}` in\n{output}");
    }
}

#[test]
fn namespaces_are_checked() {
    for (text, expected) in [
        (namespace("{ a: true }"), "metadata.labels.a: is not a string; put it in quotes"),
        (
            namespace("{ example.com/a: 'not a value' }"),
            "metadata.labels.example.com/a: `not a value` is not the value",
        ),
        (
            namespace("{}").replace("team", "Team"),
            "case.yaml:4: InvalidSpec: metadata.name: `Team` is not a valid namespace",
        ),
        (namespace("{}") + &namespace("{}"), "Namespace team: metadata.name: already defined at"),
        (namespace("{}").replace("metadata:", "specs: {}\nmetadata:"), "unknown field `specs`"),
    ] {
        let (code, output) = check(&text, &[]);
        assert_eq!(code, Some(1), "{text}{output}");
        assert!(output.contains(expected), "expected `{expected}` in\n{output}");
    }
}

#[test]
fn services_are_targets() {
    let to = |service: &str| {
        endpoint("") + &subscription("shop", &format!("  endpointRef: {{ name: in }}\n  target: {{ {service} }}\n"))
    };
    for good in ["service: { name: billing, port: 8080 }", "service: { name: b, port: 1, path: /x?y=z, scheme: https }"]
    {
        for flags in [&[][..], &["--cluster-domain", "k8s.example."]] {
            let (code, output) = check(&to(good), flags);
            assert_eq!(code, Some(0), "{good}: {output}");
        }
    }
    for (bad, expected) in [
        ("service: { name: billing }", "spec.target.service: the field port is missing"),
        ("service: { name: billing, port: 0 }", "spec.target.service.port: "),
        ("service: { name: billing, port: 65536 }", "spec.target.service.port: "),
        ("service: { name: billing, port: http }", "spec.target.service.port: "),
        ("service: { name: billing.other, port: 80 }", "spec.target.service.name: "),
        ("service: { name: billing, port: 80, path: x }", "spec.target.service.path: "),
        ("service: { name: billing, port: 80, path: '/#x' }", "spec.target.service.path: "),
        ("service: { name: billing, port: 80, scheme: ftp }", "spec.target.service.scheme: "),
        ("service: { name: billing, port: 80, namespace: x }", "unknown field `namespace`"),
        (
            "url: 'https://receiver.example/', service: { name: billing, port: 80 }",
            "spec.target: exactly one of url, urlFrom and service must be set",
        ),
        ("timeout: 1s", "spec.target: exactly one of url, urlFrom and service must be set"),
    ] {
        let (code, output) = check(&to(bad), &[]);
        assert_eq!(code, Some(1), "{bad}: {output}");
        assert!(output.contains(expected), "{bad}: expected `{expected}` in\n{output}");
    }
    assert_eq!(check(&to("service: { name: b, port: 1 }"), &["--cluster-domain", "a b"]).0, Some(2));
}

#[test]
fn a_password_in_a_url_is_not_repeated() {
    for url in ["https://user:hunter2@receiver.example/", "HTTPS://user:hunter2@receiver.example/", "user:hunter2@x"] {
        let target = format!("  endpointRef: {{ name: in }}\n  target: {{ url: '{url}' }}\n");
        let (code, output) = check(&(endpoint("") + &subscription("shop", &target)), &[]);
        assert!(code == Some(1) && output.contains("spec.target.url"), "{output}");
        assert!(!output.contains("hunter2"), "{output}");
    }
}

#[test]
fn service_accounts_are_checked() {
    let by = |accounts: &str| endpoint("").replace("none: {}", &format!("serviceAccount: {{ {accounts} }}"));
    let (code, output) = check(&by("audiences: [grapnel.dev], allowed: [{ name: a }, { namespace: x, name: b }]"), &[]);
    assert_eq!(code, Some(0), "{output}");
    let nine = "audiences: [a, b, c, d, e, f, g, h, i], allowed: [{ name: a }]";
    for (bad, expected) in [
        ("allowed: [{ name: a }]", "the field audiences is missing"),
        ("audiences: [a]", "the field allowed is missing"),
        ("audiences: [], allowed: [{ name: a }]", "spec.verification.serviceAccount.audiences: "),
        (nine, "spec.verification.serviceAccount.audiences: "),
        ("audiences: [''], allowed: [{ name: a }]", "spec.verification.serviceAccount.audiences[0]: "),
        ("audiences: [a], allowed: []", "spec.verification.serviceAccount.allowed: "),
        ("audiences: [a], allowed: [{ name: A }]", "spec.verification.serviceAccount.allowed[0].name: "),
        ("audiences: [a], allowed: [{ name: a, namespace: 'a:b' }]", "allowed[0].namespace: "),
    ] {
        let (code, output) = check(&by(bad), &[]);
        assert_eq!(code, Some(1), "{bad}: {output}");
        assert!(output.contains(expected), "{bad}: expected `{expected}` in\n{output}");
    }
}
