//! The contract for the embedded engine, and what only it promises.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use grapnel_journal::{
    Appended, Arrival, Claim, EventEntry, EventQuery, Journal, JournalError, Progress, RedeliveryStep, Retention,
    Selection, Start,
    embedded::{EmbeddedJournal, EmbeddedOptions, OpenError},
};
use tempfile::TempDir;

use super::{
    arrivals::{arrival, at, dead, delivered, file, retry, sized, validated},
    session::{ALL, Bounds, Engine, Session, eventually, keep},
};

/// A journal in a directory of its own.
pub(crate) struct Embedded {
    directory: TempDir,
    bounds: Bounds,
}

impl Embedded {
    pub(crate) fn new(bounds: Bounds) -> Self {
        Self { directory: tempfile::tempdir().unwrap(), bounds }
    }

    /// Returns the names of the log files, ascending.
    pub(crate) fn log_files(&self) -> Vec<String> {
        let entries = fs::read_dir(self.directory.path().join("log")).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<_> = names.filter(|name| name.ends_with(".jnl")).collect();
        names.sort_unstable();
        names
    }

    /// Returns the size of a log file in bytes; 0 if there is none of that name.
    pub(crate) fn log_bytes(&self, name: &str) -> u64 {
        fs::metadata(self.directory.path().join("log").join(name)).map_or(0, |file| file.len())
    }
}

impl Engine for Embedded {
    fn open(&self) -> Arc<dyn Journal> {
        Arc::new(open_bounded(self.directory.path(), self.bounds).unwrap())
    }

    fn bounded(&self, bounds: Bounds) -> Box<dyn Engine> {
        Box::new(Self::new(bounds))
    }
}

super::contract::journal_contract!(Embedded::new(Bounds::default()));

fn open_bounded(directory: &Path, bounds: Bounds) -> Result<EmbeddedJournal, OpenError> {
    let Bounds { max_bytes, namespace_share } = bounds;
    EmbeddedJournal::open(EmbeddedOptions { directory: directory.into(), max_bytes, namespace_share, strict: false })
}

pub(crate) fn open(directory: &Path) -> Result<EmbeddedJournal, OpenError> {
    open_bounded(directory, Bounds::default())
}

fn open_strictly(directory: &Path) -> Result<EmbeddedJournal, OpenError> {
    let directory = directory.into();
    EmbeddedJournal::open(EmbeddedOptions { directory, max_bytes: 0, namespace_share: None, strict: true })
}

fn refusal(opened: Result<EmbeddedJournal, OpenError>) -> OpenError {
    opened.map(drop).unwrap_err()
}

/// Copies the files as they are: what the end of the process would leave.
fn crashed_copy(of: &Path) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    copy(of, directory.path());
    directory
}

/// Copies all files below a directory.
pub(crate) fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), &to).unwrap();
        }
    }
}

/// Appends, and returns the sequences that the journal knows the events by.
async fn append(journal: &EmbeddedJournal, arrivals: Vec<Arrival>) -> Vec<u64> {
    let sequence = |appended| match appended {
        Appended::Stored(sequence) | Appended::Duplicate(sequence) => sequence,
    };
    journal.append(arrivals).await.unwrap().into_iter().map(sequence).collect()
}

/// Everything that is listed of `shop/in`.
async fn listed(journal: &EmbeddedJournal) -> Vec<EventEntry> {
    let mut query = EventQuery { limit: ALL, ..Default::default() };
    let mut all = Vec::new();
    loop {
        let page = journal.events(&file("in"), query.clone()).await.unwrap();
        all.extend(page.events);
        match page.next {
            Some(next) => query.after = next,
            None => return all,
        }
    }
}

fn all_of_in(seconds: u64) -> Retention {
    Retention { endpoints: vec![(file("in"), Duration::from_secs(seconds))], ..Default::default() }
}

#[tokio::test]
async fn one_process_at_a_time() {
    let directory = tempfile::tempdir().unwrap();
    let journal = open(directory.path()).unwrap();
    assert!(matches!(refusal(open(directory.path())), OpenError::Locked));
    journal.close().await.unwrap();
    drop(journal);
    open(directory.path()).unwrap();
}

/// Formats of other builds are refused with the reason and what to do, and nothing in the directory changes.
#[tokio::test]
async fn other_formats_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let journal = open(directory.path()).unwrap();
    append(&journal, vec![arrival(&file("in"), "a", 0)]).await;
    drop(journal);
    let format = directory.path().join("FORMAT");
    let own = fs::read_to_string(&format).unwrap();
    assert!(own.starts_with("grapnel-journal 3"), "{own}");

    fs::write(&format, "grapnel-journal 4 and more\n").unwrap();
    let refused = refusal(open(directory.path()));
    assert!(matches!(refused, OpenError::NewerFormat { found: 4, known: 3 }), "{refused}");
    assert!(refused.to_string().contains("run a newer Grapnel"), "{refused}");
    fs::write(&format, "grapnel-journal 2\n").unwrap();
    let refused = refusal(open(directory.path()));
    assert!(matches!(refused, OpenError::OlderFormat { found: 2, known: 3 }), "{refused}");
    assert!(refused.to_string().contains("format 2") && refused.to_string().contains("empty directory"), "{refused}");
    assert_eq!(fs::read_to_string(&format).unwrap(), "grapnel-journal 2\n");
    fs::write(&format, "something else\n").unwrap();
    assert!(matches!(refusal(open(directory.path())), OpenError::NotAJournal(_)));
    // A journal that holds events is not initialized again.
    fs::remove_file(&format).unwrap();
    assert!(matches!(refusal(open(directory.path())), OpenError::NotAJournal(_)));
    fs::write(&format, own).unwrap();
    assert!(open(directory.path()).unwrap().event(&file("in"), "a").await.unwrap().is_some());
}

/// The process ended while it initialized the directory.
#[tokio::test]
async fn a_half_made_directory_is_completed() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("LOCK"), "").unwrap();
    fs::write(directory.path().join("FORMAT.new"), "grapnel-jour").unwrap();
    fs::create_dir(directory.path().join("log")).unwrap();
    let journal = open(directory.path()).unwrap();
    append(&journal, vec![arrival(&file("in"), "a", 0)]).await;
    drop(journal);
    assert!(open(directory.path()).unwrap().event(&file("in"), "a").await.unwrap().is_some());
}

/// Invariants 1 and 6 for the end of the process alone: nothing that was answered is lost.
#[tokio::test]
async fn nothing_answered_is_lost_with_the_process() {
    let directory = tempfile::tempdir().unwrap();
    let journal = open(directory.path()).unwrap();
    let (out, endpoint) = (file("out"), file("in"));
    journal.attach(&out, &endpoint, Start::Now).await.unwrap();
    let ids = ["a", "b", "c", "d"];
    let sequences = append(&journal, ids.iter().map(|id| arrival(&endpoint, id, 0)).collect()).await;
    journal.claim(&out, Claim::new(3, at(0))).await.unwrap();
    let ends = vec![(sequences[0], delivered(1)), (sequences[1], retry(9)), (sequences[2], dead(1))];
    journal.settle(&out, ends).await.unwrap();
    let copy = crashed_copy(directory.path());
    let again = open(copy.path()).unwrap();
    let expected = Progress { pending: 1, retrying: 1, dead: 1, delivered: 1, ..Default::default() };
    assert_eq!(again.progress(&out).unwrap(), expected);
    let duplicate = again.append(vec![arrival(&endpoint, "a", 1)]).await.unwrap();
    assert_eq!(duplicate, [Appended::Duplicate(sequences[0])]);

    let step = RedeliveryStep { from: None, limit: 9, dry_run: false, now: at(2) };
    assert_eq!(journal.redeliver(&out, &Selection::DeadLettered, step).await.unwrap().queued, 1);
    journal.attach(&file("late"), &endpoint, Start::Earliest).await.unwrap();
    journal.sweep(all_of_in(1_000_000), at(2)).await.unwrap();
    let copy = crashed_copy(directory.path());
    let again = open(copy.path()).unwrap();
    assert_eq!(again.progress(&out).unwrap(), Progress { pending: 2, dead: 0, ..expected });
    assert_eq!(again.progress(&file("late")).unwrap(), Progress { pending: 4, ..Default::default() });
    journal.detach(&out).await.unwrap();
    let copy = crashed_copy(directory.path());
    assert_eq!(open(copy.path()).unwrap().progress(&out), None);
}

const BODY: usize = 64 << 10;

fn big(n: u64) -> Arrival {
    sized(&file("in"), &format!("{n:06}"), BODY)
}

/// Everything that `max_bytes` promises. Space is freed in the background, so that an append may have to wait for it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_journal_makes_room_or_refuses() {
    const MAX_BYTES: u64 = 8 << 20;
    let bounds = Bounds { max_bytes: MAX_BYTES, namespace_share: Some(4 * MAX_BYTES) };
    let directory = tempfile::tempdir().unwrap();
    let journal = open_bounded(directory.path(), bounds).unwrap();
    journal.attach(&file("out"), &file("in"), Start::Now).await.unwrap();
    let mut sequences = Vec::new();
    let refused = loop {
        match journal.append(vec![big(sequences.len() as u64)]).await {
            Ok(appended) => match appended[..] {
                [Appended::Stored(sequence)] => sequences.push(sequence),
                _ => panic!("{appended:?}"),
            },
            Err(error) => break error,
        }
        assert!(sequences.len() < 1000, "it has no bound");
    };
    assert!(matches!(refused, JournalError::Full(_)), "{refused}");
    assert!(sequences.len() * BODY > MAX_BYTES as usize / 4, "{}", sequences.len());
    let within_bounds = || {
        let usage = journal.usage();
        assert!(usage.bytes <= MAX_BYTES && usage.disk_bytes <= MAX_BYTES, "{usage:?}");
        assert_eq!(usage.max_bytes, MAX_BYTES);
    };
    within_bounds();
    eventually("the trouble is reported", async || matches!(journal.trouble(), Some(JournalError::Full(_)))).await;
    // All or nothing.
    let several = (1000..1010).map(big).collect();
    assert!(journal.append(several).await.is_err());
    assert_eq!(listed(&journal).await.len(), sequences.len());

    // Settled ones go, the oldest first, and nothing that is not settled.
    let half = sequences.len() / 2;
    let mut claimed = Vec::new();
    while claimed.len() < half {
        let deliveries = journal.claim(&file("out"), Claim::new(half - claimed.len(), at(0))).await.unwrap().deliveries;
        assert!(!deliveries.is_empty());
        claimed.extend(deliveries.into_iter().map(|delivery| delivery.event.sequence));
    }
    assert_eq!(claimed, sequences[..half]);
    journal.settle(&file("out"), claimed.iter().map(|sequence| (*sequence, delivered(0))).collect()).await.unwrap();
    eventually("the trouble ends", async || journal.trouble().is_none()).await;
    for n in 2000..2005 {
        eventually("there is room", async || journal.append(vec![big(n)]).await.is_ok()).await;
        within_bounds();
        let left: Vec<_> = listed(&journal).await.iter().map(EventEntry::sequence).collect();
        let settled: Vec<_> = left.iter().filter(|sequence| claimed.contains(sequence)).copied().collect();
        assert!(claimed.ends_with(&settled), "{settled:?} are left of {claimed:?}");
        let unsettled = &left[settled.len()..][..sequences.len() - half];
        assert_eq!(unsettled, &sequences[half..]);
    }
    // What went early is still known by its id.
    let bytes = journal.usage().bytes;
    journal.close().await.unwrap();
    drop(journal);
    let journal = open(directory.path()).unwrap();
    assert_eq!(journal.append(vec![big(0)]).await.unwrap(), [Appended::Duplicate(sequences[0])]);
    assert_eq!(journal.usage().bytes, bytes);
}

/// Appends that share a write, some of which make room: what the journal counts is what it counts after the next start.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn room_made_within_a_batch_is_counted() {
    const MAX_BYTES: u64 = 8 << 20;
    let bounds = Bounds { max_bytes: MAX_BYTES, namespace_share: Some(4 * MAX_BYTES) };
    let directory = tempfile::tempdir().unwrap();
    let journal = Arc::new(open_bounded(directory.path(), bounds).unwrap());
    for round in 0..20u64 {
        let appends = (0..20).map(|n| {
            let journal = journal.clone();
            let append = async move || journal.append(vec![big(20 * round + n)]).await.is_ok();
            tokio::spawn(async move { eventually("there is room", append).await })
        });
        for append in appends.collect::<Vec<_>>() {
            append.await.unwrap();
        }
    }
    let (usage, storage) = (journal.usage(), journal.storage(&file("in")));
    let kept = listed(&journal).await;
    assert!(kept.len() > 20 && usage.disk_bytes <= MAX_BYTES, "{} events, {usage:?}", kept.len());
    journal.close().await.unwrap();
    drop(Arc::into_inner(journal).expect("no append is left"));
    let journal = open_bounded(directory.path(), bounds).unwrap();
    assert_eq!((journal.usage().bytes, journal.storage(&file("in"))), (usage.bytes, storage));
    assert_eq!(listed(&journal).await, kept);
}

/// Usage follows what is kept, also over a restart.
#[tokio::test]
async fn usage_returns_to_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let journal = open(directory.path()).unwrap();
    append(&journal, (0..600).map(|n| arrival(&file("in"), &n.to_string(), 0)).collect()).await;
    let used = journal.usage().bytes;
    assert!(used > 600 * 50, "{used}");
    drop(journal);
    let journal = open(directory.path()).unwrap();
    assert_eq!(journal.usage().bytes, used);
    assert_eq!(journal.sweep(all_of_in(0), at(1)).await.unwrap().events, 600);
    assert_eq!(journal.usage().bytes, 0);
    drop(journal);
    assert_eq!(open(directory.path()).unwrap().usage().bytes, 0);
}

/// The file of the log that is written last, and how many bytes of it are written.
fn newest_log(directory: &Path) -> (PathBuf, usize) {
    let files = fs::read_dir(directory.join("log")).unwrap().map(|entry| entry.unwrap().path());
    let newest = files.filter(|path| path.extension().is_some_and(|ext| ext == "jnl")).max().expect("there is a log");
    let bytes = fs::read(&newest).unwrap();
    let end = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    (newest, end)
}

/// The machine died in mid-write: a record of which a part is missing is gone, one that is whole is there, and so is
/// everything that was acknowledged.
#[tokio::test]
async fn a_torn_write_is_cut_off() {
    let directory = tempfile::tempdir().unwrap();
    let journal = open(directory.path()).unwrap();
    let first = append(&journal, vec![arrival(&file("in"), "whole", 0)]).await[0];
    let (_, whole) = newest_log(directory.path());
    append(&journal, vec![sized(&file("in"), "torn", 2000)]).await;
    let (_, end) = newest_log(directory.path());
    let zeroed = [(whole, end), (whole, whole + 1), (whole + 20, end), (whole + 200, whole + 300), (end - 1, end)];
    let cut = [whole, whole + 1, whole + 20, whole + 200, end - 1].map(|at| (at, usize::MAX));
    for (from, to) in zeroed.into_iter().chain(cut) {
        let copy = crashed_copy(directory.path());
        let (path, _) = newest_log(copy.path());
        let mut bytes = fs::read(&path).unwrap();
        match to {
            usize::MAX => bytes.truncate(from),
            to => bytes[from..to].fill(0),
        }
        fs::write(&path, bytes).unwrap();
        let journal = open(copy.path()).unwrap();
        assert!(journal.event(&file("in"), "whole").await.unwrap().is_some());
        // Of the last write only the mark before the event is damaged, or the event too.
        let mark_alone = (from, to) == (whole, whole + 1);
        assert_eq!(journal.event(&file("in"), "torn").await.unwrap().is_some(), mark_alone, "{from} to {to}");
        // And it goes on from there.
        let next = append(&journal, vec![arrival(&file("in"), "next", 0)]).await[0];
        assert!(next > first, "{next} after {first}");
        drop(journal);
        let journal = open(copy.path()).unwrap();
        let again = journal.append(vec![arrival(&file("in"), "next", 0)]).await.unwrap();
        assert_eq!(again, [Appended::Duplicate(next)], "{from} to {to}");
    }
}

/// Damage to what was acknowledged is not taken for a torn write: the event is reported, the others are served, and a
/// journal that is opened strictly is refused.
#[tokio::test]
async fn damage_is_noticed() {
    let directory = tempfile::tempdir().unwrap();
    let journal = open(directory.path()).unwrap();
    let mut sequences = Vec::new();
    for id in ["a", "b", "c", "d"] {
        let body = Bytes::from(format!("the body of event {id}"));
        sequences.extend(
            append(&journal, vec![Arrival { validated: validated(id, "t", body), ..arrival(&file("in"), id, 0) }])
                .await,
        );
    }
    drop(journal);
    for (damaged, body) in [(0, "the body of event a"), (2, "the body of event c")] {
        let copy = crashed_copy(directory.path());
        let (path, _) = newest_log(copy.path());
        let mut bytes = fs::read(&path).unwrap();
        let at = bytes.windows(body.len()).position(|part| part == body.as_bytes()).expect("bodies are in the log");
        bytes[at] ^= 1;
        fs::write(&path, bytes).unwrap();
        let refused = refusal(open_strictly(copy.path()));
        assert!(matches!(refused, OpenError::Damaged { .. }), "{refused}");
        let journal = open(copy.path()).unwrap();
        let listed = listed(&journal).await;
        assert_eq!(listed.iter().map(EventEntry::sequence).collect::<Vec<_>>(), sequences);
        for (index, entry) in listed.iter().enumerate() {
            assert_eq!(entry.kept().is_none(), index == damaged, "{entry:?}");
        }
        assert!(journal.vitals().damaged_records > 0);
        let next = append(&journal, vec![arrival(&file("in"), "next", 0)]).await[0];
        assert!(next > sequences[3]);
    }
}

/// The times of receipt of removed events go with their segment. Then events count as gone only if they were certainly in
/// the range.
#[tokio::test]
async fn events_of_a_deleted_segment_count_where_they_are_certain() {
    let engine = Embedded::new(Bounds::default());
    let mut session = Session::attached(&engine, Start::Now).await;
    session.append(&["a", "b"], 0).await;
    session.settle_due(0, delivered(0)).await;
    let (segment, _) = newest_log(engine.directory.path());
    session.reopen();
    session.append(&["c"], 10_000).await;
    assert_eq!(session.sweep(keep(100, 100), 10_000).await.events, 2);
    eventually("the segment is deleted", async || !segment.exists()).await;

    let found = async |since: Option<i64>, until: Option<i64>| {
        let selection = Selection::Received { since: since.map(at), until: until.map(at) };
        let step = RedeliveryStep { from: None, limit: ALL, dry_run: true, now: at(10_000) };
        let found = session.redeliver(&selection, step).await;
        (found.skipped, found.gone, found.gone_before)
    };
    assert_eq!(found(None, None).await, (1, 2, None));
    assert_eq!(found(None, Some(20_000)).await, (1, 2, None));
    assert_eq!(found(None, Some(5000)).await, (0, 0, Some(at(10_000))));
    assert_eq!(found(Some(9000), None).await, (1, 0, Some(at(10_000))));
    assert_eq!(found(Some(20_000), None).await, (0, 0, None));
}

/// Rewriting ends when it frees nothing more: here because of many outcomes of events that are kept.
#[tokio::test]
async fn compaction_of_a_full_journal_ends() {
    let engine = Embedded::new(Bounds { max_bytes: 256 << 10, namespace_share: Some(0) });
    let session = Session::attached(&engine, Start::Now).await;
    session.append(&["failing"], 0).await;
    for second in 0..100 {
        session.claim(1, second).await;
        session.settle(1, retry(second + 1)).await;
    }
    let mut stored = 0;
    while session.try_append(vec![sized(&file("in"), &format!("{stored:06}"), 1000)]).await.is_ok() {
        stored += 1;
        assert!(stored < 300, "it has no bound");
    }
    let segments = || engine.log_files().len();
    eventually("the outcomes are rewritten", async || !engine.log_files()[0].ends_with("-0000.jnl")).await;
    for (ordinal, _) in session.claim(ALL, 0).await {
        session.settle(ordinal, delivered(0)).await;
    }
    session.sweep(keep(1, 1), 10).await;
    eventually("segments without events are deleted", async || segments() == 2).await;
    assert!(engine.log_files()[0].ends_with("-0001.jnl"));
    assert_eq!(session.record(1).await.attempts, 100);
}
