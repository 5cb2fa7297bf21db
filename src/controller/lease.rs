//! Leader election by a `coordination.k8s.io/v1` Lease: only its holder writes.
//!
//! The holder renews well before the Lease expires, and considers itself the holder for two thirds of its duration from
//! the moment at which it *began* its last successful renewal. Another replica takes the Lease only after it has seen
//! no renewal for the whole duration by its own clock, so clocks need not agree (client-go's leader election does the
//! same). A write takes at most a quarter of the duration: one that begins in the holder's last moment has ended before
//! another replica may begin.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::MicroTime,
};
use kube::{Api, Client, api::PostParams, core::ObjectMeta};
use tokio::{
    sync::watch,
    time::{self, Instant},
};
use tokio_util::sync::CancellationToken;

use crate::{controller::limits, telemetry::metrics::Metrics};

/// The Lease and this replica's identity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaseOptions {
    /// Namespace of the Lease.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// This replica's name, unique among the replicas.
    pub identity: String,
    /// Duration of the Lease without renewal, in whole seconds, at least [`limits::LEASE_DURATION_MIN`].
    pub duration: Duration,
}

/// Whether this replica holds the Lease, and until when it may act as its holder.
#[derive(Debug, Clone)]
pub struct Leadership {
    until: watch::Receiver<Option<Instant>>,
    duration: Duration,
}

impl Leadership {
    /// Whether this replica may begin to write now.
    pub fn held(&self) -> bool {
        self.until.borrow().is_some_and(|until| Instant::now() < until)
    }

    /// Maximum duration of a write.
    pub fn write_timeout(&self) -> Duration {
        self.duration / 4
    }

    /// Waits until the Lease is acquired, renewed or lost.
    pub async fn changed(&mut self) {
        if self.until.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// Takes part in the election for this replica.
pub struct Candidate {
    api: Api<Lease>,
    options: LeaseOptions,
    metrics: Metrics,
    until: watch::Sender<Option<Instant>>,
    /// The Lease as last read, and when it was seen to change.
    seen: Option<(Lease, Instant)>,
}

/// Why a turn failed.
#[derive(Debug, thiserror::Error)]
enum TurnError {
    #[error("the API server did not answer in time")]
    Timeout,
    #[error(transparent)]
    Api(#[from] kube::Error),
}

impl Candidate {
    /// A candidate that takes part once it runs. `client` must not retry by itself.
    pub fn new(client: Client, options: LeaseOptions, metrics: Metrics) -> (Self, Leadership) {
        let api = Api::namespaced(client, &options.namespace);
        let (until, receiver) = watch::channel(None);
        let leadership = Leadership { until: receiver, duration: options.duration };
        (Self { api, options, metrics, until, seen: None }, leadership)
    }

    /// Acquires and renews the Lease until `shutdown`, then releases it.
    pub async fn run(mut self, shutdown: CancellationToken) {
        let pause = self.options.duration * 2 / 15;
        loop {
            let turn = tokio::select! {
                turn = self.turn() => turn,
                () = shutdown.cancelled() => break,
            };
            if let Err(error) = turn {
                tracing::warn!(lease = %self.options.name, %error, "the Lease cannot be read or renewed");
            }
            self.report();
            tokio::select! {
                () = time::sleep(pause) => {}
                // A loss is reported when it happens, not at the next turn.
                () = self.lost() => self.report(),
                () = shutdown.cancelled() => break,
            }
        }
        self.release().await;
    }

    /// Resolves when this replica may no longer act as the holder.
    async fn lost(&self) {
        let until = *self.until.borrow();
        match until {
            Some(until) => time::sleep_until(until).await,
            None => std::future::pending().await,
        }
    }

    /// Reports a loss; [`Self::renewed`] reports an acquisition.
    fn report(&self) {
        let over = self.until.borrow().is_some_and(|until| Instant::now() >= until);
        if over {
            self.until.send_replace(None);
            self.metrics.cluster().leader(false);
            tracing::warn!(lease = %self.options.name, "no longer the leader: the Lease could not be renewed");
        }
    }

    async fn turn(&mut self) -> Result<(), TurnError> {
        let held = self.until.borrow().is_some();
        // While this replica holds the Lease no other writes it, so the version read last is current.
        let known = if held { self.seen.take().map(|(lease, _)| lease) } else { None };
        let lease = match known {
            Some(lease) => Some(lease),
            None => self.request(self.api.get_opt(&self.options.name)).await?,
        };
        let began = Instant::now();
        let Some(lease) = lease else {
            return self.create(began).await;
        };
        let holder = lease.spec.as_ref().and_then(|spec| spec.holder_identity.as_deref()).unwrap_or_default();
        if holder == self.options.identity || holder.is_empty() || self.expired(&lease, began) {
            self.take(lease, began).await
        } else {
            self.remember(lease, began);
            self.give_up();
            Ok(())
        }
    }

    async fn request<T>(&self, call: impl Future<Output = kube::Result<T>>) -> Result<T, TurnError> {
        match time::timeout(self.options.duration / 4, call).await {
            Ok(answer) => Ok(answer?),
            Err(_) => Err(TurnError::Timeout),
        }
    }

    /// Whether the holder has not renewed the Lease for its whole duration, by this replica's clock.
    fn expired(&self, lease: &Lease, now: Instant) -> bool {
        let seconds = lease.spec.as_ref().and_then(|spec| spec.lease_duration_seconds).unwrap_or_default();
        let duration = Duration::from_secs(u64::try_from(seconds).unwrap_or_default()).max(limits::LEASE_DURATION_MIN);
        self.seen.as_ref().is_some_and(|(seen, since)| same(seen, lease) && now.duration_since(*since) >= duration)
    }

    /// Records the Lease, and the time only if it has changed.
    fn remember(&mut self, lease: Lease, now: Instant) {
        let since = match &self.seen {
            Some((seen, since)) if same(seen, &lease) => *since,
            _ => now,
        };
        self.seen = Some((lease, since));
    }

    async fn create(&mut self, began: Instant) -> Result<(), TurnError> {
        let lease = Lease {
            metadata: ObjectMeta { name: Some(self.options.name.clone()), ..ObjectMeta::default() },
            spec: Some(self.spec(None)),
        };
        match self.request(self.api.create(&PostParams::default(), &lease)).await {
            Ok(lease) => {
                self.renewed(lease, began);
                Ok(())
            }
            Err(TurnError::Api(kube::Error::Api(status))) if status.is_already_exists() => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn take(&mut self, mut lease: Lease, began: Instant) -> Result<(), TurnError> {
        lease.spec = Some(self.spec(lease.spec.as_ref()));
        match self.request(self.api.replace(&self.options.name, &PostParams::default(), &lease)).await {
            Ok(lease) => {
                self.renewed(lease, began);
                Ok(())
            }
            // Another replica was faster, or the Lease was deleted; the next turn reads it again.
            Err(TurnError::Api(kube::Error::Api(status))) if status.is_conflict() || status.is_not_found() => {
                self.seen = None;
                self.give_up();
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    fn renewed(&mut self, lease: Lease, began: Instant) {
        self.seen = Some((lease, began));
        let before = self.until.send_replace(Some(began + self.options.duration * 2 / 3));
        if before.is_none() {
            self.metrics.cluster().leader(true);
            tracing::info!(lease = %self.options.name, identity = %self.options.identity, "leader");
        }
    }

    fn give_up(&self) {
        if self.until.send_replace(None).is_some() {
            self.metrics.cluster().leader(false);
            tracing::warn!(lease = %self.options.name, "no longer the leader: another replica holds the Lease");
        }
    }

    fn spec(&self, previous: Option<&LeaseSpec>) -> LeaseSpec {
        let now = Timestamp::now();
        let mine = previous.filter(|spec| spec.holder_identity.as_deref() == Some(self.options.identity.as_str()));
        let transitions = previous.and_then(|spec| spec.lease_transitions).unwrap_or_default();
        LeaseSpec {
            holder_identity: Some(self.options.identity.clone()),
            lease_duration_seconds: Some(i32::try_from(self.options.duration.as_secs()).unwrap_or(i32::MAX)),
            acquire_time: mine.and_then(|spec| spec.acquire_time.clone()).or(Some(MicroTime(now))),
            renew_time: Some(MicroTime(now)),
            lease_transitions: Some(if mine.is_some() || previous.is_none() {
                transitions
            } else {
                transitions.saturating_add(1)
            }),
            ..LeaseSpec::default()
        }
    }

    /// Releases the Lease, so that the next replica need not wait until it expires.
    async fn release(&mut self) {
        let held = self.until.send_replace(None).is_some();
        self.metrics.cluster().leader(false);
        let Some((mut lease, _)) = self.seen.take().filter(|_| held) else { return };
        if let Some(spec) = &mut lease.spec {
            spec.holder_identity = None;
            spec.acquire_time = None;
            // Not null: validation requires a positive number once it is set.
            spec.lease_duration_seconds = Some(1);
        }
        let params = PostParams::default();
        let released = self.api.replace(&self.options.name, &params, &lease);
        match time::timeout(limits::LEASE_RELEASE, released).await {
            Ok(Ok(_)) => tracing::info!(lease = %self.options.name, "leadership released"),
            Ok(Err(error)) => tracing::debug!(%error, "the Lease was not released and must expire"),
            Err(_) => tracing::debug!("the Lease was not released in time and must expire"),
        }
    }
}

/// Whether the Lease has not been written in between.
fn same(one: &Lease, other: &Lease) -> bool {
    one.metadata.resource_version == other.metadata.resource_version && one.metadata.uid == other.metadata.uid
}
