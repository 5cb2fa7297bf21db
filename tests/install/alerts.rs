//! The alerts, the recorded service levels and the dashboard: their metrics exist, alerts fire when they should, and the runbook has
//! them all.

use std::{collections::BTreeSet, fs, sync::Arc, time::Duration};

use grapnel::telemetry::metrics::{Counts, JournalMetrics, Metrics};
use serde_json::Value;

use crate::{
    chart::{render, the},
    prometheus::promtool,
};

/// The groups of rules that the chart renders with these values too.
fn groups(values: &str) -> Value {
    let objects = render(&["--set", &format!("prometheusRule.enabled=true,{values}")]);
    the(&objects, "PrometheusRule")["spec"]["groups"].clone()
}

fn rules(group: &Value) -> Vec<Value> {
    group["rules"].as_array().unwrap().clone()
}

fn alerts() -> Vec<Value> {
    rules(&groups("")[0])
}

/// Expressions with what they belong to: alerts, recorded series, panels of the dashboard.
fn expressions() -> Vec<(String, String)> {
    let groups = groups("");
    let rules = groups.as_array().unwrap().iter().flat_map(rules);
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut found: Vec<_> =
        rules.map(|rule| (text(&rule["alert"]) + &text(&rule["record"]), text(&rule["expr"]))).collect();
    let dashboard: Value = serde_json::from_str(&read("charts/grapnel/files/dashboard.json")).unwrap();
    for panel in dashboard["panels"].as_array().unwrap() {
        let targets = panel["targets"].as_array().into_iter().flatten();
        found.extend(targets.map(|target| (format!("the panel {}", panel["title"]), text(&target["expr"]))));
    }
    found
}

fn read(file: &str) -> String {
    fs::read_to_string(format!("{}/{file}", env!("CARGO_MANIFEST_DIR"))).unwrap()
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
    subscription.delivered(Duration::ZERO);
    subscription.passed_on("ok");
    subscription.skipped("filter");
    subscription.counts(Counts { pending: 1, retrying: 1, dead: 1 });
    metrics.abandoned(&name("n"), &name("s"), 1);
    metrics.appended(Duration::ZERO);
    metrics.journal_failed("full");
    metrics.journal(&JournalMetrics { up: true, namespaces: vec![(name("n"), 1)], ..JournalMetrics::default() });
    metrics.cluster().watch_failed("secrets");
    metrics.cluster().status_written("ok");
    metrics.cluster().event("ok");
    metrics.reconciled("WebhookEndpoint", "programmed", Duration::ZERO);
    metrics.encode()
}

#[test]
fn every_metric_of_a_query_exists_with_its_labels() {
    let series = series();
    // What comes from elsewhere: the scrape itself, and the kubelet. Prometheus adds `job`, and the operator's namespace to
    // series that have none.
    let foreign = ["up", "kubelet_volume_stats_available_bytes", "kubelet_volume_stats_capacity_bytes"];
    let mut seen = BTreeSet::new();
    for (what, expression) in expressions() {
        let selectors = selectors(&expression);
        assert!(!selectors.is_empty(), "{what}: {expression}");
        for (metric, labels) in selectors {
            if foreign.contains(&metric.as_str()) {
                continue;
            }
            let line = series.lines().find(|line| line.split(['{', ' ']).next() == Some(&metric));
            let line = line.unwrap_or_else(|| panic!("{what}: there is no metric {metric}"));
            for label in labels.iter().filter(|label| !["job", "namespace"].contains(&label.as_str())) {
                assert!(line.contains(&format!("{label}=\"")), "{what}: {metric} has no label {label}");
            }
            assert!(labels.iter().any(|label| label == "job"), "{what}: {metric} of any program: {expression}");
            seen.insert(metric);
        }
    }
    assert!(seen.len() >= 30, "only {seen:?} were found; the search is broken");
}

#[test]
fn alerts_are_whole_and_can_be_turned_off() {
    let all = alerts();
    for alert in &all {
        for field in ["/expr", "/for", "/labels/severity", "/annotations/summary", "/annotations/description"] {
            assert!(alert.pointer(field).is_some_and(Value::is_string), "{alert} has no {field}");
        }
    }
    let fewer = groups("prometheusRule.disabled={GrapnelDown,GrapnelNoLeader},prometheusRule.recordingRules=false");
    assert_eq!(rules(&fewer[0]).len(), all.len() - 2);
    assert!(fewer[1].is_null(), "{fewer}");
}

/// Each alert fires in the second part of rules.yaml and none in the first; the service levels have the values that are written there.
#[test]
fn every_alert_fires_when_it_should_and_only_then() {
    let tests = read("tests/install/rules.yaml");
    for alert in alerts() {
        let name = format!("alertname={}", alert["alert"]);
        assert!(tests.contains(&name), "tests/install/rules.yaml does not expect {name}");
    }
    let directory = tempfile::tempdir().unwrap();
    let rules = directory.path().join("rules.yaml");
    fs::write(&rules, serde_json::json!({ "groups": groups("") }).to_string()).unwrap();
    promtool(&["check", "rules", "--lint-fatal"], &rules);
    let file = directory.path().join("tests.yaml");
    fs::write(&file, tests.replace("[RULES]", &format!("[{}]", rules.display()))).unwrap();
    promtool(&["test", "rules"], &file);
}

/// The anchor of a heading, as GitHub makes it of a plain name.
fn anchors(text: &str) -> BTreeSet<String> {
    let headings = text.lines().filter(|line| line.starts_with('#'));
    headings.map(|line| line.trim_start_matches('#').trim().to_lowercase().replace(' ', "-")).collect()
}

#[test]
fn the_runbook_has_a_section_for_every_alert_and_no_other() {
    let anchors = anchors(&read("docs/runbook.md"));
    let mut named = BTreeSet::new();
    for alert in alerts() {
        let section = alert["annotations"]["runbook"].as_str().unwrap();
        let anchor = section.strip_prefix("docs/runbook.md#").unwrap();
        assert!(anchors.contains(anchor), "there is no section {section}");
        assert!(alert["annotations"]["runbook_url"].is_null(), "the address of the page is not known: {alert}");
        named.insert(anchor.to_owned());
    }
    let about: BTreeSet<_> = anchors.into_iter().filter(|anchor| anchor.starts_with("grapnel")).collect();
    assert_eq!(about, named);
    let published = &groups("prometheusRule.runbookUrl=https://example.com/a")[0]["rules"][0]["annotations"];
    assert_eq!(published["runbook_url"], "https://example.com/a#grapneldown");
    assert!(published["runbook"].is_null());
}

#[test]
fn links_of_the_runbook_lead_to_sections() {
    let runbook = read("docs/runbook.md");
    let links = runbook.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(link, _)| link);
    let mut seen = 0;
    for (document, anchor) in links.filter_map(|link| link.split_once('#')) {
        let document = if document.is_empty() { "runbook.md" } else { document };
        assert!(anchors(&read(&format!("docs/{document}"))).contains(anchor), "{document} has no section {anchor}");
        seen += 1;
    }
    assert!(seen >= 10, "only {seen} links were found; the search is broken");
}

#[test]
fn the_dashboard_is_in_the_chart_as_the_sidecar_finds_it() {
    let objects = render(&["--set", "dashboard.enabled=true"]);
    let map = the(&objects, "ConfigMap");
    assert_eq!(map["metadata"]["labels"]["grafana_dashboard"], "1");
    let rendered: Value = serde_json::from_str(map["data"]["grapnel.json"].as_str().unwrap()).unwrap();
    assert_eq!(rendered, serde_json::from_str::<Value>(&read("charts/grapnel/files/dashboard.json")).unwrap());
    let panels = rendered["panels"].as_array().unwrap();
    let ids: BTreeSet<_> = panels.iter().map(|panel| panel["id"].as_u64().unwrap()).collect();
    assert_eq!(ids.len(), panels.len(), "two panels have one id");
    let mut cells = BTreeSet::new();
    for panel in panels {
        let [x, y, w, h] = ["x", "y", "w", "h"].map(|side| panel["gridPos"][side].as_u64().unwrap());
        assert!(x + w <= 24, "{} is wider than a dashboard", panel["title"]);
        let free = (x..x + w).all(|x| (y..y + h).all(|y| cells.insert((x, y))));
        assert!(free, "{} lies on another panel", panel["title"]);
        for target in panel["targets"].as_array().into_iter().flatten() {
            assert_eq!(target["datasource"]["uid"], "${datasource}", "{}", panel["title"]);
        }
    }
}
