//! Rows of endpoints.

use grapnel_api::Rejection;
use grapnel_values::age;
use jiff::Timestamp;

use super::problem::ready;
use crate::{admin::contract::EndpointItem, cli::print::or_dash};

pub(super) fn titles(wide: bool) -> Vec<&'static str> {
    let titles = ["ENDPOINT", "READY", "RECEIVED", "REJECTED", "DUPLICATES", "LAST-REJECTION", "URL"];
    let more: &[&str] = if wide { &["LAST-RECEIVED", "IDS-FROM", "SOURCE", "REJECTION"] } else { &[] };
    titles.iter().chain(more).copied().collect()
}

pub(super) fn cells(item: &EndpointItem, now: Timestamp, wide: bool) -> Vec<String> {
    let status = &item.status;
    let rejection = status.last_rejection.as_ref();
    let mut cells = vec![
        format!("{}/{}", item.namespace, item.name),
        ready(&status.conditions),
        or_dash(status.received),
        or_dash(status.rejected),
        or_dash(status.duplicates),
        or_dash(rejection.map(|rejection| short(rejection, now))),
        // Without --public-url only the path is known.
        or_dash(item.url.as_ref().or(item.path.as_ref())),
    ];
    if wide {
        cells.push(or_dash(status.last_received_time.as_ref().map(|time| age::since(time.0, now))));
        cells.push(or_dash(status.event_id_from.as_ref()));
        cells.push(or_dash(item.source.as_ref()));
        cells.push(or_dash(rejection.map(|rejection| &rejection.message)));
    }
    cells
}

fn short(rejection: &Rejection, now: Timestamp) -> String {
    format!("{} ({} ago)", rejection.reason, age::since(rejection.time.0, now))
}
