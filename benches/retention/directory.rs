//! What a directory really takes, and what this process does.

use std::{fs, os::unix::fs::MetadataExt, path::Path};

/// Bytes of the blocks that the files below `path` take.
pub(crate) fn allocated(path: &Path) -> u64 {
    // Files come and go while this looks.
    let Ok(entries) = fs::read_dir(path) else { return 0 };
    let sizes = entries.flatten().filter_map(|entry| {
        let metadata = entry.metadata().ok()?;
        Some(if metadata.is_dir() { allocated(&entry.path()) } else { metadata.blocks() * 512 })
    });
    sizes.sum()
}

/// Resident memory of this process in bytes.
pub(crate) fn resident() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}
