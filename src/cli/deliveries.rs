//! `grapnel deliveries`: where a subscription's deliveries stand.

use std::process::ExitCode;

use clap::{Subcommand, ValueEnum};
use serde::Deserialize;

use super::{
    print::{self, or_dash},
    remote::{self, Output, Page, Remote, object},
};
use crate::rules::limits::ADMIN_LIST_MAX;

/// What to show.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List deliveries by the order of their events, with what went wrong
    List {
        /// The subscription: its name, or namespace/name
        subscription: String,
        /// The subscription's namespace
        #[arg(short, long, env = "GRAPNEL_NAMESPACE", default_value = "default")]
        namespace: String,
        /// Only deliveries in this state
        #[arg(long, value_enum)]
        state: Option<State>,
        /// Only deliveries after this sequence, to go on where a list ended
        #[arg(long, value_name = "SEQUENCE", default_value_t = 0, hide_default_value = true)]
        after: u64,
        /// At most so many
        #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..=ADMIN_LIST_MAX as u64))]
        limit: u64,
        /// For people or for programs
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
    /// Failed, will be tried again
    Retrying,
    /// Given up and kept
    DeadLettered,
    /// Delivered, or not for this subscription
    Settled,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Delivery {
    event_id: String,
    r#type: String,
    received_time: String,
    sequence: u64,
    state: String,
    attempts: u32,
    next_attempt_time: Option<String>,
    last_failure: Option<Failure>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Failure {
    reason: String,
    status_code: Option<u16>,
    message: String,
}

impl Delivery {
    fn row(&self) -> [String; 8] {
        [
            self.received_time.clone(),
            self.sequence.to_string(),
            self.r#type.clone(),
            self.event_id.clone(),
            self.state.clone(),
            self.attempts.to_string(),
            or_dash(self.next_attempt_time.as_ref()),
            or_dash(self.last_failure.as_ref().map(Failure::text)),
        ]
    }
}

impl Failure {
    fn text(&self) -> String {
        let status = self.status_code.map_or_else(String::new, |status| format!(" {status}"));
        format!("{}{status}: {}", self.reason, self.message)
    }
}

impl Args {
    /// Runs the command.
    ///
    /// # Errors
    /// When the operator cannot be asked or refuses.
    pub async fn run(self) -> anyhow::Result<ExitCode> {
        let Command::List { subscription, namespace, state, after, limit, output, remote } = self.command;
        let key = object(&namespace, &subscription);
        let state = state.and_then(|state| state.to_possible_value());
        let (after, limit) = (after.to_string(), limit.to_string());
        let answer = Remote::new(&remote)
            .await?
            .get(
                &["namespaces", &key.namespace, "subscriptions", &key.name, "deliveries"],
                &[("state", state.as_ref().map_or("", |state| state.get_name())), ("after", &after), ("limit", &limit)],
            )
            .await?;
        if output == Output::Json {
            print::line(&answer.body)?;
            return Ok(ExitCode::SUCCESS);
        }
        let page: Page<Delivery> = answer.read()?;
        if page.items.is_empty() {
            eprintln!("no deliveries");
        } else {
            let titles = ["RECEIVED", "SEQUENCE", "TYPE", "ID", "STATE", "ATTEMPTS", "NEXT", "LAST-FAILURE"];
            print::table(titles, &page.items.iter().map(Delivery::row).collect::<Vec<_>>())?;
        }
        if let Some(next) = page.r#continue {
            eprintln!("there are more: --after {next}");
        }
        Ok(ExitCode::SUCCESS)
    }
}
