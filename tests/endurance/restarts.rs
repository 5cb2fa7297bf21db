//! One process after the other on one directory and one address, while senders go on sending.

use std::{
    collections::{BTreeMap, BTreeSet},
    error::Error,
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::task::JoinSet;

use crate::{
    home::{self, SECRET, orders},
    program::{Grapnel, client, hmac_hex, receiver::Receiver},
    size,
};

/// Senders that keep their connections.
const KEEPING: usize = 6;
/// Senders that open a connection for every request.
const OPENING: usize = 3;

/// What all senders share.
struct Senders {
    url: String,
    stop: AtomicBool,
    next: AtomicUsize,
    accepted: AtomicUsize,
}

/// What one sender has seen.
#[derive(Default)]
struct Seen {
    accepted: BTreeSet<String>,
    /// Attempts that got no answer, by what happened.
    refused: BTreeMap<String, usize>,
    /// The longest time from an attempt without an answer to the next 2xx.
    gap: Duration,
}

impl Senders {
    fn start(address: &str) -> (Arc<Self>, JoinSet<Seen>) {
        let senders = Arc::new(Self {
            url: format!("http://{address}/default/orders"),
            stop: AtomicBool::new(false),
            next: AtomicUsize::new(0),
            accepted: AtomicUsize::new(0),
        });
        let mut tasks = JoinSet::new();
        for number in 0..KEEPING + OPENING {
            tasks.spawn(Arc::clone(&senders).send(number < KEEPING));
        }
        (senders, tasks)
    }

    /// Sends one event after the other, each until it is accepted, as providers do.
    async fn send(self: Arc<Self>, keeping: bool) -> Seen {
        let kept = client();
        let mut seen = Seen::default();
        while !self.stop.load(Ordering::Acquire) {
            let id = format!("order-{}", self.next.fetch_add(1, Ordering::Relaxed));
            let body = format!(r#"{{"id":"{id}"}}"#);
            let signature = hmac_hex(SECRET, body.as_bytes());
            let mut refused = None;
            loop {
                let client = if keeping { kept.clone() } else { client() };
                let request = client.post(&self.url).header("x-webhook-signature", &signature).body(body.clone());
                let problem = match request.header("content-type", "application/json").send().await {
                    Ok(answer) if answer.status() == 200 => break,
                    Ok(answer) if answer.status() == 503 && answer.headers().contains_key("retry-after") => {
                        "503".into()
                    }
                    Ok(answer) => panic!("{} for {id}", answer.status()),
                    Err(error) => cause(&error),
                };
                *seen.refused.entry(problem).or_default() += 1;
                refused.get_or_insert_with(Instant::now);
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            seen.gap = seen.gap.max(refused.map_or(Duration::ZERO, |since| since.elapsed()));
            seen.accepted.insert(id);
            self.accepted.fetch_add(1, Ordering::AcqRel);
        }
        seen
    }

    /// Waits until so many more events have been accepted.
    async fn accept(&self, grapnel: &Grapnel, more: usize) {
        let goal = self.accepted.load(Ordering::Acquire) + more;
        let reached = async || (self.accepted.load(Ordering::Acquire) >= goal).then_some(());
        grapnel.eventually("more accepted events", reached).await;
    }
}

/// What the connection met; anything but its orderly or sudden end is no way to be refused.
fn cause(error: &reqwest::Error) -> String {
    let mut source: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(error) = source {
        if let Some(error) = error.downcast_ref::<io::Error>() {
            use io::ErrorKind::{BrokenPipe, ConnectionRefused, ConnectionReset, UnexpectedEof};
            assert!(
                [BrokenPipe, ConnectionRefused, ConnectionReset, UnexpectedEof].contains(&error.kind()),
                "refused with {error:?}"
            );
            return format!("{:?}", error.kind());
        }
        if let Some(error) = error.downcast_ref::<hyper::Error>()
            && (error.is_incomplete_message() || error.is_canceled())
        {
            return "closed before the answer".into();
        }
        source = error.source();
    }
    panic!("refused with {error:?}");
}

/// Restarts `rounds` times, and checks what must be true of every way to restart.
async fn restart(rounds: usize, end: impl AsyncFn(Grapnel)) -> (Vec<String>, BTreeSet<String>) {
    let receiver = Receiver::start().await;
    let home =
        home::home(&orders(&receiver.url, "", "  retry: { initialDelay: 50ms, maxDelay: 200ms, maxAttempts: 100 }"));
    let mut grapnel = home.start();
    let (senders, mut tasks) = Senders::start(home.address());
    for round in 0..rounds {
        // Not always at the same point of the load.
        senders.accept(&grapnel, 40 + round * 37 % 100).await;
        end(grapnel).await;
        grapnel = home.start();
    }
    senders.accept(&grapnel, 40).await;
    senders.stop.store(true, Ordering::Release);
    let mut all = Seen::default();
    while let Some(seen) = tasks.join_next().await {
        let seen = seen.unwrap();
        all.accepted.extend(seen.accepted);
        seen.refused.into_iter().for_each(|(what, times)| *all.refused.entry(what).or_default() += times);
        all.gap = all.gap.max(seen.gap);
    }
    println!(
        "{rounds} restarts, {} events accepted, refused attempts {:?}, longest wait of a sender {:?}",
        all.accepted.len(),
        all.refused,
        all.gap
    );
    let mut delivered = Vec::new();
    let mut missing = all.accepted.clone();
    while !missing.is_empty() {
        let arrived = receiver.next().await;
        let id = arrived.header("webhook-id").to_owned();
        assert_eq!(arrived.body, format!(r#"{{"id":"{id}"}}"#), "another event under its id");
        missing.remove(&id);
        delivered.push(id);
    }
    drop(grapnel);
    delivered.extend(receiver.rest().iter().map(|arrived| arrived.header("webhook-id").to_owned()));
    (delivered, all.accepted)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rolling_restart_under_load_loses_nothing_and_delivers_nothing_twice() {
    let (delivered, accepted) = restart(size("GRAPNEL_RESTARTS", 4), async |grapnel| {
        grapnel.send_signal("TERM");
        let (status, log) = grapnel.ended().await;
        assert_eq!(status.code(), Some(0), "{log}");
        assert!(!log.contains(" WARN ") && !log.contains(" ERROR "), "{log}");
    })
    .await;
    assert_eq!(delivered.len(), accepted.len(), "each is delivered once");
}

/// The same without being asked: now what was in flight may come again, and nothing else.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_end_without_warning_under_load_loses_nothing_and_repeats_what_was_in_flight() {
    let rounds = size("GRAPNEL_RESTARTS", 4);
    let (delivered, accepted) = restart(rounds, async |grapnel| grapnel.kill()).await;
    // Settled but not written yet: at most what is claimed ahead and what waits to be settled, for each kill.
    let twice = delivered.len() - accepted.len();
    assert!(twice <= rounds * (16 + 32 + 256), "{twice} deliveries too many");
}
