//! The tasks of a replica: from the first connection to the shards that it owns.

use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use futures_util::StreamExt;
use tokio::{
    sync::watch,
    task::{JoinHandle, JoinSet},
    time::Instant,
};

use super::{
    NatsOptions,
    broker::{Broker, ConnectionState},
    installation,
    layout::Shard,
    owner,
    ownership::{Held, Ownership, Tenancy, Timings},
    peer::{self, Answer, Request},
    registry::BrokerRegistry,
    replica::{Replica, Standing},
    sync_proof::SyncCheck,
};
use crate::{
    AttachedConsumer, Result,
    limits::{
        NATS_PROOF_AGAIN, NATS_PROOF_INTERVAL, NATS_REPORT_INTERVAL, NATS_REPORT_PARTS, NATS_STREAMS_INTERVAL,
        NATS_USAGE_INTERVAL, REGISTRY_LOG_INTERVAL,
    },
};

/// The pause after a failed attempt to set up the streams or to load a shard.
const AGAIN: Duration = Duration::from_secs(1);

/// Runs a replica until it is dropped: `ownership` gets the ownership of shards once it has begun.
pub(super) async fn run(replica: Arc<Replica>, ownership: watch::Sender<Option<Arc<Ownership>>>) {
    let proof = tokio::spawn(watch_proof(Arc::clone(&replica)));
    let _proof = AbortOnDrop(proof);
    let _connection = AbortOnDrop(tokio::spawn(watch_connection(replica.broker.clone())));
    set_up(&replica).await;
    let _streams = AbortOnDrop(tokio::spawn(watch_streams(Arc::clone(&replica))));
    let registry = Arc::new(BrokerRegistry::new(replica.broker.clone(), replica.layout.clone()));
    let name = replica.options.replica.clone();
    let shards = replica.layout.shards().end;
    let (owns, held) = Ownership::start(registry, name, shards, Timings::default());
    let owns = Arc::new(owns);
    ownership.send_replace(Some(Arc::clone(&owns)));
    let _reports = AbortOnDrop(tokio::spawn(collect_reports(Arc::clone(&replica))));
    let _usage = AbortOnDrop(tokio::spawn(measure(Arc::clone(&replica))));
    serve_held(&replica, &owns, held).await;
}

/// Ends a task with the one that spawned it.
struct AbortOnDrop(JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Sets up the streams. Tries again until that succeeds, and says why it does not.
async fn set_up(replica: &Replica) {
    let mut told = None;
    loop {
        match installation::set_up(&replica.broker, &replica.layout, &replica.options).await {
            Ok(()) => return replica.streams_ready(),
            Err(error) => {
                let why = error.to_string();
                if told.as_ref() != Some(&why) {
                    tracing::warn!(error = why, "the NATS streams are not ready");
                    told = Some(why.clone());
                }
                replica.streams_not_ready(why);
            }
        }
        tokio::time::sleep(AGAIN).await;
    }
}

/// Logs when the servers are lost and found, and why they cannot be reached: a reason at most once in
/// [`REGISTRY_LOG_INTERVAL`], as long as the attempts fail.
async fn watch_connection(broker: Broker) {
    let mut state = broker.state();
    let mut told: Option<(String, Instant)> = None;
    // The first attempt is the first change.
    while state.changed().await.is_ok() {
        let now = state.borrow_and_update().clone();
        match now {
            ConnectionState::Connected => {
                told = None;
                tracing::info!("connected to the NATS servers");
            }
            ConnectionState::Disconnected(reason) => {
                let known =
                    told.as_ref().is_some_and(|(told, at)| *told == reason && at.elapsed() < REGISTRY_LOG_INTERVAL);
                if !known {
                    tracing::warn!(reason, "not connected to the NATS servers; trying again");
                    told = Some((reason, Instant::now()));
                }
            }
            ConnectionState::Closed => return,
        }
    }
}

/// Keeps checking that the streams are as they have to be: one that somebody deletes is made again, and with one that
/// somebody changes or replaces, events that are accepted could be lost, so none are.
async fn watch_streams(replica: Arc<Replica>) {
    let mut told = None;
    loop {
        // Or at once, if an answer raises doubts.
        let _ = tokio::time::timeout(NATS_STREAMS_INTERVAL, replica.doubt.notified()).await;
        match installation::set_up(&replica.broker, &replica.layout, &replica.options).await {
            Ok(()) => {
                if told.take().is_some() {
                    tracing::info!("the NATS streams are as they have to be again");
                }
                replica.streams_ready();
            }
            // The calls that need the brokers report that, and nothing is known about the streams.
            Err(error) if error.is_passing() => {}
            Err(error) => {
                let why = error.to_string();
                if told.as_ref() != Some(&why) {
                    tracing::error!(
                        error = why,
                        "events are not accepted: the NATS streams are not as they have to be"
                    );
                    told = Some(why.clone());
                }
                replica.streams_not_ready(why);
            }
        }
    }
}

/// Serves the shards that this replica holds.
async fn serve_held(replica: &Arc<Replica>, ownership: &Arc<Ownership>, mut held: watch::Receiver<Arc<Held>>) {
    let mut serving: BTreeMap<Shard, (u64, JoinHandle<()>)> = BTreeMap::new();
    let _all = Serving(replica);
    loop {
        let now = held.borrow_and_update().clone();
        serving.retain(|_, (_, task)| !task.is_finished());
        for (shard, tenancy) in &now.shards {
            if serving.get(shard).is_some_and(|(epoch, _)| *epoch == tenancy.epoch) {
                continue;
            }
            let task = serve_shard(Arc::clone(replica), Arc::clone(ownership), *shard, tenancy.clone());
            serving.insert(*shard, (tenancy.epoch, tokio::spawn(task)));
        }
        if held.changed().await.is_err() {
            return;
        }
    }
}

/// Ends every tenure when the replica's task ends.
struct Serving<'a>(&'a Arc<Replica>);

impl Drop for Serving<'_> {
    fn drop(&mut self) {
        for owned in self.0.all_owned() {
            owned.end();
        }
    }
}

/// Takes a shard over and serves it until its tenure ends.
async fn serve_shard(replica: Arc<Replica>, ownership: Arc<Ownership>, shard: Shard, tenancy: Tenancy) {
    let loaded = owner::load(&replica.broker, &replica.layout, shard, &replica.options.replica, tenancy.clone());
    let owned = match loaded.await {
        Ok(owned) => owned,
        Err(error) => {
            if tenancy.is_valid() {
                tracing::warn!(shard, %error, "the shard cannot be loaded");
                tokio::time::sleep(AGAIN).await;
                // Perhaps another replica can. This one tries again later.
                ownership.give_back(shard).await;
            }
            return;
        }
    };
    let (wake, requests) = (replica.layout.wake(shard), replica.layout.requests(shard));
    let subscribed = tokio::try_join!(replica.broker.subscribe(wake), replica.broker.subscribe(requests));
    let Ok((mut wakes, requests)) = subscribed else {
        owned.end();
        ownership.give_back(shard).await;
        return;
    };
    replica.own(Arc::clone(&owned));
    let mut tasks = JoinSet::new();
    tasks.spawn(peer::serve(Arc::clone(&replica), Arc::clone(&owned), requests));
    let woken = Arc::clone(&owned);
    tasks.spawn(async move {
        while let Some(message) = wakes.next().await {
            if let Some(sequence) = std::str::from_utf8(&message.payload).ok().and_then(|text| text.parse().ok()) {
                woken.wake(sequence);
            }
        }
    });
    let drained = Arc::clone(&owned);
    tasks.spawn(async move { drained.drain().await });
    owned.ended().await;
    replica.disown(&owned);
    drop(tasks);
    tracing::info!(shard, "this replica no longer delivers the events of the shard");
    // A lease that ran out is free, or belongs to this replica's next tenure.
    if tenancy.is_valid() {
        ownership.give_back(shard).await;
    }
}

/// Keeps checking that the brokers sync before they acknowledge.
async fn watch_proof(replica: Arc<Replica>) {
    let mut told = None;
    let mut check = SyncCheck::default();
    loop {
        let NatsOptions { monitors, trust_sync, .. } = &replica.options;
        let proof = check.check(&replica.broker, monitors, *trust_sync).await;
        let missing = proof.missing().map(str::to_owned);
        if let Some(why) = &missing
            && told.as_ref() != Some(why)
        {
            tracing::error!(
                reason = why,
                "events are not accepted: the NATS servers are not known to sync before they acknowledge"
            );
        }
        told.clone_from(&missing);
        let pause = if missing.is_some() { NATS_PROOF_AGAIN } else { NATS_PROOF_INTERVAL };
        replica.proven(missing);
        let mut connection = replica.broker.state();
        connection.borrow_and_update();
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            // Another server may have joined.
            _ = connection.changed() => tokio::time::sleep(AGAIN).await,
        }
    }
}

/// Collects what the owners of other shards know.
async fn collect_reports(replica: Arc<Replica>) {
    loop {
        for shard in replica.layout.shards().filter(|shard| replica.owned(*shard).is_none()) {
            if let Ok(parts) = report_of(&replica, shard).await {
                let namespaces = parts.iter().flat_map(|part| part.namespaces.iter());
                replica.namespaces.set(shard, namespaces.map(|(name, bytes)| (name.as_str().into(), *bytes)));
                replica.reports.set(shard, parts);
            }
        }
        tokio::time::sleep(NATS_REPORT_INTERVAL).await;
    }
}

/// Returns the consumers of a shard of another replica.
pub(super) async fn consumers_of(replica: &Replica, shard: Shard) -> Result<Vec<AttachedConsumer>> {
    let parts = report_of(replica, shard).await?;
    replica.reports.set(shard, parts);
    Ok(replica.reports.consumers_of(shard))
}

async fn report_of(replica: &Replica, shard: Shard) -> Result<Vec<peer::Report>> {
    let mut parts = Vec::new();
    for part in 0..NATS_REPORT_PARTS {
        let report = match peer::ask(replica, shard, &Request::Report { part }).await? {
            Answer::Report(report) => report,
            other => return Err(super::unexpected(&other)),
        };
        let more = report.more;
        parts.push(report);
        if !more {
            break;
        }
    }
    Ok(parts)
}

/// Measures what is kept.
async fn measure(replica: Arc<Replica>) {
    let mut rounds = 0u32;
    loop {
        for owned in replica.all_owned() {
            let namespaces = owned.state().namespaces();
            let namespaces = namespaces.into_iter().map(|usage| (usage.namespace, usage.bytes));
            replica.namespaces.set(owned.shard, namespaces);
        }
        if rounds.is_multiple_of(10) {
            replica.measure_streams().await;
        }
        rounds = rounds.wrapping_add(1);
        tokio::time::sleep(NATS_USAGE_INTERVAL).await;
    }
}

impl Replica {
    fn streams_ready(&self) {
        self.obstacles.lock().streams = None;
        self.publish_standing();
    }

    fn streams_not_ready(&self, why: String) {
        self.obstacles.lock().streams = Some(why);
        self.publish_standing();
    }

    /// Accepts nothing before the streams have been compared, which happens at once.
    pub(super) fn streams_doubted(&self, why: String) {
        self.streams_not_ready(why);
        self.doubt.notify_one();
    }

    fn proven(&self, missing: Option<String>) {
        self.obstacles.lock().proof = missing;
        self.publish_standing();
    }

    fn publish_standing(&self) {
        let obstacles = self.obstacles.lock();
        let why = obstacles.proof.as_ref().or(obstacles.streams.as_ref());
        let standing = why.map_or(Standing::Running, |why| Standing::NotYet(why.clone()));
        self.standing.send_if_modified(|current| {
            let changed = *current != standing;
            current.clone_from(&standing);
            changed
        });
    }

    /// Asks the brokers how large the streams are.
    async fn measure_streams(&self) {
        let mut bytes = 0;
        for shard in self.layout.shards() {
            for stream in [self.layout.events_stream(shard), self.layout.state_stream(shard)] {
                match self.broker.stream(&stream).await {
                    Ok(info) => bytes += info.map_or(0, |info| info.bytes),
                    Err(_) => return,
                }
            }
        }
        self.disk_bytes.store(bytes, Ordering::Release);
    }
}
