//! A directory with manifests and a journal, and the program on it.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use tempfile::TempDir;

use crate::{
    program::{self, Grapnel},
    shim::Shim,
};

/// Deliveries of one subscription under way at once.
pub(crate) const IN_FLIGHT: u64 = 8;

pub(crate) struct Site {
    directory: TempDir,
    data: PathBuf,
    arguments: Vec<String>,
    pub(crate) shim: Shim,
    undo: bool,
}

impl Site {
    /// One endpoint with three subscriptions at `receiver`: `all` takes everything; `fussy` fails and gives some up;
    /// `orderly` goes by sequence. Settled events go as soon as somebody looks.
    pub(crate) fn new(receiver: &str) -> Self {
        let directory = grapnel_test_support::directory::temporary();
        // The shim compares paths as the kernel tells them.
        let path = directory.path().canonicalize().unwrap();
        let shim = Shim::new(&path);
        let site = Self { data: path.join("data"), directory, arguments: Vec::new(), shim, undo: false };
        site.deliver_to(receiver);
        site
    }

    /// Deliveries go there from now on.
    pub(crate) fn deliver_to(&self, receiver: &str) {
        let subscription = |name: &str, more: &str| {
            format!(
                r#"---
apiVersion: grapnel.dev/v1beta1
kind: WebhookSubscription
metadata: {{ name: {name} }}
spec:
  endpointRef: {{ name: in }}
  startFrom: Earliest
  retry: {{ maxAttempts: 100, initialDelay: 10ms, maxDelay: 1s, jitter: None }}
  circuitBreaker: {{ failures: 1000, cooldown: 1s, maxCooldown: 1s }}
  target: {{ url: "{receiver}/{name}", timeout: 10s }}
{more}"#
            )
        };
        let in_flight = format!("  maxInFlight: {IN_FLIGHT}\n");
        let manifest = format!(
            r#"apiVersion: grapnel.dev/v1beta1
kind: WebhookEndpoint
metadata: {{ name: in }}
spec:
  path: in
  verification: {{ none: {{}} }}
  event: {{ type: {{ value: thing }}, id: {{ pointer: /id }} }}
  retention: 1s
  limits: {{ timeout: 6s }}
{}{}{}"#,
            subscription("all", &in_flight),
            subscription("fussy", &in_flight),
            subscription("orderly", "  ordering: Ordered\n"),
        );
        let fresh = self.directory.path().join("fresh");
        fs::write(&fresh, manifest).unwrap();
        fs::rename(fresh, self.directory.path().join("objects.yaml")).unwrap();
    }

    /// The data directory somewhere else.
    pub(crate) fn with_data(mut self, data: &Path) -> Self {
        self.data = data.to_owned();
        self
    }

    /// More arguments for the program.
    pub(crate) fn with(mut self, arguments: &[String]) -> Self {
        self.arguments.extend_from_slice(arguments);
        self
    }

    /// What has not been synced can be taken away.
    pub(crate) fn with_power_cuts(mut self) -> Self {
        self.undo = true;
        self
    }

    pub(crate) fn data(&self) -> &Path {
        &self.data
    }

    /// Begins with no journal.
    pub(crate) fn erase(&self) {
        if self.data.exists() {
            fs::remove_dir_all(&self.data).unwrap();
        }
    }

    /// The program on this directory, not started.
    pub(crate) fn command(&self) -> Command {
        let mut command = program::command();
        command.args(["standalone", "-f"]).arg(self.directory.path().join("objects.yaml"));
        command.arg("--data-dir").arg(&self.data).args(&self.arguments);
        self.shim.under(&mut command, &self.data);
        if self.undo {
            command.env("FAULTS_UNDO", "1");
        }
        command
    }

    /// The program, serving, or what it said when it ended before.
    pub(crate) fn try_start(&self) -> Result<Grapnel, String> {
        Grapnel::try_start(self.command())
    }

    /// The program, serving.
    pub(crate) fn start(&self) -> Grapnel {
        self.try_start().unwrap_or_else(|log| panic!("it ended before it served:\n{log}"))
    }
}
