//! Tests with a control plane of their own: they install for the whole cluster.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use k8s_openapi::{
    api::core::v1::{PersistentVolumeClaim, Pod},
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use kube_runtime::wait::await_condition;
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::{
    chart::{helm, printed},
    fixture::{Cluster, ControlPlane, PATIENCE, connect, gateway_api},
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
    assert_eq!(crds.list(&Default::default()).await.unwrap().items.len(), 3);
    // The CRDs are there: with an object of a user's.
    let cluster = Cluster::at(&kubeconfig).await;
    cluster
        .apply("apiVersion: grapnel.dev/v1beta1\nkind: WebhookEndpoint\nmetadata: { name: kept }\nspec: { verification: { none: {} } }\n")
        .await;

    helm_test(&cluster, kubeconfig.clone()).await;

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

    let printed = release(&kubeconfig, &["uninstall", "grapnel"]);
    assert!(printed.contains("webhookendpoints.grapnel.dev"), "{printed}");
    assert_eq!(cluster.get("WebhookEndpoint", "kept").await["metadata"]["name"], "kept");

    // What people need to read and delete it is left too, and the volume.
    let left = async |kind: &str, name: &str| cluster_object(&cluster, kind, name).await.is_some();
    assert!(left("clusterrole", "grapnel-view").await && left("persistentvolumeclaim", "data-grapnel-0").await);
    assert!(!left("clusterrole", "grapnel-system-grapnel").await);

    // It comes back over its own CRDs, and says what is lost without a volume.
    let again = release(
        &kubeconfig,
        &["install", "grapnel", "charts/grapnel", "--disable-openapi-validation", "--set", "persistence.enabled=false"],
    );
    assert!(again.contains("WARNING: persistence.enabled is false"), "{again}");
}

/// Runs `helm test`, and says of its pod what a kubelet says when the container has ended well.
async fn helm_test(cluster: &Cluster, kubeconfig: PathBuf) {
    let name = "grapnel-system-grapnel-test";
    let running = tokio::task::spawn_blocking(move || release(&kubeconfig, &["test", "grapnel", "--timeout", "90s"]));
    let ended = json!({ "status": { "phase": "Succeeded" } });
    let pods: Api<Pod> = Api::namespaced(cluster.client.clone(), "grapnel-system");
    timeout(PATIENCE, await_condition(pods.clone(), name, |pod: Option<&Pod>| pod.is_some())).await.unwrap().unwrap();
    for kind in ["secret", "webhookendpoint"] {
        assert!(cluster_object(cluster, kind, name).await.is_some(), "the pod has no {kind}");
    }
    pods.patch_status(name, &PatchParams::default(), &Patch::Merge(&ended)).await.unwrap();
    let said = running.await.unwrap();
    assert!(said.contains("Phase:          Succeeded"), "{said}");
    for kind in ["secret", "webhookendpoint"] {
        assert!(cluster_object(cluster, kind, name).await.is_none(), "{kind} {name} is left");
    }
}

/// An object as JSON, in the namespace `grapnel-system` if it has one.
async fn cluster_object(cluster: &Cluster, kind: &str, name: &str) -> Option<Value> {
    let found = cluster.kubectl(&["get", kind, name, "--namespace", "grapnel-system", "-o", "json"]).await;
    found.status.success().then(|| serde_json::from_slice(&found.stdout).unwrap())
}

/// Runs kubectl, which must succeed.
async fn kubectl(cluster: &Cluster, arguments: &[&str]) {
    printed(cluster.kubectl(arguments).await);
}

#[tokio::test]
async fn an_upgrade_enlarges_the_volume() {
    let plane = ControlPlane::start().await;
    let cluster = Cluster::at(&plane.kubeconfig()).await;
    let values = |size: &str| format!("crds.enabled=false,persistence.storageClass=growing,persistence.size={size}");
    let helm = |verb: &str, size: &str| {
        let set = values(size);
        helm(&[
            verb,
            "grapnel",
            "charts/grapnel",
            "--namespace",
            "grapnel-system",
            "--create-namespace",
            "--disable-openapi-validation",
            "--kubeconfig",
            plane.kubeconfig().to_str().unwrap(),
            "--set",
            &set,
        ])
    };
    let class = tempfile::NamedTempFile::new().unwrap();
    let growing = json!({
        "apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": { "name": "growing" },
        "provisioner": "example.com/none", "allowVolumeExpansion": true,
    });
    std::fs::write(class.path(), growing.to_string()).unwrap();
    kubectl(&cluster, &["apply", "-f", class.path().to_str().unwrap()]).await;
    printed(helm("install", "10Gi"));
    bind(&plane.kubeconfig()).await;

    printed(helm("upgrade", "20Gi"));
    let claim = cluster_object(&cluster, "persistentvolumeclaim", "data-grapnel-0").await.unwrap();
    assert_eq!(claim["spec"]["resources"]["requests"]["storage"], "20Gi");
    let set = cluster_object(&cluster, "statefulset", "grapnel").await.unwrap();
    let spec = &set["spec"]["template"]["spec"];
    assert_eq!(spec["volumes"][0]["persistentVolumeClaim"]["claimName"], "data-grapnel-0");
    assert!(
        spec["containers"][0]["args"].as_array().unwrap().contains(&"--journal-max-bytes=12288Mi".into()),
        "{spec}"
    );

    // A volume cannot become smaller: the API server says so, and nothing of it is lost.
    let refused = helm("upgrade", "5Gi");
    assert!(!refused.status.success());
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(said.contains("field can not be less than"), "{said}");
}

/// What the controllers of a cluster do when a pod claims a volume: they bind it.
async fn bind(kubeconfig: &Path) {
    let claims: Api<PersistentVolumeClaim> = Api::namespaced(connect(kubeconfig).await, "grapnel-system");
    let (params, name) = (PatchParams::default(), "data-grapnel-0");
    let volume = json!({ "spec": { "volumeName": "volume" } });
    claims.patch(name, &params, &Patch::Merge(&volume)).await.unwrap();
    let bound = json!({ "status": { "phase": "Bound", "capacity": { "storage": "10Gi" } } });
    claims.patch_status(name, &params, &Patch::Merge(&bound)).await.unwrap();
}

#[tokio::test]
async fn one_name_in_two_namespaces_and_crds_that_were_there() {
    let plane = ControlPlane::start().await;
    let kubeconfig = plane.kubeconfig();
    // The CRDs are there, applied by someone else.
    let cluster = Cluster::at(&kubeconfig).await;
    let install = |namespace: &str, values: &str| {
        helm(&[
            "install",
            "grapnel",
            "charts/grapnel",
            "--create-namespace",
            "--disable-openapi-validation",
            "--namespace",
            namespace,
            "--kubeconfig",
            kubeconfig.to_str().unwrap(),
            "--set",
            values,
        ])
    };
    let refused = install("grapnel-system", "crds.enabled=true");
    assert!(!refused.status.success(), "Helm takes over what another owns");

    // The recipe of the README lets the release own them.
    let recipe = adoption();
    let adopted = Command::new("bash").args(["-c", &recipe]).env("KUBECONFIG", &kubeconfig).output().unwrap();
    let said = String::from_utf8_lossy(&adopted.stdout).into_owned();
    assert_eq!(said.matches("webhookendpoints.grapnel.dev").count(), 2, "{said}");
    printed(install("grapnel-system", "crds.enabled=true"));
    let crd = cluster_object(&cluster, "crd", "webhookendpoints.grapnel.dev").await.unwrap();
    assert_eq!(crd["metadata"]["annotations"]["helm.sh/resource-policy"], "keep");
    assert_eq!(crd["metadata"]["labels"]["helm.sh/chart"], concat!("grapnel-", env!("CARGO_PKG_VERSION")));

    // A second release of the same name, which leaves the CRDs and the roles for people to the first.
    printed(install("second", "crds.enabled=false"));
    printed(helm(&["uninstall", "grapnel", "--namespace", "second", "--kubeconfig", kubeconfig.to_str().unwrap()]));
    for (kind, name) in [
        ("clusterrole", "grapnel-view"),
        ("clusterrole", "grapnel-system-grapnel"),
        ("clusterrolebinding", "grapnel-system-grapnel"),
        ("crd", "webhookendpoints.grapnel.dev"),
        ("statefulset", "grapnel"),
    ] {
        assert!(cluster_object(&cluster, kind, name).await.is_some(), "{kind} {name} went with the second release");
    }
}

/// The commands of the README by which a release adopts the CRDs.
fn adoption() -> String {
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/charts/grapnel/README.md")).unwrap();
    let (_, rest) = text.split_once("  $ for object in").expect("the README has the recipe");
    let (lines, _) = rest.split_once("```").unwrap();
    format!("for object in{lines}")
}

#[tokio::test]
async fn every_right_in_the_whole_cluster_is_needed_and_none_is_missing() {
    let plane = ControlPlane::start().await;
    let cluster = Cluster::at(&plane.kubeconfig()).await;
    // With everything that the chart gives rights for: the rights of HTTPRoutes need the Gateway API.
    gateway_api::install(&cluster.client).await;
    rights::prove(&cluster, &plane.audit_log(), &["--set", "routes.enabled=true"]).await;
}
