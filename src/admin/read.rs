//! Reads of the journal: limited concurrency, bounded steps, and no longer than the request waits.

use std::{future::Future, sync::Arc, time::Instant};

use grapnel_journal::{Journal, Sequence};
use tokio_util::sync::CancellationToken;

use super::{Shared, contract::Page, newest_first::ListStep, response::Problem};
use crate::admin::limits::ADMIN_READ_TIME;

/// What a read may use, and for how long.
pub(super) struct Read {
    pub(super) journal: Arc<dyn Journal>,
    began: Instant,
    cancelled: CancellationToken,
}

impl Read {
    /// Whether to stop: the time of the request is over, or its caller has disconnected.
    pub(super) fn is_over(&self) -> bool {
        self.cancelled.is_cancelled() || self.began.elapsed() >= ADMIN_READ_TIME
    }

    /// Reads a list in steps, each with a start and a maximum number of items, until there are more than `limit` items
    /// (so there is a next page), the list ends, or the time is over.
    pub(super) async fn page<T, F>(
        &self,
        limit: usize,
        after: Option<Sequence>,
        step: impl Fn(Sequence, usize) -> F,
        sequence: impl Fn(&T) -> Sequence,
    ) -> Result<Page<T>, Problem>
    where
        F: Future<Output = Result<ListStep<T>, Problem>>,
    {
        let (mut items, mut after) = (Vec::new(), after.unwrap_or_default());
        loop {
            let ListStep { items: found, next, .. } = step(after, limit + 1 - items.len()).await?;
            items.extend(found);
            match next {
                Some(next) if items.len() <= limit && !self.is_over() => after = next,
                next => return Ok(Page::of(items, limit, next, sequence)),
            }
        }
    }
}

#[cfg(test)]
impl Read {
    /// A read of an empty journal in memory, with the time of any other.
    pub(super) fn for_tests() -> Self {
        let journal = Arc::new(grapnel_journal::memory::MemoryJournal::new(Default::default()));
        Self { journal, began: Instant::now(), cancelled: CancellationToken::new() }
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
