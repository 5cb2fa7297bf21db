//! Three brokers, and replicas of the program on the same objects.

use std::{fmt::Write as _, fs, path::PathBuf};

use grapnel_test_support::{
    directory,
    nats::{NatsCluster, NatsSettings},
    program::{self, Grapnel},
};
use tempfile::TempDir;

/// Shards of the installation: few, so that each has several endpoints, and a small machine keeps up.
pub(crate) const SHARDS: usize = 8;

/// The endpoints, which are in several shards.
pub(crate) const ENDPOINTS: usize = 6;

/// Deliveries of one subscription in flight at once.
pub(crate) const IN_FLIGHT: usize = 4;

/// The program with these objects on these brokers, as often as asked for.
pub(crate) struct Site {
    pub(crate) brokers: NatsCluster,
    directory: TempDir,
    arguments: Vec<String>,
}

impl Site {
    /// Starts three brokers that sync before they acknowledge.
    pub(crate) async fn new() -> Self {
        Self::on(NatsCluster::start(3, NatsSettings { sync_always: true, ..NatsSettings::default() }).await)
    }

    /// Starts one broker, which a test breaks that is not about the others.
    pub(crate) async fn single(settings: NatsSettings) -> Self {
        Self::on(NatsCluster::start(1, settings).await).with(&["--nats-replicas", "1"])
    }

    /// Uses running brokers.
    pub(crate) fn on(brokers: NatsCluster) -> Self {
        let arguments = vec!["--nats-shards".to_owned(), SHARDS.to_string()];
        Self { brokers, directory: directory::temporary(), arguments }
    }

    /// Adds arguments of every replica.
    pub(crate) fn with(mut self, arguments: &[&str]) -> Self {
        self.arguments.extend(arguments.iter().map(|argument| (*argument).to_owned()));
        self
    }

    /// The path of a file of objects.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(format!("{name}.yaml"))
    }

    /// Writes a file of objects.
    pub(crate) fn objects(&self, name: &str, objects: &str) -> PathBuf {
        let path = self.file(name);
        fs::write(&path, objects).unwrap();
        path
    }

    /// The arguments of a replica with the objects of a file, which reaches the brokers at `url`.
    pub(crate) fn arguments(&self, objects: &std::path::Path, url: &str) -> Vec<String> {
        let mut arguments = vec!["standalone".to_owned(), "-f".to_owned(), objects.to_str().unwrap().to_owned()];
        arguments.extend(["--journal".to_owned(), url.to_owned()]);
        if !self.arguments.iter().any(|argument| argument == "--nats-trust-sync") {
            arguments.extend(["--nats-monitor".to_owned(), self.brokers.monitors().join(",")]);
        }
        arguments.extend(self.arguments.iter().cloned());
        arguments
    }
}

/// Waits until a replica is ready.
pub(crate) async fn ready(replica: &Grapnel) {
    replica
        .eventually("a replica that is ready", async || {
            let (status, text) = replica.admin("/readyz").await;
            if status == 200 { Ok(()) } else { Err(text) }
        })
        .await;
}

/// Starts a replica, and returns when it answers: the wait for its first lines holds up no other task.
pub(crate) async fn start(arguments: Vec<String>, name: Option<String>) -> Grapnel {
    let started = tokio::task::spawn_blocking(move || {
        let mut command = program::command();
        command.args(arguments).envs(name.map(|name| ("POD_NAME", name)));
        Grapnel::try_start(command)
    });
    started.await.unwrap().unwrap_or_else(|log| panic!("it ended before it served:\n{log}"))
}

/// The name of an endpoint.
pub(crate) fn endpoint(number: usize) -> String {
    format!("in-{number}")
}

/// The endpoints, each with one subscription for each of `kinds`, whose requests go to
/// `{receiver}/{endpoint}/{kind}`. Every other endpoint keeps settled events only for a second.
pub(crate) fn objects(receiver: &str, kinds: &[&str]) -> String {
    let mut text = String::new();
    for number in 0..ENDPOINTS {
        let (name, retention) = (endpoint(number), if number % 2 == 0 { "1h" } else { "1s" });
        write!(
            text,
            r#"---
apiVersion: grapnel.dev/v1beta1
kind: WebhookEndpoint
metadata: {{ name: {name} }}
spec:
  path: {name}
  verification: {{ none: {{}} }}
  event: {{ type: {{ value: thing }}, id: {{ pointer: /id }} }}
  retention: {retention}
"#
        )
        .unwrap();
        for kind in kinds {
            let more = match *kind {
                "orderly" => "ordering: Ordered".to_owned(),
                _ => format!("maxInFlight: {IN_FLIGHT}"),
            };
            write!(
                text,
                r#"---
apiVersion: grapnel.dev/v1beta1
kind: WebhookSubscription
metadata: {{ name: {kind}-{number} }}
spec:
  endpointRef: {{ name: {name} }}
  startFrom: Earliest
  retry: {{ maxAttempts: 100, initialDelay: 10ms, maxDelay: 1s, jitter: None }}
  circuitBreaker: {{ failures: 1000, cooldown: 1s, maxCooldown: 1s }}
  target: {{ url: "{receiver}/{name}/{kind}", timeout: 60s }}
  {more}
"#
            )
            .unwrap();
        }
    }
    text
}
