//! The tasks of the writer other than appends.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use grapnel_api::Incarnation;
use tokio::sync::oneshot;

use super::{consumer::Consumer, endpoint::Endpoint, segment_name::SegmentName, segments::Segment};
use crate::{
    Attached, Detached, Result, Sequence, Start,
    machine::{Ended, Micros},
};

/// The channel for a caller's result.
pub(super) type Answer<T> = oneshot::Sender<Result<T>>;

/// Any task that is not an append.
pub(super) enum Task {
    /// Registers an incarnation of an endpoint.
    Endpoint {
        endpoint: Incarnation,
        answer: Answer<(Arc<Endpoint>, u32)>,
    },
    Attach {
        attach: Attach,
        answer: Answer<Attached>,
    },
    Detach {
        consumer: Incarnation,
        answer: Answer<Option<Detached>>,
    },
    Settle(Settle),
    Redeliver {
        redeliver: Redeliver,
        answer: Answer<Option<(u64, u64)>>,
    },
    /// Removes dead letters; returns how many.
    Purge {
        consumer: Arc<Consumer>,
        dead: Vec<Sequence>,
        answer: Answer<u64>,
    },
    /// Removes events; returns how many, or `None` if the plan has to be made again.
    Remove {
        removal: Removal,
        answer: Answer<Option<u64>>,
    },
    Retention {
        endpoint: Arc<Endpoint>,
        retention: Duration,
        answer: Answer<()>,
    },
    /// Forgets an endpoint whose object is gone, if nothing depends on it.
    Forget {
        endpoint: Arc<Endpoint>,
        now: Micros,
    },
    /// Records that events are damaged.
    Damaged {
        endpoint: Arc<Endpoint>,
        ranges: Vec<(Sequence, Sequence)>,
    },
    /// Makes everything written so far durable.
    Sync(Answer<()>),
    /// Begins a new segment.
    Rotate(Answer<()>),
    /// Deletes segments without kept events; returns how many.
    Drop {
        segments: Vec<SegmentName>,
        answer: Answer<usize>,
    },
    /// Replaces segments by a rewritten one.
    Replace {
        rewritten: Rewritten,
        answer: Answer<()>,
    },
    Close(Answer<()>),
}

/// A consumer to be attached.
pub(super) struct Attach {
    pub(super) consumer: Incarnation,
    pub(super) endpoint: Arc<Endpoint>,
    /// The incarnation of the endpoint that it reads.
    pub(super) incarnation: u32,
    pub(super) start: Start,
}

/// Encoded ends of attempts, whose flights are marked as being settled.
pub(super) struct Settle {
    pub(super) consumer: Arc<Consumer>,
    pub(super) ends: Vec<Ended>,
    pub(super) payload: Bytes,
    pub(super) answer: Answer<()>,
}

/// Events to queue again, and retries to make due.
pub(super) struct Redeliver {
    pub(super) consumer: Arc<Consumer>,
    /// The endpoint's epoch when they were selected.
    pub(super) epoch: u64,
    pub(super) queue: Vec<Sequence>,
    pub(super) hasten: Vec<Sequence>,
    pub(super) due: Micros,
}

/// Events to remove.
pub(super) struct Removal {
    pub(super) endpoint: Arc<Endpoint>,
    /// The endpoint's epoch when they were selected.
    pub(super) epoch: u64,
    pub(super) ranges: Vec<(Sequence, Sequence)>,
    /// The number of events and bytes removed from each segment.
    pub(super) freed: Vec<(Arc<Segment>, u64, u64)>,
}

impl Removal {
    pub(super) fn events(&self) -> u64 {
        self.freed.iter().map(|(_, events, _)| events).sum()
    }

    pub(super) fn bytes(&self) -> u64 {
        self.freed.iter().map(|(_, _, bytes)| bytes).sum()
    }
}

/// A segment that replaces others.
pub(super) struct Rewritten {
    pub(super) segment: Arc<Segment>,
    pub(super) replaced: Vec<Arc<Segment>>,
}
