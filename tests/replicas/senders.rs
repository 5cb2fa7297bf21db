//! Senders that behave like providers: an event is sent under the same id until it is answered 2xx, then the next one.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use grapnel_test_support::program;
use serde_json::Value;
use tokio::{sync::watch, task::JoinSet};

use crate::site::{ENDPOINTS, endpoint};

/// Senders, each of which sends to one endpoint.
pub(crate) const SENDERS: usize = 2 * ENDPOINTS;

/// How long a sender waits for an answer.
const TIMEOUT: Duration = Duration::from_secs(5);

/// The pause of a sender after an event.
const PACE: Duration = Duration::from_millis(20);

/// An event: the `number`-th of a sender.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Event {
    pub(crate) sender: usize,
    pub(crate) number: u64,
}

impl Event {
    pub(crate) fn id(self) -> String {
        format!("e-{}-{}", self.sender, self.number)
    }

    pub(crate) fn of_id(id: &str) -> Option<Self> {
        let (sender, number) = id.strip_prefix("e-")?.split_once('-')?;
        Some(Self { sender: sender.parse().ok()?, number: number.parse().ok()? })
    }

    /// The number of its endpoint.
    pub(crate) fn endpoint(self) -> usize {
        self.sender % ENDPOINTS
    }

    /// The whole body, which follows from the event: with the id it is known what comes with it.
    pub(crate) fn body(self) -> Vec<u8> {
        let letter = char::from(b'a' + (self.number % 26) as u8).to_string();
        let padding = letter.repeat(64 + (self.number % 7) as usize * 512);
        format!(r#"{{"id":"{}","padding":"{padding}"}}"#, self.id()).into_bytes()
    }
}

/// What the senders have seen.
#[derive(Debug, Default, Clone)]
pub(crate) struct Sent {
    /// Events that each sender has begun.
    pub(crate) begun: BTreeMap<usize, u64>,
    /// Events of each sender that were answered 2xx: all before this number.
    pub(crate) accepted: BTreeMap<usize, u64>,
    /// Answers that were no 2xx, by status and code.
    pub(crate) refusals: BTreeMap<String, u64>,
    /// Answers that should not be.
    pub(crate) wrong: Vec<String>,
}

impl Sent {
    pub(crate) fn total(&self) -> u64 {
        self.accepted.values().sum()
    }
}

/// Running senders.
pub(crate) struct Senders {
    sent: Arc<Mutex<Sent>>,
    urls: Arc<Mutex<Vec<Option<String>>>>,
    goes_on: watch::Sender<bool>,
    tasks: JoinSet<()>,
}

impl Senders {
    /// Starts them. They wait until there is a replica to send to.
    pub(crate) fn start() -> Self {
        let (sent, urls) = (Arc::<Mutex<Sent>>::default(), Arc::<Mutex<Vec<Option<String>>>>::default());
        let (goes_on, going) = watch::channel(true);
        let mut tasks = JoinSet::new();
        for sender in 0..SENDERS {
            tasks.spawn(send(sender, Arc::clone(&sent), Arc::clone(&urls), going.clone()));
        }
        Self { sent, urls, goes_on, tasks }
    }

    /// Sets where replica `number` takes webhooks; `None` if it does not run.
    pub(crate) fn set(&self, number: usize, url: Option<&str>) {
        let mut urls = self.urls.lock().unwrap();
        if urls.len() <= number {
            urls.resize(number + 1, None);
        }
        urls[number] = url.map(str::to_owned);
    }

    /// What they have seen so far.
    pub(crate) fn sent(&self) -> std::sync::MutexGuard<'_, Sent> {
        self.sent.lock().unwrap()
    }

    /// Lets each finish the event that it has begun, and waits for that. `patience` is how long none may be accepted.
    pub(crate) async fn finish(&mut self, patience: Duration) {
        self.goes_on.send_replace(false);
        let mut seen = self.sent().total();
        while !self.tasks.is_empty() {
            let ended = tokio::time::timeout(patience, self.tasks.join_next()).await;
            let now = self.sent().total();
            assert!(ended.is_ok() || now > seen, "events are not accepted: {:?}", self.sent().refusals);
            seen = now;
            if let Ok(Some(ended)) = ended {
                ended.unwrap();
            }
        }
    }
}

async fn send(
    sender: usize,
    sent: Arc<Mutex<Sent>>,
    urls: Arc<Mutex<Vec<Option<String>>>>,
    goes_on: watch::Receiver<bool>,
) {
    let client = program::client();
    for number in 0.. {
        if !*goes_on.borrow() {
            return;
        }
        let event = Event { sender, number };
        sent.lock().unwrap().begun.insert(sender, number + 1);
        while !accepted(&client, event, &sent, &urls).await {
            // Sooner than Retry-After has it.
            tokio::time::sleep(PACE * 3).await;
        }
        sent.lock().unwrap().accepted.insert(sender, number + 1);
        tokio::time::sleep(PACE).await;
    }
}

/// Sends an event to one of the replicas. Returns whether it was answered 2xx.
async fn accepted(
    client: &reqwest::Client,
    event: Event,
    sent: &Mutex<Sent>,
    urls: &Mutex<Vec<Option<String>>>,
) -> bool {
    let url = {
        let urls = urls.lock().unwrap();
        let live: Vec<&String> = urls.iter().flatten().collect();
        if live.is_empty() {
            return false;
        }
        live[getrandom::u32().unwrap() as usize % live.len()].clone()
    };
    let request = client.post(format!("{url}/default/{}", endpoint(event.endpoint())));
    let request = request.header("content-type", "application/json").timeout(TIMEOUT).body(event.body());
    let answer = match request.send().await {
        Ok(answer) => {
            let (status, delay) = (answer.status().as_u16(), answer.headers().contains_key("retry-after"));
            answer.bytes().await.ok().map(|bytes| (status, delay, bytes))
        }
        Err(_) => None,
    };
    let Some((status, delay, bytes)) = answer else {
        *sent.lock().unwrap().refusals.entry("no answer".into()).or_default() += 1;
        return false;
    };
    let answer: Value = serde_json::from_slice(&bytes).unwrap_or_default();
    let mut sent = sent.lock().unwrap();
    if (200..300).contains(&status) {
        if answer["id"].as_str().is_some_and(|id| id != event.id()) {
            sent.wrong.push(format!("{event:?} was answered with {answer}"));
        }
        return true;
    }
    let code = answer["code"].as_str().unwrap_or_default();
    if status != 503 || !delay {
        sent.wrong.push(format!("{event:?} was answered with {status} {code}, Retry-After: {delay}"));
    }
    *sent.refusals.entry(format!("{status} {code}")).or_default() += 1;
    false
}
