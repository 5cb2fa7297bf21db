//! Prints deliveries as they are added and change.

use std::{collections::BTreeMap, process::ExitCode};

use crate::{
    admin::{contract::DeliveryItem, limits::ADMIN_LIST_MAX},
    cli::{
        list::Listing,
        poll::Poll,
        remote::{self, RawPage},
    },
};

/// Rows per request of a list of all states, whose changes are mostly among the newest rows.
const PAGE: usize = 100;

/// Lists deliveries, then prints new ones and changes of those among the newest rows until interrupted: the newest
/// [`PAGE`], or [`ADMIN_LIST_MAX`] of a list of one state, which an older row can enter at any time.
pub(super) async fn run(list: &Listing<'_>, nothing: &str) -> anyhow::Result<ExitCode> {
    let page = list.read().await?;
    let table = list.print::<DeliveryItem>(&page, nothing)?;
    let mut known = SeenRows::default();
    known.changes(&page)?;
    let size = if list.filters.iter().any(|(_, value)| !value.is_empty()) { ADMIN_LIST_MAX } else { PAGE };
    let mut poll = Poll::new(list.flags.interval);
    loop {
        // The first time at once: which of the rows that were not listed are old is not known before.
        if let Some(page) = poll.accept(newest(list, size, known.newest()).await)? {
            for (row, raw) in known.changes(&page)? {
                list.print_row(&page, &row, &raw, &table)?;
            }
        }
        poll.wait().await;
    }
}

/// The newest rows, ascending: at least `size`, and all that are newer than `known`.
async fn newest(list: &Listing<'_>, size: usize, known: u64) -> anyhow::Result<RawPage> {
    let mut all = list.newest(None, size).await?;
    loop {
        let first: Option<DeliveryItem> = all.items.first().map(|item| remote::row(item)).transpose()?;
        let Some(first) = first.filter(|first| first.sequence > known && all.next.is_some()) else { return Ok(all) };
        let mut older = list.newest(Some(first.sequence), size).await?;
        all.next = older.next;
        all.items.splice(0..0, older.items.drain(..));
    }
}

/// The rows of the last page, by sequence.
#[derive(Default)]
struct SeenRows {
    rows: BTreeMap<u64, String>,
    /// The page left out rows before this sequence. They are not new when they are on a later page, because later rows
    /// have left the list.
    floor: u64,
}

impl SeenRows {
    fn newest(&self) -> u64 {
        self.rows.last_key_value().map_or(0, |(sequence, _)| *sequence)
    }

    /// The rows of a page that are new or have changed since the last one.
    fn changes(&mut self, page: &RawPage) -> anyhow::Result<Vec<(DeliveryItem, String)>> {
        let (mut changes, mut rows) = (Vec::new(), BTreeMap::new());
        for item in &page.items {
            let row: DeliveryItem = remote::row(item)?;
            let raw = item.get().to_owned();
            rows.insert(row.sequence, raw.clone());
            match self.rows.get(&row.sequence) {
                Some(before) if *before == raw => {}
                None if row.sequence < self.floor => {}
                _ => changes.push((row, raw)),
            }
        }
        self.floor = match (&page.next, rows.first_key_value()) {
            (Some(_), Some((lowest, _))) => *lowest,
            _ => 0,
        };
        self.rows = rows;
        Ok(changes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A page of rows, after which more rows are left out.
    fn page(rows: &[(u64, &str)], more: bool) -> RawPage {
        let row = |(sequence, state): &(u64, &str)| {
            format!(r#"{{"sequence":{sequence},"state":"{state}","outcome":"pending","attempts":0}}"#)
        };
        let rows: Vec<_> = rows.iter().map(row).collect();
        let next = if more { r#","continue":"1""# } else { "" };
        serde_json::from_str(&format!(r#"{{"items":[{}]{next}}}"#, rows.join(","))).unwrap()
    }

    fn changes(known: &mut SeenRows, rows: &[(u64, &str)], more: bool) -> Vec<u64> {
        let changes = known.changes(&page(rows, more)).unwrap();
        changes.into_iter().map(|(row, _)| row.sequence).collect()
    }

    #[test]
    fn a_row_is_printed_again_only_if_it_changes() {
        let known = &mut SeenRows::default();
        assert_eq!(changes(known, &[(3, "pending"), (9, "pending")], false), [3, 9]);
        assert_eq!(changes(known, &[(3, "settled"), (9, "pending"), (11, "pending")], false), [3, 11]);
        assert!(changes(known, &[(3, "settled"), (9, "pending"), (11, "pending")], false).is_empty());
        assert_eq!(known.newest(), 11);
    }

    #[test]
    fn rows_that_were_left_out_are_printed_only_when_they_change() {
        let known = &mut SeenRows::default();
        assert_eq!(changes(known, &[(3, "pending"), (9, "pending")], true), [3, 9]);
        assert!(changes(known, &[(1, "pending"), (3, "pending"), (9, "pending")], true).is_empty());
        assert_eq!(changes(known, &[(1, "settled"), (3, "pending"), (9, "pending")], true), [1]);
    }

    #[test]
    fn an_older_row_that_enters_the_list_is_printed() {
        let known = &mut SeenRows::default();
        assert_eq!(changes(known, &[(5, "retrying"), (9, "retrying")], true), [5, 9]);
        assert_eq!(changes(known, &[(5, "retrying"), (7, "retrying"), (9, "retrying")], true), [7]);
        // It leaves the list, and comes back.
        assert!(changes(known, &[(5, "retrying"), (9, "retrying")], true).is_empty());
        assert_eq!(changes(known, &[(5, "retrying"), (7, "retrying"), (9, "retrying")], true), [7]);
        // All rows are known, so that every other row is new.
        assert!(changes(known, &[(9, "retrying")], false).is_empty());
        assert_eq!(changes(known, &[(2, "retrying"), (9, "retrying")], false), [2]);
    }
}
