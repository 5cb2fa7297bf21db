//! Leader election by a `coordination.k8s.io/v1` Lease: only its holder writes.
//!
//! The holder renews well before the Lease expires, and considers itself the holder for two thirds of its duration from
//! the moment at which it *began* its last successful renewal. Another replica takes the Lease only after it has seen
//! no renewal for the whole duration by its own clock, so clocks need not agree (client-go's leader election does the
//! same). A write takes at most a quarter of the duration: one that begins in the holder's last moment has ended before
//! another replica may begin.

//!
//! `election` has the rules; here are the requests, the pauses and the reports.

mod election;

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use kube::{Api, Client, api::PostParams};
use tokio::{
    sync::watch,
    time::{self, Instant},
};
use tokio_util::sync::CancellationToken;

use self::election::{Change, Election, Now, Step};
use super::api_access::{Cause, Timeout};
use crate::{admin::HealthReporter, controller::limits, telemetry::metrics::Metrics};

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
    /// The part of the readiness that says whether this replica writes statuses.
    part: HealthReporter,
    metrics: Metrics,
    election: Election,
    until: watch::Sender<Option<Instant>>,
    /// The last failure, if the last turn failed.
    failure: Option<(Option<u16>, String)>,
}

/// Why a turn failed.
#[derive(Debug, thiserror::Error)]
enum TurnError {
    #[error(transparent)]
    Timeout(#[from] Timeout),
    #[error(transparent)]
    Api(#[from] kube::Error),
}

impl Cause for TurnError {
    fn code(&self) -> Option<u16> {
        match self {
            Self::Timeout(_) => None,
            Self::Api(error) => error.code(),
        }
    }
}

impl TurnError {
    /// Whether another replica has written or deleted the Lease in between.
    fn is_outrun(&self) -> bool {
        let Self::Api(kube::Error::Api(status)) = self else { return false };
        status.is_already_exists() || status.is_conflict() || status.is_not_found()
    }
}

impl Candidate {
    /// A candidate that takes part once it runs. `client` must not retry by itself; `part` says in the readiness whether
    /// this replica writes statuses.
    pub fn new(client: Client, options: LeaseOptions, part: HealthReporter, metrics: Metrics) -> (Self, Leadership) {
        let api = Api::namespaced(client, &options.namespace);
        let election = Election::new(options.name.clone(), options.identity.clone(), options.duration);
        let (until, receiver) = watch::channel(None);
        let leadership = Leadership { until: receiver, duration: options.duration };
        let candidate = Self { api, options, part, metrics, election, until, failure: None };
        candidate.describe();
        (candidate, leadership)
    }

    /// Acquires and renews the Lease until `shutdown`, then releases it.
    pub async fn run(mut self, shutdown: CancellationToken) {
        let pause = self.options.duration * 2 / 15;
        loop {
            let turn = tokio::select! {
                turn = self.turn() => turn,
                () = shutdown.cancelled() => break,
            };
            self.note(turn.err());
            self.expire();
            self.describe();
            tokio::select! {
                () = time::sleep(pause) => {}
                // A loss is reported when it happens, not at the next turn.
                () = self.lost() => {
                    self.expire();
                    self.describe();
                }
                () = shutdown.cancelled() => break,
            }
        }
        self.release().await;
    }

    /// Records whether a turn failed, and logs what has changed.
    fn note(&mut self, error: Option<TurnError>) {
        let LeaseOptions { namespace, name: lease, .. } = &self.options;
        let failure = error.map(|error| (error.code(), error.to_string()));
        match (&self.failure, &failure) {
            (Some((before, _)), Some((code, _))) if before == code => {}
            (_, Some((code, error))) => tracing::warn!(
                namespace,
                lease,
                code,
                error,
                "the Lease cannot be read or renewed; without it no status is written"
            ),
            (Some(_), None) => tracing::info!(namespace, lease, "the Lease can be read again"),
            (None, None) => {}
        }
        self.metrics.cluster().lease_failing(failure.is_some());
        self.failure = failure;
    }

    /// Says in the readiness whether this replica writes statuses.
    fn describe(&self) {
        let LeaseOptions { namespace, name, identity, .. } = &self.options;
        let lease = format!("Lease {namespace}/{name}");
        match (self.election.until(), &self.failure, self.election.holder()) {
            (Some(_), ..) => self.part.remark(format!("written by this replica ({identity}), which holds the {lease}")),
            (None, Some((code, error)), _) => {
                let error = code.map_or_else(|| error.clone(), |code| format!("status {code}"));
                let reason = format!("this replica writes no status: the {lease} cannot be read or renewed: {error}");
                self.part.degraded(reason);
            }
            (None, None, Some(holder)) => {
                self.part.remark(format!("this replica writes no status: {holder} holds the {lease}"));
            }
            (None, None, None) => {
                self.part.remark(format!("this replica writes no status: it does not hold the {lease}"));
            }
        }
    }

    /// Resolves when this replica may no longer act as the holder.
    async fn lost(&self) {
        match self.election.until() {
            Some(until) => time::sleep_until(until.into()).await,
            None => std::future::pending().await,
        }
    }

    fn expire(&mut self) {
        let change = self.election.expire(now().monotonic);
        self.report(change);
    }

    async fn turn(&mut self) -> Result<(), TurnError> {
        let params = PostParams::default();
        let mut step = self.election.begin(now());
        loop {
            let written = match step {
                Step::Read => {
                    let lease = self.request(self.api.get_opt(&self.options.name)).await?;
                    step = self.election.read(lease, now());
                    continue;
                }
                Step::Create(lease) => self.request(self.api.create(&params, &lease)).await,
                Step::Replace(lease) => self.request(self.api.replace(&self.options.name, &params, &lease)).await,
                Step::End(change) => {
                    self.report(change);
                    return Ok(());
                }
            };
            step = match written {
                Ok(lease) => self.election.written(lease),
                Err(error) if error.is_outrun() => self.election.outrun(),
                Err(error) => return Err(error),
            };
        }
    }

    async fn request<T>(&self, call: impl Future<Output = kube::Result<T>>) -> Result<T, TurnError> {
        match time::timeout(self.options.duration / 4, call).await {
            Ok(answer) => Ok(answer?),
            Err(_) => Err(Timeout.into()),
        }
    }

    /// Publishes a change.
    fn report(&self, change: Option<Change>) {
        let Some(change) = change else { return };
        self.until.send_replace(self.election.until().map(Instant::from_std));
        let LeaseOptions { name: lease, identity, .. } = &self.options;
        match change {
            Change::Renewed => return,
            Change::Acquired => tracing::info!(%lease, %identity, "leader"),
            Change::Taken => tracing::warn!(%lease, "no longer the leader: another replica holds the Lease"),
            Change::Expired => tracing::warn!(%lease, "no longer the leader: the Lease could not be renewed"),
        }
        self.metrics.cluster().leader(change == Change::Acquired);
    }

    /// Releases the Lease, so that the next replica need not wait until it expires.
    async fn release(&mut self) {
        let lease = self.election.release();
        self.until.send_replace(None);
        self.metrics.cluster().leader(false);
        let Some(lease) = lease else { return };
        let params = PostParams::default();
        let released = self.api.replace(&self.options.name, &params, &lease);
        match time::timeout(limits::LEASE_RELEASE, released).await {
            Ok(Ok(_)) => tracing::info!(lease = %self.options.name, "leadership released"),
            Ok(Err(error)) => tracing::debug!(%error, "the Lease was not released and must expire"),
            Err(_) => tracing::debug!("the Lease was not released in time and must expire"),
        }
    }
}

fn now() -> Now {
    Now { monotonic: Instant::now().into_std(), wall: Timestamp::now() }
}
