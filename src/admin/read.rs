//! Reads of the journal: few at once, in bounded steps, and no longer than their request waits.

use std::{
    future::Future,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio_util::sync::CancellationToken;

use super::{Shared, answer::Problem};
use crate::{journal::Journal, rules::limits::ADMIN_READ_TIME};

/// What a read may use, and for how long.
pub(super) struct Read {
    pub(super) journal: Arc<dyn Journal>,
    began: Instant,
    time: Duration,
    cancelled: CancellationToken,
}

impl Read {
    /// Whether to take no further step: the time of one request is over, or its caller has gone.
    pub(super) fn is_over(&self) -> bool {
        self.cancelled.is_cancelled() || self.began.elapsed() >= self.time
    }
}

impl Shared {
    /// Reads the journal in its turn. The turn belongs to the work, not to the request: when the request is cancelled, the
    /// turn is not given to the next one before the current step has ended.
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
        let work = work(Read { journal, began: Instant::now(), time: ADMIN_READ_TIME, cancelled });
        let task = tokio::spawn(async move {
            let result = work.await;
            drop(turn);
            result
        });
        task.await.unwrap_or_else(|_| Err(Problem::unavailable(ENDING)))
    }
}
