//! The status of an object as kstatus computes it for a custom resource, and Flux waits for. From its documentation
//! (`sigs.k8s.io/cli-utils/pkg/kstatus`).

use serde_json::Value;

/// A status of kstatus.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum KStatus {
    /// As the spec wants it.
    Current,
    /// On the way there.
    InProgress,
    /// It will not get there by itself.
    Failed,
    /// Being deleted.
    Terminating,
}

/// The status of a custom resource.
pub(crate) fn kstatus(object: &Value) -> KStatus {
    let status = &object["status"];
    let condition = |kind: &str| {
        let mut conditions = status["conditions"].as_array().into_iter().flatten();
        conditions.find(|condition| condition["type"] == kind).and_then(|condition| condition["status"].as_str())
    };
    if object["metadata"]["deletionTimestamp"].is_string() {
        return KStatus::Terminating;
    }
    if status["observedGeneration"].is_number() && status["observedGeneration"] != object["metadata"]["generation"] {
        return KStatus::InProgress;
    }
    match (condition("Stalled"), condition("Reconciling"), condition("Ready")) {
        (_, Some("True"), _) => KStatus::InProgress,
        (Some("True"), ..) => KStatus::Failed,
        (_, _, Some("False" | "Unknown")) => KStatus::InProgress,
        _ => KStatus::Current,
    }
}
