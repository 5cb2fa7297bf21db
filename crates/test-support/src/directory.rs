//! Places on the disk: the repository, what cargo has built, directories of a test's own.

use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use tempfile::TempDir;

/// The root of the repository.
pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// The directory of the profile with which this test was built, such as `target/debug`: tests and benches are in its `deps`.
pub(crate) fn profile() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    test.ancestors().nth(2).expect("cargo puts tests into target/PROFILE/deps").to_owned()
}

/// Creates a directory on the disk of the build, where `/tmp` may be in memory. It is removed when this is dropped.
pub fn temporary() -> TempDir {
    let parent = profile().with_file_name("tmp");
    fs::create_dir_all(&parent).unwrap();
    tempfile::tempdir_in(parent).unwrap()
}

/// Bytes of the blocks that the files below `path` occupy. Files may come and go meanwhile.
pub fn allocated(path: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(path) else { return 0 };
    let sizes = entries.flatten().filter_map(|entry| {
        let metadata = entry.metadata().ok()?;
        Some(if metadata.is_dir() { allocated(&entry.path()) } else { metadata.blocks() * 512 })
    });
    sizes.sum()
}
