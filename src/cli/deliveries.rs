//! `grapnel deliveries`: shows the state of a subscription's deliveries.

use std::process::ExitCode;

use anyhow::Context;
use clap::{Subcommand, ValueEnum};
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;

use super::{
    object::Namespace,
    print::{self, or_dash},
    remote::{self, Output, Remote},
};
use crate::admin::limits::ADMIN_LIST_MAX;

/// What to show.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List deliveries in the order of their events, with outcome and last failure
    List {
        /// The subscription: its name, or namespace/name
        subscription: String,
        #[command(flatten)]
        namespace: Namespace,
        /// Only deliveries in this state
        #[arg(long, value_enum)]
        state: Option<State>,
        /// Only deliveries after this sequence, to continue an earlier list
        #[arg(long, value_name = "SEQUENCE", default_value_t = 0, hide_default_value = true)]
        after: u64,
        /// Maximum number of rows
        #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..=ADMIN_LIST_MAX as u64))]
        limit: u64,
        /// Output format: a table, or JSON
        #[arg(short, long, env = "GRAPNEL_OUTPUT", value_enum, default_value_t = Output::Table)]
        output: Output,
        #[command(flatten)]
        remote: remote::Args,
    },
}

/// States, named as the admin API names them.
#[derive(Debug, Clone, Copy, ValueEnum)]
#[value(rename_all = "camelCase")]
enum State {
    /// Not yet attempted
    Pending,
    /// Being attempted
    InFlight,
    /// Failed; waits for a retry
    Retrying,
    /// Dead letter
    DeadLettered,
    /// Delivered or skipped
    Settled,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Delivery {
    event_id: Option<String>,
    r#type: Option<String>,
    received_time: Option<Timestamp>,
    /// Whether the record of an acknowledged event is damaged, so that only its sequence is known.
    #[serde(default)]
    damaged: bool,
    state: String,
    outcome: String,
    skip_reason: Option<String>,
    attempts: u32,
    last_status_code: Option<u16>,
    next_attempt_time: Option<Timestamp>,
    last_failure: Option<Failure>,
}

#[derive(Debug, Deserialize)]
struct Failure {
    reason: String,
    message: String,
}

/// Titles of the table.
const TITLES: [&str; 8] = ["OUTCOME", "ATTEMPTS", "STATUS", "AGE", "NEXT", "ID", "TYPE", "LAST-FAILURE"];

impl Delivery {
    fn row(&self, now: Timestamp) -> [String; 8] {
        [
            self.outcome(),
            self.attempts.to_string(),
            or_dash(self.last_status_code),
            or_dash(self.received_time.map(|time| age(now.duration_since(time)))),
            or_dash(self.next_attempt_time.map(|time| age(time.duration_since(now)))),
            if self.damaged { "(damaged)".into() } else { or_dash(self.event_id.as_ref()) },
            or_dash(self.r#type.as_ref()),
            or_dash(self.last_failure.as_ref().map(|failure| format!("{}: {}", failure.reason, failure.message))),
        ]
    }

    fn outcome(&self) -> String {
        match &self.skip_reason {
            Some(reason) => format!("{} ({reason})", self.outcome),
            None if self.state == IN_FLIGHT => "in flight".into(),
            None => self.outcome.clone(),
        }
    }
}

/// The name of a state in the admin API.
const IN_FLIGHT: &str = "inFlight";

/// A duration in its largest unit, as `kubectl get` shows ages; a negative one is `0s`.
fn age(time: SignedDuration) -> String {
    let seconds = time.as_secs().max(0);
    match seconds {
        0..120 => format!("{seconds}s"),
        120..7200 => format!("{}m", seconds / 60),
        7200..172_800 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

impl Args {
    /// Runs the command.
    ///
    /// # Errors
    /// Returns an error if the operator cannot be reached or rejects the request.
    pub async fn run(self) -> anyhow::Result<ExitCode> {
        let Command::List { subscription, namespace, state, after, limit, output, remote } = self.command;
        let key = namespace.object(&subscription)?;
        let state = state.and_then(|state| state.to_possible_value());
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let page = Remote::new(&remote)
            .await?
            .list(
                &["namespaces", &key.namespace, "subscriptions", &key.name, "deliveries"],
                &[("state", state.as_ref().map_or("", |state| state.get_name()))],
                after,
                limit,
            )
            .await?;
        if output == Output::Json {
            print::line(&serde_json::to_string(&page).context("the list cannot be written as JSON")?)?;
            return Ok(ExitCode::SUCCESS);
        }
        let deliveries: Vec<Delivery> = page.read()?;
        let now = Timestamp::now();
        if deliveries.is_empty() {
            eprintln!("no deliveries");
        } else {
            print::table(TITLES, &deliveries.iter().map(|delivery| delivery.row(now)).collect::<Vec<_>>())?;
        }
        if let Some(next) = page.r#continue {
            eprintln!("more rows: continue with --after {next}");
        }
        Ok(ExitCode::SUCCESS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_short() {
        for (seconds, text) in
            [(-5, "0s"), (0, "0s"), (119, "119s"), (120, "2m"), (7199, "119m"), (7200, "2h"), (200_000, "2d")]
        {
            assert_eq!(age(SignedDuration::from_secs(seconds)), text);
        }
    }
}
