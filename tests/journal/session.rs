//! An engine under test, whose events have ordinals.
//!
//! Sequences are opaque: they ascend, but need not begin at 1 and may have gaps. So the tests name the events of an endpoint
//! 1, 2, 3 and so on, in the order in which they were stored. A [`Session`] learns the sequences from the answers of
//! `append` and translates everything else.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use grapnel_api::{Incarnation, ObjectKey};
use grapnel_journal::{
    Appended, Arrival, Attached, Claim, DeliveryQuery, DeliveryRecord, DeliveryState, EventEntry, EventQuery,
    EventSummary, Journal, JournalError, Progress, Redelivered, RedeliveryStep, Retention, Selection, Sequence,
    Settlement, Start, Swept,
};
pub(crate) use grapnel_test_support::eventually;
use jiff::Timestamp;

use super::arrivals::{arrival, at, file, key};

/// More than there is.
pub(crate) const ALL: usize = 1000;

/// An engine under test, with one journal.
pub(crate) trait Engine {
    /// Opens the journal, always the same one. What was opened before has been dropped, with or without a close.
    fn open(&self) -> Arc<dyn Journal>;

    /// The same engine with another, empty journal, which has these bounds.
    fn bounded(&self, bounds: Bounds) -> Box<dyn Engine>;
}

/// Bounds of a journal.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Bounds {
    /// 0 for none.
    pub(crate) max_bytes: u64,
    pub(crate) namespace_share: Option<u64>,
}

/// The `n`-th event of an endpoint.
pub(crate) type Ordinal = u64;

/// What was claimed, each with its attempt, and the second at which the next one is due.
pub(crate) type Claims = (Vec<(Ordinal, u32)>, Option<i64>);

/// A journal that is open. Its methods without an endpoint or consumer mean `shop/in` and `shop/out`.
pub(crate) struct Session<'a> {
    engine: &'a dyn Engine,
    journal: Option<Arc<dyn Journal>>,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    /// Of each endpoint, ascending.
    sequences: BTreeMap<ObjectKey, Vec<Sequence>>,
    /// The endpoint of each consumer.
    endpoints: BTreeMap<ObjectKey, ObjectKey>,
}

impl Known {
    fn ordinal(&self, endpoint: &ObjectKey, sequence: Sequence) -> Ordinal {
        let sequences = self.sequences.get(endpoint).map_or(&[][..], Vec::as_slice);
        match sequences.binary_search(&sequence) {
            Ok(index) => index as u64 + 1,
            Err(_) => panic!("no event was stored in {endpoint} under {sequence}"),
        }
    }

    /// One that no event has, for an ordinal that no event has.
    fn sequence(&self, endpoint: &ObjectKey, ordinal: Ordinal) -> Sequence {
        let sequences = self.sequences.get(endpoint);
        let known = ordinal.checked_sub(1).and_then(|index| sequences?.get(usize::try_from(index).ok()?));
        known.copied().unwrap_or(u64::MAX - ordinal)
    }
}

impl<'a> Session<'a> {
    pub(crate) fn open(engine: &'a dyn Engine) -> Self {
        Self { engine, journal: Some(engine.open()), known: Mutex::default() }
    }

    /// With `shop/out` attached to `shop/in`.
    pub(crate) async fn attached(engine: &'a dyn Engine, start: Start) -> Self {
        let session = Self::open(engine);
        session.attach(&file("out"), &file("in"), start).await.unwrap();
        session
    }

    pub(crate) fn journal(&self) -> &Arc<dyn Journal> {
        self.journal.as_ref().expect("it is open")
    }

    /// The process ends and another one begins.
    pub(crate) fn reopen(&mut self) {
        drop(self.journal.take());
        self.journal = Some(self.engine.open());
    }

    /// The sequence of an event of `shop/in`.
    pub(crate) fn sequence(&self, ordinal: Ordinal) -> Sequence {
        self.known.lock().unwrap().sequence(&key("in"), ordinal)
    }

    /// Invariant 2 holds of every append: its sequences are greater than those that were known when it began.
    pub(crate) async fn try_append(&self, arrivals: Vec<Arrival>) -> Result<Vec<Appended>, JournalError> {
        let endpoints: Vec<_> = arrivals.iter().map(|arrival| arrival.endpoint.key.clone()).collect();
        let mut last: BTreeMap<ObjectKey, Sequence> = BTreeMap::new();
        for (endpoint, sequences) in &self.known.lock().unwrap().sequences {
            last.extend(sequences.last().map(|sequence| (endpoint.clone(), *sequence)));
        }
        let appended = self.journal().append(arrivals).await?;
        assert_eq!(appended.len(), endpoints.len(), "one answer an event");
        let mut known = self.known.lock().unwrap();
        for (endpoint, appended) in endpoints.iter().zip(&appended) {
            let Appended::Stored(sequence) = appended else { continue };
            let before = last.insert(endpoint.clone(), *sequence);
            assert!(before.is_none_or(|before| before < *sequence), "{sequence} after {before:?} in {endpoint}");
            let sequences = known.sequences.entry(endpoint.clone()).or_default();
            // Other appends may have been answered in between.
            let Err(index) = sequences.binary_search(sequence) else { panic!("{sequence} was used before") };
            sequences.insert(index, *sequence);
        }
        let named = endpoints.iter().zip(appended).map(|(endpoint, appended)| match appended {
            Appended::Stored(sequence) => Appended::Stored(known.ordinal(endpoint, sequence)),
            Appended::Duplicate(sequence) => Appended::Duplicate(known.ordinal(endpoint, sequence)),
        });
        Ok(named.collect())
    }

    pub(crate) async fn append_all(&self, arrivals: Vec<Arrival>) -> Vec<Appended> {
        self.try_append(arrivals).await.unwrap()
    }

    /// Events of `endpoint`, received at one moment.
    pub(crate) async fn append_to(&self, endpoint: &Incarnation, ids: &[&str], second: i64) -> Vec<Appended> {
        self.append_all(ids.iter().map(|id| arrival(endpoint, id, second)).collect()).await
    }

    pub(crate) async fn append(&self, ids: &[&str], second: i64) -> Vec<Appended> {
        self.append_to(&file("in"), ids, second).await
    }

    pub(crate) async fn attach(
        &self,
        consumer: &Incarnation,
        endpoint: &Incarnation,
        start: Start,
    ) -> Result<Attached, JournalError> {
        let attached = self.journal().attach(consumer, endpoint, start).await?;
        self.known.lock().unwrap().endpoints.insert(consumer.key.clone(), endpoint.key.clone());
        Ok(attached)
    }

    fn endpoint_of(&self, consumer: &Incarnation) -> ObjectKey {
        self.known.lock().unwrap().endpoints.get(&consumer.key).cloned().unwrap_or_else(|| key("in"))
    }

    /// The events of a consumer under these sequences.
    pub(crate) fn ordinals(&self, consumer: &Incarnation, sequences: &[Sequence]) -> Vec<Ordinal> {
        let (endpoint, known) = (self.endpoint_of(consumer), self.known.lock().unwrap());
        sequences.iter().map(|sequence| known.ordinal(&endpoint, *sequence)).collect()
    }

    /// Claims, with the ids of the events.
    pub(crate) async fn try_claim(
        &self,
        consumer: &Incarnation,
        claim: Claim,
    ) -> Result<(Vec<(Ordinal, String, u32)>, Option<i64>), JournalError> {
        let claimed = self.journal().claim(consumer, claim).await?;
        assert!(claimed.deliveries.len() <= claim.limit, "{} of {}", claimed.deliveries.len(), claim.limit);
        let (endpoint, known) = (self.endpoint_of(consumer), self.known.lock().unwrap());
        let deliveries = claimed.deliveries.iter().map(|delivery| {
            let event = &delivery.event;
            (known.ordinal(&endpoint, event.sequence), event.id.to_string(), delivery.attempt)
        });
        Ok((deliveries.collect(), claimed.next_due.map(|due| due.as_second() - at(0).as_second())))
    }

    pub(crate) async fn claim_as(&self, consumer: &Incarnation, claim: Claim) -> Claims {
        let (deliveries, next_due) = self.try_claim(consumer, claim).await.unwrap();
        (deliveries.into_iter().map(|(ordinal, _, attempt)| (ordinal, attempt)).collect(), next_due)
    }

    pub(crate) async fn claim(&self, limit: usize, second: i64) -> Vec<(Ordinal, u32)> {
        self.claim_as(&file("out"), Claim::new(limit, at(second))).await.0
    }

    pub(crate) async fn claim_in_order(&self, limit: usize, second: i64) -> Claims {
        self.claim_as(&file("out"), Claim::new(limit, at(second)).in_order()).await
    }

    pub(crate) async fn try_settle(
        &self,
        consumer: &Incarnation,
        settlements: Vec<(Ordinal, Settlement)>,
    ) -> Result<(), JournalError> {
        let endpoint = self.endpoint_of(consumer);
        let settlements = {
            let known = self.known.lock().unwrap();
            settlements.into_iter().map(|(ordinal, end)| (known.sequence(&endpoint, ordinal), end)).collect()
        };
        self.journal().settle(consumer, settlements).await
    }

    pub(crate) async fn settle_all(&self, settlements: Vec<(Ordinal, Settlement)>) {
        self.try_settle(&file("out"), settlements).await.unwrap();
    }

    pub(crate) async fn settle(&self, ordinal: Ordinal, settlement: Settlement) {
        self.settle_all(vec![(ordinal, settlement)]).await;
    }

    /// Claims everything that is due and settles it.
    pub(crate) async fn settle_due(&self, second: i64, settlement: Settlement) {
        let claimed = self.claim(ALL * 10, second).await;
        self.settle_all(claimed.into_iter().map(|(ordinal, _)| (ordinal, settlement.clone())).collect()).await;
    }

    pub(crate) fn progress(&self) -> Progress {
        self.journal().progress(&file("out")).unwrap()
    }

    /// The events of an endpoint that a query finds, in as many steps as it takes; their sequences are ordinals.
    pub(crate) async fn list(&self, endpoint: &Incarnation, query: EventQuery) -> Vec<EventSummary> {
        let mut all: Vec<EventSummary> = Vec::new();
        let mut query = query;
        let is_beyond = order(query.newest_first);
        loop {
            let page = self.journal().events(endpoint, query.clone()).await.unwrap();
            assert!(page.events.len() <= query.limit, "{page:?} of {query:?}");
            for entry in page.events {
                let EventEntry::Kept(event) = entry else { panic!("{entry:?}") };
                assert!(
                    is_beyond(query.after, event.sequence)
                        && all.last().is_none_or(|last| is_beyond(last.sequence, event.sequence))
                );
                all.push(event);
            }
            match page.next {
                Some(next) => {
                    assert!(
                        is_beyond(query.after, next) && all.last().is_none_or(|last| !is_beyond(next, last.sequence)),
                        "{query:?}"
                    );
                    query.after = next;
                }
                None => break,
            }
        }
        let known = self.known.lock().unwrap();
        all.iter_mut().for_each(|event| event.sequence = known.ordinal(&endpoint.key, event.sequence));
        all
    }

    /// The events of an endpoint that are kept.
    pub(crate) async fn kept_in(&self, endpoint: &Incarnation) -> Vec<Ordinal> {
        let all = self.list(endpoint, EventQuery { limit: ALL, ..Default::default() }).await;
        all.into_iter().map(|event| event.sequence).collect()
    }

    pub(crate) async fn kept(&self) -> Vec<Ordinal> {
        self.kept_in(&file("in")).await
    }

    /// The newest event of an id, and when it was received.
    pub(crate) async fn find(&self, endpoint: &Incarnation, id: &str) -> Option<(Ordinal, Timestamp)> {
        let found = self.journal().event(endpoint, id).await.unwrap()?;
        assert_eq!(&*found.id, id);
        Some((self.known.lock().unwrap().ordinal(&endpoint.key, found.sequence), found.received))
    }

    /// The deliveries of a consumer that a query finds, in as many steps as it takes; their sequences are ordinals.
    pub(crate) async fn try_records(
        &self,
        consumer: &Incarnation,
        query: DeliveryQuery,
    ) -> Result<Vec<DeliveryRecord>, JournalError> {
        let mut all: Vec<DeliveryRecord> = Vec::new();
        let mut query = query;
        let is_beyond = order(query.newest_first);
        loop {
            let page = self.journal().deliveries(consumer, query.clone()).await?;
            assert!(page.deliveries.len() <= query.limit, "{page:?} of {query:?}");
            for record in page.deliveries {
                let sequence = record.event.sequence();
                assert!(
                    is_beyond(query.after, sequence)
                        && all.last().is_none_or(|last| is_beyond(last.event.sequence(), sequence))
                );
                all.push(record);
            }
            match page.next {
                Some(next) => {
                    assert!(
                        is_beyond(query.after, next)
                            && all.last().is_none_or(|last| !is_beyond(next, last.event.sequence()))
                    );
                    query.after = next;
                }
                None => break,
            }
        }
        let (endpoint, known) = (self.endpoint_of(consumer), self.known.lock().unwrap());
        for record in &mut all {
            let EventEntry::Kept(event) = &mut record.event else { panic!("{record:?}") };
            event.sequence = known.ordinal(&endpoint, event.sequence);
        }
        Ok(all)
    }

    /// Every delivery of `shop/out` in a state.
    pub(crate) async fn records(&self, state: Option<DeliveryState>) -> Vec<DeliveryRecord> {
        self.try_records(&file("out"), DeliveryQuery { state, limit: ALL, ..Default::default() }).await.unwrap()
    }

    pub(crate) async fn record(&self, ordinal: Ordinal) -> DeliveryRecord {
        let all = self.records(None).await;
        all.into_iter().find(|record| record.event.sequence() == ordinal).expect("it is listed")
    }

    /// Every delivery in a state, with the attempts that have ended.
    pub(crate) async fn deliveries(&self, state: Option<DeliveryState>) -> Vec<(Ordinal, DeliveryState, u32)> {
        let records = self.records(state).await;
        records.iter().map(|record| (record.event.sequence(), record.state, record.attempts)).collect()
    }

    pub(crate) async fn sweep(&self, retention: Retention, second: i64) -> Swept {
        self.journal().sweep(retention, at(second)).await.unwrap()
    }

    pub(crate) async fn redeliver(&self, selection: &Selection, step: RedeliveryStep) -> Redelivered {
        let (done, sequences) = self.redeliver_listed(selection, step).await;
        let moved = done.queued + done.hastened;
        let listed = sequences.len() as u64;
        assert!((moved..=moved + done.skipped).contains(&listed), "{done:?} {sequences:?}");
        done
    }

    /// The counts of a step, and the events that it lists.
    pub(crate) async fn redeliver_listed(
        &self,
        selection: &Selection,
        step: RedeliveryStep,
    ) -> (Redelivered, Vec<Ordinal>) {
        let mut done = self.journal().redeliver(&file("out"), selection, step).await.unwrap();
        let sequences = std::mem::take(&mut done.sequences);
        (done, self.ordinals(&file("out"), &sequences))
    }
}

/// Whether the second of two sequences follows the first in a list; 0 is before its first row.
fn order(newest_first: bool) -> impl Fn(Sequence, Sequence) -> bool {
    move |before, next| if newest_first { before == 0 || next < before } else { next > before }
}

/// So many seconds for the settled events of `shop/in`, and for the dead letters of `shop/out`.
pub(crate) fn keep(events: u64, letters: u64) -> Retention {
    Retention {
        endpoints: vec![(file("in"), Duration::from_secs(events))],
        consumers: vec![(key("out"), Duration::from_secs(letters))],
    }
}
