//! A journal with every kind of row, in tables, in files of bodies and in the log: as this build writes it, and as an
//! earlier one wrote it into `format-1-rows`.
//!
//! Whoever changes what is written keeps that directory as it is and adds another one, written by the build before the
//! change: `cargo nextest run --test journal_contract --run-ignored only writes_the_rows`.

use std::{fs, path::Path, time::Duration};

use bytes::Bytes;
use fjall::{Database, KeyspaceCreateOptions};
use grapnel::journal::{
    Appended, Arrival, Claimed, DeliveryQuery, DeliveryState, EventQuery, Journal, Progress, Redelivered, Retention,
    Selection, Settlement, Start, Step, embedded::EmbeddedJournal,
};

use super::{
    arrivals::{arrival, at, dead, failure, key, retry, validated},
    embedded::{crashed_copy, open},
};

/// Longer than an id may be to stand in a key as it is.
fn long_id() -> String {
    format!("long-{}", "é".repeat(100))
}

/// Longer than a body may be to lie in a table.
fn large_body() -> Bytes {
    Bytes::from((0..2000u32).map(|n| (n % 251) as u8).collect::<Vec<_>>())
}

fn plain(id: &str, second: i64) -> Arrival {
    arrival(&key("in"), id, second)
}

fn odd_ones() -> Vec<Arrival> {
    let large = Arrival {
        validated: validated("large", "größe", large_body()),
        remote: Some("2001:db8::7".parse().unwrap()),
        headers: vec![("x-ümlaut".into(), Bytes::from_static(b"\xff\0")), ("x-empty".into(), Bytes::new())],
        ..plain("large", 3)
    };
    let bare = Arrival {
        validated: validated("bare", "t", Bytes::new()),
        content_type: None,
        remote: None,
        headers: Vec::new(),
        window: None,
        ..plain("bare", 3)
    };
    vec![plain(&long_id(), 3), large, bare]
}

async fn append(journal: &EmbeddedJournal, arrivals: Vec<Arrival>, first: u64) {
    let expected: Vec<_> = (first..first + arrivals.len() as u64).map(Appended::Stored).collect();
    assert_eq!(journal.append(arrivals).await.unwrap(), expected);
}

async fn settle(journal: &EmbeddedJournal, consumer: &str, ends: Vec<(u64, Settlement)>) {
    journal.settle(&key(consumer), ends).await.unwrap();
}

fn attempts(claimed: &Claimed) -> Vec<(u64, u32)> {
    claimed.deliveries.iter().map(|delivery| (delivery.event.sequence, delivery.attempt)).collect()
}

/// Sweeps what is settled at once.
async fn sweep(journal: &EmbeddedJournal, endpoint: &str, second: i64) -> u64 {
    let retention = Retention { endpoints: vec![(key(endpoint), Duration::ZERO)], ..Default::default() };
    journal.sweep(retention, at(second)).await.unwrap().events
}

/// Writes the journal, and leaves it as a crash does.
async fn write(directory: &Path) {
    let journal = open(directory, 0).unwrap();
    for consumer in ["out", "parked", "ordered", "deleted"] {
        journal.attach(&key(consumer), &key("in"), Start::Now).await.unwrap();
    }
    // 1 is settled by all, and swept while its id is remembered; 2 is settled by nobody.
    append(&journal, vec![plain("swept", 0)], 1).await;
    for consumer in ["out", "parked", "ordered", "deleted"] {
        assert_eq!(attempts(&journal.claim(&key(consumer), 1, at(0)).await.unwrap()), [(1, 1)]);
        settle(&journal, consumer, vec![(1, Settlement::Delivered)]).await;
    }
    assert_eq!(sweep(&journal, "in", 1).await, 1);
    let names = ["delivered", "dead", "skipped", "retrying", "dead again", "delivered again"];
    append(&journal, names.iter().map(|name| plain(name, 2)).collect(), 2).await;
    append(&journal, odd_ones(), 8).await;

    journal.claim(&key("deleted"), 2, at(2)).await.unwrap();
    settle(&journal, "deleted", vec![(2, dead(3)), (3, retry(900))]).await;
    journal.detach(&key("deleted")).await.unwrap();

    assert_eq!(journal.claim(&key("out"), 8, at(2)).await.unwrap().deliveries.len(), 8);
    let ends = vec![
        (2, Settlement::Delivered),
        (3, dead(4)),
        (4, Settlement::Skipped),
        (5, retry(50)),
        (6, dead(5)),
        (7, Settlement::Delivered),
        // 8 is in flight to the end; 9 lies above it.
        (9, Settlement::Delivered),
    ];
    settle(&journal, "out", ends).await;
    let ids = Selection::Events(vec!["dead again".into(), "delivered again".into()]);
    let step = Step { from: None, limit: 10, dry_run: false, now: at(10) };
    let queued = journal.redeliver(&key("out"), &ids, step).await.unwrap();
    assert_eq!(queued, Redelivered { queued: 2, ..Default::default() });

    let first = journal.claim_in_order(&key("ordered"), 1, at(2)).await.unwrap();
    assert_eq!(attempts(&first), [(2, 1)]);
    settle(&journal, "ordered", vec![(2, retry(60))]).await;

    // A log with a hole, and a consumer that came after it.
    journal.attach(&key("early"), &key("holes"), Start::Now).await.unwrap();
    append(&journal, ["a", "b", "c"].map(|id| arrival(&key("holes"), id, 0)).into(), 1).await;
    journal.claim(&key("early"), 3, at(0)).await.unwrap();
    settle(&journal, "early", vec![(2, Settlement::Delivered)]).await;
    assert_eq!(sweep(&journal, "holes", 1).await, 1);
    journal.attach(&key("late"), &key("holes"), Start::Earliest).await.unwrap();
    drop(journal);

    // What would happen by itself after some megabytes: what is in the log goes to tables and files of bodies.
    let tables = Database::builder(directory.join("log")).open().unwrap();
    for keyspace in ["events", "index", "state"] {
        let keyspace = tables.keyspace(keyspace, KeyspaceCreateOptions::default).unwrap();
        keyspace.rotate_memtable_and_wait().unwrap();
        assert_eq!(keyspace.blob_file_count(), usize::from(keyspace.is_kv_separated()));
    }
    drop(tables);

    // And some more is in the log alone.
    let journal = open(directory, 0).unwrap();
    append(&journal, vec![plain("newest", 4)], 11).await;
    assert_eq!(attempts(&journal.claim(&key("parked"), 2, at(4)).await.unwrap()), [(2, 1), (3, 1)]);
    settle(&journal, "parked", vec![(3, Settlement::Delivered)]).await;
    let crashed = crashed_copy(directory);
    drop(journal);
    fs::remove_dir_all(directory).unwrap();
    fs::rename(crashed.keep(), directory).unwrap();
}

/// Everything that [`write`] has written is there.
async fn check(directory: &Path) {
    let journal = open(directory, 0).unwrap();
    let consumers = journal.consumers().await.unwrap();
    let expected = [("early", "holes"), ("late", "holes"), ("ordered", "in"), ("out", "in"), ("parked", "in")];
    assert_eq!(consumers, expected.map(|(consumer, endpoint)| (key(consumer), key(endpoint))));

    let progress = |consumer: &str| journal.progress(&key(consumer)).unwrap();
    let none = Progress::default();
    // 8, 10, 11 are new, 6 and 7 queued again.
    assert_eq!(progress("out"), Progress { pending: 5, retrying: 1, dead: 1, delivered: 4, ..none });
    assert_eq!(progress("parked"), Progress { pending: 9, delivered: 2, ..none });
    assert_eq!(progress("ordered"), Progress { pending: 9, retrying: 1, delivered: 1, ..none });
    assert_eq!(progress("early"), Progress { pending: 2, delivered: 1, ..none });
    assert_eq!(progress("late"), Progress { pending: 2, ..none });

    // The events, field by field.
    let events = journal.events(&key("in"), EventQuery { limit: 100, ..Default::default() }).await.unwrap();
    assert_eq!(events.iter().map(|event| event.sequence).collect::<Vec<_>>(), (2..=11).collect::<Vec<_>>());
    let names = ["delivered", "dead", "skipped", "retrying", "dead again", "delivered again"];
    let written = names.iter().map(|name| plain(name, 2)).chain(odd_ones()).chain([plain("newest", 4)]);
    for (event, arrival) in events.iter().zip(written) {
        let identity = arrival.validated.identity();
        assert_eq!((&event.id, &event.kind, &event.body), (&identity.id, &identity.kind, arrival.validated.body()));
        assert_eq!((event.received, &event.content_type), (arrival.received, &arrival.content_type));
        assert_eq!((event.remote, &event.headers), (arrival.remote, &arrival.headers));
    }
    let by_id = journal.event(&key("in"), &long_id()).await.unwrap().unwrap();
    assert_eq!(by_id.sequence, 8);

    // Ids: of an event that has been swept, a long one, one in the log alone, and one without a window.
    let again = vec![plain("swept", 3), plain(&long_id(), 3), plain("newest", 5), odd_ones().remove(2)];
    let expected = [Appended::Duplicate(1), Appended::Duplicate(8), Appended::Duplicate(11), Appended::Stored(12)];
    assert_eq!(journal.append(again).await.unwrap(), expected);

    // Dead letters and retries with their reasons.
    let listed = async |state| {
        let query = DeliveryQuery { state: Some(state), limit: 10, ..Default::default() };
        let found = journal.deliveries(&key("out"), query).await.unwrap();
        found.into_iter().map(|d| (d.event.sequence, d.attempts, d.due, d.failure)).collect::<Vec<_>>()
    };
    assert_eq!(listed(DeliveryState::DeadLettered).await, [(3, 1, None, Some(failure(4)))]);
    assert_eq!(listed(DeliveryState::Retrying).await, [(5, 1, Some(at(50)), Some(failure(49)))]);

    // Queued again comes first, then what is new; a retry when it is due. 8 comes again.
    let claimed = journal.claim(&key("out"), 100, at(20)).await.unwrap();
    assert_eq!(attempts(&claimed), [(6, 1), (7, 1), (8, 1), (10, 1), (11, 1), (12, 1)]);
    assert_eq!(claimed.next_due, Some(at(50)));
    assert_eq!(attempts(&journal.claim(&key("out"), 100, at(50)).await.unwrap()), [(5, 2)]);

    // The order is held up until its first one is due.
    let held = journal.claim_in_order(&key("ordered"), 100, at(59)).await.unwrap();
    assert_eq!((attempts(&held), held.next_due), (vec![], Some(at(60))));
    let first = journal.claim_in_order(&key("ordered"), 1, at(60)).await.unwrap();
    assert_eq!(attempts(&first), [(2, 2)]);

    // Above what is attempted, and past the hole.
    let parked = attempts(&journal.claim(&key("parked"), 3, at(20)).await.unwrap());
    assert_eq!(parked, [(2, 1), (4, 1), (5, 1)]);
    assert_eq!(attempts(&journal.claim(&key("late"), 100, at(20)).await.unwrap()), [(1, 1), (3, 1)]);

    // New rows go on from the old ones: a number is not given twice, and what nobody needs goes.
    journal.attach(&key("newest"), &key("in"), Start::Now).await.unwrap();
    assert_eq!(progress("newest"), none);
    for consumer in ["early", "late"] {
        journal.detach(&key(consumer)).await.unwrap();
    }
    assert_eq!(sweep(&journal, "holes", 1).await, 2);
    assert_eq!(sweep(&journal, "in", 4000).await, 0, "parked has settled too little");
    drop(journal);
    let journal = open(directory, 0).unwrap();
    assert_eq!(journal.append(vec![plain("swept", 4000)]).await.unwrap(), [Appended::Stored(13)]);
    assert_eq!(fs::read_to_string(directory.join("FORMAT")).unwrap(), "grapnel-journal 1\n");
}

#[tokio::test]
async fn every_row_of_an_earlier_build_is_read() {
    let directory = crashed_copy(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/journal/format-1-rows"));
    // Directories without files cannot be kept in the repository.
    for keyspace in 0..4 {
        for of in ["tables", "blobs"] {
            fs::create_dir_all(directory.path().join(format!("log/keyspaces/{keyspace}/{of}"))).unwrap();
        }
    }
    check(directory.path()).await;
}

#[tokio::test]
async fn every_row_of_this_build_is_read() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path().join("journal");
    write(&directory).await;
    check(&directory).await;
}

#[tokio::test]
#[ignore = "writes the directory of an earlier build; only before a change of what is written"]
async fn writes_the_rows() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/journal/format-1-rows");
    assert!(!directory.exists(), "it is written once, by the build before the change");
    write(&directory).await;
    // The log is allocated in advance: zeros follow what is written.
    for entry in fs::read_dir(directory.join("log")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "jnl") {
            let bytes = fs::read(&path).unwrap();
            let end = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
            fs::write(&path, &bytes[..end]).unwrap();
        }
    }
}
