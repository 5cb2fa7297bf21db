use std::{fs, path::Path, time::Duration};

use bytes::Bytes;
use grapnel_api::{Incarnation, ObjectKey};
use jiff::Timestamp;

use super::*;
use crate::{
    Arrival, Claim, EventEntry, EventQuery, Exchange, Journal, Retention, Settlement, Start,
    embedded::{EmbeddedJournal, EmbeddedOptions},
    testing::validated,
};

fn open(directory: &Path) -> EmbeddedJournal {
    let directory = directory.to_owned();
    EmbeddedJournal::open(EmbeddedOptions { directory, max_bytes: 0, namespace_share: None, strict: false }).unwrap()
}

fn object(name: &str) -> Incarnation {
    Incarnation::of_file(ObjectKey::new("shop", name))
}

fn arrival(endpoint: &str, id: &str) -> Arrival {
    Arrival {
        endpoint: object(endpoint),
        validated: validated(id, "order.created", Bytes::from_static(b"{}")),
        received: Timestamp::UNIX_EPOCH,
        content_type: None,
        remote: None,
        headers: Vec::new(),
        window: None,
        max_bytes: None,
    }
}

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

/// The rewritten segment counts from its last record on, before anything is deleted: also if the power goes then.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rewritten_segment_relies_on_durable_removals_only() {
    let directory = tempfile::tempdir().unwrap();
    let journal = with_removed_event(directory.path()).await;
    let engine = Arc::clone(&journal.engine);
    let rewritten = tokio::task::spawn_blocking(move || {
        let full: Vec<_> = engine.segments.all().into_iter().take(1).collect();
        engine.keeper.wait_until(|| full[0].is_sealed());
        rewrite(&engine, &full).unwrap().unwrap()
    });
    assert_eq!(rewritten.await.unwrap().segment.index(Index::parts)[0].count, 1);

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
