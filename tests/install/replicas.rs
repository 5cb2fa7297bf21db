//! Several replicas: what the chart renders with `journal.nats.urls`, and how an installation moves there.

use std::{collections::BTreeSet, time::Duration};

use grapnel::runtime::limits::SHUTDOWN;
use serde_json::{Value, json};

use crate::{
    chart::{helm, printed, render, strings, the},
    fixture::Cluster,
};

const NATS: &[&str] = &["--set", "journal.nats.urls={nats://nats.nats:4222}"];
const ALL: &[&str] = &["--values", "tests/install/replicas.yaml"];

fn nats(more: &str) -> Vec<Value> {
    render(&["--set", &format!("journal.nats.urls={{nats://nats.nats:4222}},{more}")])
}

/// The pod of a workload.
fn pod<'a>(objects: &'a [Value], kind: &str) -> &'a Value {
    &the(objects, kind)["spec"]["template"]["spec"]
}

fn arguments(objects: &[Value], kind: &str) -> Vec<String> {
    strings(&pod(objects, kind)["containers"][0]["args"]).into_iter().map(str::to_owned).collect()
}

fn kinds(objects: &[Value]) -> BTreeSet<&str> {
    objects.iter().map(|object| object["kind"].as_str().unwrap()).collect()
}

/// The arguments of a renders' Deployment that begin so.
fn flags(objects: &[Value], start: &str) -> Vec<String> {
    arguments(objects, "Deployment").into_iter().filter(|argument| argument.starts_with(start)).collect()
}

#[test]
fn with_nats_there_are_three_replicas_and_no_volume() {
    let objects = render(NATS);
    let kinds = kinds(&objects);
    assert!(!kinds.contains("StatefulSet") && !kinds.contains("PersistentVolumeClaim"), "{kinds:?}");
    let spec = &the(&objects, "Deployment")["spec"];
    assert_eq!(spec["replicas"], 3);
    assert!(pod(&objects, "Deployment")["volumes"].is_null());
    let arguments = arguments(&objects, "Deployment");
    assert!(!arguments.iter().any(|it| it.starts_with("--data-dir") || it.starts_with("--journal-max-bytes")));
    // One Lease for all replicas: one of them writes statuses.
    assert!(arguments.contains(&"--lease-name=grapnel".into()), "{arguments:?}");
    assert_eq!(the(&render(&["--set", "replicaCount=0", NATS[0], NATS[1]]), "Deployment")["spec"]["replicas"], 0);
}

#[test]
fn an_upgrade_takes_no_replica_away_before_another_is_ready() {
    let objects = render(NATS);
    let spec = &the(&objects, "Deployment")["spec"];
    let expected = json!({ "type": "RollingUpdate", "rollingUpdate": { "maxUnavailable": 0, "maxSurge": 1 } });
    assert_eq!(spec["strategy"], expected);
    assert_eq!(pod(&objects, "Deployment")["containers"][0]["readinessProbe"]["httpGet"]["path"], "/readyz");
    // Connections are refused only after Services know that the pod ends.
    assert_eq!(flags(&objects, "--shutdown-delay"), ["--shutdown-delay=5s"]);
    let longest = SHUTDOWN + Duration::from_secs(5);
    let grace = pod(&objects, "Deployment")["terminationGracePeriodSeconds"].as_u64().unwrap();
    assert!(grace >= longest.as_secs(), "the kubelet kills after {grace} s, and a shutdown takes up to {longest:?}");

    // A drain of nodes takes one at a time, also while no replica is ready.
    let budget = the(&render(&[NATS[0], NATS[1], "--kube-version", "1.31.0"]), "PodDisruptionBudget")["spec"].clone();
    assert_eq!((&budget["maxUnavailable"], &budget["unhealthyPodEvictionPolicy"]), (&json!(1), &json!("AlwaysAllow")));
    assert!(!kinds(&nats("podDisruptionBudget.enabled=false")).contains("PodDisruptionBudget"));
    assert!(!kinds(&render(&[])).contains("PodDisruptionBudget"));
}

#[test]
fn replicas_are_spread_over_nodes_and_zones() {
    let spread = |arguments: &[&str]| {
        let objects = render(&[NATS, arguments].concat());
        let labels = the(&objects, "Deployment")["spec"]["template"]["metadata"]["labels"].clone();
        let constraints = pod(&objects, "Deployment")["topologySpreadConstraints"].as_array().unwrap().clone();
        for constraint in &constraints {
            assert_eq!(constraint["labelSelector"]["matchLabels"], labels);
            // Never a reason not to run: a cluster may have fewer nodes than replicas.
            assert_eq!(constraint["whenUnsatisfiable"], "ScheduleAnyway");
        }
        constraints
    };
    let constraints = spread(&["--kube-version", "1.31.0"]);
    let keys: Vec<_> = constraints.iter().map(|it| it["topologyKey"].as_str().unwrap()).collect();
    assert_eq!(keys, ["topology.kubernetes.io/zone", "kubernetes.io/hostname"]);
    assert!(constraints.iter().all(|it| it["matchLabelKeys"] == json!(["pod-template-hash"])));
    assert!(spread(&["--kube-version", "1.26.0"]).iter().all(|it| it["matchLabelKeys"].is_null()));
}

#[test]
fn every_setting_of_nats_becomes_a_flag_and_a_mount() {
    let objects = render(ALL);
    assert_eq!(
        flags(&objects, "--journal"),
        ["--journal=tls://nats-0.nats:4222,[fd00::1]:14222,nats-2.nats", "--journal-max-bytes=20Gi"]
    );
    assert_eq!(
        flags(&objects, "--nats"),
        [
            "--nats-name=webhooks",
            "--nats-replicas=1",
            "--nats-shards=32",
            "--nats-monitor=http://nats-0.nats-headless:8222,http://nats-1.nats-headless,http://nats-2.nats-headless:18222",
            "--nats-trust-sync",
            "--nats-creds=/nats/credentials/user.creds",
            "--nats-ca=/nats/ca/tls.crt",
            "--nats-cert=/nats/client/tls.crt",
            "--nats-key=/nats/client/tls.key",
        ]
    );
    assert_eq!(flags(&objects, "--shutdown-delay"), ["--shutdown-delay=20s"]);
    let pod = pod(&objects, "Deployment");
    let mounts = pod["containers"][0]["volumeMounts"].as_array().unwrap();
    for (mount, secret) in [
        ("/nats/credentials", "nats-user"),
        ("/nats/ca", "nats-ca"),
        ("/nats/client", "nats-client"),
        ("/tls", "hooks-tls"),
    ] {
        let mounted = mounts.iter().find(|it| it["mountPath"] == mount).unwrap_or_else(|| panic!("no {mount}"));
        let volume = pod["volumes"].as_array().unwrap().iter().find(|it| it["name"] == mounted["name"]).unwrap();
        // Without subPath, so that a changed Secret arrives.
        assert!(mounted["subPath"].is_null() && mounted["readOnly"] == true);
        assert_eq!(volume["secret"]["secretName"], secret);
    }
    assert_eq!(mounts.len(), 4);
}

#[test]
fn releases_do_not_share_events() {
    let name = |namespace: &str, more: &[&str]| {
        let text = crate::chart::render_text(namespace, &[NATS, more].concat());
        flags(&crate::chart::objects(&text), "--nats-name").concat()
    };
    assert_eq!(name("grapnel-system", &[]), "--nats-name=grapnel-system-grapnel");
    assert_eq!(name("other", &[]), "--nats-name=other-grapnel");
    assert_eq!(name("other", &["--set", "nameOverride=hooks"]), "--nats-name=other-grapnel-hooks");
    assert_eq!(name("other", &["--set", "journal.nats.name=moved"]), "--nats-name=moved");
}

#[test]
fn an_autoscaler_has_the_number_of_replicas_to_itself() {
    let objects = render(ALL);
    assert!(the(&objects, "Deployment")["spec"]["replicas"].is_null());
    let scaler = the(&objects, "HorizontalPodAutoscaler");
    assert_eq!(scaler["spec"]["scaleTargetRef"]["name"], the(&objects, "Deployment")["metadata"]["name"]);
    assert_eq!((&scaler["spec"]["minReplicas"], &scaler["spec"]["maxReplicas"]), (&json!(2), &json!(8)));
    assert_eq!(scaler["spec"]["metrics"].as_array().unwrap().len(), 2);
    let version = |kube: &str| {
        let objects = render(&[ALL, &["--kube-version", kube]].concat());
        the(&objects, "HorizontalPodAutoscaler")["apiVersion"].clone()
    };
    assert_eq!((version("1.22.0"), version("1.23.0")), (json!("autoscaling/v2beta2"), json!("autoscaling/v2")));
}

#[test]
fn a_policy_lets_the_replicas_reach_the_brokers() {
    let objects = render(ALL);
    let egress = the(&objects, "NetworkPolicy")["spec"]["egress"].as_array().unwrap().clone();
    assert_eq!(egress.len(), 2);
    let ports: Vec<_> = egress[1]["ports"].as_array().unwrap().iter().map(|it| it["port"].as_u64().unwrap()).collect();
    assert_eq!(ports, [4222, 14222, 8222, 18222]);
    assert_eq!(egress[1]["to"][0]["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"], "nats");
    // Without rules for the rest, egress stays open.
    assert!(the(&nats("networkPolicy.enabled=true"), "NetworkPolicy")["spec"]["egress"].is_null());
}

#[test]
fn alerts_speak_of_what_is_there() {
    let text = |objects: &[Value]| the(objects, "PrometheusRule")["spec"].to_string();
    let (embedded, nats) = (render(&["--set", "prometheusRule.enabled=true"]), nats("prometheusRule.enabled=true"));
    assert!(text(&embedded).contains("the pod grapnel-0") && text(&embedded).contains("GrapnelVolumeFilling"));
    assert!(text(&nats).contains("the pods of the Deployment grapnel") && text(&nats).contains("The NATS servers"));
    assert!(!text(&nats).contains("grapnel-0") && !text(&nats).contains("GrapnelVolumeFilling"));
}

/// A migration: the old pod is not restarted by it, and leaves the Service only when the replicas have taken over.
#[test]
fn the_embedded_journal_is_drained_beside_the_replicas() {
    let before = render(&[]);
    for step in ["Both", "Drain"] {
        let objects = nats(&format!("journal.migration={step}"));
        let (old, new) = (the(&objects, "StatefulSet"), the(&objects, "Deployment"));
        assert_eq!(old["spec"]["template"], the(&before, "StatefulSet")["spec"]["template"], "{step}");
        assert_eq!(old["spec"]["selector"], the(&before, "StatefulSet")["spec"]["selector"], "{step}");
        let expected = json!({ "type": "RollingUpdate", "rollingUpdate": { "partition": 1 } });
        assert_eq!((&old["spec"]["replicas"], &old["spec"]["updateStrategy"]), (&json!(1), &expected));
        assert_eq!(the(&objects, "PersistentVolumeClaim"), the(&before, "PersistentVolumeClaim"));
        assert_eq!(new["spec"]["replicas"], 3);
        // Both have one Lease, so that one of all pods writes statuses.
        let lease = |kind: &str| arguments(&objects, kind).into_iter().find(|it| it.starts_with("--lease-name"));
        assert_eq!(lease("StatefulSet"), lease("Deployment"));

        let service = objects.iter().find(|it| it["kind"] == "Service" && it["metadata"]["name"] == "grapnel").unwrap();
        let selector = service["spec"]["selector"].as_object().unwrap();
        let selected = |workload: &Value| {
            let labels = &workload["spec"]["template"]["metadata"]["labels"];
            selector.iter().all(|(label, value)| labels[label] == *value)
        };
        assert_eq!((selected(old), selected(new)), (step == "Both", true), "{step}");
        // Neither workload takes the other's pods for its own.
        assert!(new["spec"]["selector"]["matchLabels"]["grapnel.dev/journal"] == "nats");
    }
    // The claim stays when the migration is over.
    assert_eq!(the(&before, "PersistentVolumeClaim")["metadata"]["annotations"]["helm.sh/resource-policy"], "keep");
}

/// Runs Helm on the API server, in the namespace of the cluster, and returns what it prints.
async fn release(cluster: &Cluster, verb: &'static [&'static str], values: &str) -> String {
    let (kubeconfig, namespace) = (cluster.kubeconfig.clone(), cluster.namespace.clone());
    let values = format!("crds.enabled=false,test.enabled=false{values}");
    let run = move || {
        let place = ["--kubeconfig", kubeconfig.to_str().unwrap(), "--namespace", &namespace];
        let fixed = ["grapnel", "charts/grapnel", "--disable-openapi-validation", "--set", &values];
        printed(helm(&[verb, &fixed, &place].concat()))
    };
    tokio::task::spawn_blocking(run).await.unwrap()
}

#[tokio::test]
async fn notes_say_what_is_missing() {
    let cluster = Cluster::new().await;
    let notes = async |values: &str| release(&cluster, &["install", "--dry-run"], &format!(",{values}")).await;
    let plain = notes("journal.nats.urls={nats://nats:4222}").await;
    assert!(plain.contains("rollout status deployment/grapnel") && plain.contains("monitorUrls is empty"), "{plain}");
    let proven = notes("journal.nats.urls={nats://nats:4222},journal.nats.monitorUrls={http://nats:8222}").await;
    assert!(!proven.contains("monitorUrls is empty") && !proven.contains("WARNING"), "{proven}");
    let trusting =
        notes("journal.nats.urls={nats://nats:4222},journal.nats.trustSync=true,journal.nats.replicas=1").await;
    assert!(trusting.contains("trustSync is true") && trusting.contains("journal.nats.replicas is 1"), "{trusting}");
}

/// The steps of docs/replicas.md, on an API server: the pod with the events stays until the last one, and its volume longer.
#[tokio::test]
async fn a_release_moves_to_nats_step_by_step() {
    let cluster = Cluster::new().await;
    let uid = async |kind: &str, name: &str| {
        let found = cluster.kubectl(&["get", kind, name, "-o", "jsonpath={.metadata.uid}"]).await;
        found.status.success().then(|| String::from_utf8(found.stdout).unwrap())
    };
    release(&cluster, &["install"], "").await;
    let (set, claim) = (uid("statefulset", "grapnel").await.unwrap(), uid("pvc", "data-grapnel-0").await.unwrap());

    let nats = ",journal.nats.urls={nats://nats:4222}";
    let printed = release(&cluster, &["upgrade"], &format!("{nats},journal.migration=Both")).await;
    assert!(printed.contains("set journal.migration to Drain"), "{printed}");
    let deployment = uid("deployment", "grapnel").await.expect("the replicas");
    assert_eq!(uid("statefulset", "grapnel").await.as_ref(), Some(&set));

    let printed = release(&cluster, &["upgrade"], &format!("{nats},journal.migration=Drain")).await;
    assert!(printed.contains("clear journal.migration"), "{printed}");
    assert_eq!(uid("statefulset", "grapnel").await.as_ref(), Some(&set));
    let revision = [
        "get",
        "statefulset",
        "grapnel",
        "-o",
        "jsonpath={.metadata.generation} {.spec.updateStrategy.rollingUpdate.partition}",
    ];
    let revision = String::from_utf8(cluster.kubectl(&revision).await.stdout).unwrap();
    assert_eq!(revision, "2 1", "only the strategy has changed");

    release(&cluster, &["upgrade"], nats).await;
    assert_eq!(uid("statefulset", "grapnel").await, None);
    assert_eq!(uid("pvc", "data-grapnel-0").await, Some(claim.clone()));
    assert_eq!(uid("deployment", "grapnel").await, Some(deployment));

    // Something was left in it: the pod comes back, on its volume.
    release(&cluster, &["upgrade"], &format!("{nats},journal.migration=Drain")).await;
    assert!(uid("statefulset", "grapnel").await.is_some_and(|found| found != set));
    assert_eq!(uid("pvc", "data-grapnel-0").await, Some(claim));
}

/// The values in examples/nats: those of the servers, which need the chart of NATS, and those of Grapnel.
#[test]
fn the_examples_fit_together() {
    let read = |file: &str| -> Value {
        let path = format!("{}/examples/nats/{file}", env!("CARGO_MANIFEST_DIR"));
        serde_yaml::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
    };
    let bytes = |value: &Value| grapnel_values::quantity::parse(value.as_str().unwrap()).unwrap();
    let servers = read("values.yaml");
    let (config, container) = (&servers["config"], &servers["container"]);
    assert_eq!(config["jetstream"]["merge"]["sync_interval"], "always");
    assert!(config["jetstream"]["enabled"] == true && config["jetstream"]["fileStore"]["enabled"] == true);
    assert_eq!(config["merge"]["max_payload"], "<< 8MB >>");
    let version = container["image"]["tag"].as_str().unwrap().trim_end_matches("-alpine");
    let minor: u32 = version.split('.').nth(1).unwrap().parse().unwrap();
    assert!(version.starts_with("2.") && minor >= 15, "{version} does not sync every replica before it acknowledges");
    let memory = bytes(&container["merge"]["resources"]["limits"]["memory"]);
    let goal = container["env"]["GOMEMLIMIT"].as_str().unwrap().trim_end_matches('B');
    let goal = grapnel_values::quantity::parse(goal).unwrap();
    assert!((memory * 3 / 4..memory * 9 / 10).contains(&goal), "GOMEMLIMIT is {goal} of {memory}");
    assert_eq!(servers["podDisruptionBudget"]["enabled"], true);

    let (file, grapnel) = ("examples/nats/grapnel.yaml", read("grapnel.yaml"));
    let nats = &grapnel["journal"]["nats"];
    let (replicas, port) = (config["cluster"]["replicas"].as_u64().unwrap(), &config["monitor"]["port"]);
    let monitors: Vec<_> = (0..replicas).map(|at| format!("http://nats-{at}.nats-headless.nats:{port}")).collect();
    assert_eq!(strings(&nats["monitorUrls"]), monitors);
    let store = &config["jetstream"]["fileStore"];
    assert!(bytes(&grapnel["config"]["journalMaxBytes"]) < bytes(&store["maxSize"]));
    assert!(bytes(&store["maxSize"]) < bytes(&store["pvc"]["size"]));
    assert_eq!(the(&render(&["--values", file]), "Deployment")["spec"]["replicas"], 3);
}
