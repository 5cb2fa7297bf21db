//! Random histories of replicas that count, stop, pause and start: no count is lost or added twice.

use std::time::Duration;

use proptest::prelude::*;
use tokio::runtime::Builder;

use super::board::{Faults, Replica, World, view};
use crate::runtime::{
    facts_exchange::row::Bucket,
    limits::{FACTS_DEAD, FACTS_STALE},
};

const ENDPOINTS: usize = 2;

#[derive(Debug, Clone, Copy)]
enum Act {
    Receive {
        replica: usize,
        endpoint: usize,
    },
    Tick {
        replica: usize,
    },
    /// The replica loses its connection after some calls, and gets it back at its next tick.
    Interrupt {
        replica: usize,
        calls: usize,
        is_stored: bool,
    },
    /// The same, and the process ends.
    Kill {
        replica: usize,
        calls: usize,
        is_stored: bool,
    },
    /// The others no longer see the replica, until it goes on.
    Pause {
        replica: usize,
    },
    Resume {
        replica: usize,
    },
    Start {
        replica: usize,
    },
    ReadAnew {
        replica: usize,
    },
    WriteStatuses {
        replica: usize,
    },
    Pass {
        seconds: u64,
    },
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let replica = || 0..4_usize;
    let faults = || (replica(), 0..8_usize, any::<bool>());
    let act = prop_oneof![
        5 => (replica(), 0..ENDPOINTS).prop_map(|(replica, endpoint)| Act::Receive { replica, endpoint }),
        6 => replica().prop_map(|replica| Act::Tick { replica }),
        2 => faults().prop_map(|(replica, calls, is_stored)| Act::Interrupt { replica, calls, is_stored }),
        1 => faults().prop_map(|(replica, calls, is_stored)| Act::Kill { replica, calls, is_stored }),
        1 => replica().prop_map(|replica| Act::Pause { replica }),
        2 => replica().prop_map(|replica| Act::Resume { replica }),
        2 => replica().prop_map(|replica| Act::Start { replica }),
        1 => replica().prop_map(|replica| Act::ReadAnew { replica }),
        1 => replica().prop_map(|replica| Act::WriteStatuses { replica }),
        2 => prop_oneof![Just(1), Just(FACTS_DEAD.as_secs()), Just(FACTS_STALE.as_secs())]
            .prop_map(|seconds| Act::Pass { seconds }),
    ];
    prop::collection::vec(act, 1..80)
}

struct Running {
    replica: Replica,
    is_paused: bool,
    /// What it has received.
    received: Vec<u64>,
    /// How much of this was in its rows after a tick.
    written: Vec<u64>,
    /// What it has shown.
    shown: Vec<u64>,
    /// A write that failed may have been stored: what the total has of it may not be known exactly.
    is_doubtful: bool,
}

struct Model {
    world: World,
    running: Vec<Option<Running>>,
    started: usize,
    /// What all have received.
    received: Vec<u64>,
    /// What must not be lost: what was in the statuses and in the rows of those that ended.
    kept: Vec<u64>,
    /// Counts may be missing.
    is_doubtful: bool,
}

fn add(sum: &mut [u64], counts: &[u64]) {
    sum.iter_mut().zip(counts).for_each(|(sum, count)| *sum += count);
}

impl Model {
    fn new() -> Self {
        let statuses = vec![10; ENDPOINTS];
        Self {
            world: World::new(&statuses),
            running: (0..4).map(|_| None).collect(),
            started: 0,
            received: statuses.clone(),
            kept: statuses,
            is_doubtful: false,
        }
    }

    async fn act(&mut self, act: Act) {
        match act {
            Act::Pass { seconds } => self.world.time.pass(Duration::from_secs(seconds)),
            Act::Start { replica } if self.running[replica].is_none() => {
                self.started += 1;
                let started = self.world.start(&format!("{}-{}", replica, self.started));
                let nothing = vec![0; ENDPOINTS];
                let (received, written, shown) = (nothing.clone(), nothing.clone(), nothing);
                let (is_paused, is_doubtful) = (false, false);
                self.running[replica] =
                    Some(Running { replica: started, is_paused, received, written, shown, is_doubtful });
            }
            Act::Receive { replica, endpoint } => {
                if let Some(running) = &mut self.running[replica] {
                    running.replica.receive(endpoint, 1, &self.world);
                    running.received[endpoint] += 1;
                    self.received[endpoint] += 1;
                }
            }
            Act::Tick { replica } => {
                if let Some(running) = self.running[replica].as_mut().filter(|running| !running.is_paused) {
                    running.replica.tick(&self.world).await;
                    running.note_written();
                }
            }
            Act::Interrupt { replica, calls, is_stored } => {
                if let Some(running) = self.running[replica].as_mut().filter(|running| !running.is_paused) {
                    running.interrupt(calls, is_stored, &self.world).await;
                }
            }
            Act::Kill { replica, calls, is_stored } => {
                if let Some(mut running) = self.running[replica].take() {
                    if !running.is_paused {
                        running.interrupt(calls, is_stored, &self.world).await;
                    }
                    self.world.leave(&running.replica);
                    add(&mut self.kept, &running.written);
                    self.is_doubtful |= running.is_doubtful;
                }
            }
            Act::Pause { replica } => {
                if let Some(running) = &mut self.running[replica] {
                    self.world.leave(&running.replica);
                    running.is_paused = true;
                }
            }
            Act::Resume { replica } => {
                if let Some(running) = self.running[replica].as_mut().filter(|running| running.is_paused) {
                    running.is_paused = false;
                    let mut rows = self.world.rows.lock();
                    rows.live.push(running.replica.name.clone());
                    rows.live.sort();
                }
            }
            Act::ReadAnew { replica } => {
                if let Some(running) = self.running[replica].as_mut().filter(|running| !running.is_paused) {
                    // Its facts are known before others replace them.
                    running.replica.tick(&self.world).await;
                    self.world.see(&mut running.replica);
                    running.replica.tick(&self.world).await;
                    running.shown = running.replica.shown();
                }
            }
            Act::WriteStatuses { replica } => {
                if let Some(running) = self.running[replica].as_ref().filter(|running| !running.is_paused) {
                    self.world.write_statuses(&running.replica);
                }
            }
            Act::Start { .. } => {}
        }
        self.check();
    }

    /// Nothing is shown that was not received, and nothing is taken back.
    fn check(&mut self) {
        for running in self.running.iter_mut().flatten() {
            let shown = running.replica.shown();
            for ((shown, before), received) in shown.iter().zip(&running.shown).zip(&self.received) {
                assert!(shown <= received, "{} shows {shown} of {received}", running.replica.name);
                assert!(shown >= before, "{} shows {shown} after {before}", running.replica.name);
            }
            running.shown = shown;
        }
    }

    /// Lets everything come to rest.
    async fn end(&mut self) {
        for replica in 0..self.running.len() {
            self.act(Act::Resume { replica }).await;
        }
        self.act(Act::Start { replica: 0 }).await;
        for _ in 0..6 {
            for _ in 0..3 {
                for replica in 0..self.running.len() {
                    self.act(Act::Tick { replica }).await;
                }
            }
            self.act(Act::Pass { seconds: FACTS_DEAD.as_secs() }).await;
        }
        let mut least = self.kept.clone();
        let mut all: Vec<Vec<u64>> = Vec::new();
        for running in self.running.iter().flatten() {
            add(&mut least, &running.received);
            self.is_doubtful |= running.is_doubtful;
            // A status may have counts of a replica that ended before it wrote them to its row. It is not taken back.
            let statuses = self.world.statuses.iter().map(|status| status.received);
            all.push(
                running.replica.shown().into_iter().zip(statuses).map(|(shown, status)| shown.max(status)).collect(),
            );
        }
        all.dedup();
        assert_eq!(all.len(), 1, "all show the same: {all:?}");
        for (shown, least) in all.iter().flatten().zip(&least) {
            assert!(self.is_doubtful || shown >= least, "{shown} are shown of at least {least}");
        }
        let live = self.running.iter().flatten().map(|running| &running.replica.name).collect::<Vec<_>>();
        for (author, key) in self.world.rows.lock().rows.keys() {
            assert!(author == "_total" || live.contains(&author), "{author}/{key} was not removed");
        }
    }
}

impl Running {
    /// Notes what is in its rows. Nothing is before the total has an entry, or while its sealed row is there.
    fn note_written(&mut self) {
        let exchange = &self.replica.exchange;
        if exchange.written.is_none() || exchange.ledger.has_lost_rows() {
            return;
        }
        let unwritten: Vec<Bucket> = exchange.ledger.drafts(&exchange.view).iter().map(|draft| draft.bucket).collect();
        for (number, (written, received)) in self.written.iter_mut().zip(&self.received).enumerate() {
            let object = view(number, "uid", &self.replica.endpoints[number]).incarnation();
            if exchange.view.has_base(&object) && !unwritten.contains(&Bucket::of(&object.key)) {
                *written = *received;
            }
        }
    }

    async fn interrupt(&mut self, calls: usize, is_stored: bool, world: &World) {
        *self.replica.faults.lock() = Faults { calls: Some(calls), is_stored };
        self.replica.tick(world).await;
        *self.replica.faults.lock() = Faults::default();
        self.is_doubtful = true;
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_count_is_lost_or_added_twice(acts in acts()) {
        let runtime = Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let mut model = Model::new();
            for act in acts {
                model.act(act).await;
            }
            model.end().await;
        });
    }
}
