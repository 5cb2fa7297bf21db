//! Two replicas, `a` and `b`, and a receiver that knows which of them sent a request and answers when it is told to.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
    time::Duration,
};

use grapnel_test_support::{
    eventually, eventually_every,
    program::Grapnel,
    receiver::{Received, Receiver},
};
use tokio::sync::watch;

use crate::site::{ENDPOINTS, Site, endpoint, objects, ready, start};

/// Time between two rounds of events: a shard moves at most every half second.
const PAUSE: Duration = Duration::from_millis(200);

/// A request: who sent it, to which endpoint's subscription, and the event's id.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Request {
    pub(crate) replica: String,
    pub(crate) endpoint: String,
    pub(crate) id: String,
}

#[derive(Default)]
struct Requests {
    arrived: Vec<Request>,
    answered: Vec<(Request, u16)>,
    waiting: BTreeMap<u64, Request>,
}

/// A request that waits for its answer, or has been given up by its sender.
struct Waiting {
    requests: Arc<Mutex<Requests>>,
    number: u64,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.requests.lock().unwrap().waiting.remove(&self.number);
    }
}

/// Brokers, a receiver, and the objects of each replica, which differ only in where they send.
pub(crate) struct Stage {
    pub(crate) site: Site,
    receiver: Receiver,
    requests: Arc<Mutex<Requests>>,
    answers: BTreeMap<&'static str, watch::Sender<Option<u16>>>,
    /// How long every answer takes.
    delay: watch::Sender<Duration>,
    /// How many replicas of each name were started.
    started: Mutex<BTreeMap<&'static str, usize>>,
}

impl Stage {
    /// Starts brokers and a receiver that answers 200. Each endpoint has one subscription.
    pub(crate) async fn new() -> Self {
        Self::at(Site::new().await).await
    }

    /// The same on running brokers.
    pub(crate) async fn at(site: Site) -> Self {
        let requests = Arc::<Mutex<Requests>>::default();
        let answers: BTreeMap<_, _> = ["a", "b"].map(|name| (name, watch::Sender::new(Some(200)))).into();
        let delay = watch::Sender::new(Duration::ZERO);
        let (log, told, delayed) = (Arc::clone(&requests), answers.clone(), delay.subscribe());
        let receiver = Receiver::setup().keeping_nothing().script(move |_, request: Received| {
            let request = read(&request);
            let mut answer = told[request.replica.as_str()].subscribe();
            let number = {
                let mut log = log.lock().unwrap();
                log.arrived.push(request.clone());
                let number = log.arrived.len() as u64;
                log.waiting.insert(number, request.clone());
                number
            };
            let waiting = Waiting { requests: Arc::clone(&log), number };
            let delay = *delayed.borrow();
            async move {
                tokio::time::sleep(delay).await;
                let status = answer.wait_for(Option::is_some).await.unwrap().unwrap();
                waiting.requests.lock().unwrap().answered.push((request, status));
                status
            }
        });
        let receiver = receiver.await;
        let stage = Self { site, receiver, requests, answers, delay, started: Mutex::default() };
        for name in stage.answers.keys() {
            stage.site.objects(name, &stage.objects(name, &["all"]));
        }
        stage
    }

    /// The objects of a replica: each endpoint has a subscription for each of `kinds`.
    pub(crate) fn objects(&self, name: &str, kinds: &[&str]) -> String {
        objects(&format!("{}/{name}", self.receiver.url), kinds)
    }

    /// Starts a replica, and returns when it is ready.
    pub(crate) async fn replica(&self, name: &'static str) -> Grapnel {
        let replica = self.start(name, &self.site.brokers.url(), &[]).await;
        ready(&replica).await;
        replica
    }

    /// Starts a replica that reaches the brokers at `url`, with more arguments, and returns when it answers. Which shards
    /// it is to own follows from its name; the first and the second of both share the endpoints.
    pub(crate) async fn start(&self, name: &'static str, url: &str, more: &[&str]) -> Grapnel {
        let before = self.started.lock().unwrap().entry(name).or_insert(0_usize).to_owned();
        self.started.lock().unwrap().insert(name, before + 1);
        let unique = if before == 0 { name.to_owned() } else { format!("{name}-{before}") };
        let mut arguments = self.site.arguments(&self.site.file(name), url);
        arguments.extend(more.iter().map(|argument| (*argument).to_owned()));
        start(arguments, Some(unique)).await
    }

    /// The address of the first broker.
    pub(crate) fn address(&self) -> String {
        self.site.brokers.urls()[0].trim_start_matches("nats://").to_owned()
    }

    /// Sets how requests of a replica are answered: with a status, or not before another is set.
    pub(crate) fn answer(&self, name: &str, status: Option<u16>) {
        self.answers[name].send_replace(status);
    }

    /// Sets the delay of every response of the receiver.
    pub(crate) fn delay(&self, delay: Duration) {
        self.delay.send_replace(delay);
    }

    /// Every request so far.
    pub(crate) fn arrived(&self) -> Vec<Request> {
        self.requests.lock().unwrap().arrived.clone()
    }

    /// Requests of a replica that wait for their answer.
    pub(crate) fn waiting(&self, name: &str) -> BTreeSet<Request> {
        let requests = self.requests.lock().unwrap();
        requests.waiting.values().filter(|request| request.replica == name).cloned().collect()
    }

    /// Sends one event with this id to each endpoint through a replica.
    pub(crate) async fn send(&self, through: &Grapnel, id: &str) {
        for number in 0..ENDPOINTS {
            let path = format!("/default/{}", endpoint(number));
            let body = format!(r#"{{"id":"{id}"}}"#);
            eventually("an event that is accepted", async || {
                let (status, answer) = through.post(&path, &[], body.as_bytes()).await;
                if status == 200 { Ok(()) } else { Err(answer) }
            })
            .await;
        }
    }

    /// Sends one event to each endpoint, at once. Each has to be refused with 503 and a time after which to try again.
    pub(crate) async fn refused(&self, through: &Grapnel, id: &str) {
        let refusals = (0..ENDPOINTS).map(|number| async move {
            let body = format!(r#"{{"id":"{id}"}}"#);
            let answer = through.try_post(&format!("/default/{}", endpoint(number)), &[], body).await.unwrap();
            let (status, delay) = (answer.status().as_u16(), answer.headers().contains_key("retry-after"));
            let text = answer.text().await.unwrap();
            let known = ["unavailable", "not_ready"].iter().any(|code| text.contains(code));
            assert!(status == 503 && delay && known, "{status}, Retry-After: {delay}, {text}");
        });
        futures_util::future::join_all(refusals).await;
    }

    /// Waits until the event of each endpoint with this id has been taken. Returns by whom first.
    pub(crate) async fn taken(&self, id: &str) -> BTreeMap<String, String> {
        eventually(&format!("every delivery of {id}"), async || {
            let requests = self.requests.lock().unwrap();
            let taken = requests.answered.iter().filter(|(request, status)| request.id == id && *status == 200);
            let by: BTreeMap<String, String> =
                taken.rev().map(|(request, _)| (request.endpoint.clone(), request.replica.clone())).collect();
            if by.len() == ENDPOINTS { Ok(by) } else { Err(by) }
        })
        .await
    }

    /// Waits until both replicas deliver. Returns the endpoints that `a` delivers.
    pub(crate) async fn shared(&self, through: &Grapnel) -> BTreeSet<String> {
        let mut round = 0;
        eventually_every(PAUSE, "two replicas that share the endpoints", async || {
            round += 1;
            let id = format!("shared-{round}-{}", self.arrived().len());
            self.send(through, &id).await;
            let by = self.taken(&id).await;
            let of_a: BTreeSet<String> =
                by.iter().filter(|(_, by)| *by == "a").map(|(endpoint, _)| endpoint.clone()).collect();
            if (1..ENDPOINTS).contains(&of_a.len()) { Ok(of_a) } else { Err(by) }
        })
        .await
    }
}

fn read(request: &Received) -> Request {
    let path: Vec<&str> = request.path.trim_start_matches('/').split('/').collect();
    let id = request.header("webhook-id").to_owned();
    Request { replica: path[0].to_owned(), endpoint: path[1].to_owned(), id }
}
