//! Which shards this replica owns: each shard is owned, and so delivered, by one replica at a time.
//!
//! ```text
//!  member.<replica>   rewritten every `member`; unchanged for `expiry`: that replica is not alive
//!  lease.<shard>      {replica, epoch}; renewed every `renew` by compare-and-set on its revision
//!
//!  owner      sent ──────────── deadline ┤ stops                    seconds since the last renewal
//!             0        3           7                10
//!  contender     └ seen ──────────────────── expiry ┤ may take it
//! ```
//!
//! A replica compares only times of its own clock. Which live replica should own a shard is decided by rendezvous
//! hashing, the same on every replica; a shard is moved to a new replica only once that has been alive for `join`, and
//! its owner first finishes what is in flight, for at most `hand_over`. A shard that is given back is taken at once.
//!
//! Leases alone cannot exclude an owner that was stopped between a look at the clock and a write. Its write fails,
//! because a new owner first writes to the log of the shard's state, and every write there names the last one.
//!
//! [`Contender`] has the rules, `task` makes the calls.

mod call;
mod clock;
mod contender;
mod membership;
mod registry;
mod rows;
mod shard_lease;
#[cfg(test)]
mod simulation;
mod task;
mod tenancy;
#[cfg(test)]
mod tests;
mod timings;

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use tokio::sync::{mpsc, oneshot, watch};

use self::{
    clock::BootClock,
    contender::Contender,
    task::{Command, Outputs},
};
pub(crate) use self::{
    registry::{Registry, RegistryError, Row},
    tenancy::{Held, Tenancy},
    timings::Timings,
};

/// Maximum commands that wait for the task; further callers wait.
const COMMANDS: usize = 16;

/// This replica's part in the ownership of the shards. When it is dropped, its tenancies end at once, but its leases
/// are not given back.
pub(crate) struct Ownership {
    commands: mpsc::Sender<Command>,
    members: Arc<AtomicUsize>,
}

impl Ownership {
    /// Begins to take shards. `replica` must be unique for each process, also after a restart.
    pub(crate) fn start(
        registry: Arc<dyn Registry>,
        replica: String,
        shards: u16,
        timings: Timings,
    ) -> (Self, watch::Receiver<Arc<Held>>) {
        Self::start_with(BootClock::System, registry, replica, shards, timings)
    }

    fn start_with(
        clock: BootClock,
        registry: Arc<dyn Registry>,
        replica: String,
        shards: u16,
        timings: Timings,
    ) -> (Self, watch::Receiver<Arc<Held>>) {
        let contender = Contender::new(replica.into(), shards, timings, clock);
        let (commands, receiver) = mpsc::channel(COMMANDS);
        let members = Arc::new(AtomicUsize::new(1));
        let (held, shards) = watch::channel(Arc::default());
        let outputs = Outputs { held, members: Arc::clone(&members) };
        tokio::spawn(task::run(registry, contender, (clock, timings), receiver, outputs));
        (Self { commands, members }, shards)
    }

    /// The number of live replicas, at least 1.
    pub(crate) fn members(&self) -> usize {
        self.members.load(Ordering::Relaxed)
    }

    /// Ends every tenancy, gives every lease back and removes the member row, so that other replicas take the shards
    /// at once. Without a registry it gives up after twice the timeout of a call.
    pub(crate) async fn release(&self) {
        self.command(Command::Release).await;
    }

    /// Ends the tenancy of a shard that this replica cannot use, and gives its lease back. It takes the shard again
    /// after a pause, which grows while this is repeated; another replica may take it before. Returns once the tenancy
    /// has ended.
    pub(crate) async fn give_back(&self, shard: u16) {
        self.command(|answer| Command::GiveBack(shard, answer)).await;
    }

    async fn command(&self, command: impl FnOnce(oneshot::Sender<()>) -> Command) {
        let (answer, answered) = oneshot::channel();
        // After the task has ended there is nothing to give back.
        if self.commands.send(command(answer)).await.is_ok() {
            let _ = answered.await;
        }
    }
}
