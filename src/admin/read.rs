//! Reads of the journal: limited concurrency, bounded steps, and no longer than the request waits.

use std::{future::Future, sync::Arc, time::Instant};

use grapnel_journal::{Journal, Sequence};
use tokio_util::sync::CancellationToken;

use super::{
    Shared,
    contract::{ListOrder, Page},
    response::Problem,
};
use crate::admin::limits::ADMIN_READ_TIME;

/// What a read may use, and for how long.
pub(super) struct Read {
    pub(super) journal: Arc<dyn Journal>,
    began: Instant,
    cancelled: CancellationToken,
}

/// One step of a list.
pub(super) struct ListStep<T> {
    /// The items found, in the order of the list.
    pub(super) items: Vec<T>,
    /// Where the next step begins; `None` at the end of the list.
    pub(super) next: Option<Sequence>,
}

/// Returns where a list begins in the journal, of which the caller has seen everything up to `after`; 0 is the whole list.
pub(super) fn begin(order: ListOrder, after: Option<Sequence>) -> Sequence {
    match (order, after) {
        (_, None) => 0,
        (ListOrder::Asc, Some(after)) => after,
        // No sequence is before 1, which is an end like that before 0.
        (ListOrder::Desc, Some(before)) => before.max(1),
    }
}

impl Read {
    /// Whether to stop: the time of the request is over, or its caller has disconnected.
    pub(super) fn is_over(&self) -> bool {
        self.cancelled.is_cancelled() || self.began.elapsed() >= ADMIN_READ_TIME
    }

    /// Reads a list in steps from `after` on, each with a start and a maximum number of items, until there are more than
    /// `limit` items (so there is a next page), the list ends, or the time is over.
    pub(super) async fn page<T, F>(
        &self,
        limit: usize,
        after: Sequence,
        step: impl Fn(Sequence, usize) -> F,
        sequence: impl Fn(&T) -> Sequence,
    ) -> Result<Page<T>, Problem>
    where
        F: Future<Output = Result<ListStep<T>, Problem>>,
    {
        let (mut items, mut after) = (Vec::new(), after);
        loop {
            let ListStep { items: found, next } = step(after, limit + 1 - items.len()).await?;
            items.extend(found);
            match next {
                Some(next) if items.len() <= limit && !self.is_over() => after = next,
                next => return Ok(Page::of(items, limit, next, sequence)),
            }
        }
    }
}

impl Shared {
    /// Reads the journal when a permit is free. The permit belongs to the work, not to the request: when the request is
    /// cancelled, the permit is released only after the current step has ended.
    pub(super) async fn read<T, F>(&self, work: impl FnOnce(Read) -> F) -> Result<T, Problem>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, Problem>> + Send + 'static,
    {
        const ENDING: &str = "the operator is shutting down";
        let turn = Arc::clone(&self.reads).acquire_owned().await.map_err(|_| Problem::unavailable(ENDING))?;
        let cancelled = CancellationToken::new();
        let _cancel = cancelled.clone().drop_guard();
        let journal = Arc::clone(&self.admin.journal);
        let work = work(Read { journal, began: Instant::now(), cancelled });
        let task = tokio::spawn(async move {
            let result = work.await;
            drop(turn);
            result
        });
        task.await.unwrap_or_else(|_| Err(Problem::unavailable(ENDING)))
    }
}
