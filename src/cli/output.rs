//! The output formats of commands.

use anyhow::Context;
use serde::Serialize;

use super::print;

/// The flag that all commands with an output format share.
#[derive(Debug, Clone, Copy, clap::Args)]
pub(super) struct OutputFlag {
    /// Output format: a table, a table with more columns, JSON, or YAML
    #[arg(short, long, env = "GRAPNEL_OUTPUT", value_enum, default_value_t = Output::Table)]
    pub(super) output: Output,
}

/// An output format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Output {
    /// A table, or sentences
    Table,
    /// A table with more columns
    Wide,
    /// JSON as the admin API returns it
    Json,
    /// The same as YAML
    Yaml,
}

impl Output {
    /// Whether the format is for people, not for programs.
    pub(super) fn is_for_people(self) -> bool {
        matches!(self, Self::Table | Self::Wide)
    }

    /// Prints a value as JSON, or as YAML.
    ///
    /// # Errors
    /// Returns an error if standard output is closed.
    pub(super) fn value(self, value: &impl Serialize) -> anyhow::Result<()> {
        const UNWRITABLE: &str = "the response cannot be written in this format";
        let json = serde_json::to_string(value).context(UNWRITABLE)?;
        if self != Self::Yaml {
            return Ok(print::line(&json)?);
        }
        // By way of JSON, since values may hold JSON text.
        let value: serde_json::Value = serde_json::from_str(&json).context(UNWRITABLE)?;
        let yaml = serde_yaml::to_string(&value).context(UNWRITABLE)?;
        Ok(print::line(yaml.trim_end())?)
    }

    /// Prints one value of a series: a line of JSON, or a YAML document.
    ///
    /// # Errors
    /// Returns an error if standard output is closed.
    pub(super) fn next_value(self, value: &impl Serialize) -> anyhow::Result<()> {
        if self == Self::Yaml {
            print::line("---")?;
        }
        self.value(value)
    }
}
