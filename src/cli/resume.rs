//! `grapnel resume`: retries now, after the receiver has been repaired.

use std::process::ExitCode;

use jiff::Timestamp;
use serde::Serialize;

use super::{
    object::Namespace,
    output::OutputFlag,
    print,
    remote::{self, Remote},
};
use crate::admin::contract::{CircuitName, Operation, ResumeOrder, ResumeResult, Sending};

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
pub struct ResumeArgs {
    /// The subscription: its name, or namespace/name
    subscription: String,
    #[command(flatten)]
    namespace: Namespace,
    #[command(flatten)]
    format: OutputFlag,
    #[command(flatten)]
    remote: remote::RemoteArgs,
}

/// The sum of all responses.
#[derive(Debug, Default, Serialize)]
struct Total {
    hastened: u64,
    /// Retrying events that are due now, whether or not this command made them so.
    due: u64,
    /// As before the probe.
    #[serde(flatten)]
    sending: Sending,
}

impl Total {
    /// What happens now, as a sentence.
    fn sentence(&self, now: Timestamp) -> String {
        let due = match self.due {
            0 if self.sending.is_open() => {
                return "nothing waits for a retry; the circuit was open: the receiver is probed with the next event"
                    .into();
            }
            0 => return "nothing waits for a retry".into(),
            1 => "1 is due now".into(),
            due => format!("{due} are due now"),
        };
        let delivered = match self.sending.circuit {
            Some(CircuitName::Closed) if self.due == 1 => Some("the circuit is closed: it is delivered now"),
            Some(CircuitName::Closed) => Some("the circuit is closed: they are delivered now"),
            _ => None,
        };
        match self.sending.then(true, now).or_else(|| delivered.map(str::to_owned)) {
            Some(then) => format!("{due}; {then}"),
            None => due,
        }
    }
}

impl ResumeArgs {
    /// Runs the command.
    ///
    /// # Errors
    /// Returns an error if the operator cannot be reached or rejects the request.
    pub async fn run(self) -> anyhow::Result<ExitCode> {
        let key = self.namespace.object(&self.subscription)?;
        let remote = Remote::new(&self.remote).await?;
        let ask = async |order: &ResumeOrder| {
            let answer = remote.post(Operation::Resume, &[&key.namespace, &key.name], order).await?;
            answer.read::<ResumeResult>()
        };
        let ResumeResult { mut done, due } = ask(&ResumeOrder::default()).await?;
        let mut total = Total { hastened: done.hastened, due, sending: done.sending.clone() };
        // One request makes a bounded number of events due.
        while let Some(from) = done.next.take() {
            let part = ask(&ResumeOrder { from: Some(from) }).await?;
            done = part.done;
            total.hastened += done.hastened;
            total.due += part.due;
        }
        let output = self.format.output;
        if output.is_for_people() {
            print::line(&total.sentence(Timestamp::now()))?;
        } else {
            output.value(&total)?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sentence_says_what_happens_now() {
        let sentence = |due, suspended, circuit| {
            let sending = Sending { suspended: Some(suspended), circuit, ..Sending::default() };
            Total { hastened: 0, due, sending }.sentence(Timestamp::UNIX_EPOCH)
        };
        let (open, closed) = (Some(CircuitName::Open), Some(CircuitName::Closed));
        assert_eq!(sentence(0, false, closed), "nothing waits for a retry");
        assert!(sentence(0, false, open).ends_with("the receiver is probed with the next event"));
        assert_eq!(sentence(1, false, closed), "1 is due now; the circuit is closed: it is delivered now");
        assert_eq!(sentence(3, false, closed), "3 are due now; the circuit is closed: they are delivered now");
        assert_eq!(
            sentence(2, false, open),
            "2 are due now; the circuit was open: the receiver is probed with one event"
        );
        assert!(sentence(2, true, open).ends_with("suspended: nothing is sent until spec.suspend is false"));
        assert_eq!(sentence(2, false, None), "2 are due now", "delivered elsewhere");
    }
}
