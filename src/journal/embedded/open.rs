//! From files to memory, at the start and after a failed write.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, AtomicU64},
    },
};

use bytes::Bytes;
use fjall::PersistMode;
use parking_lot::{Mutex, RwLock};

use super::{
    EmbeddedOptions, Engine,
    compact::Garbage,
    consumer::Consumer,
    cursor::Cursor,
    endpoint::{Endpoint, Endpoints},
    inbox::Inbox,
    redeliver::{count_queued, recount},
    store::{Directory, Store, Volume, from_fjall},
};
use crate::{
    api::ObjectKey,
    journal::{
        JournalError, Result,
        record::{ConsumerRow, EndpointRow, decode_u32, key},
    },
    rules::limits::SWEEP_STEP,
};

impl Engine {
    pub(super) fn open(options: &EmbeddedOptions) -> Result<Self> {
        let directory = Directory::open(&options.directory)?;
        let store = directory.open_store()?;
        let mut endpoints = Endpoints::default();
        let mut live_bytes = 0;
        for (number, row) in endpoint_rows(&store)? {
            live_bytes += row.bytes;
            let name = ObjectKey::new(&*row.namespace, &*row.name);
            endpoints.insert(Arc::new(Endpoint::new(name, number, row)));
        }
        let mut consumers = HashMap::new();
        let mut numbers = Vec::new();
        for entry in store.state.prefix([key::CONSUMERS]) {
            let (row_key, row) = entry.into_inner().map_err(from_fjall)?;
            let (number, row) = (key::number(&row_key)?, ConsumerRow::decode(row.into())?);
            let endpoint = endpoints.numbered(row.endpoint).ok_or_else(|| {
                JournalError::Corrupt(format!("consumer {}/{} reads an unknown endpoint", row.namespace, row.name))
            })?;
            let name = ObjectKey::new(&*row.namespace, &*row.name);
            let mut cursor = Cursor::from_row(&row);
            if cursor.retrying > 0 {
                cursor.queued = count_queued(&store, number)?;
            }
            let consumer = Arc::new(Consumer::new(name.clone(), number, endpoint.clone(), cursor));
            endpoint.consumers.write().push(consumer.clone());
            consumers.insert(name, consumer);
            numbers.push(number);
        }
        erase_orphans(&store, &numbers)?;
        let next_consumer = Store::get(&store.state, key::NUMBERS)?.map(decode_u32).transpose()?.unwrap_or(1);
        Ok(Self {
            directory: Mutex::new(Some(directory)),
            store: RwLock::new(Some(store)),
            inbox: Inbox::new(),
            endpoints: RwLock::new(endpoints),
            consumers: RwLock::new(consumers),
            next_consumer: AtomicU32::new(next_consumer),
            live_bytes: AtomicU64::new(live_bytes),
            max_bytes: options.max_bytes,
            garbage: Garbage::default(),
            closing: AtomicBool::new(false),
            trouble: Mutex::new(None),
            busy: Mutex::new(None),
            sweeping: tokio::sync::Mutex::default(),
            redelivering: tokio::sync::Mutex::default(),
        })
    }

    /// Whether a file can be written and synced beside the log.
    pub(super) fn probe(&self) -> Result<()> {
        self.directory.lock().as_ref().ok_or(JournalError::Closed)?.probe()
    }

    /// What the volume says of its size.
    pub(super) fn volume(&self) -> Result<Volume> {
        self.directory.lock().as_ref().ok_or(JournalError::Closed)?.volume()
    }

    /// Opens the files again, from the committer. Consumers stay as they are in memory: their flights
    /// are under way, and memory never runs ahead of the disk. What was answered with an error may be
    /// on disk all the same, so the ends of the logs are read again, and what a redelivery queued.
    pub(super) fn reopen(&self) -> Result<()> {
        let mut slot = self.store.write();
        *slot = None;
        let directory = self.directory.lock();
        let Some(directory) = &*directory else { return Err(JournalError::Closed) };
        let store = directory.open_store()?;
        // Proves that writing works again before anybody relies on it.
        store.sync()?;
        let rows = endpoint_rows(&store)?;
        for consumer in self.consumers.read().values().filter(|consumer| consumer.state().doubtful) {
            recount(&store, consumer)?;
        }
        *slot = Some(store);
        drop(slot);
        let mut live_bytes = 0;
        for (number, row) in rows {
            live_bytes += row.bytes;
            let known = self.endpoints.read().numbered(number).cloned();
            if let Some(endpoint) = known {
                // A removal that failed may be on disk all the same: what was planned with it is planned again.
                endpoint.epoch.fetch_add(1, std::sync::atomic::Ordering::AcqRel);
                endpoint.publish(row);
            }
        }
        self.live_bytes.store(live_bytes, std::sync::atomic::Ordering::Release);
        Ok(())
    }
}

fn endpoint_rows(store: &Store) -> Result<Vec<(u32, EndpointRow)>> {
    let rows = store.state.prefix([key::ENDPOINTS]).map(|entry| {
        let (row_key, row) = entry.into_inner().map_err(from_fjall)?;
        Ok((key::number(&row_key)?, EndpointRow::decode(row.into())?))
    });
    rows.collect()
}

/// Removes the exceptions of consumers whose detaching was interrupted.
fn erase_orphans(store: &Store, numbers: &[u32]) -> Result<()> {
    for prefix in [key::EXCEPTIONS, key::DUE, key::DEATHS] {
        let mut from = key::numbered(prefix, 0).to_vec();
        loop {
            let Some(entry) = store.state.range(from.clone()..vec![prefix + 1]).next() else { break };
            let number = key::number(&entry.key().map_err(from_fjall)?)?;
            if !numbers.contains(&number) {
                loop {
                    let rows = store.state.prefix(key::numbered(prefix, number)).take(SWEEP_STEP);
                    let keys =
                        rows.map(|row| Ok(row.key().map_err(from_fjall)?.into())).collect::<Result<Vec<Bytes>>>()?;
                    if keys.is_empty() {
                        break;
                    }
                    let mut batch = store.batch(keys.len()).durability(Some(PersistMode::Buffer));
                    for key in keys {
                        batch.remove(&store.state, key);
                    }
                    store.commit_lazily(batch)?;
                }
            }
            let Some(next) = number.checked_add(1) else { break };
            from = key::numbered(prefix, next).to_vec();
        }
    }
    Ok(())
}
