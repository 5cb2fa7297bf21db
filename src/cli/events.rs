//! `grapnel events`: shows the events that an endpoint has accepted.

use std::{process::ExitCode, time::Duration};

use anyhow::Context;
use base64::{Engine, engine::general_purpose::STANDARD};
use clap::Subcommand;
use grapnel_api::ObjectKey;
use grapnel_values::duration;
use serde::Deserialize;
use serde_json::Value;

use super::{
    Usage,
    object::Namespace,
    print::{self, clean, or_dash},
    remote::{self, Output, Page, Remote},
};
use crate::admin::limits::ADMIN_LIST_MAX;

/// Titles of the table, and the order of columns of a followed line.
const TITLES: [&str; 7] = ["RECEIVED", "SEQUENCE", "TYPE", "ID", "BYTES", "CONTENT-TYPE", "REMOTE"];

/// What to show.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List events, oldest first
    List {
        #[command(flatten)]
        which: Which,
        /// Only events received since this time: a timestamp (2026-01-31T12:00:00Z) or a duration ago (90m)
        #[arg(long, value_name = "TIME", default_value = "", hide_default_value = true)]
        since: String,
        /// Only events after this sequence, to continue an earlier list
        #[arg(long, value_name = "SEQUENCE", default_value_t = 0, hide_default_value = true)]
        after: u64,
        /// Maximum number of rows
        #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..=ADMIN_LIST_MAX as u64))]
        limit: u64,
    },
    /// Show one event with its headers and payload
    Show {
        #[command(flatten)]
        place: Place,
        /// The event's id
        id: String,
    },
    /// Follow events as they come in, until interrupted
    Tail {
        #[command(flatten)]
        which: Which,
        /// Start with events received since this time: a timestamp (2026-01-31T12:00:00Z) or a duration ago (90m).
        /// Without it, with the next event
        #[arg(long, value_name = "TIME")]
        since: Option<String>,
        /// Polling interval
        #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = duration::parse)]
        interval: Duration,
    },
}

#[derive(Debug, clap::Args)]
struct Place {
    /// The endpoint: its name, or namespace/name
    endpoint: String,
    #[command(flatten)]
    namespace: Namespace,
    /// Output format: a table, or JSON
    #[arg(short, long, env = "GRAPNEL_OUTPUT", value_enum, default_value_t = Output::Table)]
    output: Output,
    #[command(flatten)]
    remote: remote::Args,
}

impl Place {
    fn object(&self) -> anyhow::Result<ObjectKey> {
        self.namespace.object(&self.endpoint)
    }
}

#[derive(Debug, clap::Args)]
struct Which {
    #[command(flatten)]
    place: Place,
    /// Only events of this exact type
    #[arg(long = "type", value_name = "TYPE", default_value = "", hide_default_value = true)]
    kind: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Event {
    id: Option<String>,
    r#type: Option<String>,
    received_time: Option<String>,
    sequence: u64,
    /// Whether the record of an acknowledged event is damaged, so that only its sequence is known.
    #[serde(default)]
    damaged: bool,
    content_type: Option<String>,
    bytes: Option<u64>,
    remote: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Full {
    #[serde(flatten)]
    event: Event,
    headers: Vec<Header>,
    payload: Option<Value>,
    payload_text: Option<String>,
    payload_base64: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Header {
    name: String,
    value: Option<String>,
    value_base64: Option<String>,
}

impl Event {
    fn row(&self) -> [String; 7] {
        [
            or_dash(self.received_time.as_ref()),
            self.sequence.to_string(),
            or_dash(self.r#type.as_ref()),
            if self.damaged { "(damaged)".into() } else { or_dash(self.id.as_ref()) },
            or_dash(self.bytes),
            or_dash(self.content_type.as_ref()),
            or_dash(self.remote.as_ref()),
        ]
    }
}

impl Args {
    /// Runs the command.
    ///
    /// # Errors
    /// Returns an error if the operator cannot be reached or rejects the request.
    pub async fn run(self) -> anyhow::Result<ExitCode> {
        match self.command {
            Command::List { which, since, after, limit } => list(&which, &since, after, limit).await,
            Command::Show { place, id } => show(&place, &id).await,
            Command::Tail { which, since, interval } => tail(&which, since, interval).await,
        }
    }
}

async fn list(which: &Which, since: &str, after: u64, limit: u64) -> anyhow::Result<ExitCode> {
    let endpoint = which.place.object()?;
    let remote = Remote::new(&which.place.remote).await?;
    let query = [("type", &*which.kind), ("since", since)];
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let page = remote.list(&events_of(&endpoint), &query, after, limit).await?;
    if which.place.output == Output::Json {
        print::line(&serde_json::to_string(&page).context("the list cannot be written as JSON")?)?;
        return Ok(ExitCode::SUCCESS);
    }
    let events: Vec<Event> = page.read()?;
    if events.is_empty() {
        eprintln!("no events");
    } else {
        print::table(TITLES, &events.iter().map(Event::row).collect::<Vec<_>>())?;
    }
    if let Some(next) = page.r#continue {
        eprintln!("more rows: continue with --after {next}");
    }
    Ok(ExitCode::SUCCESS)
}

async fn show(place: &Place, id: &str) -> anyhow::Result<ExitCode> {
    let endpoint = place.object()?;
    let remote = Remote::new(&place.remote).await?;
    let [a, b, c, d, e] = events_of(&endpoint);
    let answer = remote.get(&[a, b, c, d, e, id], &[]).await?;
    if place.output == Output::Json {
        print::line(&answer.body)?;
        return Ok(ExitCode::SUCCESS);
    }
    let full: Full = answer.read()?;
    for (title, value) in TITLES.iter().zip(full.event.row()) {
        print::line(&format!("{:<13} {}", format!("{title}:"), clean(&value)))?;
    }
    print::line("")?;
    for header in &full.headers {
        let value = header.value.as_ref().or(header.value_base64.as_ref());
        print::line(&format!("{}: {}", clean(&header.name), clean(value.map_or("", String::as_str))))?;
    }
    print::line("")?;
    print::line(&full.body()?)?;
    Ok(ExitCode::SUCCESS)
}

impl Full {
    /// The body in readable form: indented JSON, text as it is, and only the length of other bytes.
    fn body(&self) -> anyhow::Result<String> {
        if let Some(text) = &self.payload_text {
            return Ok(print::clean_lines(text));
        }
        if let Some(base64) = &self.payload_base64 {
            let bytes = STANDARD.decode(base64).context("the operator's response has invalid base64")?;
            return Ok(format!("({} bytes that are not text; -o json gives them in base64)", bytes.len()));
        }
        // A payload of `null` is deserialized as `None`.
        let pretty = serde_json::to_string_pretty(self.payload.as_ref().unwrap_or(&Value::Null))?;
        Ok(print::clean_lines(&pretty))
    }
}

async fn tail(which: &Which, since: Option<String>, interval: Duration) -> anyhow::Result<ExitCode> {
    if interval.is_zero() {
        return Err(Usage::error("--interval must be greater than zero"));
    }
    let endpoint = which.place.object()?;
    let remote = Remote::new(&which.place.remote).await?;
    let path = events_of(&endpoint);
    let limit = ADMIN_LIST_MAX.to_string();
    // Requested before following, so that a wrong name or token ends the command.
    let newest = newest(&remote, &path).await?;
    if let Some(since) = since {
        let mut after = 0;
        loop {
            let from = after.to_string();
            let query = [("type", &*which.kind), ("since", &since), ("after", &from), ("limit", &limit)];
            if !print_page(&remote.get(&path, &query).await?, which, &mut after)? {
                break;
            }
        }
        return follow(&remote, &path, which, after.max(newest), interval).await;
    }
    follow(&remote, &path, which, newest, interval).await
}

/// Prints the events after a sequence until interrupted. Types are filtered here: the operator would scan unwanted
/// events again on every request.
async fn follow(
    remote: &Remote,
    path: &[&str],
    which: &Which,
    mut after: u64,
    interval: Duration,
) -> anyhow::Result<ExitCode> {
    let limit = ADMIN_LIST_MAX.to_string();
    let mut complained = false;
    loop {
        let from = after.to_string();
        match remote.get(path, &[("after", &from), ("limit", &limit)]).await {
            Ok(answer) => {
                complained = false;
                if print_page(&answer, which, &mut after)? {
                    continue;
                }
            }
            Err(error) if error.is::<Usage>() => return Err(error),
            // The operator may be restarting.
            Err(error) if !complained => {
                eprintln!("{error:#}; retrying");
                complained = true;
            }
            Err(_) => {}
        }
        tokio::time::sleep(interval).await;
    }
}

/// Prints the selected events of a page and advances `after`. Returns whether there is another page.
fn print_page(answer: &remote::Answer, which: &Which, after: &mut u64) -> anyhow::Result<bool> {
    let page: Page<Value> = answer.read()?;
    for item in page.items {
        let text = item.to_string();
        let event: Event = serde_json::from_value(item)
            .context("unexpected response from the operator; use the same version of grapnel as the operator")?;
        *after = event.sequence;
        if !which.kind.is_empty() && Some(&which.kind) != event.r#type.as_ref() {
            continue;
        }
        match which.place.output {
            Output::Json => print::line(&text)?,
            Output::Table => print::line(&clean(&event.row().join("  ")))?,
        }
    }
    let Some(next) = page.r#continue else { return Ok(false) };
    // A page may end after events of other types.
    *after = (*after).max(
        next.parse()
            .context("unexpected response from the operator; use the same version of grapnel as the operator")?,
    );
    Ok(true)
}

/// The sequence of the newest event, 0 if there is none. It is found in a few single reads, since reading all events
/// could take long.
async fn newest(remote: &Remote, path: &[&str]) -> anyhow::Result<u64> {
    let Some(mut low) = first_after(remote, path, 0).await? else { return Ok(0) };
    let mut step = 1_u64;
    let mut high = loop {
        let probe = low.saturating_add(step);
        match first_after(remote, path, probe).await? {
            Some(found) => low = found,
            None => break probe,
        }
        step = step.saturating_mul(2);
    };
    while low < high {
        let middle = low + (high - low) / 2;
        match first_after(remote, path, middle).await? {
            Some(found) => (low, high) = (found, high.max(found)),
            None => high = middle,
        }
    }
    Ok(low)
}

async fn first_after(remote: &Remote, path: &[&str], after: u64) -> anyhow::Result<Option<u64>> {
    let found: Vec<Event> = remote.list(path, &[], after, 1).await?.read()?;
    Ok(found.first().map(|event| event.sequence))
}

fn events_of(endpoint: &ObjectKey) -> [&str; 5] {
    ["namespaces", &endpoint.namespace, "endpoints", &endpoint.name, "events"]
}
