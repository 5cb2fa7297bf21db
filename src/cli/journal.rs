//! `grapnel journal`: inspects a journal offline, and salvages a damaged one.

use std::{path::PathBuf, process::ExitCode};

use anyhow::Context;
use clap::Subcommand;
use grapnel_journal::embedded::{self, CheckReport};

use super::print;

/// Check or repair a journal offline
#[derive(Debug, clap::Args)]
pub struct JournalArgs {
    #[command(subcommand)]
    command: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Read every record and report the damaged ones; exit with 1 if there are any
    Check {
        /// The data directory (--data-dir)
        directory: PathBuf,
    },
    /// Rewrite damaged files without the damaged records, and list the lost events
    ///
    /// Lost events stay listed as damaged, and their deliveries become dead letters. Copy the directory first.
    Repair {
        /// The data directory (--data-dir)
        directory: PathBuf,
    },
}

impl JournalArgs {
    /// Runs the command and prints the result.
    ///
    /// # Errors
    /// Returns an error if the directory is not a journal, is in use, or cannot be read or written.
    pub async fn run(self) -> anyhow::Result<ExitCode> {
        // Reading and writing a journal blocks.
        tokio::task::spawn_blocking(|| self.command.run()).await?
    }
}

impl Action {
    fn run(self) -> anyhow::Result<ExitCode> {
        match self {
            Self::Check { directory } => {
                let report = embedded::check(&directory).with_context(|| cannot("checked", &directory))?;
                show(&report)?;
                Ok(if report.is_damaged() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
            }
            Self::Repair { directory } => {
                let repaired = embedded::repair(&directory).with_context(|| cannot("repaired", &directory))?;
                for (endpoint, first, last) in &repaired.lost {
                    let events =
                        if first == last { format!("event {first}") } else { format!("events {first} to {last}") };
                    print::line(&format!("lost: endpoint {endpoint}, {events}"))?;
                }
                print::line(&format!(
                    "{} rewritten; {} lost",
                    count(repaired.rewritten as u64, "file"),
                    count(repaired.lost.iter().map(|(_, first, last)| last - first + 1).sum(), "event"),
                ))?;
                Ok(ExitCode::SUCCESS)
            }
        }
    }
}

fn cannot(what: &str, directory: &std::path::Path) -> String {
    format!("the journal in {} cannot be {what}", directory.display())
}

fn show(report: &CheckReport) -> anyhow::Result<()> {
    let rows: Vec<_> = report
        .segments
        .iter()
        .map(|segment| {
            let damaged: u64 = segment.damage.iter().map(|(_, bytes)| bytes).sum();
            vec![
                segment.file.clone(),
                segment.bytes.to_string(),
                segment.records.to_string(),
                segment.events.to_string(),
                damaged.to_string(),
                segment.unfinished.to_string(),
            ]
        })
        .collect();
    print::table(&["FILE", "BYTES", "RECORDS", "EVENTS", "DAMAGED", "UNFINISHED"], &rows)?;
    for segment in &report.segments {
        for (offset, bytes) in &segment.damage {
            print::line(&format!("damaged: {} at offset {offset}, {}", segment.file, count(*bytes, "byte")))?;
        }
    }
    for file in &report.indexes {
        print::line(&format!("index: {file} is damaged or missing; the next start rebuilds it"))?;
    }
    print::line(match report.is_damaged() {
        true => "records are damaged: start as usual to serve all other events, or run `grapnel journal repair`",
        false => "ok: every record is whole",
    })?;
    Ok(())
}

fn count(number: u64, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}
