//! The `grapnel` command.

use std::process::ExitCode;

use anyhow::Context;
use grapnel::cli::{Cli, report};
use mimalloc::MiMalloc;
use zeroizing_alloc::ZeroAlloc;

/// Overwrites memory when it is freed, so that no Secret outlives its value.
///
/// The inner allocator is chosen by measurement (`just bench`): about a tenth more events per second than with the
/// system's allocator, for a few MiB more when idle.
#[global_allocator]
static ALLOCATOR: ZeroAlloc<MiMalloc> = ZeroAlloc(MiMalloc);

fn main() -> ExitCode {
    let cli = Cli::read();
    // One TLS provider for the whole process, installed before anything uses TLS. This fails only if one is already
    // installed.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    report(runtime.context("cannot start").and_then(|runtime| runtime.block_on(cli.command.run())))
}
