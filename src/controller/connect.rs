//! Connects to the API server.

use std::path::PathBuf;

use grapnel_values::name::is_label;
use kube::{
    Client, Config,
    config::{KubeConfigOptions, Kubeconfig, KubeconfigError},
};

/// Where to find the API server and its credentials.
#[derive(Debug, Clone, Default)]
pub struct Connection {
    /// A kubeconfig file; by default `KUBECONFIG`, `~/.kube/config` or, within a pod, its service account.
    pub kubeconfig: Option<PathBuf>,
    /// A context of that file instead of its current one.
    pub context: Option<String>,
}

/// Why there is no client. The errors of `kube` include their causes in their messages, so they are not repeated as
/// sources.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// A kubeconfig cannot be read.
    #[error("the kubeconfig {path} cannot be read: {reason}")]
    Unreadable {
        /// The path of the file.
        path: PathBuf,
        /// The system's error.
        reason: std::io::Error,
    },
    /// A kubeconfig cannot be used.
    #[error("invalid kubeconfig: {0}")]
    Kubeconfig(Box<KubeconfigError>),
    /// Neither a kubeconfig nor a pod's service account was found.
    #[error("no cluster: found neither a kubeconfig (--kubeconfig) nor a pod's ServiceAccount: {0}")]
    NotFound(Box<kube::config::InferConfigError>),
    /// The client could not be set up.
    #[error("the client of the API server cannot be set up: {0}")]
    Client(Box<kube::Error>),
}

/// Where a pod finds the namespace of its service account.
const NAMESPACE_FILE: &str = "/var/run/secrets/kubernetes.io/serviceaccount/namespace";

/// The namespace of the pod that this process runs in, from `POD_NAMESPACE` (downward API) or from the files of the
/// service account; `None` outside of a pod.
pub fn pod_namespace() -> Option<String> {
    let variable = std::env::var("POD_NAMESPACE").ok();
    let file = || std::fs::read_to_string(NAMESPACE_FILE).ok();
    let namespace = variable.filter(|name| !name.trim().is_empty()).or_else(file)?;
    Some(namespace.trim().to_owned()).filter(|name| is_label(name))
}

/// Clients of one API server.
#[derive(Clone)]
pub struct Clients {
    /// Retries by itself for minutes while the API server is busy: for watches and the fetches that they cause.
    pub patient: Client,
    /// Does not retry: for calls that have a deadline and are repeated by their caller.
    pub prompt: Client,
    /// The namespace of the kubeconfig's context or of the pod.
    pub namespace: String,
}

impl Connection {
    /// Sets up the clients without calling the API server.
    ///
    /// # Errors
    /// Returns an error if no cluster is configured, or its configuration is not usable.
    pub async fn clients(&self) -> Result<Clients, ConnectError> {
        let config = self.config().await?;
        let namespace = config.default_namespace.clone();
        let mut once = config.clone();
        once.default_retry = false;
        let client = |config: Config| Client::try_from(config).map_err(|error| ConnectError::Client(Box::new(error)));
        Ok(Clients { patient: client(config)?, prompt: client(once)?, namespace })
    }

    /// Reads the configuration of the cluster.
    ///
    /// # Errors
    /// Returns an error if no cluster is configured, or its configuration is not usable.
    pub async fn config(&self) -> Result<Config, ConnectError> {
        self.read().await.map(without_the_environments_proxy)
    }

    async fn read(&self) -> Result<Config, ConnectError> {
        let options = KubeConfigOptions { context: self.context.clone(), ..KubeConfigOptions::default() };
        let read = match (&self.kubeconfig, &self.context) {
            (Some(file), _) => match Kubeconfig::read_from(file) {
                Ok(kubeconfig) => Config::from_custom_kubeconfig(kubeconfig, &options).await,
                Err(error) => Err(error),
            },
            (None, Some(_)) => Config::from_kubeconfig(&options).await,
            (None, None) => return Config::infer().await.map_err(|error| ConnectError::NotFound(error.into())),
        };
        read.map_err(|error| match error {
            KubeconfigError::ReadConfig(reason, path) => ConnectError::Unreadable { path, reason },
            error => ConnectError::Kubeconfig(error.into()),
        })
    }
}

/// Drops a proxy that the environment names; only one from the kubeconfig is used. `kube` would take it where the
/// kubeconfig names none, and then fail, since this build supports no proxies.
fn without_the_environments_proxy(mut config: Config) -> Config {
    let from_environment = ["HTTPS_PROXY", "https_proxy"].into_iter().any(|name| {
        let given = std::env::var(name).ok().and_then(|given| given.parse().ok());
        given.is_some() && given == config.proxy_url
    });
    if from_environment {
        config.proxy_url = None;
    }
    config
}
