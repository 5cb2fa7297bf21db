//! The data plane: its tasks.
//!
//! Consumers are aligned before the configuration is live, so that a subscription misses no event of a new endpoint
//! that was created with it.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use anyhow::Context;
use grapnel_journal::{Journal, JournalError, factory};
use grapnel_values::clock::{Clock, SystemClock};
use tokio::{
    net::TcpListener,
    runtime::Handle,
    sync::{mpsc, watch},
};

use super::{
    DataPlane,
    background::Background,
    facts_exchange::{self, FactsExchange},
    keys, limits,
    otlp_client::Collector,
    overview::Overview,
    retention,
    rollout::Rollout,
    supervise::{Stage, Supervisor},
    visits,
};
use crate::{
    admin::{self, Access, Admin, AdminOptions, Health, Rates},
    catalog::{ObjectViews, Published, Snapshot, observed::AbandonedDeliveries},
    controller::{limits::EVENTS_QUEUED, live_subscriptions::ClusterSubscriptions, reviews::Reviews},
    dispatch::{Client, ClientOptions, Consumers, Dispatcher},
    ingress::{self, Callers, Ingress, IngressOptions, RemoteKeys, Visits, tls},
    replay::{ProgressStore, Replayer},
    telemetry::{
        metrics::Metrics,
        spans::{self, Export, Spans},
    },
};

/// The running data plane.
pub(super) struct Plane {
    pub(super) supervisor: Supervisor,
    pub(super) snapshots: watch::Receiver<Arc<Snapshot>>,
    /// Every object as programmed.
    pub(super) objects: watch::Receiver<ObjectViews>,
    pub(super) journal: Arc<dyn Journal>,
    pub(super) clock: Arc<dyn Clock>,
    /// Reports about the deliveries that deleted subscriptions have left behind.
    pub(super) abandoned: mpsc::Receiver<AbandonedDeliveries>,
}

impl Plane {
    /// Spawns the task that runs replays.
    pub(super) fn replay(&mut self, store: Arc<dyn ProgressStore>) {
        let replayer = Replayer {
            snapshot: self.snapshots.clone(),
            objects: self.objects.clone(),
            journal: Arc::clone(&self.journal),
            clock: Arc::clone(&self.clock),
            store,
        };
        let stop = self.supervisor.stage(Stage::Replays);
        self.supervisor.spawn("replays", async move {
            replayer.run(stop).await;
            Ok(())
        });
    }
}

/// What the data plane asks the cluster.
pub(super) struct InCluster {
    pub(super) reviews: Arc<Reviews>,
    pub(super) subscriptions: ClusterSubscriptions,
}

/// Spawns the tasks of the data plane.
pub(super) async fn start(
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
        facts_exchange::share(&first.objects);
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

    let stop = supervisor.stage(Stage::Deliveries);
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

    let stop = supervisor.stage(Stage::Requests);
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

    let stop = supervisor.stage(Stage::Maintenance);
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
    let rollout = Rollout { candidates, consumers, live, views, serving, overview: later };
    supervisor.spawn("align", async move {
        rollout.run(stop).await;
        Ok(())
    });

    let stop = supervisor.stage(Stage::Administration);
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
        let stop = supervisor.stage(Stage::Traces);
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
