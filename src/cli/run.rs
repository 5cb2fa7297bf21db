//! `grapnel run`: runs the operator of a cluster.

use std::{net::SocketAddr, path::PathBuf, process::ExitCode, time::Duration};

use grapnel_delivery::egress::EgressPolicy;
use grapnel_values::duration;

use super::{
    Usage,
    data_plane::{DataPlaneArgs, domain, label},
    replica,
};
use crate::{
    catalog::Options,
    cli::limits,
    controller::{
        connect::{self, Connection},
        limits::{LEASE_DURATION_MIN, STATUS_WRITES_PER_SECOND},
        route::RouteService,
    },
    runtime::{self, Cluster, DataPlane},
    telemetry,
};

/// Run the operator: watch the objects of a cluster, receive and deliver webhooks
///
/// Follows WebhookEndpoint and WebhookSubscription objects and the Secrets and ConfigMaps that they refer to, serves what
/// they declare, and writes their status. Reaches the cluster by --kubeconfig, KUBECONFIG, ~/.kube/config or, within a
/// pod, its service account. Runs until SIGTERM or SIGINT.
#[derive(Debug, clap::Args)]
pub struct RunArgs {
    /// Kubeconfig file
    #[arg(long, env = "GRAPNEL_KUBECONFIG", value_name = "FILE")]
    kubeconfig: Option<PathBuf>,

    /// Context of the kubeconfig [default: its current one]
    #[arg(long, env = "GRAPNEL_CONTEXT", value_name = "NAME")]
    context: Option<String>,

    /// Domain of the cluster's DNS, for targets that are Services
    #[arg(long, env = "GRAPNEL_CLUSTER_DOMAIN", value_name = "DOMAIN", default_value = "cluster.local", value_parser = domain)]
    cluster_domain: String,

    /// Largest number of writes of counters and requests about HTTPRoutes a second over all objects. With more busy
    /// objects every interval becomes longer than --status-interval; changed conditions are written at once
    #[arg(long, env = "GRAPNEL_STATUS_WRITES_PER_SECOND", value_name = "N", default_value_t = STATUS_WRITES_PER_SECOND, value_parser = clap::value_parser!(u32).range(1..=1000))]
    status_writes_per_second: u32,

    /// Namespace of the Lease that selects the replica that writes statuses and Events [default: that of the pod, or of
    /// the kubeconfig's context]
    #[arg(long, env = "GRAPNEL_LEASE_NAMESPACE", value_name = "NAMESPACE", value_parser = label)]
    lease_namespace: Option<String>,

    /// Name of the Lease [default: grapnel, with --class grapnel-CLASS]
    #[arg(long, env = "GRAPNEL_LEASE_NAME", value_name = "NAME", value_parser = domain)]
    lease_name: Option<String>,

    /// Duration of the Lease without renewal, from 3s to 300s
    #[arg(long, env = "GRAPNEL_LEASE_DURATION", value_name = "DURATION", default_value = "15s", value_parser = lease_duration)]
    lease_duration: Duration,

    /// Unique name of this replica [default: POD_NAME, or the host's name and a random suffix]
    #[arg(long, env = "GRAPNEL_IDENTITY", value_name = "NAME")]
    identity: Option<String>,

    /// Service and port of the webhooks, NAMESPACE/NAME:PORT, to which the HTTPRoutes of endpoints with spec.route send
    /// requests [default: none, and spec.route has no effect]
    #[arg(long, env = "GRAPNEL_ROUTE_SERVICE", value_name = "SERVICE")]
    route_service: Option<RouteService>,

    /// Listen address for health, metrics and the admin API
    #[arg(long, env = "GRAPNEL_ADMIN_LISTEN", value_name = "ADDRESS", default_value = "0.0.0.0:9090")]
    admin_listen: SocketAddr,

    #[command(flatten)]
    data_plane: DataPlaneArgs,
}

impl RunArgs {
    /// Runs until it is asked to stop.
    ///
    /// # Errors
    /// Returns an error if it cannot start, or if one of its parts fails.
    pub async fn run(self) -> anyhow::Result<ExitCode> {
        telemetry::tracing::start(self.data_plane.log_format.into())?;
        if self.data_plane.watch_namespaces.len() > limits::WATCHED_NAMESPACES {
            let most = limits::WATCHED_NAMESPACES;
            return Err(Usage::error(format!(
                "--watch-namespaces takes at most {most} namespaces; watch the whole cluster"
            )));
        }
        let identity = self.identity.unwrap_or_else(replica::name);
        let cluster = Cluster {
            connection: Connection { kubeconfig: self.kubeconfig, context: self.context },
            status_interval: self.data_plane.status_interval,
            status_writes_per_second: self.status_writes_per_second,
            lease_namespace: self.lease_namespace.or_else(connect::pod_namespace),
            lease_name: self.lease_name.unwrap_or_else(|| lease_name(self.data_plane.class.as_deref())),
            lease_duration: self.lease_duration,
            identity: identity.clone(),
            route_service: self.route_service,
        };
        let compile = Options {
            cluster_domain: self.cluster_domain,
            service_accounts: true,
            ..self.data_plane.compile(EgressPolicy::default())
        };
        let data_plane =
            DataPlane { await_sync: true, ..self.data_plane.data_plane(identity, self.admin_listen, compile)? };
        runtime::operator(data_plane, cluster).await?;
        Ok(ExitCode::SUCCESS)
    }
}

/// The Lease of an installation. Operators of different classes are different installations: with the same Lease, only
/// one of them would write statuses.
fn lease_name(class: Option<&str>) -> String {
    class.map_or_else(|| "grapnel".into(), |class| format!("grapnel-{class}"))
}

fn lease_duration(text: &str) -> Result<Duration, String> {
    let given = duration::parse(text).map_err(|error| error.to_string())?;
    if (LEASE_DURATION_MIN..=limits::LEASE_DURATION_MAX).contains(&given) && given.subsec_nanos() == 0 {
        Ok(given)
    } else {
        Err("must be whole seconds from 3s to 300s".into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_class_has_its_lease() {
        assert_eq!((&*lease_name(None), &*lease_name(Some("web"))), ("grapnel", "grapnel-web"));
    }

    #[test]
    fn names_and_times_are_checked() {
        assert!(label("shop-1").is_ok());
        for wrong in ["", "-a", "a-", "A", "a.b", "a_b", &"a".repeat(64)] {
            assert!(label(wrong).is_err(), "{wrong}");
        }
        assert_eq!(domain("cluster.local."), Ok("cluster.local".into()));
        assert!(domain("a..b").is_err() && domain("").is_err());
        assert!(lease_duration("2s").is_err() && lease_duration("3s").is_ok() && lease_duration("3500ms").is_err());
    }
}
