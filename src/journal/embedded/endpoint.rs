//! An endpoint's log in memory: where it ends, who reads it, and its newest events.

use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use parking_lot::{Mutex, RwLock};

use super::consumer::Consumer;
use crate::{
    api::ObjectKey,
    journal::{Sequence, record::EndpointRow},
    rules::limits::RECENT_EVENTS_BYTES,
};

/// One endpoint's log.
pub(super) struct Endpoint {
    pub(super) key: ObjectKey,
    pub(super) number: u32,
    /// Newest durable sequence.
    head: AtomicU64,
    /// Changes with every consumer that is attached, with every removal and when settled events are
    /// queued once more: what a sweep or a redelivery decided before no longer holds.
    pub(super) epoch: AtomicU64,
    /// What is on disk; changed by the committer only.
    pub(super) row: Mutex<EndpointRow>,
    pub(super) consumers: RwLock<Vec<Arc<Consumer>>>,
    recent: Mutex<VecDeque<(Sequence, Bytes)>>,
}

impl Endpoint {
    pub(super) fn new(key: ObjectKey, number: u32, row: EndpointRow) -> Self {
        Self {
            key,
            number,
            head: AtomicU64::new(row.head),
            epoch: AtomicU64::new(0),
            row: Mutex::new(row),
            consumers: RwLock::new(Vec::new()),
            recent: Mutex::new(VecDeque::new()),
        }
    }

    /// An endpoint that is not on disk yet.
    pub(super) fn empty(key: ObjectKey, number: u32) -> Self {
        let row = EndpointRow {
            namespace: Box::from(&*key.namespace),
            name: Box::from(&*key.name),
            head: 0,
            oldest: 1,
            count: 0,
            bytes: 0,
        };
        Self::new(key, number, row)
    }

    pub(super) fn head(&self) -> Sequence {
        self.head.load(Ordering::Acquire)
    }

    /// Makes durable events visible, and wakes those who wait for them.
    pub(super) fn publish(&self, row: EndpointRow) {
        let head = row.head;
        *self.row.lock() = row;
        self.head.store(head, Ordering::Release);
        for consumer in self.consumers.read().iter() {
            consumer.notify.notify_waiters();
        }
    }

    /// The row of a recently appended event.
    pub(super) fn recent(&self, sequence: Sequence) -> Option<Bytes> {
        let recent = self.recent.lock();
        let first = recent.front()?.0;
        let at = usize::try_from(sequence.checked_sub(first)?).ok()?;
        recent.get(at).map(|(_, row)| row.clone())
    }
}

/// Every endpoint by name and by number.
#[derive(Default)]
pub(super) struct Endpoints {
    by_key: HashMap<ObjectKey, Arc<Endpoint>>,
    by_number: HashMap<u32, Arc<Endpoint>>,
    last: u32,
}

impl Endpoints {
    pub(super) fn get(&self, key: &ObjectKey) -> Option<&Arc<Endpoint>> {
        self.by_key.get(key)
    }

    pub(super) fn numbered(&self, number: u32) -> Option<&Arc<Endpoint>> {
        self.by_number.get(&number)
    }

    pub(super) fn insert(&mut self, endpoint: Arc<Endpoint>) {
        self.last = self.last.max(endpoint.number);
        self.by_number.insert(endpoint.number, endpoint.clone());
        self.by_key.insert(endpoint.key.clone(), endpoint);
    }

    pub(super) fn all(&self) -> Vec<Arc<Endpoint>> {
        self.by_number.values().cloned().collect()
    }

    /// A number that no endpoint has.
    pub(super) fn unused(&self) -> u32 {
        self.last + 1
    }
}

/// The order in which recent events of all endpoints are forgotten: together they keep at most
/// [`RECENT_EVENTS_BYTES`]. Used by the committer only.
#[derive(Default)]
pub(super) struct Recency {
    order: VecDeque<(Arc<Endpoint>, usize)>,
    bytes: usize,
}

impl Recency {
    /// Keeps an event's row for consumers that are not behind.
    pub(super) fn push(&mut self, endpoint: &Arc<Endpoint>, sequence: Sequence, row: Bytes) {
        let bytes = row.len();
        {
            let mut recent = endpoint.recent.lock();
            // Sequences in the ring have no gaps: what came before a gap goes unused and is dropped
            // with its turn in the order.
            if recent.back().is_some_and(|last| last.0 + 1 != sequence) {
                recent.clear();
            }
            recent.push_back((sequence, row));
        }
        self.order.push_back((endpoint.clone(), bytes));
        self.bytes += bytes;
        while self.bytes > RECENT_EVENTS_BYTES {
            let Some((oldest, bytes)) = self.order.pop_front() else { return };
            oldest.recent.lock().pop_front();
            self.bytes -= bytes;
        }
    }
}
