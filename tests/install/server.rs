//! What is rendered, on a real API server.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Namespace;
use kube::{
    Api, Client,
    api::{DynamicObject, Patch, PatchParams},
    core::TypeMeta,
    discovery::{Discovery, Scope},
};
use serde_json::{Value, json};

use crate::{
    chart::{SETS, objects, render_text},
    fixture::Cluster,
    manifests,
};

/// Kinds that only clusters with the CRDs of others have.
const FOREIGN: &[&str] = &["HTTPRoute", "ReferenceGrant", "ServiceMonitor", "PrometheusRule"];

/// Installs objects, as an administrator does, in the order in which they are written. Server-side apply refuses fields that
/// the API server does not know. CRDs are there already, and API servers that know no CEL refuse to apply them.
pub(crate) async fn install(client: &Client, objects: &[Value]) -> usize {
    let discovery = Discovery::new(client.clone()).run().await.unwrap();
    let mut installed = 0;
    for object in objects {
        let kind = object["kind"].as_str().unwrap();
        if kind == "CustomResourceDefinition" || FOREIGN.contains(&kind) {
            continue;
        }
        let types: TypeMeta = serde_json::from_value(object.clone()).unwrap();
        let found = discovery.resolve_typemeta(&types);
        let (resource, capabilities) = found.unwrap_or_else(|| panic!("the API server knows no {types:?}"));
        let api: Api<DynamicObject> = match capabilities.scope {
            Scope::Cluster => Api::all_with(client.clone(), &resource),
            Scope::Namespaced => {
                let namespace =
                    object["metadata"]["namespace"].as_str().unwrap_or_else(|| panic!("{object} has no namespace"));
                Api::namespaced_with(client.clone(), namespace, &resource)
            }
        };
        let name = object["metadata"]["name"].as_str().unwrap();
        let applied = api.patch(name, &PatchParams::apply("administrator").force(), &Patch::Apply(object)).await;
        let stored = serde_json::to_value(applied.unwrap_or_else(|error| panic!("{error}: {object}"))).unwrap();
        // `stringData` is written into `data`.
        for field in object.as_object().unwrap().keys().filter(|field| *field != "stringData") {
            assert!(!stored[field].is_null(), "{kind} {name} has lost {field}");
        }
        installed += 1;
    }
    installed
}

/// Makes a namespace if it is not there.
pub(crate) async fn namespace(client: &Client, name: &str) {
    let namespace = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": name } });
    let api: Api<Namespace> = Api::all(client.clone());
    api.patch(name, &PatchParams::apply("administrator"), &Patch::Apply(&namespace)).await.unwrap();
}

#[tokio::test]
async fn every_set_of_values_is_taken() {
    let cluster = Cluster::new().await;
    for name in ["shop", "billing", "monitoring"] {
        namespace(&cluster.client, name).await;
    }
    let version = cluster.client.apiserver_version().await.unwrap().git_version;
    let mut kinds = BTreeMap::new();
    for set in SETS {
        // A namespace for each: a StatefulSet's claims cannot be changed.
        let namespace = cluster.another(&[]).await.namespace;
        // Without a server, Helm has to be told of which age it is.
        let rendered = objects(&render_text(&namespace, &[set.arguments, &["--kube-version", &version]].concat()));
        let installed = install(&cluster.client, &rendered).await;
        assert!(installed >= 3, "{}: only {installed}", set.name);
        for object in &rendered {
            *kinds.entry(object["kind"].as_str().unwrap().to_owned()).or_insert(0) += 1;
        }
    }
    let workloads = ["StatefulSet", "Deployment", "HorizontalPodAutoscaler", "PodDisruptionBudget"];
    for kind in workloads.iter().chain(&["Service", "Ingress", "NetworkPolicy", "Role", "ClusterRole"]) {
        assert!(kinds.contains_key(*kind), "no set has a {kind}");
    }
}

#[tokio::test]
async fn samples_and_manifests_are_taken() {
    let cluster = Cluster::new().await;
    for directory in manifests::DIRECTORIES.iter().chain([&manifests::ADDITION]) {
        let mut rendered = objects(&manifests::kustomize(directory));
        for object in &mut rendered {
            // Samples go where the user is; the rest says where it goes.
            let cluster_wide = ["Namespace", "CustomResourceDefinition", "ClusterRole", "ClusterRoleBinding"];
            let own = object["metadata"]["namespace"].is_null();
            if own && !cluster_wide.contains(&object["kind"].as_str().unwrap()) {
                object["metadata"]["namespace"] = cluster.namespace.clone().into();
            }
        }
        namespace(&cluster.client, "grapnel-system").await;
        install(&cluster.client, &rendered).await;
    }
}
