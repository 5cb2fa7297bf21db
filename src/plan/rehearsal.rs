//! Two versions of the configuration judge the same events.

use std::collections::{BTreeMap, BTreeSet};

use grapnel_api::ObjectKey;
use grapnel_journal::StoredEvent;

use super::{
    body_diff::diff,
    configuration::Configuration,
    difference::{Difference, DifferenceKind, compare},
    replay::{ReplayCount, replay_report},
    report::{BodyChange, EndpointReport, Example, Group, ReplayReport, Report, SubscriptionReport, Undelivered},
    verdict::{ABSENT, Delivered, Receipt, deliver, receive},
};
use crate::catalog::ObjectKind;

/// Two versions, and what they have made of events so far.
#[derive(Debug)]
pub struct Rehearsal {
    old: Configuration,
    new: Configuration,
    endpoints: BTreeMap<ObjectKey, EndpointReport>,
    subscriptions: BTreeMap<ObjectKey, SubscriptionReport>,
    replays: BTreeMap<ObjectKey, ReplayReport>,
    /// The subscriptions to try on the events of each endpoint.
    readers: BTreeMap<ObjectKey, BTreeSet<ObjectKey>>,
    /// Objects of the new version that do not compile without what they refer to.
    unknown: BTreeSet<String>,
    /// The same of the live version.
    assumed: BTreeSet<String>,
    events: u64,
}

impl Rehearsal {
    /// Compares the versions.
    pub fn new(old: Configuration, new: Configuration) -> Self {
        let differences = compare(&old, &new);
        let (mut endpoints, mut subscriptions, mut replays) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        for ((kind, key), difference) in differences {
            match kind {
                ObjectKind::Endpoint => drop(endpoints.insert(key.clone(), endpoint_report(&key, difference))),
                ObjectKind::Subscription => {
                    subscriptions.insert(key.clone(), subscription_report(&key, difference));
                }
                ObjectKind::Replay => {
                    let report = replay_report(&key, difference, &old, &new);
                    replays.insert(key.clone(), report);
                }
            }
        }
        let mut rehearsal = Self {
            old,
            new,
            endpoints,
            subscriptions,
            replays,
            readers: BTreeMap::new(),
            unknown: BTreeSet::new(),
            assumed: BTreeSet::new(),
            events: 0,
        };
        rehearsal.find_readers();
        rehearsal
    }

    /// Finds the subscriptions that are changed, or read a changed endpoint.
    fn find_readers(&mut self) {
        let versions = [&self.old, &self.new];
        let names = versions.into_iter().flat_map(|version| version.specs().keys());
        let names: BTreeSet<_> =
            names.filter(|(kind, _)| *kind == ObjectKind::Subscription).map(|(_, key)| key).collect();
        for key in names {
            let read: BTreeSet<_> =
                [&self.old, &self.new].into_iter().filter_map(|version| version.endpoint_of(key)).collect();
            for endpoint in read {
                let concerned = self.subscriptions.contains_key(key) || self.endpoints.contains_key(&endpoint);
                if concerned {
                    self.readers.entry(endpoint).or_default().insert(key.clone());
                }
            }
        }
    }

    /// The endpoints whose events are needed: of a new endpoint there are none.
    pub fn endpoints(&self) -> Vec<ObjectKey> {
        let all: BTreeSet<_> = self.endpoints.keys().chain(self.readers.keys()).collect();
        all.into_iter().filter(|key| self.old.defines(ObjectKind::Endpoint, key)).cloned().collect()
    }

    /// Tries an event of an endpoint.
    pub fn observe(&mut self, endpoint: &ObjectKey, event: &StoredEvent) {
        self.events += 1;
        let received = match self.endpoints.get_mut(endpoint) {
            None => Receipt::Accepted { event: event.clone(), generated_id: false },
            Some(report) => {
                report.events += 1;
                let received = receive(&self.new, endpoint, event);
                let before = receive(&self.old, endpoint, event);
                for (found, receipt) in [(&mut self.assumed, &before), (&mut self.unknown, &received)] {
                    if matches!(receipt, Receipt::Unknown) {
                        found.insert(format!("WebhookEndpoint {endpoint}"));
                    }
                }
                compare_receipts(report, event, &before, &received);
                received
            }
        };
        let readers = self.readers.get(endpoint).into_iter().flatten();
        for key in readers {
            // A shadow that stays one is judged by what it would send.
            let is_shadow = |version: &Configuration| version.subscription(key).is_some_and(|it| it.is_shadow());
            let unshadowed = is_shadow(&self.old) && is_shadow(&self.new);
            let before = match self.old.endpoint_of(key).as_ref() == Some(endpoint) {
                true => deliver(&self.old, key, event, unshadowed),
                false => ABSENT,
            };
            let after = match &received {
                _ if self.new.endpoint_of(key).as_ref() != Some(endpoint) => ABSENT,
                Receipt::Accepted { event, .. } => deliver(&self.new, key, event, unshadowed),
                Receipt::Refused { .. } => Delivered::NotSent("refused"),
                Receipt::Unknown => deliver(&self.new, key, event, unshadowed),
            };
            for (found, delivered) in [(&mut self.assumed, &before), (&mut self.unknown, &after)] {
                if *delivered == Delivered::Unknown {
                    found.insert(format!("WebhookSubscription {key}"));
                }
            }
            let report = self.subscriptions.entry(key.clone()).or_insert_with(|| {
                let affected =
                    Difference { kind: DifferenceKind::Affected, fields: Vec::new(), not_rehearsed: Vec::new() };
                subscription_report(key, affected)
            });
            compare_deliveries(report, event, &before, &after);
        }
    }

    /// The replays whose events are to be counted: those that would select events anew, from a live subscription.
    pub fn replays(&self) -> Vec<ReplayCount> {
        let counted = self.replays.iter().filter(|(_, report)| report.selects());
        counted.filter_map(|(key, _)| ReplayCount::of(self.new.replay(key)?, &self.old)).collect()
    }

    /// Records the events that a replay would select now.
    pub fn count_replay(&mut self, count: ReplayCount) {
        if let Some(report) = self.replays.get_mut(count.key()) {
            report.matches = Some(count.matches());
        }
    }

    /// Records that live replays have ended.
    pub fn ended_replays(&mut self, ended: impl Fn(&ObjectKey) -> bool) {
        for (key, report) in &mut self.replays {
            report.ended = (report.change == DifferenceKind::Deleted).then(|| ended(key));
        }
    }

    /// The added endpoint that has the path of a deleted one.
    fn replacement(&self, deleted: &ObjectKey) -> Option<String> {
        let place = &self.old.endpoint(deleted)?.place;
        let added = self.endpoints.iter().filter(|(_, report)| report.change == DifferenceKind::Added);
        let mut added = added.filter_map(|(key, _)| self.new.endpoint(key));
        added.find(|it| it.place == *place).map(|it| it.key.to_string())
    }

    /// The result. `backlog` is what each live subscription has not delivered.
    pub fn finish(mut self, backlog: &BTreeMap<ObjectKey, Undelivered>) -> Report {
        self.tell_what_is_left(backlog);
        let names = |names: &BTreeSet<String>| names.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
        let mut notes: Vec<String> = Vec::new();
        if !self.unknown.is_empty() {
            let names = names(&self.unknown);
            notes.push(format!(
                "not tried, because a ConfigMap or another object that it refers to is not among the files: {names}"
            ));
        }
        // What the new version is not tried on needs no assumption about the live one.
        let assumed: BTreeSet<_> = self.assumed.difference(&self.unknown).cloned().collect();
        if !assumed.is_empty() {
            let names = names(&assumed);
            notes.push(format!(
                "the live version refers to something that the operator does not show, and counts as having accepted its \
                 stored events: {names}"
            ));
        }
        let endpoints = self.endpoints.into_values();
        // An endpoint whose ConfigMap is as good as the live one.
        let endpoints: Vec<_> =
            endpoints.filter(|report| report.change != DifferenceKind::Affected || report.has_effect()).collect();
        let mut subscriptions: Vec<_> = self.subscriptions.into_iter().collect();
        // A reader of a changed endpoint for which nothing changes.
        subscriptions.retain(|(_, report)| report.change != DifferenceKind::Affected || report.has_effect());
        let subscriptions: Vec<_> = subscriptions.into_iter().map(|(_, report)| report).collect();
        let changed = |kind, events: u64, not_rehearsed: &[String], effect: bool| {
            effect || kind != DifferenceKind::Changed || events == 0 || !not_rehearsed.is_empty()
        };
        let by_endpoint = endpoints.iter().any(|it| changed(it.change, it.events, &it.not_rehearsed, it.has_effect()));
        let by_subscription =
            subscriptions.iter().any(|it| changed(it.change, it.events, &it.not_rehearsed, it.has_effect()));
        let replays: Vec<_> = self.replays.into_values().collect();
        let by_replay = replays.iter().any(ReplayReport::has_effect);
        let changed = by_endpoint || by_subscription || by_replay || !self.unknown.is_empty();
        Report { changed, events: self.events, endpoints, subscriptions, replays, notes }
    }

    /// Records what deleted objects leave behind.
    fn tell_what_is_left(&mut self, backlog: &BTreeMap<ObjectKey, Undelivered>) {
        for (key, report) in self.subscriptions.iter_mut().filter(|(_, it)| it.change == DifferenceKind::Deleted) {
            report.undelivered = backlog.get(key).copied();
            report.drains = self.old.text(ObjectKind::Subscription, key, "/deletionPolicy") == Some("Drain");
        }
        let deleted = self.endpoints.iter().filter(|(_, it)| it.change == DifferenceKind::Deleted);
        let left: Vec<_> = deleted
            .map(|(key, _)| {
                let left = self.old.readers(key).filter_map(|reader| backlog.get(reader));
                (key.clone(), left.fold(Undelivered::default(), |sum, left| sum.with(left)), self.replacement(key))
            })
            .collect();
        for (key, undelivered, replaced_by) in left {
            if let Some(report) = self.endpoints.get_mut(&key) {
                (report.undelivered, report.replaced_by) = (Some(undelivered), replaced_by);
            }
        }
    }
}

fn compare_receipts(report: &mut EndpointReport, event: &StoredEvent, before: &Receipt, after: &Receipt) {
    match (before, after) {
        (Receipt::Refused { .. }, Receipt::Accepted { .. }) => report.accepted.add(event, None, None),
        (Receipt::Accepted { .. } | Receipt::Unknown, Receipt::Refused { code, message }) => {
            report.refused.add(event, Some(code), Some(message));
        }
        (Receipt::Accepted { event: old, generated_id: was }, Receipt::Accepted { event: new, generated_id: is }) => {
            if old.kind != new.kind {
                report.type_changed.add(event, None, Some(&format!("{} instead of {}", new.kind, old.kind)));
            }
            if was != is {
                let message =
                    if *is { "generated: no duplicate is known any more" } else { "declared, no longer generated" };
                report.id_changed.add(event, None, Some(message));
            } else if old.id != new.id {
                report.id_changed.add(event, None, Some(&format!("{} instead of {}", new.id, old.id)));
            }
        }
        _ => {}
    }
}

fn compare_deliveries(report: &mut SubscriptionReport, event: &StoredEvent, before: &Delivered, after: &Delivered) {
    report.events += 1;
    report.delivered_before += u64::from(before.is_sent());
    report.delivered_after += u64::from(after.is_sent());
    if let Delivered::Fails(message) = after
        && !matches!(before, Delivered::Fails(_) | Delivered::Unknown)
    {
        report.failing.add(event, None, Some(message));
    }
    match (before, after) {
        (Delivered::Unknown, _) | (_, Delivered::Unknown) => {}
        (before, after) if before.is_sent() && !after.is_sent() => report.fewer.add(event, Some(after.reason()), None),
        (before, after) if !before.is_sent() && after.is_sent() => report.more.add(event, None, None),
        (Delivered::Sent { body: old, .. }, Delivered::Sent { body: new, .. }) if before != after => {
            report.bodies_changed += 1;
            report
                .body_change
                .get_or_insert_with(|| BodyChange { event: Example::of(event, None), diff: diff(old, new) });
        }
        _ => {}
    }
}

fn endpoint_report(key: &ObjectKey, difference: Difference) -> EndpointReport {
    let Difference { kind, fields, not_rehearsed } = difference;
    EndpointReport {
        namespace: key.namespace.to_string(),
        name: key.name.to_string(),
        change: kind,
        fields,
        not_rehearsed,
        events: 0,
        refused: Group::default(),
        accepted: Group::default(),
        type_changed: Group::default(),
        id_changed: Group::default(),
        undelivered: None,
        replaced_by: None,
    }
}

fn subscription_report(key: &ObjectKey, difference: Difference) -> SubscriptionReport {
    let Difference { kind, fields, not_rehearsed } = difference;
    SubscriptionReport {
        namespace: key.namespace.to_string(),
        name: key.name.to_string(),
        change: kind,
        fields,
        not_rehearsed,
        events: 0,
        delivered_before: 0,
        delivered_after: 0,
        more: Group::default(),
        fewer: Group::default(),
        failing: Group::default(),
        bodies_changed: 0,
        body_change: None,
        undelivered: None,
        drains: false,
    }
}
