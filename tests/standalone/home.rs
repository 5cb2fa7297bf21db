//! Manifests and a data directory of a test's own.

use std::{
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
};

use tempfile::TempDir;

use crate::program::Grapnel;

/// Manifests and a data directory of a test's own.
pub(crate) struct Home {
    directory: TempDir,
}

impl Home {
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        fs::create_dir(directory.path().join("manifests")).unwrap();
        Self { directory }
    }

    /// The quickstart that is shipped, with its receiver somewhere else.
    pub(crate) fn quickstart(receiver: &str) -> Self {
        let home = Self::new();
        let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/quickstart");
        for entry in fs::read_dir(shipped).unwrap() {
            let path = entry.unwrap().path();
            let text = fs::read_to_string(&path).unwrap().replace("http://127.0.0.1:9000", receiver);
            home.write(path.file_name().unwrap().to_str().unwrap(), &text);
        }
        home
    }

    pub(crate) fn manifests(&self) -> PathBuf {
        self.directory.path().join("manifests")
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    /// Writes a manifest as an editor does: whole, or not at all.
    pub(crate) fn write(&self, name: &str, text: &str) {
        let fresh = self.directory.path().join("fresh");
        fs::write(&fresh, text).unwrap();
        fs::rename(fresh, self.manifests().join(name)).unwrap();
    }

    pub(crate) fn read(&self, name: &str) -> String {
        fs::read_to_string(self.manifests().join(name)).unwrap()
    }

    pub(crate) fn remove(&self, name: &str) {
        fs::remove_file(self.manifests().join(name)).unwrap();
    }

    pub(crate) fn start(&self) -> Grapnel {
        self.start_in(&[])
    }

    /// The same with an environment.
    pub(crate) fn start_in(&self, environment: &[(&str, &str)]) -> Grapnel {
        let (manifests, data) = (self.manifests(), self.data());
        let arguments =
            [OsStr::new("standalone"), "-f".as_ref(), manifests.as_ref(), "--data-dir".as_ref(), data.as_ref()];
        Grapnel::start_in(environment, arguments)
    }
}
