//! `check`, `crd` and what is wrong on the command line.

use crate::{home::Home, program::run};

fn check(home: &Home) -> (Option<i32>, String) {
    let output = run(&["check", "-f", home.manifests().to_str().unwrap()]);
    (output.status.code(), String::from_utf8(output.stdout).unwrap())
}

fn endpoint(name: &str, spec: &str) -> String {
    format!("apiVersion: grapnel.dev/v1beta1\nkind: WebhookEndpoint\nmetadata:\n  name: {name}\nspec:\n{spec}")
}

#[test]
fn problems_have_their_file_line_reason_and_advice() {
    const NONE: &str = "  verification: { none: {} }\n";
    let cases = [
        (
            "a misspelt kind",
            endpoint("x", NONE).replace("WebhookEndpoint", "WebhookEndpont"),
            "case.yaml:2: InvalidSpec: kind: unknown kind `WebhookEndpont`; did you mean WebhookEndpoint?",
        ),
        (
            "a tag",
            endpoint("x", &format!("{NONE}  path: !hooks\n")),
            "case.yaml:7: InvalidSpec: a `!` at the beginning of a value is a YAML tag",
        ),
        (
            "a number without a unit",
            endpoint("x", &format!("{NONE}  retention: 5\n")),
            "case.yaml:7: InvalidSpec: WebhookEndpoint default/x: spec.retention: 5 has no unit; write 5s for seconds\n",
        ),
        (
            "a boolean in quotes",
            endpoint("x", &format!("{NONE}  suspend: 'true'\n")),
            "spec.suspend: a boolean is written without quotes; write true\n",
        ),
        (
            "a number in quotes",
            endpoint("x", &format!("{NONE}  rateLimit: {{ requests: '5' }}\n")),
            "spec.rateLimit.requests: a number is written without quotes; remove the quotes\n",
        ),
        (
            "a misspelt type of a schema",
            endpoint("x", &format!("{NONE}  schemas:\n  - types: ['*']\n    schema: {{ type: numbr }}\n")),
            "/type: `numbr` is not a type; did you mean number?\n",
        ),
        (
            "a wrong version",
            endpoint("x", NONE).replace("v1beta1", "v1"),
            "case.yaml:1: InvalidSpec: apiVersion: apiVersion of a WebhookEndpoint is grapnel.dev/v1beta1",
        ),
        (
            "an unknown field",
            endpoint("x", &format!("{NONE}  pathh: z\n")),
            "case.yaml:7: InvalidSpec: WebhookEndpoint default/x: spec.pathh: unknown field `pathh`; did you mean `path`?",
        ),
        (
            "a field of what has none",
            endpoint("x", "  verification:\n    none: { audit: true }\n"),
            "case.yaml:7: InvalidSpec: WebhookEndpoint default/x: spec.verification.none.audit: unknown field `audit`; no field is allowed here",
        ),
        (
            "a field of the wrong type",
            endpoint("x", &format!("{NONE}  suspend: maybe\n")),
            "case.yaml:7: InvalidSpec: WebhookEndpoint default/x: spec.suspend: ",
        ),
        (
            "a bad duration",
            endpoint("x", &format!("{NONE}  retention: a week\n")),
            "case.yaml:7: InvalidSpec: WebhookEndpoint default/x: spec.retention: \"a week\" must be a duration",
        ),
        (
            "a bad size",
            endpoint("x", &format!("{NONE}  limits: {{ bodyBytes: lots }}\n")),
            "case.yaml:7: InvalidSpec: WebhookEndpoint default/x: spec.limits.bodyBytes: \"lots\" must be a quantity",
        ),
        (
            "two verifications",
            endpoint("x", "  verification:\n    none: {}\n    token: {}\n"),
            "spec.verification: exactly one of provider, hmac, token, basic, jwt, serviceAccount and none must be set",
        ),
        ("no verification", endpoint("x", "  path: z\n"), "spec: the field verification is missing"),
        (
            "a bad glob",
            endpoint("x", &format!("{NONE}  schemas:\n  - types: ['']\n    schema: {{}}\n")),
            "case.yaml:8: InvalidSpec: WebhookEndpoint default/x: spec.schemas[0].types[0]: ",
        ),
        (
            "a bad schema",
            endpoint("x", &format!("{NONE}  schemas:\n  - types: ['*']\n    schema: {{ type: nonsense }}\n")),
            "InvalidSchema: WebhookEndpoint default/x: spec.schemas[0]",
        ),
        (
            "a remote schema",
            endpoint(
                "x",
                &format!(
                    "{NONE}  schemas:\n  - types: ['*']\n    schema: {{ $ref: 'http://schemas.invalid/a.json' }}\n"
                ),
            ),
            "InvalidSchema: WebhookEndpoint default/x: spec.schemas[0]",
        ),
        (
            "a bad network",
            endpoint("x", &format!("{NONE}  allowedSources: [somewhere]\n")),
            "case.yaml:7: InvalidSpec: WebhookEndpoint default/x: spec.allowedSources[0]: \"somewhere\" must be a CIDR",
        ),
        (
            "a missing Secret",
            endpoint(
                "x",
                "  verification:\n    provider: { name: GitHub }\n    secretRefs:\n    - { name: absent, key: k }\n",
            ),
            "case.yaml:9: SecretNotFound: WebhookEndpoint default/x: spec.verification.secretRefs[0]: Secret absent does not exist",
        ),
        (
            "an unknown provider",
            endpoint(
                "x",
                "  verification:\n    provider: { name: Nobody }\n    secretRefs: [{ name: absent, key: k }]\n",
            ),
            "spec.verification.provider.name: \"Nobody\" is not known; known here: GitHub, GitLab, Bitbucket, ",
        ),
        (
            "a provider in another spelling",
            endpoint(
                "x",
                "  verification:\n    provider: { name: github }\n    secretRefs: [{ name: absent, key: k }]\n",
            ),
            "case.yaml:7: InvalidSpec: WebhookEndpoint default/x: spec.verification.provider.name: \"github\" is not known; did you mean GitHub?\n",
        ),
        (
            "a key that is no key",
            format!(
                "{}---\napiVersion: v1\nkind: Secret\nmetadata: {{ name: k }}\nstringData: {{ k: 'not base64' }}\n",
                endpoint(
                    "x",
                    "  verification:\n    provider: { name: SendGrid }\n    secretRefs: [{ name: k, key: k }]\n",
                )
            ),
            "key k of Secret k: it is not a public key on the curve P-256: the base64 that the sender shows, or a PEM; correct",
        ),
        (
            "two objects of one name",
            format!("{}---\n{}", endpoint("x", NONE), endpoint("x", NONE)),
            "WebhookEndpoint default/x: metadata.name: already defined at",
        ),
        (
            "a bad name",
            endpoint("Not_A_Name", NONE),
            "case.yaml:4: InvalidSpec: metadata.name: `Not_A_Name` is not a valid name",
        ),
        (
            "a Secret that is not base64",
            "apiVersion: v1\nkind: Secret\nmetadata: { name: s }\ndata:\n  k: '***'\n".into(),
            "case.yaml:5: InvalidSecret: data.k: not base64",
        ),
        ("no YAML", "a: [\n".into(), "case.yaml:"),
    ];
    for (what, text, expected) in cases {
        let home = Home::new();
        home.write("case.yaml", &text);
        let (code, output) = check(&home);
        assert_eq!(code, Some(1), "{what}: {output}");
        assert!(output.contains(expected), "{what}: expected `{expected}` in\n{output}");
    }
}

#[test]
fn subscriptions_have_problems_too() {
    let subscription = |rest: &str| {
        format!(
            "{}---\napiVersion: grapnel.dev/v1beta1\nkind: WebhookSubscription\nmetadata: {{ name: s }}\nspec:\n{rest}",
            endpoint("x", "  verification: { none: {} }\n")
        )
    };
    let good = "  endpointRef: { name: x }\n  target: { url: 'https://receiver.example/' }\n";
    let cases = [
        (
            "no endpoint",
            good.replace("name: x", "name: z"),
            "EndpointNotFound: WebhookSubscription default/s: spec.endpointRef.name: WebhookEndpoint z does not exist",
        ),
        (
            "an address inside",
            good.replace("https://receiver.example/", "http://169.254.169.254/latest"),
            "TargetForbidden: WebhookSubscription default/s: spec.target.url: ",
        ),
        (
            "a private address",
            good.replace("https://receiver.example/", "http://[::ffff:10.0.0.1]:9000/"),
            "allowed are public addresses and the networks in --egress-allow",
        ),
        ("another scheme", good.replace("https://receiver.example/", "ftp://receiver.example/"), "spec.target.url"),
        ("credentials in the URL", good.replace("receiver.example", "user:pass@receiver.example"), "spec.target.url"),
        (
            "a header of Grapnel's own",
            good.replace("' }", "', headers: [{ name: Webhook-Id, value: x }] }"),
            "spec.target.headers[0].name: header webhook-id is set by Grapnel itself",
        ),
        (
            "the header of the event's type",
            good.replace("' }", "', headers: [{ name: Grapnel-Event-Type, value: x }] }"),
            "spec.target.headers[0].name: header grapnel-event-type is set by Grapnel itself",
        ),
        (
            "an invalid whsec_",
            format!(
                "{good}  signing:\n    scheme: StandardWebhooks\n    secretRefs: [{{ name: k, key: k }}]\n---\napiVersion: v1\nkind: Secret\nmetadata: {{ name: k }}\nstringData: {{ k: 'whsec_not base64' }}\n"
            ),
            "InvalidSecret: WebhookSubscription default/s: spec.signing.secretRefs[0]: ",
        ),
        (
            "what belongs one level deeper",
            good.replace("' }", "', tls: { caRef: { name: a, key: b } } }"),
            "case.yaml:13: InvalidSpec: WebhookSubscription default/s: spec.target.tls.caRef: name and key must be one level deeper: write caRef.configMapRef or caRef.secretKeyRef\n",
        ),
        (
            "the same where the deeper one is required",
            good.replace("' }", "', auth: { bearer: { name: a, key: b } } }"),
            "spec.target.auth.bearer: name and key must be one level deeper: write bearer.secretKeyRef\n",
        ),
        (
            "a timeout too long",
            good.replace("' }", "', timeout: 5m }"),
            "spec.target.timeout: \"5m\" must be greater than zero and at most 1m",
        ),
        ("no attempts", format!("{good}  retry: {{ maxAttempts: 0 }}\n"), "spec.retry.maxAttempts"),
        (
            "a format of no kind",
            format!("{good}  format: original\n"),
            "\"original\" is not known; did you mean Original?",
        ),
        (
            "a filter that fills books",
            format!("{good}  filter: \"{}true\"\n", "true || ".repeat(3000)),
            "spec.filter: the value is longer than 16384 characters",
        ),
    ];
    for (what, rest, expected) in cases {
        let home = Home::new();
        home.write("case.yaml", &subscription(&rest));
        let (code, output) = check(&home);
        assert_eq!(code, Some(1), "{what}: {output}");
        assert!(output.contains(expected), "{what}: expected `{expected}` in\n{output}");
        assert_eq!(output.matches("InvalidSpec").count().max(1), 1, "{what}: once is enough:\n{output}");
        assert!(!output.contains("not base64\"") && !output.contains("user:pass"), "no secret is shown: {output}");
    }
    let home = Home::new();
    home.write("case.yaml", &subscription(good));
    assert_eq!(check(&home), (Some(0), "ok: 1 WebhookEndpoint, 1 WebhookSubscription\n".into()));
}

#[test]
fn the_crds_in_the_repository_are_those_of_the_code() {
    let output = run(&["crd"]);
    assert!(output.status.success());
    let printed = String::from_utf8(output.stdout).unwrap();
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/crds");
    let read = |name: &str| std::fs::read_to_string(format!("{directory}/{name}.yaml")).unwrap();
    assert_eq!(printed, ["webhookendpoints", "webhooksubscriptions", "webhookreplays"].map(read).join("---\n"));
}

#[test]
fn a_command_line_that_makes_no_sense_exits_with_2() {
    for arguments in [
        &["standalone"][..],
        &["standalone", "-f", "x", "--listen", "nowhere"],
        &["standalone", "-f", "x", "--path-prefix", "/a b"],
        &["standalone", "-f", "x", "--tls-cert-file", "cert.pem"],
        &["nonsense"],
        &[],
    ] {
        let output = run(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

#[test]
fn what_is_not_there_exits_with_1_and_says_so() {
    for command in ["standalone", "check"] {
        let output = run(&[command, "-f", "/does/not/exist"]);
        assert_eq!(output.status.code(), Some(1), "{command}");
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(error.contains("/does/not/exist") && !error.contains("panicked"), "{command}: {error}");
    }
}
