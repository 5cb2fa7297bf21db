//! Replays on a journal in memory, with objects as the index publishes them.

use std::{
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use grapnel_api::{Incarnation, Reason, WebhookEndpoint, WebhookReplay, WebhookSubscription};
use grapnel_journal::{
    Arrival, Claim, DeliveryQuery, Exchange, Failure, RedeliveryStep, Retention, Selection, Settlement, Start,
    memory::MemoryJournal, testing::validated,
};
use grapnel_values::clock::ManualClock;
use jiff::Timestamp;
use parking_lot::Mutex;
use serde_json::{Value, json};

use super::*;
use crate::{
    catalog::{
        Age, Applied, Change, JournalReading, ObjectIndex, ObjectKind, ObjectView, Options, ReplayReading,
        replay::{ReplayCounts, ReplayEnd, ReplayHold},
    },
    telemetry::metrics::Metrics,
};

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + second).unwrap()
}

fn key(name: &str) -> ObjectKey {
    ObjectKey::new("shop", name)
}

fn object(name: &str) -> Incarnation {
    Incarnation::of_file(key(name))
}

fn applied<T: serde::de::DeserializeOwned>(kind: &str, name: &str, spec: Value, uid: Option<&str>) -> Box<Applied<T>> {
    let metadata = json!({ "namespace": "shop", "name": name });
    let object = json!({ "apiVersion": "grapnel.dev/v1beta1", "kind": kind, "metadata": metadata, "spec": spec });
    Box::new(Applied {
        key: key(name),
        object: serde_json::from_value(object).unwrap(),
        source: None,
        age: Age::default(),
        uid: uid.map(Into::into),
    })
}

fn subscription(more: Value) -> Change {
    let mut spec = json!({ "endpointRef": { "name": "in" }, "target": { "url": "https://receiver.example" } });
    spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    Change::Subscription(applied::<WebhookSubscription>("WebhookSubscription", "out", spec, None))
}

fn replay(name: &str, select: Value, more: Value) -> Change {
    let mut spec = json!({ "subscriptionRef": { "name": "out" }, "select": select });
    spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    Change::Replay(applied::<WebhookReplay>("WebhookReplay", name, spec, Some("uid-of-the-replay")))
}

fn dead_letters() -> Value {
    json!({ "deadLettered": true })
}

/// Keeps the progress as a status does.
#[derive(Default)]
struct Kept {
    readings: Mutex<HashMap<ObjectKey, ReplayReading>>,
    /// Another process runs the replays.
    is_other: AtomicBool,
}

#[async_trait]
impl ProgressStore for Kept {
    fn may_act(&self) -> bool {
        !self.is_other.load(Relaxed)
    }

    fn recall(&self, replay: &ObjectView) -> Option<ReplayReading> {
        self.readings.lock().get(&replay.key).cloned()
    }

    async fn keep(&self, objects: &[Arc<ObjectView>]) -> bool {
        let read = |view: &Arc<ObjectView>| match &view.facts {
            Facts::Replay(facts) => Some((view.key.clone(), facts.read())),
            _ => None,
        };
        *self.readings.lock() = objects.iter().filter_map(read).collect();
        true
    }
}

/// The objects, the journal and the replays.
struct Stage {
    index: ObjectIndex,
    journal: Arc<MemoryJournal>,
    clock: Arc<ManualClock>,
    store: Arc<Kept>,
    snapshot: watch::Sender<Arc<Snapshot>>,
    objects: watch::Sender<ObjectViews>,
    replayer: Replayer,
    state: State,
}

impl Stage {
    /// An endpoint `in` with a subscription `out`.
    async fn new() -> Self {
        let stage = Self::with(Arc::new(MemoryJournal::new(Default::default())), Arc::new(Kept::default()));
        stage.journal.attach(&object("out"), &object("in"), Start::Now).await.unwrap();
        stage
    }

    fn with(journal: Arc<MemoryJournal>, store: Arc<Kept>) -> Self {
        let clock = Arc::new(ManualClock::new(at(100)));
        let (snapshot, snapshots) = watch::channel(Arc::default());
        let (objects, views) = watch::channel(Arc::default());
        let replayer = Replayer {
            snapshot: snapshots,
            objects: views,
            journal: Arc::clone(&journal) as Arc<dyn Journal>,
            clock: Arc::clone(&clock) as Arc<dyn Clock>,
            store: Arc::clone(&store) as Arc<dyn ProgressStore>,
        };
        let index = ObjectIndex::new(Options::default(), Metrics::new());
        let state = State::default();
        let mut stage = Self { index, journal, clock, store, snapshot, objects, replayer, state };
        let endpoint = json!({ "verification": { "none": {} } });
        let endpoint = applied::<WebhookEndpoint>("WebhookEndpoint", "in", endpoint, None);
        stage.apply([Change::Endpoint(endpoint), subscription(json!({})), Change::Synced(true)]);
        stage
    }

    /// Another process, with what the earlier one has kept.
    fn restarted(self, changes: impl IntoIterator<Item = Change>) -> Self {
        let mut stage = Self::with(Arc::new(self.journal.reopen()), self.store);
        stage.apply(changes);
        stage
    }

    fn apply(&mut self, changes: impl IntoIterator<Item = Change>) {
        changes.into_iter().for_each(|change| self.index.apply(change));
        if let Some(published) = self.index.publish() {
            self.objects.send_replace(published.objects);
            self.snapshot.send_replace(published.snapshot);
        }
    }

    async fn append(&self, ids: &[&str], second: i64) {
        let arrival = |id: &&str| Arrival {
            endpoint: object("in"),
            validated: validated(id, "order.created", Bytes::from(format!("{{\"id\":\"{id}\"}}"))),
            received: at(second),
            content_type: Some("application/json".into()),
            remote: None,
            headers: Vec::new(),
            window: None,
            max_bytes: None,
        };
        self.journal.append(ids.iter().map(arrival).collect()).await.unwrap();
    }

    /// Settles everything that is due. Returns the ids.
    async fn settle(&self, end: impl Fn(Timestamp) -> Settlement) -> Vec<String> {
        let now = self.clock.now();
        let claimed = self.journal.claim(&object("out"), Claim::new(10_000, now)).await.unwrap().deliveries;
        let settlements = claimed.iter().map(|delivery| (delivery.event.sequence, end(now))).collect();
        self.journal.settle(&object("out"), settlements).await.unwrap();
        claimed.iter().map(|delivery| delivery.event.id.to_string()).collect()
    }

    async fn deliver(&self) -> Vec<String> {
        self.settle(|time| Settlement::Delivered(Exchange { time, status: Some(200), took: Duration::ZERO })).await
    }

    async fn fail(&self) -> Vec<String> {
        self.settle(|time| Settlement::Dead {
            failure: Failure {
                time,
                reason: "status".into(),
                status: Some(500),
                took: Duration::ZERO,
                message: "out of order".into(),
            },
        })
        .await
    }

    /// Continues until there is nothing to do at once.
    async fn run(&mut self) {
        let shutdown = CancellationToken::new();
        while self.replayer.pass(&mut self.state, &shutdown).await == Duration::ZERO {}
    }

    fn view(&self, name: &str) -> Arc<ObjectView> {
        let objects = self.objects.borrow();
        objects.iter().find(|view| view.kind == ObjectKind::Replay && view.key == key(name)).unwrap().clone()
    }

    fn reading(&self, name: &str) -> ReplayReading {
        let Facts::Replay(facts) = &self.view(name).facts else { panic!("facts of a replay") };
        facts.read()
    }

    fn counts(&self, name: &str) -> ReplayCounts {
        self.reading(name).counts
    }

    fn end(&self, name: &str) -> Option<ReplayEnd> {
        self.reading(name).ended.map(|(_, end)| end)
    }

    /// The reason of `Complete`.
    fn reason(&self, name: &str) -> Reason {
        let conditions = self.view(name).conditions(&JournalReading::default());
        conditions.iter().find(|it| it.kind == grapnel_api::ConditionType::Complete).unwrap().reason
    }
}

fn counts(matched: u64, queued: u64) -> ReplayCounts {
    ReplayCounts { matched, queued, ..ReplayCounts::default() }
}

#[tokio::test]
async fn dead_letters_are_delivered_again_and_followed_to_their_end() {
    let mut stage = Stage::new().await;
    stage.append(&["a", "b", "c"], 0).await;
    stage.fail().await;
    stage.append(&["d"], 1).await;
    stage.apply([replay("again", dead_letters(), json!({}))]);
    stage.run().await;
    assert_eq!((stage.counts("again"), stage.end("again")), (counts(3, 3), None));
    assert_eq!(stage.reason("again"), Reason::Progressing);
    let claimed = stage.journal.claim(&object("out"), Claim::new(2, at(100))).await.unwrap().deliveries;
    let delivered = Settlement::Delivered(Exchange { time: at(100), status: Some(200), took: Duration::ZERO });
    let settlements = claimed.iter().map(|delivery| (delivery.event.sequence, delivered.clone())).collect();
    stage.journal.settle(&object("out"), settlements).await.unwrap();
    stage.run().await;
    assert_eq!(stage.counts("again"), ReplayCounts { delivered: 2, ..counts(3, 3) });
    assert_eq!(stage.fail().await, ["c", "d"]);
    stage.run().await;
    assert_eq!(stage.counts("again"), ReplayCounts { delivered: 2, failed: 1, ..counts(3, 3) });
    assert_eq!((stage.end("again"), stage.reason("again")), (Some(ReplayEnd::Completed), Reason::Completed));
    // What has died again, or since, is not delivered again.
    stage.run().await;
    assert!(stage.deliver().await.is_empty());
}

#[tokio::test]
async fn a_replay_of_nothing_knows_that_the_endpoint_has_events_from_before_the_subscription() {
    let select = json!({ "since": at(0).to_string() });
    for is_new in [true, false] {
        let mut stage = Stage::with(Arc::new(MemoryJournal::new(Default::default())), Arc::new(Kept::default()));
        // An event that only an earlier subscription of the name has received.
        stage.journal.attach(&Incarnation::of_file(key("other")), &object("in"), Start::Now).await.unwrap();
        if is_new {
            stage.append(&["a"], 10).await;
        }
        stage.journal.attach(&object("out"), &object("in"), Start::Now).await.unwrap();
        stage.apply([replay("again", select.clone(), json!({}))]);
        stage.run().await;
        assert_eq!((stage.counts("again"), stage.end("again")), (counts(0, 0), Some(ReplayEnd::Completed)));
        assert_eq!(stage.reading("again").earlier_events, is_new);
    }
    let mut stage = Stage::new().await;
    stage.append(&["a"], 10).await;
    stage.deliver().await;
    stage.apply([replay("again", dead_letters(), json!({}))]);
    stage.run().await;
    assert_eq!((stage.counts("again"), stage.reading("again").earlier_events), (counts(0, 0), false));
}

#[tokio::test]
async fn a_time_range_and_a_filter_select_and_a_dry_run_counts() {
    let mut stage = Stage::new().await;
    for (second, id) in [(0, "a"), (10, "b"), (20, "c"), (30, "d")] {
        stage.append(&[id], second).await;
    }
    stage.deliver().await;
    let range = json!({ "since": at(10).to_string(), "until": at(30).to_string() });
    let filter = json!({ "filter": "payload.id != 'b' && payload.missing.field == 1 || payload.id == 'c'" });
    let mut dry = filter.clone();
    dry["dryRun"] = true.into();
    stage.apply([replay("dry", range.clone(), dry), replay("wet", range, filter)]);
    stage.run().await;
    assert_eq!((stage.counts("dry"), stage.end("dry")), (counts(1, 0), Some(ReplayEnd::Completed)));
    assert_eq!(stage.counts("wet"), counts(1, 1));
    assert_eq!(stage.deliver().await, ["c"]);
    stage.run().await;
    assert_eq!(stage.counts("wet"), ReplayCounts { delivered: 1, ..counts(1, 1) });
}

#[tokio::test]
async fn events_for_which_the_filter_fails_are_left_out_and_counted() {
    let mut stage = Stage::new().await;
    stage.append(&["a", "b"], 0).await;
    stage.fail().await;
    stage.apply([replay("again", dead_letters(), json!({ "filter": "payload.id == 'a' || payload.missing == 1" }))]);
    stage.run().await;
    assert_eq!(stage.counts("again"), ReplayCounts { filter_errors: 1, ..counts(1, 1) });
    assert_eq!(stage.deliver().await, ["a"]);
}

#[tokio::test]
async fn events_that_are_gone_are_counted_and_nothing_is_complete_with_zero() {
    let mut stage = Stage::new().await;
    stage.append(&["gone"], 0).await;
    stage.deliver().await;
    let retention = Retention { endpoints: vec![(object("in"), Duration::ZERO)], consumers: Vec::new() };
    assert_eq!(stage.journal.sweep(retention, at(50)).await.unwrap().events, 1);
    stage.append(&["kept"], 60).await;
    stage.deliver().await;
    let ids = json!({ "ids": ["gone", "never", "kept"] });
    let range = json!({ "until": at(60).to_string() });
    stage.apply([
        replay("ids", ids, json!({})),
        replay("range", range, json!({})),
        replay("nothing", dead_letters(), json!({})),
    ]);
    stage.run().await;
    assert_eq!(stage.counts("ids"), ReplayCounts { gone: 2, ..counts(1, 1) });
    assert_eq!(stage.counts("range"), ReplayCounts { gone: 1, ..counts(0, 0) });
    assert_eq!((stage.counts("nothing"), stage.end("nothing")), (counts(0, 0), Some(ReplayEnd::Completed)));
    assert_eq!(stage.end("range"), Some(ReplayEnd::Completed));
    // Removed before its outcome was read.
    stage.deliver().await;
    let retention = Retention { endpoints: vec![(object("in"), Duration::ZERO)], consumers: Vec::new() };
    stage.journal.sweep(retention, at(200)).await.unwrap();
    stage.run().await;
    assert_eq!(stage.counts("ids"), ReplayCounts { gone: 3, ..counts(1, 1) });
    assert_eq!(stage.end("ids"), Some(ReplayEnd::Completed));
}

#[tokio::test]
async fn two_replays_of_the_same_events_queue_them_once() {
    let mut stage = Stage::new().await;
    stage.append(&["a", "b"], 0).await;
    stage.fail().await;
    let ids = json!({ "ids": ["a", "b"] });
    stage.apply([replay("one", dead_letters(), json!({})), replay("two", ids, json!({}))]);
    stage.run().await;
    assert_eq!(stage.counts("one"), counts(2, 2));
    assert_eq!(stage.counts("two"), ReplayCounts { already_queued: 2, ..counts(2, 2) });
    assert_eq!(stage.deliver().await, ["a", "b"]);
    stage.run().await;
    assert!(stage.deliver().await.is_empty());
    for name in ["one", "two"] {
        assert_eq!((stage.counts(name).delivered, stage.end(name)), (2, Some(ReplayEnd::Completed)), "{name}");
    }
}

#[tokio::test]
async fn a_restart_continues_and_queues_nothing_twice() {
    let mut stage = Stage::new().await;
    let ids: Vec<String> = (0..700).map(|number| number.to_string()).collect();
    stage.append(&ids.iter().map(String::as_str).collect::<Vec<_>>(), 0).await;
    stage.fail().await;
    let again = || replay("again", dead_letters(), json!({}));
    stage.apply([again()]);
    let shutdown = CancellationToken::new();
    let mut delivered = Vec::new();
    let mut rounds = 0;
    while stage.end("again").is_none() {
        stage.replayer.pass(&mut stage.state, &shutdown).await;
        stage.store.keep(&stage.replayer.views()).await;
        if rounds % 2 == 1 {
            delivered.extend(stage.deliver().await);
        }
        stage = stage.restarted([again()]);
        // Before it has recalled anything.
        assert_eq!(stage.reading("again"), ReplayReading::default());
        stage.replayer.recall(&mut stage.state);
        rounds += 1;
        assert!(rounds < 50, "{:?}", stage.reading("again"));
    }
    assert_eq!(stage.counts("again"), ReplayCounts { delivered: 700, ..counts(700, 700) });
    assert_eq!(delivered.len(), 700, "nothing is delivered twice");
    delivered.sort_unstable();
    delivered.dedup();
    assert_eq!(delivered.len(), 700);
}

#[tokio::test]
async fn dead_letters_that_were_delivered_meanwhile_are_not_delivered_again() {
    let mut stage = Stage::new().await;
    let ids: Vec<String> = (0..300).map(|number| number.to_string()).collect();
    stage.append(&ids.iter().map(String::as_str).collect::<Vec<_>>(), 0).await;
    stage.fail().await;
    let again = || replay("again", dead_letters(), json!({}));
    // All are found before they are queued.
    let all = DeliveryQuery { limit: 300, ..DeliveryQuery::default() };
    let found = stage.journal.deliveries(&object("out"), all).await.unwrap().deliveries;
    let found: Vec<_> = found.iter().map(|record| record.event.sequence()).collect();
    stage.apply([again()]);
    let mut reading = ReplayReading { started: Some(at(90)), examined: true, ..ReplayReading::default() };
    reading.counts.matched = 300;
    found.iter().for_each(|sequence| assert!(reading.unqueued.insert(*sequence)));
    stage.store.readings.lock().insert(key("again"), reading);
    // Before a crash the first 100 were queued and have been delivered; a person has redelivered the last one.
    let queued: Vec<_> = found.iter().take(100).chain(found.last()).copied().collect();
    let step = RedeliveryStep { from: None, limit: 300, dry_run: false, now: at(100) };
    stage.journal.redeliver(&object("out"), &Selection::Sequences(queued), step).await.unwrap();
    assert_eq!(stage.deliver().await.len(), 101);
    stage = stage.restarted([again()]);
    stage.run().await;
    let delivered = stage.deliver().await;
    assert_eq!(delivered, ids[100..299], "only what was not delivered meanwhile");
    stage.run().await;
    assert_eq!(stage.counts("again"), ReplayCounts { delivered: 300, already_queued: 101, ..counts(300, 300) });
    assert_eq!(stage.end("again"), Some(ReplayEnd::Completed));
}

#[tokio::test]
async fn only_so_many_events_wait_at_a_time() {
    let mut stage = Stage::new().await;
    let ids: Vec<String> = (0..3000).map(|number| number.to_string()).collect();
    stage.append(&ids.iter().map(String::as_str).collect::<Vec<_>>(), 0).await;
    stage.fail().await;
    stage.apply([replay("again", dead_letters(), json!({}))]);
    let most = crate::catalog::limits::REPLAY_WAITING;
    for waiting in [most, most, 3000 - 2 * most] {
        stage.run().await;
        assert_eq!(stage.reading("again").waiting.len(), waiting);
        assert_eq!(stage.deliver().await.len(), waiting);
    }
    stage.run().await;
    assert_eq!(stage.counts("again"), ReplayCounts { delivered: 3000, ..counts(3000, 3000) });
    assert_eq!(stage.end("again"), Some(ReplayEnd::Completed));
}

#[tokio::test]
async fn a_rate_is_kept() {
    let mut stage = Stage::new().await;
    stage.append(&["a", "b", "c", "d"], 0).await;
    stage.fail().await;
    let slow = json!({ "rate": { "requests": 2, "per": "1h" } });
    stage.apply([replay("again", dead_letters(), slow)]);
    stage.run().await;
    assert_eq!(stage.counts("again").queued, 2);
    stage.run().await;
    assert_eq!(stage.deliver().await, ["a", "b"]);
    stage.run().await;
    let reading = stage.reading("again");
    assert_eq!((reading.counts.queued, reading.counts.delivered, reading.ended), (2, 2, None));
}

#[tokio::test]
async fn a_suspended_replay_queues_nothing_and_goes_on_afterwards() {
    let mut stage = Stage::new().await;
    stage.append(&["a"], 0).await;
    stage.fail().await;
    stage.apply([replay("again", dead_letters(), json!({ "suspend": true }))]);
    stage.run().await;
    assert_eq!((stage.counts("again"), stage.reason("again")), (counts(0, 0), Reason::Suspended));
    assert!(stage.reading("again").started.is_none());
    stage.apply([replay("again", dead_letters(), json!({}))]);
    stage.run().await;
    assert_eq!(stage.deliver().await, ["a"]);
    // What is queued is followed, suspended or not.
    stage.apply([replay("again", dead_letters(), json!({ "suspend": true }))]);
    stage.run().await;
    assert_eq!(stage.end("again"), Some(ReplayEnd::Completed));
}

#[tokio::test]
async fn a_replay_says_what_its_subscription_lacks() {
    let mut stage = Stage::new().await;
    stage.append(&["a"], 0).await;
    stage.fail().await;
    stage.apply([subscription(json!({ "suspend": true })), replay("again", dead_letters(), json!({}))]);
    stage.run().await;
    assert_eq!((stage.counts("again"), stage.reason("again")), (counts(1, 1), Reason::SubscriptionSuspended));
    stage.apply([subscription(json!({}))]);
    stage.run().await;
    assert_eq!(stage.reading("again").hold, None);
    // A consumer that is not there yet.
    stage.journal.detach(&object("out")).await.unwrap();
    stage.run().await;
    assert_eq!(stage.reading("again").hold, Some(ReplayHold::SubscriptionNotReady));
    stage.apply([Change::Gone(ObjectKind::Subscription, key("out"))]);
    stage.run().await;
    assert_eq!(
        (stage.end("again"), stage.reason("again")),
        (Some(ReplayEnd::SubscriptionDeleted), Reason::SubscriptionDeleted)
    );
    // It stays so, although one of the same name comes.
    stage.apply([subscription(json!({}))]);
    stage.run().await;
    assert_eq!(stage.reason("again"), Reason::SubscriptionDeleted);
}

#[tokio::test]
async fn a_replay_waits_for_its_subscription_and_another_one_of_that_name_is_not_it() {
    let mut stage = Stage::new().await;
    stage.append(&["a"], 0).await;
    stage.fail().await;
    stage.apply([Change::Gone(ObjectKind::Subscription, key("out")), replay("again", dead_letters(), json!({}))]);
    stage.run().await;
    assert_eq!((stage.end("again"), stage.reason("again")), (None, Reason::SubscriptionNotFound));
    stage.apply([subscription(json!({}))]);
    stage.run().await;
    assert_eq!(stage.counts("again"), counts(1, 1));
    let mut reading = stage.reading("again");
    reading.subscription_uid = "another".into();
    let Facts::Replay(facts) = &stage.view("again").facts else { panic!("facts of a replay") };
    facts.set(reading);
    stage.run().await;
    assert_eq!(stage.end("again"), Some(ReplayEnd::SubscriptionDeleted));
}

#[tokio::test]
async fn a_deleted_replay_queues_nothing_more() {
    let mut stage = Stage::new().await;
    let ids: Vec<String> = (0..600).map(|number| number.to_string()).collect();
    stage.append(&ids.iter().map(String::as_str).collect::<Vec<_>>(), 0).await;
    stage.fail().await;
    stage.apply([replay("again", dead_letters(), json!({}))]);
    stage.replayer.pass(&mut stage.state, &CancellationToken::new()).await;
    let queued = stage.counts("again").queued;
    assert!(queued > 0 && queued < 600, "{queued}");
    stage.apply([Change::Gone(ObjectKind::Replay, key("again"))]);
    stage.run().await;
    assert_eq!(stage.deliver().await.len() as u64, queued);
    assert!(stage.state.visits.is_empty() && stage.state.recalled.is_empty());
}

#[tokio::test]
async fn only_one_process_acts_and_the_next_one_continues_where_it_was() {
    let mut stage = Stage::new().await;
    stage.append(&["a"], 0).await;
    stage.fail().await;
    stage.apply([replay("again", dead_letters(), json!({}))]);
    stage.store.is_other.store(true, Relaxed);
    stage.run().await;
    assert_eq!(stage.reading("again"), ReplayReading::default());
    assert!(stage.deliver().await.is_empty());
    // What the other one has done.
    let other = ReplayReading {
        counts: ReplayCounts { delivered: 1, ..counts(1, 1) },
        started: Some(at(90)),
        examined: true,
        ..ReplayReading::default()
    };
    stage.store.readings.lock().insert(key("again"), other.clone());
    stage.store.is_other.store(false, Relaxed);
    stage.run().await;
    let reading = stage.reading("again");
    assert_eq!((reading.counts, reading.ended), (other.counts, Some((at(100), ReplayEnd::Completed))));
    assert!(stage.deliver().await.is_empty(), "nothing is queued again");
}

#[tokio::test]
async fn a_file_keeps_the_progress_of_what_has_begun() {
    let parent = tempfile::tempdir().unwrap();
    let directory = parent.path().join("created/with/its/parents");
    let mut stage = Stage::new().await;
    stage.append(&["a"], 0).await;
    stage.fail().await;
    stage.apply([
        replay("again", dead_letters(), json!({})),
        replay("not-begun", dead_letters(), json!({ "suspend": true })),
    ]);
    stage.run().await;
    let store = FileStore::open(&directory).unwrap();
    assert!(store.recall(&stage.view("again")).is_none());
    assert!(store.keep(&stage.replayer.views()).await);
    let store = FileStore::open(&directory).unwrap();
    let recalled = store.recall(&stage.view("again")).unwrap();
    assert_eq!(recalled, ReplayReading { hold: None, ..stage.reading("again") });
    assert!(store.recall(&stage.view("not-begun")).is_none());
    let other = ObjectView { uid: Some("another-content".into()), ..(*stage.view("again")).clone() };
    assert!(store.recall(&other).is_none());
    // What is no longer defined is forgotten, at once and for later.
    assert!(store.keep(&[]).await);
    assert!(store.recall(&stage.view("again")).is_none());
    assert!(FileStore::open(&directory).unwrap().recall(&stage.view("again")).is_none());
    for (text, expected) in
        [("{", "does not have the expected form"), (r#"{"version":2,"replays":[]}"#, "another version")]
    {
        std::fs::write(directory.join("replays.json"), text).unwrap();
        let error = anyhow::Error::from(FileStore::open(&directory).err().unwrap());
        assert!(format!("{error:#}").contains(expected), "{error:#}");
    }
}
