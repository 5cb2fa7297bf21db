//! `check` on what lies in real directories: other kinds, Secrets from elsewhere, warnings, standard input.

use std::{
    io::Write,
    process::{Output, Stdio},
};

use serde_json::Value;

use crate::{
    home::Home,
    program::{command, run},
};

const ENDPOINT: &str = "apiVersion: grapnel.dev/v1beta1\nkind: WebhookEndpoint\nmetadata: { name: in }\nspec:\n  verification: { provider: { name: GitHub }, secretRefs: [{ name: s, key: k }] }\n";
const SECRET: &str =
    "---\napiVersion: v1\nkind: Secret\nmetadata: { name: s }\ndata:\n  k: |\n    c2VjcmV0LXRo\n    YXQtaXMtbG9uZw==\n";
const OTHERS: &str = "---\napiVersion: apps/v1\nkind: Deployment\nmetadata: { name: d }\n---\napiVersion: external-secrets.io/v1\nkind: ExternalSecret\nmetadata: { name: s }\n";
const OPEN: &str = "apiVersion: grapnel.dev/v1beta1\nkind: WebhookEndpoint\nmetadata: { name: in }\nspec:\n  verification: { none: {} }\n";

fn check(files: &[(&str, &str)], flags: &[&str]) -> (Option<i32>, String, String) {
    let home = Home::new();
    for (name, text) in files {
        home.write(name, text);
    }
    let output = command().args(["check", "-f"]).arg(home.manifests()).args(flags).output().unwrap();
    texts(output)
}

fn texts(output: Output) -> (Option<i32>, String, String) {
    (output.status.code(), String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap())
}

fn subscription(spec: &str) -> String {
    format!(
        "{OPEN}---\napiVersion: grapnel.dev/v1beta1\nkind: WebhookSubscription\nmetadata: {{ name: out }}\nspec:\n  endpointRef: {{ name: in }}\n{spec}"
    )
}

#[test]
fn what_is_shipped_passes_as_it_lies() {
    for (directory, expected) in [
        ("examples/quickstart", "ok: 1 ConfigMap, 3 Secret, 2 WebhookEndpoint, 2 WebhookSubscription; 2 warnings\n"),
        ("manifests/samples", "ok: 2 Secret, 1 WebhookEndpoint, 1 WebhookSubscription; skipped 1 Kustomization\n"),
        ("manifests/samples/receiver", "ok: no object; skipped 1 Deployment, 1 Service\n"),
    ] {
        let path = format!("{}/{directory}", env!("CARGO_MANIFEST_DIR"));
        let (code, text, _) = texts(run(&["check", "-f", &path]));
        assert!(code == Some(0) && text.ends_with(expected), "{directory}: {text}");
        let (code, text, _) = texts(run(&["check", "--allow-loopback", "--deny-warnings", "-f", &path]));
        assert_eq!(code, Some(0), "{directory}: {text}");
    }
}

#[test]
fn the_deprecated_version_is_checked_with_a_warning() {
    let older = subscription("  target: { service: { name: out, port: 80 } }\n").replace("v1beta1", "v1alpha1");
    let (code, text, _) = check(&[("all.yaml", &older)], &[]);
    assert_eq!(code, Some(0), "{text}");
    assert_eq!(text.matches("grapnel.dev/v1alpha1 is deprecated; write grapnel.dev/v1beta1").count(), 2, "{text}");
    let (code, text, _) = check(&[("all.yaml", &older.replace("port: 80", "port: 0"))], &[]);
    assert!(code == Some(1) && text.contains("spec.target.service.port"), "{text}");
}

#[test]
fn objects_of_other_kinds_are_skipped_and_counted() {
    let files =
        [("all.yaml", &*format!("{ENDPOINT}{SECRET}{OTHERS}")), ("kustomization.yaml", "resources: [all.yaml]\n")];
    let (code, text, notes) = check(&files, &[]);
    let expected = "ok: 1 Secret, 1 WebhookEndpoint; skipped 1 Deployment, 1 ExternalSecret, 1 Kustomization\n";
    assert_eq!((code, &*text), (Some(0), expected));
    assert!(notes.contains("event ids of default/in come from: header x-github-delivery, "), "{notes}");
    let (code, text, error) = check(&files, &["--strict"]);
    assert_eq!((code, &*error), (Some(1), "3 problems\n"), "{text}");
    assert!(text.contains("all.yaml:16: InvalidSpec: kind: `Deployment` is not a kind that Grapnel reads"), "{text}");
    let (code, _, error) = check(&[("all.yaml", &format!("{ENDPOINT}{OTHERS}"))], &[]);
    assert!(code == Some(1) && error.contains("1 problem; skipped 1 Deployment, 1 ExternalSecret\n"), "{error}");
    let (code, text, _) = check(&[("values.yaml", "resources: [all.yaml]\n")], &[]);
    assert!(code == Some(1) && text.contains("the field kind is missing"), "not a kustomization: {text}");
}

#[test]
fn secrets_may_come_from_elsewhere() {
    let (code, text, error) = check(&[("all.yaml", ENDPOINT)], &[]);
    assert!(code == Some(1) && text.contains("SecretNotFound"), "{text}");
    assert!(error.contains("use --allow-missing-secrets"), "{error}");
    let (code, text, _) = check(&[("all.yaml", ENDPOINT)], &["--allow-missing-secrets"]);
    assert_eq!((code, &*text), (Some(0), "ok: 1 WebhookEndpoint; 1 missing reference accepted\n"));
    let other = format!("{ENDPOINT}{}", SECRET.replace("  k:", "  other:"));
    let (code, text, _) = check(&[("all.yaml", &other)], &["--allow-missing-secrets"]);
    assert!(code == Some(1) && text.contains("KeyNotFound"), "the Secret is there, its key is not: {text}");
}

#[test]
fn loopback_targets_are_warnings_that_name_the_flag() {
    for (url, network) in [
        ("http://127.0.0.1:9000", "127.0.0.0/8"),
        ("http://localhost:9000", "127.0.0.0/8"),
        ("http://[::ffff:127.0.0.1]:9000", "127.0.0.0/8"),
        ("http://[::1]:9000", "::1/128"),
    ] {
        let text = subscription(&format!("  target: {{ url: '{url}' }}\n"));
        let files = [("all.yaml", &*text)];
        let (code, text, _) = check(&files, &[]);
        let expected = format!(
            "all.yaml:12: warning: TargetForbidden: WebhookSubscription default/out: spec.target.url: the target is on \
             loopback, which standalone may call, and an operator in a cluster only with --egress-allow {network} \
             (check it with --allow-loopback)\n"
        );
        assert!(code == Some(0) && text.contains(&expected), "{url}: {text}");
        assert_eq!(check(&files, &["--deny-warnings"]).0, Some(1), "{url}");
        for flags in [&["--egress-allow", network][..], &["--allow-loopback"]] {
            let (code, text, _) = check(&files, flags);
            assert!(code == Some(0) && !text.contains("warning"), "{url}: {text}");
        }
    }
}

#[test]
fn what_is_probably_not_meant_is_a_warning() {
    let schema = |schema: &str| format!("{OPEN}  schemas:\n  - types: ['*']\n    schema: {schema}\n");
    for (what, text, expected) in [
        (
            "a null",
            schema("{ enum: [a, null] }"),
            "8: warning: InvalidSchema: WebhookEndpoint default/in: spec.schemas[0].schema.enum[1]: `kubectl apply` drops null",
        ),
        (
            "a keyword",
            schema("{ requierd: [a] }"),
            "8: warning: InvalidSchema: WebhookEndpoint default/in: spec.schemas[0].schema.requierd: the keyword has no effect; did you mean `required`?",
        ),
        (
            "a capital",
            subscription("  target: { url: 'https://receiver.example' }\n  filter: headers['X-Kind'] == 'a'\n"),
            "13: warning: InvalidExpression: WebhookSubscription default/out: spec.filter: no header is named `X-Kind`",
        ),
    ] {
        let (code, output, _) = check(&[("all.yaml", &text)], &[]);
        assert!(code == Some(0) && output.contains(&format!("all.yaml:{expected}")), "{what}: {output}");
        assert!(output.contains("; 1 warning\n"), "{what}: {output}");
    }
}

#[test]
fn standard_input_and_json_are_for_pipelines() {
    let piped = |text: &str| {
        let mut child = command()
            .args(["check", "-f", "-", "-o", "json"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        let json: Value = serde_json::from_slice(&output.stdout).unwrap();
        (output.status.code(), json)
    };
    let (code, json) = piped(&format!("{ENDPOINT}{SECRET}{OTHERS}"));
    assert_eq!((code, &json["ok"], &json["objects"]["Secret"]), (Some(0), &true.into(), &1.into()), "{json}");
    assert_eq!((&json["skipped"]["Deployment"], &json["problems"]), (&1.into(), &Value::Array(Vec::new())));
    let (code, json) = piped(&format!("{ENDPOINT}  pathh: x\n"));
    assert_eq!((code, &json["ok"]), (Some(1), &false.into()));
    let problems = &json["problems"];
    assert_eq!((&problems[0]["reason"], problems.as_array().unwrap().len()), (&"SecretNotFound".into(), 2), "{json}");
    let problem = &problems[1];
    assert_eq!((&problem["file"], &problem["line"]), (&"<stdin>".into(), &6.into()), "{json}");
    assert_eq!((&problem["severity"], &problem["reason"]), (&"error".into(), &"InvalidSpec".into()));
    assert_eq!((&problem["object"]["name"], &problem["pointer"]), (&"in".into(), &"/spec/pathh".into()));
}

#[test]
fn every_problem_of_an_object_is_reported_at_once() {
    let wrong = subscription(
        "  target: { url: https://u:p@hooks.example.com/x }\n  filter: payload.a and payload.b\n  retry: { initialDelay: 3d }\n  deadLetter: { endpointRef: { name: absent } }\n",
    );
    let (code, text, errors) = check(&[("all.yaml", &wrong)], &[]);
    assert_eq!(code, Some(1), "{text}");
    assert_eq!(errors, "4 problems\n", "{text}");
    let lines: Vec<_> = text.lines().collect();
    for (line, expected) in lines.iter().zip([
        ":12: InvalidSpec: WebhookSubscription default/out: spec.target.url: must not contain a username or password; set them in target.auth",
        ":13: InvalidExpression: WebhookSubscription default/out: spec.filter: line 1, column 11: `and` is not an operator; use `&&`",
        ":14: InvalidSpec: WebhookSubscription default/out: spec.retry.initialDelay: \"3d\" must be a duration such as 250ms, 10s or 24h",
        ":15: EndpointNotFound: WebhookSubscription default/out: spec.deadLetter.endpointRef.name: WebhookEndpoint absent does not exist in namespace default; create it or correct the name",
    ]) {
        assert!(line.ends_with(expected), "{text}");
    }
}
