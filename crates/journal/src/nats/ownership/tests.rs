//! Ownership over a registry in memory, in paused time.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{StreamExt, stream::FuturesUnordered};
use parking_lot::Mutex;
use tokio::{
    sync::watch,
    time::{Instant, sleep, timeout},
};

use super::{
    Held, Ownership, Registry, RegistryError, Row, Tenancy, Timings,
    clock::{BootClock, BootTime},
    membership::Membership,
};

const SHARDS: u16 = 16;

#[derive(Default)]
struct MemoryRegistry {
    state: Mutex<(BTreeMap<String, Row>, u64)>,
    broken: AtomicBool,
    /// Duration of each call.
    latency: Duration,
    calls: AtomicUsize,
    most_calls: AtomicUsize,
}

impl MemoryRegistry {
    async fn call(&self) -> Result<(), RegistryError> {
        let calls = self.calls.fetch_add(1, Ordering::SeqCst) + 1;
        self.most_calls.fetch_max(calls, Ordering::SeqCst);
        sleep(self.latency).await;
        self.calls.fetch_sub(1, Ordering::SeqCst);
        if self.broken.load(Ordering::SeqCst) {
            return Err(RegistryError::Unavailable("broken".to_owned()));
        }
        Ok(())
    }

    fn keys(&self) -> Vec<String> {
        self.state.lock().0.keys().cloned().collect()
    }

    fn put(&self, key: &str, value: &'static [u8]) {
        let (rows, revision) = &mut *self.state.lock();
        *revision += 1;
        rows.insert(key.to_owned(), Row { value: Bytes::from_static(value), revision: *revision });
    }
}

#[async_trait]
impl Registry for MemoryRegistry {
    async fn read(&self, key: &str) -> Result<Option<Row>, RegistryError> {
        self.call().await?;
        Ok(self.state.lock().0.get(key).cloned())
    }

    async fn read_all(&self, prefix: &str) -> Result<Vec<(String, Row)>, RegistryError> {
        self.call().await?;
        let state = self.state.lock();
        let rows = state.0.iter().filter(|(key, _)| key.starts_with(prefix));
        Ok(rows.map(|(key, row)| (key.clone(), row.clone())).collect())
    }

    async fn write(&self, key: &str, value: Bytes, expected: u64) -> Result<u64, RegistryError> {
        self.call().await?;
        let (rows, revision) = &mut *self.state.lock();
        if rows.get(key).map_or(0, |row| row.revision) != expected {
            return Err(RegistryError::Conflict);
        }
        *revision += 1;
        rows.insert(key.to_owned(), Row { value, revision: *revision });
        Ok(*revision)
    }

    async fn remove(&self, key: &str, revision: u64) -> Result<(), RegistryError> {
        self.call().await?;
        let rows = &mut self.state.lock().0;
        if rows.get(key).is_some_and(|row| row.revision == revision) {
            rows.remove(key);
        }
        Ok(())
    }
}

/// A replica of the test.
struct Replica {
    ownership: Ownership,
    held: watch::Receiver<Arc<Held>>,
}

impl Replica {
    fn start(registry: &Arc<MemoryRegistry>, name: &str, shards: u16) -> Self {
        let registry = Arc::clone(registry) as Arc<dyn Registry>;
        let clock = BootClock::Tokio(Instant::now());
        let (ownership, held) = Ownership::start_with(clock, registry, name.to_owned(), shards, Timings::default());
        Self { ownership, held }
    }

    /// Waits until it owns what `expected` says, and returns how long that took.
    async fn until(&mut self, expected: impl FnMut(&Arc<Held>) -> bool) -> Duration {
        let began = Instant::now();
        timeout(Duration::from_secs(300), self.held.wait_for(expected)).await.expect("in time").expect("a task");
        began.elapsed()
    }

    async fn until_all(&mut self, shards: u16) -> Duration {
        self.until(|held| held.shards.len() == usize::from(shards)).await
    }

    fn shards(&self) -> BTreeSet<u16> {
        self.held.borrow().shards.keys().copied().collect()
    }

    fn tenancy(&self, shard: u16) -> Tenancy {
        self.held.borrow().shards[&shard].clone()
    }
}

fn registry() -> Arc<MemoryRegistry> {
    Arc::new(MemoryRegistry { latency: Duration::from_millis(2), ..MemoryRegistry::default() })
}

#[tokio::test(start_paused = true)]
async fn a_single_replica_takes_every_shard_at_once_and_keeps_it() {
    let registry = registry();
    let mut only = Replica::start(&registry, "a", SHARDS);
    assert!(only.until_all(SHARDS).await < Duration::from_secs(1));
    let tenancies: Vec<Tenancy> = only.held.borrow().shards.values().cloned().collect();
    sleep(Duration::from_secs(300)).await;
    assert!(tenancies.iter().all(Tenancy::is_valid));
    assert!(!only.held.has_changed().unwrap());
    assert_eq!(only.ownership.members(), 1);
}

#[tokio::test(start_paused = true)]
async fn shards_that_are_released_have_another_owner_at_once() {
    let registry = registry();
    let (mut first, mut second) = (Replica::start(&registry, "a", SHARDS), Replica::start(&registry, "b", SHARDS));
    let both = |a: &Replica, b: &Replica| a.shards().len() + b.shards().len() == usize::from(SHARDS);
    first.until(|held| !held.shards.is_empty()).await;
    second.until(|held| !held.shards.is_empty()).await;
    sleep(Duration::from_secs(60)).await;
    assert!(both(&first, &second));
    assert_eq!((first.ownership.members(), second.ownership.members()), (2, 2));
    let old: Vec<Tenancy> = first.held.borrow().shards.values().cloned().collect();
    first.ownership.release().await;
    assert!(old.iter().all(|tenancy| !tenancy.is_valid()));
    assert!(first.shards().is_empty());
    assert!(!registry.keys().contains(&"member.a".to_owned()));
    assert!(second.until_all(SHARDS).await < Duration::from_secs(2));
}

#[tokio::test(start_paused = true)]
async fn a_shard_moves_once_nothing_is_in_flight_or_its_time_is_over() {
    let registry = registry();
    let mut first = Replica::start(&registry, "a", SHARDS);
    first.until_all(SHARDS).await;
    sleep(Duration::from_secs(60)).await;
    let _second = Replica::start(&registry, "b", SHARDS);
    let tenancies: Vec<Tenancy> = first.held.borrow().shards.values().cloned().collect();
    let mut closing: FuturesUnordered<_> = tenancies
        .iter()
        .map(|it| async move {
            it.closing().await;
            it.clone()
        })
        .collect();
    // One whose deliveries end, and one whose do not.
    for (drains, least, most) in [(true, 0.0, 1.0), (false, 4.9, 6.0)] {
        let tenancy = closing.next().await.expect("a shard that moves");
        assert!(tenancy.is_valid() && tenancy.is_closing());
        let begun = Instant::now();
        if drains {
            tenancy.drained();
        }
        tenancy.ended().await;
        let took = begun.elapsed().as_secs_f64();
        assert!((least..most).contains(&took), "{took} s, although drains is {drains}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_shards_of_a_crashed_replica_are_taken_once_its_leases_expire() {
    let registry = registry();
    let mut crashed = Replica::start(&registry, "a", SHARDS);
    crashed.until_all(SHARDS).await;
    let tenancy = crashed.tenancy(3);
    let mut successor = Replica::start(&registry, "b", SHARDS);
    sleep(Duration::from_secs(5)).await;
    drop(crashed.ownership);
    timeout(Duration::from_secs(1), tenancy.ended()).await.expect("its tenancies end with it");
    let took = successor.until_all(SHARDS).await;
    assert!(took > Duration::from_secs(6), "only after {took:?}");
    assert!(took < Duration::from_secs(12), "after {took:?}");
    assert!(successor.tenancy(3).epoch > tenancy.epoch);
    // Its member row is removed in time.
    sleep(Duration::from_secs(90)).await;
    assert!(!registry.keys().contains(&"member.a".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn tenancies_run_out_while_the_registry_fails_and_begin_again_after_it() {
    let registry = registry();
    let mut only = Replica::start(&registry, "a", SHARDS);
    only.until_all(SHARDS).await;
    let before = only.tenancy(0);
    registry.broken.store(true, Ordering::SeqCst);
    let began = Instant::now();
    before.ended().await;
    assert!(began.elapsed() <= Duration::from_secs(7), "the deadline counts from the last renewal that succeeded");
    assert!(!before.is_valid());
    only.until(|held| held.shards.is_empty()).await;
    sleep(Duration::from_secs(60)).await;
    registry.broken.store(false, Ordering::SeqCst);
    assert!(only.until_all(SHARDS).await < Duration::from_secs(2), "no other replica wants them");
    assert!(only.tenancy(0).epoch > before.epoch);
    assert!(!before.is_valid(), "a tenancy that has ended stays ended");
}

#[tokio::test(start_paused = true)]
async fn a_new_replica_gets_its_share_once_it_has_been_alive_for_a_while() {
    let registry = registry();
    let mut first = Replica::start(&registry, "a", SHARDS);
    first.until_all(SHARDS).await;
    let mut second = Replica::start(&registry, "b", SHARDS);
    let took = second.until(|held| !held.shards.is_empty()).await;
    assert!(took >= Timings::default().join, "after {took:?}");
    sleep(Duration::from_secs(30)).await;
    let (ours, theirs) = (first.shards(), second.shards());
    assert!(ours.is_disjoint(&theirs), "{ours:?} {theirs:?}");
    assert_eq!(ours.len() + theirs.len(), usize::from(SHARDS));
    assert!(!ours.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_shard_that_a_replica_cannot_use_goes_to_another_one() {
    let registry = registry();
    let mut first = Replica::start(&registry, "a", SHARDS);
    first.until_all(SHARDS).await;
    let mut second = Replica::start(&registry, "b", SHARDS);
    sleep(Duration::from_secs(90)).await;
    let shard = *first.shards().first().unwrap();
    let tenancy = first.tenancy(shard);
    first.ownership.give_back(shard).await;
    assert!(!tenancy.is_valid());
    assert!(!first.shards().contains(&shard));
    assert!(second.until(|held| held.shards.contains_key(&shard)).await < Duration::from_secs(3));
}

#[tokio::test(start_paused = true)]
async fn a_lone_replica_tries_a_shard_that_it_cannot_use_again_after_growing_pauses() {
    let registry = registry();
    let mut only = Replica::start(&registry, "a", SHARDS);
    let mut pauses = Vec::new();
    for _ in 0..6 {
        only.until_all(SHARDS).await;
        only.ownership.give_back(7).await;
        pauses.push(only.until(|held| held.shards.contains_key(&7)).await.as_secs());
    }
    assert_eq!(pauses.first(), Some(&3), "{pauses:?}");
    assert!(pauses.is_sorted(), "{pauses:?}");
    assert!(matches!(pauses.last(), Some(30..32)), "{pauses:?}");
}

#[tokio::test(start_paused = true)]
async fn renewals_are_concurrent_within_a_bound() {
    let slow = Arc::new(MemoryRegistry { latency: Duration::from_millis(400), ..MemoryRegistry::default() });
    let mut only = Replica::start(&slow, "a", 64);
    only.until_all(64).await;
    let tenancies: Vec<Tenancy> = only.held.borrow().shards.values().cloned().collect();
    sleep(Duration::from_secs(60)).await;
    assert!(tenancies.iter().all(Tenancy::is_valid), "64 renewals one after the other take 25 seconds");
    let most = slow.most_calls.load(Ordering::SeqCst);
    assert!((9..=16).contains(&most), "{most} calls at once");
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_cannot_be_read_counts_as_held() {
    let registry = registry();
    registry.put("lease.2", b"\xff garbage");
    registry.put("lease.99", b"{}");
    registry.put("member.x", b"[]");
    let mut only = Replica::start(&registry, "a", SHARDS);
    let took = only.until(|held| held.shards.contains_key(&2)).await;
    assert!(took >= Timings::default().expiry, "after {took:?}");
    only.until_all(SHARDS).await;
    assert_eq!(only.tenancy(2).epoch, 2, "more than the row can say: it is the first one");
}

#[tokio::test(start_paused = true)]
async fn release_ends_without_a_registry() {
    let registry = registry();
    let mut only = Replica::start(&registry, "a", SHARDS);
    only.until_all(SHARDS).await;
    registry.broken.store(true, Ordering::SeqCst);
    let tenancy = only.tenancy(0);
    timeout(Duration::from_secs(10), only.ownership.release()).await.expect("bounded");
    assert!(!tenancy.is_valid());
    only.ownership.give_back(0).await;
}

#[tokio::test(start_paused = true)]
async fn a_tenancy_that_was_seen_to_have_ended_cannot_be_extended() {
    let at = |seconds| BootTime::new(Duration::from_secs(seconds));
    let clock = BootClock::Tokio(Instant::now());
    let tenancy = Tenancy::new(1, clock, at(7));
    assert!(tenancy.is_valid() && tenancy.is_valid_at(at(6)));
    assert!(tenancy.extend(at(10), at(6)));
    assert!(tenancy.is_valid_at(at(9)));
    assert!(!tenancy.is_valid_at(at(10)));
    // An answer that was processed with an earlier reading of the clock.
    assert!(!tenancy.extend(at(20), at(9)));
    assert!(!tenancy.is_valid_at(at(0)));

    let late = Tenancy::new(1, clock, at(7));
    assert!(!late.extend(at(20), at(8)), "the process was stopped for too long");
    let began = Instant::now();
    let ending = Tenancy::new(1, clock, at(1_000_000));
    let waits = tokio::spawn({
        let ending = ending.clone();
        async move { ending.ended().await }
    });
    sleep(Duration::from_millis(10)).await;
    ending.end();
    waits.await.unwrap();
    assert!(began.elapsed() < Duration::from_secs(1));
}

#[test]
fn only_the_shards_of_a_replica_move_when_it_goes() {
    let row = Row { value: Bytes::from_static(b"{}"), revision: 1 };
    let expiry = Duration::from_secs(10);
    let members = |names: &[&str]| {
        let mut members = Membership::default();
        members.observe(names.iter().map(|name| (*name, &row)), (BootTime::default(), BootTime::default()), expiry);
        members
    };
    let owner = |members: &Membership, shard| members.desired(shard, Some("a"), None, expiry).map(str::to_owned);
    let (three, two) = (members(&["b", "c"]), members(&["b"]));
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for shard in 0..300 {
        let (before, after) = (owner(&three, shard).unwrap(), owner(&two, shard).unwrap());
        assert!(before == after || before == "c", "shard {shard} moved from {before} to {after}");
        *counts.entry(before).or_default() += 1;
    }
    assert!(counts.len() == 3 && counts.values().all(|count| *count > 60), "{counts:?}");
}
