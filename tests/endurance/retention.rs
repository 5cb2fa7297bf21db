//! Retention with much in the journal: what goes, what stays, and what the directory takes, in real bytes.
//!
//! On the journal itself, because a retention of days has to pass.

use std::{
    collections::BTreeSet,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use grapnel_api::{Incarnation, ObjectKey};
use grapnel_journal::{
    Appended, Arrival, Claim, DeliveryQuery, DeliveryState, EventQuery, Exchange, Failure, Journal, Retention,
    Settlement, SkipReason, Start,
    embedded::{EmbeddedJournal, EmbeddedOptions},
    limits::{COMPACT_BYTES, SWEEP_STEP},
    testing::validated,
};
use grapnel_test_support::{directory, eventually};
use jiff::Timestamp;
use tokio::task::JoinSet;

use crate::size;

/// Size of a body in bytes.
const BODY: usize = 4096;
/// Events of one append.
const BATCH: usize = 100;
/// What may be left of removed events: less is not worth rewriting a segment.
const LEFT: u64 = 2 * COMPACT_BYTES;

fn key(name: &str) -> Incarnation {
    Incarnation::of_file(ObjectKey::new("shop", name))
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + second).unwrap()
}

fn arrival(number: usize, second: i64) -> Arrival {
    large(number, second, BODY)
}

fn large(number: usize, second: i64, bytes: usize) -> Arrival {
    // Not compressible, so that nobody saves room by that.
    let mut state = number as u64 + 1;
    let body: Vec<u8> = std::iter::repeat_with(|| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    })
    .take(bytes)
    .collect();
    Arrival {
        endpoint: key("in"),
        validated: validated(&format!("event-{number}"), "order", Bytes::from(body)),
        received: at(second),
        content_type: None,
        remote: None,
        headers: Vec::new(),
        window: Some(Duration::from_secs(60)),
        max_bytes: None,
    }
}

fn delivered() -> Settlement {
    Settlement::Delivered(Exchange { time: at(1), status: Some(200), took: Duration::ZERO })
}

fn failure(status: Option<u16>) -> Failure {
    Failure { time: at(1), reason: "status".into(), status, took: Duration::ZERO, message: "no".into() }
}

fn open(directory: &Path, max_bytes: u64) -> Arc<dyn Journal> {
    let directory = directory.into();
    let options = EmbeddedOptions { directory, max_bytes, namespace_share: Some(0), strict: false };
    Arc::new(EmbeddedJournal::open(options).unwrap())
}

async fn append(journal: &Arc<dyn Journal>, numbers: impl Iterator<Item = usize>, second: i64) {
    let appended = journal.append(numbers.map(|number| arrival(number, second)).collect()).await.unwrap();
    assert!(appended.iter().all(|answer| matches!(answer, Appended::Stored(_))));
}

/// Settles everything that is due, as `end` says.
async fn settle(journal: &Arc<dyn Journal>, consumer: &str, end: impl Fn(u64) -> Settlement) {
    loop {
        let claimed = journal.claim(&key(consumer), Claim::new(500, at(0))).await.unwrap();
        if claimed.deliveries.is_empty() {
            return;
        }
        let ends = claimed.deliveries.iter().map(|d| (d.event.sequence, end(d.event.sequence))).collect();
        journal.settle(&key(consumer), ends).await.unwrap();
    }
}

/// A sweep that keeps settled events for an hour and dead letters for a day.
async fn sweep(journal: &Arc<dyn Journal>, second: i64) -> (u64, u64) {
    let retention = Retention {
        endpoints: vec![(key("in"), Duration::from_secs(3600))],
        consumers: ["out", "other"].map(|name| (key(name).key, Duration::from_secs(86_400))).into(),
    };
    let swept = journal.sweep(retention, at(second)).await.unwrap();
    (swept.events, swept.dead_letters)
}

/// Waits for the files to occupy at most so many bytes: they are removed a moment after what was in them.
async fn shrinks_to(path: &Path, most: u64) {
    let is_small =
        async || Some(directory::allocated(path)).filter(|bytes| *bytes <= most).ok_or(directory::allocated(path));
    eventually(&format!("at most {most} bytes in the directory"), is_small).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_retention_removes_the_disk_gets_back() {
    let directory = directory::temporary();
    let journal = open(directory.path(), 0);
    journal.attach(&key("out"), &key("in"), Start::Earliest).await.unwrap();
    journal.attach(&key("other"), &key("in"), Start::Earliest).await.unwrap();
    let events = size("GRAPNEL_RETAINED_EVENTS", 16_000) / BATCH * BATCH;
    for first in (0..events).step_by(BATCH) {
        append(&journal, first..first + BATCH, 0).await;
    }
    // One in five hundred is pinned: it died, or it waits for a retry.
    let pins = |sequence: u64| sequence % 500 == 7;
    let failure = || failure(Some(500));
    settle(&journal, "out", |sequence| match sequence {
        n if pins(n) && n % 1000 < 500 => Settlement::Dead { failure: failure() },
        n if pins(n) => Settlement::Retry { due: at(900_000), failure: failure() },
        _ => delivered(),
    })
    .await;
    settle(&journal, "other", |_| Settlement::Skipped { reason: SkipReason::Type, time: at(1) }).await;
    let pinned: BTreeSet<u64> = (1..=events as u64).filter(|n| pins(*n)).collect();
    let full = directory::allocated(directory.path());
    assert!(full > (events * BODY) as u64);

    assert_eq!(sweep(&journal, 3599).await, (0, 0), "too young");
    assert_eq!(sweep(&journal, 3601).await.0, events as u64 - pinned.len() as u64);
    // Nothing has come in since: this one tidies up.
    assert_eq!(sweep(&journal, 3602).await, (0, 0));
    let kept = (pinned.len() * BODY) as u64;
    shrinks_to(directory.path(), 2 * kept + LEFT).await;
    println!(
        "{full} bytes for {events} events, {} for the {} left",
        directory::allocated(directory.path()),
        pinned.len()
    );

    // The pinned ones are whole, also for the next process, and nothing else is there.
    drop(journal);
    let journal = open(directory.path(), 0);
    let mut left = BTreeSet::new();
    loop {
        let after = left.last().copied().unwrap_or(0);
        let page = journal.events(&key("in"), EventQuery { after, limit: 100, ..Default::default() }).await.unwrap();
        if page.events.is_empty() {
            break;
        }
        for entry in page.events {
            let same = arrival(entry.sequence() as usize - 1, 0);
            let id = &entry.kept().expect("a readable event").id;
            let event = journal.event(&key("in"), id).await.unwrap().unwrap();
            assert_eq!((&event.body, &event.id), (same.validated.body(), &same.validated.identity().id));
            left.insert(event.sequence);
        }
    }
    assert_eq!(left, pinned);
    let letters = DeliveryQuery { state: Some(DeliveryState::DeadLettered), limit: 1000, ..Default::default() };
    let letters = journal.deliveries(&key("out"), letters).await.unwrap().deliveries.len();
    assert_eq!(letters, pinned.iter().filter(|n| **n % 1000 < 500).count().min(1000));

    // A day later the dead ones go too, and the others are still waiting for their retry.
    let (swept, buried) = sweep(&journal, 90_000).await;
    assert_eq!((swept, buried), (letters as u64, letters as u64));
    assert_eq!(journal.progress(&key("out")).unwrap().retrying, (pinned.len() - letters) as u64);
}

/// Everything at once: events come in and are settled, and sweep follows on sweep. A subscription that is suspended pins
/// what has come in since.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sweeping_under_load_takes_what_is_settled_and_nothing_else() {
    let directory = directory::temporary();
    let journal = open(directory.path(), 0);
    journal.attach(&key("out"), &key("in"), Start::Earliest).await.unwrap();
    let events = size("GRAPNEL_RETAINED_EVENTS", 10_000) / (2 * BATCH) * BATCH;
    let done = Arc::new(AtomicBool::new(false));
    let sweeper = tokio::spawn({
        let (journal, done) = (Arc::clone(&journal), Arc::clone(&done));
        async move {
            let mut swept = 0;
            while !done.load(Ordering::Acquire) {
                swept += sweep(&journal, 7200).await.0;
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            swept + sweep(&journal, 7200).await.0
        }
    });
    let load = async |first: usize| {
        let mut appends = JoinSet::new();
        for first in (first..first + events).step_by(BATCH) {
            let to = Arc::clone(&journal);
            appends.spawn(async move { append(&to, first..first + BATCH, 0).await });
            if appends.len() >= 8 {
                appends.join_next().await.unwrap().unwrap();
                settle(&journal, "out", |_| delivered()).await;
            }
        }
        while let Some(appended) = appends.join_next().await {
            appended.unwrap();
        }
        settle(&journal, "out", |_| delivered()).await;
    };
    load(0).await;
    // From here on there is one that settles nothing.
    journal.attach(&key("other"), &key("in"), Start::Now).await.unwrap();
    load(events).await;
    done.store(true, Ordering::Release);
    let swept = sweeper.await.unwrap();
    assert_eq!(swept, events as u64, "each was removed once");
    let expected = (events as u64 + 1..=2 * events as u64).collect::<BTreeSet<_>>();
    let mut pinned = BTreeSet::new();
    loop {
        let claimed = journal.claim(&key("other"), Claim::new(500, at(0))).await.unwrap();
        if claimed.deliveries.is_empty() {
            break;
        }
        pinned.extend(claimed.deliveries.iter().map(|delivery| delivery.event.sequence));
    }
    assert_eq!(pinned, expected);
    // What was parked is settled at last, and goes.
    let ends = pinned.into_iter().map(|sequence| (sequence, delivered())).collect();
    journal.settle(&key("other"), ends).await.unwrap();
    assert_eq!(sweep(&journal, 7200).await.0, events as u64);
    assert_eq!(journal.usage().bytes, 0);
    sweep(&journal, 7200).await;
    // Nothing is kept: only the segment that is written may hold what has gone.
    shrinks_to(directory.path(), COMPACT_BYTES + (2 << 20)).await;
}

/// At its bound the journal takes as much in as goes out, and the directory stays within what the bound allows.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn at_the_bound_the_directory_does_not_grow() {
    let directory = directory::temporary();
    let bound = 8 << 20;
    let journal = open(directory.path(), bound);
    journal.attach(&key("out"), &key("in"), Start::Earliest).await.unwrap();
    // One that died is kept, however long it takes.
    append(&journal, 0..1, 0).await;
    let failure = failure(None);
    settle(&journal, "out", |_| Settlement::Dead { failure: failure.clone() }).await;
    let events = size("GRAPNEL_RETAINED_EVENTS", 10_000) / BATCH * BATCH;
    let mut most = 0;
    for first in (1..events).step_by(BATCH) {
        let arrivals = (first..first + BATCH).map(|number| large(number, 0, 4 * BODY));
        // A segment in which only the dead letter is kept is rewritten in the background.
        let arrivals: Vec<_> = arrivals.collect();
        eventually("there is room", async || journal.append(arrivals.clone()).await.is_ok()).await;
        settle(&journal, "out", |_| delivered()).await;
        let usage = journal.usage();
        assert!(usage.bytes <= bound && usage.disk_bytes <= bound, "{usage:?}");
        most = most.max(directory::allocated(directory.path()));
    }
    println!("{} bytes came in, the directory took {most} at most", 4 * events * BODY);
    // Blocks are counted as a whole, and a file that replaces another is beside it for a moment.
    assert!(most < bound + bound / 8, "{most} bytes");
    let left = journal.events(&key("in"), EventQuery { limit: 1, ..Default::default() }).await.unwrap();
    assert_eq!(left.events[0].sequence(), 1, "the dead letter");
}

/// What can go is found behind more pinned events than one append looks at, also when others are settled all the time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn room_is_found_behind_many_dead_letters() {
    let directory = directory::temporary();
    let bound = 16 << 20;
    let journal = open(directory.path(), bound);
    journal.attach(&key("out"), &key("in"), Start::Earliest).await.unwrap();
    let pinned = 64 * SWEEP_STEP + 1000;
    let small = |number: usize| {
        let mut arrival = arrival(number, 0);
        arrival.validated = validated(&format!("event-{number}"), "order", Bytes::from_static(b"x"));
        arrival
    };
    for first in (0..pinned).step_by(500) {
        journal.append((first..first + 500).map(small).collect()).await.unwrap();
    }
    let failure = failure(None);
    settle(&journal, "out", |_| Settlement::Dead { failure: failure.clone() }).await;
    let mut tries = 0;
    for first in (100_000..100_000 + 2 * bound as usize / BODY).step_by(20) {
        while journal.append((first..first + 20).map(|number| arrival(number, 0)).collect()).await.is_err() {
            tries += 1;
            assert!(tries < 500, "no room although settled events are there");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        settle(&journal, "out", |_| delivered()).await;
    }
    let dead = journal.progress(&key("out")).unwrap().dead;
    assert!(dead >= pinned as u64, "{dead} are still there");
}
