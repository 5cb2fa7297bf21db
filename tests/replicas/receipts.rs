//! A receiver that writes down what arrives.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
};

use grapnel_test_support::receiver::{Received, Receiver};

use crate::senders::Event;

/// `fussy` gives up one event in so many.
const HOPELESS: u64 = 40;

/// Kinds of subscriptions.
pub(crate) const KINDS: [&str; 3] = ["all", "fussy", "orderly"];

/// What the receiver of a subscription does with an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Treatment {
    /// Takes it.
    Takes,
    /// Refuses its first attempt.
    TakesLater,
    /// Refuses it for good.
    Refuses,
}

/// What the subscription of a kind does with an event.
pub(crate) fn treatment(kind: &str, event: Event) -> Treatment {
    match (kind, event.number) {
        ("fussy", number) if number % HOPELESS == 3 => Treatment::Refuses,
        ("fussy", number) if number % 5 == 1 => Treatment::TakesLater,
        ("orderly", number) if number % 20 == 7 => Treatment::TakesLater,
        _ => Treatment::Takes,
    }
}

/// What one subscription was sent.
#[derive(Debug, Default)]
pub(crate) struct Arrivals {
    /// The first arrivals, in order.
    pub(crate) order: Vec<Event>,
    /// The place of each event in that order.
    places: BTreeMap<Event, usize>,
    /// How often each event was taken.
    pub(crate) taken: BTreeMap<Event, u64>,
    /// Arrivals, in order, of events that had been taken before.
    pub(crate) again: Vec<Again>,
    refused: BTreeSet<Event>,
}

/// An arrival of an event that had been taken before.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Again {
    #[expect(dead_code, reason = "shown when a test fails")]
    pub(crate) event: Event,
    /// How many others had arrived for the first time since it did.
    pub(crate) behind: usize,
}

/// Everything that has arrived, by endpoint and kind.
#[derive(Debug, Default)]
pub(crate) struct Receipts {
    pub(crate) arrivals: BTreeMap<(usize, &'static str), Arrivals>,
    pub(crate) wrong: Vec<String>,
}

impl Receipts {
    pub(crate) fn total(&self) -> u64 {
        self.arrivals.values().flat_map(|arrivals| arrivals.taken.values()).sum()
    }
}

/// Starts the receiver.
pub(crate) async fn receiver() -> (Receiver, Arc<Mutex<Receipts>>) {
    let receipts = Arc::<Mutex<Receipts>>::default();
    let to = Arc::clone(&receipts);
    let respond = move |request: &Received| receive(&mut to.lock().unwrap(), request);
    (Receiver::setup().keeping_nothing().respond(respond).await, receipts)
}

fn receive(receipts: &mut Receipts, request: &Received) -> u16 {
    let mut path = request.path.trim_start_matches('/').split('/');
    let number = path.next().and_then(|endpoint| endpoint.strip_prefix("in-")?.parse().ok()).unwrap();
    let kind = path.next().and_then(|kind| KINDS.into_iter().find(|known| *known == kind)).unwrap();
    let id = request.header("webhook-id");
    let event = Event::of_id(id).filter(|event| event.endpoint() == number && *request.body == event.body());
    let Some(event) = event else {
        let start = String::from_utf8_lossy(&request.body[..request.body.len().min(60)]).into_owned();
        receipts.wrong.push(format!("{} got {start:?} under the id {id:?}", request.path));
        return 200;
    };
    let arrivals = receipts.arrivals.entry((number, kind)).or_default();
    match arrivals.places.get(&event) {
        None => {
            arrivals.places.insert(event, arrivals.order.len());
            arrivals.order.push(event);
        }
        Some(place) if arrivals.taken.contains_key(&event) => {
            arrivals.again.push(Again { event, behind: arrivals.order.len() - 1 - place });
        }
        Some(_) => {}
    }
    match treatment(kind, event) {
        Treatment::Refuses => return 410,
        Treatment::TakesLater if arrivals.refused.insert(event) => return 503,
        Treatment::Takes | Treatment::TakesLater => {}
    }
    *arrivals.taken.entry(event).or_default() += 1;
    200
}
