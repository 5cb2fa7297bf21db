//! Shares of endpoints and of namespaces: invariant 12.

use grapnel_api::{Incarnation, ObjectKey};
use grapnel_journal::{
    Appended, Arrival, EndpointUsage, JournalError, NamespaceUsage, ShareExhausted, ShareScope, Start,
};

use super::{
    arrivals::{delivered, file, key, object, sized},
    session::{Bounds, Engine, Session, eventually, keep},
};

/// The body of the events here.
const BODY: usize = 1000;

fn event(endpoint: &Incarnation, n: u64, max_bytes: Option<u64>) -> Arrival {
    Arrival { max_bytes, ..sized(endpoint, &format!("{n:06}"), BODY) }
}

fn share_of(error: JournalError) -> ShareExhausted {
    match error {
        JournalError::ShareExhausted(share) => share,
        other => panic!("{other}"),
    }
}

/// Appends events from `first` on until one is refused; returns its number.
async fn fill(
    session: &Session<'_>,
    endpoint: &Incarnation,
    first: u64,
    max_bytes: Option<u64>,
) -> (u64, ShareExhausted) {
    for n in first..first + 10_000 {
        match session.try_append(vec![event(endpoint, n, max_bytes)]).await {
            Ok(appended) => assert!(matches!(appended[..], [Appended::Stored(_)])),
            Err(error) => return (n, share_of(error)),
        }
    }
    panic!("{endpoint} has no bound");
}

/// Bytes that an event takes.
async fn cost(session: &Session<'_>, endpoint: &Incarnation) -> u64 {
    session.append_all(vec![event(endpoint, 0, None)]).await;
    let cost = session.journal().storage(endpoint).bytes;
    assert!(cost >= BODY as u64, "{cost}");
    cost
}

/// An endpoint that exhausts its share is refused alone, and accepted again when events settle.
pub(crate) async fn an_endpoint_has_a_share(engine: &dyn Engine) {
    let mut session = Session::attached(engine, Start::Now).await;
    let endpoint = file("in");
    let max_bytes = 10 * cost(&session, &endpoint).await;
    let (refused, share) = fill(&session, &endpoint, 1, Some(max_bytes)).await;
    assert!((8..=10).contains(&refused), "{refused}");
    assert_eq!((&share.scope, share.max_bytes), (&ShareScope::Endpoint(key("in")), max_bytes));
    assert!(share.bytes <= max_bytes && share.bytes > max_bytes - 2 * max_bytes / 10, "{share:?}");
    let storage = session.journal().storage(&endpoint);
    assert_eq!((storage.bytes, storage.exhausted.map(|share| share.scope)), (share.bytes, Some(share.scope.clone())));
    // Others are not affected.
    session.append_all(vec![event(&file("other"), 0, Some(max_bytes)), event(&file("free"), 0, None)]).await;
    assert_eq!(session.journal().storage(&file("other")).exhausted, None);
    assert!(session.journal().trouble().is_none());
    assert_eq!(session.kept().await, (1..=refused).collect::<Vec<_>>());

    // All or none: what would fit is not stored without the rest.
    let both = vec![event(&endpoint, 500, Some(max_bytes)), event(&endpoint, 501, Some(max_bytes))];
    share_of(session.try_append(both).await.unwrap_err());
    session.reopen();
    share_of(session.try_append(vec![event(&endpoint, 502, Some(max_bytes))]).await.unwrap_err());
    assert_eq!(session.find(&endpoint, "000500").await, None);

    // It ends when events settle; the oldest settled ones are removed first, the others stay.
    session.claim(3, 0).await;
    session.settle_all(vec![(1, delivered(0)), (2, delivered(0)), (3, delivered(0))]).await;
    eventually("the share is free", async || session.journal().storage(&endpoint).exhausted.is_none()).await;
    for n in 0..3 {
        session.append_all(vec![event(&endpoint, 600 + n, Some(max_bytes))]).await;
        let kept = session.kept().await;
        let settled: Vec<_> = kept.iter().filter(|ordinal| **ordinal <= 3).copied().collect();
        assert!(settled.len() as u64 <= 2 - n && settled.last().is_none_or(|last| *last == 3), "{kept:?}");
        assert_eq!(kept[settled.len()..], (4..=refused + 1 + n).collect::<Vec<_>>());
        assert!(session.journal().storage(&endpoint).bytes <= max_bytes);
    }
    share_of(session.try_append(vec![event(&endpoint, 700, Some(max_bytes))]).await.unwrap_err());
    // What went early is still known by its id.
    assert_eq!(session.append_all(vec![event(&endpoint, 0, None)]).await, [Appended::Duplicate(1)]);
    // A larger share ends it too.
    session.append_all(vec![event(&endpoint, 700, Some(2 * max_bytes))]).await;
    assert_eq!(session.journal().storage(&endpoint).exhausted, None);
    session.append_all(vec![event(&endpoint, 701, None)]).await;
}

/// The endpoints of a namespace have a share together; other namespaces are not affected.
pub(crate) async fn a_namespace_has_a_share(engine: &dyn Engine) {
    const SHARE: u64 = 60_000;
    let engine = engine.bounded(Bounds { max_bytes: 0, namespace_share: Some(SHARE) });
    let mut session = Session::attached(&*engine, Start::Now).await;
    // What no consumer reads is settled.
    session.attach(&file("reader"), &file("other"), Start::Now).await.unwrap();
    let of = |session: &Session, namespace: &str| -> Option<NamespaceUsage> {
        session.journal().namespaces().into_iter().find(|usage| usage.namespace == namespace)
    };
    let (refused, share) = fill(&session, &file("in"), 0, None).await;
    assert!(refused >= 20, "{refused}");
    assert_eq!((&share.scope, share.max_bytes), (&ShareScope::Namespace("shop".into()), SHARE));
    session.reopen();
    let (refused_other, share) = fill(&session, &file("other"), 0, None).await;
    assert_eq!((refused_other, &share.scope), (0, &ShareScope::Namespace("shop".into())));
    for name in ["in", "other"] {
        let exhausted = session.journal().storage(&file(name)).exhausted.map(|share| share.scope);
        assert_eq!(exhausted, Some(ShareScope::Namespace("shop".into())), "{name}");
    }
    let usage = of(&session, "shop").unwrap();
    assert!(usage.max_bytes == SHARE && usage.bytes <= SHARE && usage.bytes > SHARE - 2 * BODY as u64, "{usage:?}");
    assert_eq!(usage.bytes, session.journal().storage(&file("in")).bytes);

    let bank = Incarnation::of_file(ObjectKey::new("bank", "in"));
    session.append_all(vec![event(&bank, 0, None)]).await;
    assert_eq!(session.journal().storage(&bank).exhausted, None);
    let usage = of(&session, "bank").unwrap();
    assert_eq!((usage.bytes, usage.max_bytes), (session.journal().storage(&bank).bytes, SHARE));
    let names: Vec<_> = session.journal().namespaces().into_iter().map(|usage| usage.namespace).collect();
    assert_eq!(names, ["bank", "shop"]);
    assert!(session.journal().trouble().is_none());

    // What is settled in one endpoint makes room for the others.
    session.claim(5, 0).await;
    session.settle_all((1..=5).map(|ordinal| (ordinal, delivered(0))).collect()).await;
    let free = async || session.journal().storage(&file("other")).exhausted.is_none();
    eventually("the share is free", free).await;
    for n in 0..5 {
        session.append_all(vec![event(&file("other"), n, None)]).await;
    }
    assert_eq!(session.kept().await, (6..=refused).collect::<Vec<_>>());
    share_of(session.try_append(vec![event(&file("other"), 9, None)]).await.unwrap_err());
    share_of(session.try_append(vec![event(&file("in"), refused, None)]).await.unwrap_err());
    // A duplicate takes no room, but nothing promises that it is looked for first.
    match session.try_append(vec![event(&file("in"), 8, None)]).await {
        Ok(appended) => assert_eq!(appended, [Appended::Duplicate(9)]),
        Err(error) => assert_eq!(share_of(error).scope, ShareScope::Namespace("shop".into())),
    }
}

/// By default a namespace may take half of the journal, and without a bound of the journal has none.
pub(crate) async fn a_namespace_may_take_half_of_the_journal(engine: &dyn Engine) {
    for (bounds, expected) in [
        (Bounds { max_bytes: 256 << 20, namespace_share: None }, 128 << 20),
        (Bounds { max_bytes: 256 << 20, namespace_share: Some(32 << 20) }, 32 << 20),
        (Bounds { max_bytes: 0, namespace_share: None }, 0),
    ] {
        let engine = engine.bounded(bounds);
        let session = Session::open(&*engine);
        session.append(&["a"], 0).await;
        let usage = session.journal().namespaces();
        assert_eq!((usage.len(), usage[0].max_bytes, &*usage[0].namespace), (1, expected, "shop"));
        assert_eq!(session.journal().usage().max_bytes, bounds.max_bytes);
    }
}

/// What is kept is counted for each endpoint and namespace, also after a restart and when events are removed.
pub(crate) async fn storage_is_counted(engine: &dyn Engine) {
    let mut session = Session::attached(engine, Start::Now).await;
    let bank = Incarnation::of_file(ObjectKey::new("bank", "in"));
    session.append_all((0..9).map(|n| event(&file("in"), n, None)).collect()).await;
    session.append_all((0..3).map(|n| event(&file("other"), n, None)).collect()).await;
    session.append_all(vec![event(&bank, 0, None)]).await;
    // Bodies, and not much besides.
    let is_about = |bytes: u64, events: u64| (events * BODY as u64..events * (BODY as u64 + 500)).contains(&bytes);
    let counted = |session: &Session| {
        let of = |endpoint: &Incarnation| session.journal().storage(endpoint).bytes;
        let (inside, other, bank) = (of(&file("in")), of(&file("other")), of(&bank));
        let namespaces = session.journal().namespaces();
        let namespaces: Vec<_> = namespaces.iter().map(|usage| (&*usage.namespace, usage.bytes)).collect();
        assert_eq!(namespaces, [("bank", bank), ("shop", inside + other)]);
        let usage = session.journal().usage();
        assert!(usage.bytes >= inside + other + bank && usage.disk_bytes > 0, "{usage:?}");
        (inside, other, bank)
    };
    let (inside, other, of_bank) = counted(&session);
    assert!(is_about(inside, 9) && is_about(other, 3) && is_about(of_bank, 1), "{inside}, {other}, {of_bank}");
    assert_eq!(session.journal().storage(&file("none")), EndpointUsage::default());
    session.reopen();
    assert_eq!(counted(&session), (inside, other, of_bank));
    session.claim(4, 0).await;
    session.settle_all((1..=4).map(|ordinal| (ordinal, delivered(0))).collect()).await;
    assert_eq!(session.sweep(keep(0, 0), 1).await.events, 4);
    for _ in 0..2 {
        let (inside, ..) = counted(&session);
        assert!(is_about(inside, 5), "{inside}");
        session.reopen();
    }
    // The events of an earlier endpoint are not the new one's, but they are the namespace's.
    let new = object("in", "second");
    session.append_all(vec![event(&new, 0, None)]).await;
    let bytes = session.journal().storage(&new).bytes;
    assert!(is_about(bytes, 1), "{bytes}");
    let shop = session.journal().namespaces().into_iter().find(|usage| usage.namespace == "shop").unwrap();
    assert!(is_about(shop.bytes, 5 + 3 + 1), "{shop:?}");
}
