//! The chart as Helm renders it.

use std::{
    path::{Path, PathBuf},
    process::{Command, Output},
};

use grapnel::runtime::limits::SHUTDOWN;
use serde_json::Value;

use crate::pods;

/// A set of values: what it is for, and what is given to Helm.
pub(crate) struct Values {
    pub(crate) name: &'static str,
    pub(crate) arguments: &'static [&'static str],
}

/// What a test server can take, and what needs CRDs of others.
pub(crate) const SETS: &[Values] = &[
    Values { name: "defaults", arguments: &[] },
    Values {
        name: "namespaced",
        arguments: &["--set", "rbac.scope=Namespaced", "--set", "watchNamespaces={shop,billing}"],
    },
    Values { name: "no persistence", arguments: &["--set", "persistence.enabled=false"] },
    Values { name: "a claim that exists", arguments: &["--set", "persistence.existingClaim=journal"] },
    Values {
        name: "ingress",
        arguments: &[
            "--set",
            "ingress.enabled=true,ingress.className=nginx,ingress.hosts={hooks.example.com}",
            "--set",
            "ingress.tls[0].secretName=hooks,ingress.tls[0].hosts={hooks.example.com},config.pathPrefix=/hooks",
        ],
    },
    Values {
        name: "tls by itself",
        arguments: &[
            "--set",
            "tls.enabled=true,tls.secretName=hooks,service.type=LoadBalancer,service.externalTrafficPolicy=Local",
        ],
    },
    Values {
        name: "names of its own",
        arguments: &[
            "--set",
            "fullnameOverride=hooks,nameOverride=webhooks,commonLabels.team=platform,serviceAccount.name=hooks-operator",
        ],
    },
    Values {
        name: "rights by hand",
        arguments: &["--set", "rbac.create=false,serviceAccount.create=false,crds.enabled=false"],
    },
    Values {
        name: "metrics for some",
        arguments: &["--set", "serviceMonitor.enabled=true,config.metricsAccess=authorized"],
    },
    Values { name: "everything on", arguments: &["--values", "tests/install/everything.yaml"] },
    Values { name: "replicas", arguments: &["--set", "journal.nats.urls={nats://nats.nats:4222}"] },
    Values { name: "everything of replicas", arguments: &["--values", "tests/install/replicas.yaml"] },
    Values {
        name: "from a volume to NATS",
        arguments: &["--set", "journal.nats.urls={nats://nats.nats:4222},journal.migration=Both"],
    },
];

/// Runs Helm in the repository.
pub(crate) fn helm(arguments: &[&str]) -> Output {
    Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/helm"))
        .args(arguments)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap()
}

/// What a command printed; it must have succeeded.
pub(crate) fn printed(output: Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The objects that the chart renders with these arguments, for the namespace `grapnel-system`.
pub(crate) fn render(arguments: &[&str]) -> Vec<Value> {
    objects(&render_text("grapnel-system", arguments))
}

pub(crate) fn render_text(namespace: &str, arguments: &[&str]) -> String {
    let fixed = ["template", "grapnel", "charts/grapnel", "--namespace", namespace];
    printed(helm(&[&fixed, arguments].concat()))
}

/// The objects of a YAML text, of which some documents may be empty.
pub(crate) fn objects(text: &str) -> Vec<Value> {
    let documents = text.split("\n---").map(|document| document.trim_start_matches("---"));
    let objects = documents
        .map(|document| serde_yaml::from_str::<Value>(document).unwrap_or_else(|error| panic!("{error}:\n{document}")));
    objects.filter(|object| !object.is_null()).collect()
}

/// The one object of a kind.
pub(crate) fn the<'a>(objects: &'a [Value], kind: &str) -> &'a Value {
    let mut found = objects.iter().filter(|object| object["kind"] == kind);
    let first = found.next().unwrap_or_else(|| panic!("there is no {kind}"));
    assert!(found.next().is_none(), "there are several {kind}");
    first
}

/// Why Helm refuses these values.
fn refusal(arguments: &[&str]) -> String {
    let output = helm(&[&["template", "grapnel", "charts/grapnel"], arguments].concat());
    assert!(!output.status.success(), "{arguments:?} is accepted");
    String::from_utf8(output.stderr).unwrap()
}

fn chart(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("charts/grapnel").join(file)
}

/// What runs the operator's pods.
pub(crate) fn workloads(objects: &[Value]) -> Vec<&Value> {
    let found: Vec<_> = objects.iter().filter(|it| it["kind"] == "StatefulSet" || it["kind"] == "Deployment").collect();
    assert!(!found.is_empty(), "there is no workload");
    found
}

pub(crate) fn strings(list: &Value) -> Vec<&str> {
    list.as_array().into_iter().flatten().map(|item| item.as_str().unwrap()).collect()
}

#[test]
fn helm_finds_nothing_to_complain_about() {
    for set in SETS {
        printed(helm(&[&["lint", "--strict", "charts/grapnel"], set.arguments].concat()));
    }
}

#[test]
fn every_set_of_values_gives_whole_objects() {
    for set in SETS {
        let objects = render(set.arguments);
        for object in &objects {
            let what = format!("{}: {} {}", set.name, object["kind"], object["metadata"]["name"]);
            assert!(object["apiVersion"].is_string() && object["metadata"]["name"].is_string(), "{what}");
            let labels = &object["metadata"]["labels"];
            for label in ["name", "instance", "version", "managed-by", "component", "part-of"] {
                assert!(labels[format!("app.kubernetes.io/{label}")].is_string(), "{what} has no label {label}");
            }
            if set.name == "names of its own" {
                assert_eq!(labels["team"], "platform", "{what}");
            }
        }
        // Nothing is rendered twice under one name.
        let mut names: Vec<_> = objects
            .iter()
            .map(|it| format!("{} {} {}", it["kind"], it["metadata"]["namespace"], it["metadata"]["name"]))
            .collect();
        names.sort();
        let all = names.len();
        names.dedup();
        assert_eq!(all, names.len(), "{}", set.name);
    }
}

#[test]
fn selectors_find_the_pods() {
    for set in SETS {
        let objects = render(set.arguments);
        let all = workloads(&objects);
        for object in &objects {
            let (selector, selected) = match object["kind"].as_str().unwrap() {
                "Service" => (&object["spec"]["selector"], all.clone()),
                "StatefulSet" | "Deployment" => (&object["spec"]["selector"]["matchLabels"], vec![object]),
                "PodDisruptionBudget" => (&object["spec"]["selector"]["matchLabels"], all.clone()),
                "NetworkPolicy" => (&object["spec"]["podSelector"]["matchLabels"], all.clone()),
                _ => continue,
            };
            let selector = selector.as_object().unwrap();
            assert!(!selector.is_empty());
            for workload in selected {
                let labels = &workload["spec"]["template"]["metadata"]["labels"];
                for (label, value) in selector {
                    assert_eq!(&labels[label], value, "{}: {}", set.name, object["kind"]);
                }
            }
        }
    }
}

#[test]
fn no_pod_has_more_than_the_restricted_standard_allows() {
    for set in SETS {
        for object in render(set.arguments) {
            assert_eq!(pods::violations(&object), Vec::<String>::new(), "{}", set.name);
        }
    }
}

#[test]
fn roles_name_what_they_allow() {
    for set in SETS {
        for object in render(set.arguments) {
            if !object["kind"].as_str().unwrap().ends_with("Role") {
                continue;
            }
            for rule in object["rules"].as_array().unwrap() {
                let paths = !rule["nonResourceURLs"].is_null();
                let lists: &[_] =
                    if paths { &["nonResourceURLs", "verbs"] } else { &["apiGroups", "resources", "verbs"] };
                for list in lists {
                    let items = strings(&rule[*list]);
                    assert!(!items.is_empty(), "{rule}");
                    assert!(items.iter().all(|item| !item.contains('*')), "{}: a wildcard in {rule}", set.name);
                }
            }
        }
    }
}

#[test]
fn a_namespaced_operator_has_no_rights_elsewhere() {
    let objects = render(SETS[1].arguments);
    let operator: Vec<_> = objects
        .iter()
        .filter(|it| it["kind"] == "ClusterRoleBinding")
        .map(|it| it["roleRef"]["name"].as_str().unwrap())
        .collect();
    assert_eq!(operator.len(), 1);
    let role = objects.iter().find(|it| it["kind"] == "ClusterRole" && it["metadata"]["name"] == operator[0]).unwrap();
    let resources: Vec<_> =
        role["rules"].as_array().unwrap().iter().flat_map(|rule| strings(&rule["resources"])).collect();
    assert_eq!(resources, ["namespaces", "tokenreviews", "subjectaccessreviews"]);
    for namespace in ["shop", "billing"] {
        for kind in ["Role", "RoleBinding"] {
            let found =
                objects.iter().filter(|it| it["kind"] == kind && it["metadata"]["namespace"] == namespace).count();
            assert_eq!(found, 1, "{kind} in {namespace}");
        }
    }
    let arguments = &the(&objects, "StatefulSet")["spec"]["template"]["spec"]["containers"][0]["args"];
    assert!(strings(arguments).contains(&"--watch-namespaces=shop,billing"));
}

#[test]
fn only_webhooks_are_behind_the_public_service() {
    let objects = render(&[]);
    let services: Vec<_> = objects.iter().filter(|it| it["kind"] == "Service").collect();
    let ports: Vec<_> = services
        .iter()
        .map(|it| (it["metadata"]["name"].as_str().unwrap(), it["spec"]["ports"][0]["port"].as_u64().unwrap()))
        .collect();
    assert_eq!(ports, [("grapnel", 80), ("grapnel-admin", 9090)]);
    assert_eq!(services[0]["spec"]["ports"].as_array().unwrap().len(), 1);
    let tls = render(&["--set", "tls.enabled=true,tls.secretName=hooks"]);
    let service = tls.iter().find(|it| it["kind"] == "Service" && it["metadata"]["name"] == "grapnel").unwrap();
    assert_eq!(service["spec"]["ports"][0]["port"], 443);
}

#[test]
fn the_kubelet_waits_for_the_longest_shutdown() {
    let objects = render(&[]);
    let grace = the(&objects, "StatefulSet")["spec"]["template"]["spec"]["terminationGracePeriodSeconds"].as_u64();
    assert!(grace.unwrap() >= SHUTDOWN.as_secs(), "a shutdown takes up to {SHUTDOWN:?}");
}

/// One process at a time has the journal: a Deployment would start the new pod beside the old one.
#[test]
fn the_old_pod_ends_before_the_new_one_begins() {
    let objects = render(&[]);
    assert!(objects.iter().all(|object| object["kind"] != "Deployment"));
    let spec = &the(&objects, "StatefulSet")["spec"];
    assert_eq!(spec["replicas"], 1);
    assert!(spec["updateStrategy"].is_null(), "the default replaces a pod after it has ended: {spec}");
    assert_eq!(strings(&the(&objects, "PersistentVolumeClaim")["spec"]["accessModes"]), ["ReadWriteOnce"]);
    // Nobody could take over in a pause, and the program takes webhooks for as long as it waits for anything.
    assert!(spec["template"]["spec"]["containers"][0]["lifecycle"].is_null());
}

#[test]
fn the_journal_is_bounded_by_its_volume() {
    let bound = |arguments: &[&str]| {
        let objects = render(arguments);
        let arguments = &the(&objects, "StatefulSet")["spec"]["template"]["spec"]["containers"][0]["args"];
        let found =
            strings(arguments).into_iter().find_map(|it| it.strip_prefix("--journal-max-bytes=").map(str::to_owned));
        found.map(|it| (grapnel_values::quantity::parse(&it).unwrap(), it))
    };
    assert_eq!(bound(&[]).unwrap(), (6 << 30, "6144Mi".into()));
    assert_eq!(bound(&["--set", "persistence.size=2Ti"]).unwrap().1, "1228Gi");
    assert_eq!(bound(&["--set", "persistence.size=512Mi"]).unwrap().1, "314572Ki");
    assert_eq!(bound(&["--set", "config.journalMaxBytes=3Gi"]).unwrap().0, 3 << 30);
    assert_eq!(bound(&["--set-string", "config.journalMaxBytes=0"]).unwrap().0, 0);
    assert_eq!(bound(&["--set", "persistence.existingClaim=journal"]), None);
}

#[test]
fn a_disruption_budget_is_of_the_version_that_the_server_has() {
    let version = |more: &[&str]| {
        let objects = render(&[&["--set", "podDisruptionBudget.enabled=true"], more].concat());
        the(&objects, "PodDisruptionBudget")["apiVersion"].as_str().unwrap().to_owned()
    };
    assert_eq!(version(&["--kube-version", "1.20.2"]), "policy/v1beta1");
    assert_eq!(version(&["--kube-version", "1.21.0"]), "policy/v1");
    assert_eq!(version(&["--kube-version", "1.33.4-gke.1"]), "policy/v1");
}

#[test]
fn wrong_values_are_refused_with_what_is_wrong() {
    for (value, says) in [
        ("replicaCount=2", "every replica would have a journal"),
        ("replicaCount=2", "Set journal.nats.urls for several replicas"),
        ("replicaCount=many", "replicaCount: Invalid type. Expected: [integer,null]"),
        ("replicas=1", "Additional property replicas is not allowed"),
        ("config.publicURL=https://a", "config: Additional property publicURL is not allowed"),
        ("config.publicUrl=hooks.example.com", "config.publicUrl: Does not match pattern"),
        ("config.pathPrefix=hooks", "config.pathPrefix: Does not match pattern"),
        ("config.egressAllow={10.0.0.0}", "config.egressAllow.0: Does not match pattern"),
        ("config.leaseDuration=2s", "it must be whole seconds from 3s to 300s"),
        ("config.statusInterval=10", "config.statusInterval: Invalid type. Expected: string"),
        ("livenessProbe.successThreshold=2", "livenessProbe.successThreshold: Must be less than or equal to 1"),
        ("podDisruptionBudget.minAvailable=half", "podDisruptionBudget.minAvailable: Does not match pattern"),
        ("podDisruptionBudget.minAvailable=1,podDisruptionBudget.maxUnavailable=1", "a budget takes one of them"),
        ("rbac.scope=Namespace", "rbac.scope must be one of the following: \"Cluster\", \"Namespaced\""),
        ("rbac.scope=Namespaced", "name the namespaces to watch"),
        ("watchNamespaces={shop}", "Set rbac.scope to Namespaced"),
        ("tls.enabled=true", "name a Secret of type kubernetes.io/tls"),
        ("ingress.enabled=true", "name the host"),
        ("httpRoute.enabled=true", "name the Gateway"),
        (
            "routes.enabled=true,rbac.scope=Namespaced,watchNamespaces={a,b,c,d,e,f,g,h,i,j,k,l,m,n,o,p,q}",
            "name those whose endpoints have routes in routes.namespaces",
        ),
        ("routes.namespaces={shop,shop}", "routes.namespaces: array items[0,1] must be unique"),
        ("className=Web", "className: Does not match pattern"),
        ("config.statusWritesPerSecond=0", "config.statusWritesPerSecond: Must be greater than or equal to 1"),
        ("persistence.size=10", "persistence.size: Invalid type. Expected: string"),
        ("persistence.size=ten", "persistence.size: Does not match pattern"),
        ("persistence.accessModes={ReadWriteMany}", "persistence.accessModes.0 must be one of the following"),
        ("service.port=0", "service.port: Must be greater than or equal to 1"),
        ("image.digest=latest", "image.digest: Does not match pattern"),
        ("prometheusRule.disabled={Down}", "prometheusRule.disabled.0: Does not match pattern"),
        ("config.shutdownDelay=6m", "config.shutdownDelay is 6m: it must be at most 5m"),
        ("config.shutdownDelay=3m,terminationGracePeriodSeconds=180", "shorter than terminationGracePeriodSeconds"),
        ("journal.nats.trustSync=true", "journal.nats.urls is empty: name the NATS servers"),
        ("journal.nats.credentialsSecret=nats", "journal.nats.urls is empty: name the NATS servers"),
        ("journal.migration=Drain", "journal.nats.urls is empty: name the NATS servers to which"),
        ("autoscaling.enabled=true", "the journal is embedded, which allows one replica"),
    ] {
        let refused = refusal(&["--set", value]);
        assert!(refused.contains(says), "{value}: {refused}");
    }
}

#[test]
fn wrong_values_for_nats_are_refused_with_what_is_wrong_and_without_passwords() {
    let servers = "journal.nats.urls={nats://nats:4222}";
    for (value, says) in [
        ("persistence.enabled=true", "persistence.enabled is set together with journal.nats.urls"),
        ("persistence.existingClaim=journal", "persistence.existingClaim is set together with journal.nats.urls"),
        (
            "journal.nats.urls[1]=nats://user:hush@nats:4222",
            "journal.nats.urls[1] contains a user, a password or a token",
        ),
        ("journal.nats.urls[1]=redis://nats", "journal.nats.urls[1] is not nats://HOST[:PORT] or tls://HOST[:PORT]"),
        ("journal.nats.urls[1]=nats:4222", "journal.nats.urls[1] is not nats://HOST[:PORT]"),
        ("journal.nats.urls[1]=tls://nats", "use the same scheme for all servers"),
        ("journal.nats.urls[1]=nats://nats:70000", "journal.nats.urls[1] has no valid port"),
        ("journal.nats.urls[1]=nats://nats:4222", "journal.nats.urls: array items[0,1] must be unique"),
        ("journal.nats.monitorUrls={https://nats}", "journal.nats.monitorUrls[0] is not http://HOST[:PORT]"),
        ("journal.nats.monitorUrls={http://a:hush@nats}", "journal.nats.monitorUrls[0] contains a user"),
        ("journal.nats.replicas=2", "journal.nats.replicas must be one of the following: 1, 3"),
        ("journal.nats.shards=0", "journal.nats.shards: Must be greater than or equal to 1"),
        ("journal.nats.name=Team.B", "journal.nats.name: Does not match pattern"),
        ("journal.nats.password=hush", "Additional property password is not allowed"),
        ("journal.migration=Half", "journal.migration must be one of the following"),
        ("updateStrategy.type=OnDelete", "which is for the embedded journal"),
        ("autoscaling.enabled=true,autoscaling.minReplicas=9", "autoscaling.minReplicas is larger than"),
    ] {
        let refused = refusal(&["--set", servers, "--set", value]);
        assert!(refused.contains(says) && !refused.contains("hush"), "{value}: {refused}");
    }
}

/// Paths of all objects in the values, and of those that the schema describes field by field.
#[test]
fn the_schema_knows_every_value_and_no_other() {
    let values: Value = serde_yaml::from_str(&std::fs::read_to_string(chart("values.yaml")).unwrap()).unwrap();
    let schema: Value = serde_json::from_str(&std::fs::read_to_string(chart("values.schema.json")).unwrap()).unwrap();
    let mut differences = Vec::new();
    compare("", &values, &schema, &mut differences);
    assert_eq!(differences, Vec::<String>::new());
}

fn compare(path: &str, values: &Value, schema: &Value, differences: &mut Vec<String>) {
    let Some(properties) = schema["properties"].as_object() else { return };
    assert_eq!(schema["additionalProperties"], false, "{path} is not strict");
    for (name, value) in values.as_object().unwrap() {
        match properties.get(name) {
            Some(schema) => compare(&format!("{path}.{name}"), value, schema, differences),
            None => differences.push(format!("{path}.{name} is not in the schema")),
        }
    }
    // An empty map is the user's to fill in: values.yaml shows its fields in a comment.
    if values.as_object().unwrap().is_empty() && !path.is_empty() {
        return;
    }
    // What a parent chart hands down, and what a probe or `resources` may have but does not by default.
    let optional = ["global", "initialDelaySeconds", "successThreshold", "terminationGracePeriodSeconds", "claims"];
    let missing =
        properties.keys().filter(|name| values.get(name.as_str()).is_none() && !optional.contains(&name.as_str()));
    differences.extend(missing.map(|name| format!("{path}.{name} is not in values.yaml")));
}

#[test]
fn the_chart_is_of_this_version() {
    let chart: Value = serde_yaml::from_str(&std::fs::read_to_string(chart("Chart.yaml")).unwrap()).unwrap();
    assert_eq!(chart["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(chart["appVersion"], env!("CARGO_PKG_VERSION"));
}

/// Blocks of values (```yaml values) in a Markdown text.
fn blocks(text: &str) -> Vec<String> {
    let parts = text.split("```yaml values\n").skip(1);
    parts.map(|rest| rest.split("```").next().unwrap().to_owned()).collect()
}

#[test]
fn values_in_the_documentation_are_taken() {
    let read = |file| std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).unwrap();
    let files = ["docs/operations.md", "docs/replicas.md", "docs/runbook.md"];
    let blocks = files.map(|file| blocks(&read(file))).concat();
    assert!(blocks.len() >= 4, "the search is broken");
    for block in blocks {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), &block).unwrap();
        let objects = render(&["--values", file.path().to_str().unwrap()]);
        for workload in workloads(&objects) {
            assert_eq!(pods::violations(workload), Vec::<String>::new(), "{block}");
        }
    }
}
