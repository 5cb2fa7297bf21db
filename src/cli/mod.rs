//! The command line: one file per command.

mod check;
mod completion;
mod console;
mod crd;
mod data_plane;
mod deliveries;
mod eval;
mod events;
mod http;
mod journal;
mod journal_flags;
pub mod limits;
mod list;
mod object;
mod open_files;
mod output;
mod plan;
mod poll;
mod print;
mod redeliver;
mod remote;
mod replica;
mod resume;
mod run;
mod scheme;
mod secret;
mod send;
mod sending;
mod sink;
mod standalone;
mod status;

use std::{io, process::ExitCode};

use clap::{Parser, Subcommand};

/// Exit code of a command that failed.
const FAILED: u8 = 1;
/// Exit code of a usage error; the same as clap's.
const USAGE: u8 = 2;

/// The command line.
#[derive(Debug, Parser)]
#[command(name = "grapnel", version, about, propagate_version = true, max_term_width = 100)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

impl Cli {
    /// Parses the command line of this process. Prints help or an error and exits if there is nothing to run: with 2 after
    /// a usage error, as clap does, but with 1 for a command whose results include 2.
    pub fn read() -> Self {
        Self::try_parse().unwrap_or_else(|error| {
            let is_plan = std::env::args_os().nth(1).is_some_and(|name| name == "plan");
            if !is_plan || error.exit_code() == 0 {
                error.exit();
            }
            // The exit code remains if standard error is closed.
            let _ = error.print();
            std::process::exit(FAILED.into())
        })
    }
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the operator: watch the objects of a cluster, receive and deliver webhooks
    Run(Box<run::RunArgs>),
    /// Receive and deliver webhooks without a cluster
    Standalone(Box<standalone::StandaloneArgs>),
    /// Compile manifests offline and report every problem with its file and line
    Check(check::CheckArgs),
    /// Show how an endpoint and its subscriptions process an event: type, id, schema, filters, bodies
    Eval(Box<eval::EvalArgs>),
    /// Show what a change of manifests would make of stored events: refused, delivered, transformed
    Plan(Box<plan::PlanArgs>),
    /// Print the CustomResourceDefinitions
    Crd(crd::CrdArgs),
    /// Show all endpoints and subscriptions at a glance
    Status(status::StatusArgs),
    /// Print a completion script for a shell
    Completion(completion::CompletionArgs),
    /// List, show or follow the events that an endpoint has accepted
    Events(events::EventsArgs),
    /// List the deliveries of a subscription and their outcomes
    Deliveries(deliveries::DeliveriesArgs),
    /// Redeliver dead letters, events by id, or events of a time range
    Redeliver(Box<redeliver::RedeliverArgs>),
    /// Resume deliveries: make all retries of a subscription due now, and probe its receiver
    Resume(Box<resume::ResumeArgs>),
    /// Open the console in a browser: what arrived, what was delivered, and redelivery
    Console(Box<console::ConsoleArgs>),
    /// Check or repair a journal offline
    Journal(journal::JournalArgs),
    /// Sign and send an event as a provider does
    Send(Box<send::SendArgs>),
    /// Run a test receiver: it verifies and prints deliveries, and can simulate failures
    Sink(Box<sink::SinkArgs>),
}

impl Command {
    /// Runs the command.
    ///
    /// # Errors
    /// Returns an error if the command fails; [`report`] prints it and selects the exit code.
    pub async fn run(self) -> anyhow::Result<ExitCode> {
        match self {
            Self::Run(args) => args.run().await,
            Self::Standalone(args) => args.run().await,
            Self::Check(args) => args.run(),
            Self::Eval(args) => args.run().await,
            Self::Plan(args) => args.run().await,
            Self::Crd(args) => args.run(),
            Self::Status(args) => args.run().await,
            Self::Completion(args) => args.run(),
            Self::Events(args) => args.run().await,
            Self::Deliveries(args) => args.run().await,
            Self::Redeliver(args) => args.run().await,
            Self::Resume(args) => args.run().await,
            Self::Console(args) => args.run().await,
            Self::Journal(args) => args.run().await,
            Self::Send(args) => args.run().await,
            Self::Sink(args) => args.run().await,
        }
    }
}

/// A usage error: exit code 2, like clap's own errors.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Usage(pub String);

impl Usage {
    /// The error to return.
    fn error(sentence: impl Into<String>) -> anyhow::Error {
        Self(sentence.into()).into()
    }
}

/// Whether the reader of the output has closed it.
fn is_closed_output(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

/// Prints an error to standard error, and returns the exit code: 0 success, 1 failure, 2 usage error.
pub fn report(result: anyhow::Result<ExitCode>) -> ExitCode {
    let error = match result {
        Ok(code) => return code,
        Err(error) => error,
    };
    // The reader of the output has closed it (`grapnel events list … | head`).
    if is_closed_output(&error) {
        return ExitCode::SUCCESS;
    }
    eprintln!("error: {error:#}");
    if error.is::<Usage>() {
        eprintln!("\nFor more information, try '--help'.");
        return ExitCode::from(USAGE);
    }
    ExitCode::from(FAILED)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_holds_together() {
        Cli::command().debug_assert();
    }
}
