//! Prints events as they come in.

use std::process::ExitCode;

use grapnel_api::ObjectKey;
use grapnel_values::glob::Glob;

use super::Nothing;
use crate::{
    admin::{
        contract::{EventItem, Operation},
        limits::ADMIN_LIST_MAX,
    },
    cli::{
        list::Row,
        output::Output,
        poll::{Interval, Poll},
        print::Table,
        remote::{self, RawPage, Remote},
    },
};

/// Follows the events of an endpoint. Types are filtered here: the operator would scan unwanted events again on every
/// request.
pub(super) struct Follow<'a> {
    remote: &'a Remote,
    endpoint: &'a ObjectKey,
    kind: Option<&'a Glob>,
    output: Output,
    /// The table that rows are added to.
    pub(super) table: Table,
}

impl<'a> Follow<'a> {
    pub(super) fn new(remote: &'a Remote, endpoint: &'a ObjectKey, kind: Option<&'a Glob>, output: Output) -> Self {
        let titles = EventItem::titles(output == Output::Wide);
        Self { remote, endpoint, kind, output, table: Table::new(&titles, &[]) }
    }

    /// The sequence of the newest event, 0 if there is none.
    pub(super) async fn newest(&self) -> anyhow::Result<u64> {
        let page = self.page(&[("order", "desc"), ("limit", "1")]).await?;
        Ok(page.rows::<EventItem>()?.first().map_or(0, |event| event.sequence))
    }

    /// Prints the events received since a time. Returns where to continue.
    pub(super) async fn since(&self, since: &str) -> anyhow::Result<u64> {
        let (mut after, limit) = (0, ADMIN_LIST_MAX.to_string());
        loop {
            let from = after.to_string();
            let page = self.page(&[("since", since), ("after", &from), ("limit", &limit)]).await?;
            if !self.print(&page, &mut after)? {
                return Ok(after);
            }
        }
    }

    /// Prints the events after a sequence until interrupted.
    pub(super) async fn run(&self, mut after: u64, interval: Interval) -> anyhow::Result<ExitCode> {
        let limit = ADMIN_LIST_MAX.to_string();
        let mut poll = Poll::new(interval);
        loop {
            let from = after.to_string();
            let page = self.page(&[("after", &from), ("limit", &limit)]).await;
            if let Some(page) = poll.accept(page)?
                && self.print(&page, &mut after)?
            {
                continue;
            }
            poll.wait().await;
        }
    }

    async fn page(&self, query: &[(&str, &str)]) -> anyhow::Result<RawPage> {
        let names = [&*self.endpoint.namespace, &*self.endpoint.name];
        self.remote.get(Operation::ListEvents, &names, query).await?.read()
    }

    /// Prints the selected events of a page and advances `after`. Returns whether there is another page.
    fn print(&self, page: &RawPage, after: &mut u64) -> anyhow::Result<bool> {
        for item in &page.items {
            let event: EventItem = remote::row(item)?;
            *after = event.sequence;
            let is_wanted = |glob: &Glob| event.r#type.as_ref().is_some_and(|kind| glob.matches(kind));
            if !self.kind.is_none_or(is_wanted) {
                continue;
            }
            if self.output.is_for_people() {
                let now = jiff::Timestamp::now();
                self.table.row(&event.cells(&Nothing, now, self.output == Output::Wide))?;
            } else {
                self.output.next_value(item)?;
            }
        }
        let Some(next) = &page.next else { return Ok(false) };
        // A page may end after events of other types.
        *after = (*after).max(remote::position(next)?);
        Ok(true)
    }
}
