//! What is read of a pod.

use k8s_openapi::{api::core::v1::Pod, apimachinery::pkg::apis::meta::v1::ObjectMeta};
use kube::{Resource, api::Portforward};
use serde::Deserialize;

/// Name of the admin API's port on the operator's pod.
const PORT_NAME: &str = "admin";

/// Its number if no port has this name.
const PORT: u16 = 9090;

/// A pod, without the volumes, the affinities and everything else that nothing here asks for: code that reads a whole pod
/// takes a megabyte of the program.
#[derive(Debug, Clone, Default, Deserialize, Resource)]
#[resource(inherit = Pod)]
#[serde(default)]
pub(super) struct OperatorPod {
    metadata: ObjectMeta,
    spec: PodSpec,
    status: PodStatus,
}

impl Portforward for OperatorPod {}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct PodSpec {
    containers: Vec<Container>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Container {
    ports: Vec<Port>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Port {
    name: Option<String>,
    container_port: u16,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct PodStatus {
    phase: Option<String>,
    conditions: Vec<Condition>,
}

#[derive(Debug, Clone, Deserialize)]
struct Condition {
    #[serde(rename = "type")]
    kind: String,
    status: String,
}

impl OperatorPod {
    pub(super) fn name(&self) -> Option<&str> {
        self.metadata.name.as_deref()
    }

    pub(super) fn is_ready(&self) -> bool {
        self.status.conditions.iter().any(|condition| condition.kind == "Ready" && condition.status == "True")
    }

    /// Whether it is not terminating, and has a started container.
    pub(super) fn is_running(&self) -> bool {
        let running = self.status.phase.as_deref() == Some("Running");
        self.metadata.deletion_timestamp.is_none() && (self.is_ready() || running)
    }

    /// The admin API's port.
    pub(super) fn port(&self) -> u16 {
        let mut ports = self.spec.containers.iter().flat_map(|container| &container.ports);
        ports.find(|port| port.name.as_deref() == Some(PORT_NAME)).map_or(PORT, |port| port.container_port)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(value: serde_json::Value) -> OperatorPod {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn the_port_is_the_one_that_is_named() {
        let with =
            |ports| pod(json!({ "spec": { "containers": [{ "name": "sidecar" }, { "name": "x", "ports": ports }] } }));
        assert_eq!(with(json!([{ "containerPort": 80 }, { "name": "admin", "containerPort": 9191 }])).port(), 9191);
        assert_eq!(with(json!([{ "name": "http", "containerPort": 80 }])).port(), PORT);
        assert_eq!(pod(json!({})).port(), PORT);
    }

    #[test]
    fn a_terminating_pod_is_not_used() {
        let ready = json!({ "conditions": [{ "type": "Ready", "status": "True" }] });
        let unready = json!({ "phase": "Running", "conditions": [{ "type": "Ready", "status": "False" }] });
        let going = json!({ "deletionTimestamp": "2026-01-31T12:00:00Z" });
        for status in [&ready, &unready] {
            assert!(pod(json!({ "status": status })).is_running());
            assert!(!pod(json!({ "metadata": going, "status": status })).is_running());
        }
        assert!(pod(json!({ "status": ready })).is_ready() && !pod(json!({ "status": unready })).is_ready());
        assert!(!pod(json!({ "status": { "phase": "Pending" } })).is_running());
        assert!(!pod(json!({})).is_running());
    }
}
