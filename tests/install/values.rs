//! The chart's values: what it accepts, the program accepts, and the README describes them all.

use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::{
    chart::{helm, render, the},
    fixture::Cluster,
    program,
};

#[path = "../../examples/chart_readme.rs"]
#[allow(dead_code, unreachable_pub, reason = "shared with the example, which writes the document")]
mod chart_readme;

/// A value that becomes a flag, the flag, and texts that both may accept or reject.
const FLAGS: &[(&str, &str, &[&str])] = &[
    (
        "config.statusInterval",
        "--status-interval",
        &[
            "1s",
            "10s",
            "1m30s",
            "1.5s",
            "1500ms",
            "0.5m",
            "600ms400ms",
            "999ms",
            "999999999ns",
            "1000000us",
            "0s",
            "0.9s",
            "876600h",
            "876601h",
            "10",
            "ten",
            "1d",
            "-1s",
            "1 s",
            "s",
            ".5s",
            "5.s",
        ],
    ),
    (
        "config.leaseDuration",
        "--lease-duration",
        &["3s", "15s", "300s", "1m30s", "5m", "3000ms", "1.5s1.5s", "2s", "301s", "3500ms", "6m", "15", "1h"],
    ),
    ("config.pathPrefix", "--path-prefix", &["/", "/hooks", "/hooks/v1", "/ho oks", "/a?b"]),
    (
        "config.publicUrl",
        "--public-url",
        &["https://hooks.example.com", "http://a/b", "hooks.example.com", "https://a?b"],
    ),
    ("config.clusterDomain", "--cluster-domain", &["cluster.local", "a", "a..b", "A.b", "a_b"]),
    ("config.journalMaxBytes", "--journal-max-bytes", &["6Gi", "1.5Gi", "10G", "1024", "6GiB", "six", "6 Gi", "-1"]),
    ("config.namespaceShare", "--namespace-share", &["1Gi", "0", "512Mi", "1k", "1KB", "half"]),
    ("config.maxConnections", "--max-connections", &["1", "4096", "many", "-1"]),
    ("config.metricsAccess", "--metrics-access", &["open", "authorized", "closed"]),
    ("config.egressAllow[0]", "--egress-allow", &["10.1.0.0/16", "fd00::/8", "10.1.0.0", "10.1.0/16x"]),
    ("config.trustedProxies[0]", "--trusted-proxies", &["10.2.0.0/16", "::1/128", "proxy"]),
    (
        "config.statusWritesPerSecond",
        "--status-writes-per-second",
        &["1", "10", "1000", "0", "1001", "-1", "many", "1.5"],
    ),
    (
        "className",
        "--class",
        &["web", "web-2", "2", "Web", "web.a", "-web", "web-", "web_2", LONGEST_LABEL, TOO_LONG_LABEL],
    ),
    ("log.format", "--log-format", &["json", "text", "xml"]),
    ("config.shutdownDelay", "--shutdown-delay", &["0s", "5s", "3m", "5", "1d", "5m1s", "-1s"]),
];

/// The same for flags of the journal on NATS.
const NATS_FLAGS: &[(&str, &str, &[&str])] = &[
    (
        "journal.nats.urls[0]",
        "--journal",
        &[
            "nats://nats",
            "nats://nats:4222/",
            "tls://nats-0.nats.svc:1",
            "nats://10.0.0.1:4222",
            "nats://[fd00::1]:4222",
            "nats://compose_nats",
            "nats://",
            "nats://a:0",
            "nats://a:65536",
            "nats://a:port",
            "nats://a b",
            "nats://a/b",
            "nats://a?b",
            "nats://fd00::1",
            "nats://user@a",
            "nats://user:hush@a",
            "http://a",
        ],
    ),
    (
        "journal.nats.monitorUrls[0]",
        "--nats-monitor",
        &[
            "http://nats",
            "http://nats:8222/",
            "http://[fd00::1]:1",
            "https://a",
            "a:8222",
            "http://a/varz",
            "http://u:p@a",
        ],
    ),
    ("journal.nats.name", "--nats-name", &["grapnel", "0", "team-b", "Team", "a.b", "a_b", "-a", "a-"]),
    ("journal.nats.replicas", "--nats-replicas", &["1", "3", "0", "2", "5", "many"]),
    ("journal.nats.shards", "--nats-shards", &["1", "16", "256", "0", "257", "many"]),
];

/// Values that are not text.
const NUMBERS: &[&str] =
    &["config.maxConnections", "config.statusWritesPerSecond", "journal.nats.replicas", "journal.nats.shards"];

/// A label of DNS with 63 characters.
const LONGEST_LABEL: &str = "abcdefghi-abcdefghi-abcdefghi-abcdefghi-abcdefghi-abcdefghi-abc";
/// One with 64.
const TOO_LONG_LABEL: &str = "abcdefghi-abcdefghi-abcdefghi-abcdefghi-abcdefghi-abcdefghi-abcd";

/// Whether Helm renders the chart with this value.
fn is_rendered(value: &str, text: &str) -> bool {
    let set = if NUMBERS.contains(&value) { "--set" } else { "--set-string" };
    let nats = value.starts_with("journal.nats.") && !value.starts_with("journal.nats.urls");
    let before: &[&str] = if nats { &["--set", "journal.nats.urls={nats://nats}"] } else { &[] };
    let given = format!("{value}={text}");
    helm(&[&["template", "grapnel", "charts/grapnel"], before, &[set, &given]].concat()).status.success()
}

/// Whether the program takes this flag. It ends at once in any case, because its kubeconfig does not exist: with 2 for usage.
fn is_parsed(flag: &str, text: &str) -> bool {
    let engine: &[&str] = match flag {
        "--journal" => &[],
        _ if flag.starts_with("--nats") => &["--journal=nats://nats"],
        _ => &["--data-dir", "/nonexistent/data"],
    };
    let ended = program::command()
        .args(["run", "--kubeconfig", "/nonexistent", &format!("{flag}={text}")])
        .args(engine)
        .args(["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    match ended.unwrap().code() {
        Some(1) => true,
        Some(2) => false,
        code => panic!("{flag}={text}: exit code {code:?}"),
    }
}

#[test]
fn the_chart_accepts_what_the_program_accepts() {
    let mut differences = Vec::new();
    for (value, flag, texts) in FLAGS.iter().chain(NATS_FLAGS) {
        let verdicts: Vec<_> = texts.iter().map(|text| (is_rendered(value, text), is_parsed(flag, text))).collect();
        assert!(verdicts.iter().any(|it| it.1) && verdicts.iter().any(|it| !it.1), "{flag} needs texts of both kinds");
        let differing = texts.iter().zip(&verdicts).filter(|(_, (chart, program))| chart != program);
        differences.extend(differing.map(|(text, (chart, _))| {
            format!("{value}={text} is {} by the chart only", if *chart { "accepted" } else { "rejected" })
        }));
    }
    assert_eq!(differences, Vec::<String>::new());
}

/// Probes, as the values write them, and whether an API server takes them.
const PROBES: &[(&str, &str, i64)] = &[
    ("startupProbe", "successThreshold", 1),
    ("startupProbe", "successThreshold", 2),
    ("livenessProbe", "successThreshold", 2),
    ("livenessProbe", "periodSeconds", 0),
    ("livenessProbe", "timeoutSeconds", -1),
    ("livenessProbe", "failureThreshold", 1),
    ("readinessProbe", "successThreshold", 2),
    ("readinessProbe", "initialDelaySeconds", -1),
    ("readinessProbe", "initialDelaySeconds", 0),
    ("readinessProbe", "failureThreshold", 3_000_000_000),
];

/// An API server reads 0 as "the default", which is not what was written: the chart rejects it.
fn is_default(number: i64, field: &str) -> bool {
    number == 0 && field != "initialDelaySeconds"
}

#[tokio::test]
async fn the_chart_accepts_the_probes_that_an_api_server_accepts() {
    let cluster = Cluster::new().await;
    let whole = the(&render(&[]), "StatefulSet").clone();
    for (probe, field, number) in PROBES {
        let mut pod = json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": { "generateName": "probe-" }, "spec": whole["spec"]["template"]["spec"]
        });
        pod["spec"]["serviceAccountName"] = Value::Null;
        pod["spec"]["containers"][0][*probe][*field] = (*number).into();
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), pod.to_string()).unwrap();
        let created = cluster
            .kubectl(&["create", "--validate=false", "--dry-run=server", "-f", file.path().to_str().unwrap()])
            .await;
        let said = String::from_utf8_lossy(&created.stderr);
        assert!(created.status.success() || said.contains(field) || said.contains("int32"), "another reason: {said}");
        let rendered = is_rendered_number(&format!("{probe}.{field}"), *number);
        let expected = created.status.success() && !is_default(*number, field);
        assert_eq!(rendered, expected, "{probe}.{field}={number}: {said}");
    }
}

fn is_rendered_number(value: &str, number: i64) -> bool {
    helm(&["template", "grapnel", "charts/grapnel", "--set", &format!("{value}={number}")]).status.success()
}

fn read(file: &str) -> String {
    std::fs::read_to_string(format!("{}/charts/grapnel/{file}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

#[test]
fn the_readme_has_every_value_with_its_comment() {
    let (text, values) = (read("README.md"), read("values.yaml"));
    let expected = chart_readme::written(&text, &values).expect("the README lacks the lines around the generated part");
    assert!(expected == text, "charts/grapnel/README.md differs from values.yaml: run `just generate`");

    // The lines that were read are the values that YAML has.
    let rows: Vec<_> = chart_readme::sections(&values).into_iter().flat_map(|section| section.rows).collect();
    let parsed: Value = serde_yaml::from_str(&values).unwrap();
    let leaves = rows.iter().filter(|row| !row.default.is_empty());
    let mut found = 0;
    for row in leaves {
        let pointer = format!("/{}", row.path.replace('.', "/"));
        let value = parsed.pointer(&pointer).unwrap_or_else(|| panic!("{} is not in values.yaml", row.path));
        assert_eq!(*value, serde_yaml::from_str::<Value>(&row.default).unwrap(), "{}", row.path);
        found += 1;
    }
    assert_eq!(found, leaves_of(&parsed), "values without a row");
}

fn leaves_of(value: &Value) -> usize {
    match value.as_object() {
        Some(map) if !map.is_empty() => map.values().map(leaves_of).sum(),
        _ => 1,
    }
}

#[test]
fn artifact_hub_knows_the_crds_and_their_examples_compile() {
    let chart: Value = serde_yaml::from_str(&read("Chart.yaml")).unwrap();
    let annotation = |name: &str| -> Value {
        serde_yaml::from_str(chart["annotations"][format!("artifacthub.io/{name}")].as_str().unwrap()).unwrap()
    };
    let mut listed: Vec<_> = annotation("crds").as_array().unwrap().iter().map(|crd| crd["name"].clone()).collect();
    listed.sort_by_key(ToString::to_string);
    let rendered = render(&[]);
    let crds: Vec<_> = rendered.iter().filter(|it| it["kind"] == "CustomResourceDefinition").collect();
    assert_eq!(listed, crds.iter().map(|crd| crd["metadata"]["name"].clone()).collect::<Vec<_>>());
    for (listed, crd) in annotation("crds").as_array().unwrap().iter().zip(crds) {
        assert_eq!(listed["kind"], crd["spec"]["names"]["kind"]);
        let versions = crd["spec"]["versions"].as_array().unwrap();
        assert!(versions.iter().any(|it| it["name"] == listed["version"] && it["served"] == true), "{listed}");
        // Without it Flux would replace what looks like a variable in the descriptions.
        assert_eq!(crd["metadata"]["annotations"]["kustomize.toolkit.fluxcd.io/substitute"], "disabled");
        assert_eq!(crd["metadata"]["annotations"]["helm.sh/resource-policy"], "keep");
    }
    assert_eq!(annotation("license"), "Apache-2.0");
    assert_eq!(env!("CARGO_PKG_LICENSE"), "Apache-2.0");

    let directory = tempfile::tempdir().unwrap();
    for (number, example) in annotation("crdsExamples").as_array().unwrap().iter().enumerate() {
        std::fs::write(directory.path().join(format!("{number}.yaml")), example.to_string()).unwrap();
    }
    let checked = Command::new(env!("CARGO_BIN_EXE_grapnel"))
        .args(["check", "--allow-missing-secrets", "-f", directory.path().to_str().unwrap()])
        .output()
        .unwrap();
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stdout));
}
