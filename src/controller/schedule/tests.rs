use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::controller::write_budget::WriteBudgets;

const INTERVAL: Duration = Duration::from_secs(60);
const PER_SECOND: u32 = 10;

const fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// An API server that takes a while for each write, and an operator that writes whatever the schedule names.
struct World {
    start: Instant,
    now: Instant,
    schedule: Schedule<u32, u32>,
    latency: Duration,
    /// Writes in flight: when they end, and of which object.
    flights: BTreeSet<(Instant, u32)>,
    /// Every try: when it began, of which object, and what it was for.
    tries: Vec<(Duration, u32, Due)>,
    /// Successful writes by object.
    written: BTreeMap<u32, Vec<Duration>>,
}

impl World {
    /// Objects of one lane whose counters change all the time.
    fn new(objects: u32, latency: u64) -> Self {
        Self::with_lanes(objects, latency, |_| 0)
    }

    fn with_lanes(objects: u32, latency: u64, lane_of: fn(&u32) -> u32) -> Self {
        let start = Instant::now();
        let mut schedule = Schedule::new(INTERVAL, WriteBudgets::new(PER_SECOND).counters, lane_of);
        (0..objects).for_each(|object| schedule.add_with_counters(&object, start));
        let (flights, tries, written) = (BTreeSet::new(), Vec::new(), BTreeMap::new());
        Self { start, now: start, schedule, latency: millis(latency), flights, tries, written }
    }

    /// Runs until that time. `answer` says of an object and a time whether the write succeeds.
    fn run(&mut self, until: Duration, answer: impl Fn(u32, Duration) -> Result<(), Refusal>) {
        let until = self.start + until;
        loop {
            while let Some((key, due)) = self.schedule.next(self.now) {
                self.schedule.began(&key, self.now);
                assert!(self.flights.iter().all(|(_, other)| *other != key), "one write of an object at a time");
                self.flights.insert((self.now + self.latency, key));
                self.tries.push((self.now - self.start, key, due));
            }
            assert!(self.flights.len() <= limits::STATUS_WRITES_AT_ONCE);
            let ends = self.flights.first().map(|(at, _)| *at);
            let Some(next) = ends.into_iter().chain(self.schedule.wake()).min().filter(|next| *next <= until) else {
                self.now = until;
                return;
            };
            self.now = self.now.max(next);
            if ends.is_some_and(|ends| ends <= self.now)
                && let Some((_, key)) = self.flights.pop_first()
            {
                let time = self.now - self.start;
                match answer(key, time) {
                    Ok(()) => {
                        self.schedule.written(&key, self.now);
                        self.written.entry(key).or_default().push(time);
                    }
                    Err(refusal) => {
                        self.schedule.failed(&key, self.now, refusal, 0.5);
                    }
                }
            }
        }
    }

    /// The number of tries in each second.
    fn each_second(&self) -> BTreeMap<u64, usize> {
        let mut seconds = BTreeMap::new();
        for (time, ..) in &self.tries {
            *seconds.entry(time.as_secs()).or_default() += 1;
        }
        seconds
    }
}

fn accepts(_: u32, _: Duration) -> Result<(), Refusal> {
    Ok(())
}

/// The API server fails.
const FAILS: Result<(), Refusal> = Err(Refusal { retry_after: None, is_right_missing: false });

/// The right to write is missing.
const FORBIDS: Result<(), Refusal> = Err(Refusal { retry_after: None, is_right_missing: true });

fn throttles(pause: Duration) -> Result<(), Refusal> {
    Err(Refusal { retry_after: Some(pause), is_right_missing: false })
}

#[test]
fn a_thousand_busy_objects_take_ten_writes_a_second_and_each_its_turn() {
    let mut world = World::new(1000, 5);
    world.run(Duration::from_secs(600), accepts);
    let most = world.each_second().into_values().max();
    assert!(most.is_some_and(|most| (9..=11).contains(&most)), "{most:?}");
    let counts: BTreeSet<_> = (0..1000).map(|object| world.written[&object].len()).collect();
    assert!(counts.iter().all(|count| (5..=6).contains(count)), "{counts:?}");
}

#[test]
fn a_few_busy_objects_are_written_once_an_interval() {
    let mut world = World::new(3, 5);
    world.run(INTERVAL * 10, accepts);
    assert!(world.written.values().all(|times| times.len() == 10), "{:?}", world.written);
}

#[test]
fn conditions_are_written_at_once_whatever_counters_wait() {
    let mut world = World::new(1000, 5);
    world.run(Duration::from_secs(10), accepts);
    world.schedule.conditions_changed(&999, world.now);
    world.run(Duration::from_millis(10_010), accepts);
    assert!(world.tries.contains(&(Duration::from_secs(10), 999, Due::Conditions)), "{:?}", world.tries.last());
}

#[test]
fn an_object_that_flaps_is_slowed_down() {
    let mut world = World::new(1, 5);
    for tenth in 1..3000 {
        world.schedule.conditions_changed(&0, world.now);
        world.run(millis(tenth * 100), accepts);
    }
    let times: Vec<_> = world.tries.iter().map(|(time, ..)| *time).collect();
    let at_once = times.iter().filter(|time| **time < Duration::from_secs(1)).count();
    assert_eq!(at_once, limits::CONDITIONS_BURST as usize);
    assert!((30..=45).contains(&times.len()), "{} in five minutes", times.len());
}

#[test]
fn one_object_that_fails_delays_no_other() {
    let mut world = World::new(100, 5);
    world.run(Duration::from_secs(600), |object, _| if object == 7 { FAILS } else { Ok(()) });
    assert!((0..100).filter(|object| *object != 7).all(|object| world.written[&object].len() >= 9));
    let tries = world.tries.iter().filter(|(_, object, _)| *object == 7).count();
    assert!((8..=14).contains(&tries), "{tries} tries of the object that fails");
}

#[test]
fn without_the_right_to_write_five_hundred_objects_make_a_few_tries_and_recover_soon() {
    let mut world = World::new(500, 5);
    for object in 0..500 {
        world.schedule.conditions_changed(&object, world.now);
    }
    let granted = Duration::from_secs(300);
    world.run(granted, |_, _| FAILS);
    let seconds = world.each_second();
    assert!(seconds[&0] <= limits::STATUS_WRITES_AT_ONCE + 4, "{seconds:?}");
    assert!(seconds.iter().skip(1).all(|(_, tries)| *tries <= 2), "{seconds:?}");
    let probed: BTreeSet<_> = world.tries.iter().map(|(_, object, _)| *object).collect();
    assert!(world.tries.len() > 30, "{:?}", world.tries);
    assert_eq!(probed.len(), world.tries.len(), "each probe is of another object");
    for object in 0..500 {
        world.schedule.conditions_changed(&object, world.now);
    }
    world.run(granted + limits::STATUS_PROBE_MAX + Duration::from_secs(2), accepts);
    assert_eq!(world.written.len(), 500, "every status is written soon after the right is granted");
}

/// The number of refused writes of these objects within a time.
fn tries(world: &World, from: u64, until: u64, of: impl Fn(u32) -> bool) -> usize {
    let within = Duration::from_secs(from)..Duration::from_secs(until);
    world.tries.iter().filter(|(time, object, _)| within.contains(time) && of(*object)).count()
}

#[test]
fn a_right_that_five_hundred_live_objects_lose_costs_a_few_tries_a_minute() {
    // In one namespace, in twenty, and each in its own.
    for lane_of in [|_: &u32| 0, |object: &u32| object % 20, |object: &u32| *object] {
        let mut world = World::with_lanes(500, 5, lane_of);
        world.run(Duration::from_secs(120), accepts);
        let lost = Duration::from_secs(600);
        world.run(lost, |_, _| FORBIDS);
        let first = tries(&world, 120, 180, |_| true);
        assert!(first <= limits::STATUS_WRITES_AT_ONCE + 14, "{first} in the first minute");
        for minute in 3..10 {
            let tries = tries(&world, minute * 60, (minute + 1) * 60, |_| true);
            assert!((4..=8).contains(&tries), "{tries} in minute {minute}");
        }
        world.written.clear();
        world.run(lost + limits::STATUS_PROBE_MAX + INTERVAL, accepts);
        assert_eq!(world.written.len(), 500, "all are written soon after the right is granted");
    }
}

#[test]
fn a_right_that_is_missing_from_the_start_costs_a_few_tries_a_minute() {
    let mut world = World::with_lanes(500, 5, |object| *object);
    for object in 0..500 {
        world.schedule.conditions_changed(&object, world.now);
    }
    world.run(Duration::from_secs(300), |_, _| FORBIDS);
    let first = tries(&world, 0, 60, |_| true);
    assert!(first <= limits::STATUS_WRITES_AT_ONCE + 14, "{first} in the first minute");
    assert!((4..=8).contains(&tries(&world, 60, 120, |_| true)));
}

#[test]
fn namespaces_that_are_refused_do_not_delay_the_others() {
    // Forty namespaces of ten objects: those of the even ones are refused from the third minute on.
    let mut world = World::with_lanes(400, 5, |object| object % 40);
    let (minute, is_refused) = (INTERVAL, |object: u32| object.is_multiple_of(2));
    world.run(minute * 2, accepts);
    let answer = |object: u32, _| if is_refused(object) { FORBIDS } else { Ok(()) };
    world.run(minute * 4, answer);
    let first = tries(&world, 120, 180, is_refused);
    assert!(first <= 60, "each namespace a few times: {first} in the first minute");
    for end in 5..10 {
        world.run(minute * end, answer);
        let tries = tries(&world, u64::from(end - 1) * 60, u64::from(end) * 60, is_refused);
        assert!(tries <= 8, "{tries} in minute {end}");
    }
    let late = |(_, times): &(&u32, &Vec<Duration>)| times.windows(2).any(|pair| pair[1] - pair[0] > minute * 3 / 2);
    let late: Vec<_> = world.written.iter().filter(|(object, _)| !is_refused(**object)).filter(late).collect();
    assert!(late.is_empty(), "written later than an interval: {late:?}");
    // Each has its turn, and what is urgent is written at once, in a new namespace too.
    let probed: BTreeSet<_> = world.tries.iter().filter(|(time, ..)| *time > minute * 4).map(|it| it.1 % 40).collect();
    assert_eq!(probed.len(), 40);
    world.schedule.conditions_changed(&1, world.now);
    world.run(minute * 9 + millis(10), answer);
    assert!(world.tries.contains(&(minute * 9, 1, Due::Conditions)));
}

#[test]
fn a_new_namespace_waits_for_no_refused_ones() {
    let mut world = World::with_lanes(40, 5, |object| *object);
    world.run(INTERVAL, accepts);
    // One namespace is written, all others are refused.
    world.run(INTERVAL * 4, |object, _| if object == 0 { Ok(()) } else { FORBIDS });
    for object in 100..120 {
        world.schedule.add(&object);
        world.schedule.conditions_changed(&object, world.now);
    }
    let answer = |object: u32, _| if [0, 110].contains(&object) { Ok(()) } else { FORBIDS };
    world.run(INTERVAL * 4 + limits::STATUS_NEW_PROBE_MAX * 20, answer);
    assert!(world.written.contains_key(&110));
    let refused = tries(&world, 240, 260, |object| object >= 100);
    assert!(refused <= 25, "{refused}");
}

#[test]
fn a_lane_that_cannot_be_written_delays_no_other() {
    let mut world = World::with_lanes(400, 5, |object| object % 2);
    for object in 0..400 {
        world.schedule.conditions_changed(&object, world.now);
    }
    world.run(Duration::from_secs(30), |object, _| if object % 2 == 0 { FAILS } else { Ok(()) });
    assert_eq!(world.written.len(), 200);
    let tries = world.tries.iter().filter(|(_, object, _)| object % 2 == 0).count();
    assert!(tries <= limits::STATUS_WRITES_AT_ONCE + 10, "{tries}");
}

#[test]
fn the_pause_that_the_server_requests_is_kept() {
    let mut world = World::new(50, 5);
    let pause = Duration::from_secs(30);
    world.run(pause, |_, _| throttles(pause));
    let began = world.tries.len();
    assert!(began <= limits::STATUS_WRITES_AT_ONCE, "{began}");
    world.run(Duration::from_secs(120), |_, _| throttles(Duration::from_secs(3600)));
    assert_eq!(world.tries.len(), began + 1, "one probe, and a pause that is not unbounded");
    world.run(Duration::from_secs(40) + limits::RETRY_AFTER_MAX, accepts);
    assert!(world.written.len() > 40);
}

#[test]
fn a_write_that_began_before_a_request_to_pause_does_not_end_the_pause() {
    let mut world = World::new(50, 5);
    world.run(millis(1), accepts);
    world.run(Duration::from_secs(10), accepts);
    let before = world.tries.len();
    for object in 0..50 {
        world.schedule.conditions_changed(&object, world.now);
    }
    world.written.clear();
    // An API server that throttles rejects some of the writes that arrive together, and accepts others.
    let pause = Duration::from_secs(30);
    world.run(pause, |object, _| if object % 2 == 0 { throttles(pause) } else { Ok(()) });
    let tries = world.tries.len() - before;
    assert!((2..=limits::STATUS_WRITES_AT_ONCE).contains(&tries), "{:?}", world.tries);
    world.run(pause * 3, accepts);
    assert_eq!(world.written.len(), 50);
}

#[test]
fn a_held_object_waits_even_if_its_conditions_change() {
    let mut world = World::new(1, 5);
    world.run(millis(100), accepts);
    let until = world.now + Duration::from_secs(20);
    world.schedule.hold(&0, until);
    world.schedule.conditions_changed(&0, world.now);
    world.run(Duration::from_secs(19), accepts);
    assert_eq!(world.tries.len(), 1);
    world.run(Duration::from_secs(21), accepts);
    assert_eq!(world.tries.len(), 2);
}

#[test]
fn what_needs_no_write_uses_no_budget() {
    let now = Instant::now();
    let mut schedule = Schedule::new(INTERVAL, WriteBudgets::new(PER_SECOND).counters, |_| 0);
    (0..100).for_each(|object| schedule.add_with_counters(&object, now));
    let mut looked = 0;
    while let Some((key, due)) = schedule.next(now) {
        assert_eq!(due, Due::Counters);
        schedule.unchanged(&key, now);
        looked += 1;
    }
    assert_eq!((looked, schedule.wake()), (100, Some(now + INTERVAL)));
    schedule.remove(&0);
    assert!(schedule.next(now + INTERVAL).is_some_and(|(key, _)| key != 0));
}

proptest! {
    #[test]
    fn the_bounds_hold_whatever_fails_and_everything_is_written_in_the_end(
        objects in 1..60_u32,
        latency in 1..400_u64,
        // Which objects fail, and during which periods all of them do, in seconds.
        failing in prop::collection::hash_set(0..60_u32, 0..10),
        outages in prop::collection::vec((0..400_u64, 1..60_u64), 0..4),
        changes in prop::collection::vec((0..60_u32, 1..20_u64), 0..100),
    ) {
        let mut world = World::new(objects, latency);
        let is_out = |time: Duration| outages.iter().any(|(begin, long)| (*begin..begin + long).contains(&time.as_secs()));
        let answer = |object: u32, time: Duration| {
            if is_out(time) || (failing.contains(&object) && time.as_secs() < 500) { FAILS } else { Ok(()) }
        };
        let mut time = Duration::ZERO;
        for (object, pause) in changes {
            world.schedule.conditions_changed(&object, world.now);
            time += Duration::from_secs(pause);
            world.run(time, answer);
        }
        let end = time.max(Duration::from_secs(500)) + limits::STATUS_RETRY_MAX + INTERVAL * 2;
        world.run(end, answer);
        let counters: Vec<_> = world.tries.iter().filter(|(.., due)| *due == Due::Counters).collect();
        for pair in counters.windows(2) {
            prop_assert!(pair[1].0 - pair[0].0 >= Duration::from_secs(1) / PER_SECOND, "{pair:?}");
        }
        for object in 0..objects {
            let last = world.written.get(&object).and_then(|times| times.last());
            prop_assert!(last.is_some_and(|last| *last >= Duration::from_secs(500)), "{object}: {last:?}");
        }
    }
}
