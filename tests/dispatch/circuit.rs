//! Receivers that fail for longer, and what the circuit breaker makes of it.

use std::{
    num::NonZeroU32,
    sync::{
        Arc,
        atomic::{AtomicU16, AtomicUsize, Ordering},
    },
    time::Duration,
};

use grapnel::catalog::{Subscription, SubscriptionFacts};
use grapnel_api::{ObjectKey, Ordering as EventOrder};
use grapnel_delivery::breaker::BreakerPolicy;
use grapnel_journal::DeliveryState;
use grapnel_values::glob::{Glob, GlobSet};
use tokio::sync::Semaphore;

use crate::stage::{Receiver, Stage, eventually, status, subscription};

/// Pauses after three failures in a row: 30 ms, 60 ms, then 90 ms. The clock stands still, so these are as good as hours; and a
/// worker that waits for milliseconds looks at it often.
fn policy() -> BreakerPolicy {
    BreakerPolicy {
        failures: NonZeroU32::new(3).unwrap(),
        cooldown: Duration::from_millis(30),
        max_cooldown: Duration::from_millis(90),
    }
}

/// A receiver that answers with a status that can be changed.
async fn moody(first: u16) -> (Receiver, Arc<AtomicU16>) {
    let mood = Arc::new(AtomicU16::new(first));
    let receiver = Receiver::new({
        let mood = mood.clone();
        move |_| {
            let answer = mood.load(Ordering::SeqCst);
            async move { status(answer) }
        }
    });
    (receiver.await, mood)
}

/// One delivery at a time, three failures, many attempts that are soon due.
fn fragile(receiver: &Receiver, stage: &Stage) -> Subscription {
    let mut fragile = subscription("fragile", &receiver.url, &stage.metrics);
    fragile.breaker = policy();
    fragile.max_in_flight = 1.try_into().unwrap();
    fragile.retry.max_attempts = 100;
    fragile.retry.initial = Duration::from_millis(1);
    fragile.retry.max_delay = Duration::from_millis(1);
    fragile
}

impl Stage {
    async fn until_open(&self, facts: &SubscriptionFacts, failures: u32) {
        eventually("the circuit has opened", async || {
            facts.read().circuit.is_some_and(|circuit| circuit.failures == failures)
        })
        .await;
        // What was claimed is given back, what ended is settled.
        self.until("fragile", "nothing is held", |progress| progress.in_flight == 0).await;
    }

    fn circuit_open(&self) -> bool {
        let text = self.metrics.encode();
        let series = r#"webhook_circuit_open{namespace="shop",subscription="fragile"} "#;
        let value = text.lines().find_map(|line| line.strip_prefix(series));
        value.unwrap_or_else(|| panic!("{series} is not in\n{text}")) == "1"
    }

    /// How many attempts have been made of events that are not settled.
    async fn attempts(&self) -> u32 {
        self.deliveries("fragile", DeliveryState::Retrying).await.iter().map(|delivery| delivery.attempts).sum()
    }
}

/// Whatever the moment at which a pause ends: also between any two looks at the clock of a worker that decides what to do,
/// of an event that has long been due.
#[tokio::test]
async fn the_end_of_a_pause_is_never_missed() {
    for ordering in [EventOrder::Unordered, EventOrder::Ordered] {
        let mut stage = Stage::new().await;
        let (receiver, mood) = moody(503).await;
        let mut fragile = fragile(&receiver, &stage);
        fragile.ordering = ordering;
        fragile.breaker.failures = NonZeroU32::MIN;
        fragile.breaker.cooldown = Duration::from_millis(3);
        let facts = fragile.facts.clone();
        stage.publish([fragile]).await;
        // A worker whose circuit is open looks at most three or four times before it sleeps again.
        for nth in 1..=12 {
            mood.store(503, Ordering::SeqCst);
            stage.append(&format!("evt_{nth}"), "t").await;
            stage.until_open(&facts, 1).await;
            mood.store(200, Ordering::SeqCst);
            // Its retry becomes due, and the worker knows.
            stage.clock.advance(Duration::from_millis(1));
            stage.worker_has_looked().await;
            stage.pass_at_look(nth, Duration::from_millis(2));
            let what = format!("{ordering:?}: the probe, when the pause ends at look {nth}");
            stage.until("fragile", &what, |progress| progress.delivered == nth as u64).await;
        }
    }
}

#[tokio::test]
async fn opens_probes_one_at_a_time_doubles_closes_and_drains() {
    let mut stage = Stage::new().await;
    let (mut receiver, mood) = moody(503).await;
    let fragile = fragile(&receiver, &stage);
    let facts = fragile.facts.clone();
    stage.publish([fragile]).await;
    for number in 0..20 {
        stage.append(&format!("evt_{number}"), "t").await;
    }
    stage.until_open(&facts, 3).await;
    assert!(stage.circuit_open());
    assert_eq!(receiver.rest().len(), 3);
    let opened = facts.read().circuit.unwrap();
    assert_eq!((opened.since, opened.next_probe), (stage.now(), stage.now() + Duration::from_millis(30)));
    // Retries are due long before the pause is over, and new events wait: nobody calls.
    stage.clock.advance(Duration::from_millis(29));
    stage.append("evt_20", "t").await;
    stage.worker_has_looked().await;
    assert!(receiver.rest().is_empty());
    assert_eq!((stage.attempts().await, stage.progress("fragile").pending), (3, 18));
    // One probe a pause, an attempt of the oldest that is due; the pause doubles up to the longest.
    for (probe, (wait, next)) in [(1, 60), (60, 90), (90, 90)].into_iter().enumerate() {
        stage.clock.advance(Duration::from_millis(wait - 1));
        stage.worker_has_looked().await;
        assert_eq!(receiver.rest().len(), 0, "probe {probe}");
        stage.clock.advance(Duration::from_millis(1));
        let request = receiver.next().await;
        assert_eq!(request.header("webhook-id"), format!("evt_{probe}"), "the one that has been due for longest");
        assert_eq!(request.header("grapnel-attempt"), "2");
        stage.until_open(&facts, 4 + u32::try_from(probe).unwrap()).await;
        let circuit = facts.read().circuit.unwrap();
        assert_eq!((circuit.since, circuit.next_probe), (opened.since, stage.now() + Duration::from_millis(next)));
        assert_eq!(stage.attempts().await, 4 + u32::try_from(probe).unwrap(), "a probe is an attempt");
    }
    assert!(receiver.rest().is_empty());
    // A success closes it, and everything drains without a further pause.
    mood.store(200, Ordering::SeqCst);
    stage.clock.advance(Duration::from_millis(90));
    stage.until("fragile", "drained", |progress| progress.delivered == 21).await;
    assert_eq!(receiver.rest().len(), 21);
    assert_eq!((facts.read().circuit, stage.circuit_open()), (None, false));
    // Counted anew, paused as shortly as the first time.
    mood.store(500, Ordering::SeqCst);
    for number in 30..35 {
        stage.append(&format!("evt_{number}"), "t").await;
    }
    stage.until_open(&facts, 3).await;
    assert_eq!(facts.read().circuit.unwrap().next_probe, stage.now() + Duration::from_millis(30));
    stage.stop().await;
}

#[tokio::test]
async fn a_probe_that_takes_long_is_the_only_one() {
    let mut stage = Stage::new().await;
    let gate = Arc::new(Semaphore::new(0));
    let (under_way, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let mut receiver = Receiver::new({
        let (gate, under_way, most) = (gate.clone(), under_way.clone(), most.clone());
        move |number| {
            let (gate, under_way, most) = (gate.clone(), under_way.clone(), most.clone());
            async move {
                if number < 3 {
                    return status(500);
                }
                most.fetch_max(under_way.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                gate.acquire().await.unwrap().forget();
                under_way.fetch_sub(1, Ordering::SeqCst);
                status(500)
            }
        }
    })
    .await;
    let well = Receiver::statuses(&[200]).await;
    let narrow = fragile(&receiver, &stage);
    let facts = narrow.facts.clone();
    let other = subscription("other", &well.url, &stage.metrics);
    stage.publish([narrow, other]).await;
    for number in 0..20 {
        stage.append(&format!("evt_{number}"), "t").await;
    }
    for _ in 0..3 {
        receiver.next().await;
    }
    stage.until_open(&facts, 3).await;
    // From now on there is room for more than one.
    let mut wide = fragile(&receiver, &stage);
    wide.facts = facts.clone();
    wide.max_in_flight = 3.try_into().unwrap();
    let other = subscription("other", &well.url, &stage.metrics);
    stage.publish([wide, other]).await;
    for failures in 4..7 {
        stage.clock.advance(Duration::from_millis(90));
        receiver.next().await;
        stage.clock.advance(Duration::from_millis(900));
        stage.append(&format!("late_{failures}"), "t").await;
        stage.until("other", "all delivered", |progress| progress.pending + progress.in_flight == 0).await;
        assert_eq!(stage.progress("fragile").in_flight, 1);
        gate.add_permits(1);
        stage.until_open(&facts, failures).await;
    }
    assert_eq!((most.load(Ordering::SeqCst), receiver.rest().len()), (1, 0));
    stage.stop().await;
}

#[tokio::test]
async fn a_probe_finds_its_event_among_types_that_are_not_delivered() {
    let mut stage = Stage::new().await;
    let (mut receiver, mood) = moody(500).await;
    let mut fragile = fragile(&receiver, &stage);
    fragile.event_types = GlobSet::new(vec![Glob::parse("wanted").unwrap()]);
    let facts = fragile.facts.clone();
    fragile.breaker.failures = NonZeroU32::MIN;
    stage.publish([fragile]).await;
    stage.append("evt_0", "wanted").await;
    receiver.next().await;
    stage.until_open(&facts, 1).await;
    mood.store(200, Ordering::SeqCst);
    let unwanted = (0..300).map(|number| crate::stage::arrival(&format!("no_{number}"), "other", b"{}", stage.now()));
    stage.append_all(unwanted).await;
    for number in 1..200 {
        stage.append(&format!("evt_{number}"), "wanted").await;
    }
    stage.clock.advance(Duration::from_millis(30));
    stage.until("fragile", "drained", |progress| progress.delivered == 200 && progress.pending == 0).await;
    assert_eq!(receiver.rest().len(), 200);
    stage.stop().await;
}

#[tokio::test]
async fn another_subscription_is_not_delayed() {
    let mut stage = Stage::new().await;
    let (receiver, _mood) = moody(500).await;
    let well = Receiver::statuses(&[200]).await;
    let fragile = fragile(&receiver, &stage);
    let facts = fragile.facts.clone();
    let other = subscription("other", &well.url, &stage.metrics);
    stage.publish([fragile, other]).await;
    for number in 0..50 {
        stage.append(&format!("evt_{number}"), "t").await;
    }
    stage.until_open(&facts, 3).await;
    stage.until("other", "delivered", |progress| progress.delivered == 50).await;
    assert_eq!(stage.progress("fragile").delivered, 0);
    stage.stop().await;
}

#[tokio::test]
async fn refusals_of_a_receiver_that_works_open_nothing() {
    let mut stage = Stage::new().await;
    // Every other event is refused, and the receiver's last word on each tenth is 410.
    let mut receiver = Receiver::new(async |number| {
        status(match number {
            number if number % 10 == 0 => 410,
            number if number % 2 == 0 => 422,
            _ => 200,
        })
    })
    .await;
    let mut fragile = fragile(&receiver, &stage);
    fragile.breaker.failures = 2.try_into().unwrap();
    let facts = fragile.facts.clone();
    stage.publish([fragile]).await;
    for number in 0..100 {
        stage.append(&format!("evt_{number}"), "t").await;
        receiver.next().await;
    }
    stage.until("fragile", "each tried once", |progress| progress.pending == 0 && progress.in_flight == 0).await;
    assert_eq!(facts.read().circuit, None);
    let progress = stage.progress("fragile");
    assert_eq!((progress.delivered, progress.retrying, progress.dead), (50, 40, 10));
    stage.stop().await;
    // A receiver that is gone has its events given up at once.
    let mut stage = Stage::new().await;
    let (gone, _) = moody(410).await;
    let fragile = self::fragile(&gone, &stage);
    let facts = fragile.facts.clone();
    stage.publish([fragile]).await;
    for number in 0..10 {
        stage.append(&format!("evt_{number}"), "t").await;
    }
    stage.until("fragile", "given up", |progress| progress.dead == 10).await;
    assert_eq!(facts.read().circuit, None);
    stage.stop().await;
}

#[tokio::test]
async fn a_receiver_that_cannot_be_reached_opens_it_too() {
    let mut stage = Stage::new().await;
    let receiver = Receiver::statuses(&[200]).await;
    let url = receiver.url.clone();
    drop(receiver);
    let mut fragile = subscription("fragile", &url, &stage.metrics);
    fragile.breaker = policy();
    let facts = fragile.facts.clone();
    stage.publish([fragile]).await;
    for number in 0..10 {
        stage.append(&format!("evt_{number}"), "t").await;
    }
    stage.until_open(&facts, 3).await;
    assert_eq!(&*facts.read().last_failure.unwrap().reason, "connect");
    stage.stop().await;
}

#[tokio::test]
async fn an_open_circuit_survives_a_change_and_a_changed_target_is_probed_at_once() {
    let mut stage = Stage::new().await;
    let (mut receiver, _mood) = moody(500).await;
    let mut mended = Receiver::statuses(&[200]).await;
    let before = fragile(&receiver, &stage);
    let facts = before.facts.clone();
    let version = |receiver: &Receiver, stage: &Stage| {
        let mut version = fragile(receiver, stage);
        version.facts = facts.clone();
        version
    };
    stage.publish([before]).await;
    for number in 0..10 {
        stage.append(&format!("evt_{number}"), "t").await;
    }
    stage.until_open(&facts, 3).await;
    receiver.rest();
    let mut other_retries = version(&receiver, &stage);
    other_retries.retry.max_attempts = 7;
    stage.publish([other_retries]).await;
    stage.worker_has_looked().await;
    assert!(facts.read().circuit.is_some() && receiver.rest().is_empty());
    // Parked: no probe, however long it takes.
    let mut parked = version(&receiver, &stage);
    parked.suspended = true;
    stage.publish([parked]).await;
    stage.clock.advance(Duration::from_millis(3600));
    assert_eq!(stage.progress("fragile").pending, 7);
    let again = version(&receiver, &stage);
    stage.publish([again]).await;
    receiver.next().await;
    stage.until_open(&facts, 4).await;
    assert!(receiver.rest().is_empty(), "one probe, and none before");
    let target = version(&mended, &stage);
    stage.publish([target]).await;
    assert_eq!(mended.next().await.header("grapnel-attempt"), "2");
    // The first retries have waited for hours; the probe's own is due in a millisecond.
    stage.clock.advance(Duration::from_millis(1));
    stage.until("fragile", "drained", |progress| progress.delivered == 10).await;
    assert_eq!(facts.read().circuit, None);
    stage.stop().await;
}

#[tokio::test]
async fn the_condition_says_since_when_why_and_when_it_is_probed() {
    let mut stage = Stage::new().await;
    let (receiver, mood) = moody(502).await;
    let mut fragile = fragile(&receiver, &stage);
    fragile.breaker.cooldown = Duration::from_secs(30);
    fragile.breaker.max_cooldown = Duration::from_secs(90);
    let facts = fragile.facts.clone();
    stage.publish([fragile]).await;
    for number in 0..5 {
        stage.append(&format!("evt_{number}"), "t").await;
    }
    let view = grapnel::catalog::ObjectView {
        kind: grapnel::catalog::ObjectKind::Subscription,
        key: ObjectKey::new("shop", "fragile"),
        uid: None,
        generation: None,
        source: None,
        endpoint_ref: None,
        path: None,
        url: None,
        event_id_from: None,
        conditions: Arc::from([]),
        in_use: true,
        unusable: false,
        route: grapnel::catalog::RouteSpec::Absent,
        facts: grapnel::catalog::Facts::Subscription(facts.clone()),
        spec: None,
    };
    stage.until_open(&facts, 3).await;
    let (open, conditions) = (facts.standing(), view.conditions(&grapnel::catalog::JournalReading::default()));
    let [delivering] = &conditions[..] else { panic!("{conditions:?}") };
    assert_eq!((delivering.status.as_str(), delivering.reason.as_str()), ("False", "CircuitOpen"));
    for part in ["2026-03-01T12:00:00Z", "3 failures in a row", "502 Bad Gateway", "after 2026-03-01T12:00:30Z"] {
        assert!(delivering.message.contains(part), "{part} is not in {}", delivering.message);
    }
    mood.store(200, Ordering::SeqCst);
    stage.clock.advance(Duration::from_secs(30));
    stage.until("fragile", "drained", |progress| progress.delivered == 5).await;
    eventually("closed", async || facts.read().circuit.is_none()).await;
    assert_ne!(facts.standing(), open, "so that whoever writes the status notices");
    let conditions = view.conditions(&grapnel::catalog::JournalReading::default());
    assert_eq!((conditions[0].status.as_str(), conditions[0].reason.as_str()), ("True", "Succeeding"));
    stage.stop().await;
}
