use bytes::Bytes;
use grapnel_api::{ObjectKey, WebhookEndpoint, WebhookReplay, WebhookSubscription};
use grapnel_journal::{DeliveryState, StoredEvent};
use jiff::Timestamp;
use proptest::prelude::*;
use serde_json::{Value, json};

use std::collections::BTreeMap;

use super::*;
use crate::catalog::{Age, Applied, Change, Class};

fn key(name: &str) -> ObjectKey {
    ObjectKey::new("shop", name)
}

/// An endpoint that takes everything, with these fields.
fn endpoint(fields: Value) -> Change {
    let mut spec = json!({ "verification": { "none": {} } });
    spec.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    let object = WebhookEndpoint::new("orders", serde_json::from_value(spec).unwrap());
    Change::Endpoint(Box::new(Applied { key: key("orders"), object, source: None, age: Age::default(), uid: None }))
}

/// A subscription of that endpoint with these fields. Its Secret is nowhere.
fn subscription(name: &str, fields: Value) -> Change {
    let mut spec = json!({
        "endpointRef": { "name": "orders" },
        "target": { "urlFrom": { "secretKeyRef": { "name": "receiver", "key": "url" } } },
        "signing": { "scheme": "StandardWebhooks", "secretRefs": [{ "name": "signing", "key": "key" }] },
    });
    spec.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    let object = WebhookSubscription::new(name, serde_json::from_value(spec).unwrap());
    Change::Subscription(Box::new(Applied { key: key(name), object, source: None, age: Age::default(), uid: None }))
}

/// A replay of the subscription `billing`.
fn replay(name: &str, fields: Value) -> Change {
    let mut spec = json!({ "subscriptionRef": { "name": "billing" } });
    spec.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    let object = WebhookReplay::new(name, serde_json::from_value(spec).unwrap());
    Change::Replay(Box::new(Applied { key: key(name), object, source: None, age: Age::default(), uid: None }))
}

fn event(sequence: u64, body: &str) -> StoredEvent {
    StoredEvent {
        sequence,
        id: format!("evt_{sequence}").into(),
        kind: "order.created".into(),
        received: Timestamp::UNIX_EPOCH,
        content_type: Some("application/json".into()),
        remote: Some("192.0.2.7".parse().unwrap()),
        headers: vec![
            ("ce-type".into(), Bytes::from_static(b"order.created")),
            ("webhook-id".into(), Bytes::from(format!("evt_{sequence}"))),
        ],
        body: Bytes::copy_from_slice(body.as_bytes()),
    }
}

/// The report on ten events with the amounts 1 to 10.
fn plan(old: Vec<Change>, new: Vec<Change>) -> Report {
    let version = |changes| Configuration::compile(changes, &Class::Any);
    let mut rehearsal = Rehearsal::new(version(old), version(new));
    for endpoint in rehearsal.endpoints() {
        for amount in 1..=10 {
            rehearsal.observe(&endpoint, &event(amount, &format!(r#"{{"amount":{amount}}}"#)));
        }
    }
    rehearsal.finish(&BTreeMap::from([(key("billing"), Undelivered { unsettled: 4, dead_lettered: 2 })]))
}

fn only<T>(mut items: Vec<T>) -> T {
    assert_eq!(items.len(), 1);
    items.remove(0)
}

#[test]
fn nothing_differs_between_equal_versions() {
    let version = || vec![endpoint(json!({})), subscription("billing", json!({ "filter": "payload.amount > 3" }))];
    assert_eq!(plan(version(), version()), Report::default());
    // What an API server adds is no change.
    let explicit =
        subscription("billing", json!({ "filter": "payload.amount > 3", "suspend": false, "mode": "Deliver" }));
    assert_eq!(plan(version(), vec![endpoint(json!({})), explicit]), Report::default());
}

#[test]
fn a_filter_has_more_and_fewer() {
    let with = |filter: &str| vec![endpoint(json!({})), subscription("billing", json!({ "filter": filter }))];
    let report = plan(with("payload.amount > 3"), with("payload.amount < 6"));
    assert!(report.changed && report.endpoints.is_empty() && report.notes.is_empty(), "{report:?}");
    let billing = only(report.subscriptions);
    assert_eq!((billing.delivered_before, billing.delivered_after, billing.events), (7, 5, 10));
    assert_eq!((billing.more.count, billing.fewer.count), (3, 5));
    assert_eq!(billing.fewer.reasons, BTreeMap::from([("filter", 5)]));
    let ids: Vec<_> = billing.more.examples.iter().map(|example| &*example.id).collect();
    assert_eq!(ids, ["evt_1", "evt_2", "evt_3"]);
    assert_eq!(billing.fields, ["filter"]);
    let same = plan(with("payload.amount > 3"), with("!(payload.amount <= 3)"));
    assert!(!same.changed && same.subscriptions.len() == 1, "another text with the same meaning: {same:?}");
}

#[test]
fn a_transformation_has_another_body_or_fails() {
    let with = |transform: &str| vec![endpoint(json!({})), subscription("billing", json!({ "transform": transform }))];
    let billing = only(plan(with("{'a': payload.amount}"), with("{'b': payload.amount}")).subscriptions);
    assert_eq!((billing.bodies_changed, billing.fewer.count), (10, 0));
    let signed: Vec<_> = billing.body_change.unwrap().diff.iter().map(DiffLine::signed).collect();
    assert_eq!(signed, ["  {", "-   \"a\": 1", "+   \"b\": 1", "  }"]);
    let failing = only(plan(with("payload"), with("payload.amount > 8 ? payload.absent : payload")).subscriptions);
    assert_eq!((failing.failing.count, failing.fewer.reasons), (2, BTreeMap::from([("fails", 2)])));
    assert!(failing.failing.examples[0].message.as_ref().unwrap().starts_with("transform, "));
}

#[test]
fn an_endpoint_refuses_what_its_schema_types_and_sources_exclude() {
    let reader = || subscription("billing", json!({}));
    let old = || vec![endpoint(json!({})), reader()];
    let schema = json!({ "properties": { "amount": { "maximum": 7 } } });
    let of = |fields: Value| plan(old(), vec![endpoint(fields), reader()]);
    let report = of(json!({ "schemas": [{ "types": ["order.*"], "schema": schema }] }));
    let orders = only(report.endpoints);
    assert_eq!((orders.refused.count, orders.refused.reasons), (3, BTreeMap::from([("schema_violation", 3)])));
    let billing = only(report.subscriptions);
    assert_eq!((billing.change, billing.fewer.reasons), (DifferenceKind::Affected, BTreeMap::from([("refused", 3)])));
    for (fields, code) in [
        (json!({ "unmatchedTypes": "Reject" }), "unknown_event_type"),
        (json!({ "event": { "id": { "pointer": "/id" } } }), "malformed_payload"),
        (json!({ "allowedSources": ["198.51.100.0/24"] }), "source_not_allowed"),
        (json!({ "suspend": true }), "suspended"),
        (json!({ "limits": { "bodyBytes": "10" } }), "body_too_large"),
    ] {
        let report = of(fields);
        assert_eq!(only(report.endpoints).refused.reasons, BTreeMap::from([(code, 10)]), "{code}");
        assert!(report.changed);
    }
    // The other way round they are accepted.
    let report = plan(vec![endpoint(json!({ "unmatchedTypes": "Reject" })), reader()], old());
    assert_eq!(only(report.endpoints).accepted.count, 10);
}

#[test]
fn an_endpoint_gives_other_types_and_ids() {
    let reader = || subscription("billing", json!({ "eventTypes": ["order.*"] }));
    let new = endpoint(
        json!({ "event": { "type": { "value": "sale" }, "id": { "expression": "'n' + string(payload.amount)" } } }),
    );
    let report = plan(vec![endpoint(json!({})), reader()], vec![new, reader()]);
    let orders = only(report.endpoints);
    assert_eq!((orders.type_changed.count, orders.id_changed.count, orders.refused.count), (10, 10, 0));
    assert_eq!(orders.type_changed.examples[0].message.as_deref(), Some("sale instead of order.created"));
    assert_eq!(only(report.subscriptions).fewer.reasons, BTreeMap::from([("type", 10)]));
}

#[test]
fn objects_come_and_go() {
    let billing = || subscription("billing", json!({}));
    let report = plan(vec![endpoint(json!({})), billing()], vec![endpoint(json!({}))]);
    let gone = only(report.subscriptions);
    assert_eq!((gone.change, gone.fewer.count), (DifferenceKind::Deleted, 10));
    assert_eq!(gone.undelivered, Some(Undelivered { unsettled: 4, dead_lettered: 2 }));
    let new = subscription("audit", json!({ "filter": "payload.amount == 1" }));
    let report = plan(vec![endpoint(json!({})), billing()], vec![endpoint(json!({})), billing(), new]);
    let added = only(report.subscriptions);
    assert_eq!((added.change, added.more.count, added.events), (DifferenceKind::Added, 1, 10));
    let report = plan(vec![endpoint(json!({})), billing()], Vec::new());
    assert_eq!(only(report.endpoints).refused.reasons, BTreeMap::from([("not_found", 10)]));
    let report = plan(Vec::new(), vec![endpoint(json!({})), billing()]);
    assert!(report.changed && report.events == 0, "a new endpoint has no events: {report:?}");
}

#[test]
fn a_deleted_endpoint_leaves_what_its_subscriptions_have_not_delivered() {
    let old = || vec![endpoint(json!({ "path": "hooks" })), subscription("billing", json!({}))];
    let renamed = |path: &str| {
        let Change::Endpoint(mut applied) = endpoint(json!({ "path": path })) else { unreachable!() };
        applied.key = key("sales");
        vec![Change::Endpoint(applied)]
    };
    let deleted = |new: Vec<Change>| {
        let report = plan(old(), new);
        report.endpoints.into_iter().find(|it| it.change == DifferenceKind::Deleted).unwrap()
    };
    let orders = deleted(renamed("hooks"));
    assert_eq!(orders.undelivered, Some(Undelivered { unsettled: 4, dead_lettered: 2 }));
    assert_eq!(orders.replaced_by.as_deref(), Some("shop/sales"));
    assert_eq!(deleted(renamed("elsewhere")).replaced_by, None);
    let lines = plan(old(), renamed("hooks")).lines().join("\n");
    assert!(lines.contains("its subscriptions leave 4 events undelivered and 2 dead letters"), "{lines}");
    assert!(lines.contains("WebhookEndpoint shop/sales takes its path, and begins without events"), "{lines}");
}

#[test]
fn a_subscription_with_the_policy_drain_is_deleted_later_and_none_reads_another_endpoint() {
    let old = vec![endpoint(json!({})), subscription("billing", json!({ "deletionPolicy": "Drain" }))];
    let report = plan(old, vec![endpoint(json!({}))]);
    assert!(report.lines().iter().any(|line| line.contains("deletionPolicy is Drain")), "{report:?}");
    let moved = subscription("billing", json!({ "endpointRef": { "name": "sales" } }));
    let report = plan(vec![endpoint(json!({})), subscription("billing", json!({}))], vec![endpoint(json!({})), moved]);
    assert!(report.lines().iter().any(|line| line.contains("endpointRef cannot be changed")), "{report:?}");
}

/// The report on replays. Of the events 1 to 10 of the subscription, 3 and 4 are dead letters, and 10 is pending.
fn plan_replays(old: Vec<Change>, new: Vec<Change>) -> Report {
    let version = |changes: Vec<Change>| {
        let objects = [endpoint(json!({})), subscription("billing", json!({}))];
        Configuration::compile(objects.into_iter().chain(changes), &Class::Any)
    };
    let mut rehearsal = Rehearsal::new(version(old), version(new));
    rehearsal.ended_replays(|replay| *replay == key("ended"));
    for mut count in rehearsal.replays() {
        for sequence in (1..=10).rev() {
            let state = match sequence {
                3 | 4 => DeliveryState::DeadLettered,
                10 => DeliveryState::Pending,
                _ => DeliveryState::Settled,
            };
            let id = format!("evt_{sequence}");
            let received = Timestamp::from_second(i64::try_from(sequence).unwrap()).ok();
            if !count.look(ReplayCandidate { sequence, id: Some(&id), received, state }) {
                break;
            }
        }
        let (first, last) = count.needs().unwrap_or((1, 0));
        (first..=last).for_each(|amount| count.judge(&event(amount, &format!(r#"{{"amount":{amount}}}"#))));
        rehearsal.count_replay(count);
    }
    rehearsal.finish(&BTreeMap::new())
}

#[test]
fn a_new_replay_says_how_many_events_match_now() {
    let matches = |fields: Value| {
        let report = only(plan_replays(Vec::new(), vec![replay("again", fields)]).replays);
        assert_eq!(report.change, DifferenceKind::Added);
        report.matches.unwrap()
    };
    let of = |matched, waiting, filter_errors| ReplayMatches { matched, waiting, filter_errors, ..Default::default() };
    assert_eq!(matches(json!({ "select": { "deadLettered": true } })), of(2, 0, 0));
    assert_eq!(matches(json!({ "select": { "since": "1970-01-01T00:00:08Z" } })), of(3, 1, 0));
    assert_eq!(matches(json!({ "select": { "until": "1970-01-01T00:00:03Z" } })), of(2, 0, 0));
    assert_eq!(matches(json!({ "select": { "ids": ["evt_2", "evt_99"] } })), of(1, 0, 0));
    let filter = "payload.amount > 8 ? payload.absent : payload.amount > 6";
    assert_eq!(matches(json!({ "select": { "since": "1970-01-01T00:00:00Z" }, "filter": filter })), of(2, 0, 2));

    let with = |fields: Value| plan_replays(Vec::new(), vec![replay("again", fields)]);
    let report = with(json!({ "select": { "deadLettered": true } }));
    let text = report.lines().join("\n");
    assert!(report.changed && text.contains("2 events match now, and would be delivered again"), "{text}");
    assert!(text.contains("+ WebhookReplay shop/again: added") && report.markdown().contains("`shop/again`"), "{text}");
    let dry = with(json!({ "select": { "deadLettered": true }, "dryRun": true }));
    assert!(!dry.changed && dry.lines().join("\n").contains("dry run: 2 events match now"), "{dry:?}");
    let suspended = with(json!({ "select": { "deadLettered": true }, "suspend": true }));
    assert!(suspended.lines().join("\n").contains("it is suspended"), "{suspended:?}");
    let absent = json!({ "select": { "deadLettered": true }, "subscriptionRef": { "name": "next" } });
    let absent = plan_replays(Vec::new(), vec![subscription("next", json!({})), replay("again", absent)]);
    assert!(absent.lines().join("\n").contains("shop/next is not live"), "{absent:?}");
}

#[test]
fn live_replays_are_compared() {
    let dead = || json!({ "select": { "deadLettered": true } });
    assert_eq!(plan_replays(vec![replay("again", dead())], vec![replay("again", dead())]), Report::default());
    for (name, word, changed) in
        [("ended", "it has ended: nothing changes", false), ("running", "queues no more events", true)]
    {
        let report = plan_replays(vec![replay(name, dead())], Vec::new());
        let text = report.lines().join("\n");
        assert!(text.contains(word) && report.changed == changed, "{text}");
    }
    let with = |more: Value| {
        let mut fields = dead();
        fields.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        plan_replays(vec![replay("again", dead())], vec![replay("again", fields)])
    };
    let kept = with(json!({ "ttlSecondsAfterFinished": 5 }));
    assert!(!kept.changed && kept.lines().join("\n").contains("it selects no event anew"), "{kept:?}");
    let other = with(json!({ "filter": "payload.amount == 3" }));
    assert!(other.lines().join("\n").contains("an API server refuses it"), "{other:?}");
    assert_eq!(only(other.replays).matches.unwrap().matched, 1);
}

#[test]
fn a_shadow_delivers_nothing() {
    let with = |mode: &str| vec![endpoint(json!({})), subscription("billing", json!({ "mode": mode }))];
    let billing = only(plan(with("Deliver"), with("Shadow")).subscriptions);
    assert_eq!(billing.fewer.reasons, BTreeMap::from([("shadow", 10)]));
    assert_eq!(only(plan(with("Shadow"), with("Deliver")).subscriptions).more.count, 10);
    let shadow = |filter: &str| {
        vec![endpoint(json!({})), subscription("billing", json!({ "mode": "Shadow", "filter": filter }))]
    };
    let report = plan(shadow("payload.amount > 3"), shadow("payload.amount > 4"));
    assert_eq!(only(report.subscriptions).fewer.reasons, BTreeMap::from([("filter", 1)]), "what it would send counts");
}

#[test]
fn what_a_rehearsal_does_not_show_is_named() {
    let with =
        |retry: u32| vec![endpoint(json!({})), subscription("billing", json!({ "retry": { "maxAttempts": retry } }))];
    let report = plan(with(3), with(4));
    assert!(report.changed, "its effect is not known");
    let billing = only(report.subscriptions);
    assert_eq!(billing.not_rehearsed, ["retry.maxAttempts"]);
    let text = report_text(&with(3), &with(4));
    assert!(text.contains("not rehearsed: retry.maxAttempts"), "{text}");
    // A schema in a ConfigMap that is nowhere.
    let new = endpoint(json!({ "schemas": [{ "types": ["*"], "configMapRef": { "name": "s", "key": "k" } }] }));
    let report = plan(vec![endpoint(json!({}))], vec![new]);
    assert!(
        report.changed
            && report.notes[0].contains("not tried")
            && report.notes[0].contains("WebhookEndpoint shop/orders"),
        "{report:?}"
    );
    // Both versions lack it: nothing is said of how the live one counts.
    let with =
        |name: &str| endpoint(json!({ "schemas": [{ "types": ["*"], "configMapRef": { "name": name, "key": "k" } }] }));
    let report = plan(vec![with("s")], vec![with("other")]);
    assert!(report.notes.len() == 1 && report.notes[0].contains("not tried"), "{:?}", report.notes);
}

/// The operator does not show ConfigMaps: what it has stored counts as accepted by them.
#[test]
fn a_schema_of_a_config_map_is_tried_as_it_is_among_the_files() {
    let with = || endpoint(json!({ "schemas": [{ "types": ["*"], "configMapRef": { "name": "s", "key": "k" } }] }));
    let map = |schema: Value| Change::ConfigMap(key("s"), Some(BTreeMap::from([("k".to_owned(), schema.to_string())])));
    let reader = || subscription("billing", json!({}));
    let of = |schema: Value| plan(vec![with(), reader()], vec![map(schema), with(), reader()]);
    let report = of(json!({ "properties": { "amount": { "maximum": 7 } } }));
    assert_eq!(only(report.endpoints).refused.count, 3);
    assert_eq!(only(report.subscriptions).fewer.count, 3);
    assert!(report.changed && report.notes[0].contains("counts as having accepted"), "{:?}", report.notes);
    let same = of(json!({ "properties": { "amount": { "maximum": 10 } } }));
    assert!(!same.changed && same.endpoints.is_empty() && same.subscriptions.is_empty(), "{same:?}");
    // Nothing is said of a ConfigMap that is nowhere, if nothing else changes.
    assert_eq!(plan(vec![with()], vec![with()]), Report::default());
}

fn report_text(old: &[Change], new: &[Change]) -> String {
    let again = |changes: &[Change]| -> Vec<Change> {
        changes
            .iter()
            .map(|change| match change {
                Change::Endpoint(applied) => Change::Endpoint(applied.clone()),
                Change::Subscription(applied) => Change::Subscription(applied.clone()),
                _ => unreachable!(),
            })
            .collect()
    };
    plan(again(old), again(new)).lines().join("\n")
}

#[test]
fn texts_of_events_are_no_markup() {
    let with = |filter: &str| {
        Configuration::compile(
            vec![endpoint(json!({})), subscription("billing", json!({ "filter": filter }))],
            &Class::Any,
        )
    };
    let mut rehearsal = Rehearsal::new(with("false"), with("true"));
    let hostile = StoredEvent { id: "```\n<script>".into(), ..event(1, "{}") };
    rehearsal.observe(&key("orders"), &hostile);
    let markdown = rehearsal.finish(&BTreeMap::new()).markdown();
    assert!(markdown.contains("````text") && markdown.contains("\u{fffd}<script>"), "{markdown}");
}

proptest! {
    /// For every pair of filters the numbers add up, and swapping the versions swaps more and fewer.
    #[test]
    fn numbers_add_up(one in 0..12_i64, other in 0..12_i64, up: bool) {
        let filter = |bound: i64, up: bool| format!("payload.amount {} {bound}", if up { ">" } else { "<=" });
        let with = |bound, up| vec![endpoint(json!({})), subscription("billing", json!({ "filter": filter(bound, up) }))];
        let report = plan(with(one, true), with(other, up));
        let back = plan(with(other, up), with(one, true));
        prop_assert_eq!(report.changed, back.changed);
        for (there, back) in report.subscriptions.iter().zip(&back.subscriptions) {
            prop_assert_eq!(there.delivered_before + there.more.count, there.delivered_after + there.fewer.count);
            prop_assert_eq!((there.more.count, there.fewer.count), (back.fewer.count, back.more.count));
            prop_assert_eq!(there.bodies_changed, 0);
            prop_assert!(there.more.examples.len() <= limits::PLAN_EXAMPLES);
        }
        let differs = (1..=10).any(|amount| (amount > one) != if up { amount > other } else { amount <= other });
        prop_assert_eq!(report.changed, differs);
    }
}
