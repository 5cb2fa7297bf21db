//! Supervises the long-lived tasks and ends them in order.

use std::sync::Arc;

use anyhow::{anyhow, bail};
use grapnel_journal::Journal;
use grapnel_values::duration;
use tokio::{task::JoinSet, time};
use tokio_util::sync::CancellationToken;

use super::background::Background;
use crate::runtime::limits;

/// The stages of a shutdown, in their order.
///
/// Deliveries end first, then requests: what is accepted while a slow receiver is waited for is durable, and delivered
/// after the next start. Replays end before the last statuses are written, and the Lease outlives the status writer.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Stage {
    Deliveries,
    Requests,
    Maintenance,
    Administration,
    Traces,
    Replays,
    Statuses,
    Leadership,
    Configuration,
}

impl Stage {
    /// The last one.
    const LAST: Self = Self::Configuration;

    /// How many there are.
    pub(super) const COUNT: u32 = Self::LAST as u32 + 1;
}

/// Runs tasks in stages. All run concurrently; at shutdown each stage is cancelled, and awaited, before the next one.
pub(super) struct Supervisor {
    stages: Vec<Tasks>,
    /// Dropped after everything else has ended.
    backgrounds: Vec<Background>,
    journal: Arc<dyn Journal>,
}

struct Tasks {
    stage: Stage,
    stop: CancellationToken,
    running: JoinSet<(&'static str, anyhow::Result<()>)>,
}

impl Supervisor {
    /// A supervisor that closes the journal after everything else has ended.
    pub(super) fn new(journal: Arc<dyn Journal>) -> Self {
        Self { stages: Vec::new(), backgrounds: Vec::new(), journal }
    }

    /// Begins a stage; the returned token cancels its tasks.
    pub(super) fn stage(&mut self, stage: Stage) -> CancellationToken {
        let stop = CancellationToken::new();
        self.stages.push(Tasks { stage, stop: stop.clone(), running: JoinSet::new() });
        stop
    }

    /// Spawns a task in the newest stage.
    pub(super) fn spawn(
        &mut self,
        name: &'static str,
        task: impl Future<Output = anyhow::Result<()>> + Send + 'static,
    ) {
        if let Some(newest) = self.stages.last_mut() {
            newest.running.spawn(async move { (name, task.await) });
        }
    }

    /// Spawns a task in the newest stage, on its own runtime that lasts as long as the supervisor.
    pub(super) fn spawn_in(
        &mut self,
        background: Background,
        name: &'static str,
        task: impl Future<Output = anyhow::Result<()>> + Send + 'static,
    ) {
        if let (Some(newest), Some(handle)) = (self.stages.last_mut(), background.handle()) {
            newest.running.spawn_on(async move { (name, task.await) }, handle);
        }
        self.backgrounds.push(background);
    }

    /// Runs until `signal`, or until a task ends unexpectedly, which is an error: a process without one of its parts
    /// would look healthy and lose work.
    pub(super) async fn run_until(mut self, signal: impl Future<Output = &'static str>) -> anyhow::Result<()> {
        let cause = tokio::select! {
            signal = signal => {
                tracing::info!(signal, "shutting down");
                Ok(())
            }
            ended = self.first_to_end() => {
                tracing::error!(error = format!("{ended:#}"), "shutting down");
                Err(ended)
            }
        };
        let ended = self.end().await;
        cause.and(ended)
    }

    async fn first_to_end(&mut self) -> anyhow::Error {
        let ends = self.stages.iter_mut().map(|tasks| {
            Box::pin(async move {
                match tasks.running.join_next().await {
                    Some(end) => end,
                    None => std::future::pending().await,
                }
            })
        });
        let (end, ..) = futures_util::future::select_all(ends).await;
        match end {
            Ok((name, Ok(()))) => anyhow!("task {name} ended unexpectedly"),
            Ok((name, Err(error))) => error.context(format!("the task {name} failed")),
            Err(error) => anyhow!("a task panicked: {error}"),
        }
    }

    /// Ends the stages in order, then closes the journal.
    async fn end(mut self) -> anyhow::Result<()> {
        let mut failed = None;
        self.stages.sort_by_key(|tasks| tasks.stage);
        for Tasks { stage, stop, mut running } in self.stages {
            tracing::debug!(?stage, "ending");
            stop.cancel();
            let ended = time::timeout(limits::SHUTDOWN_STAGE, async {
                while let Some(end) = running.join_next().await {
                    match end {
                        Ok((_, Ok(()))) => {}
                        Ok((name, Err(error))) => failed = Some(error.context(format!("the task {name} failed"))),
                        Err(error) => failed = Some(anyhow!("a task panicked: {error}")),
                    }
                }
            });
            if ended.await.is_err() {
                tracing::warn!(?stage, "did not end in time and is cut short");
            }
        }
        match time::timeout(limits::SHUTDOWN_JOURNAL, self.journal.close()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => failed = Some(anyhow::Error::new(error).context("the journal did not close")),
            Err(_) => bail!("the journal did not close within {}", duration::format(limits::SHUTDOWN_JOURNAL)),
        }
        failed.map_or(Ok(()), Err)
    }
}
