//! `grapnel plan`: what a change of the manifests would make of stored events.

mod live;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    process::ExitCode,
};

use anyhow::bail;
use grapnel_api::{ObjectKey, Reason};
use grapnel_delivery::egress::EgressPolicy;
use grapnel_values::{duration, name};
use jiff::Timestamp;

use self::live::{Live, Span};
use super::{
    Usage,
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

    /// Only the objects of this namespace: needs rights in no other one. The files may define objects of no other one
    #[arg(short, long, value_name = "NAMESPACE", value_parser = namespace)]
    namespace: Option<String>,

    /// Number of events of each endpoint to try, the newest first
    #[arg(long, value_name = "N", default_value_t = 1000, conflicts_with = "since", allow_hyphen_values = true,
        value_parser = last)]
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
        let namespaces: Vec<String> = changes.iter().filter_map(object_namespace).collect();
        if let Some(only) = &self.namespace {
            check_namespaces(only, &namespaces)?;
        }
        let live = Live::read(&remote, self.namespace.as_deref()).await?;
        let stays =
            |key: &ObjectKey| self.partial || (is_cluster && namespaces.iter().all(|it| **it != *key.namespace));
        let class = self.class.as_deref().map_or(Class::Any, |class| Class::Only(Some(class.into())));
        let elsewhere = match self.namespace {
            Some(_) => readers_of_other_namespaces(&changes),
            None => BTreeSet::new(),
        };
        check(&manifests, live.changes(stays), &class, &elsewhere)?;
        let new = Configuration::compile(live.changes(stays).chain(changes), &class);
        let old = Configuration::compile(live.changes(|_| true), &class);
        let mut rehearsal = Rehearsal::new(old, new);
        rehearsal.ended_replays(|replay| live.has_ended(replay));
        let span = match &self.since {
            Some(since) => Span::Since(since),
            None => Span::Last(self.last),
        };
        let mut omitted = 0;
        for endpoint in rehearsal.endpoints() {
            omitted += live::history(&remote, &endpoint, span, |event| rehearsal.observe(&endpoint, event)).await?;
        }
        for mut replay in rehearsal.replays() {
            live::count(&remote, &mut replay).await?;
            rehearsal.count_replay(replay);
        }
        let backlog: BTreeMap<_, _> = live.backlog();
        let mut report = rehearsal.finish(&backlog);
        report.notes.extend(live.notes());
        report.notes.extend(self.notes(live.of_other_classes(&class), &elsewhere, omitted));
        Ok(report)
    }

    /// What limits the result: live objects of other classes, subscriptions that read other namespaces, and events that
    /// could not be read.
    fn notes(&self, others: usize, elsewhere: &BTreeSet<ObjectKey>, omitted: u64) -> Vec<String> {
        let mut notes = Vec::new();
        if let Some(class) = self.class.as_ref().filter(|_| others > 0) {
            let (live, have) = if others == 1 { ("live object", "has") } else { ("live objects", "have") };
            notes.push(format!(
                "{others} {live} {have} another class than --class {class}, so that they are not compared; the operator may \
                 be that of another class"
            ));
        }
        if !elsewhere.is_empty() {
            let names: Vec<_> = elsewhere.iter().map(|key| format!("WebhookSubscription {key}")).collect();
            notes.push(format!(
                "not tried, because the endpoint is in another namespace than --namespace: {}",
                names.join(", ")
            ));
        }
        if omitted > 0 {
            notes.push(format!("{omitted} stored events could not be read again, or a newer event has their id"));
        }
        notes
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
    match text.parse::<Timestamp>() {
        Ok(time) if time > Timestamp::now() => {
            Err("is in the future; no event has been received since then".to_owned())
        }
        Ok(_) => Ok(text.to_owned()),
        Err(_) if duration::parse(text).is_ok() => Ok(text.to_owned()),
        Err(_) => Err("must be a time such as 2026-01-31T12:00:00Z, or a duration ago, such as 24h".to_owned()),
    }
}

/// A number of events.
fn last(text: &str) -> Result<u64, String> {
    let number = text.parse().ok().filter(|number| (1..=CLI_PLAN_EVENTS).contains(number));
    number.ok_or_else(|| format!("must be a number from 1 to {CLI_PLAN_EVENTS}"))
}

/// The name of a namespace.
fn namespace(text: &str) -> Result<String, String> {
    let is_valid = name::is_label(text);
    is_valid.then(|| text.to_owned()).ok_or_else(|| {
        "must be the name of a namespace: at most 63 lower-case letters, digits and hyphens between letters or digits"
            .to_owned()
    })
}

/// Checks that all objects of the files are in one namespace.
///
/// # Errors
/// Returns a usage error that names the other namespaces.
fn check_namespaces(only: &str, namespaces: &[String]) -> anyhow::Result<()> {
    let others: BTreeSet<_> = namespaces.iter().map(String::as_str).filter(|namespace| *namespace != only).collect();
    if others.is_empty() {
        return Ok(());
    }
    let others = others.into_iter().collect::<Vec<_>>().join(", ");
    Err(Usage::error(format!(
        "the files also define objects in other namespaces than --namespace {only}: {others}; plan each namespace by \
         itself, or leave out --namespace"
    )))
}

/// The subscriptions of the files whose endpoints are in other namespaces, which are not read.
fn readers_of_other_namespaces(changes: &[Change]) -> BTreeSet<ObjectKey> {
    let readers = changes.iter().filter_map(|change| match change {
        Change::Subscription(applied) => {
            let endpoint = applied.object.spec.endpoint_ref.namespace.as_deref();
            endpoint.filter(|endpoint| **endpoint != *applied.key.namespace).map(|_| applied.key.clone())
        }
        _ => None,
    });
    readers.collect()
}

/// The namespace of an object that a file defines.
fn object_namespace(change: &Change) -> Option<String> {
    match change {
        Change::Endpoint(applied) => Some(applied.key.namespace.to_string()),
        Change::Subscription(applied) => Some(applied.key.namespace.to_string()),
        Change::Replay(applied) => Some(applied.key.namespace.to_string()),
        _ => None,
    }
}

/// Compiles the files as the operator would, among the live objects that stay. Prints problems as `grapnel check` does.
///
/// # Errors
/// Returns an error if there is a problem. Secrets and ConfigMaps may be missing from the files, and so may the endpoints of
/// subscriptions that read another namespace (`elsewhere`).
fn check(
    manifests: &Manifests,
    stays: impl Iterator<Item = Change>,
    class: &Class,
    elsewhere: &BTreeSet<ObjectKey>,
) -> anyhow::Result<()> {
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
    reports.retain(|report| match (report.reason, &report.object) {
        (Reason::SecretNotFound, _) => false,
        (Reason::EndpointNotFound | Reason::NotAllowed, Some(object)) => !elsewhere.contains(&object.key),
        _ => true,
    });
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_checked_before_anything_is_asked() {
        assert_eq!((last("1"), last("100000")), (Ok(1), Ok(100_000)));
        for wrong in ["0", "-1", "100001", "x", ""] {
            assert_eq!(last(wrong), Err("must be a number from 1 to 100000".into()), "{wrong}");
        }
        for good in ["24h", "90m", "2020-01-31T12:00:00Z"] {
            assert_eq!(time(good), Ok(good.into()));
        }
        assert!(time("9000-01-01T00:00:00Z").unwrap_err().contains("in the future"));
        assert!(time("yesterday").unwrap_err().contains("must be a time") && time("-1h").is_err());
        assert!(namespace("shop").is_ok() && namespace("A_B").is_err() && namespace("").is_err());
    }

    #[test]
    fn files_of_other_namespaces_are_named() {
        let namespaces = ["shop", "hub", "hub"].map(str::to_owned);
        let error = check_namespaces("shop", &namespaces).unwrap_err();
        assert!(error.is::<Usage>() && error.to_string().contains("--namespace shop: hub; "), "{error}");
        assert!(check_namespaces("shop", &namespaces[..1]).is_ok());
    }
}
