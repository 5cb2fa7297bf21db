//! Rows of the board: what a replica has counted, and what all have counted before.

use std::collections::BTreeMap;

use bytes::Bytes;
use grapnel_api::{Incarnation, ObjectKey};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{
    catalog::{EndpointReading, observed::LastRejection},
    runtime::limits::{FACTS_MESSAGE_BYTES, FACTS_ROW_BYTES},
};

/// The version of the format of rows.
const VERSION: u32 = 1;

/// The counts of objects.
pub(super) type Counts = BTreeMap<Incarnation, EndpointReading>;

/// The objects whose names have the same hash. A row has the facts of one bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Bucket(pub(super) u8);

/// What one replica has counted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct ReplicaRow {
    /// The counts since the replica started, except those that are in the total.
    pub(super) counts: Counts,
    /// The replica is dead: it must not change the row any more.
    pub(super) sealed: bool,
}

/// What all replicas have counted before those that have rows of their own.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct TotalRow {
    /// The counts. Every known object has an entry.
    pub(super) counts: Counts,
    /// Sealed rows that are contained.
    pub(super) folded: BTreeMap<String, Folded>,
}

/// A sealed row that the total contains.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Folded {
    /// Its revision. Earlier rows of the same replica are contained too.
    pub(super) revision: u64,
    /// When it was added, in microseconds since the Unix epoch.
    pub(super) at: i64,
}

/// Why a row cannot be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum RowError {
    #[error("not of this format: {0}")]
    Malformed(#[from] serde_json::Error),
    #[error("of version {0}, which this version does not know")]
    Version(u32),
    #[error("a time is out of range: {0}")]
    Time(#[from] jiff::Error),
}

/// The facts of a row do not fit into it.
#[derive(Debug, thiserror::Error)]
#[error("the facts of {objects} objects are {bytes} bytes, more than a row can have")]
pub(super) struct RowTooLarge {
    objects: usize,
    bytes: usize,
}

#[derive(Serialize, Deserialize)]
struct Versioned {
    version: u32,
}

#[derive(Serialize, Deserialize)]
struct Encoded {
    version: u32,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    sealed: bool,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    folded: BTreeMap<String, Folded>,
    endpoints: Vec<EncodedEndpoint>,
}

/// The reading of one endpoint. Times are microseconds since the Unix epoch.
#[derive(Serialize, Deserialize)]
struct EncodedEndpoint {
    namespace: String,
    name: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    uid: String,
    received: u64,
    rejected: u64,
    duplicates: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    last_received: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    last_rejection: Option<EncodedRejection>,
}

#[derive(Serialize, Deserialize)]
struct EncodedRejection {
    time: i64,
    code: String,
    message: String,
}

impl Bucket {
    /// The bucket of an object, the same in every version.
    pub(super) fn of(key: &ObjectKey) -> Self {
        let digest = Sha256::new().chain_update(&*key.namespace).chain_update("/").chain_update(&*key.name).finalize();
        Self(digest.first().copied().unwrap_or_default())
    }
}

impl ReplicaRow {
    pub(super) fn encode(&self) -> Result<Bytes, RowTooLarge> {
        encode(&self.counts, &BTreeMap::new(), self.sealed)
    }

    pub(super) fn decode(value: &[u8]) -> Result<Self, RowError> {
        let (encoded, counts) = decode(value)?;
        Ok(Self { counts, sealed: encoded.sealed })
    }
}

impl TotalRow {
    pub(super) fn encode(&self) -> Result<Bytes, RowTooLarge> {
        encode(&self.counts, &self.folded, false)
    }

    pub(super) fn decode(value: &[u8]) -> Result<Self, RowError> {
        let (encoded, counts) = decode(value)?;
        Ok(Self { counts, folded: encoded.folded })
    }
}

/// Encodes counts, if need be without the messages of rejections.
fn encode(counts: &Counts, folded: &BTreeMap<String, Folded>, sealed: bool) -> Result<Bytes, RowTooLarge> {
    let encoded = |message_bytes: usize| {
        let endpoints = counts.iter().map(|(object, reading)| encoded_endpoint(object, reading, message_bytes));
        let row = Encoded { version: VERSION, sealed, folded: folded.clone(), endpoints: endpoints.collect() };
        // These types can always be serialized.
        serde_json::to_vec(&row).unwrap_or_default()
    };
    let mut bytes = encoded(FACTS_MESSAGE_BYTES);
    if bytes.len() > FACTS_ROW_BYTES {
        bytes = encoded(0);
    }
    match bytes.len() {
        fits if fits <= FACTS_ROW_BYTES => Ok(bytes.into()),
        bytes => Err(RowTooLarge { objects: counts.len(), bytes }),
    }
}

fn encoded_endpoint(object: &Incarnation, reading: &EndpointReading, message_bytes: usize) -> EncodedEndpoint {
    EncodedEndpoint {
        namespace: object.key.namespace.to_string(),
        name: object.key.name.to_string(),
        uid: object.uid.to_string(),
        received: reading.received,
        rejected: reading.rejected,
        duplicates: reading.duplicates,
        last_received: reading.last_received.map(Timestamp::as_microsecond),
        last_rejection: reading.last_rejection.as_ref().map(|rejection| EncodedRejection {
            time: rejection.time.as_microsecond(),
            code: rejection.code.to_string(),
            message: beginning(&rejection.message, message_bytes).to_owned(),
        }),
    }
}

fn decode(value: &[u8]) -> Result<(Encoded, Counts), RowError> {
    let Versioned { version } = serde_json::from_slice(value)?;
    if version != VERSION {
        return Err(RowError::Version(version));
    }
    let mut encoded: Encoded = serde_json::from_slice(value)?;
    let mut counts = Counts::new();
    for endpoint in std::mem::take(&mut encoded.endpoints) {
        let key = ObjectKey::new(endpoint.namespace, endpoint.name);
        let last_rejection = match endpoint.last_rejection {
            None => None,
            Some(EncodedRejection { time, code, message }) => {
                Some(LastRejection { time: Timestamp::from_microsecond(time)?, code: code.into(), message })
            }
        };
        let reading = EndpointReading {
            received: endpoint.received,
            rejected: endpoint.rejected,
            duplicates: endpoint.duplicates,
            last_received: endpoint.last_received.map(Timestamp::from_microsecond).transpose()?,
            last_rejection,
        };
        counts.entry(Incarnation::new(key, endpoint.uid)).or_default().add(&reading);
    }
    Ok((encoded, counts))
}

/// The beginning of a text, of at most `bytes`.
pub(super) fn beginning(text: &str, bytes: usize) -> &str {
    let ends = text.char_indices().map(|(start, char)| start + char.len_utf8());
    let end = ends.take_while(|end| *end <= bytes).last().unwrap_or_default();
    text.get(..end).unwrap_or_default()
}
