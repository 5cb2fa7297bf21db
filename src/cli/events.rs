//! `grapnel events`: what an endpoint has accepted.

use std::{process::ExitCode, time::Duration};

use anyhow::Context;
use base64::{Engine, engine::general_purpose::STANDARD};
use clap::Subcommand;
use jiff::{Timestamp, fmt::rfc2822};
use serde::Deserialize;
use serde_json::Value;

use super::{
    Usage,
    print::{self, clean, or_dash},
    remote::{self, Output, Page, Remote, object},
};
use crate::{
    api::ObjectKey,
    rules::{duration, limits::ADMIN_LIST_MAX},
};

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
        /// Only events received since then: a time (2026-01-31T12:00:00Z) or how long ago (90m)
        #[arg(long, value_name = "TIME", default_value = "", hide_default_value = true)]
        since: String,
        /// Only events after this sequence, to go on where a list ended
        #[arg(long, value_name = "SEQUENCE", default_value_t = 0, hide_default_value = true)]
        after: u64,
        /// At most so many
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
        /// Begin with events received since then: a time (2026-01-31T12:00:00Z) or how long ago (90m). Without it, with
        /// the next event
        #[arg(long, value_name = "TIME")]
        since: Option<String>,
        /// How often to look
        #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = duration::parse)]
        interval: Duration,
    },
}

#[derive(Debug, clap::Args)]
struct Place {
    /// The endpoint: its name, or namespace/name
    endpoint: String,
    /// The endpoint's namespace
    #[arg(short, long, env = "GRAPNEL_NAMESPACE", default_value = "default")]
    namespace: String,
    /// For people or for programs
    #[arg(short, long, env = "GRAPNEL_OUTPUT", value_enum, default_value_t = Output::Table)]
    output: Output,
    #[command(flatten)]
    remote: remote::Args,
}

#[derive(Debug, clap::Args)]
struct Which {
    #[command(flatten)]
    place: Place,
    /// Only events of exactly this type
    #[arg(long = "type", value_name = "TYPE", default_value = "", hide_default_value = true)]
    kind: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Event {
    id: String,
    r#type: String,
    received_time: String,
    sequence: u64,
    content_type: Option<String>,
    bytes: u64,
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
            self.received_time.clone(),
            self.sequence.to_string(),
            self.r#type.clone(),
            self.id.clone(),
            self.bytes.to_string(),
            or_dash(self.content_type.as_ref()),
            or_dash(self.remote.as_ref()),
        ]
    }
}

impl Args {
    /// Runs the command.
    ///
    /// # Errors
    /// When the operator cannot be asked or refuses.
    pub async fn run(self) -> anyhow::Result<ExitCode> {
        match self.command {
            Command::List { which, since, after, limit } => list(&which, &since, after, limit).await,
            Command::Show { place, id } => show(&place, &id).await,
            Command::Tail { which, since, interval } => tail(&which, since, interval).await,
        }
    }
}

async fn list(which: &Which, since: &str, after: u64, limit: u64) -> anyhow::Result<ExitCode> {
    let remote = Remote::new(&which.place.remote)?;
    let endpoint = object(&which.place.namespace, &which.place.endpoint);
    let (after, limit) = (after.to_string(), limit.to_string());
    let query = [("type", &*which.kind), ("since", since), ("after", &after), ("limit", &limit)];
    let answer = remote.get(&events_of(&endpoint), &query).await?;
    if which.place.output == Output::Json {
        print::line(&answer.body)?;
        return Ok(ExitCode::SUCCESS);
    }
    let page: Page<Event> = answer.read()?;
    if page.items.is_empty() {
        eprintln!("no events");
    } else {
        print::table(TITLES, &page.items.iter().map(Event::row).collect::<Vec<_>>())?;
    }
    if let Some(next) = page.r#continue {
        eprintln!("there are more: --after {next}");
    }
    Ok(ExitCode::SUCCESS)
}

async fn show(place: &Place, id: &str) -> anyhow::Result<ExitCode> {
    let remote = Remote::new(&place.remote)?;
    let endpoint = object(&place.namespace, &place.endpoint);
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
    /// The body for people: JSON over several lines, text as it is, of other bytes only how many.
    fn body(&self) -> anyhow::Result<String> {
        if let Some(text) = &self.payload_text {
            return Ok(print::clean_lines(text));
        }
        if let Some(base64) = &self.payload_base64 {
            let bytes = STANDARD.decode(base64).context("the operator's answer holds broken base64")?;
            return Ok(format!("({} bytes that are not text; -o json gives them in base64)", bytes.len()));
        }
        // A payload of `null` is read as none.
        let pretty = serde_json::to_string_pretty(self.payload.as_ref().unwrap_or(&Value::Null))?;
        Ok(print::clean_lines(&pretty))
    }
}

async fn tail(which: &Which, since: Option<String>, interval: Duration) -> anyhow::Result<ExitCode> {
    if interval.is_zero() {
        return Err(Usage::error("--interval must be longer than nothing"));
    }
    let remote = Remote::new(&which.place.remote)?;
    let endpoint = object(&which.place.namespace, &which.place.endpoint);
    let path = events_of(&endpoint);
    // Asked once before following, so that a wrong name or token ends the command.
    let first = remote.get(&path, &[("limit", "1"), ("since", since.as_deref().unwrap_or("0s"))]).await?;
    let since = match since {
        Some(since) => moment(&since, first.date.as_deref()),
        None => moment("0s", first.date.as_deref()),
    };
    let limit = ADMIN_LIST_MAX.to_string();
    let (mut after, mut complained) = (0_u64, false);
    loop {
        let from = after.to_string();
        let query = [("type", &*which.kind), ("since", &since), ("after", &from), ("limit", &limit)];
        match remote.get(&path, &query).await {
            Ok(answer) => {
                complained = false;
                if follow(&answer, which.place.output, &mut after)? {
                    continue;
                }
            }
            Err(error) if error.is::<Usage>() => return Err(error),
            // The operator may be starting again.
            Err(error) if !complained => {
                eprintln!("{error:#}; trying on");
                complained = true;
            }
            Err(_) => {}
        }
        tokio::time::sleep(interval).await;
    }
}

/// Prints a page and moves `after` on; true when there is more at once.
fn follow(answer: &remote::Answer, output: Output, after: &mut u64) -> anyhow::Result<bool> {
    let page: Page<Value> = answer.read()?;
    for item in page.items {
        let text = item.to_string();
        let event: Event = serde_json::from_value(item).context("the operator's answer is not what was expected")?;
        *after = event.sequence;
        match output {
            Output::Json => print::line(&text)?,
            Output::Table => print::line(&clean(&event.row().join("  ")))?,
        }
    }
    Ok(page.r#continue.is_some())
}

/// `since` as one fixed moment by the operator's clock, so that following does not slide along with the time.
fn moment(since: &str, date: Option<&str>) -> String {
    let now =
        date.and_then(|date| rfc2822::DateTimeParser::new().parse_timestamp(date).ok()).unwrap_or_else(Timestamp::now);
    match duration::parse(since) {
        Ok(ago) => now.checked_sub(ago).unwrap_or(Timestamp::MIN).to_string(),
        Err(_) => since.to_owned(),
    }
}

fn events_of(endpoint: &ObjectKey) -> [&str; 5] {
    ["namespaces", &endpoint.namespace, "endpoints", &endpoint.name, "events"]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn following_begins_at_a_fixed_moment() {
        let date = Some("Sat, 31 Jan 2026 12:00:00 GMT");
        assert_eq!(moment("0s", date), "2026-01-31T12:00:00Z");
        assert_eq!(moment("1h", date), "2026-01-31T11:00:00Z");
        assert_eq!(moment("2026-01-01T00:00:00Z", date), "2026-01-01T00:00:00Z");
    }
}
