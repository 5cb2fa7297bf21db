use std::{
    collections::HashMap,
    sync::atomic::{AtomicUsize, Ordering::SeqCst},
    time::Duration,
};

use grapnel_values::clock::ManualClock;
use jiff::Timestamp;
use parking_lot::Mutex;
use tokio::time::{Instant, timeout};

use super::*;

/// Documents by URL; counts the requests for each. A URL without a text fails.
#[derive(Default)]
struct Shelf {
    texts: Mutex<HashMap<String, String>>,
    fetched: AtomicUsize,
    /// Locked by a test while nothing is to be answered.
    gate: tokio::sync::RwLock<()>,
    /// Number of requests for [`HANGING`], which never answers.
    hanging: AtomicUsize,
}

const HANGING: &str = "hanging.example";

impl Documents for Arc<Shelf> {
    fn document(&self, url: Url) -> BoxFuture<'_, Result<Bytes, FetchError>> {
        async move {
            if url.host_str().is_some_and(|host| host.ends_with(HANGING)) {
                self.hanging.fetch_add(1, SeqCst);
                std::future::pending::<()>().await;
            }
            self.fetched.fetch_add(1, SeqCst);
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

    fn fetched(&self) -> usize {
        self.fetched.swap(0, SeqCst)
    }
}

fn set(ids: &[&str]) -> String {
    let key = |id: &&str| {
        format!(r#"{{"kty":"OKP","crv":"Ed25519","kid":"{id}","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}}"#)
    };
    format!(r#"{{"keys":[{}]}}"#, ids.iter().map(key).collect::<Vec<_>>().join(","))
}

const JWKS: &str = "https://issuer.example/keys";

fn stage() -> (Arc<SenderKeys<Arc<Shelf>>>, Arc<Shelf>, Arc<ManualClock>) {
    let clock = Arc::new(ManualClock::new(Timestamp::from_second(1_700_000_000).unwrap()));
    let shelf = Arc::new(Shelf::default());
    shelf.put(JWKS, set(&["a"]));
    (SenderKeys::new(Arc::clone(&shelf), clock.clone()), shelf, clock)
}

fn jwks(id: Option<&str>) -> KeysWanted {
    KeysWanted { source: KeySource::Jwks(JWKS.into()), id: id.map(str::to_owned) }
}

#[tokio::test]
async fn a_set_is_fetched_once_and_again_when_it_is_old() {
    let (keys, shelf, clock) = stage();
    for _ in 0..3 {
        assert!(keys.find(&jwks(Some("a")), "shop").await.unwrap().has("a"));
    }
    assert_eq!(shelf.fetched(), 1);
    clock.advance(limits::KEYS_FRESH + Duration::from_secs(1));
    shelf.put(JWKS, set(&["b"]));
    assert!(keys.find(&jwks(None), "shop").await.unwrap().has("b"));
    assert_eq!(shelf.fetched(), 1);
}

#[tokio::test]
async fn a_new_key_is_looked_for_but_not_for_every_made_up_token() {
    let (keys, shelf, clock) = stage();
    keys.find(&jwks(None), "shop").await.unwrap();
    for made_up in ["x", "y", "z"] {
        assert!(!keys.find(&jwks(Some(made_up)), "shop").await.unwrap().has(made_up));
    }
    assert_eq!(shelf.fetched(), 1, "too soon after the last");
    clock.advance(limits::KEYS_PAUSE + Duration::from_secs(1));
    shelf.put(JWKS, set(&["a", "b"]));
    assert!(keys.find(&jwks(Some("b")), "shop").await.unwrap().has("b"));
    assert!(keys.find(&jwks(Some("z")), "shop").await.unwrap().has("a"));
    assert_eq!(shelf.fetched(), 1);
}

#[tokio::test]
async fn old_keys_are_better_than_none_for_a_while() {
    let (keys, shelf, clock) = stage();
    keys.find(&jwks(None), "shop").await.unwrap();
    shelf.put(JWKS, "<html>");
    clock.advance(limits::KEYS_FRESH + Duration::from_secs(1));
    shelf.fetched();
    for _ in 0..3 {
        assert!(keys.find(&jwks(Some("a")), "shop").await.unwrap().has("a"));
    }
    assert_eq!(shelf.fetched(), 1, "what fails is not tried again at once");
    clock.advance(limits::KEYS_STALE);
    assert_eq!(keys.find(&jwks(Some("a")), "shop").await.unwrap_err(), KeysUnavailable);
    shelf.put(JWKS, set(&["a"]));
    clock.advance(limits::KEYS_PAUSE + Duration::from_secs(1));
    assert!(keys.find(&jwks(Some("a")), "shop").await.is_ok());
}

#[tokio::test]
async fn a_failure_is_remembered_for_a_moment() {
    let (keys, shelf, clock) = stage();
    let wanted = KeysWanted { source: KeySource::Jwks("https://issuer.example/none".into()), id: None };
    for _ in 0..3 {
        assert!(keys.find(&wanted, "shop").await.is_err());
    }
    assert_eq!(shelf.fetched(), 1);
    shelf.put("https://issuer.example/none", set(&["a"]));
    clock.advance(limits::KEYS_RETRY + Duration::from_secs(1));
    assert!(keys.find(&wanted, "shop").await.is_ok());
}

#[tokio::test]
async fn many_who_ask_at_once_are_one_fetch() {
    let (keys, shelf, _) = stage();
    let closed = shelf.gate.write().await;
    let wanted = jwks(None);
    let mut waiting: Vec<_> = (0..50).map(|_| Box::pin(keys.find(&wanted, "shop"))).collect();
    for one in &mut waiting {
        assert!(futures_util::poll!(one.as_mut()).is_pending());
    }
    // The request that began the fetch is cancelled; the fetch continues.
    drop(waiting.remove(0));
    drop(closed);
    for one in waiting {
        assert!(one.await.is_ok());
    }
    assert_eq!(shelf.fetched(), 1);
}

#[tokio::test]
async fn whoever_hangs_up_does_not_make_another_fetch_necessary() {
    let (keys, shelf, clock) = stage();
    keys.find(&jwks(None), "shop").await.unwrap();
    clock.advance(limits::KEYS_PAUSE + Duration::from_secs(1));
    shelf.fetched();
    let closed = shelf.gate.write().await;
    for number in 0..2 * limits::KEYS_BURST {
        let wanted = jwks(Some(&format!("made-up-{number}")));
        assert!(futures_util::poll!(Box::pin(keys.find(&wanted, "shop"))).is_pending());
        tokio::task::yield_now().await;
    }
    shelf.put(JWKS, set(&["a", "b"]));
    drop(closed);
    assert!(keys.find(&jwks(Some("b")), "shop").await.unwrap().has("b"), "what they began has ended");
    assert!(!keys.find(&jwks(Some("made-up")), "shop").await.unwrap().has("made-up"));
    assert_eq!(shelf.fetched(), 1);
    let other = "https://issuer.example/others";
    shelf.put(other, set(&["a"]));
    let other = KeysWanted { source: KeySource::Jwks(other.into()), id: None };
    assert!(keys.find(&other, "shop").await.is_ok(), "nor use up what others may fetch");
}

#[tokio::test]
async fn an_attempt_counts_though_nobody_waits_for_its_end() {
    let (keys, shelf, _) = stage();
    let closed = shelf.gate.write().await;
    shelf.put(JWKS, "<html>");
    assert!(futures_util::poll!(Box::pin(keys.find(&jwks(None), "shop"))).is_pending());
    drop(closed);
    // Waiters of the same fetch see that it failed; later requests see that it was tried.
    assert!(keys.find(&jwks(None), "shop").await.is_err());
    assert!(keys.find(&jwks(None), "shop").await.is_err());
    assert_eq!(shelf.fetched(), 1);
}

#[tokio::test(start_paused = true)]
async fn old_keys_do_for_those_who_cannot_wait() {
    let (keys, shelf, clock) = stage();
    keys.find(&jwks(None), "shop").await.unwrap();
    clock.advance(limits::KEYS_FRESH + Duration::from_secs(1));
    shelf.put(JWKS, set(&["b"]));
    shelf.fetched();
    let closed = shelf.gate.write().await;
    // A request with less time than the bound, whose end changes nothing.
    assert!(timeout(limits::KEYS_PATIENCE / 2, keys.find(&jwks(None), "shop")).await.is_err());
    let begun = Instant::now();
    assert!(keys.find(&jwks(Some("a")), "shop").await.unwrap().has("a"));
    assert_eq!(begun.elapsed(), limits::KEYS_PATIENCE / 2, "counted from the beginning of the fetch");
    assert!(keys.find(&jwks(Some("a")), "shop").now_or_never().unwrap().unwrap().has("a"), "nobody waits twice");
    drop(closed);
    while !keys.find(&jwks(None), "shop").await.unwrap().has("b") {
        tokio::task::yield_now().await;
    }
    assert_eq!(shelf.fetched(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_host_that_hangs_does_not_hold_up_others() {
    let (keys, shelf, _) = stage();
    let wanted: Vec<_> = (0..3 * limits::KEYS_AT_ONCE_PER_HOST)
        .map(|number| KeySource::Jwks(format!("https://{HANGING}/{number}").into()))
        .map(|source| KeysWanted { source, id: None })
        .collect();
    let mut waiting: Vec<_> = wanted.iter().map(|wanted| Box::pin(keys.find(wanted, "shop"))).collect();
    for one in &mut waiting {
        assert!(futures_util::poll!(one.as_mut()).is_pending());
    }
    assert!(keys.find(&jwks(None), "shop").await.is_ok());
    assert_eq!(shelf.hanging.load(SeqCst), limits::KEYS_AT_ONCE_PER_HOST);
    // The fake hangs for longer than a client would; waiters for a slot time out nevertheless.
    for one in waiting.split_off(limits::KEYS_AT_ONCE_PER_HOST) {
        assert!(one.await.is_err());
    }
    assert_eq!(shelf.hanging.load(SeqCst), limits::KEYS_AT_ONCE_PER_HOST);
}

#[tokio::test]
async fn fetches_end_with_the_keys() {
    let (keys, shelf, _) = stage();
    let wanted = KeysWanted { source: KeySource::Jwks(format!("https://{HANGING}/").into()), id: None };
    assert!(futures_util::poll!(Box::pin(keys.find(&wanted, "shop"))).is_pending());
    while shelf.hanging.load(SeqCst) == 0 {
        tokio::task::yield_now().await;
    }
    drop(keys);
    while Arc::strong_count(&shelf) > 1 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn an_issuer_says_where_its_keys_are() {
    let (keys, shelf, _) = stage();
    let find = async |issuer: &str| {
        keys.find(&KeysWanted { source: KeySource::Issuer(issuer.into()), id: None }, "shop").await.is_ok()
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
    keys.find(&jwks(None), "shop").await.unwrap();
    // The first to be evicted, if there were one cache for all.
    let down = KeysWanted { source: KeySource::Jwks("https://issuer.example/down".into()), id: None };
    assert!(keys.find(&down, "shop").await.is_err());
    shelf.fetched();
    for number in 0..2 * limits::KEY_SETS {
        let source = KeySource::Certificate(format!("https://api.paypal.com/{number}").into());
        assert!(keys.find(&KeysWanted { source, id: None }, "shop").await.is_err());
    }
    let fetched = shelf.fetched();
    assert!(fetched < limits::CERTIFICATES, "{fetched} were fetched, so that nothing bounds them");
    assert_eq!(keys.named.len(), fetched, "what is not fetched takes no room");
    assert_eq!(keys.configured.len(), 2);
    keys.find(&jwks(None), "shop").await.unwrap();
    assert!(keys.find(&down, "shop").await.is_err());
    assert_eq!(shelf.fetched(), 0, "what is known of the keys is still known");
    let other = "https://issuer.example/others";
    shelf.put(other, set(&["a"]));
    let other = KeysWanted { source: KeySource::Jwks(other.into()), id: None };
    assert!(keys.find(&other, "shop").await.is_ok(), "the bound on certificates is their own");
}

#[tokio::test]
async fn a_configured_set_takes_no_room_until_it_may_be_fetched() {
    let (keys, shelf, _) = stage();
    let closed = shelf.gate.write().await;
    let wanted: Vec<_> = (0..limits::KEY_SETS)
        .map(|number| KeySource::Jwks(format!("https://issuer.example/{number}").into()))
        .map(|source| KeysWanted { source, id: None })
        .collect();
    // Sets that may not be fetched are rejected at once.
    let refused = wanted
        .iter()
        .filter_map(|wanted| keys.find(wanted, "shop").now_or_never())
        .inspect(|result| assert!(result.is_err()));
    let refused = refused.count();
    assert!(refused > 0, "nothing bounds them");
    assert_eq!(keys.configured.len(), wanted.len() - refused);
    drop(closed);
}

/// More sets or certificates than the pace allows.
fn many(source: impl Fn(usize) -> KeySource) -> Vec<KeysWanted> {
    (0..400).map(|number| KeysWanted { source: source(number), id: None }).collect()
}

#[tokio::test(start_paused = true)]
async fn a_tenant_whose_keys_all_fail_holds_up_nobody_else() {
    let (keys, shelf, clock) = stage();
    let sets = many(|number| KeySource::Jwks(format!("https://issuer.example/{number}").into()));
    let certificates = many(|number| KeySource::Certificate(format!("https://api.paypal.com/{number}").into()));
    for round in 0..20 {
        for failing in [&sets, &certificates] {
            for wanted in failing {
                assert!(keys.find(wanted, "greedy").await.is_err());
            }
            let fetched = shelf.fetched();
            assert!(0 < fetched && fetched < failing.len(), "{fetched} in round {round}");
        }
        let set = KeySource::Jwks(format!("https://issuer.example/modest-{round}").into());
        let certificate = KeySource::Certificate(format!("https://api.paypal.com/modest-{round}").into());
        for source in [set, certificate] {
            assert!(keys.find(&KeysWanted { source, id: None }, "modest").await.is_err());
            assert_eq!(shelf.fetched(), 1, "it was not even looked for in round {round}");
        }
        clock.advance(limits::KEYS_RETRY + Duration::from_secs(1));
        tokio::time::advance(Duration::from_secs(1)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_tenant_whose_keys_all_hang_holds_up_nobody_else() {
    let (keys, _, _) = stage();
    let hanging = many(|number| KeySource::Jwks(format!("https://{number}.{HANGING}/keys").into()));
    let mut waiting: Vec<_> = hanging.iter().map(|wanted| Box::pin(keys.find(wanted, "greedy"))).collect();
    let mut pending = 0;
    for one in &mut waiting {
        pending += usize::from(futures_util::poll!(one.as_mut()).is_pending());
    }
    assert_eq!(pending, limits::KEYS_AT_ONCE / 2);
    assert!(keys.find(&jwks(None), "modest").await.is_ok());
}
