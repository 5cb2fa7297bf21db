//! Rows: the last message of each of many subjects, of streams that keep one message of a subject.
//!
//! They are read from any replica, which may lag, and then compared with what the leader has: it knows of nothing newer than the
//! newest row read, and of no row less.

use std::collections::{BTreeMap, HashMap};

use serde::Deserialize;
use serde_json::json;

use super::{Broker, BrokerError, Message, ReadFrom};
use crate::limits::{NATS_REQUEST_TIMEOUT, NATS_SCAN_BYTES, NATS_SCAN_PULL};

/// The part of a stream's information that lists subjects, in pages.
#[derive(Deserialize)]
struct Subjects {
    #[serde(default)]
    total: usize,
    state: SubjectsState,
}

#[derive(Deserialize)]
struct SubjectsState {
    #[serde(default)]
    subjects: HashMap<String, u64>,
}

impl Broker {
    /// Returns the last message of every subject that matches, by subject, from the leader's point of view: nothing that was
    /// acknowledged before the call is missing.
    pub(crate) async fn rows(&self, stream: &str, filter: &str) -> Result<Vec<Message>, BrokerError> {
        let mut rows = self.last_of_subjects(stream, filter, 0).await?;
        let subjects = self.subjects(stream, filter).await?;
        rows.retain(|subject, _| subjects.contains_key(subject));
        Ok(rows.into_values().collect())
    }

    /// Returns the last message of every subject that matches, if it came after the message `after`. A row that is removed
    /// meanwhile may be among them.
    pub(crate) async fn rows_after(&self, stream: &str, filter: &str, after: u64) -> Result<Vec<Message>, BrokerError> {
        Ok(self.last_of_subjects(stream, filter, after).await?.into_values().collect())
    }

    async fn last_of_subjects(
        &self,
        stream: &str,
        filter: &str,
        after: u64,
    ) -> Result<BTreeMap<String, Message>, BrokerError> {
        let mut rows = BTreeMap::new();
        let mut next = after + 1;
        loop {
            let batch = self.batch(stream, next, filter, NATS_SCAN_PULL, NATS_SCAN_BYTES).await?;
            for row in batch.messages {
                next = row.sequence + 1;
                rows.insert(row.subject.clone(), row);
            }
            if batch.pending > 0 {
                continue;
            }
            match self.next(stream, next, filter, ReadFrom::Leader).await? {
                None => return Ok(rows),
                Some(newer) => {
                    next = newer.sequence + 1;
                    rows.insert(newer.subject.clone(), newer);
                }
            }
        }
    }

    /// The subjects of which the leader has messages, and how many.
    async fn subjects(&self, stream: &str, filter: &str) -> Result<HashMap<String, u64>, BrokerError> {
        let mut subjects = HashMap::new();
        loop {
            let request = json!({ "subjects_filter": filter, "offset": subjects.len() });
            let page: Subjects = self.api(format!("STREAM.INFO.{stream}"), &request, NATS_REQUEST_TIMEOUT).await?;
            let found = page.state.subjects.len();
            subjects.extend(page.state.subjects);
            if found == 0 || subjects.len() >= page.total {
                return Ok(subjects);
            }
        }
    }
}
