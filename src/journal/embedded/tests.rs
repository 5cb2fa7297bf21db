use std::sync::Arc;

use bytes::Bytes;

use super::*;
use crate::{journal::validated, rules::limits::JOURNAL_HEAL_INTERVAL};

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
    engine.inbox.take(&mut round);
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
