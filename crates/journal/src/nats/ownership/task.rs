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
use crate::limits::{REGISTRY_CALLS, REGISTRY_GO_AROUND_INTERVAL, REGISTRY_LOG_INTERVAL, REGISTRY_SILENCE};

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
                // The caller may have given up.
                let _ = answer.send(());
                return;
            }
            released = Some((answer, end));
        }
        tokio::select! {
            Some(Ended { call, sent, answer }) = calls.next(), if !calls.is_empty() => {
                if trouble.note(&answer, sent, clock.now()) {
                    registry.go_around().await;
                }
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

/// A registry that fails: logs it, and says when another way to it should be tried.
#[derive(Default)]
struct Trouble {
    /// When the first of the calls was made that have not been answered since the last answer.
    since: Option<BootTime>,
    /// Whether the trouble was logged, and its end not yet.
    is_told: bool,
    /// When it was logged last: calls that fail now and then are logged rarely.
    logged: Option<BootTime>,
    went_around: Option<BootTime>,
}

impl Trouble {
    /// Takes the answer to a call of the time `sent` into account. Returns whether another way should be tried now.
    fn note(&mut self, answer: &RegistryAnswer, sent: BootTime, now: BootTime) -> bool {
        let RegistryAnswer::Failed(RegistryError::Unavailable(error)) = answer else {
            if std::mem::take(&mut self.is_told) {
                tracing::info!("the leases of the shards can be read and written again");
            }
            self.since = None;
            return false;
        };
        let since = *self.since.get_or_insert(sent);
        if self.logged.is_none_or(|last| now.since(last) >= REGISTRY_LOG_INTERVAL) {
            (self.is_told, self.logged) = (true, Some(now));
            tracing::warn!(
                error,
                "the leases of the shards cannot be read or renewed; without them nothing is delivered"
            );
        }
        let is_silent = now.since(since) >= REGISTRY_SILENCE;
        let may = self.went_around.is_none_or(|last| now.since(last) >= REGISTRY_GO_AROUND_INTERVAL);
        if is_silent && may {
            self.went_around = Some(now);
        }
        is_silent && may
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_way_is_tried_after_a_silence_and_not_all_the_time() {
        let failed = || RegistryAnswer::Failed(RegistryError::Unavailable("no answer".to_owned()));
        let conflict = || RegistryAnswer::Failed(RegistryError::Conflict);
        let at = |seconds: f64| BootTime::new(Duration::from_secs_f64(seconds));
        let mut trouble = Trouble::default();
        // Each call fails two seconds after it was sent.
        let fail = |trouble: &mut Trouble, now: f64| trouble.note(&failed(), at(now - 2.0), at(now));
        let tried = [2.0, 4.9, 5.0, 6.0, 12.9, 13.0].map(|now| fail(&mut trouble, now));
        assert_eq!(tried, [false, false, true, false, false, true]);
        // An answer, even that another replica was faster, ends the silence.
        assert!(!trouble.note(&conflict(), at(13.0), at(14.0)));
        let tried = [22.0, 24.9, 25.0].map(|now| fail(&mut trouble, now));
        assert_eq!(tried, [false, false, true]);
    }
}
