//! A slow disk: what cannot be written waits at the sender, not in memory.

use std::{
    fs,
    path::Path,
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use tokio::task::JoinSet;

use crate::{program::receiver::Receiver, site::Site, size};

/// Bytes that the disk takes in a second, as cheap disks of clouds do.
const RATE: &str = "20000000";
/// Bytes of a body.
const BODY: usize = 1700;
/// Events that are sent in a second.
const PER_SECOND: f64 = 4000.0;
/// Senders, each of which waits for its answer.
const SENDERS: u64 = 64;
/// Resident memory at most, with room for a build without optimisation.
const RESIDENT: u64 = 192 << 20;

fn bytes_below(directory: &Path) -> u64 {
    let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap());
    entries
        .map(|entry| match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => bytes_below(&entry.path()),
            Ok(metadata) => metadata.len(),
            // Deleted meanwhile.
            Err(_) => 0,
        })
        .sum()
}

/// Memory and directory stay within their bounds while the disk is slower than the log, the index and the settlements would
/// like, and nothing is refused.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_disk_costs_time_and_no_memory() {
    let events = size("FAULTS_SLOW_EVENTS", 12_000);
    let receiver = Receiver::start().await;
    let site = Site::new(&receiver.url);
    let mut command = site.command();
    command.env("FAULTS_RATE", RATE).env("RUST_LOG", "warn,grapnel::runtime=info");
    let grapnel = crate::program::Grapnel::try_start(command).unwrap_or_else(|log| panic!("{log}"));
    let url = format!("{}/default/in", grapnel.webhooks);
    let (next, began) = (std::sync::Arc::new(AtomicU64::new(0)), Instant::now());
    let mut senders = JoinSet::new();
    for _ in 0..SENDERS {
        let (next, url) = (std::sync::Arc::clone(&next), url.clone());
        senders.spawn(async move {
            let client = crate::program::client();
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= events {
                    return;
                }
                let due = began + Duration::from_secs_f64(number as f64 / PER_SECOND);
                tokio::time::sleep_until(due.into()).await;
                let body = format!(r#"{{"id":"slow-{number}","filler":"{}"}}"#, "x".repeat(BODY));
                let answer = client.post(&url).body(body).send().await.unwrap();
                assert_eq!(answer.status(), 200, "event {number}");
            }
        });
    }
    let mut most = 0;
    while !senders.is_empty() {
        tokio::select! {
            ended = senders.join_next() => if let Some(ended) = ended { ended.unwrap() },
            () = tokio::time::sleep(Duration::from_millis(200)) => most = most.max(grapnel.memory("VmRSS")),
        }
    }
    let (took, payload, disk) = (began.elapsed(), events * BODY as u64, bytes_below(site.data()));
    eprintln!(
        "{events} events in {took:.1?}, {} MiB resident at most, {} MiB of payload on {} MiB",
        most >> 20,
        payload >> 20,
        disk >> 20
    );
    assert!(most <= RESIDENT, "{most} bytes resident");
    // The log, the index and the outcomes of three subscriptions.
    assert!(disk <= payload * 3 / 2 + (1 << 20), "{disk} bytes for {payload} of payload");
    assert_eq!(grapnel.admin("/readyz").await.0, 200);
}
