//! Lists of events, and single events. Each step of a list examines a bounded number of rows, reads a bounded number of
//! bytes, and returns where to continue. Lists never touch the hot path.

use std::sync::Arc;

use super::{
    Engine,
    consumer::Consumer,
    endpoint::Endpoint,
    ids::IdHash,
    loading::{Loaded, Loading},
    received,
};
use crate::{
    EventEntry, EventPage, EventQuery, EventSummary, Result, Sequence, StoredEvent,
    limits::{LIST_BYTES, LIST_LIMIT, LIST_SCAN, REDELIVERY_SKEW},
    machine::Micros,
};

/// The sequences of an endpoint that a list examines: the bounds are inclusive.
#[derive(Debug, Clone, Copy)]
pub(super) struct ListSpan {
    pub(super) first: Sequence,
    pub(super) last: Sequence,
    pub(super) newest_first: bool,
}

impl ListSpan {
    /// Returns the part of the sequences between `first` and `last` that is beyond `after` in the order of the list.
    pub(super) fn beyond(after: Sequence, newest_first: bool, first: Sequence, last: Sequence) -> Self {
        match (newest_first, after) {
            (false, after) => Self { first: first.max(after.saturating_add(1)), last, newest_first },
            (true, 0) => Self { first, last, newest_first },
            (true, before) => Self { first, last: last.min(before.saturating_sub(1)), newest_first },
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.first > self.last
    }

    /// Returns the part from a sequence on.
    pub(super) fn starting_at(self, sequence: Sequence) -> Self {
        match self.newest_first {
            true => Self { last: sequence, ..self },
            false => Self { first: sequence, ..self },
        }
    }

    /// Returns what is left beyond a sequence.
    pub(super) fn rest(self, sequence: Sequence) -> Self {
        match self.newest_first {
            true => Self { last: sequence.saturating_sub(1), ..self },
            false => Self { first: sequence.saturating_add(1), ..self },
        }
    }

    /// Returns the first sequence in the order of the list that is kept.
    pub(super) fn kept(&self, endpoint: &Endpoint) -> Option<Sequence> {
        let kept = match self.newest_first {
            true => endpoint.previous_kept(self.last),
            false => endpoint.next_kept(self.first),
        };
        kept.filter(|kept| (self.first..=self.last).contains(kept))
    }
}

/// Returns one step of the events of an endpoint.
pub(super) fn events(
    engine: &Engine,
    endpoint: &Arc<Endpoint>,
    begin: Sequence,
    query: &EventQuery,
) -> Result<EventPage> {
    let EventQuery { after, newest_first, limit, .. } = *query;
    let mut span = ListSpan::beyond(after, newest_first, begin, endpoint.head());
    if limit == 0 || span.is_empty() {
        return Ok(EventPage::default());
    }
    if let Some(since) = query.since.filter(|_| !newest_first && after == 0) {
        span.first = received::begin(engine, endpoint, Micros::floor(since), span.first - 1, span.last)? + 1;
    }
    let (sequences, mut rest) = (kept(endpoint, span, LIST_SCAN), span);
    let mut page = EventPage::default();
    let mut loading = Loading::new(engine, endpoint, &sequences, LIST_BYTES);
    for sequence in sequences {
        if page.events.len() >= limit.min(LIST_LIMIT) {
            break;
        }
        match query.look(&mut loading, sequence)? {
            Looked::Entry(event) if query.admits(&event) => page.events.push(EventEntry::Kept(event)),
            Looked::Unreadable if endpoint.keeps(sequence) && query.kind.is_none() => {
                page.events.push(EventEntry::Damaged(sequence));
            }
            Looked::Entry(_) | Looked::Unreadable | Looked::TooEarly => {}
            // Everything older was received even earlier.
            Looked::AllTooEarly => return Ok(EventPage { next: None, ..page }),
            Looked::NoRoom => break,
        }
        rest = span.rest(sequence);
        page.next = Some(sequence);
    }
    page.next = page.next.filter(|_| rest.kept(endpoint).is_some());
    Ok(page)
}

/// What a list finds under a sequence.
enum Looked {
    Entry(EventSummary),
    /// It cannot be read, or was removed in the meantime.
    Unreadable,
    /// It was received too early for the list.
    TooEarly,
    /// It and everything older were received too early.
    AllTooEarly,
    NoRoom,
}

impl EventQuery {
    fn look(&self, loading: &mut Loading<'_>, sequence: Sequence) -> Result<Looked> {
        if let Some(since) = self.since.map(Micros::floor)
            && let Some((_, position)) = loading.position(sequence)?
            && position.received < since
        {
            let is_last = self.newest_first && position.received < since.before(REDELIVERY_SKEW);
            return Ok(if is_last { Looked::AllTooEarly } else { Looked::TooEarly });
        }
        Ok(match loading.summary(sequence)? {
            Loaded::Event(Some(event)) => Looked::Entry(event),
            Loaded::Event(None) => Looked::Unreadable,
            Loaded::NoRoom => Looked::NoRoom,
        })
    }

    fn admits(&self, event: &EventSummary) -> bool {
        self.kind.as_ref().is_none_or(|kind| **kind == *event.kind)
            && self.since.is_none_or(|since| event.received >= since)
    }
}

/// Returns the first kept sequences in the order of the list, at most `limit`.
fn kept(endpoint: &Endpoint, span: ListSpan, limit: usize) -> Vec<Sequence> {
    let next = |span: ListSpan| span.kept(endpoint).map(|kept| (kept, span.rest(kept)));
    let all = std::iter::successors(next(span), |(_, rest)| next(*rest));
    all.map(|(kept, _)| kept).take(limit).collect()
}

/// Returns the newest event of an id, if it is still kept.
pub(super) fn event(engine: &Engine, endpoint: &Arc<Endpoint>, id: &str) -> Result<Option<StoredEvent>> {
    let Some(sequence) = find(engine, endpoint, id)? else { return Ok(None) };
    let event = engine.load(endpoint, &[sequence], LIST_BYTES)?.into_iter().next().and_then(|(_, event)| event);
    Ok(event.filter(|event| *event.id == *id))
}

/// Returns events of a consumer with their bodies, as many as there is room for. Events that are not kept or do not
/// belong to the consumer are not looked up.
pub(super) fn peek(engine: &Engine, consumer: &Consumer, sequences: &[Sequence]) -> Result<Vec<Option<StoredEvent>>> {
    let (endpoint, start) = (&consumer.endpoint, consumer.state().start());
    let belongs = |sequence: Sequence| sequence > start && sequence <= endpoint.head() && endpoint.keeps(sequence);
    let present: Vec<_> = sequences.iter().copied().filter(|sequence| belongs(*sequence)).collect();
    let mut sorted = present.clone();
    sorted.sort_unstable();
    let mut loading = Loading::new(engine, endpoint, &sorted, LIST_BYTES);
    let (mut found, mut present) = (Vec::with_capacity(sequences.len()), present.into_iter().peekable());
    for sequence in sequences {
        if present.next_if_eq(sequence).is_none() {
            found.push(None);
            continue;
        }
        match loading.load(*sequence)? {
            Loaded::NoRoom => break,
            Loaded::Event(event) => found.push(event),
        }
    }
    Ok(found)
}

/// Returns the sequence of the newest event of an id, if it is still kept.
pub(super) fn find(engine: &Engine, endpoint: &Endpoint, id: &str) -> Result<Option<Sequence>> {
    let id = IdHash::of(endpoint.number, endpoint.present_incarnation(), id);
    let known = engine.known_id(&id, None)?;
    Ok(known.map(|known| known.sequence).filter(|sequence| endpoint.keeps(*sequence)))
}
