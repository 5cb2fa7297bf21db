//! The task that makes the calls which [`Contender`] asks for.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures_util::{StreamExt, future::BoxFuture, stream::FuturesUnordered};
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::{self, MissedTickBehavior},
};

use super::{
    call::{RegistryAnswer, RegistryCall},
    clock::{BootClock, BootTime},
    contender::Contender,
    registry::{Registry, RegistryError},
    rows,
    tenancy::Held,
    timings::Timings,
};
use crate::limits::{REGISTRY_CALLS, REGISTRY_LOG_INTERVAL};

/// What the task is asked to do.
pub(super) enum Command {
    /// End the tenancy of a shard, and answer.
    GiveBack(u16, oneshot::Sender<()>),
    /// End every tenancy, give the leases back, answer and end.
    Release(oneshot::Sender<()>),
}

/// What the task tells.
pub(super) struct Outputs {
    /// The shards that this replica owns.
    pub(super) held: watch::Sender<Arc<Held>>,
    /// The number of live replicas.
    pub(super) members: Arc<AtomicUsize>,
}

/// A call that has ended.
struct Ended {
    call: RegistryCall,
    sent: BootTime,
    answer: RegistryAnswer,
}

/// Takes part in the ownership until it is asked to release everything, or until the sender of `commands` is dropped.
pub(super) async fn run(
    registry: Arc<dyn Registry>,
    mut contender: Contender,
    (clock, timings): (BootClock, Timings),
    mut commands: mpsc::Receiver<Command>,
    outputs: Outputs,
) {
    let mut calls: FuturesUnordered<BoxFuture<'static, Ended>> = FuturesUnordered::new();
    let mut trouble = Trouble::default();
    let mut released: Option<(oneshot::Sender<()>, BootTime)> = None;
    let mut tick = time::interval(timings.poll / 2);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        while calls.len() < REGISTRY_CALLS {
            let now = clock.now();
            let Some(call) = contender.next(now) else { break };
            calls.push(Box::pin(perform(Arc::clone(&registry), call, now, timings.call)));
        }
        outputs.publish(&contender);
        if let Some((answer, end)) = released.take() {
            if contender.has_left() || clock.now() >= end {
                // Nobody may wait for it any more.
                let _ = answer.send(());
                return;
            }
            released = Some((answer, end));
        }
        tokio::select! {
            Some(Ended { call, sent, answer }) = calls.next(), if !calls.is_empty() => {
                trouble.note(&answer, clock.now());
                contender.done(call, sent, answer, clock.now());
            }
            command = commands.recv(), if released.is_none() => match command {
                Some(Command::GiveBack(shard, answer)) => {
                    contender.give_back(shard, clock.now());
                    outputs.publish(&contender);
                    let _ = answer.send(());
                }
                Some(Command::Release(answer)) => {
                    contender.leave();
                    released = Some((answer, clock.now().after(timings.call * 2)));
                }
                None => return,
            },
            _ = tick.tick() => {}
        }
    }
}

/// Makes a call, which takes `timeout` at most.
async fn perform(registry: Arc<dyn Registry>, call: RegistryCall, sent: BootTime, timeout: Duration) -> Ended {
    let answer = match time::timeout(timeout, request(&*registry, &call)).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(error)) => RegistryAnswer::Failed(error),
        Err(_) => RegistryAnswer::Failed(RegistryError::Unavailable(format!("no answer within {timeout:?}"))),
    };
    Ended { call, sent, answer }
}

async fn request(registry: &dyn Registry, call: &RegistryCall) -> Result<RegistryAnswer, RegistryError> {
    Ok(match call {
        RegistryCall::ReadLeases { .. } => RegistryAnswer::Rows(registry.read_all(rows::LEASES).await?),
        RegistryCall::ReadMembers => RegistryAnswer::Rows(registry.read_all(rows::MEMBERS).await?),
        RegistryCall::ReadLease { shard } => RegistryAnswer::Row(registry.read(&rows::lease_key(*shard)).await?),
        RegistryCall::ReadMember { replica } => RegistryAnswer::Row(registry.read(&rows::member_key(replica)).await?),
        RegistryCall::WriteMember { replica, value, expected } => {
            RegistryAnswer::Written(registry.write(&rows::member_key(replica), value.clone(), *expected).await?)
        }
        RegistryCall::RemoveMember { replica, revision } => {
            registry.remove(&rows::member_key(replica), *revision).await?;
            RegistryAnswer::Removed
        }
        RegistryCall::WriteLease { shard, value, expected, .. } => {
            RegistryAnswer::Written(registry.write(&rows::lease_key(*shard), value.clone(), *expected).await?)
        }
    })
}

impl Outputs {
    /// Publishes what has changed.
    fn publish(&self, contender: &Contender) {
        self.members.store(contender.members(), Ordering::Relaxed);
        let held = contender.held();
        self.held.send_if_modified(|before| {
            let changed = !held.epochs().eq(before.epochs());
            if changed {
                for (shard, epoch) in held.epochs().filter(|it| !before.epochs().any(|before| before == *it)) {
                    tracing::info!(shard, epoch, "this replica owns the shard");
                }
                for (shard, epoch) in before.epochs().filter(|it| !held.epochs().any(|held| held == *it)) {
                    tracing::info!(shard, epoch, "this replica no longer owns the shard");
                }
                *before = Arc::new(held);
            }
            changed
        });
    }
}

/// Logs a registry that fails.
#[derive(Default)]
struct Trouble {
    logged: Option<BootTime>,
}

impl Trouble {
    fn note(&mut self, answer: &RegistryAnswer, now: BootTime) {
        if let RegistryAnswer::Failed(RegistryError::Unavailable(error)) = answer {
            if self.logged.is_none_or(|last| now.since(last) >= REGISTRY_LOG_INTERVAL) {
                self.logged = Some(now);
                tracing::warn!(
                    error,
                    "the leases of the shards cannot be read or renewed; without them nothing is delivered"
                );
            }
        } else if self.logged.take().is_some() {
            tracing::info!("the leases of the shards can be read and written again");
        }
    }
}
