//! Prints deliveries as they are added and change.

use std::{
    collections::{BTreeMap, BTreeSet},
    process::ExitCode,
};

use crate::{
    admin::contract::DeliveryItem,
    cli::{
        list::Listing,
        poll::Poll,
        remote::{self, RawPage},
    },
};

/// Rows per request.
const PAGE: usize = 100;

/// Rows beyond which those are forgotten that the last request did not return.
const KNOWN_MAX: usize = 10 * PAGE;

/// Lists deliveries, then prints new ones and changes of those among the newest [`PAGE`] rows, until interrupted.
pub(super) async fn run(list: &Listing<'_>, nothing: &str) -> anyhow::Result<ExitCode> {
    let page = list.read().await?;
    let table = list.print::<DeliveryItem>(&page, nothing)?;
    let mut known = SeenRows::default();
    known.changes(&page)?;
    if page.next.is_some() {
        known.floor = known.rows.first_key_value().map_or(0, |(sequence, _)| *sequence);
    }
    let mut poll = Poll::new(list.flags.interval);
    loop {
        poll.wait().await;
        let Some(page) = poll.accept(newest(list, known.newest()).await)? else { continue };
        for (row, raw) in known.changes(&page)? {
            list.print_row(&page, &row, &raw, &table)?;
        }
    }
}

/// The newest rows, ascending: at least a page, and all that are newer than `known`.
async fn newest(list: &Listing<'_>, known: u64) -> anyhow::Result<RawPage> {
    let mut all = list.newest(None, PAGE).await?;
    loop {
        let first: Option<DeliveryItem> = all.items.first().map(|item| remote::row(item)).transpose()?;
        let Some(first) = first.filter(|first| first.sequence > known && all.next.is_some()) else { return Ok(all) };
        let mut older = list.newest(Some(first.sequence), PAGE).await?;
        all.next = older.next;
        all.items.splice(0..0, older.items.drain(..));
    }
}

/// The rows as they were seen last, by sequence.
#[derive(Default)]
struct SeenRows {
    rows: BTreeMap<u64, String>,
    /// Rows before this sequence were left out of the list: they are printed only when they change.
    floor: u64,
}

impl SeenRows {
    fn newest(&self) -> u64 {
        self.rows.last_key_value().map_or(0, |(sequence, _)| *sequence)
    }

    /// The rows of a page that are new or have changed.
    fn changes(&mut self, page: &RawPage) -> anyhow::Result<Vec<(DeliveryItem, String)>> {
        let (mut changes, mut present) = (Vec::new(), BTreeSet::new());
        for item in &page.items {
            let row: DeliveryItem = remote::row(item)?;
            let raw = item.get().to_owned();
            present.insert(row.sequence);
            match self.rows.insert(row.sequence, raw.clone()) {
                Some(before) if before == raw => {}
                None if row.sequence < self.floor => {}
                _ => changes.push((row, raw)),
            }
        }
        if self.rows.len() > KNOWN_MAX {
            self.rows.retain(|sequence, _| present.contains(sequence));
        }
        Ok(changes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(rows: &[(u64, &str)]) -> RawPage {
        let row = |(sequence, state): &(u64, &str)| {
            format!(r#"{{"sequence":{sequence},"state":"{state}","outcome":"pending","attempts":0}}"#)
        };
        let rows: Vec<_> = rows.iter().map(row).collect();
        serde_json::from_str(&format!(r#"{{"items":[{}]}}"#, rows.join(","))).unwrap()
    }

    #[test]
    fn a_row_is_printed_again_only_if_it_changes() {
        let mut known = SeenRows::default();
        let mut changes = |rows: &[(u64, &str)]| {
            let changes = known.changes(&page(rows)).unwrap();
            changes.into_iter().map(|(row, _)| row.sequence).collect::<Vec<_>>()
        };
        assert_eq!(changes(&[(3, "pending"), (9, "pending")]), [3, 9]);
        assert_eq!(changes(&[(3, "settled"), (9, "pending"), (11, "pending")]), [3, 11]);
        assert_eq!(changes(&[(3, "settled"), (9, "pending"), (11, "pending")]), [] as [u64; 0]);
        assert_eq!(known.newest(), 11);
        known.floor = 3;
        assert!(known.changes(&page(&[(1, "pending")])).unwrap().is_empty(), "it was left out of the list");
        assert_eq!(known.changes(&page(&[(1, "settled")])).unwrap().len(), 1);
    }
}
