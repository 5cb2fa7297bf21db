//! Puts the parts together and keeps them running: the only place that spawns long-lived tasks.
//!
//! Configuration flows down: source → candidate → consumers aligned in the journal → live → ingress, dispatch, admin. It
//! is aligned before it is live, so that the first event of a new endpoint is not missed by a subscription that came
//! with it. Shutdown goes the way of an event: requests end first, then deliveries, then the journal.

mod align;
mod supervise;
mod sweep;

use std::{net::SocketAddr, path::PathBuf, sync::Arc};

use anyhow::Context;
use ipnet::IpNet;
use tokio::{net::TcpListener, sync::watch};

use crate::{
    admin::{self, Access, Admin, AdminOptions, Health},
    catalog::{Index, Options, Published},
    dispatch::{Client, ClientOptions, Consumers, Dispatcher},
    files,
    ingress::{self, Ingress, IngressOptions, tls, tls::TlsFiles},
    journal::{
        Journal,
        embedded::{EmbeddedJournal, EmbeddedOptions},
    },
    rules::clock::{Clock, SystemClock},
    telemetry::metrics::Metrics,
};
use supervise::Supervisor;

/// What every way of running has in common.
#[derive(Debug, Clone)]
pub struct DataPlane {
    /// Where webhooks come in.
    pub listen: SocketAddr,
    /// Where health, metrics and the events API are.
    pub admin_listen: SocketAddr,
    /// File with the admin API's bearer token.
    pub admin_token_file: Option<PathBuf>,
    /// Where the journal is.
    pub data_dir: PathBuf,
    /// Bound on the journal in bytes; 0 is none.
    pub journal_max_bytes: u64,
    /// How objects are compiled.
    pub compile: Options,
    /// Proxies whose X-Forwarded-For is believed.
    pub trusted_proxies: Vec<IpNet>,
    /// Connections served at once.
    pub max_connections: usize,
    /// Certificate and key of the public server.
    pub tls: Option<TlsFiles>,
}

/// Runs without a cluster until SIGTERM or SIGINT.
///
/// # Errors
/// When it cannot start, or when one of its tasks ends unasked.
pub async fn standalone(options: DataPlane, paths: Vec<PathBuf>) -> anyhow::Result<()> {
    let metrics = Metrics::new();
    let index = Index::new(options.compile.clone(), metrics.clone());
    let source = files::Source::new(paths);
    let (watch, first) = tokio::task::spawn_blocking(move || files::Watch::start(source, index)).await??;
    for (kind, count) in watch.counts() {
        tracing::info!(kind, count, "defined");
    }
    let (candidate, candidates) = watch::channel(first);
    let mut supervisor = start(options, metrics, candidates).await?;
    let stop = supervisor.stage("configuration");
    supervisor.spawn("files", async move {
        files::watch(watch, candidate, stop).await;
        Ok(())
    });
    supervisor.run_until(signal()?).await
}

/// Spawns the tasks of the data plane, in the stages in which they may end.
async fn start(
    options: DataPlane,
    metrics: Metrics,
    mut candidates: watch::Receiver<Published>,
) -> anyhow::Result<Supervisor> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let health = Health::new();
    let serving = health.part("configuration");
    let journal = open_journal(&options).await?;
    let ingress_listener = bind(options.listen, "--listen").await?;
    let admin_listener = bind(options.admin_listen, "--admin-listen").await?;
    let (webhooks, administration) = (ingress_listener.local_addr()?, admin_listener.local_addr()?);

    let mut consumers = Consumers::new(Arc::clone(&journal));
    let first = candidates.borrow_and_update().clone();
    consumers.align(&first.snapshot).await.context("the journal's consumers cannot be aligned")?;
    let (live, snapshots) = watch::channel(Arc::clone(&first.snapshot));
    let (views, objects) = watch::channel(first.objects);

    let mut supervisor = Supervisor::new(Arc::clone(&journal));

    // Stages end in the order in which they are named.
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
    let ingress = Ingress {
        snapshot: snapshots.clone(),
        journal: Arc::clone(&journal),
        callers: None,
        clock: Arc::clone(&clock),
        metrics: metrics.clone(),
        options: IngressOptions {
            path_prefix: options.compile.path_prefix.clone(),
            trusted_proxies: options.trusted_proxies.clone(),
            max_connections: options.max_connections,
            ..IngressOptions::default()
        },
    };
    supervisor.spawn("ingress", async move { Ok(ingress::serve(ingress, ingress_listener, server, stop).await?) });

    let stop = supervisor.stage("deliveries");
    let client = Client::new(ClientOptions::new(options.compile.egress.clone()))?;
    let dispatcher =
        Dispatcher { snapshot: snapshots.clone(), journal: Arc::clone(&journal), clock: Arc::clone(&clock), client };
    supervisor.spawn("dispatch", async move { Ok(dispatcher.run(stop).await?) });

    let stop = supervisor.stage("maintenance");
    let sweep = sweep::run(snapshots.clone(), Arc::clone(&journal), Arc::clone(&clock), stop.clone());
    supervisor.spawn("sweep", async move {
        sweep.await;
        Ok(())
    });
    supervisor.spawn("align", async move {
        align::run(candidates, consumers, live, views, stop).await;
        Ok(())
    });

    let stop = supervisor.stage("administration");
    let admin = Admin {
        snapshot: snapshots,
        objects,
        journal,
        metrics,
        clock,
        health,
        options: AdminOptions {
            access: match options.admin_token_file {
                Some(file) => Access::TokenFile(file),
                None => Access::LoopbackOnly,
            },
        },
    };
    supervisor.spawn("admin", async move { Ok(admin::serve(admin, admin_listener, stop).await?) });

    serving.ready();
    tracing::info!(url = %format_args!("{scheme}://{webhooks}"), "serving webhooks");
    tracing::info!(url = %format_args!("http://{administration}"), "serving health, metrics and the events API");
    Ok(supervisor)
}

async fn open_journal(options: &DataPlane) -> anyhow::Result<Arc<dyn Journal>> {
    let embedded = EmbeddedOptions { directory: options.data_dir.clone(), max_bytes: options.journal_max_bytes };
    let directory = options.data_dir.display().to_string();
    let journal = tokio::task::spawn_blocking(move || EmbeddedJournal::open(embedded))
        .await?
        .with_context(|| format!("the journal in {directory} cannot be opened"))?;
    Ok(Arc::new(journal))
}

async fn bind(address: SocketAddr, flag: &str) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| format!("cannot listen on {address}; choose another with {flag}"))
}

/// A future that resolves at SIGTERM or SIGINT.
fn signal() -> anyhow::Result<impl Future<Output = &'static str>> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
        }
    })
}
