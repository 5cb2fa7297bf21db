//! Senders that count what was answered 2xx, a receiver that writes down what arrives, and the comparison.
//!
//! Event `n` has the id `e-n`, and its whole body follows from `n`: whoever has the id knows what must come with it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use grapnel_test_support::receiver::{self, Receiver};
use serde_json::Value;
use tokio::{sync::watch, task::JoinSet, time::Instant};

use crate::program::{self, Grapnel, PATIENCE};

pub(crate) const SUBSCRIPTIONS: [&str; 3] = ["all", "fussy", "orderly"];

/// What a receiver was sent.
#[derive(Default)]
struct Received {
    /// How often each event was answered 200, by subscription.
    taken: BTreeMap<&'static str, BTreeMap<u64, u64>>,
    /// Attempts that `fussy` refused.
    refused: BTreeSet<u64>,
    wrong: Vec<String>,
}

#[derive(Default)]
struct Sent {
    next: u64,
    /// Not confirmed: sent again.
    again: Vec<u64>,
    accepted: BTreeSet<u64>,
    duplicates: u64,
    /// Answers that were no 2xx, by status and code.
    refusals: BTreeMap<String, u64>,
    wrong: Vec<String>,
}

/// Senders and a receiver that outlive every process between them.
pub(crate) struct Traffic {
    pub(crate) receiver: String,
    _server: Receiver,
    received: Arc<Mutex<Received>>,
    sent: Arc<Mutex<Sent>>,
    /// Where to send, while there is somebody.
    url: watch::Sender<Option<String>>,
    /// Events are begun up to this number.
    goal: watch::Sender<u64>,
    _senders: JoinSet<()>,
}

/// The body of event `n`: `padding` bytes and a little more.
fn body(n: u64, padding: usize) -> Vec<u8> {
    let letter = char::from(b'a' + (n % 26) as u8);
    format!(r#"{{"id":"e-{n}","number":{n},"padding":"{}"}}"#, letter.to_string().repeat(padding)).into_bytes()
}

/// `fussy` gives up one event in so many.
pub(crate) const HOPELESS: u64 = 40;

/// Dead-lettered by `fussy`.
fn is_hopeless(n: u64) -> bool {
    n % HOPELESS == 3
}

/// Refused by `fussy` at first.
fn is_late(n: u64) -> bool {
    n % 5 == 1
}

impl Traffic {
    /// Eight senders of events with that many bytes, who wait until they are told where to send and how many.
    pub(crate) async fn start(padding: usize) -> Self {
        let received = Arc::new(Mutex::new(Received::default()));
        let to = Arc::clone(&received);
        let server = Receiver::setup().keeping_nothing().respond(move |request| receive(&to, padding, request)).await;
        let sent = Arc::new(Mutex::new(Sent::default()));
        let (url, urls) = watch::channel(None);
        let (goal, goals) = watch::channel(0);
        let mut senders = JoinSet::new();
        for _ in 0..8 {
            senders.spawn(send(Arc::clone(&sent), urls.clone(), goals.clone(), padding));
        }
        Self { receiver: server.url.clone(), _server: server, received, sent, url, goal, _senders: senders }
    }

    /// Sends there from now on.
    pub(crate) fn to(&self, grapnel: &Grapnel) {
        self.url.send_replace(Some(format!("{}/default/in", grapnel.webhooks)));
    }

    /// Nobody is there.
    pub(crate) fn pause(&self) {
        self.url.send_replace(None);
    }

    /// So many more events are sent.
    pub(crate) fn more(&self, events: u64) {
        self.goal.send_modify(|goal| *goal += events);
    }

    /// Nothing new is begun any more; what was begun is sent until it is accepted.
    pub(crate) fn enough(&self) {
        let next = self.sent.lock().unwrap().next;
        self.goal.send_replace(next);
    }

    /// How many have been answered 2xx.
    pub(crate) fn accepted(&self) -> u64 {
        self.sent.lock().unwrap().accepted.len() as u64
    }

    /// Answers that were no 2xx, such as `503 unavailable`, and how many of each.
    pub(crate) fn refusals(&self) -> BTreeMap<String, u64> {
        self.sent.lock().unwrap().refusals.clone()
    }

    /// Waits for something for as long as events come and go.
    pub(crate) async fn until(&self, what: &str, grapnel: &Grapnel, over: impl Fn() -> bool) {
        let mut seen = self.progress();
        let mut deadline = Instant::now() + PATIENCE;
        while !over() {
            let now = self.progress();
            if now != seen {
                seen = now;
                deadline = Instant::now() + PATIENCE;
            }
            assert!(Instant::now() < deadline, "{what} did not happen; the log says\n{}", grapnel.log());
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// Events accepted, and deliveries.
    fn progress(&self) -> (u64, u64) {
        let deliveries = self.received.lock().unwrap().taken.values().flat_map(BTreeMap::values).sum();
        (self.accepted(), deliveries)
    }

    /// Everything that was begun has been accepted.
    pub(crate) async fn all_accepted(&self, grapnel: &Grapnel) {
        let all = || {
            let sent = self.sent.lock().unwrap();
            sent.next >= *self.goal.borrow() && sent.accepted.len() as u64 == sent.next
        };
        self.until("the acceptance of every event", grapnel, all).await;
    }

    /// Everything that was answered 2xx is delivered or dead-lettered, whole and under its own id. Answers with the
    /// number of duplicates by subscription.
    pub(crate) async fn assert_nothing_lost(&self, grapnel: &Grapnel) -> BTreeMap<&'static str, u64> {
        let accepted = self.sent.lock().unwrap().accepted.clone();
        let missing = async |subscription: &'static str| {
            let taken: BTreeSet<u64> = {
                let received = self.received.lock().unwrap();
                received.taken.get(subscription).map(|taken| taken.keys().copied().collect()).unwrap_or_default()
            };
            let hopeless = subscription == "fussy";
            let missing: Vec<u64> =
                accepted.iter().copied().filter(|n| !(taken.contains(n) || hopeless && is_hopeless(*n))).collect();
            if !missing.is_empty() || !hopeless {
                return missing;
            }
            let dead = dead_letters(grapnel).await;
            accepted.iter().copied().filter(|n| is_hopeless(*n) && !dead.contains(n)).collect()
        };
        for subscription in SUBSCRIPTIONS {
            let mut seen = self.progress();
            let mut deadline = Instant::now() + PATIENCE;
            loop {
                let missing = missing(subscription).await;
                if missing.is_empty() {
                    break;
                }
                // As long as there is progress there is patience.
                let now = self.progress();
                if now != seen {
                    seen = now;
                    deadline = Instant::now() + PATIENCE;
                }
                assert!(
                    Instant::now() < deadline,
                    "{} of {} accepted events are lost to {subscription}: {missing:?}\n{}",
                    missing.len(),
                    accepted.len(),
                    grapnel.log()
                );
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
        let (received, sent) = (self.received.lock().unwrap(), self.sent.lock().unwrap());
        assert!(received.wrong.is_empty(), "{:#?}", received.wrong);
        assert!(sent.wrong.is_empty(), "{:#?}", sent.wrong);
        SUBSCRIPTIONS
            .into_iter()
            .map(|subscription| {
                let taken = received.taken.get(subscription);
                (subscription, taken.map_or(0, |taken| taken.values().map(|times| times - 1).sum()))
            })
            .collect()
    }
}

/// What `fussy` has given up, as the admin API lists it.
async fn dead_letters(grapnel: &Grapnel) -> BTreeSet<u64> {
    let mut dead = BTreeSet::new();
    let mut after = 0;
    loop {
        let path = "/api/v1/namespaces/default/subscriptions/fussy/deliveries";
        let page = grapnel.api(&format!("{path}?state=deadLettered&limit=500&after={after}")).await;
        for item in page["items"].as_array().unwrap() {
            dead.insert(number(item["eventId"].as_str().unwrap()).unwrap());
        }
        match page["continue"].as_str() {
            Some(next) => after = next.parse().unwrap(),
            None => return dead,
        }
    }
}

fn number(id: &str) -> Option<u64> {
    id.strip_prefix("e-")?.parse().ok()
}

async fn send(
    sent: Arc<Mutex<Sent>>,
    mut urls: watch::Receiver<Option<String>>,
    mut goals: watch::Receiver<u64>,
    padding: usize,
) {
    let client = program::client();
    loop {
        let Ok(url) = urls.wait_for(Option::is_some).await.map(|url| url.clone().unwrap()) else { return };
        let goal = *goals.borrow_and_update();
        let next = {
            let mut sent = sent.lock().unwrap();
            sent.again.pop().or_else(|| {
                let fresh = (sent.next < goal).then_some(sent.next)?;
                sent.next += 1;
                Some(fresh)
            })
        };
        let Some(n) = next else {
            // Another sender may still give something back.
            tokio::select! {
                changed = goals.changed() => if changed.is_err() { return },
                () = tokio::time::sleep(Duration::from_millis(5)) => {}
            }
            continue;
        };
        let request = client.post(url).header("content-type", "application/json").body(body(n, padding));
        let outcome = match request.send().await {
            Ok(answer) => (answer.status().as_u16(), answer.bytes().await.unwrap_or_default()),
            Err(_) => (0, Bytes::new()),
        };
        let answer: Value = serde_json::from_slice(&outcome.1).unwrap_or_default();
        let refused = {
            let mut sent = sent.lock().unwrap();
            match outcome.0 {
                200..300 => {
                    if answer["id"].as_str().is_some_and(|id| number(id) != Some(n)) {
                        sent.wrong.push(format!("event {n} was answered with {answer}"));
                    }
                    sent.duplicates += u64::from(answer["duplicate"] == true);
                    sent.accepted.insert(n);
                    false
                }
                status => {
                    let what = if status == 0 {
                        "no answer".to_owned()
                    } else {
                        format!("{status} {}", answer["code"].as_str().unwrap_or_default())
                    };
                    *sent.refusals.entry(what).or_default() += 1;
                    sent.again.push(n);
                    true
                }
            }
        };
        if refused {
            // As Retry-After would have it, only sooner.
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

fn receive(received: &Mutex<Received>, padding: usize, request: &receiver::Received) -> u16 {
    let subscription = SUBSCRIPTIONS.into_iter().find(|name| request.path.strip_prefix('/') == Some(name)).unwrap();
    let (id, bytes) = (request.header("webhook-id"), &request.body);
    let mut received = received.lock().unwrap();
    let Some(n) = number(id).filter(|n| *bytes == body(*n, padding)) else {
        let start = String::from_utf8_lossy(&bytes[..bytes.len().min(60)]).into_owned();
        received.wrong.push(format!("{subscription} got {start:?}, {} bytes, under the id {id:?}", bytes.len()));
        return 200;
    };
    if subscription == "fussy" {
        if is_hopeless(n) {
            return 410;
        }
        if is_late(n) && received.refused.insert(n) {
            return 503;
        }
    }
    *received.taken.entry(subscription).or_default().entry(n).or_default() += 1;
    200
}
