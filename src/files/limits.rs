//! Bounds of manifest files.

use std::time::Duration;

grapnel_values::bounds! {
    /// Maximum size of a manifest file in bytes. A file of this size holds some ten thousand objects.
    pub const MANIFEST_BYTES: u64 = 16 << 20;

    /// Maximum number of YAML documents of a file.
    pub const DOCUMENTS: usize = 20_000;

    /// Maximum number of values of a file, those in lists and maps included.
    pub const VALUES: usize = 500_000;

    /// Maximum depth of lists and maps in a file.
    pub const DEPTH: usize = 64;

    /// Maximum bytes that are parsed to read the documents of a broken file one by one: their number times the size of the
    /// file. Of larger files nothing is in use until they are corrected.
    pub const SEPARATE_BYTES: usize = 256 << 20;

    /// Scan interval of the files without change notifications.
    pub const FILES_INTERVAL: Duration = Duration::from_millis(500);

    /// Scan interval of the files with change notifications, which do not cover all changes.
    pub const FILES_INTERVAL_NOTIFIED: Duration = Duration::from_secs(5);

    /// How long changes of files are collected before they are read together.
    pub const FILES_GATHER: Duration = Duration::from_millis(10);

    /// Maximum length of a YAML error message, in characters.
    pub const PROBLEM_CHARS: usize = 500;
}
