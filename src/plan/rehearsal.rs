//! Two versions of the configuration judge the same events.

use std::collections::{BTreeMap, BTreeSet};

use grapnel_api::ObjectKey;
use grapnel_journal::StoredEvent;

use super::{
    body_diff::diff,
    configuration::Configuration,
    difference::{Difference, DifferenceKind, compare},
    report::{BodyChange, EndpointReport, Example, Group, Report, SubscriptionReport, Undelivered},
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
        let (mut endpoints, mut subscriptions) = (BTreeMap::new(), BTreeMap::new());
        for ((kind, key), difference) in differences {
            match kind {
                ObjectKind::Endpoint => drop(endpoints.insert(key.clone(), endpoint_report(&key, difference))),
                ObjectKind::Subscription => {
                    subscriptions.insert(key.clone(), subscription_report(&key, difference));
                }
                // It changes no configuration.
                ObjectKind::Replay => {}
            }
        }
        let mut rehearsal = Self {
            old,
            new,
            endpoints,
            subscriptions,
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

    /// The result. `backlog` is what each live subscription has not delivered.
    pub fn finish(self, backlog: &BTreeMap<ObjectKey, Undelivered>) -> Report {
        let names = |names: &BTreeSet<String>| names.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
        let mut notes: Vec<String> = Vec::new();
        if !self.unknown.is_empty() {
            let names = names(&self.unknown);
            notes.push(format!("not tried, because something that it refers to is not among the files: {names}"));
        }
        if !self.assumed.is_empty() {
            let names = names(&self.assumed);
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
        for (key, report) in &mut subscriptions {
            if report.change == DifferenceKind::Deleted {
                report.undelivered = backlog.get(key).copied();
            }
        }
        // A reader of a changed endpoint for which nothing changes.
        subscriptions.retain(|(_, report)| report.change != DifferenceKind::Affected || report.has_effect());
        let subscriptions: Vec<_> = subscriptions.into_iter().map(|(_, report)| report).collect();
        let changed = |kind, events: u64, not_rehearsed: &[String], effect: bool| {
            effect || kind != DifferenceKind::Changed || events == 0 || !not_rehearsed.is_empty()
        };
        let by_endpoint = endpoints.iter().any(|it| changed(it.change, it.events, &it.not_rehearsed, it.has_effect()));
        let by_subscription =
            subscriptions.iter().any(|it| changed(it.change, it.events, &it.not_rehearsed, it.has_effect()));
        let changed = by_endpoint || by_subscription || !self.unknown.is_empty();
        Report { changed, events: self.events, endpoints, subscriptions, notes }
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
    }
}
