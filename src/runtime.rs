//! Assembles the parts and keeps them running: the only place that spawns long-lived tasks.
//!
//! Configuration flows down: source → candidate → consumers aligned in the journal → live → ingress, dispatch, admin.
//! Consumers are aligned before the configuration is live, so that a subscription misses no event of a new endpoint
//! that was created with it. At shutdown deliveries end first, then requests, then the journal: events accepted while a
//! slow receiver is waited for are durable, and delivered after the next start.

mod background;
mod facts_exchange;
mod file_replays;
mod kept_counts;
mod keys;
pub mod limits;
mod otlp_client;
mod overview;
mod retention;
mod rollout;
mod stop_signal;
mod supervise;
mod visits;

use std::{net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use anyhow::Context;
use grapnel_delivery::egress_proxy::EgressProxy;
use grapnel_journal::{
    Journal, JournalError,
    factory::{self, JournalOptions},
};
use grapnel_values::clock::{Clock, SystemClock};
use ipnet::IpNet;
use tokio::{
    net::TcpListener,
    runtime::Handle,
    sync::{mpsc, watch},
};

use self::{
    background::Background, facts_exchange::FactsExchange, kept_counts::KeptCounts, otlp_client::Collector,
    overview::Overview, stop_signal::stop_signal, supervise::Supervisor,
};
use crate::{
    admin::{self, Access, Admin, AdminOptions, Health, Rates},
    catalog::{Namespaces, ObjectIndex, ObjectView, Options, Published, Snapshot, observed::AbandonedDeliveries},
    controller::{
        self,
        api_access::ApiAccess,
        connect::Connection,
        drain::Drain,
        lease::{Candidate, LeaseOptions},
        limits::EVENTS_QUEUED,
        live_subscriptions::ClusterSubscriptions,
        observed_state::ObservedState,
        replay::{ReplayCleanup, ReplayStatuses},
        reviews::Reviews,
        route::{self, RouteOptions, RouteService},
        status::StatusWriter,
        write_budget::WriteBudgets,
    },
    dispatch::{Client, ClientOptions, Consumers, Dispatcher},
    files,
    ingress::{
        self, Callers, Ingress, IngressOptions, RemoteKeys, Visits,
        tls::{self, TlsFiles},
    },
    replay::{FileStore, ProgressStore, Replayer},
    telemetry::{
        metrics::Metrics,
        spans::{self, Export, Spans},
    },
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
    let mut plane = start(options, metrics, candidates, None, health.clone(), limits::FACTS_INTERVAL).await?;
    if plane.journal.is_shared() {
        let (objects, stop) = (plane.objects.clone(), plane.supervisor.stage("replays"));
        plane.supervisor.spawn("replays", async move {
            file_replays::refuse(objects, stop).await;
            Ok(())
        });
    } else {
        // No other process uses the directory of an open journal.
        let files = move || (FileStore::open(&directory), KeptCounts::open(&directory));
        let (progress, counts) = tokio::task::spawn_blocking(files).await?;
        plane.replay(Arc::new(progress?));
        let (objects, stop) = (plane.objects.clone(), plane.supervisor.stage("statuses"));
        plane.supervisor.spawn("counts", async move {
            counts.run(objects, stop).await;
            Ok(())
        });
    }
    let mut supervisor = plane.supervisor;
    let stop = supervisor.stage("configuration");
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
        start(options, metrics.clone(), candidates, Some(in_cluster), health.clone(), cluster.status_interval).await?;
    let (announcer, publisher) =
        controller::events::channel(clients.prompt.clone(), cluster.identity, access.clone(), metrics.clone());
    let statuses = health.part("statuses");
    let (candidate_leader, leadership) = Candidate::new(clients.prompt.clone(), lease, statuses, metrics.clone());
    let budgets = WriteBudgets::new(cluster.status_writes_per_second);
    // Replays end before the last statuses are written.
    plane.replay(Arc::new(ReplayStatuses { sightings: sightings.clone(), leadership: leadership.clone() }));
    let Plane { mut supervisor, objects, journal, clock, abandoned, .. } = plane;
    let stop = supervisor.stage("statuses");
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

    // The Lease outlives the status writer: it is released only after the last write.
    let stop = supervisor.stage("leadership");
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

    let stop = supervisor.stage("configuration");
    supervisor.spawn("watch", async move {
        source.run(candidate, stop).await;
        Ok(())
    });
    supervisor.run_until(stop_signal(delay, health)?).await
}

/// The running data plane.
struct Plane {
    supervisor: Supervisor,
    snapshots: watch::Receiver<Arc<Snapshot>>,
    /// Every object as programmed.
    objects: watch::Receiver<Arc<Vec<ObjectView>>>,
    journal: Arc<dyn Journal>,
    clock: Arc<dyn Clock>,
    /// Reports about the deliveries that deleted subscriptions have left behind.
    abandoned: mpsc::Receiver<AbandonedDeliveries>,
}

impl Plane {
    /// Spawns the task that runs replays.
    fn replay(&mut self, store: Arc<dyn ProgressStore>) {
        let replayer = Replayer {
            snapshot: self.snapshots.clone(),
            objects: self.objects.clone(),
            journal: Arc::clone(&self.journal),
            clock: Arc::clone(&self.clock),
            store,
        };
        let stop = self.supervisor.stage("replays");
        self.supervisor.spawn("replays", async move {
            replayer.run(stop).await;
            Ok(())
        });
    }
}

/// What the data plane asks the cluster.
struct InCluster {
    reviews: Arc<Reviews>,
    subscriptions: ClusterSubscriptions,
}

/// Spawns the tasks of the data plane, in the stages in which they end.
async fn start(
    options: DataPlane,
    metrics: Metrics,
    mut candidates: watch::Receiver<Published>,
    cluster: Option<InCluster>,
    health: Health,
    facts_interval: Duration,
) -> anyhow::Result<Plane> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let serving = health.part("configuration");
    let journal = factory::open(options.journal.clone()).await?;
    let ingress_listener = bind(options.listen, "--listen").await?;
    let admin_listener = bind(options.admin_listen, "--admin-listen").await?;
    let (spans, export) = traces();
    let (webhooks, administration) = (ingress_listener.local_addr()?, admin_listener.local_addr()?);

    let (reports, abandoned) = mpsc::channel(EVENTS_QUEUED);
    let mut consumers = Consumers::new(Arc::clone(&journal), metrics.clone()).reporting(reports);
    let reviews = cluster.map(|InCluster { reviews, subscriptions }| {
        consumers.confirm(Arc::new(subscriptions));
        reviews
    });
    let mut first = candidates.borrow_and_update().clone();
    let deferred = match consumers.align(&first.snapshot).await {
        Ok(()) => false,
        // A journal on other machines is reached later: the rollout waits for it, and webhooks get 503 meanwhile.
        Err(JournalError::Unavailable(_)) => {
            first = Published::default();
            candidates.mark_changed();
            true
        }
        Err(error) => return Err(error).context("the journal's consumers cannot be aligned"),
    };
    let board = journal.board();
    if board.is_some() {
        facts_exchange::share(&first);
    }
    let (live, snapshots) = watch::channel(Arc::clone(&first.snapshot));
    let (views, objects) = watch::channel(first.objects);

    let mut plane = Plane {
        supervisor: Supervisor::new(Arc::clone(&journal)),
        snapshots: snapshots.clone(),
        objects: objects.clone(),
        journal: Arc::clone(&journal),
        clock: Arc::clone(&clock),
        abandoned,
    };
    let supervisor = &mut plane.supervisor;
    // A broken file does not keep the others from being served; a cluster is either listed completely or not at all.
    if deferred {
        serving.not_ready("waiting for the journal");
    } else if options.await_sync {
        serving.not_ready("waiting for the first complete sync");
    } else {
        serving.ready();
    }

    // Stages end in the order in which they are created.
    let stop = supervisor.stage("deliveries");
    let client = || {
        let egress = ClientOptions::new(options.compile.egress.clone());
        Client::new(ClientOptions { proxy: options.egress_proxy.clone(), ..egress })
    };
    // Requests wait for documents, so the client that fetches them shares neither threads nor connections with
    // deliveries.
    let documents = client()?;
    let dispatcher = Dispatcher {
        snapshot: snapshots.clone(),
        journal: Arc::clone(&journal),
        clock: Arc::clone(&clock),
        client: client()?,
        spans: spans.clone(),
    };
    let background = Background::start("delivery").context("cannot start the threads of deliveries")?;
    supervisor.spawn_in(background, "dispatch", async move { Ok(dispatcher.run(stop).await?) });

    let stop = supervisor.stage("requests");
    let server = match &options.tls {
        Some(files) => {
            let config = files.load().context("TLS cannot be served")?;
            let (files, stop) = (files.clone(), stop.clone());
            supervisor.spawn("tls", async move {
                tls::watch(files, stop).await;
                Ok(())
            });
            Some(config)
        }
        None => None,
    };
    let scheme = if server.is_some() { "https" } else { "http" };
    let visits: Arc<dyn Visits> = Arc::new(visits::Confirmations::new(documents.clone()));
    let keys: Arc<dyn RemoteKeys> = keys::SenderKeys::new(documents, Arc::clone(&clock));
    let ingress = Ingress {
        snapshot: snapshots.clone(),
        journal: Arc::clone(&journal),
        callers: reviews.clone().map(|reviews| reviews as Arc<dyn Callers>),
        keys: Some(keys),
        visits: Some(visits),
        clock: Arc::clone(&clock),
        metrics: metrics.clone(),
        spans,
        options: IngressOptions {
            path_prefix: options.compile.path_prefix.clone(),
            trusted_proxies: options.trusted_proxies.clone(),
            public_url: options.compile.public_url.clone(),
            tls: server.is_some(),
            max_connections: options.max_connections,
            ..IngressOptions::default()
        },
    };
    supervisor.spawn("ingress", async move { Ok(ingress::serve(ingress, ingress_listener, server, stop).await?) });

    let stop = supervisor.stage("maintenance");
    let sweep = retention::run(snapshots.clone(), Arc::clone(&journal), Arc::clone(&clock), stop.clone());
    supervisor.spawn("sweep", async move {
        sweep.await;
        Ok(())
    });
    if let Some(board) = board {
        let (snapshots, objects, clock) = (snapshots.clone(), objects.clone(), Arc::clone(&clock));
        let exchange = FactsExchange::new(board, journal.tenure(), snapshots, objects, clock, facts_interval);
        let stop = stop.clone();
        supervisor.spawn("facts", async move {
            exchange.run(stop).await;
            Ok(())
        });
    }
    let overview = Overview::new(options.compile.clone(), scheme, webhooks, !options.await_sync);
    let later = (deferred || options.await_sync).then(|| overview.clone());
    supervisor.spawn("align", async move {
        rollout::run(candidates, consumers, live, views, serving, later, stop).await;
        Ok(())
    });

    let stop = supervisor.stage("administration");
    let rates = Rates::new();
    let sampling = Arc::clone(&rates).run(snapshots.clone(), stop.clone());
    supervisor.spawn("rates", async move {
        sampling.await;
        Ok(())
    });
    let admin = Admin {
        snapshot: snapshots,
        objects,
        journal,
        metrics,
        clock,
        rates,
        health,
        options: AdminOptions {
            guarded_metrics: options.guarded_metrics,
            access: match (options.admin_token_file, reviews) {
                (Some(file), _) => Access::TokenFile(file),
                (None, Some(reviews)) => Access::Cluster(reviews),
                (None, None) => Access::LoopbackOnly,
            },
        },
    };
    supervisor.spawn("admin", async move { Ok(admin::serve(admin, admin_listener, stop).await?) });

    if let Some(export) = export {
        let stop = supervisor.stage("traces");
        supervisor.spawn("traces", async move {
            stop.cancelled().await;
            Ok(tokio::task::spawn_blocking(|| export.end(limits::SHUTDOWN_TRACES)).await?)
        });
    }

    tracing::info!(url = %format_args!("{scheme}://{webhooks}"), "serving webhooks");
    tracing::info!(url = %format_args!("http://{administration}"), "serving health, metrics, the admin API and the console");
    if !deferred && !options.await_sync {
        overview.log(&first.snapshot);
    }
    Ok(plane)
}

/// The source of spans and their export, if the environment names a collector. Errors in this setup never prevent
/// serving webhooks.
fn traces() -> (Spans, Option<Export>) {
    let set_up = Collector::new(Handle::current()).and_then(|collector| Ok(spans::from_environment(collector)?));
    match set_up {
        Ok(Some((spans, export))) => {
            tracing::info!("traces are exported");
            (spans, Some(export))
        }
        Ok(None) => (Spans::default(), None),
        Err(error) => {
            tracing::warn!(error = format!("{error:#}"), "traces are not exported");
            (Spans::default(), None)
        }
    }
}

async fn bind(address: SocketAddr, flag: &str) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| format!("cannot listen on {address}; choose another with {flag}"))
}
