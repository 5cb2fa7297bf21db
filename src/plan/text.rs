//! A report for people.

use super::{
    difference::DifferenceKind,
    report::{EndpointReport, Example, Group, ReplayReport, Report, SubscriptionReport, Undelivered},
};

/// A sentence about an object, with examples.
pub(super) struct Finding<'a> {
    pub(super) sentence: String,
    pub(super) examples: &'a [Example],
}

impl<'a> Finding<'a> {
    fn plain(sentence: String) -> Self {
        Self { sentence, examples: &[] }
    }

    /// `count` events of a group, if there are any.
    fn of(group: &'a Group, sentence: impl FnOnce(u64) -> String) -> Option<Self> {
        let reasons: Vec<_> = group.reasons.iter().map(|(reason, count)| format!("{reason} {count}")).collect();
        let reasons = if reasons.is_empty() { String::new() } else { format!(" ({})", reasons.join(", ")) };
        (group.count > 0)
            .then(|| Self { sentence: format!("{}{reasons}", sentence(group.count)), examples: &group.examples })
    }
}

impl DifferenceKind {
    /// The sign before the name of an object.
    fn sign(self) -> char {
        match self {
            Self::Added => '+',
            Self::Changed => '~',
            Self::Deleted => '-',
            Self::Affected => '=',
        }
    }

    /// In a sentence.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Added => "added",
            Self::Changed => "changed",
            Self::Deleted => "deleted",
            Self::Affected => "unchanged, but what it refers to is not",
        }
    }
}

impl Report {
    /// The report as lines for a terminal. Texts of events may have control characters.
    pub fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for report in &self.endpoints {
            let EndpointReport { namespace, name, change, fields, .. } = report;
            lines.push(title(*change, "WebhookEndpoint", namespace, name, fields));
            lines.extend(of_endpoint(report).iter().flat_map(finding));
        }
        for report in &self.subscriptions {
            let SubscriptionReport { namespace, name, change, fields, .. } = report;
            lines.push(title(*change, "WebhookSubscription", namespace, name, fields));
            lines.extend(of_subscription(report).iter().flat_map(finding));
            if let Some(change) = &report.body_change {
                lines.push(format!("      body of {}:", change.event.id));
                lines.extend(change.diff.iter().map(|line| format!("      {}", line.signed())));
            }
        }
        for report in &self.replays {
            let ReplayReport { namespace, name, change, fields, .. } = report;
            lines.push(title(*change, "WebhookReplay", namespace, name, fields));
            lines.extend(of_replay(report).iter().flat_map(finding));
        }
        lines.extend(self.notes.iter().map(|note| format!("note: {note}")));
        lines.push(self.summary());
        lines
    }

    /// One sentence about the whole.
    pub(super) fn summary(&self) -> String {
        let tried = number(self.events, "event", "events");
        if self.endpoints.is_empty() && self.subscriptions.is_empty() && self.replays.is_empty() {
            return "no change: the files define what is live".into();
        }
        match self.changed {
            false => format!("no change in behaviour: {tried} would be treated as now"),
            true if self.events == 0 && self.endpoints.is_empty() && self.subscriptions.is_empty() => {
                "changed; nothing was sent".into()
            }
            true if self.events == 0 => "changed; no stored event shows the effect".into(),
            true => format!("changed; tried on {tried}, nothing was sent"),
        }
    }
}

fn title(change: DifferenceKind, kind: &str, namespace: &str, name: &str, fields: &[String]) -> String {
    let what = if fields.is_empty() { change.word().to_owned() } else { fields.join(", ") };
    format!("{} {kind} {namespace}/{name}: {what}", change.sign())
}

fn finding(finding: &Finding<'_>) -> Vec<String> {
    let mut lines = vec![format!("    {}", finding.sentence)];
    lines.extend(finding.examples.iter().map(|example| format!("      {}", of_example(example))));
    lines
}

/// An event on one line.
pub(super) fn of_example(example: &Example) -> String {
    let Example { id, r#type, received_time, message } = example;
    let message = message.as_ref().map_or_else(String::new, |message| format!(": {message}"));
    format!("{id} {type} {received_time:.0}{message}")
}

/// `1 event`, `2 events`.
pub(super) fn number(count: u64, one: &str, several: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { several })
}

/// What is left behind, as the object of a sentence.
fn left(left: Undelivered) -> String {
    format!(
        "{} undelivered and {} that can no longer be redelivered",
        number(left.unsettled, "event", "events"),
        number(left.dead_lettered, "dead letter", "dead letters"),
    )
}

/// What there is to say about an endpoint.
pub(super) fn of_endpoint(report: &EndpointReport) -> Vec<Finding<'_>> {
    let all = number(report.events, "event", "events");
    let undelivered = report.undelivered.map(|undelivered| {
        Finding::plain(format!(
            "its subscriptions leave {}; its stored events can no longer be read or delivered",
            left(undelivered)
        ))
    });
    let replaced = report.replaced_by.as_ref().map(|other| {
        Finding::plain(format!(
            "WebhookEndpoint {other} takes its path, and begins without events: the name of an endpoint cannot be changed"
        ))
    });
    let what_is_left: Vec<_> = undelivered.into_iter().chain(replaced).collect();
    let mut findings: Vec<_> = [
        Finding::of(&report.refused, |count| format!("{count} of {all} would be refused")),
        Finding::of(&report.accepted, |count| format!("{count} of {all} would no longer be refused")),
        Finding::of(&report.type_changed, |count| format!("{count} of {all} would have another type")),
        Finding::of(&report.id_changed, |count| format!("{count} of {all} would have another id")),
    ]
    .into_iter()
    .flatten()
    .collect();
    if findings.is_empty() && report.events > 0 {
        findings.push(Finding::plain(format!("no effect on {all}")));
    }
    findings.extend(not_rehearsed(&report.not_rehearsed));
    what_is_left.into_iter().chain(findings).collect()
}

/// What there is to say about a subscription, apart from its bodies.
pub(super) fn of_subscription(report: &SubscriptionReport) -> Vec<Finding<'_>> {
    let all = number(report.events, "event", "events");
    let SubscriptionReport { delivered_before: before, delivered_after: after, .. } = report;
    let mut findings = Vec::new();
    if let Some(undelivered) = report.undelivered {
        findings.push(Finding::plain(format!("leaves {}", left(undelivered))));
        if report.drains && undelivered.unsettled > 0 {
            let sentence = "deletionPolicy is Drain: a cluster deletes it after these events are settled";
            findings.push(Finding::plain(sentence.into()));
        }
    }
    if report.change == DifferenceKind::Changed && report.fields.iter().any(|field| field.starts_with("endpointRef")) {
        let sentence = "endpointRef cannot be changed: the operator refuses it, and delivers nothing until it is as before; \
                        create a subscription with another name, and delete this one when its events are delivered";
        findings.push(Finding::plain(sentence.into()));
    }
    if report.events > 0 {
        findings.push(Finding::plain(match report.change {
            DifferenceKind::Added => format!("would get {after} of {all}"),
            _ => format!("gets {after} of {all}, and now {before}"),
        }));
    }
    findings.extend(Finding::of(&report.fewer, |count| format!("{count} fewer")));
    let more = Some(&report.more).filter(|_| report.change != DifferenceKind::Added);
    findings.extend(more.and_then(|more| Finding::of(more, |count| format!("{count} more"))));
    findings.extend(Finding::of(&report.failing, |count| format!("an expression fails on {count}")));
    if report.bodies_changed > 0 {
        findings.push(Finding::plain(format!("{} would have another body", report.bodies_changed)));
    }
    findings.extend(not_rehearsed(&report.not_rehearsed));
    findings
}

/// What there is to say about a replay.
pub(super) fn of_replay(report: &ReplayReport) -> Vec<Finding<'static>> {
    let mut sentences = Vec::new();
    match report.change {
        DifferenceKind::Deleted => sentences.push(match (report.ended, report.dry_run) {
            (Some(true), _) => "it has ended: nothing changes".to_owned(),
            (_, true) => "it only counts events: nothing changes".to_owned(),
            _ => "it has not ended: it queues no more events; those that it has queued are still delivered".to_owned(),
        }),
        DifferenceKind::Changed if !report.restarts() => sentences.push("it selects no event anew".into()),
        DifferenceKind::Changed => sentences.push(
            "only suspend and ttlSecondsAfterFinished can be changed: an API server refuses it; without a cluster it runs \
             again"
                .into(),
        ),
        DifferenceKind::Added | DifferenceKind::Affected => {}
    }
    if report.selects() {
        sentences.extend(of_matches(report));
    }
    if report.suspended && report.change != DifferenceKind::Deleted {
        sentences.push("it is suspended: it queues nothing until suspend is false".into());
    }
    sentences.into_iter().map(Finding::plain).collect()
}

fn of_matches(report: &ReplayReport) -> Vec<String> {
    let ReplayReport { namespace, subscription, dry_run, .. } = report;
    let subscription = format!("WebhookSubscription {namespace}/{subscription}");
    let Some(found) = &report.matches else {
        return vec![format!("{subscription} is not live, so it has no events yet")];
    };
    let least = if found.is_partial { "at least " } else { "" };
    let events = number(found.matched, "event", "events");
    let matched = if found.matched == 1 { "matches" } else { "match" };
    let mut sentences = vec![match dry_run {
        true => format!("dry run: {least}{events} {matched} now; nothing would be delivered"),
        false => format!("{least}{events} {matched} now, and would be delivered again by {subscription}"),
    }];
    if found.waiting > 0 && !dry_run {
        sentences.push(format!("{} of them would be left as they are, because they wait for delivery", found.waiting));
    }
    if found.filter_errors > 0 {
        sentences.push(format!("the filter fails on {}", number(found.filter_errors, "event", "events")));
    }
    if found.unread > 0 {
        sentences.push(format!("{} could not be read for the filter", number(found.unread, "event", "events")));
    }
    sentences
}

fn not_rehearsed(fields: &[String]) -> Option<Finding<'static>> {
    (!fields.is_empty()).then(|| Finding::plain(format!("not rehearsed: {}", fields.join(", "))))
}
