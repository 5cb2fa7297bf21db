//! Facts of the data plane that flow back up to an object's status.
//!
//! The data plane only ever writes here, with atomics and locks held for an assignment; whoever
//! writes statuses reads at its own pace.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use jiff::Timestamp;
use parking_lot::Mutex;

/// What happened at an endpoint since the process started.
#[derive(Debug, Default)]
pub struct EndpointFacts {
    received: AtomicU64,
    rejected: AtomicU64,
    duplicates: AtomicU64,
    last_received: Mutex<Option<Timestamp>>,
    last_rejection: Mutex<Option<Rejection>>,
}

/// A refused request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    /// When.
    pub time: Timestamp,
    /// Code of the answer.
    pub code: &'static str,
    /// Sentence of the answer.
    pub message: String,
}

/// A reading of [`EndpointFacts`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EndpointReading {
    /// Events accepted.
    pub received: u64,
    /// Requests refused.
    pub rejected: u64,
    /// Events recognised as already accepted.
    pub duplicates: u64,
    /// When the last event was accepted.
    pub last_received: Option<Timestamp>,
    /// The last refused request.
    pub last_rejection: Option<Rejection>,
}

impl EndpointFacts {
    /// An event was accepted.
    pub fn received(&self, time: Timestamp) {
        self.received.fetch_add(1, Relaxed);
        *self.last_received.lock() = Some(time);
    }

    /// An event had been accepted before.
    pub fn duplicate(&self) {
        self.duplicates.fetch_add(1, Relaxed);
    }

    /// A request was refused.
    pub fn rejected(&self, rejection: Rejection) {
        self.rejected.fetch_add(1, Relaxed);
        *self.last_rejection.lock() = Some(rejection);
    }

    /// What is known now.
    pub fn read(&self) -> EndpointReading {
        EndpointReading {
            received: self.received.load(Relaxed),
            rejected: self.rejected.load(Relaxed),
            duplicates: self.duplicates.load(Relaxed),
            last_received: *self.last_received.lock(),
            last_rejection: self.last_rejection.lock().clone(),
        }
    }
}

/// What happened to a subscription's deliveries since the process started. Counts are the journal's.
#[derive(Debug, Default)]
pub struct SubscriptionFacts {
    last: Mutex<SubscriptionReading>,
}

/// How the last outcomes were.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Outcome {
    /// No attempt yet.
    #[default]
    None,
    /// The last attempt succeeded.
    Succeeding,
    /// The last attempt failed.
    Failing,
    /// The receiver said that it is gone for good.
    Gone,
}

/// A reading of [`SubscriptionFacts`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SubscriptionReading {
    /// How the last attempt ended.
    pub outcome: Outcome,
    /// The last successful delivery.
    pub last_delivery: Option<Delivered>,
    /// The last failed attempt.
    pub last_failure: Option<Failed>,
    /// Why the journal does not read for this subscription, if it does not.
    pub refusal: Option<String>,
}

/// A successful delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivered {
    /// When.
    pub time: Timestamp,
    /// Which event.
    pub event_id: Box<str>,
    /// Status of the answer.
    pub status: u16,
    /// Time of the exchange in milliseconds.
    pub duration_ms: u64,
}

/// A failed attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failed {
    /// When.
    pub time: Timestamp,
    /// Which event.
    pub event_id: Box<str>,
    /// What kind of failure, in one word.
    pub reason: Box<str>,
    /// Status of the answer, if there was one.
    pub status: Option<u16>,
    /// What a person needs to know.
    pub message: Box<str>,
    /// When it will be tried again; `None` when it was given up.
    pub next_attempt: Option<Timestamp>,
    /// The receiver said that it is gone for good.
    pub gone: bool,
}

impl SubscriptionFacts {
    /// A delivery succeeded.
    pub fn delivered(&self, delivered: Delivered) {
        let mut last = self.last.lock();
        last.outcome = Outcome::Succeeding;
        last.last_delivery = Some(delivered);
    }

    /// An attempt failed.
    pub fn failed(&self, failed: Failed) {
        let mut last = self.last.lock();
        last.outcome = if failed.gone { Outcome::Gone } else { Outcome::Failing };
        last.last_failure = Some(failed);
    }

    /// The journal reads for this subscription (`None`), or does not, and why.
    pub fn attached(&self, refusal: Option<String>) {
        self.last.lock().refusal = refusal;
    }

    /// What is known now.
    pub fn read(&self) -> SubscriptionReading {
        self.last.lock().clone()
    }
}
