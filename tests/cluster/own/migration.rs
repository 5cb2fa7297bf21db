//! From CRDs that have only the deprecated version to CRDs that no longer have it.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{
    Api,
    api::{Patch, PatchParams, PostParams},
};
use kube_runtime::{conditions, wait::await_condition};
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::fixture::{Cluster, ControlPlane, PATIENCE, connect, install_crds};

const NAME: &str = "webhookendpoints.grapnel.dev";

/// The definition of endpoints with one version, which is stored.
fn with_only(version: &str) -> CustomResourceDefinition {
    let mut definition = grapnel_api::definition::endpoint();
    let versions = definition["spec"]["versions"].as_array_mut().unwrap();
    versions.retain(|known| known["name"] == version);
    versions[0]["storage"] = true.into();
    serde_json::from_value(definition).unwrap()
}

async fn replace(crds: &Api<CustomResourceDefinition>, mut definition: CustomResourceDefinition) -> kube::Result<()> {
    definition.metadata.resource_version = crds.get(NAME).await?.metadata.resource_version;
    crds.replace(NAME, &PostParams::default(), &definition).await.map(drop)
}

#[tokio::test]
async fn stored_objects_migrate_and_the_old_version_can_go() {
    let plane = ControlPlane::start().await;
    let client = connect(&plane.kubeconfig()).await;
    let crds: Api<CustomResourceDefinition> = Api::all(client.clone());
    crds.create(&PostParams::default(), &with_only("v1alpha1")).await.unwrap();
    let established = await_condition(crds.clone(), NAME, conditions::is_crd_established());
    timeout(PATIENCE, established).await.expect("the CRD is not established").unwrap();
    install_crds(&client).await;
    let cluster = Cluster::at(&plane.kubeconfig()).await;
    let old: Value = json!({
        "apiVersion": "grapnel.dev/v1alpha1", "kind": "WebhookEndpoint",
        "metadata": { "name": "old", "namespace": cluster.namespace }, "spec": { "verification": { "none": {} } },
    });
    let path = format!("/apis/grapnel.dev/v1alpha1/namespaces/{}/webhookendpoints", cluster.namespace);
    let request = http::Request::post(path).header("content-type", "application/json");
    let _: Value = client.request(request.body(old.to_string().into_bytes()).unwrap()).await.unwrap();

    // The CRDs of a release.
    let both: CustomResourceDefinition = serde_json::from_value(grapnel_api::definition::endpoint()).unwrap();
    replace(&crds, both).await.unwrap();
    let stored = async || crds.get(NAME).await.unwrap().status.unwrap().stored_versions.unwrap_or_default();
    let read = cluster.until("WebhookEndpoint", "old", "v1beta1", |object| object["spec"]["retention"] == "168h").await;
    assert_eq!(read["apiVersion"], "grapnel.dev/v1beta1");
    assert_eq!(stored().await, ["v1alpha1", "v1beta1"]);
    assert!(replace(&crds, with_only("v1beta1")).await.is_err(), "the old version is still stored");

    // The commands of docs/versions.md.
    let api = cluster.api("WebhookEndpoint");
    let object = api.get("old").await.unwrap();
    let generation = object.metadata.generation;
    assert_eq!(api.replace("old", &PostParams::default(), &object).await.unwrap().metadata.generation, generation);
    let patch = json!({ "status": { "storedVersions": ["v1beta1"] } });
    crds.patch_status(NAME, &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
    replace(&crds, with_only("v1beta1")).await.unwrap();
    assert_eq!(cluster.get("WebhookEndpoint", "old").await["apiVersion"], "grapnel.dev/v1beta1");
}
