//! `grapnel completion`: completion scripts of shells.

use std::{
    io::{self, Write},
    process::ExitCode,
};

use clap::CommandFactory;
use clap_complete::Shell;

use super::Cli;

/// Print a completion script for a shell
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  source <(grapnel completion bash)
  grapnel completion zsh > \"${fpath[1]}/_grapnel\"
  grapnel completion fish > ~/.config/fish/completions/grapnel.fish")]
pub struct CompletionArgs {
    /// The shell
    #[arg(value_enum, value_name = "bash|elvish|fish|powershell|zsh")]
    shell: Shell,
}

impl CompletionArgs {
    /// Prints the script.
    ///
    /// # Errors
    /// Returns an error if standard output is closed.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "grapnel", &mut script);
        io::stdout().lock().write_all(&script)?;
        Ok(ExitCode::SUCCESS)
    }
}
