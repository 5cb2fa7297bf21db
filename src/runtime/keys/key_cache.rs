//! A cache of key sets of one kind, which also bounds the fetches of all of them together.

use std::{collections::HashMap, sync::Arc, time::Duration};

use grapnel_signature::{KeySet, KeySource, KeysWanted};
use grapnel_values::clock::Clock;
use jiff::Timestamp;
use parking_lot::Mutex;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    time::{Instant, timeout, timeout_at},
};

use super::fair_share::FairShare;
use crate::runtime::limits;

/// Key sets of one kind.
pub(super) struct KeyCache {
    sets: Mutex<HashMap<KeySource, Known>>,
    /// Maximum number of sets.
    most: usize,
    /// Decides which namespace may begin a fetch.
    fair: Mutex<FairShare>,
    /// Slots of each host with fetches in flight or waiting.
    hosts: Mutex<HashMap<Box<str>, Arc<Semaphore>>>,
}

/// One set of keys.
#[derive(Default)]
struct Known {
    keys: Option<Arc<KeySet>>,
    /// When the keys were fetched.
    fetched: Option<Timestamp>,
    /// When the last attempt ended, successful or not.
    tried: Option<Timestamp>,
    used: Option<Timestamp>,
    /// The fetch in flight.
    flight: Option<Watched>,
}

/// A fetch in flight, as its waiters see it.
#[derive(Clone)]
struct Watched {
    landing: watch::Receiver<Option<Arc<KeySet>>>,
    /// Until when requests with usable keys wait for it.
    until: Instant,
}

/// The result of a lookup.
pub(super) enum Found {
    Keys(Arc<KeySet>),
    Wait(Wait),
    /// No keys, and a fetch has failed recently.
    Nothing,
    /// No keys, and too many other fetches to begin one.
    Busy,
}

/// Waits for a fetch in flight.
pub(super) struct Wait {
    watched: Watched,
    /// The keys to use if the fetch is slow or fails.
    old: Option<Arc<KeySet>>,
}

/// A fetch. However it ends, even if it is dropped, the attempt is recorded.
pub(super) struct InFlightFetch {
    lane: Arc<KeyCache>,
    source: KeySource,
    /// The namespace of the endpoint for which it was begun.
    namespace: Box<str>,
    clock: Arc<dyn Clock>,
    landing: watch::Sender<Option<Arc<KeySet>>>,
    keys: Option<Arc<KeySet>>,
}

/// Permission to fetch one document.
pub(super) struct Slot {
    _host: OwnedSemaphorePermit,
}

impl KeyCache {
    /// A cache of at most `most` sets that fetches `per_second`.
    pub(super) fn new(most: usize, per_second: u32) -> Arc<Self> {
        let fair = Mutex::new(FairShare::new(per_second));
        Arc::new(Self { sets: Mutex::default(), most, fair, hosts: Mutex::default() })
    }

    /// The result for a request to an endpoint in `namespace`, and the fetch if one has to be begun. Until that is
    /// dropped, it is the only one of its set.
    pub(super) fn look(
        self: &Arc<Self>,
        wanted: &KeysWanted,
        namespace: &str,
        clock: &Arc<dyn Clock>,
    ) -> (Found, Option<InFlightFetch>) {
        let now = clock.now();
        let source = &wanted.source;
        let mut sets = self.sets.lock();
        let old = match sets.get_mut(source) {
            Some(known) => {
                known.used = Some(now);
                match known.verdict(wanted, now) {
                    Verdict::Have(keys) => return (Found::Keys(keys), None),
                    Verdict::Fail => return (Found::Nothing, None),
                    Verdict::Fetch => {}
                }
                let old = known.usable(now);
                if let Some(watched) = known.flight.clone() {
                    return (Found::Wait(Wait { watched, old }), None);
                }
                old
            }
            None => None,
        };
        // Checked before anything is evicted for it.
        let busy = old.clone().map_or(Found::Busy, Found::Keys);
        if !self.fair.lock().begin(namespace, Instant::now()) {
            return (busy, None);
        }
        if !self.has_room(&mut sets, source) {
            self.fair.lock().end(namespace);
            return (busy, None);
        }
        let (landing, landed) = watch::channel(None);
        let watched = Watched { landing: landed, until: Instant::now() + limits::KEYS_PATIENCE };
        let known = sets.entry(source.clone()).or_default();
        known.used = Some(now);
        known.flight = Some(watched.clone());
        let flight = InFlightFetch {
            lane: Arc::clone(self),
            source: source.clone(),
            namespace: namespace.into(),
            clock: Arc::clone(clock),
            landing,
            keys: None,
        };
        (Found::Wait(Wait { watched, old }), Some(flight))
    }

    /// Whether there is room for a set. The least recently used set is evicted for it, sets without keys first, but
    /// never one that is being fetched.
    fn has_room(&self, sets: &mut HashMap<KeySource, Known>, source: &KeySource) -> bool {
        if sets.len() < self.most || sets.contains_key(source) {
            return true;
        }
        let idle = sets.iter().filter(|(_, known)| known.flight.is_none());
        let oldest = idle.min_by_key(|(_, known)| (known.keys.is_some(), known.used)).map(|(source, _)| source.clone());
        oldest.and_then(|oldest| sets.remove(&oldest)).is_some()
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

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.sets.lock().len()
    }
}

impl Wait {
    /// The fetched keys, or those known before.
    pub(super) async fn keys(self) -> Option<Arc<KeySet>> {
        let Watched { mut landing, until } = self.watched;
        let landed = async { landing.wait_for(Option::is_some).await.ok().and_then(|keys| keys.clone()) };
        match self.old {
            Some(old) => timeout_at(until, landed).await.ok().flatten().or(Some(old)),
            None => landed.await,
        }
    }
}

impl InFlightFetch {
    pub(super) fn source(&self) -> &KeySource {
        &self.source
    }

    /// Ends the fetch with its keys.
    pub(super) fn land(mut self, keys: KeySet) {
        self.keys = Some(Arc::new(keys));
    }
}

impl Drop for InFlightFetch {
    fn drop(&mut self) {
        let now = self.clock.now();
        let keys = self.keys.take();
        if let Some(known) = self.lane.sets.lock().get_mut(&self.source) {
            known.tried = Some(now);
            known.flight = None;
            if let Some(keys) = &keys {
                known.keys = Some(Arc::clone(keys));
                known.fetched = Some(now);
            }
        }
        self.lane.fair.lock().end(&self.namespace);
        self.landing.send_replace(keys);
    }
}

/// The decision about a set.
enum Verdict {
    Have(Arc<KeySet>),
    Fetch,
    Fail,
}

impl Known {
    fn verdict(&self, wanted: &KeysWanted, now: Timestamp) -> Verdict {
        let fresh = match wanted.source {
            KeySource::Jwks(_) | KeySource::Issuer(_) => limits::KEYS_FRESH,
            // The content of a certificate's URL does not change.
            KeySource::Certificate(_) => limits::CERTIFICATE_FRESH,
        };
        let within = |time: Option<Timestamp>, age: Duration| {
            // A clock that was set back must not make keys fresh.
            time.and_then(|time| now.duration_since(time).unsigned_abs().checked_sub(age)).is_none() && time.is_some()
        };
        let has_key = |keys: &KeySet| wanted.id.as_deref().is_none_or(|id| keys.has(id));
        match &self.keys {
            Some(keys) if within(self.fetched, fresh) && has_key(keys) => Verdict::Have(Arc::clone(keys)),
            // A token that names a key missing from a recent set is made up, or arrived too early.
            Some(keys) if within(self.tried, limits::KEYS_PAUSE) => match self.usable(now) {
                Some(_) => Verdict::Have(Arc::clone(keys)),
                None => Verdict::Fail,
            },
            None if within(self.tried, limits::KEYS_RETRY) => Verdict::Fail,
            Some(_) | None => Verdict::Fetch,
        }
    }

    /// The keys, even if a fetch was due and failed.
    fn usable(&self, now: Timestamp) -> Option<Arc<KeySet>> {
        let fetched = self.fetched?;
        let age = now.duration_since(fetched).unsigned_abs();
        if age <= limits::KEYS_STALE { self.keys.clone() } else { None }
    }
}

#[cfg(test)]
mod tests {
    use grapnel_values::clock::ManualClock;

    use super::*;

    const SET: &[u8] =
        br#"{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"a","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;

    fn wanted(number: usize) -> KeysWanted {
        KeysWanted { source: KeySource::Jwks(format!("https://issuer.example/{number}").into()), id: None }
    }

    #[test]
    fn what_is_fetched_is_not_forgotten_and_what_has_keys_last() {
        let manual = Arc::new(ManualClock::new(Timestamp::from_second(1_700_000_000).unwrap()));
        let clock: Arc<dyn Clock> = manual.clone();
        let lane = KeyCache::new(3, 1000);
        let begin = |number| {
            manual.advance(Duration::from_millis(1));
            lane.look(&wanted(number), "shop", &clock).1
        };
        let known = |number| lane.sets.lock().contains_key(&wanted(number).source);
        begin(0).unwrap().land(KeySet::jwks(SET).unwrap());
        let first = begin(1).unwrap();
        begin(2).unwrap();
        let third = begin(3).unwrap();
        assert!(known(0) && known(1) && !known(2) && known(3), "the only one without keys that is not being fetched");
        let fourth = begin(4).unwrap();
        assert!(!known(0) && known(1) && known(3) && known(4));
        assert!(begin(5).is_none(), "all are being fetched");
        assert!(matches!(lane.look(&wanted(5), "shop", &clock).0, Found::Busy));
        assert_eq!(lane.len(), 3);
        drop((first, third, fourth));
        assert!(begin(5).is_some());
        assert!(!known(1) && known(3) && known(4) && known(5));
    }
}
