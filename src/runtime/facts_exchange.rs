//! What the replicas tell each other about objects, so that each of them shows the facts of all.
//!
//! Each replica counts the requests that it receives. It writes its counts to rows of its own on the journal's board,
//! and reads those of the others. The first of the live replicas also writes the totals: it adds the rows of replicas
//! that no longer run, and makes an entry for every new object, with the counts of the status that the object had before.
//!
//! ```text
//!   counts of an object = entry of the total + rows of the other replicas + what this replica has counted itself
//! ```
//!
//! | module | content |
//! |---|---|
//! | `row` | the rows and their format |
//! | `view` | the rows as this replica has read them |
//! | `ledger` | what this replica has counted, and how much of it is in its rows and in the totals |
//! | `liveness`, `fold` | which replicas are dead; what becomes of their rows |
//! | `standings`, `standing_row` | facts of subscriptions, told by the replica that delivers them |
//!
//! All of these are pure. Here are the calls.

mod fold;
mod ledger;
mod liveness;
mod row;
mod standing_row;
mod standings;
#[cfg(test)]
mod tests;
mod view;

use std::{
    collections::BTreeSet,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use grapnel_api::Incarnation;
use grapnel_journal::{Board, BoardRow, JournalError, Tenure};
use grapnel_values::clock::Clock;
use tokio::{sync::watch, time};
use tokio_util::sync::CancellationToken;

use self::{
    fold::{Situation, Step},
    ledger::{Draft, Ledger, Written},
    liveness::Liveness,
    row::{Bucket, RowTooLarge},
    standing_row::Standing,
    standings::Standings,
    view::{BoardView, TOTAL, key_of},
};
use crate::{
    catalog::{Facts, ObjectView, ObjectViews, Snapshot},
    runtime::limits,
};

/// Exchanges the facts of objects with the other replicas.
pub(super) struct FactsExchange {
    board: Arc<dyn Board>,
    /// Which subscriptions this replica delivers.
    tenure: watch::Receiver<Tenure>,
    snapshots: watch::Receiver<Arc<Snapshot>>,
    objects: watch::Receiver<ObjectViews>,
    clock: Arc<dyn Clock>,
    /// Time between two writes of counts.
    interval: Duration,
    view: BoardView,
    ledger: Ledger,
    standings: Standings,
    liveness: Liveness,
    /// The objects that the ledger has.
    followed: Option<ObjectViews>,
    /// When everything was read.
    refreshed: Option<Instant>,
    /// When counts were written.
    written: Option<Instant>,
    /// Since when every object has been known.
    synced: Option<Instant>,
    is_failing: bool,
}

/// Why an exchange failed. It is repeated.
#[derive(Debug, thiserror::Error)]
enum ExchangeError {
    #[error(transparent)]
    Board(#[from] JournalError),
    #[error(transparent)]
    TooLarge(#[from] RowTooLarge),
}

/// Makes the endpoints of a configuration wait for the counts of the other replicas. To be called before the
/// configuration is live.
pub(super) fn share(objects: &[Arc<ObjectView>]) {
    for view in objects {
        if let Facts::Endpoint(facts) = &view.facts {
            facts.share();
        }
    }
}

impl FactsExchange {
    /// An exchange on this board. Counts are written at most once in an `interval`.
    pub(super) fn new(
        board: Arc<dyn Board>,
        tenure: watch::Receiver<Tenure>,
        snapshots: watch::Receiver<Arc<Snapshot>>,
        objects: watch::Receiver<ObjectViews>,
        clock: Arc<dyn Clock>,
        interval: Duration,
    ) -> Self {
        Self {
            board,
            tenure,
            snapshots,
            objects,
            clock,
            interval,
            view: BoardView::default(),
            ledger: Ledger::default(),
            standings: Standings::default(),
            liveness: Liveness::default(),
            followed: None,
            refreshed: None,
            written: None,
            synced: None,
            is_failing: false,
        }
    }

    /// Exchanges facts until `shutdown`, and then a last time.
    pub(super) async fn run(mut self, shutdown: CancellationToken) {
        let mut ticks = time::interval(limits::FACTS_TICK);
        ticks.set_missed_tick_behavior(time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = shutdown.cancelled() => break,
                _ = ticks.tick() => {
                    let result = self.tick(Instant::now()).await;
                    self.note(result.err());
                }
            }
        }
        self.written = None;
        if time::timeout(limits::SHUTDOWN_FACTS, self.tick(Instant::now())).await.is_err() {
            tracing::warn!("the last counts could not be written to the journal before the end");
        }
    }

    /// Logs when the exchange begins to fail, and when it works again. The journal reports by itself that it is
    /// unavailable.
    fn note(&mut self, error: Option<ExchangeError>) {
        match (&error, self.is_failing) {
            (Some(ExchangeError::Board(JournalError::Unavailable(_) | JournalError::Closed)), _) => return,
            (Some(error), false) => tracing::warn!(%error, "counts of requests are not exchanged with other replicas"),
            (None, true) => tracing::info!("counts of requests are exchanged with other replicas again"),
            (Some(_), true) | (None, false) => {}
        }
        self.is_failing = error.is_some();
    }

    /// Reads what is new, and writes what is due.
    async fn tick(&mut self, now: Instant) -> Result<(), ExchangeError> {
        self.follow(now);
        self.read(now).await?;
        let is_due = self.written.is_none_or(|written| now.duration_since(written) >= self.interval);
        // Counts still fit where facts of subscriptions do not.
        let mut result = match self.write_standings(is_due).await {
            Err(error @ ExchangeError::Board(_)) => return Err(error),
            told => told,
        };
        if is_due || self.ledger.lacks_base(&self.view) {
            result = self.maintain(now).await.and(result);
        }
        if is_due {
            self.ledger.forget_absent(now);
            let written = self.write().await;
            if !matches!(written, Err(ExchangeError::Board(_))) {
                self.written = Some(now);
            }
            written?;
        }
        result
    }

    /// Changes the totals, if that is up to this replica.
    async fn maintain(&mut self, now: Instant) -> Result<(), ExchangeError> {
        let live = self.board.replicas().await?;
        let mut authors = self.view.replicas();
        authors.extend(self.standings.replicas());
        self.liveness.observe(&authors, &live, now);
        match live.iter().min().is_some_and(|first| first == self.board.replica()) {
            true => {
                self.fold(now).await?;
                self.remove_standings().await
            }
            false => Ok(()),
        }
    }

    /// Removes what dead replicas have said about subscriptions.
    async fn remove_standings(&mut self) -> Result<(), ExchangeError> {
        for (replica, bucket, revision) in self.standings.obsolete(self.liveness.dead()) {
            self.board.remove(&replica, &standings::key_of(bucket), revision).await?;
            self.standings.removed(replica, bucket);
        }
        Ok(())
    }

    /// Writes what this replica knows of the subscriptions that it delivers.
    async fn write_standings(&mut self, is_due: bool) -> Result<(), ExchangeError> {
        let mut too_large = Ok(());
        for (bucket, standings) in self.standings.drafts(is_due) {
            match self.write_standing(bucket, &standings).await {
                Err(error @ ExchangeError::TooLarge(_)) => too_large = Err(error),
                result => result?,
            }
            self.standings.wrote(bucket, standings);
        }
        too_large
    }

    async fn write_standing(&self, bucket: Bucket, standings: &[Standing]) -> Result<(), ExchangeError> {
        let value = standing_row::encode(standings)?;
        self.board.write(self.board.replica(), &standings::key_of(bucket), value, None).await?;
        Ok(())
    }

    /// Takes over the present objects.
    fn follow(&mut self, now: Instant) {
        let objects = Arc::clone(&self.objects.borrow());
        if self.snapshots.borrow().synced() {
            self.synced.get_or_insert(now);
        } else {
            self.synced = None;
        }
        let now_micros = self.clock.now().as_microsecond();
        let is_followed = self.followed.as_ref().is_some_and(|followed| Arc::ptr_eq(followed, &objects));
        if is_followed {
            let has_moved = self.tenure.has_changed().unwrap_or(false);
            if has_moved {
                let tenure = self.tenure.borrow_and_update().clone();
                self.standings.serve(&tenure, now_micros);
                self.standings.publish(self.board.replica());
            }
            return;
        }
        let endpoints = objects.iter().filter_map(|view| match &view.facts {
            Facts::Endpoint(facts) => Some((view.incarnation(), facts)),
            Facts::Subscription(_) | Facts::Replay(_) => None,
        });
        self.ledger.follow(endpoints, now);
        self.ledger.publish(&self.view, self.board.replica());
        let subscriptions = objects.iter().filter_map(|view| match &view.facts {
            Facts::Subscription(facts) => Some((view.incarnation(), view.endpoint_ref.as_ref(), facts)),
            Facts::Endpoint(_) | Facts::Replay(_) => None,
        });
        self.standings.follow(subscriptions);
        let tenure = self.tenure.borrow_and_update().clone();
        self.standings.serve(&tenure, now_micros);
        self.standings.publish(self.board.replica());
        self.followed = Some(objects);
    }

    /// Reads the rows that were written since the last time, or all.
    async fn read(&mut self, now: Instant) -> Result<(), ExchangeError> {
        let is_stale = self.refreshed.is_none_or(|refreshed| now.duration_since(refreshed) >= limits::FACTS_STALE);
        let after = if is_stale { 0 } else { self.view.read };
        let rows = self.board.read(after).await?;
        if is_stale {
            self.view = BoardView::default();
            self.standings.forget_rows();
            self.refreshed = Some(now);
        }
        let mut has_changed = is_stale;
        let mut has_learned = is_stale;
        for row in &rows {
            has_learned |= self.learn(row);
            has_changed |= self.apply(row);
            self.view.read = self.view.read.max(row.revision);
        }
        if has_changed || self.ledger.has_lost_rows() {
            if self.ledger.compare(&self.view, self.board.replica(), now) && !is_stale {
                self.refreshed = None;
            }
            self.ledger.publish(&self.view, self.board.replica());
        }
        if has_learned {
            self.standings.publish(self.board.replica());
        }
        Ok(())
    }

    /// Applies a row about subscriptions. Returns whether it is news.
    fn learn(&mut self, row: &BoardRow) -> bool {
        self.standings.apply(row).unwrap_or_else(|error| {
            let (author, key) = (&row.author, &row.key);
            tracing::warn!(author, key, %error, "facts of subscriptions cannot be read");
            true
        })
    }

    /// Applies a row. Returns whether it is news.
    fn apply(&mut self, row: &BoardRow) -> bool {
        match self.view.apply(row) {
            Ok(changed) => changed.is_some(),
            Err(error) => {
                let (author, key) = (&row.author, &row.key);
                tracing::warn!(author, key, %error, "counts of requests cannot be read");
                true
            }
        }
    }

    /// Adds the rows of dead replicas to the totals, and new objects.
    async fn fold(&mut self, now: Instant) -> Result<(), ExchangeError> {
        let objects = self.ledger.present();
        let gone = self.gone(now);
        let situation = Situation {
            dead: self.liveness.dead(),
            objects: &objects,
            gone: &gone,
            now: self.clock.now().as_microsecond(),
            remembered: i64::try_from((2 * limits::FACTS_STALE).as_micros()).unwrap_or(i64::MAX),
        };
        let buckets: BTreeSet<Bucket> =
            objects.keys().copied().chain(self.view.buckets().map(|(bucket, _)| bucket)).collect();
        let steps = buckets.into_iter().flat_map(|bucket| fold::steps(&self.view, bucket, &situation));
        let steps: Vec<Step> = steps.take(limits::FACTS_FOLDS).collect();
        let mut too_large = Ok(());
        for step in steps {
            match self.take(step).await {
                // The others still fit.
                Err(error @ ExchangeError::TooLarge(_)) => too_large = Err(error),
                result => result?,
            }
        }
        self.ledger.publish(&self.view, self.board.replica());
        too_large
    }

    /// Objects in the totals that have not existed for long.
    fn gone(&self, now: Instant) -> BTreeSet<Incarnation> {
        if self.synced.is_none_or(|synced| now.duration_since(synced) < limits::FACTS_GONE) {
            return BTreeSet::new();
        }
        let totals = self.view.buckets().filter_map(|(_, rows)| rows.total.as_ref());
        let objects = totals.flat_map(|total| total.row.counts.keys());
        objects.filter(|object| !self.ledger.knows(object)).cloned().collect()
    }

    async fn take(&mut self, step: Step) -> Result<(), ExchangeError> {
        match step {
            Step::Seal { replica, bucket, revision, row } => {
                self.put(&replica, bucket, row.encode()?, revision).await?;
            }
            Step::Total { bucket, revision, row } => {
                self.put(TOTAL, bucket, row.encode()?, revision).await?;
            }
            Step::Remove { replica, bucket, revision } => {
                self.board.remove(&replica, &key_of(bucket), revision).await?;
                self.view.removed(bucket, &replica, revision);
            }
        }
        Ok(())
    }

    /// Writes this replica's rows.
    async fn write(&mut self) -> Result<(), ExchangeError> {
        let mut too_large = Ok(());
        for draft in self.ledger.drafts(&self.view) {
            match self.write_row(draft).await {
                Err(error @ ExchangeError::TooLarge(_)) => too_large = Err(error),
                result => result?,
            }
        }
        too_large
    }

    async fn write_row(&mut self, draft: Draft) -> Result<(), ExchangeError> {
        let replica = self.board.replica().to_owned();
        let result = self.put(&replica, draft.bucket, draft.row.encode()?, draft.revision).await;
        let written = match &result {
            Ok(Some(revision)) => Written::Stored(*revision),
            Ok(None) => Written::Refused,
            Err(_) => Written::Unknown,
        };
        self.ledger.wrote(draft, written);
        result.map(|_| ()).map_err(ExchangeError::from)
    }

    /// Writes a row that has the expected revision.
    async fn put(
        &mut self,
        author: &str,
        bucket: Bucket,
        value: Bytes,
        expected: u64,
    ) -> Result<Option<u64>, JournalError> {
        let key = key_of(bucket);
        let written = self.board.write(author, &key, value.clone(), Some(expected)).await?;
        if let Some(revision) = written {
            let row = BoardRow { author: author.to_owned(), key, value, revision };
            self.apply(&row);
        }
        Ok(written)
    }
}
