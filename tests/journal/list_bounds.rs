//! What a step of a list costs in the embedded engine: bytes read, however large the bodies are and however long the log is.

use std::fs;

use grapnel_journal::{DeliveryQuery, DeliveryState, EventQuery, Start, limits::LIST_BYTES};

use super::{
    arrivals::{arrival, at, dead, delivered, file, retry, sized},
    embedded::Embedded,
    session::{ALL, Bounds, Session},
};

/// Bytes that this process has read from files, and the memory that it has taken at most. Each test has a process of its
/// own.
fn bytes_read() -> u64 {
    let io = fs::read_to_string("/proc/self/io").unwrap();
    io.lines().find_map(|line| line.strip_prefix("rchar: ")).unwrap().parse().unwrap()
}

fn peak_memory() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    peak.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
}

/// Reading what a step costs costs something as well.
const NOISE: u64 = 64 << 10;

/// A hundred events of four MiB: a list shows none of the bodies, and reads none.
#[tokio::test]
async fn lists_read_no_bodies() {
    const EVENTS: usize = 100;
    const BODY: usize = 4 << 20;
    let engine = Embedded::new(Bounds::default());
    let session = Session::attached(&engine, Start::Now).await;
    for n in 0..EVENTS {
        session.append_all(vec![sized(&file("in"), &format!("{n:03}"), BODY)]).await;
    }
    let (read, peak) = (bytes_read(), peak_memory());
    for newest_first in [false, true] {
        let query = EventQuery { limit: ALL, newest_first, ..Default::default() };
        let events = session.list(&file("in"), query).await;
        assert!(events.len() == EVENTS && events.iter().all(|event| event.bytes == BODY));
        let query = DeliveryQuery { limit: ALL, newest_first, ..Default::default() };
        assert_eq!(session.try_records(&file("out"), query).await.unwrap().len(), EVENTS);
    }
    let (read, peak) = (bytes_read() - read, peak_memory() - peak);
    assert!(read < 4 * EVENTS as u64 * 4096 + NOISE, "{read} bytes were read");
    assert!(peak < 8 << 20, "the lists took {peak} bytes of memory");
}

/// Headers beyond the first read are read too, but a step has a bound.
#[tokio::test]
async fn a_step_reads_a_bounded_number_of_bytes() {
    let engine = Embedded::new(Bounds::default());
    let session = Session::open(&engine);
    for n in 0..256 {
        let mut event = arrival(&file("in"), &format!("{n:03}"), 0);
        event.headers = (0..60).map(|at| (format!("x-{at}").into(), vec![b'v'; 1000].into())).collect();
        session.append_all(vec![event]).await;
    }
    let mut query = EventQuery { limit: ALL, ..Default::default() };
    let (mut events, mut steps) = (0, 0);
    loop {
        let before = bytes_read();
        let page = session.journal().events(&file("in"), query.clone()).await.unwrap();
        let read = bytes_read() - before;
        assert!(read < LIST_BYTES as u64 + 2 * (64 << 10) + NOISE, "{read} bytes were read in a step");
        events += page.events.len();
        steps += 1;
        let Some(next) = page.next else { break };
        query.after = next;
    }
    assert!(events == 256 && steps > 3, "{events} events in {steps} steps");
}

/// The newest rows in a state are found at once: in a log of 30,000 settled events with two dead letters at its beginning,
/// a retry, and thousands of new events behind them.
#[tokio::test]
async fn rare_states_are_found_without_a_scan() {
    const BATCH: u64 = 1000;
    let engine = Embedded::new(Bounds::default());
    let session = Session::attached(&engine, Start::Now).await;
    let append = async |batch: u64| {
        let ids: Vec<_> = (0..BATCH).map(|n| (batch * BATCH + n).to_string()).collect();
        session.append(&ids.iter().map(String::as_str).collect::<Vec<_>>(), 0).await;
    };
    for batch in 0..30 {
        append(batch).await;
        let claimed = session.claim(BATCH as usize, 0).await;
        let ends = claimed.into_iter().map(|(ordinal, _)| match ordinal {
            10 | 20 => (ordinal, dead(0)),
            30 => (ordinal, retry(100)),
            _ => (ordinal, delivered(0)),
        });
        session.settle_all(ends.collect()).await;
    }
    append(30).await;
    let steps = async |state, newest_first| {
        let query = DeliveryQuery { state: Some(state), newest_first, limit: 1, ..Default::default() };
        let before = bytes_read();
        let page = session.journal().deliveries(&file("out"), query).await.unwrap();
        (page.deliveries.len(), bytes_read() - before)
    };
    for newest_first in [false, true] {
        for state in
            [DeliveryState::DeadLettered, DeliveryState::Retrying, DeliveryState::Pending, DeliveryState::Settled]
        {
            let (found, read) = steps(state, newest_first).await;
            // The record of an outcome has those of its batch.
            assert!(found == 1 && read < (256 << 10) + NOISE, "{state:?}: {found} found, {read} bytes read");
        }
        assert_eq!(steps(DeliveryState::InFlight, newest_first).await.0, 0);
    }
    let late = EventQuery { since: Some(at(-10_000)), newest_first: true, limit: 5, ..Default::default() };
    let before = bytes_read();
    assert_eq!(session.journal().events(&file("in"), late).await.unwrap().events.len(), 5);
    assert!(bytes_read() - before < NOISE + 5 * 4096);
}
