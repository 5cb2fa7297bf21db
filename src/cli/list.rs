//! Lists: the newest rows by default, the newest last.

use std::process::ExitCode;

use grapnel_api::ObjectKey;
use jiff::Timestamp;
use serde::de::DeserializeOwned;

use super::{
    output::Output,
    poll::Interval,
    print::Table,
    remote::{RawPage, Remote},
};
use crate::admin::{
    contract::{ListOrder, Operation},
    limits::ADMIN_LIST_MAX,
};

/// Flags of commands that list.
#[derive(Debug, Clone, Copy, clap::Args)]
pub(super) struct ListFlags {
    /// Maximum number of rows
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=ADMIN_LIST_MAX as u64))]
    limit: u64,
    /// Only rows before this sequence, to continue with older ones
    #[arg(long, value_name = "SEQUENCE", conflicts_with_all = ["after", "watch"], value_parser = sequence)]
    before: Option<u64>,
    /// Only rows after this sequence, oldest first, to continue with newer ones
    #[arg(long, value_name = "SEQUENCE", conflicts_with = "watch", value_parser = sequence)]
    after: Option<u64>,
    /// Then print rows as they are added or change, until interrupted
    #[arg(short, long)]
    pub(super) watch: bool,
    #[command(flatten)]
    pub(super) interval: Interval,
}

fn sequence(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| "a sequence is a number, as in the column SEQUENCE (-o wide)".into())
}

/// A row of a list.
pub(super) trait Row: DeserializeOwned {
    /// What a page tells about all its rows.
    type About: DeserializeOwned + Default;

    /// The titles of the columns.
    fn titles(wide: bool) -> Vec<&'static str>;

    /// One cell for each title.
    fn cells(&self, page: &Self::About, now: Timestamp, wide: bool) -> Vec<String>;
}

/// What to list.
pub(super) struct Listing<'a> {
    pub(super) remote: &'a Remote,
    pub(super) operation: Operation,
    pub(super) object: &'a ObjectKey,
    /// Filters; empty values are left out.
    pub(super) filters: Vec<(&'static str, &'a str)>,
    pub(super) flags: &'a ListFlags,
    pub(super) output: Output,
}

impl Listing<'_> {
    /// Reads the rows that the flags select, ascending.
    pub(super) async fn read(&self) -> anyhow::Result<RawPage> {
        let limit = usize::try_from(self.flags.limit).unwrap_or(usize::MAX);
        match self.flags.after {
            Some(after) => self.page(ListOrder::Asc, Some(after), limit).await,
            None => self.newest(self.flags.before, limit).await,
        }
    }

    /// Reads at most `limit` of the newest rows, those below `before` if it is set, ascending.
    pub(super) async fn newest(&self, before: Option<u64>, limit: usize) -> anyhow::Result<RawPage> {
        let mut page = self.page(ListOrder::Desc, before, limit).await?;
        page.items.reverse();
        Ok(page)
    }

    /// Reads at most `limit` rows in an order, after a sequence. The operator may return fewer items than requested
    /// although more follow; the request is then repeated for the rest.
    pub(super) async fn page(&self, order: ListOrder, after: Option<u64>, limit: usize) -> anyhow::Result<RawPage> {
        let order = match order {
            ListOrder::Asc => "",
            ListOrder::Desc => "desc",
        };
        let mut all = RawPage { next: after.map(|after| after.to_string()), ..RawPage::default() };
        loop {
            let rest = limit.saturating_sub(all.items.len()).to_string();
            let mut query = self.filters.clone();
            let after = all.next.take().unwrap_or_default();
            query.extend([("order", order), ("after", &*after), ("limit", &*rest)]);
            let object = [&*self.object.namespace, &*self.object.name];
            let page: RawPage = self.remote.get(self.operation, &object, &query).await?.read()?;
            all.items.extend(page.items);
            (all.next, all.rest) = (page.next, page.rest);
            if all.next.is_none() || all.items.len() >= limit {
                return Ok(all);
            }
        }
    }

    /// Prints a page. `nothing` says that it has no row. Returns the table, to which rows can be added.
    pub(super) fn print<R: Row>(&self, page: &RawPage, nothing: &str) -> anyhow::Result<Table> {
        if self.output.is_for_people() {
            let table = self.print_table::<R>(page, nothing)?;
            if !self.flags.watch {
                self.print_rest(page);
            }
            return Ok(table);
        }
        if self.flags.watch {
            page.items.iter().try_for_each(|item| self.output.next_value(item))?;
        } else {
            self.output.value(page)?;
        }
        Ok(Table::default())
    }

    fn print_table<R: Row>(&self, page: &RawPage, nothing: &str) -> anyhow::Result<Table> {
        let (wide, now, about) = (self.output == Output::Wide, Timestamp::now(), page.about::<R::About>()?);
        let rows: Vec<R> = page.rows()?;
        let cells: Vec<_> = rows.iter().map(|row| row.cells(&about, now, wide)).collect();
        let table = Table::new(&R::titles(wide), &cells);
        if rows.is_empty() {
            eprintln!("{nothing}");
        }
        // Without rows the titles are of use only if rows may follow.
        if !rows.is_empty() || self.flags.watch {
            table.print(&cells)?;
        }
        Ok(table)
    }

    /// Says how to see the rows that a page leaves out.
    fn print_rest(&self, page: &RawPage) {
        let Some(next) = &page.next else { return };
        let (which, flag) = if self.flags.after.is_some() { ("newer", "--after") } else { ("older", "--before") };
        eprintln!("{which} rows are not shown: continue with {flag} {next}, or raise --limit");
    }

    /// Prints a row that was added or has changed.
    pub(super) fn print_row<R: Row>(&self, page: &RawPage, row: &R, raw: &str, table: &Table) -> anyhow::Result<()> {
        if !self.output.is_for_people() {
            let value: &serde_json::value::RawValue = serde_json::from_str(raw)?;
            return self.output.next_value(&value);
        }
        let cells = row.cells(&page.about()?, Timestamp::now(), self.output == Output::Wide);
        Ok(table.row(&cells)?)
    }

    /// Lists once.
    pub(super) async fn run<R: Row>(&self, nothing: &str) -> anyhow::Result<ExitCode> {
        self.print::<R>(&self.read().await?, nothing)?;
        Ok(ExitCode::SUCCESS)
    }
}
