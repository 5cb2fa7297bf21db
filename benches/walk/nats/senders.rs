//! Senders that repeat a request until it is answered with 200, and turn to the other replica after each failure, as with
//! a load balancer before them.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use grapnel_test_support::program;
use tokio::{task::JoinSet, time::MissedTickBehavior};

use crate::{payload::Payloads, receiver::Arrivals};

/// Senders at the same time, and how often each has an event.
const SENDERS: usize = 32;
const PERIOD: Duration = Duration::from_millis(64);
/// How long a sender waits for an answer, and before it repeats the request.
const ATTEMPT: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(50);

/// Senders that run.
pub(crate) struct Senders {
    over: Arc<AtomicBool>,
    tasks: JoinSet<Waits>,
}

/// What the senders met with.
#[derive(Default)]
pub(crate) struct Waits {
    /// Events, each answered with 200 in the end.
    pub(crate) events: usize,
    /// Attempts that were answered with something else, or not at all.
    pub(crate) failed: usize,
    /// Longest time from the first attempt of an event to its 200.
    pub(crate) longest: Duration,
}

impl Senders {
    /// Starts to send to the replicas.
    pub(crate) fn start(payloads: &Arc<Payloads>, arrivals: &Arc<Arrivals>, replicas: [SocketAddr; 2]) -> Self {
        let (over, next) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let mut tasks = JoinSet::new();
        for sender in 0..SENDERS {
            let (payloads, arrivals) = (Arc::clone(payloads), Arc::clone(arrivals));
            let (over, next) = (Arc::clone(&over), Arc::clone(&next));
            tasks.spawn(async move {
                let client = program::client();
                let mut waits = Waits::default();
                let mut replica = sender;
                let mut ticks = tokio::time::interval(PERIOD);
                ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
                while !over.load(Relaxed) {
                    ticks.tick().await;
                    let number = next.fetch_add(1, Relaxed);
                    let first = Instant::now();
                    arrivals.sent(number);
                    while !attempt(&client, replicas[replica % replicas.len()], &payloads, number).await {
                        assert!(first.elapsed() < crate::PATIENCE, "event {number} is not taken in");
                        waits.failed += 1;
                        replica += 1;
                        tokio::time::sleep(PAUSE).await;
                    }
                    waits.events += 1;
                    waits.longest = waits.longest.max(first.elapsed());
                }
                waits
            });
        }
        Self { over, tasks }
    }

    /// Ends them after their last events.
    pub(crate) async fn end(self) -> Waits {
        self.over.store(true, Relaxed);
        let all = self.tasks.join_all().await;
        all.into_iter().fold(Waits::default(), |sum, one| Waits {
            events: sum.events + one.events,
            failed: sum.failed + one.failed,
            longest: sum.longest.max(one.longest),
        })
    }
}

async fn attempt(client: &reqwest::Client, replica: SocketAddr, payloads: &Payloads, number: usize) -> bool {
    let (body, signature) = payloads.signed(number);
    let request = client
        .post(format!("http://{replica}/default/bench"))
        .timeout(ATTEMPT)
        .header("content-type", "application/json")
        .header("x-webhook-signature", signature)
        .header("x-event-id", format!("failover-{number}"))
        .body(body.to_vec());
    request.send().await.is_ok_and(|answer| answer.status() == 200)
}
