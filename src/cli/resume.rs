//! `grapnel resume`: retries now, after the receiver has been repaired.

use std::process::ExitCode;

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{
    object::Namespace,
    print,
    redeliver::Done,
    remote::{self, Output, Remote},
};

const AFTER_HELP: &str = "\
Makes every event that waits for a retry due now, under the same attempt number. If the circuit is open \
(condition Delivering, reason CircuitOpen), probes the receiver at once. Dead letters stay dead: see grapnel \
redeliver --dead-lettered.

With several replicas only the one that receives this request probes at once; on the others the circuit \
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
    /// Output format: a table, or JSON
    #[arg(short, long, env = "GRAPNEL_OUTPUT", value_enum, default_value_t = Output::Table)]
    output: Output,
    #[command(flatten)]
    remote: remote::Args,
}

/// The response to the first request.
#[derive(Debug, Deserialize)]
struct Resumed {
    #[serde(flatten)]
    done: Done,
    #[serde(flatten)]
    state: State,
}

/// Whether anything is sent now, according to the operator.
#[derive(Debug, Default, Serialize, Deserialize)]
struct State {
    #[serde(skip_serializing_if = "Option::is_none")]
    suspended: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    circuit: Option<String>,
}

/// The sum of all responses.
#[derive(Debug, Default, Serialize)]
struct Total {
    hastened: u64,
    /// Retrying events that are due now, whether or not this command made them so.
    due: u64,
    #[serde(flatten)]
    state: State,
}

impl Total {
    fn add(&mut self, done: &Done) {
        self.hastened += done.hastened;
        self.due += done.hastened + done.skipped;
    }

    /// What happens now, as a sentence.
    fn sentence(&self) -> String {
        let open = self.state.circuit.as_deref() == Some("open");
        let due = match self.due {
            0 if open => {
                return "nothing waits for a retry; the circuit was open: the receiver is probed with the next event"
                    .into();
            }
            0 => return "nothing waits for a retry".into(),
            1 => "1 is due now".into(),
            due => format!("{due} are due now"),
        };
        let then = match self.state.circuit.as_deref() {
            _ if self.state.suspended == Some(true) => {
                "; the subscription is suspended: nothing is sent until spec.suspend is false"
            }
            Some("open") => "; the circuit was open: the receiver is probed with one event",
            Some("closed") if self.due == 1 => "; the circuit is closed: it is delivered now",
            Some("closed") => "; the circuit is closed: they are delivered now",
            _ => "",
        };
        format!("{due}{then}")
    }
}

impl Args {
    /// Runs the command.
    ///
    /// # Errors
    /// Returns an error if the operator cannot be reached or rejects the request.
    pub async fn run(self) -> anyhow::Result<ExitCode> {
        let key = self.namespace.object(&self.subscription)?;
        let remote = Remote::new(&self.remote).await?;
        let path = |action: &'static str| ["namespaces", &*key.namespace, "subscriptions", &*key.name, action];
        let Resumed { mut done, state } = remote.post(&path("resume"), &json!({})).await?.read()?;
        let mut total = Total { state, ..Total::default() };
        total.add(&done);
        // One request makes a bounded number of events due.
        while let Some(position) = done.r#continue.take() {
            let rest = json!({ "retrying": true, "continue": position });
            done = remote.post(&path("redeliver"), &rest).await?.read()?;
            total.add(&done);
        }
        match self.output {
            Output::Json => print::line(&serde_json::to_string(&total)?)?,
            Output::Table => print::line(&total.sentence())?,
        }
        Ok(ExitCode::SUCCESS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sentence_says_what_happens_now() {
        let sentence = |due, suspended, circuit: Option<&str>| {
            let state = State { suspended: Some(suspended), circuit: circuit.map(str::to_owned) };
            Total { hastened: 0, due, state }.sentence()
        };
        let open = Some("open");
        assert_eq!(sentence(0, false, Some("closed")), "nothing waits for a retry");
        assert!(sentence(0, false, open).ends_with("the receiver is probed with the next event"));
        assert_eq!(sentence(1, false, Some("closed")), "1 is due now; the circuit is closed: it is delivered now");
        assert_eq!(sentence(3, false, Some("closed")), "3 are due now; the circuit is closed: they are delivered now");
        assert_eq!(
            sentence(2, false, open),
            "2 are due now; the circuit was open: the receiver is probed with one event"
        );
        assert!(sentence(2, true, open).ends_with("suspended: nothing is sent until spec.suspend is false"));
        assert_eq!(sentence(2, false, None), "2 are due now", "delivered elsewhere");
    }
}
