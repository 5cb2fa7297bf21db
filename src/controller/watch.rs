//! Watches the cluster and publishes configuration.
//!
//! Changes are collected for a moment, so that a burst causes one snapshot; the longer a snapshot takes, the less often
//! it is made. Nothing is published before everything has been listed: what is absent then does not exist.
//!
//! The decisions are apart, without I/O and clocks: `intake` turns events into changes, `listing` finds what has
//! disappeared, and `schedule` says when to publish. Here is the loop that connects them.

mod intake;
mod listing;
mod schedule;

use futures_util::{FutureExt, StreamExt};
use kube_runtime::watcher;
use tokio::{
    sync::watch::Sender,
    time::{self, Instant},
};
use tokio_util::sync::CancellationToken;

use self::{
    intake::{Effect, Intake},
    schedule::Schedule,
};
use super::{
    api_access::{ApiAccess, Cause, Need},
    connect::Clients,
    observed_state::ObservedState,
    reference_fetcher::Fetches,
    streams::{ResourceKind, Streams, WatchEvent},
};
use crate::{
    catalog::{Change, Namespaces, ObjectIndex, Published, Reference},
    controller::limits,
    telemetry::metrics::Metrics,
};

/// The watches and the index that they fill.
pub struct Watch {
    streams: Streams,
    intake: Intake,
    fetches: Fetches,
    access: ApiAccess,
    metrics: Metrics,
    /// Moves to a blocking thread for compiling, and back.
    index: Option<ObjectIndex>,
    schedule: Schedule,
}

impl Watch {
    /// Watches that begin when run. `index` must fetch its references ([`ObjectIndex::fetching`]).
    pub fn new(
        clients: &Clients,
        namespaces: &Namespaces,
        index: ObjectIndex,
        sightings: ObservedState,
        access: ApiAccess,
        metrics: Metrics,
    ) -> Self {
        let streams = Streams::new(&clients.patient, namespaces);
        Self {
            intake: Intake::new(streams.scopes.len(), sightings, index.class().clone()),
            streams,
            fetches: Fetches::new(clients.patient.clone(), access.clone()),
            access,
            metrics,
            index: Some(index),
            schedule: Schedule::new(Instant::now().into_std()),
        }
    }

    /// Publishes configuration until `shutdown`.
    pub async fn run(mut self, published: Sender<Published>, shutdown: CancellationToken) {
        let mut checks = time::interval(limits::WATCH_CHECK);
        checks.set_missed_tick_behavior(time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                () = shutdown.cancelled() => return,
                Some(event) = self.streams.notices.next() => {
                    self.take(event);
                    // Events that have already arrived are taken together.
                    for _ in 1..limits::NOTICES_AT_ONCE {
                        match self.streams.notices.next().now_or_never() {
                            Some(Some(event)) => self.take(event),
                            _ => break,
                        }
                    }
                    self.ask();
                }
                answer = self.fetches.next() => {
                    match (answer, &self.index) {
                        (Some(change), _) => self.change(change),
                        // What referred to it may have gone meanwhile.
                        (None, Some(index)) => self.fetches.retain(|reference| index.refers_to(reference)),
                        (None, None) => {}
                    }
                }
                () = sleep_until(self.schedule.due()) => {
                    self.publish(&published).await;
                }
                _ = checks.tick() => self.access.expire(),
            }
            if self.index.is_none() {
                // Nothing can be programmed any more; the supervisor stops the process when this task ends.
                return;
            }
            self.complete();
        }
    }

    fn take(&mut self, event: WatchEvent) {
        for effect in self.intake.take(event) {
            match effect {
                Effect::Change(change) => self.change(change),
                Effect::Version(reference, version) => {
                    if self.index.as_ref().is_some_and(|index| index.refers_to(&reference)) {
                        self.fetches.seen(reference, version.as_deref());
                    }
                }
                Effect::Watches { watched, stream } => {
                    self.access.recovered(&self.need("list", watched, stream));
                }
                Effect::Listed { watched, stream, existing } => {
                    let scope = self.streams.scopes.get(stream).and_then(Option::as_deref);
                    self.fetches.missed(&existing, |reference| concerns(reference, watched, scope));
                }
                Effect::Failed { watched, stream, error } => {
                    self.metrics.cluster().watch_failed(watched.resource());
                    tracing::debug!(resource = watched.resource(), %error, "watch failed; restarting it");
                    // Every watch ends from time to time, and then begins again without a word.
                    match error {
                        watcher::Error::InitialListFailed(error) => {
                            self.access.failed(self.need("list", watched, stream), &error);
                        }
                        watcher::Error::WatchStartFailed(error) => {
                            self.access.failed(self.need("watch", watched, stream), &error);
                        }
                        _ => {}
                    }
                }
            }
        }
    }

    /// The right that a stream takes.
    fn need(&self, verb: &'static str, watched: ResourceKind, stream: usize) -> Need {
        let need = Need::new(verb, watched.resource()).within(self.streams.scopes.get(stream).cloned().flatten());
        match watched {
            ResourceKind::Namespaces => need.without_it(
                "namespaceSelectors of allowedSubscribers match no namespace by its labels, and everything else works",
            ),
            ResourceKind::Replays => need.without_it("WebhookReplays do nothing, and everything else works"),
            _ => need.vital(),
        }
    }

    fn change(&mut self, change: Change) {
        if let Some(index) = &mut self.index {
            index.apply(change);
        }
        self.schedule.changed(Instant::now().into_std());
    }

    /// Requests new references, and drops those no longer used.
    fn ask(&mut self) {
        let Some(index) = &mut self.index else { return };
        let wanted = index.wanted();
        for reference in wanted {
            self.fetches.ask(reference);
        }
    }

    /// Completes the first sync: everything is listed, and every referenced value has been requested.
    fn complete(&mut self) {
        if self.schedule.sync(self.fetches.idle() && self.intake.complete()) {
            tracing::info!("all objects of the cluster are listed");
            self.access.synced();
            self.change(Change::Synced(true));
        }
    }

    async fn publish(&mut self, published: &Sender<Published>) {
        if !self.schedule.take() {
            return;
        }
        let Some(mut index) = self.index.take() else { return };
        let began = Instant::now();
        let compiled = tokio::task::spawn_blocking(move || {
            let published = index.publish();
            (index, published)
        });
        match compiled.await {
            Ok((index, news)) => {
                self.fetches.retain(|reference| index.refers_to(reference));
                self.index = Some(index);
                // The compiler may have come to references that were not known before.
                self.ask();
                if let Some(news) = news {
                    published.send_replace(news);
                }
            }
            Err(error) => tracing::error!(%error, "compiling has failed"),
        }
        self.schedule.published(Instant::now().into_std(), began.elapsed());
    }
}

/// Resolves at a time, if there is one.
async fn sleep_until(time: Option<std::time::Instant>) {
    match time {
        Some(time) => time::sleep_until(time.into()).await,
        None => std::future::pending().await,
    }
}

/// Whether a stream of that resource, within that namespace if any, shows a reference.
fn concerns(reference: &Reference, watched: ResourceKind, scope: Option<&str>) -> bool {
    let kind = match reference {
        Reference::Secret(_) => ResourceKind::Secrets,
        Reference::ConfigMap(_) => ResourceKind::ConfigMaps,
    };
    kind == watched && scope.is_none_or(|scope| *scope == *reference.key().namespace)
}

impl Cause for watcher::Error {
    fn code(&self) -> Option<u16> {
        match self {
            Self::InitialListFailed(error) | Self::WatchStartFailed(error) | Self::WatchFailed(error) => error.code(),
            Self::WatchError(status) => Some(status.code),
            Self::NoResourceVersion => None,
        }
    }
}
