//! A report for a pull request.

use super::{
    report::{EndpointReport, ReplayReport, Report, SubscriptionReport},
    text::{Finding, of_endpoint, of_example, of_replay, of_subscription},
};

impl Report {
    /// The report in Markdown. Texts of events are in code blocks, so that they are not markup.
    pub fn markdown(&self) -> String {
        let mut text = format!("### grapnel plan\n\n{}.\n", self.summary());
        for report in &self.endpoints {
            let EndpointReport { namespace, name, change, fields, .. } = report;
            text.push_str(&title("WebhookEndpoint", namespace, name, change.word(), fields));
            text.push_str(&findings(&of_endpoint(report)));
        }
        for report in &self.subscriptions {
            let SubscriptionReport { namespace, name, change, fields, .. } = report;
            text.push_str(&title("WebhookSubscription", namespace, name, change.word(), fields));
            text.push_str(&findings(&of_subscription(report)));
            if let Some(change) = &report.body_change {
                let lines = change.diff.iter().map(|line| line.signed()).collect::<Vec<_>>();
                let title = format!("body of {}", change.event.id);
                text.push_str(&block("diff", std::iter::once(format!("# {title}")).chain(lines)));
            }
        }
        for report in &self.replays {
            let ReplayReport { namespace, name, change, fields, .. } = report;
            text.push_str(&title("WebhookReplay", namespace, name, change.word(), fields));
            text.push_str(&findings(&of_replay(report)));
        }
        for note in &self.notes {
            text.push_str(&format!("\n> Note: {note}\n"));
        }
        text
    }
}

fn title(kind: &str, namespace: &str, name: &str, change: &str, fields: &[String]) -> String {
    let fields: Vec<_> = fields.iter().map(|field| format!("`{field}`")).collect();
    let fields = if fields.is_empty() { String::new() } else { format!(": {}", fields.join(", ")) };
    format!("\n**{kind} `{namespace}/{name}`** {change}{fields}\n\n")
}

fn findings(findings: &[Finding<'_>]) -> String {
    let mut text: String = findings.iter().map(|finding| format!("- {}\n", finding.sentence)).collect();
    for finding in findings.iter().filter(|finding| !finding.examples.is_empty()) {
        let lines = finding.examples.iter().map(of_example);
        text.push_str(&block("text", std::iter::once(format!("{}:", finding.sentence)).chain(lines)));
    }
    text
}

/// A code block that its content cannot end.
fn block(language: &str, lines: impl Iterator<Item = String>) -> String {
    let printable = |c: char| if c.is_control() { '\u{fffd}' } else { c };
    let lines: Vec<String> = lines.map(|line| line.chars().map(printable).collect()).collect();
    let longest = lines.iter().map(|line| longest_run(line)).max().unwrap_or(0);
    let fence = "`".repeat(longest.max(2) + 1);
    format!("\n{fence}{language}\n{}\n{fence}\n", lines.join("\n"))
}

/// The longest run of backticks.
fn longest_run(line: &str) -> usize {
    line.split(|c| c != '`').map(str::len).max().unwrap_or(0)
}
