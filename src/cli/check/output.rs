//! What `grapnel check` prints.

use std::{collections::BTreeMap, io, process::ExitCode};

use grapnel_api::{ObjectKey, Reason};
use serde_json::{Value, json};

use crate::{
    cli::print,
    files::{LocatedProblem, Severity},
};

/// The format of the output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum ReportFormat {
    /// One line for each problem
    Text,
    /// One JSON object
    Json,
}

/// The result of a check.
pub(super) struct CheckResult<'a> {
    /// Problems and warnings, sorted.
    pub(super) reports: &'a [LocatedProblem],
    /// Number of accepted references to Secrets and ConfigMaps that are not among the files.
    pub(super) missing: usize,
    /// Number of objects, by kind.
    pub(super) objects: BTreeMap<&'static str, usize>,
    /// Where each endpoint's event ids come from.
    pub(super) ids: BTreeMap<ObjectKey, String>,
    /// Number of skipped objects, by kind.
    pub(super) skipped: BTreeMap<Box<str>, usize>,
    /// Number of objects that were not checked because of their class.
    pub(super) elsewhere: usize,
}

impl CheckResult<'_> {
    fn count(&self, severity: Severity) -> usize {
        self.reports.iter().filter(|report| report.severity == severity).count()
    }

    /// The exit code.
    pub(super) fn code(&self, deny_warnings: bool) -> ExitCode {
        let failed = self.count(Severity::Error) > 0 || (deny_warnings && self.count(Severity::Warning) > 0);
        if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
    }

    /// Prints the result. In text the summary of a failure goes to standard error.
    pub(super) fn print(&self, output: ReportFormat, code: ExitCode) -> io::Result<()> {
        if output == ReportFormat::Json {
            return print::line(&format!("{:#}", self.json(code)));
        }
        self.reports.iter().try_for_each(|report| print::line(&print::clean(&report.to_string())))?;
        if code == ExitCode::SUCCESS {
            for (from, endpoints) in self.by_source() {
                eprintln!("{}", print::clean(&format!("event ids of {endpoints} come from: {from}")));
            }
            return print::line(&format!("ok: {}", self.summary()));
        }
        let problems = [
            number(self.count(Severity::Error), "problem", "problems"),
            number(self.count(Severity::Warning), "warning", "warnings"),
        ];
        let skipped = self.skipped().map_or_else(String::new, |skipped| format!("; {skipped}"));
        eprintln!("{}{skipped}", problems.into_iter().flatten().collect::<Vec<_>>().join(", "));
        if self.reports.iter().any(|report| report.reason == Reason::SecretNotFound) {
            eprintln!("if something else creates the missing Secrets and ConfigMaps, use --allow-missing-secrets");
        }
        Ok(())
    }

    /// The endpoints by the sources of their event ids: a few names, and how many more there are.
    fn by_source(&self) -> BTreeMap<&str, String> {
        const NAMES: usize = 5;
        let mut endpoints: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for (key, from) in &self.ids {
            endpoints.entry(from).or_default().push(key.to_string());
        }
        let short = |names: Vec<String>| match names.get(..NAMES) {
            Some(first) if names.len() > NAMES => format!("{} and {} more", first.join(", "), names.len() - NAMES),
            _ => names.join(", "),
        };
        endpoints.into_iter().map(|(from, names)| (from, short(names))).collect()
    }

    /// `1 Secret, 2 WebhookEndpoint; 1 warning; skipped 3 Deployment`.
    fn summary(&self) -> String {
        let list = |counts: Vec<String>| counts.join(", ");
        let objects: Vec<_> = self.objects.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
        let parts = [
            (!objects.is_empty()).then(|| list(objects)).or_else(|| Some("no object".into())),
            number(self.count(Severity::Warning), "warning", "warnings"),
            number(self.missing, "missing reference accepted", "missing references accepted"),
            self.skipped(),
            number(self.elsewhere, "object of another class not checked", "objects of other classes not checked"),
        ];
        parts.into_iter().flatten().collect::<Vec<_>>().join("; ")
    }

    /// `skipped 3 Deployment`, if any object was.
    fn skipped(&self) -> Option<String> {
        let skipped: Vec<_> = self.skipped.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
        (!skipped.is_empty()).then(|| format!("skipped {}", skipped.join(", ")))
    }

    fn json(&self, code: ExitCode) -> Value {
        let ids: BTreeMap<String, &String> = self.ids.iter().map(|(key, from)| (key.to_string(), from)).collect();
        json!({
            "eventIdFrom": ids,
            "ok": code == ExitCode::SUCCESS,
            "problems": self.reports.iter().map(problem).collect::<Vec<_>>(),
            "objects": self.objects,
            "skipped": self.skipped,
            "otherClasses": self.elsewhere,
            "missingReferencesAccepted": self.missing,
        })
    }
}

fn number(count: usize, one: &str, several: &str) -> Option<String> {
    (count > 0).then(|| format!("{count} {}", if count == 1 { one } else { several }))
}

fn problem(report: &LocatedProblem) -> Value {
    let object = report
        .object
        .as_ref()
        .map(|object| json!({ "kind": object.kind, "namespace": &*object.key.namespace, "name": &*object.key.name }));
    json!({
        "file": report.place.file.display().to_string(),
        "line": report.place.line,
        "severity": report.severity,
        "reason": report.reason.as_str(),
        "object": object,
        "pointer": report.pointer,
        "message": report.message,
    })
}
