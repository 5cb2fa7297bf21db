//! Public keys of senders: fetched when they are first asked for, remembered, and fetched again when they grow old or
//! when a token names one that is not among them.
//!
//! Whoever asks has proved nothing yet, so everything is bounded: what is remembered, how often one set is fetched, and
//! how many are fetched in all. What fails is not tried again at once. However many ask for one set, it is fetched once.

use std::{collections::HashMap, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::{FutureExt, future::BoxFuture};
use jiff::Timestamp;
use parking_lot::Mutex;
use serde::Deserialize;
use tokio::sync::Semaphore;
use url::Url;

use crate::{
    dispatch::{Client, FetchError},
    ingress::{KeysUnavailable, RemoteKeys},
    rules::{
        clock::Clock,
        limits,
        ratelimit::{RateLimit, RateLimitError, Scope},
        signature::{KeySet, KeySetError, KeySource, KeysWanted},
    },
};

/// Where documents come from.
pub(super) trait Documents: Send + Sync + 'static {
    /// The document at a URL.
    fn document(&self, url: Url) -> BoxFuture<'_, Result<Bytes, FetchError>>;
}

impl Documents for Client {
    fn document(&self, url: Url) -> BoxFuture<'_, Result<Bytes, FetchError>> {
        self.get(url, limits::KEYS_BYTES, limits::KEYS_TIMEOUT).boxed()
    }
}

/// Why a set of keys cannot be had.
#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error("{0}")]
    Fetch(#[from] FetchError),
    #[error("what is there is of no use: {0}")]
    Keys(#[from] KeySetError),
    #[error("not a URL")]
    Url,
    #[error("the issuer's openid-configuration cannot be read, or names another issuer")]
    Discovery,
    #[error("the issuer's jwks_uri is not https")]
    Insecure,
    #[error("too many keys are fetched at once")]
    Busy,
}

/// Public keys of senders.
pub(super) struct Keys<D> {
    documents: D,
    clock: Arc<dyn Clock>,
    sets: Mutex<HashMap<KeySource, Arc<Set>>>,
    /// For sets that endpoints name, and for those that requests do, so that strangers cannot hold up the former.
    configured: Lane,
    named: Lane,
}

/// How much is fetched.
struct Lane {
    pace: RateLimit,
    slots: Semaphore,
}

/// One set of keys.
#[derive(Default)]
struct Set {
    known: Mutex<Known>,
    /// Whoever fetches.
    fetching: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct Known {
    keys: Option<Arc<KeySet>>,
    /// When the keys were fetched.
    fetched: Option<Timestamp>,
    /// When the last attempt ended, well or not.
    tried: Option<Timestamp>,
    used: Option<Timestamp>,
}

/// What to do about a set.
enum Verdict {
    Have(Arc<KeySet>),
    Fetch,
    Fail,
}

impl<D: Documents> Keys<D> {
    pub(super) fn new(documents: D, clock: Arc<dyn Clock>) -> Result<Arc<Self>, RateLimitError> {
        Ok(Arc::new(Self {
            documents,
            clock,
            sets: Mutex::default(),
            configured: Lane::new(limits::KEYS_PER_SECOND)?,
            named: Lane::new(limits::CERTIFICATES_PER_SECOND)?,
        }))
    }

    async fn find(&self, wanted: &KeysWanted) -> Result<Arc<KeySet>, KeysUnavailable> {
        let set = self.set(&wanted.source);
        if let Verdict::Have(keys) = set.verdict(wanted, self.clock.now()) {
            return Ok(keys);
        }
        // Whoever is second waits for the first, and then finds what that has fetched. When the first gives up, the
        // second fetches itself.
        let _fetching = set.fetching.lock().await;
        match set.verdict(wanted, self.clock.now()) {
            Verdict::Have(keys) => return Ok(keys),
            Verdict::Fail => return Err(KeysUnavailable),
            Verdict::Fetch => {}
        }
        let answer = self.fetch(&wanted.source).await;
        let now = self.clock.now();
        let mut known = set.known.lock();
        known.tried = Some(now);
        match answer {
            Ok(keys) => {
                known.keys = Some(Arc::new(keys));
                known.fetched = Some(now);
            }
            Err(trouble) => complain(&wanted.source, &trouble),
        }
        known.usable(now).ok_or(KeysUnavailable)
    }

    /// What is remembered of a source; when there is no room, what was used longest ago is forgotten, first of what has no
    /// keys.
    fn set(&self, source: &KeySource) -> Arc<Set> {
        let now = self.clock.now();
        let mut sets = self.sets.lock();
        let set = match sets.get(source) {
            Some(set) => Arc::clone(set),
            None => {
                if sets.len() >= limits::KEY_SETS {
                    let rank = |set: &Set| {
                        let known = set.known.lock();
                        (known.keys.is_some(), known.used)
                    };
                    let oldest = sets.iter().min_by_key(|(_, set)| rank(set)).map(|(source, _)| source.clone());
                    oldest.and_then(|oldest| sets.remove(&oldest));
                }
                let set = Arc::<Set>::default();
                sets.insert(source.clone(), Arc::clone(&set));
                set
            }
        };
        set.known.lock().used = Some(now);
        set
    }

    async fn fetch(&self, source: &KeySource) -> Result<KeySet, Trouble> {
        let lane = match source {
            KeySource::Jwks(_) | KeySource::Issuer(_) => &self.configured,
            KeySource::Certificate(_) => &self.named,
        };
        lane.pace.check(None).map_err(|_| Trouble::Busy)?;
        let _slot = lane.slots.acquire().await.map_err(|_| Trouble::Busy)?;
        match source {
            KeySource::Jwks(url) => Ok(KeySet::jwks(&self.document(url).await?)?),
            KeySource::Certificate(url) => Ok(KeySet::certificate(&self.document(url).await?)?),
            KeySource::Issuer(issuer) => {
                let place = format!("{}/.well-known/openid-configuration", issuer.trim_end_matches('/'));
                let text = self.document(&place).await?;
                let found: Discovery = serde_json::from_slice(&text).map_err(|_| Trouble::Discovery)?;
                if found.issuer != **issuer {
                    return Err(Trouble::Discovery);
                }
                // As safe as the issuer itself, or safer.
                if !found.jwks_uri.starts_with("https://") && issuer.starts_with("https://") {
                    return Err(Trouble::Insecure);
                }
                Ok(KeySet::jwks(&self.document(&found.jwks_uri).await?)?)
            }
        }
    }

    async fn document(&self, url: &str) -> Result<Bytes, Trouble> {
        let url = Url::parse(url).map_err(|_| Trouble::Url)?;
        Ok(self.documents.document(url).await?)
    }
}

impl Lane {
    fn new(per_second: u32) -> Result<Self, RateLimitError> {
        let second = Duration::from_secs(1);
        let pace = RateLimit::new(per_second, second, Some(limits::KEYS_BURST), Scope::Endpoint)?;
        Ok(Self { pace, slots: Semaphore::new(limits::KEYS_AT_ONCE) })
    }
}

/// An issuer's description of itself (OpenID Connect Discovery 1.0, 3).
#[derive(Deserialize)]
struct Discovery {
    issuer: String,
    jwks_uri: String,
}

impl Set {
    fn verdict(&self, wanted: &KeysWanted, now: Timestamp) -> Verdict {
        let fresh = match wanted.source {
            KeySource::Jwks(_) | KeySource::Issuer(_) => limits::KEYS_FRESH,
            // What is at a certificate's URL does not change.
            KeySource::Certificate(_) => limits::CERTIFICATE_FRESH,
        };
        let known = self.known.lock();
        let within = |time: Option<Timestamp>, age: Duration| {
            // A clock that was set back makes nothing young.
            time.and_then(|time| now.duration_since(time).unsigned_abs().checked_sub(age)).is_none() && time.is_some()
        };
        let has_key = |keys: &KeySet| wanted.id.as_deref().is_none_or(|id| keys.has(id));
        match &known.keys {
            Some(keys) if within(known.fetched, fresh) && has_key(keys) => Verdict::Have(Arc::clone(keys)),
            // A token that names a key which was not there a moment ago is made up, or a moment too early.
            Some(keys) if within(known.tried, limits::KEYS_PAUSE) => match known.usable(now) {
                Some(_) => Verdict::Have(Arc::clone(keys)),
                None => Verdict::Fail,
            },
            None if within(known.tried, limits::KEYS_RETRY) => Verdict::Fail,
            Some(_) | None => Verdict::Fetch,
        }
    }
}

impl Known {
    /// The keys, also when they should have been fetched again but could not be.
    fn usable(&self, now: Timestamp) -> Option<Arc<KeySet>> {
        let fetched = self.fetched?;
        let age = now.duration_since(fetched).unsigned_abs();
        if age <= limits::KEYS_STALE { self.keys.clone() } else { None }
    }
}

fn complain(source: &KeySource, trouble: &Trouble) {
    match source {
        KeySource::Jwks(url) | KeySource::Issuer(url) => {
            tracing::warn!(%url, error = %trouble, "public keys cannot be fetched");
        }
        // Anybody can name one.
        KeySource::Certificate(url) => tracing::debug!(%url, error = %trouble, "a certificate cannot be fetched"),
    }
}

impl<D: Documents> RemoteKeys for Keys<D> {
    fn keys<'a>(&'a self, wanted: &'a KeysWanted) -> BoxFuture<'a, Result<Arc<KeySet>, KeysUnavailable>> {
        self.find(wanted).boxed()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

    use super::*;
    use crate::rules::clock::ManualClock;

    /// Documents by URL; counts how often each is asked for. What has no text fails.
    #[derive(Default)]
    struct Shelf {
        texts: Mutex<HashMap<String, String>>,
        asked: AtomicUsize,
        /// Held by a test for as long as nothing is to be answered.
        gate: tokio::sync::RwLock<()>,
    }

    impl Documents for Arc<Shelf> {
        fn document(&self, url: Url) -> BoxFuture<'_, Result<Bytes, FetchError>> {
            async move {
                self.asked.fetch_add(1, SeqCst);
                let _open = self.gate.read().await;
                let text = self.texts.lock().get(url.as_str()).cloned();
                text.map(Bytes::from).ok_or(FetchError::Status(http::StatusCode::NOT_FOUND))
            }
            .boxed()
        }
    }

    impl Shelf {
        fn put(&self, url: &str, text: impl Into<String>) {
            self.texts.lock().insert(url.into(), text.into());
        }

        fn asked(&self) -> usize {
            self.asked.swap(0, SeqCst)
        }
    }

    fn set(ids: &[&str]) -> String {
        let key = |id: &&str| {
            format!(r#"{{"kty":"OKP","crv":"Ed25519","kid":"{id}","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}}"#)
        };
        format!(r#"{{"keys":[{}]}}"#, ids.iter().map(key).collect::<Vec<_>>().join(","))
    }

    const JWKS: &str = "https://issuer.example/keys";

    fn stage() -> (Arc<Keys<Arc<Shelf>>>, Arc<Shelf>, Arc<ManualClock>) {
        let clock = Arc::new(ManualClock::new(Timestamp::from_second(1_700_000_000).unwrap()));
        let shelf = Arc::new(Shelf::default());
        shelf.put(JWKS, set(&["a"]));
        (Keys::new(Arc::clone(&shelf), clock.clone()).unwrap(), shelf, clock)
    }

    fn jwks(id: Option<&str>) -> KeysWanted {
        KeysWanted { source: KeySource::Jwks(JWKS.into()), id: id.map(str::to_owned) }
    }

    #[tokio::test]
    async fn a_set_is_fetched_once_and_again_when_it_is_old() {
        let (keys, shelf, clock) = stage();
        for _ in 0..3 {
            assert!(keys.find(&jwks(Some("a"))).await.unwrap().has("a"));
        }
        assert_eq!(shelf.asked(), 1);
        clock.advance(limits::KEYS_FRESH + Duration::from_secs(1));
        shelf.put(JWKS, set(&["b"]));
        assert!(keys.find(&jwks(None)).await.unwrap().has("b"));
        assert_eq!(shelf.asked(), 1);
    }

    #[tokio::test]
    async fn a_new_key_is_looked_for_but_not_for_every_made_up_token() {
        let (keys, shelf, clock) = stage();
        keys.find(&jwks(None)).await.unwrap();
        for made_up in ["x", "y", "z"] {
            assert!(!keys.find(&jwks(Some(made_up))).await.unwrap().has(made_up));
        }
        assert_eq!(shelf.asked(), 1, "too soon after the last");
        clock.advance(limits::KEYS_PAUSE + Duration::from_secs(1));
        shelf.put(JWKS, set(&["a", "b"]));
        assert!(keys.find(&jwks(Some("b"))).await.unwrap().has("b"));
        assert!(keys.find(&jwks(Some("z"))).await.unwrap().has("a"));
        assert_eq!(shelf.asked(), 1);
    }

    #[tokio::test]
    async fn old_keys_are_better_than_none_for_a_while() {
        let (keys, shelf, clock) = stage();
        keys.find(&jwks(None)).await.unwrap();
        shelf.put(JWKS, "<html>");
        clock.advance(limits::KEYS_FRESH + Duration::from_secs(1));
        shelf.asked();
        for _ in 0..3 {
            assert!(keys.find(&jwks(Some("a"))).await.unwrap().has("a"));
        }
        assert_eq!(shelf.asked(), 1, "what fails is not tried again at once");
        clock.advance(limits::KEYS_STALE);
        assert_eq!(keys.find(&jwks(Some("a"))).await.unwrap_err(), KeysUnavailable);
        shelf.put(JWKS, set(&["a"]));
        clock.advance(limits::KEYS_PAUSE + Duration::from_secs(1));
        assert!(keys.find(&jwks(Some("a"))).await.is_ok());
    }

    #[tokio::test]
    async fn a_failure_is_remembered_for_a_moment() {
        let (keys, shelf, clock) = stage();
        let wanted = KeysWanted { source: KeySource::Jwks("https://issuer.example/none".into()), id: None };
        for _ in 0..3 {
            assert!(keys.find(&wanted).await.is_err());
        }
        assert_eq!(shelf.asked(), 1);
        shelf.put("https://issuer.example/none", set(&["a"]));
        clock.advance(limits::KEYS_RETRY + Duration::from_secs(1));
        assert!(keys.find(&wanted).await.is_ok());
    }

    #[tokio::test]
    async fn many_who_ask_at_once_are_one_fetch() {
        let (keys, shelf, _) = stage();
        let closed = shelf.gate.write().await;
        let wanted = jwks(None);
        let mut waiting: Vec<_> = (0..50).map(|_| Box::pin(keys.find(&wanted))).collect();
        for one in &mut waiting {
            assert!(futures_util::poll!(one.as_mut()).is_pending());
        }
        // The one who fetches gives up; another takes its place.
        drop(waiting.remove(0));
        drop(closed);
        for one in waiting {
            assert!(one.await.is_ok());
        }
        assert_eq!(shelf.asked(), 2);
    }

    #[tokio::test]
    async fn an_issuer_says_where_its_keys_are() {
        let (keys, shelf, _) = stage();
        let find = async |issuer: &str| {
            keys.find(&KeysWanted { source: KeySource::Issuer(issuer.into()), id: None }).await.is_ok()
        };
        let describe = |issuer: &str, uri: &str| format!(r#"{{"issuer":"{issuer}","jwks_uri":"{uri}","x":[]}}"#);
        let place = |issuer: &str| format!("{}/.well-known/openid-configuration", issuer.trim_end_matches('/'));
        for (issuer, text, good) in [
            ("https://a.example", describe("https://a.example", JWKS), true),
            ("https://b.example/", describe("https://b.example/", JWKS), true),
            ("https://c.example/tenant", describe("https://c.example/tenant", JWKS), true),
            ("https://d.example", describe("https://a.example", JWKS), false),
            ("https://e.example", describe("https://e.example/", JWKS), false),
            ("https://f.example", describe("https://f.example", "http://issuer.example/keys"), false),
            ("https://g.example", describe("https://g.example", "file:///etc/passwd"), false),
            ("https://h.example", "{}".into(), false),
        ] {
            shelf.put(&place(issuer), text);
            assert_eq!(find(issuer).await, good, "{issuer}");
        }
    }

    #[tokio::test]
    async fn made_up_certificates_do_not_drive_out_keys_nor_hold_them_up() {
        let (keys, shelf, _) = stage();
        keys.find(&jwks(None)).await.unwrap();
        for number in 0..2 * limits::KEY_SETS {
            let source = KeySource::Certificate(format!("https://api.paypal.com/{number}").into());
            assert!(keys.find(&KeysWanted { source, id: None }).await.is_err());
        }
        assert!(keys.sets.lock().len() <= limits::KEY_SETS);
        let asked = shelf.asked();
        assert!(asked < 1 + limits::KEY_SETS, "{asked} were fetched, so that nothing bounds them");
        keys.find(&jwks(None)).await.unwrap();
        assert_eq!(shelf.asked(), 0, "the keys are still known");
        let other = "https://issuer.example/others";
        shelf.put(other, set(&["a"]));
        let other = KeysWanted { source: KeySource::Jwks(other.into()), id: None };
        assert!(keys.find(&other).await.is_ok(), "the bound on certificates is their own");
    }
}
