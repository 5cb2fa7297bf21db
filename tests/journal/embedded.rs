//! The suite for the embedded engine, and what only it promises.

use std::{path::Path, sync::Arc};

use bytes::Bytes;
use grapnel::journal::{
    Appended, EventQuery, Journal, JournalError, Progress, Redelivered, Retention, Selection, Settlement, Start, Step,
    embedded::{EmbeddedJournal, EmbeddedOptions},
};
use proptest::prelude::*;
use tempfile::TempDir;

use super::{
    arrivals::{arrival, at, key, retry, validated},
    model, redelivery,
    suite::{self, Engine},
};

pub(crate) struct Embedded {
    pub(crate) directory: TempDir,
}

impl Embedded {
    pub(crate) fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap() }
    }
}

impl Engine for Embedded {
    fn open(&self) -> Arc<dyn Journal> {
        Arc::new(open(self.directory.path(), 0).unwrap())
    }
}

pub(crate) fn open(directory: &Path, max_bytes: u64) -> Result<EmbeddedJournal, JournalError> {
    EmbeddedJournal::open(EmbeddedOptions { directory: directory.to_owned(), max_bytes })
}

macro_rules! contract {
    ($suite:ident: $($name:ident),* $(,)?) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                $suite::$name(&Embedded::new()).await;
            }
        )*
    };
}

contract!(suite:
    acknowledged_events_survive,
    sequences_are_not_reused,
    one_of_many_equal_arrivals_is_stored,
    duplicates_are_known_for_the_window,
    duplicates_are_known_after_removal,
    nothing_is_in_flight_twice,
    unsettled_events_come_again,
    released_events_come_again,
    retries_come_when_due,
    many_retries_come_in_order,
    claims_in_order_go_by_sequence,
    what_is_held_up_does_not_wake,
    claims_in_order_pass_what_has_been_removed,
    dead_letters_stay_listed,
    closing_keeps_settlements,
    sweeping_spares_what_is_not_settled,
    large_holes_are_skipped,
    consumers_stay_until_detached,
    start_is_where_it_says,
    readiness_is_not_missed,
    listings_show_every_state,
    batches_span_endpoints,
);

contract!(redelivery:
    dead_letters_come_again,
    ids_say_what_became_of_them,
    nothing_from_before_the_start,
    a_span_of_receipts_comes_again,
    steps_go_through_everything_once,
    queued_events_survive,
    queued_events_come_in_order,
    queued_events_pin_their_events,
    sweeping_takes_nothing_that_is_queued,
    redelivery_needs_a_consumer,
    what_comes_again_comes_first_in_an_order,
);

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn agrees_with_the_model(ops in model::ops()) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(model::check(&Embedded::new(), ops));
    }
}

#[tokio::test]
async fn one_process_at_a_time() {
    let directory = tempfile::tempdir().unwrap();
    let journal = open(directory.path(), 0).unwrap();
    assert!(matches!(open(directory.path(), 0), Err(JournalError::Locked(_))));
    journal.close().await.unwrap();
    drop(journal);
    open(directory.path(), 0).unwrap();
}

#[tokio::test]
async fn newer_formats_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    drop(open(directory.path(), 0).unwrap());
    let format = directory.path().join("FORMAT");
    assert_eq!(std::fs::read_to_string(&format).unwrap(), "grapnel-journal 1\n");
    std::fs::write(&format, "grapnel-journal 2\n").unwrap();
    assert!(matches!(open(directory.path(), 0), Err(JournalError::NewerFormat { found: 2, known: 1 })));
    std::fs::write(&format, "something else\n").unwrap();
    assert!(matches!(open(directory.path(), 0), Err(JournalError::Corrupt(_))));
    std::fs::remove_file(&format).unwrap();
    assert!(matches!(open(directory.path(), 0), Err(JournalError::Corrupt(_))));
}

/// A journal of format 1, written before there was redelivery. It went through these: an event swept; two consumers
/// attached, `out` at the newest event and `other` at the oldest; six events appended and five of them claimed for
/// `out`, of which one was delivered, one died, one waits for a retry and one was skipped. Zeros that end the log file
/// and directories without files are left out.
#[tokio::test]
async fn journals_from_before_redelivery_open() {
    let directory = crashed_copy(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/journal/format-1"));
    for keyspace in 0..4 {
        std::fs::create_dir_all(directory.path().join(format!("log/keyspaces/{keyspace}/tables"))).unwrap();
        std::fs::create_dir_all(directory.path().join(format!("log/keyspaces/{keyspace}/blobs"))).unwrap();
    }
    let journal = open(directory.path(), 0).unwrap();
    let expected = Progress { pending: 2, in_flight: 0, retrying: 1, dead: 1, delivered: 1 };
    assert_eq!(journal.progress(&key("out")).unwrap(), expected);
    assert_eq!(journal.progress(&key("other")).unwrap(), Progress { pending: 6, ..Default::default() });
    let duplicate = journal.append(vec![arrival(&key("in"), "swept", 3)]).await.unwrap();
    assert_eq!(duplicate, [Appended::Duplicate(1)]);
    // What died and what went well then is delivered again now.
    let everything = Selection::Received { since: None, until: None };
    let step = Step { from: None, limit: 100, dry_run: false, now: at(10) };
    let done = journal.redeliver(&key("out"), &everything, step).await.unwrap();
    assert_eq!(done, Redelivered { queued: 3, skipped: 3, ..Default::default() });
    drop(journal);
    let journal = open(directory.path(), 0).unwrap();
    let expected = Progress { pending: 5, in_flight: 0, retrying: 1, dead: 0, delivered: 1 };
    assert_eq!(journal.progress(&key("out")).unwrap(), expected);
    let claimed = journal.claim(&key("out"), 10, at(50)).await.unwrap();
    let got = claimed.deliveries.iter().map(|d| (&*d.event.id, d.attempt)).collect::<Vec<_>>();
    let expected = [("delivered", 1), ("dead", 1), ("skipped", 1), ("retrying", 2), ("in flight", 1), ("pending", 1)];
    assert_eq!(got, expected);
    assert_eq!(claimed.deliveries[0].event.headers, arrival(&key("in"), "delivered", 2).headers);
    // The version of the directory stays, so that the build before opens it again.
    assert_eq!(std::fs::read_to_string(directory.path().join("FORMAT")).unwrap(), "grapnel-journal 1\n");
}

/// The process ended while the directory was being made.
#[tokio::test]
async fn a_half_made_directory_is_made_again() {
    let directory = tempfile::tempdir().unwrap();
    drop(open(directory.path(), 0).unwrap());
    let version = directory.path().join("log/version");
    for left in [None, Some(&b""[..]), Some(b"FJ"), Some(&[0; 4])] {
        std::fs::remove_file(&version).unwrap();
        if let Some(left) = left {
            std::fs::write(&version, left).unwrap();
        }
        drop(open(directory.path(), 0).unwrap());
    }
    // But not over what has been acknowledged.
    let journal = open(directory.path(), 0).unwrap();
    journal.append(vec![arrival(&key("in"), "a", 0)]).await.unwrap();
    drop(journal);
    let whole = std::fs::read(&version).unwrap();
    std::fs::remove_file(&version).unwrap();
    assert!(matches!(open(directory.path(), 0), Err(JournalError::Corrupt(_))));
    std::fs::write(&version, whole).unwrap();
    let journal = open(directory.path(), 0).unwrap();
    assert!(journal.event(&key("in"), "a").await.unwrap().is_some());
}

/// Copies the files as they are: what a crash of the process would leave.
pub(crate) fn crashed_copy(of: &Path) -> TempDir {
    fn copy(from: &Path, to: &Path) {
        std::fs::create_dir_all(to).unwrap();
        for entry in std::fs::read_dir(from).unwrap() {
            let entry = entry.unwrap();
            let to = to.join(entry.file_name());
            if entry.file_type().unwrap().is_dir() {
                copy(&entry.path(), &to);
            } else {
                std::fs::copy(entry.path(), &to).unwrap();
            }
        }
    }
    let directory = tempfile::tempdir().unwrap();
    copy(of, directory.path());
    directory
}

/// Invariants 1 and 6 for the end of the process alone: nothing that was answered is lost.
#[tokio::test]
async fn nothing_answered_is_lost_with_the_process() {
    let directory = tempfile::tempdir().unwrap();
    let journal = open(directory.path(), 0).unwrap();
    journal.attach(&key("out"), &key("in"), Start::Now).await.unwrap();
    journal.append(["a", "b", "c"].iter().map(|id| arrival(&key("in"), id, 0)).collect()).await.unwrap();
    journal.claim(&key("out"), 2, at(0)).await.unwrap();
    journal.settle(&key("out"), vec![(1, Settlement::Delivered), (2, retry(9))]).await.unwrap();
    let copy = crashed_copy(directory.path());
    let again = open(copy.path(), 0).unwrap();
    let expected = Progress { pending: 1, retrying: 1, delivered: 1, ..Default::default() };
    assert_eq!(again.progress(&key("out")).unwrap(), expected);
    assert_eq!(again.append(vec![arrival(&key("in"), "a", 1)]).await.unwrap(), [Appended::Duplicate(1)]);
}

/// Everything that `max_bytes` promises.
#[tokio::test]
async fn a_full_journal_makes_room_or_refuses() {
    let directory = tempfile::tempdir().unwrap();
    let journal = open(directory.path(), 100_000).unwrap();
    journal.attach(&key("out"), &key("in"), Start::Now).await.unwrap();
    let event = |n: u64| {
        let id = format!("{n:04}");
        let mut arrival = arrival(&key("in"), &id, 0);
        arrival.validated = validated(&id, "big", Bytes::from(vec![b'x'; 1000]));
        arrival
    };
    let mut stored = 0;
    let refused = loop {
        match journal.append(vec![event(stored)]).await {
            Ok(_) => stored += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(refused, JournalError::Full(_)), "{refused}");
    assert!((80..100).contains(&stored), "{stored}");
    let usage = journal.usage();
    assert!(usage.bytes <= usage.max_bytes && usage.max_bytes == 100_000, "{usage:?}");
    // All or nothing.
    assert!(journal.append(vec![event(0), event(1000)]).await.is_err());
    // Settled ones go, the oldest first, and only as many as must.
    let claimed = journal.claim(&key("out"), 10, at(0)).await.unwrap();
    let settled = claimed.deliveries.iter().map(|d| (d.event.sequence, Settlement::Delivered)).collect();
    journal.settle(&key("out"), settled).await.unwrap();
    for more in 0..10 {
        assert_eq!(journal.append(vec![event(stored + more)]).await.unwrap(), [Appended::Stored(stored + more + 1)]);
        let left = journal.events(&key("in"), EventQuery { limit: 1000, ..Default::default() }).await.unwrap();
        assert_eq!(left[0].sequence, more + 2);
    }
    assert!(matches!(journal.append(vec![event(5000)]).await, Err(JournalError::Full(_))));
    // What went early is still known by its id.
    drop(journal);
    let journal = open(directory.path(), 0).unwrap();
    assert_eq!(journal.append(vec![event(3)]).await.unwrap(), [Appended::Duplicate(4)]);
    assert_eq!(journal.usage().bytes, usage.bytes);
}

/// Appends that share a batch, some of which make room: what the journal counts is what it counts after the next start.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn room_made_within_a_batch_is_counted() {
    let directory = tempfile::tempdir().unwrap();
    let journal = Arc::new(open(directory.path(), 60_000).unwrap());
    for round in 0..20 {
        let appends = (0..20).map(|n| {
            let mut arrival = arrival(&key("in"), &format!("{round}-{n}"), 0);
            arrival.validated = validated(&format!("{round}-{n}"), "big", Bytes::from(vec![b'x'; 1000]));
            let journal = journal.clone();
            tokio::spawn(async move { journal.append(vec![arrival]).await.unwrap() })
        });
        for append in appends.collect::<Vec<_>>() {
            append.await.unwrap();
        }
    }
    let (usage, events) = (journal.usage(), EventQuery { limit: 1000, ..Default::default() });
    let kept = journal.events(&key("in"), events.clone()).await.unwrap();
    assert!(kept.len() > 40 && usage.bytes <= usage.max_bytes, "{} events, {usage:?}", kept.len());
    drop(Arc::into_inner(journal));
    let journal = open(directory.path(), 60_000).unwrap();
    assert_eq!(journal.usage(), usage);
    assert_eq!(journal.events(&key("in"), events).await.unwrap(), kept);
}

/// Usage follows what is kept, also over a restart.
#[tokio::test]
async fn usage_returns_to_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let journal = open(directory.path(), 0).unwrap();
    journal.append((0..600).map(|n| arrival(&key("in"), &n.to_string(), 0)).collect()).await.unwrap();
    let used = journal.usage().bytes;
    assert!(used > 600 * 50, "{used}");
    drop(journal);
    let journal = open(directory.path(), 0).unwrap();
    assert_eq!(journal.usage().bytes, used);
    let all = Retention { endpoints: vec![(key("in"), std::time::Duration::ZERO)], ..Default::default() };
    assert_eq!(journal.sweep(all, at(1)).await.unwrap().events, 600);
    assert_eq!(journal.usage().bytes, 0);
}

/// The write-ahead log in use, and how many bytes of it are written.
fn log_file(directory: &Path) -> (std::path::PathBuf, usize) {
    let path = directory.join("log/0.jnl");
    let bytes = std::fs::read(&path).unwrap();
    let end = bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    (path, end)
}

fn damage(directory: &Path, from: usize, to: usize) {
    let (path, _) = log_file(directory);
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[from..to].fill(0);
    std::fs::write(&path, bytes).unwrap();
}

/// The machine died in mid-write: whichever part of the last batch is missing, it is gone as a whole,
/// and all that was acknowledged is there.
#[tokio::test]
async fn a_torn_write_is_cut_off() {
    let directory = tempfile::tempdir().unwrap();
    let journal = open(directory.path(), 0).unwrap();
    journal.append(vec![arrival(&key("in"), "whole", 0)]).await.unwrap();
    let (_, whole) = log_file(directory.path());
    let mut torn = arrival(&key("in"), "torn", 0);
    torn.validated = validated("torn", "big", Bytes::from(vec![b'x'; 2000]));
    journal.append(vec![torn]).await.unwrap();
    let (_, end) = log_file(directory.path());
    for (from, to) in [(whole, end), (whole, whole + 1), (whole + 20, end), (whole + 200, whole + 300), (end - 1, end)]
    {
        let copy = crashed_copy(directory.path());
        damage(copy.path(), from, to);
        let journal = open(copy.path(), 0).unwrap();
        assert!(journal.event(&key("in"), "whole").await.unwrap().is_some());
        assert!(journal.event(&key("in"), "torn").await.unwrap().is_none(), "{from} to {to}");
        // And it goes on from there.
        assert_eq!(journal.append(vec![arrival(&key("in"), "next", 0)]).await.unwrap(), [Appended::Stored(2)]);
        drop(journal);
        let journal = open(copy.path(), 0).unwrap();
        assert_eq!(journal.append(vec![arrival(&key("in"), "next", 0)]).await.unwrap(), [Appended::Duplicate(2)]);
    }
}

/// Damage to what was acknowledged is not taken for a torn write.
#[tokio::test]
async fn damage_is_not_passed_over() {
    let directory = tempfile::tempdir().unwrap();
    let journal = open(directory.path(), 0).unwrap();
    journal.append(vec![arrival(&key("in"), "a", 0)]).await.unwrap();
    let (_, end) = log_file(directory.path());
    for id in ["b", "c", "d"] {
        journal.append(vec![arrival(&key("in"), id, 0)]).await.unwrap();
    }
    drop(journal);
    damage(directory.path(), end - 60, end - 40);
    let refused = open(directory.path(), 0).map(drop).unwrap_err();
    assert!(matches!(refused, JournalError::Corrupt(_)), "{refused}");
}
