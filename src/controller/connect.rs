//! How the API server is reached.

use std::path::PathBuf;

use kube::{
    Client, Config,
    config::{KubeConfigOptions, Kubeconfig},
};

/// Where the API server is and who this is.
#[derive(Debug, Clone, Default)]
pub struct Connection {
    /// A kubeconfig file; otherwise `KUBECONFIG`, `~/.kube/config` or, within a pod, its service account.
    pub kubeconfig: Option<PathBuf>,
    /// A context of that file instead of its current one.
    pub context: Option<String>,
}

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// A kubeconfig cannot be used.
    #[error("the kubeconfig cannot be used: {0}")]
    Kubeconfig(#[from] kube::config::KubeconfigError),
    /// Neither a kubeconfig nor a pod's service account was found.
    #[error("no cluster: there is neither a kubeconfig (--kubeconfig) nor a service account of a pod: {0}")]
    NotFound(#[from] kube::config::InferConfigError),
    /// The client cannot be set up.
    #[error("the client of the API server cannot be set up: {0}")]
    Client(#[from] kube::Error),
}

/// Clients of one API server.
#[derive(Clone)]
pub struct Clients {
    /// Tries again by itself when the API server is busy, for minutes: for watches and what they lead to.
    pub patient: Client,
    /// Asks once: for whatever has a deadline and a next turn of its own.
    pub prompt: Client,
    /// The namespace of the kubeconfig's context or of the pod.
    pub namespace: String,
}

impl Connection {
    /// Sets up the clients; nothing is asked of the API server yet.
    ///
    /// # Errors
    /// When no cluster is named, or what names it cannot be used.
    pub async fn clients(&self) -> Result<Clients, ConnectError> {
        let config = self.config().await?;
        let namespace = config.default_namespace.clone();
        let mut once = config.clone();
        once.default_retry = false;
        Ok(Clients { patient: Client::try_from(config)?, prompt: Client::try_from(once)?, namespace })
    }

    /// Reads what there is to know of the cluster.
    ///
    /// # Errors
    /// When no cluster is named, or what names it cannot be used.
    pub async fn config(&self) -> Result<Config, ConnectError> {
        let options = KubeConfigOptions { context: self.context.clone(), ..KubeConfigOptions::default() };
        Ok(match (&self.kubeconfig, &self.context) {
            (Some(file), _) => Config::from_custom_kubeconfig(Kubeconfig::read_from(file)?, &options).await?,
            (None, Some(_)) => Config::from_kubeconfig(&options).await?,
            (None, None) => Config::infer().await?,
        })
    }
}
