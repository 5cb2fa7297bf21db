//! Damaged files of the embedded engine: whatever is damaged is found or harmless, costs nothing but itself, and never becomes
//! another event's content.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use bytes::Bytes;
use grapnel_journal::{
    Appended, Arrival, Claim, DeliveryState, EventEntry, EventQuery, Journal, Sequence, Settlement, Start, StoredEvent,
    embedded::EmbeddedJournal,
};
use tempfile::TempDir;

use super::{
    arrivals::{arrival, at, dead, delivered, file, retry, validated},
    embedded::open,
};

/// A directory in memory, where a sync takes no time.
fn directory() -> TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

/// What was acknowledged: id and body by endpoint and sequence.
#[derive(Default)]
struct Acknowledged {
    events: BTreeMap<(&'static str, Sequence), (String, Bytes)>,
    /// Events that the consumer has settled.
    settled: BTreeSet<Sequence>,
}

/// A journal of two endpoints and a consumer, closed.
async fn write(path: &Path, events: usize, bytes: usize, reopen: bool) -> Acknowledged {
    let mut journal = open(path).unwrap();
    let mut all = Acknowledged::default();
    journal.attach(&file("out"), &file("in"), Start::Now).await.unwrap();
    for n in 0..events {
        let endpoint = if n % 4 == 3 { "other" } else { "in" };
        let (id, body) = (format!("event-{n}"), Bytes::from(format!("body of event {n} {}", "x".repeat(bytes))));
        let arrival = Arrival { validated: validated(&id, "t", body.clone()), ..arrival(&file(endpoint), &id, 0) };
        let [Appended::Stored(sequence)] = journal.append(vec![arrival]).await.unwrap()[..] else {
            panic!("not stored")
        };
        all.events.insert((endpoint, sequence), (id, body));
        if n == events / 2 {
            let claimed = journal.claim(&file("out"), Claim::new(4, at(0))).await.unwrap().deliveries;
            let ends = [delivered(1), dead(1), retry(5), delivered(1)];
            let sequences: Vec<_> = claimed.iter().map(|delivery| delivery.event.sequence).collect();
            all.settled.extend([sequences[0], sequences[3]]);
            journal.settle(&file("out"), sequences.into_iter().zip(ends).collect()).await.unwrap();
            if reopen {
                journal.close().await.unwrap();
                drop(journal);
                journal = open(path).unwrap();
            }
        }
    }
    journal.close().await.unwrap();
    all
}

/// What is listed of an endpoint: whole events by sequence, and damaged ones.
async fn listed(journal: &EmbeddedJournal, endpoint: &str) -> (BTreeMap<Sequence, String>, BTreeSet<Sequence>) {
    let (mut kept, mut damaged) = (BTreeMap::new(), BTreeSet::new());
    let mut query = EventQuery { limit: 1000, ..EventQuery::default() };
    loop {
        let page = journal.events(&file(endpoint), query.clone()).await.unwrap();
        for entry in page.events {
            match entry {
                EventEntry::Kept(event) => drop(kept.insert(event.sequence, event.id.to_string())),
                EventEntry::Damaged(sequence) => drop(damaged.insert(sequence)),
            }
        }
        let Some(next) = page.next else { return (kept, damaged) };
        query.after = next;
    }
}

/// The events of an endpoint as they are read by their ids.
async fn read(
    journal: &EmbeddedJournal,
    all: &Acknowledged,
    endpoint: &str,
) -> BTreeMap<Sequence, Option<StoredEvent>> {
    let mut read = BTreeMap::new();
    for ((_, sequence), (id, _)) in all.events.iter().filter(|((of, _), _)| *of == endpoint) {
        read.insert(*sequence, journal.event(&file(endpoint), id).await.unwrap());
    }
    read
}

/// Opens what has been damaged, and returns how many events are lost.
async fn check(path: &Path, all: &Acknowledged, what: &str) -> usize {
    let journal = open(path).unwrap_or_else(|error| panic!("{what}: {error}"));
    let mut lost = 0;
    for endpoint in ["in", "other"] {
        // Before the list, which reads no bodies: it has the damage to a body that was noticed.
        let read = read(&journal, all, endpoint).await;
        let (kept, damaged) = listed(&journal, endpoint).await;
        for ((of, sequence), (id, body)) in &all.events {
            if *of != endpoint {
                continue;
            }
            match kept.get(sequence) {
                Some(found) => {
                    assert_eq!(found, id, "{what}");
                    let event = read[sequence].as_ref().expect("it is listed");
                    assert_eq!((event.sequence, &event.body), (*sequence, body), "{what}");
                }
                None => {
                    assert!(damaged.contains(sequence), "{what}: {endpoint} {sequence} is missing without a word");
                    assert!(read[sequence].is_none(), "{what}: {endpoint} {sequence} can be read");
                    lost += 1;
                }
            }
        }
        let known = |sequence: &Sequence| all.events.contains_key(&(endpoint, *sequence));
        assert!(kept.keys().chain(&damaged).all(known), "{what}: {kept:?} {damaged:?}");
    }
    assert_eq!(lost > 0, journal.vitals().damaged_records > 0, "{what}: {lost} lost");
    deliver(&journal, all, what).await;
    for endpoint in ["in", "other"] {
        let newest = all.events.keys().filter(|(of, _)| *of == endpoint).map(|(_, sequence)| *sequence).max();
        let fresh = journal.append(vec![arrival(&file(endpoint), "fresh", 0)]).await.unwrap();
        let Appended::Stored(sequence) = fresh[0] else { panic!("{what}: {fresh:?}") };
        assert!(Some(sequence) > newest, "{what}: {sequence} is given twice");
    }
    lost
}

/// Every event that was not settled is delivered or a dead letter.
async fn deliver(journal: &EmbeddedJournal, all: &Acknowledged, what: &str) {
    let out = file("out");
    let mut seen = BTreeSet::new();
    loop {
        let claimed =
            journal.claim(&out, Claim::new(1000, at(100))).await.unwrap_or_else(|error| panic!("{what}: {error}"));
        if claimed.deliveries.is_empty() {
            break;
        }
        let mut ends: Vec<(Sequence, Settlement)> = Vec::new();
        for delivery in claimed.deliveries {
            let (id, body) = &all.events[&("in", delivery.event.sequence)];
            assert_eq!((&*delivery.event.id, &delivery.event.body), (id.as_str(), body), "{what}");
            ends.push((delivery.event.sequence, delivered(100)));
        }
        seen.extend(ends.iter().map(|(sequence, _)| *sequence));
        journal.settle(&out, ends).await.unwrap();
    }
    let mut query = grapnel_journal::DeliveryQuery { limit: 1000, ..Default::default() };
    query.state = Some(DeliveryState::DeadLettered);
    let dead = journal.deliveries(&out, query).await.unwrap().deliveries;
    seen.extend(dead.iter().map(|delivery| delivery.event.sequence()));
    for (endpoint, sequence) in all.events.keys() {
        let missing = *endpoint == "in" && !all.settled.contains(sequence) && !seen.contains(sequence);
        assert!(!missing, "{what}: {sequence} is never delivered");
    }
}

/// Every file below a directory.
fn files(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// Damages a copy with `damage`, for each place that it is given, and checks what is left. Returns how many were found.
async fn each(
    of: &Path,
    all: &Acknowledged,
    step: impl Fn(&Path) -> usize,
    most: usize,
    damage: impl Fn(&mut [u8], usize),
) -> (usize, usize) {
    let (mut tried, mut found) = (0, 0);
    for path in files(of) {
        let whole = fs::read(&path).unwrap();
        let name = path.strip_prefix(of).unwrap();
        if ["FORMAT", "LOCK"].contains(&name.to_str().unwrap()) {
            continue;
        }
        for at in (0..whole.len()).step_by(step(&path)) {
            let mut bytes = whole.clone();
            damage(&mut bytes, at);
            let copy = directory();
            super::embedded::copy(of, copy.path());
            fs::write(copy.path().join(name), bytes).unwrap();
            let lost = check(copy.path(), all, &format!("{} at {at}", name.display())).await;
            assert!(lost <= most, "{} at {at} cost {lost} events", name.display());
            tried += 1;
            found += usize::from(lost > 0);
        }
    }
    (tried, found)
}

/// Each byte of a small log in turn, and bytes of everything that is derived from it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_flipped_byte_is_found_or_harmless() {
    let path = directory();
    let all = write(path.path(), 12, 10, true).await;
    let step = |path: &Path| if path.extension().is_some_and(|kind| kind == "jnl" || kind == "copy") { 1 } else { 61 };
    let flip = |bytes: &mut [u8], at: usize| bytes[at] ^= 1 << (at % 8);
    let (tried, found) = each(path.path(), &all, step, 1, flip).await;
    eprintln!("{tried} bytes were flipped; {found} times events were lost and listed as damaged");
    assert!(tried > 2000 && found > 500, "{tried} {found}");
}

/// Each page of a log in turn is lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_lost_page_is_found_or_harmless() {
    for bytes in [20, 1000, 9000] {
        let path = directory();
        // So many that a page does not hold them all.
        let all = write(path.path(), if bytes < 100 { 100 } else { 24 }, bytes, false).await;
        let zero = |bytes: &mut [u8], at: usize| {
            let end = (at + 4096).min(bytes.len());
            bytes[at..end].fill(0);
        };
        let (tried, found) = each(path.path(), &all, |_| 4096, 4096 / (bytes + 100) + 2, zero).await;
        eprintln!("events of {bytes} bytes: {tried} pages were lost; {found} times events were lost with them");
        assert!(tried > 1 && found > 0, "{bytes}: {tried} {found}");
    }
}
