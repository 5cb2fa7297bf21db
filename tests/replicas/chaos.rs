//! Replicas and brokers are killed, paused and restarted under load.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use grapnel_test_support::{PATIENCE, nats::NatsCluster, program::Grapnel, size};
use tokio::time::sleep;

use crate::{
    audit::all_is_well,
    receipts::{KINDS, receiver},
    senders::Senders,
    site::{IN_FLIGHT, Site, objects, ready, start},
};

/// Replicas.
const REPLICAS: usize = 3;

/// Most ended attempts that wait to be settled (`UNSETTLED`).
const UNSETTLED: usize = 256;

/// Longest that something is paused or down.
const LONGEST: Duration = Duration::from_secs(15);

/// What happens to one of the replicas, or to one of the brokers.
#[derive(Debug, Clone, Copy)]
enum Fault {
    /// SIGKILL, and a start after a while.
    Kill,
    /// SIGSTOP, and SIGCONT after a while.
    Pause,
    /// SIGTERM, and a start after a while.
    Restart,
}

/// What happens in a round.
#[derive(Debug)]
struct Round {
    replica: Option<(usize, Fault, Duration)>,
    broker: Option<(usize, Fault, Duration)>,
    /// All brokers are killed instead of one.
    blackout: bool,
}

/// Numbers that follow from a seed (SplitMix64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    fn time(&mut self, longest: Duration) -> Duration {
        Duration::from_millis(self.next() % longest.as_millis() as u64)
    }

    fn fault(&mut self) -> Fault {
        [Fault::Kill, Fault::Pause, Fault::Restart][self.below(3)]
    }
}

impl Round {
    /// The first rounds have each fault once; the others are drawn.
    fn draw(number: u64, random: &mut Random) -> Self {
        let (replica, broker) = (random.below(REPLICAS), random.below(3));
        let (long, short) = (random.time(LONGEST), random.time(LONGEST / 4));
        let of_replica = |fault, time| Some((replica, fault, time));
        let of_broker = |fault, time| Some((broker, fault, time));
        match number {
            0 => Self { replica: of_replica(Fault::Kill, short), broker: None, blackout: false },
            1 => Self { replica: None, broker: of_broker(Fault::Kill, short), blackout: false },
            2 => Self {
                replica: of_replica(Fault::Pause, LONGEST),
                broker: of_broker(Fault::Restart, short),
                blackout: false,
            },
            3 => Self { replica: of_replica(Fault::Restart, short), broker: None, blackout: true },
            _ => {
                let (first, second) = (random.fault(), random.fault());
                let which = random.below(3);
                Self {
                    replica: (which != 0).then_some((replica, first, long)),
                    broker: (which != 1).then_some((broker, second, short)),
                    blackout: random.below(10) == 0,
                }
            }
        }
    }
}

/// Whatever is killed, paused or restarted: everything that was answered 2xx is delivered, in order, and once unless it was in
/// flight then.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_whoever_is_killed() {
    let rounds = size("REPLICAS_ROUNDS", 4_u64);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64;
    let seed = size("REPLICAS_SEED", now);
    eprintln!("REPLICAS_SEED={seed} REPLICAS_ROUNDS={rounds}");
    let mut random = Random(seed);
    let (receiver, receipts) = receiver().await;
    let mut site = Site::new().await;
    let objects = site.objects("all", &objects(&receiver.url, &KINDS));
    let mut senders = Senders::start();
    let mut replicas = Replicas::start(&site, objects, &senders).await;
    for number in 0..rounds {
        let round = Round::draw(number, &mut random);
        let (before, refused) = {
            let sent = senders.sent();
            (sent.total(), sent.refusals.clone())
        };
        eprintln!("round {number}: {round:?}; {before} events accepted so far, refusals {refused:?}");
        tokio::join!(replicas.suffer(round.replica, &senders), suffer(&mut site.brokers, round.broker, round.blackout));
        eprintln!("round {number}: {} events accepted in it", senders.sent().total() - before);
    }
    senders.finish(PATIENCE).await;
    let running: Vec<&Grapnel> = replicas.running.iter().flatten().collect();
    let sent = senders.sent().clone();
    eprintln!("{} events accepted; refusals {:?}", sent.total(), sent.refusals);
    all_is_well(&sent, &receipts, &running).await;
    let receipts = receipts.lock().unwrap();
    let mut duplicates = BTreeMap::new();
    for ((_, kind), arrivals) in &receipts.arrivals {
        *duplicates.entry(*kind).or_insert(0) += arrivals.again.len();
    }
    eprintln!("{rounds} rounds, nothing lost; duplicates {duplicates:?}");
    // A shard may move when its owner goes, when the owner's broker does, and when the owner is back.
    let moves = 3 * rounds as usize;
    for ((number, kind), arrivals) in &receipts.arrivals {
        let most = if *kind == "orderly" { 1 } else { IN_FLIGHT + UNSETTLED };
        assert!(arrivals.again.len() <= moves * most, "{kind}-{number}: {:?}", arrivals.again);
        // Of an ordered subscription only the last event can be in flight, except at a replica that was paused.
        let late = arrivals.again.iter().filter(|again| *kind == "orderly" && again.behind > 0).count();
        assert!(late <= replicas.pauses, "{kind}-{number}: {:?}", arrivals.again);
    }
    for replica in running {
        assert!(!replica.log().contains("panicked"), "{}", replica.log());
    }
}

/// The replicas, of which each has a place that its successor takes.
struct Replicas {
    arguments: Vec<String>,
    running: Vec<Option<Grapnel>>,
    pauses: usize,
}

impl Replicas {
    async fn start(site: &Site, objects: PathBuf, senders: &Senders) -> Self {
        let arguments = site.arguments(&objects, &site.brokers.url());
        let mut replicas = Self { arguments, running: Vec::new(), pauses: 0 };
        for place in 0..REPLICAS {
            replicas.running.push(None);
            replicas.begin(place, senders).await;
        }
        replicas
    }

    async fn begin(&mut self, place: usize, senders: &Senders) {
        let grapnel = start(self.arguments.clone(), None).await;
        ready(&grapnel).await;
        senders.set(place, Some(&grapnel.webhooks));
        self.running[place] = Some(grapnel);
    }

    /// Breaks a replica and mends it.
    async fn suffer(&mut self, what: Option<(usize, Fault, Duration)>, senders: &Senders) {
        let Some((place, fault, time)) = what else { return sleep(LONGEST / 8).await };
        match fault {
            Fault::Pause => {
                let grapnel = self.running[place].as_ref().unwrap();
                grapnel.send_signal("STOP");
                sleep(time).await;
                grapnel.send_signal("CONT");
                self.pauses += 1;
            }
            Fault::Kill => {
                let grapnel = self.running[place].take().unwrap();
                assert!(!grapnel.log().contains("panicked"), "{}", grapnel.log());
                grapnel.kill();
                senders.set(place, None);
                sleep(time).await;
                self.begin(place, senders).await;
            }
            Fault::Restart => {
                let grapnel = self.running[place].take().unwrap();
                grapnel.send_signal("TERM");
                senders.set(place, None);
                let (status, log) = grapnel.ended().await;
                assert!(status.success(), "{status}: {log}");
                sleep(time).await;
                self.begin(place, senders).await;
            }
        }
    }
}

/// Breaks a broker, or all, and mends it.
async fn suffer(brokers: &mut NatsCluster, what: Option<(usize, Fault, Duration)>, blackout: bool) {
    if blackout {
        let all = 0..brokers.size();
        all.clone().for_each(|broker| brokers.kill(broker));
        sleep(LONGEST / 8).await;
        all.for_each(|broker| brokers.restart(broker));
        return brokers.ready().await;
    }
    let Some((broker, fault, time)) = what else { return };
    match fault {
        Fault::Pause => {
            brokers.stop(broker);
            sleep(time).await;
            brokers.resume(broker);
        }
        Fault::Kill => {
            brokers.kill(broker);
            sleep(time).await;
            brokers.restart(broker);
        }
        Fault::Restart => {
            brokers.terminate(broker).await;
            sleep(time).await;
            brokers.restart(broker);
        }
    }
    brokers.ready().await;
}
