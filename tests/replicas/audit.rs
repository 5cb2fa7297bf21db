//! What has to hold when everything is well again.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Mutex,
    time::Duration,
};

use grapnel_test_support::{PATIENCE, program::Grapnel};
use serde_json::Value;
use tokio::time::{Instant, sleep};

use crate::{
    receipts::{KINDS, Receipts, Treatment, treatment},
    senders::{Event, SENDERS, Sent},
    site::{ENDPOINTS, endpoint},
};

/// Checks everything that has to hold when nothing is broken any more.
pub(crate) async fn all_is_well(sent: &Sent, receipts: &Mutex<Receipts>, replicas: &[&Grapnel]) {
    everything_arrives(sent, receipts, replicas).await;
    lists_agree(sent, replicas).await;
    let receipts = receipts.lock().unwrap();
    nothing_is_wrong(sent, &receipts);
    order_holds(&receipts);
}

/// Accepted events of an endpoint.
fn accepted(sent: &Sent, number: usize) -> Vec<Event> {
    let events = |sender: usize| {
        (0..sent.accepted.get(&sender).copied().unwrap_or_default()).map(move |number| Event { sender, number })
    };
    (0..SENDERS).filter(|sender| sender % ENDPOINTS == number).flat_map(events).collect()
}

/// Waits until every accepted event has been taken by every subscription, or is a dead letter of `fussy`.
async fn everything_arrives(sent: &Sent, receipts: &Mutex<Receipts>, replicas: &[&Grapnel]) {
    for (number, kind) in (0..ENDPOINTS).flat_map(|number| KINDS.map(|kind| (number, kind))) {
        let expected = accepted(sent, number);
        let (refused, taken): (Vec<Event>, Vec<Event>) =
            expected.iter().partition(|event| treatment(kind, **event) == Treatment::Refuses);
        let (mut seen, mut deadline) = (0, Instant::now() + PATIENCE);
        loop {
            let (missing, total): (Vec<Event>, u64) = {
                let receipts = receipts.lock().unwrap();
                let arrivals = receipts.arrivals.get(&(number, kind));
                let is_missing = |event: &&Event| !arrivals.is_some_and(|them| them.taken.contains_key(event));
                (taken.iter().filter(is_missing).copied().collect(), receipts.total())
            };
            if missing.is_empty() {
                break;
            }
            // As long as there is progress there is patience.
            if total > seen {
                (seen, deadline) = (total, Instant::now() + PATIENCE);
            }
            assert!(
                Instant::now() < deadline,
                "{} of {} accepted events are lost to {kind}-{number}: {missing:?}\n{}",
                missing.len(),
                expected.len(),
                logs(replicas)
            );
            sleep(Duration::from_millis(50)).await;
        }
        // A letter is written down a moment after the attempt.
        if kind == "fussy" {
            let refused: BTreeSet<Event> = refused.into_iter().collect();
            let begun = Instant::now();
            loop {
                let dead = dead_letters(replicas[0], number).await;
                if dead == refused {
                    break;
                }
                assert!(begun.elapsed() < PATIENCE, "dead letters of {number}: {dead:?}, expected {refused:?}");
                sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

/// What the replicas have logged.
pub(crate) fn logs(replicas: &[&Grapnel]) -> String {
    let log = |replica: &&Grapnel| format!("--- process {}\n{}", replica.pid(), replica.log());
    replicas.iter().map(log).collect::<Vec<_>>().join("\n")
}

/// Nothing arrived that was never sent, nothing with another content, and nothing was answered wrongly.
fn nothing_is_wrong(sent: &Sent, receipts: &Receipts) {
    assert!(sent.wrong.is_empty(), "{:#?}", sent.wrong);
    assert!(receipts.wrong.is_empty(), "{:#?}", receipts.wrong);
    for ((number, kind), arrivals) in &receipts.arrivals {
        for event in &arrivals.order {
            let begun = sent.begun.get(&event.sender).copied().unwrap_or_default();
            assert!(event.number < begun, "{kind}-{number} got {event:?}, which was never sent");
        }
    }
}

/// Events that a sender sent one after the other reach a subscription with `ordering: Ordered` in that order.
fn order_holds(receipts: &Receipts) {
    for ((number, _), arrivals) in receipts.arrivals.iter().filter(|((_, kind), _)| *kind == "orderly") {
        let mut last: BTreeMap<usize, u64> = BTreeMap::new();
        for event in &arrivals.order {
            let before = last.insert(event.sender, event.number);
            assert!(
                before.is_none_or(|before| before < event.number),
                "orderly-{number} got {event:?} after {before:?}: {:?}",
                arrivals.order
            );
        }
    }
}

/// Every replica lists the same events, each under one sequence, and none that was answered 2xx is missing where events are kept.
async fn lists_agree(sent: &Sent, replicas: &[&Grapnel]) {
    for number in (0..ENDPOINTS).step_by(2) {
        let path = format!("/api/v1/namespaces/default/endpoints/{}/events", endpoint(number));
        let first = list(replicas[0], &path, |item| item["id"].as_str().map(str::to_owned)).await;
        for other in &replicas[1..] {
            let listed = list(other, &path, |item| item["id"].as_str().map(str::to_owned)).await;
            assert_eq!(listed, first, "the events of {number} as two replicas list them");
        }
        assert!(first.is_sorted_by(|before, after| before.0 < after.0), "{first:?}");
        let ids: BTreeSet<Event> = first.iter().filter_map(|(_, id)| Event::of_id(id)).collect();
        assert_eq!(ids.len(), first.len(), "each event is kept once");
        let missing: Vec<Event> = accepted(sent, number).into_iter().filter(|event| !ids.contains(event)).collect();
        assert!(missing.is_empty(), "accepted and not listed: {missing:?}");
    }
}

/// What `fussy` has given up.
pub(crate) async fn dead_letters(replica: &Grapnel, number: usize) -> BTreeSet<Event> {
    let path = format!("/api/v1/namespaces/default/subscriptions/fussy-{number}/deliveries?state=deadLettered");
    let listed = list(replica, &path, |item| item["eventId"].as_str().map(str::to_owned)).await;
    listed.iter().filter_map(|(_, id)| Event::of_id(id)).collect()
}

/// Reads a whole list: the sequence of each item and its id.
async fn list(replica: &Grapnel, path: &str, id: impl Fn(&Value) -> Option<String>) -> Vec<(u64, String)> {
    let items = items(replica, path).await;
    items.iter().map(|item| (item["sequence"].as_u64().unwrap(), id(item).unwrap_or_default())).collect()
}

/// Reads the items of a whole list of the admin API, oldest first.
pub(crate) async fn items(replica: &Grapnel, path: &str) -> Vec<Value> {
    let (mut all, mut after) = (Vec::new(), "0".to_owned());
    let join = if path.contains('?') { '&' } else { '?' };
    loop {
        let path = format!("{path}{join}limit=500&order=asc&after={after}");
        // While a shard moves, its lists are not there.
        let page = replica.eventually(&path, async || {
            let (status, text) = replica.admin(&path).await;
            if status == 200 { Ok(serde_json::from_str::<Value>(&text).unwrap()) } else { Err(text) }
        });
        let page = page.await;
        all.extend(page["items"].as_array().unwrap_or_else(|| panic!("{path}: {page}")).iter().cloned());
        match page["continue"].as_str() {
            Some(next) => next.clone_into(&mut after),
            None => return all,
        }
    }
}
