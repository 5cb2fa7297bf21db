//! Assembles the parts and keeps them running: the only place that spawns long-lived tasks.
//!
//! Configuration flows down: source → candidate → consumers aligned in the journal → live → ingress, dispatch, admin.

mod background;
mod facts_exchange;
mod file_replays;
mod kept_counts;
mod keys;
pub mod limits;
mod otlp_client;
mod overview;
mod plane;
mod retention;
mod rollout;
mod stop_signal;
mod supervise;
mod visits;

use std::{net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use grapnel_delivery::egress_proxy::EgressProxy;
use grapnel_journal::factory::JournalOptions;
use grapnel_values::clock::SystemClock;
use ipnet::IpNet;
use tokio::sync::watch;

use self::{
    kept_counts::KeptCounts,
    plane::{InCluster, Plane},
    stop_signal::stop_signal,
    supervise::Stage,
};
use crate::{
    admin::Health,
    catalog::{Namespaces, ObjectIndex, Options, Published},
    controller::{
        self,
        api_access::ApiAccess,
        connect::Connection,
        drain::Drain,
        lease::{Candidate, LeaseOptions},
        live_subscriptions::ClusterSubscriptions,
        observed_state::ObservedState,
        replay::{ReplayCleanup, ReplayStatuses},
        reviews::Reviews,
        route::{self, RouteOptions, RouteService},
        status::StatusWriter,
        write_budget::WriteBudgets,
    },
    files,
    ingress::tls::TlsFiles,
    replay::FileStore,
    telemetry::metrics::Metrics,
};

/// Options common to both modes.
#[derive(Debug, Clone)]
pub struct DataPlane {
    /// Address of the public server.
    pub listen: SocketAddr,
    /// Address of the admin server: health, metrics and the admin API.
    pub admin_listen: SocketAddr,
    /// File with the admin API's bearer token.
    pub admin_token_file: Option<PathBuf>,
    /// Whether metrics require access to the admin API or, in a cluster, permission to read metrics.
    pub guarded_metrics: bool,
    /// The journal's engine and its bounds.
    pub journal: JournalOptions,
    /// How objects are compiled.
    pub compile: Options,
    /// The namespaces whose objects are used.
    pub namespaces: Namespaces,
    /// The proxy for public addresses.
    pub egress_proxy: Option<EgressProxy>,
    /// Proxies whose `X-Forwarded-For` is trusted.
    pub trusted_proxies: Vec<IpNet>,
    /// Maximum concurrent connections.
    pub max_connections: usize,
    /// Certificate and key of the public server.
    pub tls: Option<TlsFiles>,
    /// Whether the process becomes ready only after all configuration has been read.
    pub await_sync: bool,
    /// Time between the signal to stop and the shutdown, in which the process serves but is not ready.
    pub shutdown_delay: Duration,
}

/// Additional options in a cluster.
#[derive(Debug, Clone)]
pub struct Cluster {
    /// How to connect to the API server.
    pub connection: Connection,
    /// Minimum time between two writes of one status' counters.
    pub status_interval: Duration,
    /// Maximum requests a second, over all objects, that write counters or are about HTTPRoutes.
    pub status_writes_per_second: u32,
    /// Namespace of the Lease; by default that of the pod or of the kubeconfig's context.
    pub lease_namespace: Option<String>,
    /// Name of the Lease.
    pub lease_name: String,
    /// Duration of the Lease without renewal.
    pub lease_duration: Duration,
    /// This replica's name.
    pub identity: String,
    /// The Service that HTTPRoutes of endpoints refer to; `None` manages no HTTPRoutes.
    pub route_service: Option<RouteService>,
}

/// Runs without a cluster until SIGTERM or SIGINT.
///
/// # Errors
/// Returns an error if the process cannot start, or if one of its tasks ends unexpectedly.
pub async fn standalone(options: DataPlane, paths: Vec<PathBuf>) -> anyhow::Result<()> {
    let metrics = Metrics::new();
    let index = ObjectIndex::new(options.compile.clone(), metrics.clone());
    let source = files::FileSource::new(paths);
    let namespaces = options.namespaces.clone();
    let (watch, first) =
        tokio::task::spawn_blocking(move || files::FileWatch::start(source, index, namespaces)).await??;
    for (kind, count) in watch.counts() {
        tracing::info!(kind, count, "defined");
    }
    let (candidate, candidates) = watch::channel(first);
    let (health, delay) = (Health::new(), options.shutdown_delay);
    let directory = options.journal.directory.clone();
    let mut plane = plane::start(options, metrics, candidates, None, health.clone(), limits::FACTS_INTERVAL).await?;
    if plane.journal.is_shared() {
        let (objects, stop) = (plane.objects.clone(), plane.supervisor.stage(Stage::Replays));
        plane.supervisor.spawn("replays", async move {
            file_replays::refuse(objects, stop).await;
            Ok(())
        });
    } else {
        // No other process uses the directory of an open journal.
        let files = move || (FileStore::open(&directory), KeptCounts::open(&directory));
        let (progress, counts) = tokio::task::spawn_blocking(files).await?;
        plane.replay(Arc::new(progress?));
        let (objects, stop) = (plane.objects.clone(), plane.supervisor.stage(Stage::Statuses));
        plane.supervisor.spawn("counts", async move {
            counts.run(objects, stop).await;
            Ok(())
        });
    }
    let mut supervisor = plane.supervisor;
    let stop = supervisor.stage(Stage::Configuration);
    supervisor.spawn("files", async move {
        files::watch(watch, candidate, stop).await;
        Ok(())
    });
    supervisor.run_until(stop_signal(delay, health)?).await
}

/// Runs as the operator of a cluster until SIGTERM or SIGINT.
///
/// # Errors
/// Returns an error if the process cannot start, or if one of its tasks ends unexpectedly.
pub async fn operator(options: DataPlane, cluster: Cluster) -> anyhow::Result<()> {
    let clients = cluster.connection.clients().await?;
    let metrics = Metrics::new();
    let index = ObjectIndex::new(options.compile.clone(), metrics.clone()).fetching();
    let class = index.class().clone();
    let health = Health::new();
    let access = ApiAccess::new(health.part("cluster"));
    let lease = LeaseOptions {
        namespace: cluster.lease_namespace.unwrap_or_else(|| clients.namespace.clone()),
        name: cluster.lease_name,
        identity: cluster.identity.clone(),
        duration: cluster.lease_duration,
    };
    // All replicas of an installation have one Lease, so it names the installation.
    let sightings = ObservedState::new(format!("{}/{}", lease.namespace, lease.name));
    let source = controller::watch::Watch::new(
        &clients,
        &options.namespaces,
        index,
        sightings.clone(),
        access.clone(),
        metrics.clone(),
    );
    let (namespaces, delay) = (options.namespaces.clone(), options.shutdown_delay);
    // Nothing is known before the first complete sync: until then requests are rejected with 503.
    let (candidate, candidates) = watch::channel(Published::default());
    let reviews = Reviews::new(clients.prompt.clone(), Arc::new(SystemClock));
    let subscriptions = ClusterSubscriptions::new(clients.prompt.clone(), options.compile.class.clone());
    let in_cluster = InCluster { reviews, subscriptions };
    let mut plane =
        plane::start(options, metrics.clone(), candidates, Some(in_cluster), health.clone(), cluster.status_interval)
            .await?;
    let (announcer, publisher) =
        controller::events::channel(clients.prompt.clone(), cluster.identity, access.clone(), metrics.clone());
    let statuses = health.part("statuses");
    let (candidate_leader, leadership) = Candidate::new(clients.prompt.clone(), lease, statuses, metrics.clone());
    let budgets = WriteBudgets::new(cluster.status_writes_per_second);
    plane.replay(Arc::new(ReplayStatuses { sightings: sightings.clone(), leadership: leadership.clone() }));
    let Plane { mut supervisor, objects, journal, clock, abandoned, .. } = plane;
    let stop = supervisor.stage(Stage::Statuses);
    let (draining, routing, cleaning) = (stop.clone(), stop.clone(), stop.clone());
    let cleanup = ReplayCleanup {
        client: clients.prompt.clone(),
        objects: objects.clone(),
        sightings: sightings.clone(),
        leadership: leadership.clone(),
        access: access.clone(),
        clock: Arc::clone(&clock),
    };
    let drain = Drain {
        client: clients.prompt.clone(),
        class,
        objects: objects.clone(),
        sightings: sightings.clone(),
        journal: Arc::clone(&journal),
        leadership: leadership.clone(),
        access: access.clone(),
        budget: budgets.counters.clone(),
    };
    let routes = RouteOptions {
        patient: clients.patient.clone(),
        prompt: clients.prompt.clone(),
        namespaces,
        objects: objects.clone(),
        leadership: leadership.clone(),
        access: access.clone(),
        service: cluster.route_service,
        budget: budgets.routes,
        metrics: metrics.clone(),
    };
    let writer = StatusWriter {
        client: clients.prompt.clone(),
        objects,
        sightings,
        journal,
        leadership,
        announcer: announcer.clone(),
        access,
        interval: cluster.status_interval,
        budget: budgets.counters,
        clock,
        metrics,
    };
    supervisor.spawn("statuses", async move {
        writer.run(stop).await;
        Ok(())
    });

    supervisor.spawn("drain", async move {
        drain.run(draining).await;
        Ok(())
    });

    supervisor.spawn("replay-cleanup", async move {
        cleanup.run(cleaning).await;
        Ok(())
    });

    supervisor.spawn("routes", async move {
        route::run(routes, routing).await;
        Ok(())
    });

    let stop = supervisor.stage(Stage::Leadership);
    supervisor.spawn("lease", {
        let stop = stop.clone();
        async move {
            candidate_leader.run(stop).await;
            Ok(())
        }
    });
    supervisor.spawn("abandoned", {
        let (announcer, stop) = (announcer.clone(), stop.clone());
        async move {
            controller::events::announce_abandoned(announcer, abandoned, stop).await;
            Ok(())
        }
    });
    supervisor.spawn("events", async move {
        publisher.run(stop).await;
        Ok(())
    });

    let stop = supervisor.stage(Stage::Configuration);
    supervisor.spawn("watch", async move {
        source.run(candidate, stop).await;
        Ok(())
    });
    supervisor.run_until(stop_signal(delay, health)?).await
}
