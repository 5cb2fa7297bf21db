//! Consumers come and go.

use std::sync::{Arc, atomic::Ordering};

use super::{
    Engine,
    commit::{Answer, Committer, Task},
    consumer::Consumer,
    cursor::Cursor,
    endpoint::Endpoint,
    store::{Store, from_fjall},
};
use crate::{
    api::ObjectKey,
    journal::{
        JournalError, Result, Sequence, Start,
        record::{encode_u32, key},
    },
    rules::limits::SWEEP_STEP,
};

/// A consumer to attach.
pub(super) struct Attach {
    pub(super) consumer: ObjectKey,
    pub(super) endpoint: Arc<Endpoint>,
    pub(super) start: Start,
    pub(super) answer: Answer<()>,
}

/// A consumer to forget; answers its number, if it was there.
pub(super) struct Detach {
    pub(super) consumer: ObjectKey,
    pub(super) answer: Answer<Option<u32>>,
}

/// Already attached to that endpoint, to another one, or not at all.
pub(super) fn attached(engine: &Engine, consumer: &ObjectKey, endpoint: &ObjectKey) -> Result<bool> {
    match engine.consumers.read().get(consumer) {
        None => Ok(false),
        Some(found) if found.endpoint.key == *endpoint => Ok(true),
        Some(found) => {
            Err(JournalError::EndpointChanged { consumer: consumer.clone(), endpoint: found.endpoint.key.clone() })
        }
    }
}

impl Committer {
    pub(super) fn attach(&mut self, attach: Attach) {
        let Attach { consumer, endpoint, start, answer } = attach;
        let outcome = attached(&self.engine, &consumer, &endpoint.key)
            .and_then(|there| if there { Ok(()) } else { self.attach_new(consumer, endpoint, start) });
        let _ = answer.send(outcome);
    }

    fn attach_new(&mut self, consumer: ObjectKey, endpoint: Arc<Endpoint>, start: Start) -> Result<()> {
        let number = self.engine.next_consumer.load(Ordering::Acquire);
        let row = endpoint.row.lock().clone();
        let cursor = self.write(|store| {
            let (start, missing) = match start {
                Start::Now => (row.head, 0),
                Start::Earliest => {
                    let start = oldest(store, &endpoint, row.oldest)?.map_or(row.head, |first| first - 1);
                    (start, (row.head - start).saturating_sub(row.count))
                }
            };
            let cursor = Cursor::new(start, missing);
            let consumer_row = cursor.to_row(&consumer.namespace, &consumer.name, endpoint.number);
            let mut batch = store.batch(3);
            batch.insert(&store.state, key::numbered(key::CONSUMERS, number), consumer_row.encode());
            batch.insert(&store.state, key::numbered(key::ENDPOINTS, endpoint.number), row.encode());
            batch.insert(&store.state, key::NUMBERS, encode_u32(number.saturating_add(1)));
            store.commit_durably(batch)?;
            Ok(cursor)
        })?;
        self.engine.next_consumer.store(number.saturating_add(1), Ordering::Release);
        let attached = Arc::new(Consumer::new(consumer.clone(), number, endpoint.clone(), cursor));
        endpoint.consumers.write().push(attached.clone());
        endpoint.epoch.fetch_add(1, Ordering::AcqRel);
        self.engine.consumers.write().insert(consumer, attached);
        Ok(())
    }

    pub(super) fn detach(&mut self, detach: Detach) {
        let found = self.engine.consumers.read().get(&detach.consumer).cloned();
        let outcome = match found {
            None => Ok(None),
            Some(consumer) => self.forget_consumer(&consumer).map(|()| Some(consumer.number)),
        };
        let _ = detach.answer.send(outcome);
    }

    fn forget_consumer(&mut self, consumer: &Arc<Consumer>) -> Result<()> {
        self.write(|store| {
            let mut batch = store.batch(1);
            batch.remove(&store.state, key::numbered(key::CONSUMERS, consumer.number));
            store.commit_durably(batch)
        })?;
        self.engine.consumers.write().remove(&consumer.key);
        consumer.endpoint.consumers.write().retain(|other| other.number != consumer.number);
        consumer.state().detached = true;
        consumer.notify.notify_waiters();
        self.reclaim.something_settled();
        Ok(())
    }
}

/// The first event that is kept, at or after `from`.
pub(super) fn oldest(store: &Store, endpoint: &Endpoint, from: Sequence) -> Result<Option<Sequence>> {
    let range = key::event(endpoint.number, from)..=key::event(endpoint.number, Sequence::MAX);
    let Some(first) = store.events.range(range).next() else { return Ok(None) };
    Ok(Some(key::event_sequence(&first.key().map_err(from_fjall)?)?))
}

/// Removes the exceptions of consumers that are gone, step by step. What a crash leaves behind is
/// found when the journal is opened.
pub(super) async fn purge(engine: &Arc<Engine>, number: u32) -> Result<()> {
    loop {
        let keys = engine
            .blocking(move |store| {
                let mut keys = Vec::new();
                for prefix in [key::EXCEPTIONS, key::DUE, key::DEATHS] {
                    for row in store.state.prefix(key::numbered(prefix, number)).take(SWEEP_STEP) {
                        keys.push(row.key().map_err(from_fjall)?.into());
                    }
                }
                Ok(keys)
            })
            .await?;
        if keys.is_empty() {
            return Ok(());
        }
        engine.ask(|answer| Task::Erase(keys, answer)).await?;
    }
}
