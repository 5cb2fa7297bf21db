//! `grapnel redeliver`: redelivers events of one subscription.

mod progress;
mod rate;

use std::process::ExitCode;

use grapnel_api::ObjectKey;
use jiff::Timestamp;
use tokio::time::{Instant, sleep_until};

use self::{progress::Progress, rate::Rate};
use super::{
    FAILED, Usage,
    object::Namespace,
    output::{Output, OutputFlag},
    print::{self, clean},
    remote::{self, Remote},
};
use crate::admin::{
    contract::{Operation, RedeliveryOrder, RedeliveryResult},
    limits::{ADMIN_REDELIVERY_IDS, ADMIN_REDELIVERY_MAX},
};

const AFTER_HELP: &str = "\
Queues dead letters, and delivered events that are still retained, for this subscription only. Event ids \
(and the header webhook-id) stay the same and attempts start again at 1, so that a receiver can deduplicate. \
Selected events that wait for a retry are hastened: they are due now, under the same attempt number. Events \
that are pending or in flight are skipped. A suspended subscription delivers queued events after it is resumed. \
While the circuit is open (condition Delivering, reason CircuitOpen), queued events wait for the next probe; \
--now probes at once.

You can repeat the command for dead letters: each is queued once. Events selected by id or time are \
delivered again each time.

Exit codes: 0 done; 1 failed, or an event named by --id was removed or never existed; 2 wrong usage.

Examples:
  grapnel redeliver shop/billing --dead-lettered --dry-run
  grapnel redeliver shop/billing --dead-lettered --rate 50/s
  grapnel redeliver shop/billing --dead-lettered --now
  grapnel redeliver billing --id evt_1 evt_2
  grapnel redeliver billing --since 2026-01-31T12:00:00Z --until 2026-01-31T13:00:00Z";

/// What to deliver again, to whom, how fast.
#[derive(Debug, clap::Args)]
#[command(
    override_usage = "grapnel redeliver [OPTIONS] <SUBSCRIPTION> <--dead-lettered | --retrying | --id <ID>... | --since <TIME> [--until <TIME>]>",
    after_help = AFTER_HELP
)]
#[group(skip)]
#[command(group = clap::ArgGroup::new("which").required(true).multiple(true))]
pub struct RedeliverArgs {
    /// The subscription: its name, or namespace/name
    subscription: String,
    #[command(flatten)]
    namespace: Namespace,
    /// All dead letters
    #[arg(long, group = "which", conflicts_with_all = ["id", "since", "until"])]
    dead_lettered: bool,
    /// All events that wait for a retry; they become due now
    #[arg(long, group = "which", conflicts_with_all = ["dead_lettered", "id", "since", "until"])]
    retrying: bool,
    /// The newest events of these ids
    #[arg(long, value_name = "ID", num_args = 1.., group = "which", conflicts_with_all = ["since", "until", "from"])]
    id: Vec<String>,
    /// Events received at or after this time: a timestamp (2026-01-31T12:00:00Z) or a duration ago (90m)
    #[arg(long, value_name = "TIME", group = "which")]
    since: Option<String>,
    /// Events received before this time: a timestamp or a duration ago
    #[arg(long, value_name = "TIME", group = "which")]
    until: Option<String>,
    /// Only print how many events there are
    #[arg(long)]
    dry_run: bool,
    /// If the circuit is open, probe the receiver at once instead of after the cooldown
    #[arg(long, conflicts_with = "dry_run")]
    now: bool,
    /// Queue at most this many events a second (50/s) or a minute (30/m), so that the receiver is not flooded and new
    /// events do not wait long. No limit by default
    #[arg(long, value_name = "N/s", value_parser = rate::parse)]
    rate: Option<Rate>,
    /// Continue after a failed command, from the position in its error message
    #[arg(long = "continue", value_name = "POSITION")]
    from: Option<String>,
    #[command(flatten)]
    format: OutputFlag,
    #[command(flatten)]
    remote: remote::RemoteArgs,
}

/// One run of the command.
struct Run<'a> {
    remote: Remote,
    key: ObjectKey,
    rate: Option<Rate>,
    /// No request is sent before this time.
    next: Instant,
    /// The sum of all responses.
    total: RedeliveryResult,
    /// Whether a request has been answered.
    asked: bool,
    progress: Progress,
    output: Output,
    args: &'a RedeliverArgs,
}

impl RedeliverArgs {
    /// Runs the command.
    ///
    /// # Errors
    /// Returns an error if the operator cannot be reached or rejects the request.
    pub async fn run(self) -> anyhow::Result<ExitCode> {
        let key = self.namespace.object(&self.subscription)?;
        let output = self.format.output;
        let mut run = Run {
            remote: Remote::new(&self.remote).await?,
            key,
            rate: self.rate.filter(|_| !self.dry_run),
            next: Instant::now(),
            total: RedeliveryResult { dry_run: self.dry_run, ..RedeliveryResult::default() },
            asked: false,
            progress: Progress::new(output.is_for_people()),
            output,
            args: &self,
        };
        let outcome = run.all().await;
        run.progress.clear();
        outcome?;
        run.report()
    }
}

impl Run<'_> {
    async fn all(&mut self) -> anyhow::Result<()> {
        let args = self.args;
        let order = RedeliveryOrder {
            dead_lettered: args.dead_lettered.then_some(true),
            retrying: args.retrying.then_some(true),
            since: args.since.clone(),
            until: args.until.clone(),
            dry_run: args.dry_run,
            probe: args.now,
            from: args.from.clone(),
            ..RedeliveryOrder::default()
        };
        if args.id.is_empty() {
            return self.one(order).await;
        }
        for ids in args.id.chunks(ADMIN_REDELIVERY_IDS) {
            let ids = ids.iter().map(|id| Box::from(&**id)).collect();
            self.one(RedeliveryOrder { event_ids: Some(ids), ..order.clone() }).await?;
        }
        Ok(())
    }

    /// Redelivers one selection completely.
    async fn one(&mut self, mut order: RedeliveryOrder) -> anyhow::Result<()> {
        loop {
            // Each further probe would disregard what the receiver has answered to the first.
            order.probe = self.args.now && !self.asked;
            self.wait(&mut order).await;
            let begun = Instant::now();
            let done = self.ask(&order).await.map_err(|error| self.stopped(error, &order))?;
            if let Some(rate) = self.rate {
                self.next = begun + rate.time_for(done.moved());
            }
            order.from = done.next.clone();
            // The operator resolves the time by its clock; later requests repeat the resolved time.
            order.since = done.since.map(|time| time.to_string()).or(order.since);
            order.until = done.until.map(|time| time.to_string()).or(order.until);
            // The first request probes, and later ones see what came of it.
            if !std::mem::replace(&mut self.asked, true) || !self.args.now {
                self.total.sending = done.sending.clone();
            }
            self.total.add(done);
            if order.from.is_none() {
                return Ok(());
            }
            self.progress.show(self.total.moved());
        }
    }

    /// Waits as long as the rate requires.
    async fn wait(&mut self, order: &mut RedeliveryOrder) {
        order.limit = self.rate.map(|rate| rate.at_once(ADMIN_REDELIVERY_MAX));
        if self.rate.is_some() && self.next > Instant::now() {
            sleep_until(self.next).await;
        }
    }

    async fn ask(&self, order: &RedeliveryOrder) -> anyhow::Result<RedeliveryResult> {
        self.remote.post(Operation::Redeliver, &[&self.key.namespace, &self.key.name], order).await?.read()
    }

    /// Adds the progress so far to an error, if there was any.
    fn stopped(&self, error: anyhow::Error, order: &RedeliveryOrder) -> anyhow::Error {
        if error.is::<Usage>() || order.dry_run || self.total.moved() == 0 {
            return error;
        }
        let go_on = match (&order.from, &order.event_ids) {
            (Some(position), None) => {
                let time = |flag: &str, value: &Option<String>| {
                    value.as_ref().map_or_else(String::new, |value| format!(" --{flag} {value}"))
                };
                let span = time("since", &order.since) + &time("until", &order.until);
                let selection = match order {
                    RedeliveryOrder { dead_lettered: Some(true), .. } => " --dead-lettered",
                    RedeliveryOrder { retrying: Some(true), .. } => " --retrying",
                    _ => &*span,
                };
                format!("; continue with{selection} --continue {position}")
            }
            _ => String::new(),
        };
        error.context(format!("stopped after {} events were queued{go_on}", self.total.moved()))
    }

    fn report(self) -> anyhow::Result<ExitCode> {
        let total = &self.total;
        if self.output.is_for_people() {
            print::line(&sentence(total))?;
            let then =
                total.sending.then(self.args.now, Timestamp::now()).filter(|_| total.moved() + total.skipped > 0);
            if let Some(then) = then {
                eprintln!("{then}");
            }
            for id in &total.gone_ids {
                eprintln!("{} was removed, or never existed", clean(id));
            }
            if let Some(time) = &total.gone_before {
                eprintln!(
                    "events received before {time} are no longer kept; those of the selected time range among them are not \
                     counted as gone"
                );
            }
        } else {
            self.output.value(total)?;
        }
        Ok(if total.gone_ids.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(FAILED) })
    }
}

/// The counts in a sentence.
fn sentence(total: &RedeliveryResult) -> String {
    let RedeliveryResult { queued, hastened, skipped, gone, .. } = total;
    let would_be = if total.dry_run { "would be " } else { "" };
    let hastened = match hastened {
        0 => String::new(),
        hastened => format!("{hastened} {would_be}hastened, "),
    };
    format!("{queued} {would_be}queued, {hastened}{skipped} skipped, {gone} gone")
}
