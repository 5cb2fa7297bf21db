//! `grapnel standalone`: runs the operator without a cluster.

use std::{net::SocketAddr, path::PathBuf, process::ExitCode};

use grapnel_delivery::egress::EgressPolicy;

use super::{data_plane::DataPlaneArgs, replica};
use crate::{runtime, telemetry};

/// Receive and deliver webhooks without a cluster
///
/// Reads WebhookEndpoint, WebhookSubscription, WebhookReplay, Secret, ConfigMap and Namespace objects from YAML or JSON
/// files and follows their changes. Runs until SIGTERM or SIGINT.
#[derive(Debug, clap::Args)]
pub struct StandaloneArgs {
    /// File or directory of manifests (.yaml, .yml, .json); may be repeated
    #[arg(short, long = "filename", env = "GRAPNEL_FILENAME", value_name = "FILE|DIR", required = true)]
    filename: Vec<PathBuf>,

    /// Listen address for health, metrics and the admin API
    #[arg(long, env = "GRAPNEL_ADMIN_LISTEN", value_name = "ADDRESS", default_value = "127.0.0.1:9090")]
    admin_listen: SocketAddr,

    #[command(flatten)]
    data_plane: DataPlaneArgs,
}

impl StandaloneArgs {
    /// Runs until it is asked to stop.
    ///
    /// # Errors
    /// Returns an error if it cannot start, or if one of its parts fails.
    pub async fn run(self) -> anyhow::Result<ExitCode> {
        telemetry::tracing::start(self.data_plane.log_format.into())?;
        let compile = self.data_plane.compile(EgressPolicy::default().allowing_loopback());
        runtime::standalone(self.data_plane.data_plane(replica::name(), self.admin_listen, compile)?, self.filename)
            .await?;
        Ok(ExitCode::SUCCESS)
    }
}
