//! `grapnel plan`: what a change of the manifests would make of stored events.

mod live;

use std::{collections::BTreeMap, path::PathBuf, process::ExitCode};

use anyhow::bail;
use grapnel_api::{ObjectKey, Reason};
use grapnel_delivery::egress::EgressPolicy;
use grapnel_values::duration;
use jiff::Timestamp;

use self::live::{Live, Span};
use super::{
    check::Manifests,
    data_plane::label,
    is_closed_output,
    print::{self, clean, clean_lines},
    remote::{Remote, RemoteArgs},
};
use crate::{
    catalog::{Change, Class, ObjectIndex, Options},
    cli::limits::CLI_PLAN_EVENTS,
    files::{FileWatch, Severity},
    plan::{Configuration, Rehearsal, Report},
    telemetry::metrics::Metrics,
};

/// Exit code of a plan that changes the behaviour.
const CHANGED: u8 = 2;

/// Show what a change of manifests would make of stored events: refused, delivered, transformed
///
/// Compiles the files, reads the live configuration and the newest events of a running operator, and lets both versions
/// judge the same events: which would be refused, which subscriptions would get more or fewer, and how bodies would differ.
/// Nothing is sent or stored, and no Secret is needed.
///
/// Exits with 0 if the behaviour does not change, 2 if it changes, and 1 if there is no plan: the files have problems, the
/// operator cannot be reached or has another version, or a flag is wrong.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  grapnel plan -f manifests/
  grapnel plan -f manifests/ --against cluster --since 24h -o markdown
  kustomize build overlays/production | grapnel plan -f - --against cluster -o json")]
pub struct PlanArgs {
    /// File or directory of manifests (.yaml, .yml, .json), - for standard input; may be repeated
    #[arg(short, long = "filename", value_name = "FILE|DIR", required = true)]
    filename: Vec<PathBuf>,

    /// What the files replace: all objects of a standalone operator, or the objects of their namespaces in a cluster
    /// [default: cluster if a flag locates the operator in a cluster, otherwise standalone]
    #[arg(long, value_enum)]
    against: Option<Against>,

    /// Number of events of each endpoint to try, the newest first
    #[arg(long, value_name = "N", default_value_t = 1000, conflicts_with = "since",
        value_parser = clap::value_parser!(u64).range(1..=CLI_PLAN_EVENTS))]
    last: u64,

    /// Try the events received since then: a timestamp, or a duration ago, such as 24h
    #[arg(long, value_name = "TIME", value_parser = time)]
    since: Option<String>,

    /// The files are a part of the configuration: live objects that are not among them stay
    #[arg(long)]
    partial: bool,

    /// Class of the operator: plan only objects with this spec.className [default: objects of every class]
    #[arg(long, env = "GRAPNEL_CLASS", value_name = "NAME", value_parser = label)]
    class: Option<String>,

    /// Leave out the diff of bodies, which shows data of events
    #[arg(long)]
    no_bodies: bool,

    /// Output format
    #[arg(short, long, value_enum, default_value_t = PlanFormat::Text)]
    output: PlanFormat,

    #[command(flatten)]
    remote: RemoteArgs,
}

/// What the files replace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Against {
    /// All objects of a standalone operator
    Standalone,
    /// The objects of their namespaces in a cluster
    Cluster,
}

/// The format of the output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum PlanFormat {
    /// Lines for people
    Text,
    /// One JSON object
    Json,
    /// Markdown for a pull request
    Markdown,
}

impl PlanArgs {
    /// Plans, and prints the report.
    ///
    /// # Errors
    /// Returns an error if there is no plan; the exit code is then 1, also for a usage error, because 2 is a result.
    pub async fn run(self) -> anyhow::Result<ExitCode> {
        let (output, no_bodies) = (self.output, self.no_bodies);
        let mut report = self.plan().await.map_err(|error| anyhow::anyhow!("{error:#}"))?;
        if no_bodies {
            report.subscriptions.iter_mut().for_each(|subscription| subscription.body_change = None);
        }
        let code = if report.changed { ExitCode::from(CHANGED) } else { ExitCode::SUCCESS };
        match print(&report, output) {
            // A reader that has seen enough, such as `head`, does not change the result.
            Err(error) if !is_closed_output(&error) => Err(error),
            _ => Ok(code),
        }
    }

    async fn plan(&self) -> anyhow::Result<Report> {
        let manifests = Manifests::read(&self.filename)?;
        let changes = manifests.source().scan()?.map(|scan| scan.changes).unwrap_or_default();
        let remote = match self.against {
            Some(Against::Cluster) => self.remote.clone().or_cluster(),
            _ => self.remote.clone(),
        };
        let is_cluster = self.against.map_or(remote.is_cluster(), |against| against == Against::Cluster);
        let remote = Remote::new(&remote).await?;
        let live = Live::read(&remote).await?;
        let namespaces: Vec<String> = changes.iter().filter_map(object_namespace).collect();
        let stays =
            |key: &ObjectKey| self.partial || (is_cluster && namespaces.iter().all(|it| **it != *key.namespace));
        let class = self.class.as_deref().map_or(Class::Any, |class| Class::Only(Some(class.into())));
        check(&manifests, live.changes(stays), &class)?;
        let new = Configuration::compile(live.changes(stays).chain(changes), &class);
        let old = Configuration::compile(live.changes(|_| true), &Class::Any);
        let mut rehearsal = Rehearsal::new(old, new);
        let span = match &self.since {
            Some(since) => Span::Since(since),
            None => Span::Last(self.last),
        };
        let mut omitted = 0;
        for endpoint in rehearsal.endpoints() {
            omitted += live::history(&remote, &endpoint, span, |event| rehearsal.observe(&endpoint, event)).await?;
        }
        let backlog: BTreeMap<_, _> = live.backlog();
        let mut report = rehearsal.finish(&backlog);
        report.notes.extend(live.notes());
        if omitted > 0 {
            report
                .notes
                .push(format!("{omitted} stored events could not be read again, or a newer event has their id"));
        }
        Ok(report)
    }
}

fn print(report: &Report, output: PlanFormat) -> anyhow::Result<()> {
    match output {
        PlanFormat::Text => report.lines().iter().try_for_each(|line| print::line(&clean_lines(line)))?,
        PlanFormat::Json => print::line(&serde_json::to_string_pretty(report)?)?,
        PlanFormat::Markdown => print::line(report.markdown().trim_end())?,
    }
    Ok(())
}

/// A time as the admin API reads it, checked before anything is asked.
fn time(text: &str) -> Result<String, String> {
    let is_time = text.parse::<Timestamp>().is_ok() || duration::parse(text).is_ok();
    is_time
        .then(|| text.to_owned())
        .ok_or_else(|| "must be a time such as 2026-01-31T12:00:00Z, or a duration ago, such as 24h".to_owned())
}

/// The namespace of an object that a file defines.
fn object_namespace(change: &Change) -> Option<String> {
    match change {
        Change::Endpoint(applied) => Some(applied.key.namespace.to_string()),
        Change::Subscription(applied) => Some(applied.key.namespace.to_string()),
        _ => None,
    }
}

/// Compiles the files as the operator would, among the live objects that stay. Prints problems as `grapnel check` does.
///
/// # Errors
/// Returns an error if there is one. A Secret or ConfigMap that is not among the files is none.
fn check(manifests: &Manifests, stays: impl Iterator<Item = Change>, class: &Class) -> anyhow::Result<()> {
    let everywhere = ["0.0.0.0/0", "::/0"].into_iter().filter_map(|network| network.parse().ok()).collect();
    let options = Options {
        egress: EgressPolicy::default().allowing(everywhere).allowing_loopback(),
        service_accounts: true,
        class: class.clone(),
        ..Options::default()
    };
    let mut index = ObjectIndex::new(options, Metrics::new());
    for change in stays {
        index.apply(open(change));
    }
    let mut watch = FileWatch::new(manifests.source(), index);
    let (_, mut reports) = watch.look()?;
    reports.retain(|report| report.reason != Reason::SecretNotFound);
    for report in &reports {
        eprintln!("{}", clean(&report.to_string()));
    }
    match reports.iter().filter(|report| report.severity == Severity::Error).count() {
        0 => Ok(()),
        1 => bail!("the files have a problem; nothing was planned"),
        count => bail!("the files have {count} problems; nothing was planned"),
    }
}

/// A live endpoint allows what it allows now; the labels of namespaces, on which that may depend, are not known here.
fn open(mut change: Change) -> Change {
    if let Change::Endpoint(applied) = &mut change {
        applied.object.spec.allowed_subscribers = serde_json::from_value(serde_json::json!({ "from": "All" })).ok();
    }
    change
}
