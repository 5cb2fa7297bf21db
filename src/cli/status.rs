//! `grapnel status`: shows all objects at a glance.

mod endpoint;
mod problem;
mod replay;
mod subscription;

use std::process::ExitCode;

use jiff::Timestamp;

use super::{
    output::{Output, OutputFlag},
    print,
    remote::{self, RawPage, Remote},
};
use crate::admin::contract::{ObjectItem, Operation};

const AFTER_HELP: &str = "\
PENDING counts all events that are not settled, including those in flight and those that wait for a retry \
(RETRYING). DEAD counts dead letters. Below the tables is what is wrong, and what to do.

Examples:
  grapnel status
  grapnel status -n shop -o wide
  grapnel status --kubeconfig";

/// Whose objects.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub struct StatusArgs {
    /// Only objects of this namespace
    #[arg(short, long, env = "GRAPNEL_NAMESPACE")]
    namespace: Option<String>,
    /// Objects of all namespaces. This is the default unless GRAPNEL_NAMESPACE is set
    #[arg(short = 'A', long)]
    all_namespaces: bool,
    #[command(flatten)]
    format: OutputFlag,
    #[command(flatten)]
    remote: remote::RemoteArgs,
}

impl StatusArgs {
    /// Runs the command.
    ///
    /// # Errors
    /// Returns an error if the operator cannot be reached or rejects the request.
    pub async fn run(self) -> anyhow::Result<ExitCode> {
        let namespace = self.namespace.as_deref().filter(|_| !self.all_namespaces);
        let remote = Remote::new(&self.remote).await?;
        let query = [("namespace", namespace.unwrap_or_default())];
        let page: RawPage = remote.get(Operation::ListObjects, &[], &query).await?.read()?;
        if !self.format.output.is_for_people() {
            self.format.output.value(&page)?;
            return Ok(ExitCode::SUCCESS);
        }
        let objects = page.rows()?;
        if objects.is_empty() {
            eprintln!("{}", nothing(namespace));
        }
        show(&objects, self.format.output == Output::Wide)?;
        Ok(ExitCode::SUCCESS)
    }
}

fn nothing(namespace: Option<&str>) -> String {
    match namespace {
        Some(namespace) => format!("no objects in namespace {namespace}; -A shows those of all namespaces"),
        None => "no objects".to_owned(),
    }
}

/// Prints a table for each kind, and then the problems.
fn show(objects: &[ObjectItem], wide: bool) -> anyhow::Result<()> {
    let now = Timestamp::now();
    let (mut endpoints, mut subscriptions, mut replays) = (Vec::new(), Vec::new(), Vec::new());
    let mut problems = Vec::new();
    for object in objects {
        match object {
            ObjectItem::Endpoint(item) => endpoints.push(endpoint::cells(item, now, wide)),
            ObjectItem::Subscription(item) => subscriptions.push(subscription::cells(item, now, wide)),
            ObjectItem::Replay(item) => replays.push(replay::cells(item, now, wide)),
        }
        problems.extend(problem::of(object));
    }
    problems.extend(problem::of_duplicates(objects));
    let mut is_first = true;
    for (titles, rows) in [
        (endpoint::titles(wide), &endpoints),
        (subscription::titles(wide), &subscriptions),
        (replay::titles(wide), &replays),
    ] {
        if rows.is_empty() {
            continue;
        }
        if !std::mem::take(&mut is_first) {
            print::line("")?;
        }
        print::table(&titles, rows)?;
    }
    if !problems.is_empty() {
        print::line("")?;
    }
    Ok(problems.iter().try_for_each(|problem| print::line(&print::clean(problem)))?)
}
