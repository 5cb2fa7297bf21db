//! A cache of key sets of one kind, and the decision whether a set has to be fetched.

use std::{collections::HashMap, sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use grapnel_signature::{KeySet, KeySource, KeysWanted};
use grapnel_values::clock::Clock;
use jiff::Timestamp;
use parking_lot::Mutex;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, timeout, timeout_at},
};

use super::fair_share::FairShare;
use crate::{
    cache::{BoundedCache, InFlightFetch, SingleFlight},
    runtime::limits,
};

/// The result of a fetch; `None` if it has failed.
type Fetched = Option<Arc<KeySet>>;

/// Key sets of one kind, and the fetches of them in flight.
pub(super) struct KeyCache {
    pub(super) known: Arc<KnownKeys>,
    /// Fetches refer to what is known, and end with this.
    flights: SingleFlight<KeySource, Fetched>,
}

/// What is known of key sets, and the bounds on their fetches.
pub(super) struct KnownKeys {
    sets: BoundedCache<KeySource, Known>,
    /// When the last fetch of a set without keys has failed. Separate, so that failures cannot evict keys.
    failed: BoundedCache<KeySource, Timestamp>,
    /// Decides which namespace may begin a fetch.
    fair: Mutex<FairShare>,
    /// Slots of each host with fetches in flight or waiting.
    hosts: Mutex<HashMap<Box<str>, Arc<Semaphore>>>,
    clock: Arc<dyn Clock>,
}

/// One set of keys.
#[derive(Clone)]
struct Known {
    keys: Arc<KeySet>,
    /// When the keys were fetched.
    fetched: Timestamp,
    /// When the last attempt ended, successful or not.
    tried: Timestamp,
}

/// The result of a lookup.
pub(super) enum KeyLookup {
    Keys(Arc<KeySet>),
    Wait(Wait),
    /// No keys, and a fetch has failed recently.
    Nothing,
    /// No keys, and too many other fetches to begin one.
    Busy,
}

/// Waits for a fetch in flight.
pub(super) struct Wait {
    flight: InFlightFetch<Fetched>,
    /// The keys to use if the fetch is slow or fails.
    old: Option<Arc<KeySet>>,
}

/// An attempt to fetch a set. However it ends, even if it is dropped, it is recorded.
pub(super) struct FetchAttempt {
    pub(super) known: Arc<KnownKeys>,
    pub(super) source: KeySource,
    /// The namespace of the endpoint for which it was begun.
    namespace: Box<str>,
    keys: Fetched,
}

/// Permission to fetch one document.
pub(super) struct Slot {
    _host: OwnedSemaphorePermit,
}

impl KeyCache {
    /// A cache of at most `most` sets, and as many failures, that fetches `per_second`.
    pub(super) fn new(most: usize, per_second: u32, clock: Arc<dyn Clock>) -> Self {
        let known = KnownKeys {
            sets: BoundedCache::new(most),
            failed: BoundedCache::new(most),
            fair: Mutex::new(FairShare::new(per_second)),
            hosts: Mutex::default(),
            clock,
        };
        Self { known: Arc::new(known), flights: SingleFlight::default() }
    }

    /// The result for a request to an endpoint in `namespace`. If the set has to be fetched, and that may begin, `fetch`
    /// does so; until it ends, it is the only fetch of the set.
    pub(super) fn look(
        &self,
        wanted: &KeysWanted,
        namespace: &str,
        fetch: impl FnOnce(FetchAttempt) -> BoxFuture<'static, Fetched>,
    ) -> KeyLookup {
        let (known, source) = (&self.known, &wanted.source);
        let old = match known.verdict(wanted) {
            Verdict::Fetch(old) => old,
            Verdict::Have(keys) => return KeyLookup::Keys(keys),
            Verdict::Fail => return KeyLookup::Nothing,
        };
        // A fetch may have ended since.
        let flight = self.flights.join(source, |_| match known.verdict(wanted) {
            Verdict::Fetch(old) => match known.attempt(source, namespace) {
                Some(attempt) => Ok(fetch(attempt)),
                None => Err(old.map_or(KeyLookup::Busy, KeyLookup::Keys)),
            },
            Verdict::Have(keys) => Err(KeyLookup::Keys(keys)),
            Verdict::Fail => Err(KeyLookup::Nothing),
        });
        match flight {
            Ok(flight) => {
                self.flights.keep(source);
                KeyLookup::Wait(Wait { flight, old })
            }
            Err(found) => found,
        }
    }

    /// Number of sets that are known, known to fail, or in flight for the first time.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.known.sets.len() + self.known.failed.len() + self.flights.len()
    }
}

impl KnownKeys {
    fn verdict(&self, wanted: &KeysWanted) -> Verdict {
        let now = self.clock.now();
        match self.sets.get(&wanted.source) {
            Some(known) => known.verdict(wanted, now),
            None if self.failed.get(&wanted.source).is_some_and(|tried| within(now, tried, limits::KEYS_RETRY)) => {
                Verdict::Fail
            }
            None => Verdict::Fetch(None),
        }
    }

    /// Permission for a namespace to fetch a set, if it has a share left.
    fn attempt(self: &Arc<Self>, source: &KeySource, namespace: &str) -> Option<FetchAttempt> {
        let begins = self.fair.lock().begin(namespace, Instant::now());
        begins.then(|| FetchAttempt {
            known: Arc::clone(self),
            source: source.clone(),
            namespace: namespace.into(),
            keys: None,
        })
    }

    /// Records the end of an attempt.
    fn record(&self, source: &KeySource, keys: Fetched) {
        let now = self.clock.now();
        match (keys, self.sets.get(source)) {
            (Some(keys), _) => {
                self.sets.insert(source.clone(), Known { keys, fetched: now, tried: now });
                self.failed.remove(source);
            }
            (None, Some(known)) => self.sets.insert(source.clone(), Known { tried: now, ..known }),
            (None, None) => self.failed.insert(source.clone(), now),
        }
    }

    /// A slot for fetching a document from a host; `None` if none is free in time.
    pub(super) async fn slot(&self, host: &str) -> Option<Slot> {
        let host = {
            let mut hosts = self.hosts.lock();
            if !hosts.contains_key(host) {
                hosts.retain(|_, slots| Arc::strong_count(slots) > 1);
            }
            let slots =
                hosts.entry(host.into()).or_insert_with(|| Semaphore::new(limits::KEYS_AT_ONCE_PER_HOST).into());
            Arc::clone(slots)
        };
        let turn = timeout(limits::KEYS_SLOT_WAIT, host.acquire_owned()).await.ok()?.ok()?;
        Some(Slot { _host: turn })
    }
}

impl Wait {
    /// The fetched keys, or those known before.
    pub(super) async fn keys(self) -> Option<Arc<KeySet>> {
        let until = self.flight.begun() + limits::KEYS_PATIENCE;
        match self.old {
            Some(old) => timeout_at(until, self.flight).await.ok().flatten().or(Some(old)),
            None => self.flight.await,
        }
    }
}

impl FetchAttempt {
    /// Ends the attempt with its keys.
    pub(super) fn land(mut self, keys: KeySet) -> Arc<KeySet> {
        let keys = Arc::new(keys);
        self.keys = Some(Arc::clone(&keys));
        keys
    }
}

impl Drop for FetchAttempt {
    fn drop(&mut self) {
        self.known.record(&self.source, self.keys.take());
        self.known.fair.lock().end(&self.namespace);
    }
}

/// The decision about a set.
enum Verdict {
    Have(Arc<KeySet>),
    /// The keys to use if a fetch is slow, fails or may not begin.
    Fetch(Option<Arc<KeySet>>),
    Fail,
}

impl Known {
    fn verdict(&self, wanted: &KeysWanted, now: Timestamp) -> Verdict {
        let fresh = match wanted.source {
            KeySource::Jwks(_) | KeySource::Issuer(_) => limits::KEYS_FRESH,
            // The content of a certificate's URL does not change.
            KeySource::Certificate(_) => limits::CERTIFICATE_FRESH,
        };
        let has_key = wanted.id.as_deref().is_none_or(|id| self.keys.has(id));
        if within(now, self.fetched, fresh) && has_key {
            return Verdict::Have(Arc::clone(&self.keys));
        }
        // A token that names a key missing from a recent set is made up, or arrived too early.
        let tried = within(now, self.tried, limits::KEYS_PAUSE);
        match (tried, self.usable(now)) {
            (true, Some(keys)) => Verdict::Have(keys),
            (true, None) => Verdict::Fail,
            (false, old) => Verdict::Fetch(old),
        }
    }

    /// The keys, even if a fetch was due and failed.
    fn usable(&self, now: Timestamp) -> Option<Arc<KeySet>> {
        let age = now.duration_since(self.fetched).unsigned_abs();
        (age <= limits::KEYS_STALE).then(|| Arc::clone(&self.keys))
    }
}

/// Whether a time is less than `age` away from now. In both directions: a clock that was set back must not make keys
/// fresh.
fn within(now: Timestamp, time: Timestamp, age: Duration) -> bool {
    now.duration_since(time).unsigned_abs() < age
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use grapnel_values::clock::ManualClock;

    use super::*;

    const SET: &[u8] =
        br#"{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"a","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;

    fn wanted(number: usize) -> KeysWanted {
        KeysWanted { source: KeySource::Jwks(format!("https://issuer.example/{number}").into()), id: None }
    }

    fn cache(most: usize) -> KeyCache {
        let clock = ManualClock::new(Timestamp::from_second(1_700_000_000).unwrap());
        KeyCache::new(most, 1000, Arc::new(clock))
    }

    /// Looks for a set whose fetch ends at once, with keys or without. Returns whether it was fetched.
    async fn fetch(cache: &KeyCache, number: usize, succeeds: bool) -> bool {
        let end = |attempt: FetchAttempt| {
            let keys = succeeds.then(|| KeySet::jwks(SET).unwrap());
            async move { keys.map(|keys| attempt.land(keys)) }.boxed()
        };
        match cache.look(&wanted(number), "shop", end) {
            KeyLookup::Wait(wait) => {
                wait.keys().await;
                true
            }
            KeyLookup::Keys(_) | KeyLookup::Nothing | KeyLookup::Busy => false,
        }
    }

    #[tokio::test]
    async fn sets_and_failures_are_bounded_and_failures_evict_no_set() {
        let cache = cache(3);
        for number in 0..3 {
            assert!(fetch(&cache, number, true).await);
        }
        for number in 10..20 {
            assert!(fetch(&cache, number, false).await);
            assert!(!fetch(&cache, number, false).await, "the failure is remembered");
        }
        assert_eq!((cache.known.sets.len(), cache.known.failed.len(), cache.flights.len()), (3, 3, 0));
        assert!(!fetch(&cache, 0, true).await, "it is still known, and the least recently used no more");
        assert!(fetch(&cache, 3, true).await);
        assert_eq!(cache.len(), 6);
        assert!(!fetch(&cache, 0, true).await && fetch(&cache, 1, true).await);
    }

    #[tokio::test]
    async fn what_is_fetched_is_not_forgotten() {
        let cache = cache(1);
        let never = |attempt| {
            async move {
                std::future::pending::<()>().await;
                drop(attempt);
                None
            }
            .boxed()
        };
        let wait = |found| match found {
            KeyLookup::Wait(wait) => wait.flight,
            KeyLookup::Keys(_) | KeyLookup::Nothing | KeyLookup::Busy => panic!("there is no fetch"),
        };
        let flight = wait(cache.look(&wanted(0), "shop", never));
        for number in 1..10 {
            fetch(&cache, number, number % 2 == 0).await;
        }
        let second = wait(cache.look(&wanted(0), "shop", |_| panic!("it is being fetched")));
        assert!(flight.ptr_eq(&second));
    }

    #[tokio::test]
    async fn an_attempt_that_is_dropped_counts() {
        let cache = cache(3);
        let dropped = |attempt| {
            drop(attempt);
            std::future::pending().boxed()
        };
        assert!(matches!(cache.look(&wanted(0), "shop", dropped), KeyLookup::Wait(_)));
        assert!(matches!(cache.look(&wanted(0), "shop", |_| panic!("it has just failed")), KeyLookup::Nothing));
    }
}
