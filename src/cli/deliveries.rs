//! `grapnel deliveries`: shows the state of a subscription's deliveries.

mod preview;
mod watch;

use std::process::ExitCode;

use clap::{Subcommand, ValueEnum};
use grapnel_values::age;
use jiff::Timestamp;

use super::{
    list::{ListFlags, Listing, Row},
    object::Namespace,
    output::OutputFlag,
    print::or_dash,
    remote::{self, Remote},
};
use crate::admin::contract::{DeliveryItem, ItemFailure, ItemOutcome, ItemSkip, ItemState, Operation, Sending};

/// What to show.
#[derive(Debug, clap::Args)]
pub struct DeliveriesArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List the deliveries of the newest events with their outcomes, the newest last
    List {
        /// The subscription: its name, or namespace/name
        subscription: String,
        #[command(flatten)]
        namespace: Namespace,
        /// Only deliveries in this state
        #[arg(long, value_enum)]
        state: Option<State>,
        #[command(flatten)]
        flags: ListFlags,
        #[command(flatten)]
        format: OutputFlag,
        #[command(flatten)]
        remote: remote::RemoteArgs,
    },
    /// Show what a subscription, as configured now, makes of an event; nothing is sent
    Preview {
        /// The subscription: its name, or namespace/name
        subscription: String,
        /// Id of the event
        id: String,
        #[command(flatten)]
        namespace: Namespace,
        #[command(flatten)]
        format: OutputFlag,
        #[command(flatten)]
        remote: remote::RemoteArgs,
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
    /// Failed; waits for a retry
    Retrying,
    /// Dead letter
    #[value(alias = "dead")]
    DeadLettered,
    /// Delivered or skipped
    Settled,
}

impl Row for DeliveryItem {
    type About = Sending;

    fn titles(wide: bool) -> Vec<&'static str> {
        let titles = ["OUTCOME", "ATTEMPTS", "STATUS", "AGE", "NEXT", "ID", "TYPE"];
        let more: &[&str] = if wide { &["SEQUENCE", "LAST-ATTEMPT", "DURATION"] } else { &[] };
        titles.iter().chain(more).chain(&["LAST-FAILURE"]).copied().collect()
    }

    fn cells(&self, sending: &Sending, now: Timestamp, wide: bool) -> Vec<String> {
        let mut cells = vec![
            outcome(self),
            self.attempts.to_string(),
            or_dash(self.last_status_code),
            or_dash(self.received_time.map(|time| age::since(time, now))),
            or_dash(next(self, sending, now)),
            if self.damaged { "(damaged)".into() } else { or_dash(self.event_id.as_ref()) },
            or_dash(self.r#type.as_ref()),
        ];
        if wide {
            cells.push(self.sequence.to_string());
            cells.push(or_dash(self.last_attempt_time.map(|time| age::since(time, now))));
            cells.push(or_dash(self.duration_ms.map(|time| format!("{time}ms"))));
        }
        cells.push(or_dash(self.last_failure.as_ref().map(failure)));
        cells
    }
}

/// The outcome, in the words of `--state` where they are the same.
fn outcome(delivery: &DeliveryItem) -> String {
    let word = match delivery.outcome {
        _ if delivery.state == ItemState::InFlight => "inFlight",
        ItemOutcome::Pending => "pending",
        ItemOutcome::Retrying => "retrying",
        ItemOutcome::DeadLettered => "deadLettered",
        ItemOutcome::Delivered => "delivered",
        ItemOutcome::Skipped => "skipped",
        ItemOutcome::Unknown => "unknown",
    };
    match delivery.skip_reason {
        Some(ItemSkip::Filter) => format!("{word} (filter)"),
        Some(ItemSkip::Shadow) => format!("{word} (shadow)"),
        Some(ItemSkip::Type) => format!("{word} (type)"),
        None => word.to_owned(),
    }
}

/// When the event is attempted next, or why it is not.
fn next(delivery: &DeliveryItem, sending: &Sending, now: Timestamp) -> Option<String> {
    let waits = matches!(delivery.state, ItemState::Pending | ItemState::Retrying);
    let pause = sending.pause(now).filter(|_| waits);
    pause.or_else(|| delivery.next_attempt_time.map(|time| age::until(time, now)))
}

fn failure(failure: &ItemFailure) -> String {
    format!("{}: {}", failure.reason, failure.message)
}

impl DeliveriesArgs {
    /// Runs the command.
    ///
    /// # Errors
    /// Returns an error if the operator cannot be reached or rejects the request.
    pub async fn run(self) -> anyhow::Result<ExitCode> {
        let (subscription, namespace, state, flags, format, remote) = match self.command {
            Command::List { subscription, namespace, state, flags, format, remote } => {
                (subscription, namespace, state, flags, format, remote)
            }
            Command::Preview { subscription, id, namespace, format, remote } => {
                let object = namespace.object(&subscription)?;
                return preview::run(&Remote::new(&remote).await?, &object, &id, format.output).await;
            }
        };
        let object = namespace.object(&subscription)?;
        let state = state.and_then(|state| state.to_possible_value());
        let remote = Remote::new(&remote).await?;
        let list = Listing {
            remote: &remote,
            operation: Operation::ListDeliveries,
            object: &object,
            filters: vec![("state", state.as_ref().map_or("", |state| state.get_name()))],
            flags: &flags,
            output: format.output,
        };
        let nothing = format!("no deliveries of {object}");
        if flags.watch { watch::run(&list, &nothing).await } else { list.run::<DeliveryItem>(&nothing).await }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::*;
    use crate::admin::contract::CircuitName;

    fn delivery(value: serde_json::Value) -> DeliveryItem {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn only_what_waits_is_paused() {
        let now: Timestamp = "2026-01-31T12:00:00Z".parse().unwrap();
        let sending = Sending {
            suspended: Some(false),
            mode: None,
            circuit: Some(CircuitName::Open),
            paused_until: None,
            next_probe_time: Some(now + Duration::from_secs(30)),
        };
        let retrying = delivery(json!({
            "sequence": 1, "state": "retrying", "outcome": "retrying", "attempts": 1,
            "nextAttemptTime": "2026-01-31T12:05:00Z",
        }));
        assert_eq!(next(&retrying, &sending, now).unwrap(), "paused (circuit open until 2026-01-31T12:00:30Z)");
        assert_eq!(next(&retrying, &Sending::default(), now).unwrap(), "5m");
        let settled = delivery(json!({
            "sequence": 1, "state": "settled", "outcome": "skipped", "skipReason": "type", "attempts": 0,
        }));
        assert_eq!((next(&settled, &sending, now), outcome(&settled)), (None, "skipped (type)".into()));
        let dead = delivery(json!({ "sequence": 1, "state": "dead", "outcome": "deadLettered", "attempts": 3 }));
        assert_eq!(outcome(&dead), "deadLettered");
        for wide in [false, true] {
            assert_eq!(dead.cells(&sending, now, wide).len(), DeliveryItem::titles(wide).len());
        }
    }
}
