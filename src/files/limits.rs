//! Bounds of reading manifests.

use std::time::Duration;

grapnel_values::bounds! {
    /// Largest manifest file in bytes. A file this size holds some ten thousand objects.
    pub const MANIFEST_BYTES: u64 = 16 << 20;

    /// How often the files are looked at where the system does not tell when they change.
    pub const FILES_INTERVAL: Duration = Duration::from_millis(500);

    /// How often the files are looked at where the system does tell: it does not see all changes.
    pub const FILES_INTERVAL_NOTIFIED: Duration = Duration::from_secs(5);

    /// How long changes of files are gathered before they are read together.
    pub const FILES_GATHER: Duration = Duration::from_millis(10);

    /// Longest message of a YAML error, in characters.
    pub const PROBLEM_CHARS: usize = 500;
}
