use std::{fs, path::Path, time::Duration};

use jiff::Timestamp;

use super::*;
use crate::{
    Claim, EventEntry, EventQuery, Exchange, Journal, Retention, Settlement, Start,
    embedded::{
        EmbeddedJournal, ends,
        index::ActiveIndex,
        small_journal::{arrival, block_rotation, object, open},
    },
};

/// A journal whose first segment is full, and has one event that is removed and one that is kept.
async fn with_removed_event(directory: &Path) -> EmbeddedJournal {
    let journal = open(directory);
    journal.attach(&object("out"), &object("in"), Start::Now).await.unwrap();
    journal.append(vec![arrival("in", "removed"), arrival("in", "kept")]).await.unwrap();
    journal.engine.ask(Task::Rotate).await.unwrap();
    let claimed = journal.claim(&object("out"), Claim::new(1, Timestamp::UNIX_EPOCH)).await.unwrap();
    let delivered = Exchange { time: Timestamp::UNIX_EPOCH, status: Some(204), took: Duration::ZERO };
    let settlements = vec![(claimed.deliveries[0].event.sequence, Settlement::Delivered(delivered))];
    journal.settle(&object("out"), settlements).await.unwrap();
    let retention = Retention { endpoints: vec![(object("in"), Duration::ZERO)], consumers: Vec::new() };
    assert_eq!(journal.sweep(retention, Timestamp::UNIX_EPOCH).await.unwrap().events, 1);
    journal
}

/// Copies the journal as a power cut right now would leave it: without what is not synced.
async fn after_power_cut(journal: &EmbeddedJournal, from: &Path) -> tempfile::TempDir {
    // The mark before an event says how far the log was durable before.
    journal.append(vec![arrival("other", "next")]).await.unwrap();
    let active = Arc::clone(journal.engine.segments.all().last().unwrap());
    let durable = scan(&active.reader().unwrap(), active.len(), &mut |_, _| {}).unwrap().durable;
    let copy = tempfile::tempdir().unwrap();
    for name in ["FORMAT", "log", "index"] {
        let (from, to) = (from.join(name), copy.path().join(name));
        if from.is_file() {
            fs::copy(from, to).unwrap();
            continue;
        }
        fs::create_dir(&to).unwrap();
        for file in fs::read_dir(from).unwrap().map(|file| file.unwrap()) {
            fs::copy(file.path(), to.join(file.file_name())).unwrap();
        }
    }
    let log = copy.path().join("log").join(active.name.log_file());
    fs::OpenOptions::new().write(true).open(log).unwrap().set_len(durable).unwrap();
    copy
}

/// Rewrites the oldest segment, once it is sealed.
async fn rewrite_first(journal: &EmbeddedJournal) -> Rewritten {
    let engine = Arc::clone(&journal.engine);
    let rewritten = tokio::task::spawn_blocking(move || {
        let full: Vec<_> = engine.segments.all().into_iter().take(1).collect();
        engine.keeper.wait_until(|| full[0].is_sealed());
        rewrite(&engine, &full).unwrap().unwrap()
    });
    rewritten.await.unwrap()
}

/// The rewritten segment counts from its last record on, before anything is deleted: also if the power goes then.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rewritten_segment_relies_on_durable_removals_only() {
    let directory = tempfile::tempdir().unwrap();
    let journal = with_removed_event(directory.path()).await;
    assert_eq!(rewrite_first(&journal).await.segment.index(Index::parts)[0].count, 1);

    let copy = after_power_cut(&journal, directory.path()).await;
    let journal = open(copy.path());
    let query = EventQuery { limit: 9, ..EventQuery::default() };
    let listed = journal.events(&object("in"), query).await.unwrap().events;
    let ids: Vec<_> = listed.iter().map(|entry| entry.kept().map(|event| &*event.id)).collect();
    assert_eq!(ids, [Some("kept")], "{listed:?}");
    assert!(matches!(listed[..], [EventEntry::Kept(_)]));
    assert_eq!(journal.vitals().damaged_records, 0);
}

/// A crash in the middle of a rewrite, after the first of its sources was deleted because nothing of it was kept any
/// more: the other source still counts, not the unfinished copy.
#[tokio::test]
async fn an_unfinished_copy_replaces_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let journal = open(directory.path());
    journal.append(vec![arrival("other", "a")]).await.unwrap();
    journal.engine.ask(Task::Rotate).await.unwrap();
    journal.append(vec![arrival("in", "b")]).await.unwrap();
    journal.engine.ask(Task::Rotate).await.unwrap();
    let layout = journal.engine.layout.clone();
    let [first, second] = [1, 2].map(|id| SegmentName { id, generation: 0 });
    let head = SegmentHead { last: second.id, time: Micros(0), previous: 0, previous_end: 0 };
    let mut copy = OpenSegment::create(&layout, SegmentName { generation: 1, ..first }, head).unwrap();
    copy.record(Kind::Segment, 0, &head.encode());
    copy.write(true).unwrap();
    drop(journal);
    fs::remove_file(layout.log_file(first)).unwrap();
    let journal = open(directory.path());
    assert!(journal.event(&object("in"), "b").await.unwrap().is_some());
}

/// A rewritten segment that did not replace its sources is deleted: they may be rewritten in other groups later, and the
/// next start would read both copies.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_copy_is_deleted() {
    let directory = tempfile::tempdir().unwrap();
    let journal = with_removed_event(directory.path()).await;
    let rewritten = rewrite_first(&journal).await;
    let file = journal.engine.layout.log_file(rewritten.segment.name);
    assert!(file.exists());
    block_rotation(&journal);
    journal.engine.ask(Task::Rotate).await.unwrap_err();
    journal.engine.ask(|answer| Task::Replace { rewritten, answer }).await.unwrap_err();
    assert!(!file.exists());
    assert!(journal.event(&object("in"), "kept").await.unwrap().is_some());
}

/// Segments with few events, and many outcomes that may all be kept: a copy of all of them would be far larger than a
/// segment.
#[tokio::test]
async fn a_copy_has_a_maximum_size() {
    let directory = tempfile::tempdir().unwrap();
    let journal = open(directory.path());
    let full: Vec<_> = (100..120).map(|id| full_of_outcomes(&journal.engine, id)).collect();
    let chosen = choose(&journal.engine, &full).unwrap().unwrap();
    assert_eq!(chosen.len() as u64, REWRITE_SEGMENTS);
}

/// A segment of full size with one small event.
fn full_of_outcomes(engine: &Engine, id: u64) -> Arc<Segment> {
    let mut index = ActiveIndex::default();
    index.event(1, Position { sequence: id, offset: 100, len: 100, received: Micros(0) });
    let head = SegmentHead { last: id, time: Micros(0), previous: 0, previous_end: 0 };
    let name = SegmentName { id, generation: 0 };
    let segment = Segment::new(&engine.layout, name, head, engine.limits.segment_bytes, Index::Active(index));
    segment.seal(&engine.layout).unwrap();
    segment.add_live(1, 100);
    Arc::new(segment)
}

/// A list reads segment after segment, while they are rewritten and their files deleted.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn outcomes_are_found_while_their_segment_is_rewritten() {
    let directory = tempfile::tempdir().unwrap();
    let journal = open(directory.path());
    journal.attach(&object("out"), &object("in"), Start::Now).await.unwrap();
    journal.append(vec![arrival("in", "a")]).await.unwrap();
    journal.engine.ask(Task::Rotate).await.unwrap();
    let claimed = journal.claim(&object("out"), Claim::new(1, Timestamp::UNIX_EPOCH)).await.unwrap();
    let sequence = claimed.deliveries[0].event.sequence;
    let delivered = Exchange { time: Timestamp::UNIX_EPOCH, status: Some(204), took: Duration::ZERO };
    journal.settle(&object("out"), vec![(sequence, Settlement::Delivered(delivered))]).await.unwrap();
    journal.engine.ask(Task::Rotate).await.unwrap();
    let engine = Arc::clone(&journal.engine);
    let rewrites = tokio::task::spawn_blocking(move || {
        for _ in 0..50 {
            let source = Arc::clone(&engine.segments.all()[1]);
            engine.keeper.wait_until(|| source.is_sealed());
            let rewritten = rewrite(&engine, &[source]).unwrap().unwrap();
            sealing::ask(&engine, |answer| Task::Replace { rewritten, answer }).unwrap();
        }
    });
    let consumer = journal.engine.consumer(&object("out")).unwrap();
    while !rewrites.is_finished() {
        let found = ends::find(&journal.engine, &consumer, &[sequence], &mut 0).unwrap();
        assert!(found.contains_key(&sequence));
    }
    rewrites.await.unwrap();
}
