//! A report for people.

use super::{
    difference::DifferenceKind,
    report::{EndpointReport, Example, Group, Report, SubscriptionReport},
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
        lines.extend(self.notes.iter().map(|note| format!("note: {note}")));
        lines.push(self.summary());
        lines
    }

    /// One sentence about the whole.
    pub(super) fn summary(&self) -> String {
        let tried = number(self.events, "event", "events");
        if self.endpoints.is_empty() && self.subscriptions.is_empty() {
            return "no change: the files define what is live".into();
        }
        match self.changed {
            false => format!("no change in behaviour: {tried} would be treated as now"),
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

/// What there is to say about an endpoint.
pub(super) fn of_endpoint(report: &EndpointReport) -> Vec<Finding<'_>> {
    let all = number(report.events, "event", "events");
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
    findings
}

/// What there is to say about a subscription, apart from its bodies.
pub(super) fn of_subscription(report: &SubscriptionReport) -> Vec<Finding<'_>> {
    let all = number(report.events, "event", "events");
    let SubscriptionReport { delivered_before: before, delivered_after: after, .. } = report;
    let mut findings = Vec::new();
    if let Some(left) = report.undelivered {
        findings.push(Finding::plain(format!(
            "leaves {} undelivered and {} that can no longer be redelivered",
            number(left.unsettled, "event", "events"),
            number(left.dead_lettered, "dead letter", "dead letters"),
        )));
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

fn not_rehearsed(fields: &[String]) -> Option<Finding<'static>> {
    (!fields.is_empty()).then(|| Finding::plain(format!("not rehearsed: {}", fields.join(", "))))
}
