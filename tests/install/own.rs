//! Tests with a control plane of their own: they install for the whole cluster.

use std::path::Path;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::Api;

use crate::{
    chart::{helm, printed},
    fixture::{Cluster, ControlPlane, connect},
    rights,
};

/// Runs Helm against an API server of an age that knows no CEL in CRDs, and would have Helm refuse what it does not know.
fn release(kubeconfig: &Path, arguments: &[&str]) -> String {
    let fixed = ["--namespace", "grapnel-system", "--kubeconfig", kubeconfig.to_str().unwrap()];
    printed(helm(&[arguments, &fixed].concat()))
}

#[tokio::test]
async fn helm_installs_upgrades_and_leaves_what_is_not_its_own() {
    let plane = ControlPlane::start().await;
    let kubeconfig = plane.kubeconfig();
    let client = connect(&kubeconfig).await;
    let crds: Api<CustomResourceDefinition> = Api::all(client);

    let notes = release(
        &kubeconfig,
        &["install", "grapnel", "charts/grapnel", "--create-namespace", "--disable-openapi-validation"],
    );
    assert!(notes.contains("http://grapnel.grapnel-system.svc.cluster.local:80/NS/NAME"), "{notes}");
    assert!(!notes.contains("WARNING"), "{notes}");
    assert_eq!(crds.list(&Default::default()).await.unwrap().items.len(), 2);
    // The CRDs are there: with an object of a user's.
    let cluster = Cluster::at(&kubeconfig).await;
    cluster
        .apply("apiVersion: grapnel.dev/v1beta1\nkind: WebhookEndpoint\nmetadata: { name: kept }\nspec: { verification: { none: {} } }\n")
        .await;

    let upgraded = release(
        &kubeconfig,
        &[
            "upgrade",
            "grapnel",
            "charts/grapnel",
            "--disable-openapi-validation",
            "--set",
            "ingress.enabled=true,ingress.hosts={hooks.example.com},config.pathPrefix=/in,podDisruptionBudget.enabled=true",
        ],
    );
    assert!(upgraded.contains("http://hooks.example.com/in/NS/NAME"), "{upgraded}");

    let said = release(&kubeconfig, &["uninstall", "grapnel"]);
    assert!(said.contains("webhookendpoints.grapnel.dev"), "{said}");
    assert_eq!(cluster.get("WebhookEndpoint", "kept").await["metadata"]["name"], "kept");

    // It comes back over its own CRDs, and says what is lost without a volume.
    let again = release(
        &kubeconfig,
        &["install", "grapnel", "charts/grapnel", "--disable-openapi-validation", "--set", "persistence.enabled=false"],
    );
    assert!(again.contains("WARNING: persistence.enabled is false"), "{again}");
}

#[tokio::test]
async fn every_right_in_the_whole_cluster_is_needed_and_none_is_missing() {
    let plane = ControlPlane::start().await;
    let cluster = Cluster::at(&plane.kubeconfig()).await;
    rights::prove(&cluster, &plane.audit_log(), &[]).await;
}
