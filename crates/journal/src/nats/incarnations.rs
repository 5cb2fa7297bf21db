//! Which object has an endpoint's name at present: one row on the brokers for each name, which any replica changes by
//! compare-and-set, and which every replica remembers. A name without objects and events is forgotten.

use std::{
    collections::{HashMap, HashSet},
    future::ready,
    sync::Arc,
};

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use grapnel_api::{Incarnation, ObjectKey};
use jiff::{SignedDuration, Timestamp};
use parking_lot::{Mutex, RwLock};

use super::{
    broker::{Broker, Expected, Message, Publication, PublishError, ReadFrom},
    error::{from_broker, from_publish},
    layout::Layout,
    replica::Replica,
    retry::Attempts,
};
use crate::{
    JournalError, Result,
    limits::{FORMER_UIDS, NATS_LOOKUPS, NATS_NAMES_AGE, NATS_NAMES_INTERVAL, NATS_NAMES_REMOVED, NATS_PUBLISH_TRY},
};

/// The objects of one name.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
struct Row {
    /// The uid of the current object.
    uid: String,
    /// The uids of earlier objects, the latest first.
    former: Vec<String>,
}

impl Row {
    fn first(uid: &str) -> Self {
        Self { uid: uid.into(), former: Vec::new() }
    }

    /// Returns the row after another object took the name.
    fn replaced_by(self, uid: &str) -> Self {
        let former = std::iter::once(self.uid).chain(self.former).take(FORMER_UIDS).collect();
        Self { uid: uid.into(), former }
    }
}

/// The incarnations that this replica has seen.
#[derive(Default)]
pub(super) struct Incarnations {
    known: RwLock<HashMap<ObjectKey, Arc<Row>>>,
    /// When the rows were swept last.
    swept: Mutex<Option<Timestamp>>,
}

impl Incarnations {
    /// Returns whether this object has the name at present, as far as this replica knows; `None` if it knows nothing.
    fn knows(&self, endpoint: &Incarnation) -> Option<bool> {
        self.known.read().get(&endpoint.key).map(|row| *row.uid == *endpoint.uid)
    }

    fn learn(&self, endpoint: &ObjectKey, row: Row) {
        self.known.write().insert(endpoint.clone(), Arc::new(row));
    }

    /// Returns whether this object has the name at present. A name without a row belongs to any object that asks.
    pub(super) async fn is_current(&self, broker: &Broker, layout: &Layout, endpoint: &Incarnation) -> Result<bool> {
        // What was an earlier object to this replica may have become the current one.
        if self.knows(endpoint) == Some(true) {
            return Ok(true);
        }
        let Some((row, _)) = read(broker, layout, &endpoint.key).await? else { return Ok(true) };
        let current = *row.uid == *endpoint.uid;
        self.learn(&endpoint.key, row);
        Ok(current)
    }

    /// Makes this object the current one of its name, unless it is already.
    ///
    /// # Errors
    ///
    /// [`JournalError::EndpointReplaced`] if it was, and another one has followed.
    pub(super) async fn begin(&self, broker: &Broker, layout: &Layout, endpoint: &Incarnation) -> Result<()> {
        if self.knows(endpoint) == Some(true) {
            return Ok(());
        }
        let subject = layout.row(&layout.endpoint_row(&endpoint.key));
        let mut attempts = Attempts::begin();
        loop {
            let (row, revision) = match read(broker, layout, &endpoint.key).await? {
                None => (Row::first(&endpoint.uid), 0),
                Some((row, _)) if *row.uid == *endpoint.uid => {
                    self.learn(&endpoint.key, row);
                    return Ok(());
                }
                Some((row, _)) if row.former.iter().any(|uid| **uid == *endpoint.uid) => {
                    self.learn(&endpoint.key, row);
                    return Err(JournalError::EndpointReplaced(endpoint.key.clone()));
                }
                Some((row, revision)) => (row.replaced_by(&endpoint.uid), revision),
            };
            let publication = Publication {
                subject: subject.clone(),
                headers: Vec::new(),
                payload: Bytes::from(serde_json::to_vec(&row).unwrap_or_default()),
                expected: Some(Expected::LastOnSubject(revision)),
                ttl: None,
            };
            match broker.publish(&publication, NATS_PUBLISH_TRY).await {
                Ok(_) => {
                    self.learn(&endpoint.key, row);
                    return Ok(());
                }
                // Another replica was faster, or this is the answer to an attempt that timed out: the row tells.
                Err(PublishError::WrongLast(_) | PublishError::InFlight) => {
                    attempts.again("the row is changing").await?
                }
                Err(error) => attempts.after(from_publish(error)).await?,
            }
        }
    }
}

impl Replica {
    /// Forgets the names that are not among the listed ones, in memory, and on the brokers the names of the shards of
    /// this replica of which nothing is kept. Asks the brokers at most once in [`NATS_NAMES_INTERVAL`].
    ///
    /// A request of an object that is gone may make its row anew: then the next sweep finds it.
    pub(super) async fn sweep_names(&self, listed: &HashSet<ObjectKey>, now: Timestamp) -> Result<()> {
        self.incarnations.known.write().retain(|name, _| listed.contains(name));
        let was = *self.incarnations.swept.lock();
        if was.is_some_and(|swept| now.duration_since(swept).unsigned_abs() < NATS_NAMES_INTERVAL) {
            return Ok(());
        }
        let (stream, filter) = (self.layout.meta_stream(), self.layout.row("endpoint.>"));
        let rows = self.broker.rows_after(&stream, &filter, 0).await.map_err(from_broker)?;
        let is_gone = |row: &Message| {
            let Some(name) = self.layout.key_of_row(&row.subject).and_then(|key| self.layout.endpoint_of_row(key))
            else {
                return false;
            };
            let is_old = now.duration_since(row.time) >= SignedDuration::try_from(NATS_NAMES_AGE).unwrap_or_default();
            let owned = self.owned(self.layout.shard_of(&name));
            is_old && !listed.contains(&name) && owned.is_some_and(|owned| !owned.state().has_endpoint(&name))
        };
        // A row that was replaced meanwhile is another message.
        let gone = rows.into_iter().filter(is_gone).take(NATS_NAMES_REMOVED).map(|row| row.sequence);
        let removals: Vec<_> = gone.map(|sequence| self.broker.delete(&stream, sequence)).collect();
        stream::iter(removals)
            .buffer_unordered(NATS_LOOKUPS)
            .try_for_each(|_| ready(Ok(())))
            .await
            .map_err(from_broker)?;
        *self.incarnations.swept.lock() = Some(now);
        Ok(())
    }
}

async fn read(broker: &Broker, layout: &Layout, endpoint: &ObjectKey) -> Result<Option<(Row, u64)>> {
    let subject = layout.row(&layout.endpoint_row(endpoint));
    let message = broker.last(&layout.meta_stream(), &subject, ReadFrom::Leader).await.map_err(from_broker)?;
    let Some(message) = message else { return Ok(None) };
    match serde_json::from_slice(&message.payload) {
        Ok(row) => Ok(Some((row, message.sequence))),
        Err(error) => Err(JournalError::Damaged(format!("the row {subject}: {error}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_remembers_a_bounded_number_of_objects() {
        let mut row = Row::first("0");
        for n in 1..=FORMER_UIDS + 3 {
            row = row.replaced_by(&n.to_string());
        }
        assert_eq!((row.uid, row.former.len()), ((FORMER_UIDS + 3).to_string(), FORMER_UIDS));
        assert_eq!(row.former.first(), Some(&(FORMER_UIDS + 2).to_string()));
    }
}
