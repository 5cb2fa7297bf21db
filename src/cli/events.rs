//! `grapnel events`: shows the events that an endpoint has accepted.

mod follow;

use std::process::ExitCode;

use anyhow::Context;
use base64::{Engine, engine::general_purpose::STANDARD};
use clap::Subcommand;
use grapnel_api::ObjectKey;
use grapnel_values::{age, glob::Glob};
use jiff::Timestamp;
use serde::{Deserialize, de::IgnoredAny};
use serde_json::Value;

use self::follow::Follow;
use super::{
    list::{ListFlags, Listing, Row},
    object::Namespace,
    output::{Output, OutputFlag},
    poll::Interval,
    print::{self, clean, or_dash},
    remote::{self, Remote},
};
use crate::admin::contract::{EventDetail, EventItem, Operation};

/// What to show.
#[derive(Debug, clap::Args)]
pub struct EventsArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List the newest events, the newest last
    List {
        #[command(flatten)]
        which: Which,
        /// Only events received since this time: a timestamp (2026-01-31T12:00:00Z) or a duration ago (90m)
        #[arg(long, value_name = "TIME", default_value = "", hide_default_value = true)]
        since: String,
        #[command(flatten)]
        flags: ListFlags,
    },
    /// Show one event with its headers and payload
    Show {
        #[command(flatten)]
        place: EndpointArgs,
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
        #[command(flatten)]
        interval: Interval,
    },
}

#[derive(Debug, clap::Args)]
struct EndpointArgs {
    /// The endpoint: its name, or namespace/name
    endpoint: String,
    #[command(flatten)]
    namespace: Namespace,
    #[command(flatten)]
    format: OutputFlag,
    #[command(flatten)]
    remote: remote::RemoteArgs,
}

impl EndpointArgs {
    fn object(&self) -> anyhow::Result<ObjectKey> {
        self.namespace.object(&self.endpoint)
    }
}

#[derive(Debug, clap::Args)]
struct Which {
    #[command(flatten)]
    place: EndpointArgs,
    /// Only events whose type matches this glob (invoice.paid, 'invoice.*')
    #[arg(long = "type", value_name = "GLOB", value_parser = glob)]
    kind: Option<Glob>,
}

fn glob(text: &str) -> Result<Glob, String> {
    Glob::parse(text).map_err(|error| error.to_string())
}

impl Row for EventItem {
    /// Nothing.
    type About = Nothing;

    fn titles(wide: bool) -> Vec<&'static str> {
        let titles = ["AGE", "SEQUENCE", "TYPE", "ID", "BYTES"];
        let more: &[&str] = if wide { &["RECEIVED", "CONTENT-TYPE", "REMOTE"] } else { &[] };
        titles.iter().chain(more).copied().collect()
    }

    fn cells(&self, _: &Nothing, now: Timestamp, wide: bool) -> Vec<String> {
        let mut cells = vec![
            or_dash(self.received_time.map(|time| age::since(time, now))),
            self.sequence.to_string(),
            or_dash(self.r#type.as_ref()),
            if self.damaged { "(damaged)".into() } else { or_dash(self.id.as_ref()) },
            or_dash(self.bytes),
        ];
        if wide {
            cells.push(or_dash(self.received_time.map(|time| format!("{time:.3}"))));
            cells.push(or_dash(self.content_type.as_ref()));
            cells.push(or_dash(self.remote));
        }
        cells
    }
}

/// A page of events tells nothing about all of them.
#[derive(Default)]
pub(super) struct Nothing;

impl<'a> Deserialize<'a> for Nothing {
    fn deserialize<D: serde::Deserializer<'a>>(deserializer: D) -> Result<Self, D::Error> {
        IgnoredAny::deserialize(deserializer).map(|_| Self)
    }
}

impl EventsArgs {
    /// Runs the command.
    ///
    /// # Errors
    /// Returns an error if the operator cannot be reached or rejects the request.
    pub async fn run(self) -> anyhow::Result<ExitCode> {
        match self.command {
            Command::List { which, since, flags } => list_events(&which, &since, &flags).await,
            Command::Show { place, id } => show(&place, &id).await,
            Command::Tail { which, since, interval } => tail(&which, since.as_deref(), interval).await,
        }
    }
}

async fn list_events(which: &Which, since: &str, flags: &ListFlags) -> anyhow::Result<ExitCode> {
    let object = which.place.object()?;
    let remote = Remote::new(&which.place.remote).await?;
    let output = which.place.format.output;
    let kind = which.kind.as_ref().map_or("", Glob::as_str);
    let filters = vec![("type", kind), ("since", since)];
    let list = Listing { remote: &remote, operation: Operation::ListEvents, object: &object, filters, flags, output };
    let nothing = match (kind, since.is_empty()) {
        ("", true) => format!("no events of {object}"),
        _ => format!("no events of {object} of this type and time"),
    };
    if !flags.watch {
        return list.run::<EventItem>(&nothing).await;
    }
    let mut follow = Follow::new(&remote, &object, which.kind.as_ref(), output);
    // Requested first, so that no event between the two requests is lost.
    let newest = follow.newest().await?;
    let page = list.read().await?;
    follow.table = list.print::<EventItem>(&page, &nothing)?;
    let shown = page.rows::<EventItem>()?.last().map_or(0, |event| event.sequence);
    follow.run(newest.max(shown), flags.interval).await
}

async fn tail(which: &Which, since: Option<&str>, interval: Interval) -> anyhow::Result<ExitCode> {
    let object = which.place.object()?;
    let remote = Remote::new(&which.place.remote).await?;
    let follow = Follow::new(&remote, &object, which.kind.as_ref(), which.place.format.output);
    // Requested before following, so that a wrong name or token ends the command.
    let newest = follow.newest().await?;
    let shown = match since {
        Some(since) => follow.since(since).await?,
        None => 0,
    };
    follow.run(newest.max(shown), interval).await
}

async fn show(place: &EndpointArgs, id: &str) -> anyhow::Result<ExitCode> {
    let endpoint = place.object()?;
    let remote = Remote::new(&place.remote).await?;
    let answer = remote.get(Operation::ShowEvent, &[&endpoint.namespace, &endpoint.name, id], &[]).await?;
    match place.format.output {
        Output::Json => print::line(&answer.body)?,
        Output::Yaml => place.format.output.value(&answer.read::<Value>()?)?,
        Output::Table | Output::Wide => print_detail(&answer.read()?)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn print_detail(detail: &EventDetail) -> anyhow::Result<()> {
    for (title, value) in EventItem::titles(true).iter().zip(detail.event.cells(&Nothing, Timestamp::now(), true)) {
        print::line(&format!("{:<13} {}", format!("{title}:"), clean(&value)))?;
    }
    print::line("")?;
    for header in &detail.headers {
        let value = header.value.as_ref().or(header.value_base64.as_ref());
        print::line(&format!("{}: {}", clean(&header.name), clean(value.map_or("", String::as_str))))?;
    }
    print::line("")?;
    Ok(print::line(&body(detail)?)?)
}

/// The body in readable form: indented JSON, text as it is, and only the length of other bytes.
fn body(detail: &EventDetail) -> anyhow::Result<String> {
    if let Some(text) = &detail.payload_text {
        return Ok(print::clean_lines(text));
    }
    if let Some(base64) = &detail.payload_base64 {
        let bytes = STANDARD.decode(base64).context("the operator's response has invalid base64")?;
        return Ok(format!("({} bytes that are not text; -o json gives them in base64)", bytes.len()));
    }
    // A payload of `null` is deserialized as `None`.
    let payload = detail.payload.as_ref().map_or("null", |payload| payload.get());
    let pretty = serde_json::to_string_pretty(&serde_json::from_str::<Value>(payload)?)?;
    Ok(print::clean_lines(&pretty))
}
