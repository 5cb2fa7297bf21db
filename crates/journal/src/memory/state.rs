//! The endpoints' logs and the registered consumers.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    sync::Arc,
    time::Duration,
};

use grapnel_api::{Incarnation, ObjectKey};
use jiff::Timestamp;

use super::{
    MemoryOptions,
    consumer::MemoryConsumer,
    kept_event::KeptEvent,
    scope::{Needed, RejectedAppend, RoomScope},
};
use crate::{
    Appended, Arrival, Attached, AttachedConsumer, Claim, Claimed, DeliveryPage, DeliveryQuery, Detached, EventEntry,
    EventPage, EventQuery, JournalError, Result, Retention, Sequence, Start, StoredEvent, Swept,
    limits::{DEFAULT_DEAD_LETTER_RETENTION, DEFAULT_RETENTION, LIST_LIMIT},
    record::encode_event,
};

/// Bytes that an event counts for in addition to its record.
const EVENT_OVERHEAD_BYTES: u64 = 64;

/// The whole state of the journal.
#[derive(Clone, Default)]
pub(super) struct MemoryState {
    pub(super) logs: BTreeMap<ObjectKey, MemoryLog>,
    pub(super) consumers: BTreeMap<ObjectKey, MemoryConsumer>,
    /// The last listed retention of each endpoint that the journal knows.
    retention: BTreeMap<Incarnation, Duration>,
    /// Not durable: appends that found no room, until one of the same scope does.
    pub(super) refusals: BTreeMap<RoomScope, RejectedAppend>,
    /// Not durable.
    pub(super) closed: bool,
}

/// The log of all objects that have had one endpoint's name.
#[derive(Clone, Default)]
pub(super) struct MemoryLog {
    /// The uids of those objects; the last one is current.
    uids: Vec<Arc<str>>,
    /// The last sequence assigned; 0 before the first.
    pub(super) head: Sequence,
    /// The events of the current object are those after this sequence.
    begin: Sequence,
    /// Kept events of all these objects.
    pub(super) events: BTreeMap<Sequence, KeptEvent>,
    /// Receipt times of the events that are no longer kept.
    pub(super) removed: BTreeMap<Sequence, Timestamp>,
    /// The newest event of each id of the current object.
    pub(super) ids: BTreeMap<Box<str>, SeenId>,
}

/// What is known of an id.
#[derive(Clone, Copy)]
pub(super) struct SeenId {
    pub(super) sequence: Sequence,
    received: Timestamp,
    /// The end of its window, until which the id outlives its event.
    until: Timestamp,
}

impl MemoryLog {
    /// Makes `endpoint` the current object.
    fn begin_incarnation(&mut self, endpoint: &Incarnation) -> Result<()> {
        if self.is_current(endpoint) {
            return Ok(());
        }
        if self.uids.contains(&endpoint.uid) {
            return Err(JournalError::EndpointReplaced(endpoint.key.clone()));
        }
        self.uids.push(endpoint.uid.clone());
        self.begin = self.head;
        self.ids.clear();
        Ok(())
    }

    fn is_current(&self, endpoint: &Incarnation) -> bool {
        self.uids.last() == Some(&endpoint.uid)
    }

    /// Returns the kept events of the current object, ascending.
    fn current_events(&self) -> impl Iterator<Item = (Sequence, &KeptEvent)> {
        self.events.range(self.begin.saturating_add(1)..).map(|(sequence, kept)| (*sequence, kept))
    }

    /// Returns the sequence that follows `head`.
    fn following(head: Sequence, options: &MemoryOptions) -> Sequence {
        if head == 0 { options.first_sequence.max(1) } else { head.saturating_add(options.stride.max(1)) }
    }
}

impl SeenId {
    /// Returns whether an arrival with the same id is a duplicate.
    fn covers(&self, received: Timestamp, window: Option<Duration>) -> bool {
        window.is_some_and(|window| received.duration_since(self.received).unsigned_abs() < window)
    }
}

impl MemoryState {
    /// Returns the state that survives the end of the process.
    pub(super) fn durable(&self) -> Self {
        let mut durable = Self { closed: false, refusals: BTreeMap::new(), ..self.clone() };
        durable.consumers.values_mut().for_each(MemoryConsumer::end_claims);
        durable
    }

    /// Stores all events or none. In either case, an object that was not known before has replaced the one of the same
    /// name.
    pub(super) fn append(&mut self, options: &MemoryOptions, arrivals: Vec<Arrival>) -> Result<Vec<Appended>> {
        for Arrival { endpoint, .. } in &arrivals {
            self.logs.entry(endpoint.key.clone()).or_default().begin_incarnation(endpoint)?;
        }
        let mut answers = Vec::new();
        let mut staged = Vec::new();
        let mut heads: BTreeMap<ObjectKey, Sequence> = BTreeMap::new();
        let mut ids: BTreeMap<(ObjectKey, Box<str>), SeenId> = BTreeMap::new();
        let mut needed: BTreeMap<Incarnation, Needed> = BTreeMap::new();
        for arrival in arrivals {
            let key = arrival.endpoint.key.clone();
            let log = self.logs.entry(key.clone()).or_default();
            if !log.is_current(&arrival.endpoint) {
                return Err(JournalError::EndpointReplaced(key));
            }
            let id = (key.clone(), arrival.validated.identity().id.clone());
            let known = ids.get(&id).or_else(|| log.ids.get(&id.1));
            if let Some(known) = known.filter(|known| known.covers(arrival.received, arrival.window)) {
                answers.push(Appended::Duplicate(known.sequence));
                continue;
            }
            let head = heads.entry(key).or_insert(log.head);
            *head = MemoryLog::following(*head, options);
            let until = arrival.received.checked_add(arrival.window.unwrap_or_default()).unwrap_or(Timestamp::MAX);
            ids.insert(id, SeenId { sequence: *head, received: arrival.received, until });
            let bytes = encode_event(&arrival).len() as u64 + EVENT_OVERHEAD_BYTES;
            needed.entry(arrival.endpoint.clone()).or_default().add(bytes, arrival.max_bytes);
            answers.push(Appended::Stored(*head));
            staged.push((*head, bytes, arrival));
        }
        self.make_room(options, &needed)?;
        for ((key, id), known) in ids {
            self.logs.entry(key).or_default().ids.insert(id, known);
        }
        for (sequence, bytes, arrival) in staged {
            self.store(sequence, bytes, arrival);
        }
        Ok(answers)
    }

    fn store(&mut self, sequence: Sequence, bytes: u64, arrival: Arrival) {
        let Arrival { endpoint, validated, received, content_type, remote, headers, .. } = arrival;
        let (identity, body) = validated.into_parts();
        let (id, kind) = (identity.id, identity.kind);
        let event = Arc::new(StoredEvent { sequence, id, kind, received, content_type, remote, headers, body });
        for consumer in self.consumers.values_mut().filter(|consumer| consumer.endpoint == endpoint.key) {
            consumer.add(sequence);
        }
        let log = self.logs.entry(endpoint.key.clone()).or_default();
        log.head = sequence;
        log.events.insert(sequence, KeptEvent { event, endpoint, bytes });
    }

    pub(super) fn attach(&mut self, consumer: &Incarnation, endpoint: &Incarnation, start: Start) -> Result<Attached> {
        let same = self.consumers.get(&consumer.key).filter(|known| known.incarnation == *consumer);
        if let Some(known) = same.filter(|known| known.endpoint != endpoint.key) {
            let (consumer, endpoint) = (consumer.key.clone(), known.endpoint.clone());
            return Err(JournalError::EndpointChanged { consumer, endpoint });
        }
        let is_attached = same.is_some();
        let log = self.logs.entry(endpoint.key.clone()).or_default();
        log.begin_incarnation(endpoint)?;
        if is_attached {
            return Ok(Attached::default());
        }
        let events: Vec<Sequence> = match start {
            Start::Now => Vec::new(),
            Start::Earliest => log.current_events().map(|(sequence, _)| sequence).collect(),
        };
        // Before the first kept event, but after all removed ones.
        let start = events.first().map_or(log.head, |first| first - 1);
        let attached = MemoryConsumer::new(consumer.clone(), endpoint.key.clone(), start, events);
        let replaced = self.consumers.insert(consumer.key.clone(), attached);
        Ok(Attached { replaced: replaced.map(|replaced| replaced.detached()) })
    }

    pub(super) fn detach(&mut self, consumer: &Incarnation) -> Option<Detached> {
        let detached = self.consumer(consumer).ok()?.detached();
        self.consumers.remove(&consumer.key);
        Some(detached)
    }

    /// Returns the consumer, if it is attached.
    pub(super) fn consumer(&self, consumer: &Incarnation) -> Result<&MemoryConsumer> {
        let found = self.consumers.get(&consumer.key).filter(|found| found.incarnation == *consumer);
        found.ok_or_else(|| JournalError::UnknownConsumer(consumer.key.clone()))
    }

    pub(super) fn consumer_mut(&mut self, consumer: &Incarnation) -> Result<&mut MemoryConsumer> {
        attached(&mut self.consumers, consumer)
    }

    pub(super) fn attached_consumers(&self) -> Vec<AttachedConsumer> {
        let attached = |found: &MemoryConsumer| AttachedConsumer {
            consumer: found.incarnation.clone(),
            endpoint: found.endpoint.clone(),
        };
        self.consumers.values().map(attached).collect()
    }

    /// Returns the log that the consumer reads.
    pub(super) fn log_of(&self, consumer: &MemoryConsumer) -> Option<&MemoryLog> {
        self.logs.get(&consumer.endpoint)
    }

    /// Returns whether a wait for something to claim is over.
    pub(super) fn is_ready(&self, options: &MemoryOptions, consumer: &Incarnation) -> bool {
        match self.consumer(consumer) {
            Ok(consumer) => consumer.is_ready(options.max_retries),
            // The consumer is not attached: there is nothing to wait for.
            Err(_) => true,
        }
    }

    pub(super) fn claim(&mut self, options: &MemoryOptions, consumer: &Incarnation, claim: &Claim) -> Result<Claimed> {
        let consumer = attached(&mut self.consumers, consumer)?;
        let Some(log) = self.logs.get(&consumer.endpoint) else { return Ok(Claimed::default()) };
        Ok(consumer.claim(claim, &log.events, options.max_retries))
    }

    /// Returns the number of waiting retries of all consumers.
    pub(super) fn retrying(&self) -> u64 {
        self.consumers.values().map(|consumer| consumer.progress().retrying).sum()
    }

    pub(super) fn events(&self, endpoint: &Incarnation, query: &EventQuery, scan: usize) -> EventPage {
        let mut page = EventPage::default();
        let Some(log) = self.logs.get(&endpoint.key).filter(|log| log.is_current(endpoint)) else { return page };
        let limit = query.limit.min(LIST_LIMIT);
        let mut last = query.after;
        let events = log.current_events().filter(|(s, _)| is_beyond(query.after, query.newest_first, *s));
        for (looked_at, (sequence, kept)) in in_order(events, query.newest_first).enumerate() {
            if page.events.len() == limit || looked_at == scan.max(1) {
                page.next = Some(last);
                break;
            }
            last = sequence;
            let wanted = query.kind.as_ref().is_none_or(|kind| **kind == *kept.event.kind)
                && query.since.is_none_or(|since| kept.event.received >= since);
            if wanted {
                page.events.push(EventEntry::Kept(kept.event.summary()));
            }
        }
        page
    }

    pub(super) fn event(&self, endpoint: &Incarnation, id: &str) -> Option<StoredEvent> {
        let log = self.logs.get(&endpoint.key).filter(|log| log.is_current(endpoint))?;
        let kept = log.events.get(&log.ids.get(id)?.sequence)?;
        Some(StoredEvent::clone(&kept.event))
    }

    pub(super) fn peek(&self, consumer: &Incarnation, sequences: &[Sequence]) -> Result<Vec<Option<StoredEvent>>> {
        let consumer = self.consumer(consumer)?;
        let log = self.log_of(consumer);
        let event = |sequence: &Sequence| {
            let kept = log?.events.get(sequence).filter(|_| consumer.deliveries.contains_key(sequence))?;
            Some(StoredEvent::clone(&kept.event))
        };
        Ok(sequences.iter().map(event).collect())
    }

    pub(super) fn deliveries(
        &self,
        consumer: &Incarnation,
        query: &DeliveryQuery,
        scan: usize,
    ) -> Result<DeliveryPage> {
        let consumer = self.consumer(consumer)?;
        let mut page = DeliveryPage::default();
        let Some(log) = self.log_of(consumer) else { return Ok(page) };
        let limit = query.limit.min(LIST_LIMIT);
        let mut last = query.after;
        let after = consumer.deliveries.iter().filter(|(s, _)| is_beyond(query.after, query.newest_first, **s));
        for (looked_at, (sequence, delivery)) in in_order(after, query.newest_first).enumerate() {
            if page.deliveries.len() == limit || looked_at == scan.max(1) {
                page.next = Some(last);
                break;
            }
            last = *sequence;
            let Some(kept) = log.events.get(sequence) else { continue };
            if query.state.is_none_or(|state| state == delivery.state()) {
                page.deliveries.push(delivery.record(&kept.event));
            }
        }
        Ok(page)
    }

    pub(super) fn sweep(&mut self, retention: Retention, now: Timestamp) -> Swept {
        let mut swept = Swept::default();
        let letters: BTreeMap<_, _> = retention.consumers.into_iter().collect();
        for (key, consumer) in &mut self.consumers {
            let kept = letters.get(key).copied().unwrap_or(DEFAULT_DEAD_LETTER_RETENTION);
            swept.dead_letters += consumer.drop_dead_letters(before(now, kept));
        }
        let logs = &self.logs;
        let is_current = |endpoint: &Incarnation| logs.get(&endpoint.key).is_some_and(|log| log.is_current(endpoint));
        self.retention.extend(retention.endpoints.into_iter().filter(|(endpoint, _)| is_current(endpoint)));
        let kept = |endpoint: &Incarnation| self.retention.get(endpoint).copied().unwrap_or(DEFAULT_RETENTION);
        let is_over = |kept_event: &KeptEvent| kept_event.event.received <= before(now, kept(&kept_event.endpoint));
        let gone: Vec<_> = self.settled_events().filter(|(_, kept)| is_over(kept)).map(|(at, _)| at).collect();
        swept.events = gone.len() as u64;
        for (endpoint, sequence) in gone {
            self.remove(&endpoint, sequence);
        }
        for log in self.logs.values_mut() {
            let events = &log.events;
            log.ids.retain(|_, known| events.contains_key(&known.sequence) || known.until > now);
        }
        swept
    }

    /// Returns every kept event, endpoint by endpoint.
    pub(super) fn kept_events(&self) -> impl Iterator<Item = ((ObjectKey, Sequence), &KeptEvent)> {
        self.logs
            .iter()
            .flat_map(|(key, log)| log.events.iter().map(|(sequence, kept)| ((key.clone(), *sequence), kept)))
    }

    /// Returns the kept events that all their consumers have settled.
    pub(super) fn settled_events(&self) -> impl Iterator<Item = ((ObjectKey, Sequence), &KeptEvent)> {
        self.kept_events().filter(|((endpoint, sequence), _)| {
            let mut readers = self.consumers.values().filter(|consumer| consumer.endpoint == *endpoint);
            readers.all(|consumer| consumer.has_settled(*sequence))
        })
    }

    /// Removes an event that every consumer has settled. Its id stays known.
    pub(super) fn remove(&mut self, endpoint: &ObjectKey, sequence: Sequence) {
        if let Entry::Occupied(mut log) = self.logs.entry(endpoint.clone())
            && let Some(kept) = log.get_mut().events.remove(&sequence)
        {
            log.get_mut().removed.insert(sequence, kept.event.received);
        }
        for consumer in self.consumers.values_mut().filter(|consumer| consumer.endpoint == *endpoint) {
            consumer.deliveries.remove(&sequence);
        }
    }
}

fn attached<'a>(
    consumers: &'a mut BTreeMap<ObjectKey, MemoryConsumer>,
    consumer: &Incarnation,
) -> Result<&'a mut MemoryConsumer> {
    let found = consumers.get_mut(&consumer.key).filter(|found| found.incarnation == *consumer);
    found.ok_or_else(|| JournalError::UnknownConsumer(consumer.key.clone()))
}

/// Returns whether a list that continues at `after` has this sequence.
fn is_beyond(after: Sequence, newest_first: bool, sequence: Sequence) -> bool {
    if newest_first { after == 0 || sequence < after } else { sequence > after }
}

/// Returns ascending items in the order of a list.
fn in_order<T>(ascending: impl Iterator<Item = T>, newest_first: bool) -> impl Iterator<Item = T> {
    let mut items: Vec<T> = ascending.collect();
    if newest_first {
        items.reverse();
    }
    items.into_iter()
}

/// Returns `time - span`, saturating at the minimum.
fn before(time: Timestamp, span: Duration) -> Timestamp {
    time.checked_sub(span).unwrap_or(Timestamp::MIN)
}
