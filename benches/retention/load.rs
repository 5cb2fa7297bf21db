//! Appends, a subscription that settles, and whatever removes.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use grapnel_api::{Incarnation, ObjectKey};
use grapnel_journal::{
    Appended, Arrival, Claim, Exchange, Journal, Retention, Settlement, Start,
    embedded::{EmbeddedJournal, EmbeddedOptions},
    testing::validated,
};
use grapnel_test_support::{directory, program};
use jiff::Timestamp;
use sha2::{Digest as _, Sha256};
use tokio::task::JoinSet;

/// How often the directory is measured.
const LOOK: Duration = Duration::from_millis(250);

pub(crate) struct Options {
    pub(crate) events: usize,
    pub(crate) at_once: usize,
    pub(crate) body_bytes: usize,
}

/// What takes settled events away during the load.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Removal {
    None,
    ByAge,
    BySize,
}

/// What a run measured.
pub(crate) struct Measured {
    pub(crate) time: Duration,
    latencies: Vec<Duration>,
    pub(crate) peak_bytes: u64,
    pub(crate) after_bytes: u64,
    pub(crate) resident_bytes: u64,
}

impl Measured {
    pub(crate) fn percentile(&self, part: f64) -> Duration {
        self.latencies[((self.latencies.len() - 1) as f64 * part) as usize]
    }
}

fn endpoint() -> Incarnation {
    Incarnation::of_file(ObjectKey::new("bench", "in"))
}

fn consumer() -> Incarnation {
    Incarnation::of_file(ObjectKey::new("bench", "out"))
}

fn arrival(number: usize, body: &Bytes) -> Arrival {
    // As random as a UUID, which is the hardest for an index.
    let random = Sha256::digest((number as u64).to_le_bytes());
    let id = hex::encode(random.get(..16).unwrap_or_default());
    Arrival {
        endpoint: endpoint(),
        validated: validated(&id, "bench", body.clone()),
        received: Timestamp::now(),
        content_type: Some("application/json".into()),
        remote: None,
        headers: vec![("user-agent".into(), Bytes::from_static(b"bench"))],
        // Shorter than the run, so that ids are forgotten too.
        window: Some(Duration::from_secs(5)),
        max_bytes: None,
    }
}

fn remove_all() -> Retention {
    Retention { endpoints: vec![(endpoint(), Duration::ZERO)], consumers: Vec::new() }
}

pub(crate) async fn run(options: &Options, removal: Removal) -> Measured {
    let directory = directory::temporary();
    let max_bytes = match removal {
        Removal::BySize => (options.events * options.body_bytes / 4) as u64,
        _ => 0,
    };
    let embedded =
        EmbeddedOptions { directory: directory.path().into(), max_bytes, namespace_share: Some(0), strict: false };
    let journal = EmbeddedJournal::open(embedded).unwrap();
    let journal: Arc<dyn Journal> = Arc::new(journal);
    journal.attach(&consumer(), &endpoint(), Start::Earliest).await.unwrap();

    let appended = Arc::new(AtomicBool::new(false));
    let settling = tokio::spawn(settle_all(Arc::clone(&journal), options.events));
    let removing =
        (removal == Removal::ByAge).then(|| tokio::spawn(sweep(Arc::clone(&journal), Arc::clone(&appended))));
    let peak = Arc::new(AtomicU64::new(0));
    let looking = tokio::spawn(look(directory.path().into(), Arc::clone(&peak), Arc::clone(&appended)));

    let (time, latencies) = append_all(&journal, options).await;
    appended.store(true, Ordering::Release);
    settling.await.unwrap();
    if let Some(removing) = removing {
        removing.await.unwrap();
    }
    looking.await.unwrap();
    // One to remove the rest, one that finds that nothing comes in any more.
    for _ in 0..2 {
        journal.sweep(remove_all(), Timestamp::now() + Duration::from_secs(60)).await.unwrap();
    }
    let after_bytes = at_rest(directory.path().into()).await;
    let resident_bytes = program::memory(std::process::id(), "VmRSS");
    journal.close().await.unwrap();
    Measured { time, latencies, peak_bytes: peak.load(Ordering::Relaxed), after_bytes, resident_bytes }
}

async fn append_all(journal: &Arc<dyn Journal>, options: &Options) -> (Duration, Vec<Duration>) {
    let body = Bytes::from(vec![b'x'; options.body_bytes]);
    let next = Arc::new(AtomicUsize::new(0));
    let mut tasks = JoinSet::new();
    let start = Instant::now();
    for _ in 0..options.at_once {
        let (journal, next, body, events) = (Arc::clone(journal), Arc::clone(&next), body.clone(), options.events);
        tasks.spawn(async move {
            let mut latencies = Vec::new();
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= events {
                    return latencies;
                }
                let began = Instant::now();
                loop {
                    match journal.append(vec![arrival(number, &body)]).await {
                        Ok(answers) => {
                            assert!(matches!(*answers, [Appended::Stored(_)]));
                            break;
                        }
                        // Full until the subscription has settled more: as a sender does, it comes again.
                        Err(_) => tokio::time::sleep(Duration::from_millis(1)).await,
                    }
                }
                latencies.push(began.elapsed());
            }
        });
    }
    let mut latencies = Vec::with_capacity(options.events);
    while let Some(done) = tasks.join_next().await {
        latencies.extend(done.unwrap());
    }
    let time = start.elapsed();
    latencies.sort_unstable();
    (time, latencies)
}

async fn settle_all(journal: Arc<dyn Journal>, events: usize) {
    let mut settled = 0;
    while settled < events {
        let ready = journal.claim(&consumer(), Claim::new(256, Timestamp::now())).await.unwrap();
        if ready.deliveries.is_empty() {
            journal.ready(&consumer()).await;
            continue;
        }
        settled += ready.deliveries.len();
        let exchange = Exchange { time: Timestamp::now(), status: Some(200), took: Duration::ZERO };
        let delivered = Settlement::Delivered(exchange);
        let ends = ready.deliveries.iter().map(|delivery| (delivery.event.sequence, delivered.clone())).collect();
        journal.settle(&consumer(), ends).await.unwrap();
    }
}

async fn sweep(journal: Arc<dyn Journal>, appended: Arc<AtomicBool>) {
    while !appended.load(Ordering::Acquire) {
        journal.sweep(remove_all(), Timestamp::now()).await.unwrap();
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn look(path: PathBuf, peak: Arc<AtomicU64>, appended: Arc<AtomicBool>) {
    while !appended.load(Ordering::Acquire) {
        peak.fetch_max(directory::allocated(&path), Ordering::Relaxed);
        tokio::time::sleep(LOOK).await;
    }
}

/// The directory's size when it has not changed for two seconds.
async fn at_rest(path: PathBuf) -> u64 {
    let (mut last, mut same) = (0, 0);
    while same < 8 {
        tokio::time::sleep(LOOK).await;
        let now = directory::allocated(&path);
        same = if now == last { same + 1 } else { 0 };
        last = now;
    }
    last
}
