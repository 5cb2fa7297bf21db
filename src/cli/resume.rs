//! `grapnel resume`: retries now, after the receiver has been repaired.

use std::process::ExitCode;

use serde_json::json;

use super::{
    object::Namespace,
    print,
    redeliver::Done,
    remote::{self, Output, Remote},
};

const AFTER_HELP: &str = "\
Every event that waits for a retry is due now, under the same attempt number, and if deliveries pause \
because the receiver kept failing (condition Delivering, reason CircuitOpen), the receiver is probed at \
once. Dead letters stay: see grapnel redeliver --dead-lettered.

Where several replicas deliver, only the one that is asked probes at once; on the others the circuit \
breaker probes after its cooldown.";

/// Which subscription.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
#[group(skip)]
pub struct Args {
    /// The subscription: its name, or namespace/name
    subscription: String,
    #[command(flatten)]
    namespace: Namespace,
    /// For people or for programs
    #[arg(short, long, env = "GRAPNEL_OUTPUT", value_enum, default_value_t = Output::Table)]
    output: Output,
    #[command(flatten)]
    remote: remote::Args,
}

impl Args {
    /// Runs the command.
    ///
    /// # Errors
    /// When the operator cannot be asked or refuses.
    pub async fn run(self) -> anyhow::Result<ExitCode> {
        let key = self.namespace.object(&self.subscription)?;
        let remote = Remote::new(&self.remote).await?;
        let path = |action: &'static str| ["namespaces", &*key.namespace, "subscriptions", &*key.name, action];
        let mut done: Done = remote.post(&path("resume"), &json!({})).await?.read()?;
        let mut hastened = done.hastened;
        // One request makes a bounded number of events due.
        while let Some(position) = done.r#continue.take() {
            let rest = json!({ "retrying": true, "continue": position });
            done = remote.post(&path("redeliver"), &rest).await?.read()?;
            hastened += done.hastened;
        }
        match self.output {
            Output::Json => print::line(&json!({ "hastened": hastened }).to_string())?,
            Output::Table => print::line(&format!("{hastened} retried now; the receiver is probed at once"))?,
        }
        Ok(ExitCode::SUCCESS)
    }
}
