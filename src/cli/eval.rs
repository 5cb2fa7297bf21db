//! `grapnel eval`: how an endpoint and its subscriptions process an event.

mod output;
mod request;

use std::{path::PathBuf, process::ExitCode, sync::Arc};

use anyhow::bail;
use grapnel_delivery::egress::EgressPolicy;

use self::{output::Evaluation, request::RequestArgs};
use super::{Usage, check, object::Namespace, output::OutputFlag, remote};
use crate::{
    catalog::{Endpoint, ObjectIndex, Options, Snapshot, Subscription},
    dispatch,
    files::{FileWatch, Severity},
    ingress,
    telemetry::metrics::Metrics,
};

/// Show how an endpoint and its subscriptions process an event: type, id, schema, filters, bodies
///
/// Uses the code of the operator, offline and without a signature; only --from-journal asks a running operator, for the
/// event. Nothing is stored and nothing is sent. Exits with 1
/// if the event would be rejected, or if a filter or a transformation fails.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  grapnel eval -f manifests/ --event order.json
  grapnel eval -f manifests/ --subscription shop/deploys --event push.json -H 'X-GitHub-Event: push'
  grapnel eval -f manifests/ --endpoint github --from-journal ID
  grapnel events show github ID -o json | grapnel eval -f manifests/ --endpoint github --stored -")]
pub struct EvalArgs {
    /// File or directory of manifests (.yaml, .yml, .json), - for standard input; may be repeated
    #[arg(short, long = "filename", value_name = "FILE|DIR", required = true)]
    filename: Vec<PathBuf>,

    /// Endpoint that receives the event: its name, or namespace/name [default: the only one]
    #[arg(long, value_name = "NAME", conflicts_with = "subscription")]
    endpoint: Option<String>,

    /// Only this subscription, and its endpoint: its name, or namespace/name
    #[arg(long, value_name = "NAME")]
    subscription: Option<String>,

    #[command(flatten)]
    namespace: Namespace,

    #[command(flatten)]
    request: RequestArgs,

    #[command(flatten)]
    format: OutputFlag,

    #[command(flatten)]
    remote: remote::RemoteArgs,
}

impl EvalArgs {
    /// Evaluates the event and prints the results.
    ///
    /// # Errors
    /// Returns an error if a file cannot be read, the operator has no such event, or the object does not exist or does
    /// not compile.
    pub async fn run(self) -> anyhow::Result<ExitCode> {
        let stdin =
            usize::from(self.request.is_stdin()) + self.filename.iter().filter(|path| path.as_os_str() == "-").count();
        if stdin > 1 {
            return Err(Usage::error("only one of -f, --event and --stored can be standard input"));
        }
        let snapshot = self.snapshot()?;
        let (endpoint, subscriptions) = self.select(&snapshot)?;
        let request = self.request.read(&endpoint.key, &self.remote).await?;
        let preview = ingress::preview::preview(&endpoint, &request.headers, request.body, request.received);
        let result = Evaluation::new(&endpoint, preview, |event| {
            subscriptions.iter().map(|it| (it.key.clone(), dispatch::preview::preview(it, event.clone()))).collect()
        });
        result.print(self.format.output)?;
        Ok(if result.is_good() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    /// The configuration of the files. Problems are printed; objects without problems can be evaluated all the same.
    fn snapshot(&self) -> anyhow::Result<Arc<Snapshot>> {
        let options = Options {
            egress: EgressPolicy::default().allowing_loopback(),
            service_accounts: true,
            ..Options::default()
        };
        let mut watch = FileWatch::new(check::source(&self.filename)?, ObjectIndex::new(options, Metrics::new()));
        let (published, reports) = watch.look()?;
        for report in reports.iter().filter(|report| report.severity == Severity::Error) {
            eprintln!("{report}");
        }
        Ok(published.map(|published| published.snapshot).unwrap_or_default())
    }

    /// The endpoint and the subscriptions to evaluate, in order of name.
    fn select(&self, snapshot: &Snapshot) -> anyhow::Result<(Arc<Endpoint>, Vec<Arc<Subscription>>)> {
        const UNUSABLE: &str = "does not exist or does not compile; see `grapnel check`";
        let (endpoint, only) = match (&self.subscription, &self.endpoint) {
            (Some(name), _) => {
                let key = self.namespace.object(name)?;
                let Some(subscription) = snapshot.subscription(&key) else {
                    bail!("subscription {key} {UNUSABLE}");
                };
                (subscription.endpoint.key.clone(), Some(key))
            }
            (None, Some(name)) => (self.namespace.object(name)?, None),
            (None, None) => {
                let mut keys: Vec<_> = snapshot.endpoints().map(|endpoint| endpoint.key.clone()).collect();
                keys.sort();
                match <[_; 1]>::try_from(keys) {
                    Ok([key]) => (key, None),
                    Err(keys) if keys.is_empty() => {
                        bail!("the files define no endpoint that compiles; see `grapnel check`")
                    }
                    Err(keys) => {
                        let names: Vec<_> = keys.iter().map(ToString::to_string).collect();
                        return Err(Usage::error(format!("select one with --endpoint: {}", names.join(", "))));
                    }
                }
            }
        };
        let Some(found) = snapshot.endpoint(&endpoint) else { bail!("endpoint {endpoint} {UNUSABLE}") };
        let mut subscriptions: Vec<_> = snapshot
            .subscriptions()
            .filter(|it| it.endpoint.key == endpoint && only.as_ref().is_none_or(|only| *only == it.key))
            .map(Arc::clone)
            .collect();
        subscriptions.sort_by(|one, other| one.key.cmp(&other.key));
        Ok((Arc::clone(found), subscriptions))
    }
}
