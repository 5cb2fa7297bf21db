use std::sync::Arc;

use bytes::Bytes;

use super::*;
use crate::{
    journal::{Failure, validated},
    rules::limits::JOURNAL_HEAL_INTERVAL,
};

fn incoming(engine: &Engine, id: &str) -> Incoming {
    let endpoint = engine.endpoint(&ObjectKey::new("shop", "in"));
    let arrival = Arrival {
        endpoint: endpoint.key.clone(),
        validated: validated(id, "t", Bytes::from_static(b"{}")),
        received: Timestamp::UNIX_EPOCH,
        content_type: None,
        remote: None,
        headers: Vec::new(),
        window: Some(std::time::Duration::from_secs(1)),
    };
    Incoming {
        index_key: record::key::index(endpoint.number, id),
        row: record::encode_event(&arrival),
        received: arrival.received,
        window: arrival.window,
        endpoint,
    }
}

/// One round of the committer with one append.
async fn append(committer: &mut Committer, id: &str) -> Result<Vec<Appended>> {
    let (answer, answered) = oneshot::channel();
    let engine = committer.engine.clone();
    engine.inbox.append(Append { events: vec![incoming(&engine, id)], answer }, 1).await?;
    let mut round = inbox::Round::default();
    engine.inbox.take(&mut round, None);
    committer.round(&mut round);
    answered.await.unwrap()
}

/// After a failed write nothing is acknowledged until the files have been opened again, and then
/// everything that had been acknowledged is there.
#[tokio::test]
async fn a_failed_write_is_never_passed_over() {
    let directory = tempfile::tempdir().unwrap();
    let options = EmbeddedOptions { directory: directory.path().to_owned(), max_bytes: 0 };
    let engine = Arc::new(Engine::open(&options).unwrap());
    let mut committer = Committer::new(engine.clone());
    assert_eq!(append(&mut committer, "a").await.unwrap(), [Appended::Stored(1)]);

    let failure = || JournalError::Io("the disk is on fire".into(), None);
    committer.write::<()>(|_| Err(failure())).unwrap_err();
    let refused = append(&mut committer, "b").await.unwrap_err();
    assert!(matches!(&refused, JournalError::Io(why, _) if why.contains("on fire")), "{refused}");

    let full = || JournalError::Full("no space left".into());
    committer.fail_since(std::time::Instant::now() - JOURNAL_HEAL_INTERVAL, &full());
    // The next round opens the files again before it writes.
    assert_eq!(append(&mut committer, "c").await.unwrap(), [Appended::Stored(2)]);
    let endpoint = engine.endpoint(&ObjectKey::new("shop", "in"));
    let query = EventQuery { limit: 10, ..Default::default() };
    let events = engine.read(|store| read::events(store, &endpoint, &query)).unwrap();
    assert_eq!(events.iter().map(|event| &*event.id).collect::<Vec<_>>(), ["a", "c"]);

    // A disk that is full says so to every caller.
    committer.fail_since(std::time::Instant::now(), &full());
    assert!(matches!(append(&mut committer, "d").await, Err(JournalError::Full(_))));
}

/// Has the committer do one task.
async fn ask<T>(committer: &mut Committer, task: impl FnOnce(Answer<T>) -> Task) -> Result<T> {
    let (answer, answered) = oneshot::channel();
    let engine = committer.engine.clone();
    engine.inbox.task(task(answer)).await?;
    let mut round = inbox::Round::default();
    engine.inbox.take(&mut round, None);
    committer.round(&mut round);
    answered.await.unwrap()
}

/// Events 1 and 2, claimed for the one consumer there is.
async fn two_in_flight(committer: &mut Committer) -> Arc<Consumer> {
    let engine = committer.engine.clone();
    let (out, endpoint) = (ObjectKey::new("shop", "out"), engine.endpoint(&ObjectKey::new("shop", "in")));
    let attach =
        |answer| Task::Attach(membership::Attach { consumer: out.clone(), endpoint, start: Start::Now, answer });
    ask(committer, attach).await.unwrap();
    append(committer, "a").await.unwrap();
    append(committer, "b").await.unwrap();
    let consumer = engine.consumers.read().get(&out).unwrap().clone();
    let claimed = claim::claim(&engine, &consumer, 10, Timestamp::UNIX_EPOCH).await.unwrap();
    assert_eq!(claimed.deliveries.len(), 2);
    consumer
}

fn requeue(consumer: &Arc<Consumer>, sequences: Vec<Sequence>, epoch: u64) -> impl FnOnce(Answer<Option<u64>>) -> Task {
    let consumer = consumer.clone();
    move |answer| Task::Requeue(redeliver::Requeue::new(consumer, epoch, sequences, Timestamp::UNIX_EPOCH, answer))
}

/// What a sweep has planned to remove is not removed once it is queued again, and what a redelivery has chosen is not
/// queued once it has been removed: whichever comes second decides anew.
#[tokio::test]
async fn sweeps_and_redeliveries_know_of_each_other() {
    let directory = tempfile::tempdir().unwrap();
    let options = EmbeddedOptions { directory: directory.path().to_owned(), max_bytes: 0 };
    let engine = Arc::new(Engine::open(&options).unwrap());
    let mut committer = Committer::new(engine.clone());
    let consumer = two_in_flight(&mut committer).await;
    let endpoint = consumer.endpoint.clone();
    let ends = [1, 2].map(|sequence| (sequence, End::Settled(Settlement::Delivered))).into();
    let settle = |answer| Task::Settle(Settle { consumer: consumer.clone(), ends, gap: None, answer });
    ask(&mut committer, settle).await.unwrap();

    let epoch = || endpoint.epoch.load(Ordering::Acquire);
    let plan = || {
        engine
            .read(|store| sweep::plan(store, &endpoint, 1, sweep::Wanted::Bytes(u64::MAX), Timestamp::UNIX_EPOCH))
            .unwrap()
    };
    let remove = |plan| move |answer| Task::Remove(sweep::Remove { plan, answer });
    let (planned, chosen) = (plan(), epoch());
    assert_eq!(ask(&mut committer, requeue(&consumer, vec![1], chosen)).await.unwrap(), Some(1));
    assert_eq!(ask(&mut committer, remove(planned)).await.unwrap(), None);
    let (planned, chosen) = (plan(), epoch());
    assert_eq!(ask(&mut committer, remove(planned)).await.unwrap(), Some(1), "what is not queued goes");
    assert_eq!(ask(&mut committer, requeue(&consumer, vec![2], chosen)).await.unwrap(), None);
    assert_eq!(consumer.progress(), Progress { pending: 1, delivered: 2, ..Default::default() });
    assert_eq!(claim::claim(&engine, &consumer, 10, Timestamp::UNIX_EPOCH).await.unwrap().deliveries.len(), 1);
}

/// A redelivery whose write failed, but reached the disk all the same: what it queued is delivered, and counted, once the
/// files have been opened again, and not only after the next start.
#[tokio::test]
async fn what_a_failed_redelivery_wrote_is_known() {
    let directory = tempfile::tempdir().unwrap();
    let options = EmbeddedOptions { directory: directory.path().to_owned(), max_bytes: 0 };
    let engine = Arc::new(Engine::open(&options).unwrap());
    let mut committer = Committer::new(engine.clone());
    let consumer = two_in_flight(&mut committer).await;
    let endpoint = consumer.endpoint.clone();
    let now = Timestamp::UNIX_EPOCH;
    let claim = || claim::claim(&engine, &consumer, 10, now);
    let failure = Failure { time: now, reason: "status".into(), status: None, message: "".into() };
    let ends = vec![
        (1, End::Settled(Settlement::Dead { failure: failure.clone() })),
        (2, End::Settled(Settlement::Dead { failure })),
    ];
    let settle = |answer| Task::Settle(Settle { consumer: consumer.clone(), ends, gap: None, answer });
    ask(&mut committer, settle).await.unwrap();

    let before = consumer.state().cursor.clone();
    let epoch = endpoint.epoch.load(Ordering::Acquire);
    let requeue = |sequences, epoch| requeue(&consumer, sequences, epoch);
    assert_eq!(ask(&mut committer, requeue(vec![2], epoch)).await.unwrap(), Some(1));
    // As memory would be if that had been answered with an error.
    {
        let mut state = consumer.state();
        state.cursor = before;
        state.due.take(now).unwrap();
        state.doubtful = true;
    }
    committer.fail_since(std::time::Instant::now() - JOURNAL_HEAL_INTERVAL, &JournalError::Full("full".into()));
    // Chosen before: what has been queued since may have changed everything.
    assert_eq!(ask(&mut committer, requeue(vec![1], epoch)).await.unwrap(), None);
    assert_eq!(consumer.progress(), Progress { pending: 1, dead: 1, ..Default::default() });
    let epoch = endpoint.epoch.load(Ordering::Acquire);
    assert_eq!(ask(&mut committer, requeue(vec![1, 2], epoch)).await.unwrap(), Some(1));
    let claimed = claim().await.unwrap();
    let claimed: Vec<_> = claimed.deliveries.iter().map(|d| (d.event.sequence, d.attempt)).collect();
    assert_eq!(claimed, [(1, 1), (2, 1)]);
    assert_eq!(consumer.progress(), Progress { in_flight: 2, ..Default::default() });
}
