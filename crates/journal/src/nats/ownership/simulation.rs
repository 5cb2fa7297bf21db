//! Replicas, a registry and a network in simulated time: never two valid tenancies of one shard.
//!
//! The clocks of the replicas have different origins and the same rate. A call may take long, its answer may be lost,
//! and a write may be stored long after its caller has stopped waiting. Replicas pause, crash and return under another
//! name, and leave cleanly. Reads of several rows may be old.

use std::{
    collections::{BTreeMap, VecDeque},
    ops::Range,
    sync::Arc,
    time::Duration,
};

use proptest::prelude::*;

use super::{
    call::{RegistryAnswer, RegistryCall},
    clock::{BootClock, BootTime},
    contender::Contender,
    registry::{RegistryError, Row},
    rows,
    timings::Timings,
};

const SHARDS: u16 = 5;
const REPLICAS: usize = 3;
/// Maximum concurrent calls of a replica, few enough to matter.
const CALLS: usize = 6;

const MILLISECOND: u64 = 1_000;
const SECOND: u64 = 1_000_000;

/// A generator of random numbers (SplitMix64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut it = self.0;
        it = (it ^ (it >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        it = (it ^ (it >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        it ^ (it >> 31)
    }

    fn within(&mut self, range: Range<u64>) -> u64 {
        range.start + self.next() % (range.end - range.start)
    }

    /// True in `n` of 1000 cases.
    fn chance(&mut self, n: u64) -> bool {
        self.next() % 1000 < n
    }
}

enum Event {
    /// The replica does what has become due.
    Tick { replica: usize, life: u64 },
    /// A call reaches the registry. Its answer is lost if `reply` is `None`.
    Arrive { replica: usize, life: u64, id: u64, call: RegistryCall, reply: Option<u64> },
    /// An answer, or the timeout, reaches the replica.
    Answer { replica: usize, life: u64, id: u64, answer: RegistryAnswer },
}

struct Replica {
    contender: Contender,
    /// Distinguishes it from those that crashed in its place.
    life: u64,
    /// When its clock began.
    origin: u64,
    /// It does nothing before.
    paused: u64,
    calls: BTreeMap<u64, (RegistryCall, BootTime)>,
    leaving: bool,
}

struct World {
    now: u64,
    random: Random,
    timings: Timings,
    /// Whether things go wrong.
    faults: bool,
    replicas: Vec<Replica>,
    events: BTreeMap<(u64, u64), Event>,
    /// Numbers events, calls and lives.
    count: u64,
    rows: BTreeMap<String, Row>,
    revision: u64,
    /// Earlier states of the rows, for reads that are old.
    older: VecDeque<BTreeMap<String, Row>>,
    /// The highest epoch of each shard, and whose it is.
    epochs: BTreeMap<u16, (u64, u64)>,
    /// How many tenancies there were.
    tenancies: usize,
    violation: Option<String>,
}

impl World {
    fn new(seed: u64, timings: Timings) -> Self {
        let mut world = Self {
            now: SECOND,
            random: Random(seed),
            timings,
            faults: true,
            replicas: Vec::new(),
            events: BTreeMap::new(),
            count: 0,
            rows: BTreeMap::new(),
            revision: 0,
            older: VecDeque::new(),
            epochs: BTreeMap::new(),
            tenancies: 0,
            violation: None,
        };
        for at in 0..REPLICAS {
            let replica = world.create();
            world.replicas.push(replica);
            world.tick(at, 0);
        }
        world
    }

    fn create(&mut self) -> Replica {
        self.count += 1;
        let life = self.count;
        let name: Arc<str> = format!("replica-{life}").into();
        let contender = Contender::new(name, SHARDS, self.timings, BootClock::System);
        let origin = self.random.within(0..self.now);
        Replica { contender, life, origin, paused: 0, calls: BTreeMap::new(), leaving: false }
    }

    fn schedule(&mut self, after: u64, event: Event) {
        self.count += 1;
        self.events.insert((self.now + after, self.count), event);
    }

    fn tick(&mut self, replica: usize, after: u64) {
        let life = self.replicas[replica].life;
        self.schedule(after, Event::Tick { replica, life });
    }

    /// The time of a replica's clock.
    fn time(&self, replica: usize) -> BootTime {
        BootTime::new(Duration::from_micros(self.now - self.replicas[replica].origin))
    }

    /// Runs for `length` microseconds.
    fn run(&mut self, length: u64) {
        let end = self.now + length;
        while self.violation.is_none() {
            let Some(entry) = self.events.first_entry() else { return };
            let (at, _) = *entry.key();
            if at > end {
                self.now = end;
                return;
            }
            let event = entry.remove();
            self.now = at;
            self.handle(event);
            self.check();
        }
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Tick { replica, life } => {
                if self.replicas[replica].life != life {
                    return;
                }
                if self.faults {
                    self.disturb(replica);
                }
                let every = micros(self.timings.poll) / 2;
                if self.replicas[replica].paused <= self.now {
                    self.begin(replica);
                }
                self.tick(replica, every);
            }
            Event::Arrive { replica, life, id, call, reply } => {
                let answer = self.apply(&call);
                if let Some(after) = reply {
                    self.schedule(after, Event::Answer { replica, life, id, answer });
                }
            }
            Event::Answer { replica, life, id, answer } => {
                let it = &mut self.replicas[replica];
                if it.life != life {
                    return;
                }
                if it.paused > self.now {
                    let after = it.paused - self.now;
                    self.schedule(after, Event::Answer { replica, life, id, answer });
                    return;
                }
                let Some((call, sent)) = it.calls.remove(&id) else { return };
                let now = self.time(replica);
                self.replicas[replica].contender.done(call, sent, answer, now);
                self.begin(replica);
            }
        }
    }

    /// A pause, a crash, a clean end, or a shard that cannot be loaded.
    fn disturb(&mut self, replica: usize) {
        if self.random.chance(4) {
            self.replicas[replica].paused = self.now + self.random.within(SECOND..25 * SECOND);
        }
        if self.random.chance(2) {
            self.replicas[replica] = self.create();
            self.tick(replica, 0);
        } else if self.random.chance(2) {
            self.replicas[replica].contender.leave();
            self.replicas[replica].leaving = true;
        } else if self.random.chance(5) {
            let shard = u16::try_from(self.random.within(0..u64::from(SHARDS))).unwrap();
            let now = self.time(replica);
            self.replicas[replica].contender.give_back(shard, now);
        }
        if self.replicas[replica].leaving && self.random.chance(100) {
            self.replicas[replica] = self.create();
            self.tick(replica, 0);
        }
    }

    /// Begins the calls that a replica wants.
    fn begin(&mut self, replica: usize) {
        while self.replicas[replica].calls.len() < CALLS {
            let sent = self.time(replica);
            let Some(call) = self.replicas[replica].contender.next(sent) else { return };
            self.count += 1;
            let (id, life) = (self.count, self.replicas[replica].life);
            self.replicas[replica].calls.insert(id, (call.clone(), sent));
            let timeout = RegistryAnswer::Failed(RegistryError::Unavailable("no answer".to_owned()));
            self.schedule(micros(self.timings.call), Event::Answer { replica, life, id, answer: timeout });
            let (mut request, mut reply) = (self.random.within(0..3 * MILLISECOND), Some(MILLISECOND));
            if self.faults {
                if self.random.chance(30) {
                    // Also a replica that is stopped just before it sends.
                    request = self.random.within(0..15 * SECOND);
                }
                if self.random.chance(30) {
                    reply = Some(self.random.within(0..5 * SECOND));
                }
                if self.random.chance(40) {
                    reply = None;
                }
                if self.random.chance(20) {
                    continue;
                }
            }
            self.schedule(request, Event::Arrive { replica, life, id, call, reply });
        }
    }

    /// What the registry does.
    fn apply(&mut self, call: &RegistryCall) -> RegistryAnswer {
        match call {
            RegistryCall::ReadLeases { .. } => self.all(rows::LEASES),
            RegistryCall::ReadMembers => self.all(rows::MEMBERS),
            RegistryCall::ReadLease { shard } => RegistryAnswer::Row(self.rows.get(&rows::lease_key(*shard)).cloned()),
            RegistryCall::ReadMember { replica } => {
                RegistryAnswer::Row(self.rows.get(&rows::member_key(replica)).cloned())
            }
            RegistryCall::WriteMember { replica, value, expected } => {
                self.write(rows::member_key(replica), value.clone(), *expected)
            }
            RegistryCall::WriteLease { shard, value, expected, .. } => {
                self.write(rows::lease_key(*shard), value.clone(), *expected)
            }
            RegistryCall::RemoveMember { replica, revision } => {
                let key = rows::member_key(replica);
                if self.rows.get(&key).is_some_and(|row| row.revision == *revision) {
                    self.rows.remove(&key);
                }
                RegistryAnswer::Removed
            }
        }
    }

    fn all(&mut self, prefix: &str) -> RegistryAnswer {
        let old = self.faults && self.random.chance(100);
        let rows = self.older.front().filter(|_| old).unwrap_or(&self.rows);
        let rows = rows.iter().filter(|(key, _)| key.starts_with(prefix));
        RegistryAnswer::Rows(rows.map(|(key, row)| (key.clone(), row.clone())).collect())
    }

    fn write(&mut self, key: String, value: bytes::Bytes, expected: u64) -> RegistryAnswer {
        if self.rows.get(&key).map_or(0, |row| row.revision) != expected {
            return RegistryAnswer::Failed(RegistryError::Conflict);
        }
        self.older.push_back(self.rows.clone());
        if self.older.len() > 20 {
            self.older.pop_front();
        }
        self.revision += 1;
        self.rows.insert(key, Row { value, revision: self.revision });
        RegistryAnswer::Written(self.revision)
    }

    /// At most one replica owns a shard, and epochs ascend.
    fn check(&mut self) {
        let mut owners: BTreeMap<u16, u64> = BTreeMap::new();
        for replica in 0..self.replicas.len() {
            let (now, life) = (self.time(replica), self.replicas[replica].life);
            for (shard, tenancy) in self.replicas[replica].contender.held().shards {
                if !tenancy.is_valid_at(now) {
                    continue;
                }
                if let Some(other) = owners.insert(shard, life) {
                    self.violation = Some(format!("{life} and {other} own shard {shard} at {}", self.now));
                }
                let (epoch, whose) = self.epochs.entry(shard).or_default();
                if (*epoch, *whose) != (tenancy.epoch, life) {
                    if *epoch >= tenancy.epoch {
                        self.violation = Some(format!("shard {shard}: epoch {} after {epoch}", tenancy.epoch));
                    }
                    (*epoch, *whose) = (tenancy.epoch, life);
                    self.tenancies += 1;
                }
            }
        }
    }

    /// The owner of each shard, by life.
    fn owners(&self) -> BTreeMap<u16, u64> {
        let owned =
            self.replicas.iter().flat_map(|it| it.contender.held().shards.into_keys().map(|shard| (shard, it.life)));
        owned.collect()
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    #[test]
    fn a_shard_never_has_two_owners_and_gets_one_when_faults_end(seed: u64) {
        let mut world = World::new(seed, Timings::default());
        world.run(200 * SECOND);
        prop_assert_eq!(world.violation.clone(), None);
        prop_assert!(world.tenancies > usize::from(SHARDS), "only {} tenancies", world.tenancies);
        world.faults = false;
        for replica in 0..REPLICAS {
            if world.replicas[replica].leaving {
                world.replicas[replica] = world.create();
                world.tick(replica, 0);
            }
        }
        // Pauses end, late calls arrive, the expired are taken over, new replicas join, shards that were declined return.
        world.run(100 * SECOND);
        prop_assert_eq!(world.violation.clone(), None);
        let owners = world.owners();
        prop_assert_eq!(owners.len(), usize::from(SHARDS), "{:?}", owners);
        // Nothing moves any more, and the rows of those that crashed are removed.
        let tenancies = world.tenancies;
        world.run(60 * SECOND);
        prop_assert_eq!(world.violation.clone(), None);
        prop_assert_eq!(world.owners(), owners);
        prop_assert_eq!(world.tenancies, tenancies);
        let members = world.rows.keys().filter(|key| key.starts_with(rows::MEMBERS)).count();
        prop_assert_eq!(members, REPLICAS);
        prop_assert!(world.replicas.iter().all(|replica| replica.contender.members() == REPLICAS));
    }
}

/// The simulation finds what is wrong.
#[test]
fn owners_that_stop_too_late_are_found() {
    let timings = Timings { deadline: Duration::from_secs(14), ..Timings::default() };
    let found = (0..200).any(|seed| {
        let mut world = World::new(seed, timings);
        world.run(200 * SECOND);
        world.violation.is_some()
    });
    assert!(found, "no violation although owners stop after others may begin");
}
