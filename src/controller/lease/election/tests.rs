use proptest::prelude::*;

use super::*;

const DURATION: Duration = Duration::from_secs(12);
/// The time of a request, and of a write by the holder.
const TIMEOUT: Duration = Duration::from_secs(3);

/// Replicas whose monotonic clocks differ, and whose wall clocks are wrong, at one API server.
struct World {
    origin: Instant,
    time: Duration,
    server: Server,
    replicas: Vec<Replica>,
    /// Requests that their replica no longer waits for, and that may still be applied.
    floating: Vec<Sent>,
}

/// The Lease as the API server has it.
#[derive(Default)]
struct Server {
    lease: Option<Lease>,
    version: u64,
}

struct Replica {
    election: Election,
    /// How far its monotonic clock is ahead.
    ahead: Duration,
    wall: Timestamp,
    waiting: Option<Waiting>,
    /// When the last write that it may have begun as the holder has ended.
    writes_end: Duration,
    changes: Vec<Change>,
}

/// A request of a replica that waits for the answer.
struct Waiting {
    sent: Sent,
    at: Duration,
    answer: Option<Answer>,
}

#[derive(Debug, Clone)]
enum Sent {
    Read,
    Create(Box<Lease>),
    Replace(Box<Lease>),
}

#[derive(Debug, Clone)]
enum Answer {
    Read(Option<Box<Lease>>),
    Written(Box<Lease>),
    Conflict,
}

impl Server {
    fn apply(&mut self, sent: &Sent) -> Answer {
        let (written, allowed) = match sent {
            Sent::Read => return Answer::Read(self.lease.clone().map(Box::new)),
            Sent::Create(lease) => (lease, self.lease.is_none()),
            Sent::Replace(lease) => {
                let version = self.lease.as_ref().map(|current| &current.metadata.resource_version);
                (lease, version == Some(&lease.metadata.resource_version))
            }
        };
        if !allowed {
            return Answer::Conflict;
        }
        self.version += 1;
        let mut lease = (**written).clone();
        lease.metadata.resource_version = Some(self.version.to_string());
        self.lease = Some(lease.clone());
        Answer::Written(Box::new(lease))
    }
}

impl World {
    fn new(replicas: usize) -> Self {
        let replica = |number: usize| Replica {
            election: Election::new("grapnel".into(), format!("replica-{number}"), DURATION),
            ahead: Duration::from_secs(1000 * number as u64),
            wall: Timestamp::from_second(1_700_000_000 - 86_400 * number as i64).unwrap(),
            waiting: None,
            writes_end: Duration::ZERO,
            changes: Vec::new(),
        };
        Self {
            origin: Instant::now(),
            time: Duration::ZERO,
            server: Server::default(),
            replicas: (0..replicas).map(replica).collect(),
            floating: Vec::new(),
        }
    }

    fn now(&self, number: usize) -> Now {
        let replica = &self.replicas[number];
        Now { monotonic: self.origin + replica.ahead + self.time, wall: replica.wall }
    }

    fn may_write(&self, number: usize) -> bool {
        self.replicas[number].election.until().is_some_and(|until| self.now(number).monotonic < until)
    }

    /// Lets time pass. Every replica that is the holder writes all the time.
    fn advance(&mut self, time: Duration) {
        let (begin, end) = (self.time, self.time + time);
        for replica in &mut self.replicas {
            let until = replica.election.until().map(|until| until - self.origin - replica.ahead);
            if let Some(until) = until.filter(|until| *until > begin) {
                replica.writes_end = until.min(end) + TIMEOUT;
            }
        }
        self.time = end;
        for number in 0..self.replicas.len() {
            let now = self.now(number).monotonic;
            let replica = &mut self.replicas[number];
            replica.changes.extend(replica.election.expire(now));
            if replica.waiting.as_ref().is_some_and(|waiting| end >= waiting.at + TIMEOUT) {
                let waiting = replica.waiting.take();
                self.floating.extend(waiting.filter(|waiting| waiting.answer.is_none()).map(|waiting| waiting.sent));
            }
        }
    }

    fn begin(&mut self, number: usize) {
        let now = self.now(number);
        if self.replicas[number].waiting.is_none() {
            let step = self.replicas[number].election.begin(now);
            self.follow(number, step);
        }
    }

    /// The API server applies the request of a replica.
    fn apply(&mut self, number: usize) {
        let Some(waiting) = &mut self.replicas[number].waiting else { return };
        if waiting.answer.is_none() {
            waiting.answer = Some(self.server.apply(&waiting.sent));
        }
    }

    /// The API server applies a request whose replica no longer waits for it.
    fn apply_late(&mut self, choice: usize) {
        if !self.floating.is_empty() {
            let sent = self.floating.swap_remove(choice % self.floating.len());
            self.server.apply(&sent);
        }
    }

    fn answer(&mut self, number: usize) {
        let now = self.now(number);
        let replica = &mut self.replicas[number];
        let Some(Waiting { answer: Some(_), .. }) = replica.waiting else { return };
        let answer = replica.waiting.take().and_then(|waiting| waiting.answer).unwrap();
        let step = match answer {
            Answer::Read(lease) => replica.election.read(lease.map(|lease| *lease), now),
            Answer::Written(lease) => replica.election.written(*lease),
            Answer::Conflict => replica.election.outrun(),
        };
        self.follow(number, step);
    }

    fn follow(&mut self, number: usize, step: Step) {
        let replica = &mut self.replicas[number];
        let sent = match step {
            Step::Read => Sent::Read,
            Step::Create(lease) => Sent::Create(lease),
            Step::Replace(lease) => Sent::Replace(lease),
            Step::End(change) => return replica.changes.extend(change),
        };
        replica.waiting = Some(Waiting { sent, at: self.time, answer: None });
    }

    /// A whole turn without faults.
    fn turn(&mut self, number: usize) -> Option<Change> {
        self.replicas[number].changes.clear();
        self.begin(number);
        while self.replicas[number].waiting.is_some() {
            self.apply(number);
            self.answer(number);
        }
        self.replicas[number].changes.pop()
    }

    fn release(&mut self, number: usize) {
        if let Some(lease) = self.replicas[number].election.release() {
            self.server.apply(&Sent::Replace(Box::new(lease)));
        }
    }

    fn spec(&self) -> &LeaseSpec {
        self.server.lease.as_ref().unwrap().spec.as_ref().unwrap()
    }

    /// Panics if a replica may write while another does.
    fn check(&self) {
        for writer in (0..self.replicas.len()).filter(|number| self.may_write(*number)) {
            for (other, replica) in self.replicas.iter().enumerate().filter(|(other, _)| *other != writer) {
                assert!(!self.may_write(other), "{writer} and {other} at {:?}", self.time);
                assert!(replica.writes_end <= self.time, "{writer} at {:?}, before {other} has ended", self.time);
            }
        }
    }
}

#[derive(Debug, Clone)]
enum Event {
    Advance(u64),
    Begin(usize),
    Apply(usize),
    ApplyLate(usize),
    Answer(usize),
    /// A whole turn, without faults.
    Turn(usize),
    /// A replica restarts with another identity, as a pod does.
    Restart(usize),
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let event = prop_oneof![
        4 => prop_oneof![0..500_u64, 0..13_000_u64].prop_map(Event::Advance),
        3 => (0..3_usize).prop_map(Event::Begin),
        4 => (0..3_usize).prop_map(Event::Apply),
        1 => (0..8_usize).prop_map(Event::ApplyLate),
        4 => (0..3_usize).prop_map(Event::Answer),
        3 => (0..3_usize).prop_map(Event::Turn),
        1 => (0..3_usize).prop_map(Event::Restart),
    ];
    prop::collection::vec(event, 0..120)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn no_two_replicas_write_at_once_whatever_is_slow_or_lost(events in events()) {
        let mut world = World::new(3);
        for (step, event) in events.into_iter().enumerate() {
            match event {
                Event::Advance(millis) => world.advance(Duration::from_millis(millis)),
                Event::Begin(number) => world.begin(number),
                Event::Apply(number) => world.apply(number),
                Event::ApplyLate(choice) => world.apply_late(choice),
                Event::Answer(number) => world.answer(number),
                Event::Turn(number) => {
                    if world.replicas[number].waiting.is_none() {
                        world.turn(number);
                    }
                }
                Event::Restart(number) => {
                    let election = Election::new("grapnel".into(), format!("replica-{number}-{step}"), DURATION);
                    // A write of the former process may still be on its way.
                    let floating = world.replicas[number].waiting.take().filter(|waiting| waiting.answer.is_none());
                    world.floating.extend(floating.map(|waiting| waiting.sent));
                    world.replicas[number].election = election;
                }
            }
            world.check();
        }
        // When the faults end, one of them leads.
        for _ in 0..20 {
            world.advance(DURATION * 2 / 15);
            for number in 0..3 {
                world.replicas[number].waiting = None;
                world.turn(number);
                world.check();
            }
        }
        prop_assert_eq!((0..3).filter(|number| world.may_write(*number)).count(), 1);
    }
}

#[test]
fn the_first_creates_the_lease_and_keeps_it_and_the_others_follow() {
    let mut world = World::new(2);
    assert_eq!(world.turn(0), Some(Change::Acquired));
    assert_eq!(world.turn(1), None);
    for _ in 0..50 {
        world.advance(DURATION * 2 / 15);
        assert_eq!((world.turn(0), world.turn(1)), (Some(Change::Renewed), None));
    }
    let spec = world.spec();
    assert_eq!((spec.holder_identity.as_deref(), spec.lease_transitions), (Some("replica-0"), Some(0)));
    assert_eq!(world.server.version, 51, "one write a turn");
}

#[test]
fn a_replica_holds_for_two_thirds_of_the_duration_from_the_beginning_of_its_renewal() {
    let mut world = World::new(2);
    world.begin(0);
    world.apply(0);
    world.answer(0);
    // The time that the answer takes counts.
    world.advance(Duration::from_secs(2));
    world.apply(0);
    world.answer(0);
    assert!(world.may_write(0));
    world.advance(Duration::from_millis(5999));
    assert!(world.may_write(0));
    world.advance(Duration::from_millis(1));
    assert!(!world.may_write(0));
    assert_eq!(world.replicas[0].changes, [Change::Acquired, Change::Expired]);
}

#[test]
fn another_replica_takes_the_lease_after_its_whole_duration_without_a_renewal() {
    let mut world = World::new(2);
    world.turn(0);
    world.advance(Duration::from_secs(5));
    assert_eq!(world.turn(1), None, "first seen now");
    world.advance(Duration::from_millis(11_999));
    assert_eq!(world.turn(1), None);
    world.advance(Duration::from_millis(1));
    assert_eq!(world.turn(1), Some(Change::Acquired));
    assert_eq!(world.spec().lease_transitions, Some(1));
    assert_eq!(world.turn(0), None, "it lost the Lease when that expired");
}

#[test]
fn a_renewal_without_an_answer_is_read_again() {
    let mut world = World::new(2);
    world.turn(0);
    world.advance(Duration::from_secs(1));
    world.begin(0);
    world.apply(0);
    world.advance(TIMEOUT);
    assert!(world.may_write(0), "until the former renewal ends");
    assert_eq!(world.turn(0), Some(Change::Renewed));
    assert_eq!(world.server.version, 3);
}

#[test]
fn a_replica_that_is_outrun_stops_at_once() {
    let mut world = World::new(2);
    world.turn(0);
    // A user edits the Lease.
    let mut lease = world.server.lease.clone().unwrap();
    lease.spec.as_mut().unwrap().holder_identity = Some("another".into());
    world.server.apply(&Sent::Replace(Box::new(lease)));
    assert_eq!(world.turn(0), Some(Change::Taken));
    assert!(!world.may_write(0));
    // A Lease that is deleted is created again.
    world.server.lease = None;
    assert_eq!(world.turn(0), Some(Change::Acquired));
    world.server.lease = None;
    assert_eq!((world.turn(0), world.turn(0)), (Some(Change::Taken), Some(Change::Acquired)));
}

#[test]
fn a_released_lease_is_taken_at_once_and_only_the_holder_releases() {
    let mut world = World::new(2);
    world.turn(0);
    world.turn(1);
    world.release(1);
    assert_eq!(world.spec().holder_identity.as_deref(), Some("replica-0"));
    world.release(0);
    assert!(!world.may_write(0));
    let spec = world.spec();
    assert_eq!((&spec.holder_identity, spec.lease_duration_seconds), (&None, Some(1)));
    assert_eq!(world.turn(1), Some(Change::Acquired));
    assert!(world.spec().acquire_time.is_some());
}

#[test]
fn a_renewal_keeps_the_time_of_the_acquisition() {
    let mut world = World::new(1);
    world.turn(0);
    let acquired = world.spec().acquire_time.clone();
    world.replicas[0].wall += Duration::from_secs(9);
    world.turn(0);
    assert_eq!(world.spec().acquire_time, acquired);
    assert_ne!(world.spec().renew_time, acquired);
}

#[test]
fn a_short_duration_of_another_replica_is_not_trusted() {
    let mut world = World::new(2);
    world.turn(0);
    let lease = world.server.lease.as_mut().unwrap();
    lease.spec.as_mut().unwrap().lease_duration_seconds = Some(0);
    world.turn(1);
    world.advance(limits::LEASE_DURATION_MIN - Duration::from_millis(1));
    assert_eq!(world.turn(1), None);
    world.advance(Duration::from_millis(1));
    assert_eq!(world.turn(1), Some(Change::Acquired));
}
