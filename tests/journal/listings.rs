//! Lists: what they hold, and their steps.

use grapnel_journal::{Arrival, DeliveryQuery, DeliveryState, EventQuery, EventSummary, Start};

use super::{
    arrivals::{arrival, at, dead, delivered, failure, file, retry, validated},
    session::{ALL, Engine, Session, keep},
};

/// What listings show.
pub(crate) async fn listings_show_every_state(engine: &dyn Engine) {
    let session = Session::open(engine);
    session.append(&["before"], 0).await;
    session.attach(&file("out"), &file("in"), Start::Now).await.unwrap();
    session.append(&["a", "b", "c", "d", "e"], 5).await;
    session.claim(4, 5).await;
    session.settle(2, delivered(6)).await;
    session.settle(3, retry(20)).await;
    session.settle(4, dead(7)).await;
    let all = [
        (2, DeliveryState::Settled, 1),
        (3, DeliveryState::Retrying, 1),
        (4, DeliveryState::DeadLettered, 1),
        (5, DeliveryState::InFlight, 0),
        (6, DeliveryState::Pending, 0),
    ];
    assert_eq!(session.deliveries(None).await, all);
    for one in all {
        assert_eq!(session.deliveries(Some(one.1)).await, [one]);
    }
    let after = session.sequence(2);
    let listed =
        session.try_records(&file("out"), DeliveryQuery { after, limit: 2, ..Default::default() }).await.unwrap();
    assert_eq!(listed.iter().map(|record| record.event.sequence()).collect::<Vec<_>>(), [3, 4, 5, 6]);
    assert_eq!((listed[0].due, listed[0].failure.clone()), (Some(at(20)), Some(failure(19))));
    let query = EventQuery { since: Some(at(1)), after, limit: 2, ..Default::default() };
    let events = session.list(&file("in"), query).await;
    assert_eq!(events.iter().map(|event| event.sequence).collect::<Vec<_>>(), [3, 4, 5, 6]);
    let query = EventQuery { kind: Some("order.deleted".into()), limit: ALL, ..Default::default() };
    assert!(session.list(&file("in"), query).await.is_empty());
    let query = EventQuery { limit: 0, ..Default::default() };
    assert!(session.journal().events(&file("in"), query).await.unwrap().events.is_empty());
    assert!(session.kept_in(&file("none")).await.is_empty());
}

/// Lists come in steps that hold no more than asked for; together the steps hold everything once.
pub(crate) async fn lists_come_in_steps(engine: &dyn Engine) {
    const MANY: u64 = 60;
    let mut session = Session::attached(engine, Start::Now).await;
    // Every tenth is of another kind, and only one is late.
    let arrivals = (1..=MANY).map(|n| {
        let kind = if n % 10 == 0 { "order.deleted" } else { "order.created" };
        let arrived = arrival(&file("in"), &n.to_string(), if n == 41 { 100 } else { 0 });
        Arrival { validated: validated(&n.to_string(), kind, "{}".into()), ..arrived }
    });
    session.append_all(arrivals.collect()).await;
    session.settle_due(0, retry(50)).await;
    let claimed = session.claim(20, 50).await;
    assert_eq!(claimed.len(), 20);
    session.settle_all((1..=20).map(|ordinal| (ordinal, dead(50))).collect()).await;
    session.append(&["new"], 0).await;
    session.reopen();

    for limit in [1, 2, 7, ALL] {
        let all = EventQuery { limit, ..Default::default() };
        let ordinals =
            |events: Vec<EventSummary>| -> Vec<u64> { events.into_iter().map(|event| event.sequence).collect() };
        assert_eq!(ordinals(session.list(&file("in"), all.clone()).await), (1..=MANY + 1).collect::<Vec<_>>());
        let after = EventQuery { after: session.sequence(59), ..all.clone() };
        assert_eq!(ordinals(session.list(&file("in"), after).await), [60, 61]);
        // Few among many: a step may hold none of them.
        let deleted = EventQuery { kind: Some("order.deleted".into()), ..all.clone() };
        assert_eq!(ordinals(session.list(&file("in"), deleted).await), [10, 20, 30, 40, 50, 60]);
        let late = EventQuery { since: Some(at(100)), ..all };
        assert_eq!(ordinals(session.list(&file("in"), late).await), [41]);

        for (state, expected) in [
            (None, (1..=MANY + 1).collect::<Vec<_>>()),
            (Some(DeliveryState::DeadLettered), (1..=20).collect()),
            (Some(DeliveryState::Retrying), (21..=60).collect()),
            (Some(DeliveryState::Pending), vec![61]),
            (Some(DeliveryState::InFlight), vec![]),
            (Some(DeliveryState::Settled), vec![]),
        ] {
            let query = DeliveryQuery { state, limit, ..Default::default() };
            let records = session.try_records(&file("out"), query).await.unwrap();
            assert_eq!(records.iter().map(|record| record.event.sequence()).collect::<Vec<_>>(), expected);
        }
    }
}

/// Lists that begin with the newest row hold what the others hold, in the opposite order.
pub(crate) async fn lists_come_newest_first(engine: &dyn Engine) {
    const MANY: u64 = 40;
    let session = Session::attached(engine, Start::Now).await;
    session.append_all((1..=MANY).map(|n| arrival(&file("in"), &n.to_string(), n as i64)).collect()).await;
    session.claim(30, 50).await;
    let ends = (1..=28).map(|ordinal| match ordinal % 4 {
        0 => (ordinal, dead(50)),
        1 => (ordinal, retry(90)),
        _ => (ordinal, delivered(50)),
    });
    session.settle_all(ends.collect()).await;
    assert_eq!(session.sweep(keep(40, 1000), 50).await.events, 5);
    for limit in [1, 3, ALL] {
        let events = EventQuery { newest_first: true, limit, ..Default::default() };
        let ordinals = |events: Vec<EventSummary>| -> Vec<u64> { events.iter().map(|event| event.sequence).collect() };
        let mut ascending = session.kept().await;
        ascending.reverse();
        assert_eq!(ordinals(session.list(&file("in"), events.clone()).await), ascending);
        let before = EventQuery { after: session.sequence(12), ..events.clone() };
        assert_eq!(ordinals(session.list(&file("in"), before).await), [11, 9, 8, 5, 4, 1]);
        let late = EventQuery { since: Some(at(38)), ..events };
        assert_eq!(ordinals(session.list(&file("in"), late).await), [40, 39, 38]);
        for (_, state, _) in session.deliveries(None).await.into_iter().take(30) {
            let state = Some(state);
            let mut expected = session.records(state).await;
            expected.reverse();
            let query = DeliveryQuery { state, newest_first: true, limit, ..Default::default() };
            assert_eq!(session.try_records(&file("out"), query).await.unwrap(), expected);
        }
        let mut expected = session.records(None).await;
        expected.reverse();
        let query = DeliveryQuery { newest_first: true, limit, ..Default::default() };
        assert_eq!(session.try_records(&file("out"), query).await.unwrap(), expected);
    }
}

/// Removals and appends between two steps neither repeat nor hide any other event.
pub(crate) async fn lists_continue_while_the_log_changes(engine: &dyn Engine) {
    let session = Session::attached(engine, Start::Now).await;
    session.append(&["a", "b", "c", "d", "e"], 0).await;
    session.claim(ALL, 0).await;
    let mut query = EventQuery { limit: 2, ..Default::default() };
    let mut ids: Vec<String> = Vec::new();
    let mut steps = 0;
    loop {
        let page = session.journal().events(&file("in"), query.clone()).await.unwrap();
        ids.extend(page.events.iter().filter_map(|entry| Some(entry.kept()?.id.to_string())));
        steps += 1;
        if steps == 1 {
            // The events that have been listed go, and so does the next one.
            session.settle_all(vec![(1, delivered(0)), (2, delivered(0)), (3, delivered(0))]).await;
            assert_eq!(session.sweep(keep(0, 0), 1).await.events, 3);
            session.append(&["f"], 1).await;
        }
        let Some(next) = page.next else { break };
        query.after = next;
    }
    let all = ["a", "b", "d", "e", "f"];
    // The first step may have held only one.
    assert!(ids == all || ids == [&all[..1], &all[2..]].concat(), "{ids:?}");
}
