//! Writes the man pages of the program and its commands to a directory: `just man DIR`.

use clap::CommandFactory;

fn main() -> std::io::Result<()> {
    let directory = std::env::args_os().nth(1).unwrap_or_else(|| "man".into());
    std::fs::create_dir_all(&directory)?;
    clap_mangen::generate_to(grapnel::cli::Cli::command(), directory)
}
