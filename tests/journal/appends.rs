//! Appending: durability, sequences, and duplicates.

use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use grapnel_journal::{Appended, Arrival, EventQuery, JournalError, Progress, Start};

use super::{
    arrivals::{arrival, at, delivered, file, validated},
    session::{ALL, Engine, Session, keep},
};

/// Invariants 1 and 2: what was acknowledged is there after a crash, under its sequence.
pub(crate) async fn acknowledged_events_survive(engine: &dyn Engine) {
    let mut session = Session::open(engine);
    assert_eq!(session.append(&["a", "b"], 0).await, [Appended::Stored(1), Appended::Stored(2)]);
    let query = EventQuery { limit: ALL, ..Default::default() };
    let before = session.list(&file("in"), query.clone()).await;
    session.reopen();
    assert_eq!(session.list(&file("in"), query).await, before);
    let event = session.journal().event(&file("in"), "b").await.unwrap().unwrap();
    assert_eq!(event.sequence, session.sequence(2));
    assert_eq!((&*event.kind, &event.body[..]), ("order.created", &b"{\"id\":\"b\"}"[..]));
    assert_eq!(event.headers, arrival(&file("in"), "b", 0).headers);
    assert_eq!((event.received, event.remote), (at(0), Some([192, 0, 2, 7].into())));
    assert_eq!(event.summary(), {
        let mut summary = before[1].clone();
        summary.sequence = session.sequence(2);
        summary
    });
    assert_eq!(session.append(&["c"], 0).await, [Appended::Stored(3)]);
    assert_eq!(session.find(&file("elsewhere"), "b").await, None);
}

/// Events with large, missing and unusual parts are kept as they were received.
pub(crate) async fn every_part_of_an_event_is_kept(engine: &dyn Engine) {
    let large: Vec<u8> = (0..200_000u32).map(|n| (n % 251) as u8).collect();
    let endpoint = file("in");
    let arrivals = vec![
        Arrival {
            validated: validated("größe", "größe", Bytes::from(large)),
            remote: Some("2001:db8::7".parse().unwrap()),
            content_type: Some("application/octet-stream".into()),
            headers: vec![("x-odd".into(), Bytes::from_static(b"\xff\0")), ("x-empty".into(), Bytes::new())],
            ..arrival(&endpoint, "", 1)
        },
        Arrival {
            validated: validated("bare", "t", Bytes::new()),
            content_type: None,
            remote: None,
            headers: Vec::new(),
            window: None,
            ..arrival(&endpoint, "", 2)
        },
        Arrival { received: "1969-12-31T23:59:59.25Z".parse().unwrap(), ..arrival(&endpoint, &"i".repeat(700), 3) },
    ];
    let mut session = Session::attached(engine, Start::Now).await;
    session.append_all(arrivals.clone()).await;
    for _ in 0..2 {
        for (arrival, ordinal) in arrivals.iter().zip(1..) {
            let identity = arrival.validated.identity();
            let event = session.journal().event(&endpoint, &identity.id).await.unwrap().unwrap();
            assert_eq!(
                (event.sequence, &event.id, &event.kind),
                (session.sequence(ordinal), &identity.id, &identity.kind)
            );
            assert_eq!((event.received, &event.content_type), (arrival.received, &arrival.content_type));
            assert_eq!((event.remote, &event.headers), (arrival.remote, &arrival.headers));
            assert_eq!(&event.body, arrival.validated.body());
        }
        session.reopen();
    }
    assert_eq!(session.claim(ALL, 5).await, [(1, 1), (2, 1), (3, 1)]);
}

/// Invariant 2: also after everything has been removed.
pub(crate) async fn sequences_are_not_reused(engine: &dyn Engine) {
    let mut session = Session::open(engine);
    session.append(&["a", "b", "c"], 0).await;
    assert_eq!(session.sweep(keep(0, 0), 1).await.events, 3);
    assert_eq!(session.find(&file("in"), "a").await, None);
    session.reopen();
    assert_eq!(session.append(&["d"], 1).await, [Appended::Stored(4)]);
    assert_eq!(session.sweep(keep(0, 0), 2).await.events, 1);
    assert_eq!(session.append(&["e"], 2).await, [Appended::Stored(5)]);
}

/// Invariant 3, concurrently and within one batch.
pub(crate) async fn one_of_many_equal_arrivals_is_stored(engine: &dyn Engine) {
    let session = Session::open(engine);
    for round in 0..20u64 {
        let id = format!("same-{round}");
        let arrivals = (0..16).map(|_| session.journal().append(vec![arrival(&file("in"), &id, 0); 2]));
        let outcomes: Vec<Appended> = join_all(arrivals).await.into_iter().flat_map(Result::unwrap).collect();
        let stored: Vec<u64> =
            outcomes.iter().filter_map(|a| if let Appended::Stored(s) = a { Some(*s) } else { None }).collect();
        assert_eq!(stored.len(), 1, "{outcomes:?}");
        let duplicates = outcomes.iter().filter(|a| **a == Appended::Duplicate(stored[0])).count();
        assert_eq!(duplicates, outcomes.len() - 1);
    }
}

/// Invariant 3 across restarts, and what ends the window.
pub(crate) async fn duplicates_are_known_for_the_window(engine: &dyn Engine) {
    let mut session = Session::open(engine);
    session.append(&["a"], 0).await;
    session.reopen();
    assert_eq!(session.append(&["a"], 3599).await, [Appended::Duplicate(1)]);
    assert_eq!(session.append(&["a"], 3600).await, [Appended::Stored(2)]);
    assert_eq!(session.append(&["a"], 3601).await, [Appended::Duplicate(2)]);
    // The ids of another endpoint are other ids.
    assert_eq!(session.append_to(&file("other"), &["a"], 0).await, [Appended::Stored(1)]);
    // Long ids, which differ only at the end.
    let long = "x".repeat(5000);
    assert_eq!(session.append(&[&long], 0).await, [Appended::Stored(3)]);
    let both = session.append(&[&format!("{long}y"), &long], 0).await;
    assert_eq!(both, [Appended::Stored(4), Appended::Duplicate(3)]);
    assert_eq!(session.find(&file("in"), &long).await, Some((3, at(0))));
}

/// Invariant 3: what counts is how far apart two arrivals were received, not which came first.
pub(crate) async fn the_window_has_two_sides(engine: &dyn Engine) {
    let mut session = Session::open(engine);
    session.append(&["a", "b"], 10_000).await;
    session.reopen();
    assert_eq!(session.append(&["a"], 6401).await, [Appended::Duplicate(1)]);
    assert_eq!(session.append(&["a"], 13_599).await, [Appended::Duplicate(1)]);
    // The clock was ahead by more than the window: later arrivals are not duplicates because of that.
    assert_eq!(session.append(&["a"], 6400).await, [Appended::Stored(3)]);
    // The event that was stored last counts.
    assert_eq!(session.append(&["a"], 6500).await, [Appended::Duplicate(3)]);
    assert_eq!(session.append(&["a"], 10_000).await, [Appended::Stored(4)]);
    assert_eq!(session.append(&["b"], 10_000).await, [Appended::Duplicate(2)]);
    // Also within a call, what was stored counts, and not a duplicate of it.
    let seconds = [("b", 13_599), ("c", 13_599), ("b", 13_600), ("b", 13_601), ("c", 13_600)];
    let all = seconds.iter().map(|(id, second)| arrival(&file("in"), id, *second)).collect();
    let [first, c, b, repeated, again] = session.append_all(all).await.try_into().unwrap();
    assert_eq!((first, c), (Appended::Duplicate(2), Appended::Stored(5)));
    assert_eq!((b, repeated, again), (Appended::Stored(6), Appended::Duplicate(6), Appended::Duplicate(5)));
    session.reopen();
    assert_eq!(session.append(&["a"], 10_001).await, [Appended::Duplicate(4)]);
    assert_eq!(session.find(&file("in"), "a").await, Some((4, at(10_000))));
}

/// Without a window nothing is a duplicate; the newest event of the id is found all the same.
pub(crate) async fn ids_without_a_window_are_found(engine: &dyn Engine) {
    let mut session = Session::open(engine);
    let open = |second| Arrival { window: None, ..arrival(&file("in"), "a", second) };
    assert_eq!(session.append_all(vec![open(0), open(0)]).await, [Appended::Stored(1), Appended::Stored(2)]);
    session.append(&["b"], 0).await;
    assert_eq!(session.append_all(vec![open(5)]).await, [Appended::Stored(4)]);
    for _ in 0..2 {
        assert_eq!(session.find(&file("in"), "a").await, Some((4, at(5))));
        session.reopen();
    }
    // An arrival with a window is compared with it; an arrival without one is compared with none.
    assert_eq!(session.append(&["a"], 6).await, [Appended::Duplicate(4)]);
    let b = Arrival { window: None, ..arrival(&file("in"), "b", 1) };
    assert_eq!(session.append_all(vec![b]).await, [Appended::Stored(5)]);
    // The window is that of the arrival.
    let brief = Arrival { window: Some(Duration::from_secs(10)), ..arrival(&file("in"), "b", 11) };
    assert_eq!(session.append_all(vec![brief]).await, [Appended::Stored(6)]);
    assert_eq!(session.append(&["b"], 12).await, [Appended::Duplicate(6)]);
}

/// Invariants 3 and 7: the window outlives the event.
pub(crate) async fn duplicates_are_known_after_removal(engine: &dyn Engine) {
    let mut session = Session::open(engine);
    session.append(&["a"], 0).await;
    assert_eq!(session.sweep(keep(60, 60), 60).await.events, 1);
    session.reopen();
    assert_eq!(session.append(&["a"], 3599).await, [Appended::Duplicate(1)]);
    assert_eq!(session.find(&file("in"), "a").await, None);
    session.sweep(keep(60, 60), 3600).await;
    assert_eq!(session.append(&["a"], 3600).await, [Appended::Stored(2)]);
    // The later event's id is not forgotten with the earlier one's.
    session.sweep(keep(86400, 60), 7000).await;
    assert_eq!(session.append(&["a"], 7100).await, [Appended::Duplicate(2)]);
}

/// The append of a caller may span endpoints, each of which has sequences of its own.
pub(crate) async fn batches_span_endpoints(engine: &dyn Engine) {
    let session = Session::open(engine);
    let batch = ["x", "y", "x"].iter().zip(["1", "2", "3"]).map(|(e, id)| arrival(&file(e), id, 0)).collect();
    let expected = [Appended::Stored(1), Appended::Stored(1), Appended::Stored(2)];
    assert_eq!(session.append_all(batch).await, expected);
    assert_eq!(session.append_all(Vec::new()).await, []);
    assert_eq!((session.kept_in(&file("x")).await, session.kept_in(&file("y")).await), (vec![1, 2], vec![1]));
}

/// Invariant 6: a clean end loses nothing that was settled.
pub(crate) async fn closing_keeps_settlements(engine: &dyn Engine) {
    let mut session = Session::attached(engine, Start::Now).await;
    session.append(&["a", "b"], 0).await;
    session.claim(1, 0).await;
    session.settle(1, delivered(1)).await;
    session.journal().close().await.unwrap();
    session.journal().close().await.unwrap();
    let refused = session.try_append(vec![arrival(&file("in"), "c", 0)]).await.unwrap_err();
    assert!(matches!(refused, JournalError::Closed), "{refused}");
    session.reopen();
    assert_eq!(session.progress(), Progress { pending: 1, delivered: 1, ..Default::default() });
    assert_eq!(session.append(&["c"], 0).await, [Appended::Stored(3)]);
}
