//! Lists of the deliveries of a consumer: like those of events, in bounded steps.

use super::{
    Engine,
    consumer::Consumer,
    ends,
    loading::{Loaded, Loading},
    read::ListSpan,
};
use crate::{
    DeliveryPage, DeliveryQuery, DeliveryState, EventEntry, Result, Sequence,
    limits::{DELIVERIES_CHUNK, LIST_BYTES, LIST_LIMIT, LIST_SCAN},
    machine::Micros,
};

/// A delivery to list.
struct Row {
    sequence: Sequence,
    state: DeliveryState,
    attempts: u32,
    due: Option<Micros>,
}

/// The deliveries of one step.
#[derive(Default)]
struct Chosen {
    rows: Vec<Row>,
    /// Everything up to this sequence, in the order of the list, was examined; `None` at the end of the list.
    next: Option<Sequence>,
}

/// Returns one step of the deliveries of a consumer.
pub(super) fn deliveries(engine: &Engine, consumer: &Consumer, query: &DeliveryQuery) -> Result<DeliveryPage> {
    let Chosen { rows, next } = choose(consumer, query);
    let mut page = DeliveryPage { deliveries: Vec::with_capacity(rows.len()), next };
    let sequences: Vec<_> = rows.iter().map(|row| row.sequence).collect();
    let mut loading = Loading::new(engine, &consumer.endpoint, &sequences, LIST_BYTES);
    let (mut left, mut read, mut done) = (rows.as_slice(), 0, None);
    while !left.is_empty() {
        let chunk = left.iter().take(DELIVERIES_CHUNK);
        let entries = load(consumer, &mut loading, chunk)?;
        let looked_at = entries.len();
        let (looked, rest) = left.split_at(looked_at);
        done = looked.last().map(|row| row.sequence).or(done);
        list(engine, consumer, entries, &mut read, &mut page)?;
        left = rest;
        if looked_at == 0 || (read > LIST_BYTES && !left.is_empty()) {
            page.next = done;
            break;
        }
    }
    Ok(page)
}

/// Loads the events of deliveries, as many as there is room for. `None` stands for one that was removed meanwhile.
fn load<'a>(
    consumer: &Consumer,
    loading: &mut Loading<'_>,
    rows: impl Iterator<Item = &'a Row>,
) -> Result<Vec<(&'a Row, Option<EventEntry>)>> {
    let mut loaded = Vec::new();
    for row in rows {
        loaded.push((
            row,
            match loading.summary(row.sequence)? {
                Loaded::Event(Some(event)) => Some(EventEntry::Kept(event)),
                Loaded::Event(None) if consumer.endpoint.keeps(row.sequence) => Some(EventEntry::Damaged(row.sequence)),
                Loaded::Event(None) => None,
                Loaded::NoRoom => break,
            },
        ));
    }
    Ok(loaded)
}

/// Adds deliveries to a page, with how they ended.
fn list(
    engine: &Engine,
    consumer: &Consumer,
    entries: Vec<(&Row, Option<EventEntry>)>,
    read: &mut usize,
    page: &mut DeliveryPage,
) -> Result<()> {
    let entries: Vec<_> = entries.into_iter().filter_map(|(row, event)| Some((row, event?))).collect();
    let mut sequences: Vec<_> = entries.iter().map(|(row, _)| row.sequence).collect();
    sequences.sort_unstable();
    let mut ends = ends::find(engine, consumer, &sequences, read)?;
    // The outcomes of an event may leave the log as soon as the event is removed.
    let kept = entries.into_iter().filter(|(row, _)| consumer.endpoint.keeps(row.sequence));
    page.deliveries.extend(kept.map(|(row, event)| {
        let Row { sequence, state, attempts, due } = *row;
        ends.remove(&sequence).unwrap_or_default().record(event, state, attempts, due.map(Micros::timestamp))
    }));
    Ok(())
}

/// Chooses the deliveries of one step from memory.
fn choose(consumer: &Consumer, query: &DeliveryQuery) -> Chosen {
    let DeliveryQuery { state: wanted, after, newest_first, limit } = *query;
    let state = consumer.state();
    let mut span = ListSpan::beyond(after, newest_first, state.start().saturating_add(1), consumer.endpoint.head());
    let mut chosen = Chosen::default();
    if limit == 0 {
        return chosen;
    }
    let candidate = |span: ListSpan| {
        let found = match newest_first {
            true => state.previous_candidate(wanted, span.last),
            false => state.next_candidate(wanted, span.first),
        };
        found.filter(|found| !span.is_empty() && (span.first..=span.last).contains(found))
    };
    for _ in 0..LIST_SCAN {
        let Some(sequence) = candidate(span) else {
            chosen.next = None;
            return chosen;
        };
        if chosen.rows.len() >= limit.min(LIST_LIMIT) {
            return chosen;
        }
        // Skips all removed events at once.
        let Some(kept) = span.starting_at(sequence).kept(&consumer.endpoint) else {
            chosen.next = None;
            return chosen;
        };
        if kept == sequence {
            let (found, attempts, due) = state.state_of(sequence);
            if wanted.is_none_or(|wanted| wanted == found) {
                chosen.rows.push(Row { sequence, state: found, attempts, due });
            }
            span = span.rest(sequence);
            chosen.next = Some(sequence);
        } else {
            span = span.starting_at(kept);
        }
    }
    chosen
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use jiff::Timestamp;

    use super::*;
    use crate::{
        Claim, Exchange, Journal, Retention, Settlement, Start,
        embedded::small_journal::{arrival, object, open},
    };

    /// Its outcome may be gone by then, but is not unknown.
    #[tokio::test]
    async fn an_event_that_is_removed_meanwhile_is_not_listed() {
        let directory = tempfile::tempdir().unwrap();
        let journal = open(directory.path());
        journal.attach(&object("out"), &object("in"), Start::Now).await.unwrap();
        journal.append(vec![arrival("in", "a"), arrival("in", "b")]).await.unwrap();
        let claimed = journal.claim(&object("out"), Claim::new(1, Timestamp::UNIX_EPOCH)).await.unwrap();
        let delivered = Exchange { time: Timestamp::UNIX_EPOCH, status: Some(204), took: Duration::ZERO };
        let settled = vec![(claimed.deliveries[0].event.sequence, Settlement::Delivered(delivered))];
        journal.settle(&object("out"), settled).await.unwrap();
        let (engine, consumer) = (&journal.engine, journal.engine.consumer(&object("out")).unwrap());
        let rows = choose(&consumer, &DeliveryQuery { limit: 9, ..DeliveryQuery::default() }).rows;
        let sequences: Vec<_> = rows.iter().map(|row| row.sequence).collect();
        let mut loading = Loading::new(engine, &consumer.endpoint, &sequences, LIST_BYTES);
        let entries = load(&consumer, &mut loading, rows.iter()).unwrap();
        assert_eq!(entries.len(), 2);
        let retention = Retention { endpoints: vec![(object("in"), Duration::ZERO)], consumers: Vec::new() };
        assert_eq!(journal.sweep(retention, Timestamp::UNIX_EPOCH).await.unwrap().events, 1);
        let mut page = DeliveryPage { deliveries: Vec::new(), next: None };
        list(engine, &consumer, entries, &mut 0, &mut page).unwrap();
        let listed: Vec<_> = page.deliveries.iter().map(|row| row.event.sequence()).collect();
        assert_eq!(listed, sequences[1..]);
    }
}
