//! The alerts speak of metrics that exist.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use grapnel::telemetry::metrics::{Counts, JournalMetrics, Metrics};
use serde_json::Value;

use crate::chart::{render, the};

fn alerts() -> Vec<Value> {
    let objects = render(&["--set", "prometheusRule.enabled=true"]);
    the(&objects, "PrometheusRule")["spec"]["groups"][0]["rules"].as_array().unwrap().clone()
}

/// Names of Grapnel's metrics in an expression, with the labels that are asked for.
fn selectors(expression: &str) -> Vec<(String, Vec<String>)> {
    let mut found = Vec::new();
    for (at, _) in expression.match_indices('{') {
        let start = expression[..at].rfind(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).map_or(0, |it| it + 1);
        let inside = &expression[at + 1..at + expression[at..].find('}').unwrap()];
        let labels = inside.split(',').map(|label| label.split(['=', '!']).next().unwrap().to_owned()).collect();
        found.push((expression[start..at].to_owned(), labels));
    }
    found
}

/// The series of a registry in which everything has happened once.
fn series() -> String {
    let metrics = Metrics::new();
    let name = |text: &str| -> Arc<str> { text.into() };
    let endpoint = metrics.endpoint(&name("n"), &name("e"));
    endpoint.accepted("t", Duration::ZERO);
    endpoint.failed(None, "unavailable");
    let subscription = metrics.subscription(&name("n"), &name("s"));
    subscription.attempted("delivered", Duration::ZERO);
    subscription.counts(Counts { pending: 1, retrying: 1, dead: 1 });
    metrics.abandoned(&name("n"), &name("s"), 1);
    metrics.appended(Duration::ZERO);
    metrics.journal(&JournalMetrics { up: true, ..JournalMetrics::default() });
    metrics.cluster().watch_failed("secrets");
    metrics.cluster().status_written("ok");
    metrics.encode()
}

#[test]
fn every_metric_of_an_alert_exists_with_its_labels() {
    let series = series();
    // What comes from elsewhere: the scrape itself, and the kubelet. Prometheus adds `job`, and the operator's namespace to
    // series that have none.
    let foreign = ["up", "kubelet_volume_stats_available_bytes", "kubelet_volume_stats_capacity_bytes"];
    let mut seen = BTreeSet::new();
    for alert in alerts() {
        let expression = alert["expr"].as_str().unwrap();
        let selectors = selectors(expression);
        assert!(!selectors.is_empty(), "{expression}");
        for (metric, labels) in selectors {
            if foreign.contains(&metric.as_str()) {
                continue;
            }
            let line = series.lines().find(|line| line.split(['{', ' ']).next() == Some(&metric));
            let line = line.unwrap_or_else(|| panic!("{}: there is no metric {metric}", alert["alert"]));
            for label in labels.iter().filter(|label| !["job", "namespace"].contains(&label.as_str())) {
                assert!(line.contains(&format!("{label}=\"")), "{}: {metric} has no label {label}", alert["alert"]);
            }
            seen.insert(metric);
        }
    }
    assert!(seen.len() >= 8, "only {seen:?} were found; the search is broken");
}

#[test]
fn alerts_are_whole_and_can_be_turned_off() {
    let all = alerts();
    for alert in &all {
        for field in ["/expr", "/for", "/labels/severity", "/annotations/summary", "/annotations/description"] {
            assert!(alert.pointer(field).is_some_and(Value::is_string), "{alert} has no {field}");
        }
        let expression = alert["expr"].as_str().unwrap();
        let count = |c: char| expression.matches(c).count();
        assert_eq!((count('('), count('{')), (count(')'), count('}')), "{expression}");
    }
    let objects =
        render(&["--set", "prometheusRule.enabled=true,prometheusRule.disabled={GrapnelDown,GrapnelNoLeader}"]);
    let fewer = the(&objects, "PrometheusRule")["spec"]["groups"][0]["rules"].as_array().unwrap();
    assert_eq!(fewer.len(), all.len() - 2);
}

#[test]
fn the_documentation_has_every_alert() {
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/operations.md")).unwrap();
    for alert in alerts() {
        let name = alert["alert"].as_str().unwrap();
        assert!(text.contains(&format!("`{name}`")), "{name} is not in docs/operations.md");
    }
}
