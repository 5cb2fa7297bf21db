//! Manifests and a data directory of a test's own.

use std::{
    ffi::OsStr,
    fs,
    net::{SocketAddr, TcpListener},
    path::PathBuf,
};

use tempfile::TempDir;

use crate::{directory, program::Grapnel};

/// Manifests and a data directory for `grapnel standalone`, which outlive each of its processes.
pub struct Home {
    directory: TempDir,
    listen: String,
    arguments: Vec<String>,
}

impl Default for Home {
    fn default() -> Self {
        Self::new()
    }
}

impl Home {
    /// A home without manifests.
    pub fn new() -> Self {
        let directory = directory::temporary();
        fs::create_dir(directory.path().join("manifests")).unwrap();
        Self { directory, listen: "127.0.0.1:0".into(), arguments: Vec::new() }
    }

    /// The quickstart of the repository, with another receiver.
    pub fn quickstart(receiver: &str) -> Self {
        let home = Self::new();
        for entry in fs::read_dir(directory::repository().join("examples/quickstart")).unwrap() {
            let path = entry.unwrap().path();
            let text = fs::read_to_string(&path).unwrap().replace("http://127.0.0.1:9000", receiver);
            home.write(path.file_name().unwrap().to_str().unwrap(), &text);
        }
        home
    }

    /// With further arguments of the program.
    pub fn with(mut self, arguments: &[&str]) -> Self {
        self.arguments.extend(arguments.iter().map(|argument| (*argument).to_owned()));
        self
    }

    /// With one address for all of its processes.
    pub fn at_one_address(mut self) -> Self {
        self.listen = unused_address().to_string();
        self
    }

    /// Where webhooks come in, if [`Self::at_one_address`] was called.
    pub fn address(&self) -> &str {
        &self.listen
    }

    /// The directory of the manifests.
    pub fn manifests(&self) -> PathBuf {
        self.directory.path().join("manifests")
    }

    /// The data directory.
    pub fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    /// Writes a manifest as an editor does: whole, or not at all.
    pub fn write(&self, name: &str, text: &str) {
        let fresh = self.directory.path().join("fresh");
        fs::write(&fresh, text).unwrap();
        fs::rename(fresh, self.manifests().join(name)).unwrap();
    }

    /// Reads a manifest.
    pub fn read(&self, name: &str) -> String {
        fs::read_to_string(self.manifests().join(name)).unwrap()
    }

    /// Removes a manifest.
    pub fn remove(&self, name: &str) {
        fs::remove_file(self.manifests().join(name)).unwrap();
    }

    /// Starts the program and returns when it serves.
    pub fn start(&self) -> Grapnel {
        self.start_in(&[])
    }

    /// The same with an environment.
    pub fn start_in(&self, environment: &[(&str, &str)]) -> Grapnel {
        let (manifests, data) = (self.manifests(), self.data());
        let own = [OsStr::new("standalone"), "-f".as_ref(), manifests.as_ref(), "--data-dir".as_ref(), data.as_ref()];
        Grapnel::start_with(environment, &self.listen, own.into_iter().chain(self.arguments.iter().map(OsStr::new)))
    }
}

/// An address of this machine at which nothing listens now.
pub fn unused_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}
