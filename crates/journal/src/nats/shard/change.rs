//! Durable changes of a shard's state.

use std::time::Duration;

use grapnel_api::{Incarnation, ObjectKey};

use crate::{
    Sequence,
    machine::{Ended, Micros},
};

/// One durable change of a shard's state. Changes name events by their sequence in the event stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Change {
    /// The endpoint is the current object of its name.
    Endpoint { endpoint: Incarnation },
    /// A consumer reads the endpoint after `start`. It replaces the one of the same name.
    Attached { consumer: Incarnation, endpoint: Incarnation, start: Sequence },
    /// The consumer is removed.
    Detached { consumer: Incarnation },
    /// An attempt ended.
    Ended { consumer: Incarnation, ended: Ended },
    /// A settled or dead event is attempted again from the beginning.
    Queued { consumer: Incarnation, sequence: Sequence, due: Micros },
    /// A retry has a new due time.
    Hastened { consumer: Incarnation, sequence: Sequence, due: Micros },
    /// The retention of a dead letter has passed.
    LetterRemoved { consumer: Incarnation, sequence: Sequence },
    /// The retention of the endpoint's events.
    Retention { endpoint: Incarnation, retention: Duration },
    /// Events were deleted from the event stream. Only the counts of later redeliveries depend on this.
    Removed { endpoint: ObjectKey, events: Vec<(Sequence, Micros)> },
}
