//! The name of this replica.

/// The pod's name, or a value that is unique among the replicas.
pub(super) fn name() -> String {
    if let Ok(name) = std::env::var("POD_NAME")
        && !name.is_empty()
    {
        return name;
    }
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let host = host.trim();
    format!("{}-{}", if host.is_empty() { "grapnel" } else { host }, uuid::Uuid::now_v7().simple())
}
