//! How fast the embedded journal takes events in, and what memory that needs.
//!
//! `cargo bench --bench journal -- [EVENTS] [TASKS] [BODY_BYTES] [CONSUMERS]`: that many tasks append
//! one event after another, each waiting for its durable answer, while consumers claim and settle.

// A measurement that cannot go on ends.
#![allow(clippy::expect_used, clippy::indexing_slicing)]

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use grapnel::{
    api::ObjectKey,
    journal::{
        Arrival, Journal, Settlement, Start,
        embedded::{EmbeddedJournal, EmbeddedOptions},
    },
    rules::{identity::Identity, schema::Validated},
};
use jiff::Timestamp;

fn main() {
    let mut numbers = std::env::args().skip(1).filter_map(|argument| argument.parse::<u64>().ok());
    let mut number = |default| numbers.next().unwrap_or(default);
    let (events, tasks, body, consumers) = (number(100_000), number(64), number(1536), number(1));
    let directory = tempfile::tempdir_in(".").expect("a directory");
    let options = EmbeddedOptions { directory: directory.path().to_owned(), max_bytes: 0 };
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    let journal = Arc::new(EmbeddedJournal::open(options).expect("a journal"));
    println!("idle: {} MiB resident", resident_mib());
    runtime.block_on(run(journal.clone(), events, tasks, body, consumers));
    runtime.block_on(journal.close()).expect("closing");
}

async fn run(journal: Arc<EmbeddedJournal>, events: u64, tasks: u64, body: u64, consumers: u64) {
    let endpoint = ObjectKey::new("bench", "in");
    let readers: Vec<_> = (0..consumers)
        .map(|n| ObjectKey::new("bench", format!("out-{n}")))
        .map(|consumer| tokio::spawn(consume(journal.clone(), consumer, endpoint.clone(), events)))
        .collect();
    tokio::time::sleep(Duration::from_millis(50)).await;
    let begin = Instant::now();
    let done = Arc::new(AtomicU64::new(0));
    let writers: Vec<_> = (0..tasks)
        .map(|_| {
            let (journal, endpoint, done) = (journal.clone(), endpoint.clone(), done.clone());
            let body = Bytes::from(vec![b'x'; body as usize]);
            tokio::spawn(async move {
                let mut latencies = Vec::new();
                loop {
                    let n = done.fetch_add(1, Ordering::Relaxed);
                    if n >= events {
                        return latencies;
                    }
                    if n % (events / 10).max(1) == 0 {
                        println!("{n} events: {} MiB resident", resident_mib());
                    }
                    let begin = Instant::now();
                    journal.append(vec![arrival(&endpoint, n, &body)]).await.expect("an append");
                    latencies.push(begin.elapsed().as_micros() as u32);
                }
            })
        })
        .collect();
    let mut latencies = Vec::new();
    for writer in writers {
        latencies.extend(writer.await.expect("a writer"));
    }
    let took = begin.elapsed();
    latencies.sort_unstable();
    let at = |part: f64| latencies[((latencies.len() - 1) as f64 * part) as usize];
    println!(
        "{events} events of {body} bytes, {tasks} tasks, {consumers} consumers: {:.0} appends/s, p50 {} us, p99 {} us, max {} us",
        events as f64 / took.as_secs_f64(),
        at(0.5),
        at(0.99),
        at(1.0)
    );
    for reader in readers {
        reader.await.expect("a reader");
    }
    println!("all settled after {:.2?}; {} MiB resident", begin.elapsed(), resident_mib());
}

async fn consume(journal: Arc<EmbeddedJournal>, consumer: ObjectKey, endpoint: ObjectKey, events: u64) {
    journal.attach(&consumer, &endpoint, Start::Now).await.expect("attaching");
    let mut seen = 0;
    while seen < events {
        let claimed = journal.claim(&consumer, 256, Timestamp::now()).await.expect("a claim");
        if claimed.deliveries.is_empty() {
            journal.ready(&consumer).await;
            continue;
        }
        seen += claimed.deliveries.len() as u64;
        let settled = claimed.deliveries.iter().map(|d| (d.event.sequence, Settlement::Delivered)).collect();
        journal.settle(&consumer, settled).await.expect("settling");
    }
}

fn arrival(endpoint: &ObjectKey, n: u64, body: &Bytes) -> Arrival {
    // Spread like random ids, so that the index is written everywhere.
    let id = format!("evt_{:016x}", n.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    Arrival {
        endpoint: endpoint.clone(),
        validated: Validated::new(Identity { id: id.into(), kind: "invoice.paid".into() }, body.clone()),
        received: Timestamp::now(),
        content_type: Some("application/json".into()),
        remote: Some([192, 0, 2, 1].into()),
        headers: vec![("user-agent".into(), Bytes::from_static(b"bench/1"))],
        window: Some(Duration::from_secs(86_400)),
    }
}

fn resident_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok()).unwrap_or(0) / 1024
}
