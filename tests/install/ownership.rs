//! Objects of the chart that belong to more than one release, or outlive theirs.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::chart::{objects, render, render_text, the};

/// Names of the ClusterRoles that nobody is bound to by the chart.
fn people(objects: &[Value]) -> BTreeSet<&str> {
    let bound: BTreeSet<_> = objects.iter().filter_map(|it| it["roleRef"]["name"].as_str()).collect();
    let roles = objects.iter().filter(|it| it["kind"] == "ClusterRole");
    roles.map(|it| it["metadata"]["name"].as_str().unwrap()).filter(|name| !bound.contains(name)).collect()
}

fn has_reach(objects: &[Value]) -> bool {
    objects.iter().any(|it| it["kind"] == "Role" && it["metadata"]["name"] == "grapnel-reach")
}

#[test]
fn roles_for_people_come_with_the_crds_under_names_that_every_installation_has() {
    let all = BTreeSet::from(["grapnel-edit", "grapnel-events-edit", "grapnel-events-view", "grapnel-view"]);
    assert_eq!(people(&render(&[])), all);
    assert_eq!(people(&render(&["--set", "fullnameOverride=hooks"])), all);
    assert_eq!(people(&render(&["--set", "crds.enabled=false,rbac.people=true"])), all);
    let second = render(&["--set", "crds.enabled=false"]);
    assert!(people(&second).is_empty() && has_reach(&second), "the way to a release's pod is its own");
    let none = render(&["--set", "rbac.people=false"]);
    assert!(people(&none).is_empty() && !has_reach(&none));
}

/// Kind and name of all that has no namespace.
fn cluster_wide(objects: &[Value]) -> BTreeSet<String> {
    let found = objects.iter().filter(|it| it["metadata"]["namespace"].is_null());
    found.map(|it| format!("{} {}", it["kind"], it["metadata"]["name"])).collect()
}

#[test]
fn releases_of_one_name_share_no_object() {
    let values = ["--set", "crds.enabled=false,serviceMonitor.enabled=true,config.metricsAccess=authorized"];
    let [first, second] = ["first", "second"].map(|namespace| objects(&render_text(namespace, &values)));
    assert_eq!(cluster_wide(&first).len(), 4, "{first:?}");
    assert!(cluster_wide(&first).is_disjoint(&cluster_wide(&second)));
    // Nor in a namespace of both, such as that of the monitoring.
    let monitoring = "serviceMonitor.namespace=monitoring,prometheusRule.enabled=true,prometheusRule.namespace=monitoring,dashboard.enabled=true,dashboard.namespace=monitoring";
    let values = [&values[..], &["--set", monitoring]].concat();
    let shared = ["first", "second"].map(|namespace| {
        let objects = objects(&render_text(namespace, &values));
        let there = objects.iter().filter(|it| it["metadata"]["namespace"] == "monitoring");
        there.map(|it| format!("{} {}", it["kind"], it["metadata"]["name"])).collect::<BTreeSet<_>>()
    });
    assert!(shared[0].len() == 5 && shared[0].is_disjoint(&shared[1]), "{shared:?}");
}

#[test]
fn a_class_is_that_of_the_operator_and_of_the_object_of_its_test() {
    let [plain, classed] = [&[][..], &["--set", "className=web,config.statusWritesPerSecond=20"]].map(render);
    let flags = |objects: &[Value]| {
        the(objects, "StatefulSet")["spec"]["template"]["spec"]["containers"][0]["args"].to_string()
    };
    assert!(
        flags(&classed).contains("\"--class=web\"") && flags(&classed).contains("\"--status-writes-per-second=20\"")
    );
    assert!(!flags(&plain).contains("--class") && !flags(&plain).contains("--status-writes"));
    assert_eq!(the(&classed, "WebhookEndpoint")["spec"]["className"], "web");
    assert!(the(&plain, "WebhookEndpoint")["spec"]["className"].is_null());
}

#[test]
fn crds_and_the_volume_outlive_the_release() {
    let kept = |objects: &[Value]| {
        let kept = objects.iter().filter(|it| it["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep");
        kept.map(|it| it["kind"].as_str().unwrap().to_owned()).collect::<BTreeSet<_>>()
    };
    let all = render(&[]);
    assert_eq!(
        kept(&all),
        ["ClusterRole", "CustomResourceDefinition", "PersistentVolumeClaim"].map(String::from).into()
    );
    assert_eq!(kept(&render(&["--set", "crds.keep=false"])), ["PersistentVolumeClaim".to_owned()].into());
    let annotations = &the(&all, "PersistentVolumeClaim")["metadata"]["annotations"];
    assert_eq!(annotations["argocd.argoproj.io/sync-options"], "Delete=false,Prune=false");
    assert_eq!(annotations["kustomize.toolkit.fluxcd.io/prune"], "disabled");
    let other = render(&["--set", "persistence.existingClaim=journal"]);
    assert!(other.iter().all(|it| it["kind"] != "PersistentVolumeClaim"));
    assert_eq!(
        the(&other, "StatefulSet")["spec"]["template"]["spec"]["volumes"][0]["persistentVolumeClaim"]["claimName"],
        "journal"
    );
}

#[test]
fn a_service_monitor_finds_its_service_and_its_token() {
    let objects = render(&["--set", "serviceMonitor.enabled=true,config.metricsAccess=authorized"]);
    let monitor = &the(&objects, "ServiceMonitor")["spec"];
    let selected = |it: &&Value| {
        let wanted = monitor["selector"]["matchLabels"].as_object().unwrap();
        it["kind"] == "Service" && wanted.iter().all(|(label, value)| it["metadata"]["labels"][label] == *value)
    };
    let services: Vec<_> = objects.iter().filter(selected).collect();
    assert_eq!(services.len(), 1, "{services:?}");
    let job = monitor["jobLabel"].as_str().unwrap();
    assert_eq!(services[0]["metadata"]["labels"][job], "grapnel-system-grapnel");

    let endpoint = &monitor["endpoints"][0];
    assert_eq!(services[0]["spec"]["ports"][0]["name"], endpoint["port"]);
    for deprecated in ["bearerTokenFile", "bearerTokenSecret", "targetPort"] {
        assert!(endpoint[deprecated].is_null(), "{deprecated}");
    }
    let credentials = &endpoint["authorization"]["credentials"];
    let secret = objects.iter().find(|it| it["type"] == "kubernetes.io/service-account-token").unwrap();
    assert_eq!(secret["metadata"]["name"], credentials["name"]);
    let account = &secret["metadata"]["annotations"]["kubernetes.io/service-account.name"];
    assert!(objects.iter().any(|it| it["kind"] == "ServiceAccount" && it["metadata"]["name"] == *account));
    let own = render(&[
        "--set",
        "serviceMonitor.enabled=true,config.metricsAccess=authorized,serviceMonitor.authorization.credentials.name=a,serviceMonitor.authorization.credentials.key=b",
    ]);
    assert!(own.iter().all(|it| it["type"] != "kubernetes.io/service-account-token"));
}
