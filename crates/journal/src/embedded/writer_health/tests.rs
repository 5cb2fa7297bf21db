use grapnel_api::{Incarnation, ObjectKey};
use proptest::prelude::*;

use super::*;

const SIZE: u64 = 10 << 30;

fn volume(free: u64) -> Option<Volume> {
    Some(Volume { free, size: SIZE })
}

fn io(what: &str) -> JournalError {
    JournalError::Io(what.to_owned(), None)
}

fn full() -> JournalError {
    JournalError::Full("the maximum".to_owned())
}

fn text(error: Option<JournalError>) -> String {
    error.map(|error| error.to_string()).unwrap_or_default()
}

#[test]
fn after_a_failed_write_nothing_is_written_until_a_new_segment_is_begun() {
    let start = Instant::now();
    let mut health = WriterHealth::default();
    assert!(health.look_again().is_none() && !health.try_to_heal(start));
    health.break_off(start, &io("no device"));
    assert!(health.is_broken());
    assert!(matches!(health.write_error(), Some(JournalError::Io(why, None)) if why.contains("no device")));
    assert!(health.append_error().is_some() && health.error(full).is_some());
    assert_eq!(health.look_again(), Some(JOURNAL_HEAL_INTERVAL));

    let interval = JOURNAL_HEAL_INTERVAL;
    assert!(!health.try_to_heal(start + interval - Duration::from_nanos(1)));
    assert!(health.try_to_heal(start + interval));
    assert!(health.not_healed("no device") && health.is_broken());
    assert!(!health.try_to_heal(start + interval), "it has just been tried");
    assert!(health.try_to_heal(start + 2 * interval));
    assert!(!health.not_healed("no device"), "that is known");
    assert!(health.not_healed("read only"));
    health.healed();
    assert!(health.error(full).is_none() && health.look_again().is_none());
}

#[test]
fn a_write_that_fails_for_lack_of_space_says_so() {
    let mut health = WriterHealth::default();
    health.break_off(Instant::now(), &JournalError::Full("no space left".to_owned()));
    assert!(matches!(health.write_error(), Some(JournalError::Full(why)) if why == "no space left"));
}

#[test]
fn a_volume_that_is_nearly_full_rejects_appends_but_no_other_writes() {
    let start = Instant::now();
    let mut health = WriterHealth::default();
    assert!(health.must_look(start));
    health.looked(start, volume(JOURNAL_RESERVE_BYTES));
    assert!(health.is_low() && !health.is_broken() && health.write_error().is_none());
    assert!(text(health.append_error()).contains("only 64 MiB are free"), "{}", text(health.append_error()));
    assert_eq!(health.look_again(), Some(JOURNAL_HEAL_INTERVAL));
    health.looked(start, volume(JOURNAL_RESERVE_BYTES + 1));
    assert!(!health.is_low() && health.append_error().is_none() && health.look_again().is_none());
    // A small volume has a smaller reserve.
    health.looked(start, Some(Volume { free: 1 << 20, size: 4 << 20 }));
    assert!(health.is_low());
    health.looked(start, Some(Volume { free: (1 << 20) + 1, size: 4 << 20 }));
    assert!(!health.is_low());
    health.looked(start, volume(0));
    health.looked(start, None);
    assert!(!health.is_low(), "a volume that reports nothing is written until that fails");
}

#[test]
fn the_smallest_rejected_append_decides_when_the_maximum_is_no_longer_reached() {
    let mut health = WriterHealth::default();
    for (wanted, smallest) in [(500, 500), (900, 500), (100, 100)] {
        health.refuse(wanted);
        assert_eq!(health.refused(), Some(smallest));
    }
    assert!(health.append_error().is_none(), "a smaller append may fit");
    assert_eq!(text(health.error(full)), text(Some(full())));
    health.stored(50);
    assert!(health.refused().is_none() && health.error(full).is_none());
    health.refuse(100);
    health.fits();
    assert!(health.look_again().is_none());
}

#[test]
fn a_share_remembers_the_smallest_append_under_its_present_maximum() {
    let incarnation = Incarnation { key: ObjectKey::new("shop", "orders"), uid: "1".into() };
    let endpoint = Arc::new(Endpoint::new(&incarnation, 1, 1, 1));
    let scope = ShareScope::Endpoint(incarnation.key);
    let mut health = WriterHealth::default();
    for (wanted, max_bytes, expected) in [(500, 1000, 500), (700, 1000, 500), (300, 1000, 300), (700, 2000, 700)] {
        health.refuse_share(scope.clone(), &endpoint, wanted, max_bytes);
        let refused = health.shares.get(&scope).unwrap();
        assert_eq!((refused.wanted, refused.max_bytes), (expected, max_bytes));
    }
    assert!(health.look_again().is_some() && health.error(full).is_none(), "other endpoints are not concerned");
}

#[test]
fn a_failed_write_is_reported_before_other_causes() {
    let start = Instant::now();
    let mut health = WriterHealth::default();
    health.refuse(100);
    health.looked(start, volume(0));
    assert!(text(health.error(full)).contains("MiB are free"));
    health.break_off(start, &io("no device"));
    assert!(text(health.error(full)).contains("no device"));
}

#[derive(Debug, Clone)]
enum Event {
    /// Milliseconds pass.
    Advance(u64),
    /// An append of that many bytes arrives; its write may fail.
    Append(u64, bool),
    /// Something else writes or deletes files on the volume.
    Free(u64),
    /// An append does not fit under the maximum.
    Refuse(u64),
    /// From now on a new segment can be begun, or cannot.
    Repair(bool),
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let reserve = JOURNAL_RESERVE_BYTES;
    let event = prop_oneof![
        4 => (0..1500_u64).prop_map(Event::Advance),
        6 => (1..8_u64 << 20, prop::bool::weighted(0.1)).prop_map(|(bytes, fails)| Event::Append(bytes, fails)),
        1 => (0..4 * reserve).prop_map(Event::Free),
        1 => (1..1000_u64).prop_map(Event::Refuse),
        1 => any::<bool>().prop_map(Event::Repair),
    ];
    prop::collection::vec(event, 0..100)
}

/// A writer and its volume.
struct World {
    now: Instant,
    health: WriterHealth,
    free: u64,
    can_heal: bool,
    /// When the last write failed, until a new segment is begun.
    broken: Option<Instant>,
    /// When it was last tried to begin a segment, and when the volume was checked.
    tried: Option<Instant>,
    looked: Option<Instant>,
    /// Bytes stored since the volume was checked.
    stored: u64,
    rejecting: bool,
}

impl World {
    fn new() -> Self {
        Self {
            now: Instant::now(),
            health: WriterHealth::default(),
            free: 2 * JOURNAL_RESERVE_BYTES,
            can_heal: true,
            broken: None,
            tried: None,
            looked: None,
            stored: 0,
            rejecting: false,
        }
    }

    /// What the writer does at the beginning of a round.
    fn ease(&mut self) {
        if self.health.try_to_heal(self.now) {
            let last = self.tried.max(self.broken).unwrap();
            assert!(self.now - last >= JOURNAL_HEAL_INTERVAL, "it is tried too often");
            self.tried = Some(self.now);
            if self.can_heal {
                self.health.healed();
                self.broken = None;
            } else {
                self.health.not_healed("not yet");
            }
        } else if let Some(last) = self.broken.map(|broken| self.tried.map_or(broken, |tried| tried.max(broken))) {
            assert!(self.now - last < JOURNAL_HEAL_INTERVAL, "it is not tried though it is time");
        }
        if self.broken.is_none() && self.health.is_low() {
            self.look();
        }
    }

    fn look(&mut self) {
        if self.health.must_look(self.now) {
            let early = self.looked.is_some_and(|looked| self.now - looked < JOURNAL_HEAL_INTERVAL);
            assert!(!early || self.stored > 0 || self.health.is_low(), "nothing was written since the last check");
            self.health.looked(self.now, volume(self.free));
            (self.looked, self.stored) = (Some(self.now), 0);
        }
    }

    fn append(&mut self, bytes: u64, fails: bool) {
        if !self.health.is_broken() {
            self.look();
        }
        if self.health.append_error().is_some() {
            return;
        }
        assert!(self.broken.is_none(), "nothing is written after a failed write");
        if fails {
            self.health.break_off(self.now, &io("no device"));
            (self.broken, self.tried) = (Some(self.now), None);
            return;
        }
        assert!(self.stored <= JOURNAL_SPACE_STEP, "so much was written without a check");
        self.free = self.free.saturating_sub(bytes);
        self.stored += bytes;
        self.health.stored(bytes);
    }

    fn check(&mut self) {
        assert_eq!(self.health.is_broken(), self.broken.is_some());
        assert_eq!(self.health.write_error().is_some(), self.broken.is_some());
        let rejecting = self.health.error(full).is_some();
        assert!(!rejecting || self.health.look_again().is_some(), "it would wait for ever");
        let expected = match (self.rejecting, rejecting) {
            (false, true) => Some(Report::Began),
            (true, true) => Some(Report::Lasts),
            (true, false) => Some(Report::Ended),
            (false, false) => None,
        };
        assert_eq!(self.health.report(rejecting), expected);
        self.rejecting = rejecting;
    }
}

proptest! {
    #[test]
    fn nothing_is_written_after_a_failure_and_every_cause_ends(events in events()) {
        let mut world = World::new();
        for event in events {
            match event {
                Event::Advance(millis) => world.now += Duration::from_millis(millis),
                Event::Append(bytes, fails) => {
                    world.ease();
                    world.append(bytes, fails);
                }
                Event::Free(free) => world.free = free,
                Event::Refuse(wanted) => world.health.refuse(wanted),
                Event::Repair(possible) => world.can_heal = possible,
            }
            world.check();
        }
        // When the causes are gone, the next check accepts appends.
        (world.free, world.can_heal) = (SIZE, true);
        world.now += JOURNAL_HEAL_INTERVAL;
        world.ease();
        world.health.fits();
        world.check();
        prop_assert!(world.health.error(full).is_none() && world.health.look_again().is_none());
    }

    #[test]
    fn appends_alone_take_one_append_of_the_reserve_at_most(appends in prop::collection::vec(1..8_u64 << 20, 1..200)) {
        let mut world = World::new();
        for bytes in appends {
            let free = world.free;
            world.append(bytes, false);
            prop_assert!(free > JOURNAL_RESERVE_BYTES || world.free == free, "{} are free", free);
        }
    }
}
