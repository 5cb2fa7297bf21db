//! The restricted Pod Security Standard, as far as it concerns what is rendered here.
//!
//! <https://kubernetes.io/docs/concepts/security/pod-security-standards/>

use serde_json::{Value, json};

/// Volume types that the standard allows.
const VOLUMES: &[&str] =
    &["configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"];

/// What an object's pods have against the standard, or against a root file system that cannot be written.
pub(crate) fn violations(object: &Value) -> Vec<String> {
    let pod = if object["kind"] == "Pod" { object.get("spec") } else { object.pointer("/spec/template/spec") };
    let Some(pod) = pod else { return Vec::new() };
    let mut found = Vec::new();
    let mut must = |holds: bool, what: String| {
        if !holds {
            found.push(what);
        }
    };
    let profile = |context: &Value| context["seccompProfile"]["type"].as_str().map(str::to_owned);
    for field in ["hostNetwork", "hostPID", "hostIPC"] {
        must(pod[field].is_null() || pod[field] == false, format!("{field} is set"));
    }
    for volume in pod["volumes"].as_array().into_iter().flatten() {
        let kinds: Vec<_> = volume.as_object().unwrap().keys().filter(|key| *key != "name").collect();
        must(kinds.iter().all(|kind| VOLUMES.contains(&kind.as_str())), format!("volume {volume}"));
    }
    let shared = &pod["securityContext"];
    let containers =
        ["containers", "initContainers"].into_iter().flat_map(|list| pod[list].as_array().into_iter().flatten());
    for container in containers {
        let name = &container["name"];
        let own = &container["securityContext"];
        let effective = |field: &str| if own[field].is_null() { &shared[field] } else { &own[field] };
        must(own["allowPrivilegeEscalation"] == false, format!("{name}: allowPrivilegeEscalation"));
        must(own["capabilities"]["drop"] == json!(["ALL"]), format!("{name}: capabilities.drop"));
        must(own["capabilities"]["add"].is_null(), format!("{name}: capabilities.add"));
        must(own["privileged"].is_null() || own["privileged"] == false, format!("{name}: privileged"));
        must(own["readOnlyRootFilesystem"] == true, format!("{name}: readOnlyRootFilesystem"));
        must(*effective("runAsNonRoot") == true, format!("{name}: runAsNonRoot"));
        must(*effective("runAsUser") != 0, format!("{name}: runAsUser"));
        let seccomp = profile(own).or_else(|| profile(shared));
        must(matches!(seccomp.as_deref(), Some("RuntimeDefault" | "Localhost")), format!("{name}: seccompProfile"));
        for port in container["ports"].as_array().into_iter().flatten() {
            must(port["hostPort"].is_null(), format!("{name}: hostPort"));
        }
    }
    found
}

#[test]
fn a_pod_without_settings_violates_all_of_it() {
    let open = json!({ "spec": { "template": { "spec": {
        "hostNetwork": true,
        "volumes": [{ "name": "root", "hostPath": { "path": "/" } }],
        "containers": [{ "name": "c", "securityContext": { "privileged": true } }],
    } } } });
    assert_eq!(violations(&open).len(), 8, "{:?}", violations(&open));
}
