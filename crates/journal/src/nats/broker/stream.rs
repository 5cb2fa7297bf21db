//! Streams: their configuration, what is in them, and the removal of messages.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Broker, BrokerError, error::code};
use crate::limits::{NATS_REQUEST_TIMEOUT, NATS_STREAM_TIMEOUT};

/// Which message goes when a stream is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Discard {
    /// The oldest.
    Old,
    /// The new one, which is refused.
    New,
}

/// The configuration of a stream, as far as it is chosen. Everything is kept in files until it is removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StreamConfig {
    /// Its name.
    pub(crate) name: String,
    /// What a person who lists streams is told.
    pub(crate) description: String,
    /// Its subjects.
    pub(crate) subjects: Vec<String>,
    /// On how many brokers it is kept.
    pub(crate) replicas: usize,
    /// Maximum bytes; `None` for no limit.
    pub(crate) max_bytes: Option<u64>,
    /// Maximum messages of a subject, of which the oldest goes; `None` for no limit.
    pub(crate) max_msgs_per_subject: Option<u64>,
    /// Which message goes when it is full.
    pub(crate) discard: Discard,
    /// Whether any replica answers reads.
    pub(crate) allow_direct: bool,
    /// Whether batches can be stored all or none.
    pub(crate) allow_atomic: bool,
    /// Whether messages can have a time to live.
    pub(crate) allow_msg_ttl: bool,
    /// The sequence of its first message; 0 for the ordinary one. Does not count in comparisons.
    pub(crate) first_sequence: u64,
}

/// A stream as it is.
#[derive(Debug, Clone)]
pub(crate) struct StreamInfo {
    /// Its configuration. The values of what is not chosen here are not part of it.
    pub(crate) config: StreamConfig,
    /// When it was created. Another time means another stream.
    pub(crate) created: Timestamp,
    /// The sequence of the first message, or the one after the last if there is none.
    pub(crate) first_sequence: u64,
    /// The last sequence ever given.
    pub(crate) last_sequence: u64,
    /// Number of messages.
    #[cfg_attr(not(test), expect(dead_code, reason = "for people who debug"))]
    pub(crate) messages: u64,
    /// Bytes of the messages.
    pub(crate) bytes: u64,
    /// The broker that leads it; `None` during an election.
    #[cfg_attr(not(test), expect(dead_code, reason = "for people who debug"))]
    pub(crate) leader: Option<String>,
}

/// Why a stream is not as it has to be.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StreamError {
    /// It exists with another configuration.
    #[error("stream {stream} has another configuration: {}", .differences.join(", "))]
    Differs {
        /// Its name.
        stream: String,
        /// What differs, and how.
        differences: Vec<String>,
    },
    /// It could not be created, grown or looked at.
    #[error("stream {stream}: {source}")]
    Request {
        /// Its name.
        stream: String,
        /// The cause.
        #[source]
        source: BrokerError,
    },
}

/// What the brokers say of a configuration, in their words.
#[derive(Deserialize)]
struct WireConfig {
    name: String,
    #[serde(default)]
    description: String,
    #[serde(default)]
    subjects: Vec<String>,
    retention: String,
    storage: String,
    num_replicas: usize,
    max_bytes: i64,
    max_msgs: i64,
    max_age: i64,
    max_msgs_per_subject: i64,
    discard: Discard,
    #[serde(default)]
    discard_new_per_subject: bool,
    #[serde(default)]
    max_msg_size: i64,
    #[serde(default)]
    allow_direct: bool,
    #[serde(default)]
    allow_atomic: bool,
    #[serde(default)]
    allow_msg_ttl: bool,
    #[serde(default)]
    deny_delete: bool,
    #[serde(default)]
    deny_purge: bool,
    #[serde(default)]
    sealed: bool,
    #[serde(default)]
    first_seq: u64,
}

#[derive(Deserialize)]
struct WireState {
    messages: u64,
    bytes: u64,
    first_seq: u64,
    last_seq: u64,
}

#[derive(Deserialize)]
struct WireCluster {
    #[serde(default)]
    leader: Option<String>,
}

#[derive(Deserialize)]
struct WireInfo {
    config: Value,
    created: Timestamp,
    state: WireState,
    cluster: Option<WireCluster>,
}

#[derive(Deserialize)]
struct Deleted {
    success: bool,
}

#[derive(Deserialize)]
struct Purged {
    purged: u64,
}

/// A number of which 0 and below mean that there is no limit.
fn limit(number: i64) -> Option<u64> {
    u64::try_from(number).ok().filter(|number| *number > 0)
}

fn wire_limit(limit: Option<u64>) -> i64 {
    limit.map_or(-1, |limit| i64::try_from(limit).unwrap_or(i64::MAX))
}

impl StreamConfig {
    /// The configuration as a request to create the stream.
    fn to_wire(&self) -> Value {
        json!({
            "name": self.name,
            "description": self.description,
            "subjects": self.subjects,
            "retention": "limits",
            "storage": "file",
            "num_replicas": self.replicas,
            "max_bytes": wire_limit(self.max_bytes),
            "max_msgs": -1,
            "max_age": 0,
            "max_msg_size": -1,
            "max_consumers": -1,
            "max_msgs_per_subject": wire_limit(self.max_msgs_per_subject),
            "discard": self.discard,
            // Nothing here has a message id; the shortest window keeps the least.
            "duplicate_window": Duration::from_millis(100).as_nanos() as u64,
            "allow_direct": self.allow_direct,
            "allow_atomic": self.allow_atomic,
            "allow_msg_ttl": self.allow_msg_ttl,
            "first_seq": self.first_sequence,
        })
    }

    fn from_wire(wire: WireConfig) -> Self {
        Self {
            name: wire.name,
            description: wire.description,
            subjects: wire.subjects,
            replicas: wire.num_replicas,
            max_bytes: limit(wire.max_bytes),
            max_msgs_per_subject: limit(wire.max_msgs_per_subject),
            discard: wire.discard,
            allow_direct: wire.allow_direct,
            allow_atomic: wire.allow_atomic,
            allow_msg_ttl: wire.allow_msg_ttl,
            first_sequence: wire.first_seq,
        }
    }

    /// What of `found` is not as wanted. The description and the size do not count.
    fn differences(&self, found: &WireConfig) -> Vec<String> {
        let mut differences = Vec::new();
        let mut compare = |field: &str, found: String, wanted: String| {
            if found != wanted {
                differences.push(format!("{field} is {found} instead of {wanted}"));
            }
        };
        let per_subject = |limit: Option<u64>| limit.map_or_else(|| "unlimited".to_owned(), |limit| limit.to_string());
        compare("subjects", found.subjects.join(" "), self.subjects.join(" "));
        compare("retention", found.retention.clone(), "limits".to_owned());
        compare("storage", found.storage.clone(), "file".to_owned());
        compare("num_replicas", found.num_replicas.to_string(), self.replicas.to_string());
        compare("max_msgs", per_subject(limit(found.max_msgs)), "unlimited".to_owned());
        compare("max_age", per_subject(limit(found.max_age)), "unlimited".to_owned());
        compare("max_msg_size", per_subject(limit(found.max_msg_size)), "unlimited".to_owned());
        compare(
            "max_msgs_per_subject",
            per_subject(limit(found.max_msgs_per_subject)),
            per_subject(self.max_msgs_per_subject),
        );
        compare("discard", format!("{:?}", found.discard).to_lowercase(), format!("{:?}", self.discard).to_lowercase());
        let flags = [
            ("discard_new_per_subject", found.discard_new_per_subject, false),
            ("allow_direct", found.allow_direct, self.allow_direct),
            ("allow_atomic", found.allow_atomic, self.allow_atomic),
            ("allow_msg_ttl", found.allow_msg_ttl, self.allow_msg_ttl),
            ("deny_delete", found.deny_delete, false),
            ("deny_purge", found.deny_purge, false),
            ("sealed", found.sealed, false),
        ];
        for (field, found, wanted) in flags {
            compare(field, found.to_string(), wanted.to_string());
        }
        if self.allow_atomic && !found.allow_atomic {
            differences.push("servers before 2.12 know no atomic batches".to_owned());
        }
        differences
    }
}

impl WireInfo {
    fn config(&self) -> Result<WireConfig, BrokerError> {
        WireConfig::deserialize(&self.config).map_err(|error| BrokerError::Malformed(error.to_string()))
    }

    fn info(self) -> Result<StreamInfo, BrokerError> {
        Ok(StreamInfo {
            config: StreamConfig::from_wire(self.config()?),
            created: self.created,
            first_sequence: self.state.first_seq,
            last_sequence: self.state.last_seq,
            messages: self.state.messages,
            bytes: self.state.bytes,
            leader: self.cluster.and_then(|cluster| cluster.leader).filter(|leader| !leader.is_empty()),
        })
    }
}

impl Broker {
    /// Returns what a stream is and holds, as its leader says it; `None` when there is none.
    pub(crate) async fn stream(&self, name: &str) -> Result<Option<StreamInfo>, BrokerError> {
        self.look(name).await?.map(WireInfo::info).transpose()
    }

    async fn look(&self, name: &str) -> Result<Option<WireInfo>, BrokerError> {
        match self.api(format!("STREAM.INFO.{name}"), &json!({}), NATS_REQUEST_TIMEOUT).await {
            Ok(info) => Ok(Some(info)),
            Err(BrokerError::Refused { code: code::STREAM_NOT_FOUND, .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Creates a stream, or finds that it is there and as wanted. A stream with a smaller maximum size than wanted grows; one
    /// with a larger one stays as it is, which [`StreamInfo::config`] shows.
    ///
    /// # Errors
    ///
    /// [`StreamError::Differs`] when it is there and not as wanted: nothing is changed then.
    pub(crate) async fn ensure_stream(&self, config: &StreamConfig) -> Result<StreamInfo, StreamError> {
        let request = |source| StreamError::Request { stream: config.name.clone(), source };
        let found = match self.look(&config.name).await.map_err(request)? {
            Some(found) => found,
            None => {
                let create = format!("STREAM.CREATE.{}", config.name);
                match self.api::<WireInfo>(create, &config.to_wire(), NATS_STREAM_TIMEOUT).await {
                    Ok(created) => created,
                    // Another replica was faster.
                    Err(error @ BrokerError::Refused { code: code::STREAM_NAME_IN_USE, .. }) => {
                        self.look(&config.name).await.map_err(request)?.ok_or_else(|| request(error))?
                    }
                    Err(error) => return Err(request(error)),
                }
            }
        };
        let wire = found.config().map_err(request)?;
        let differences = config.differences(&wire);
        if !differences.is_empty() {
            return Err(StreamError::Differs { stream: config.name.clone(), differences });
        }
        let grows = limit(wire.max_bytes).is_some_and(|found| config.max_bytes.is_none_or(|wanted| wanted > found));
        let found = if grows { self.grow(found, config).await.map_err(request)? } else { found };
        found.info().map_err(request)
    }

    /// Raises the maximum size of a stream and changes nothing else of it.
    async fn grow(&self, found: WireInfo, config: &StreamConfig) -> Result<WireInfo, BrokerError> {
        let mut wanted = found.config;
        if let Some(fields) = wanted.as_object_mut() {
            fields.insert("max_bytes".to_owned(), wire_limit(config.max_bytes).into());
        }
        self.api(format!("STREAM.UPDATE.{}", config.name), &wanted, NATS_STREAM_TIMEOUT).await
    }

    /// Removes a message; `false` when it is not there.
    pub(crate) async fn delete(&self, stream: &str, sequence: u64) -> Result<bool, BrokerError> {
        let request = json!({ "seq": sequence, "no_erase": true });
        match self.api::<Deleted>(format!("STREAM.MSG.DELETE.{stream}"), &request, NATS_REQUEST_TIMEOUT).await {
            Ok(deleted) => Ok(deleted.success),
            Err(BrokerError::Refused { code: code::SEQUENCE_NOT_FOUND | code::NO_MESSAGE, .. }) => Ok(false),
            // Whatever the reason of this failure is: only its absence counts as such.
            Err(error @ BrokerError::Refused { code: code::DELETE_FAILED, .. }) => {
                match self.get(stream, sequence, super::ReadFrom::Leader).await? {
                    None => Ok(false),
                    Some(_) => Err(error),
                }
            }
            Err(error) => Err(error),
        }
    }

    /// Removes all messages below a sequence and returns how many.
    pub(crate) async fn purge_below(&self, stream: &str, sequence: u64) -> Result<u64, BrokerError> {
        if sequence <= 1 {
            // To the brokers, 0 means everything.
            return Ok(0);
        }
        let request = json!({ "seq": sequence });
        let purged: Purged = self.api(format!("STREAM.PURGE.{stream}"), &request, NATS_STREAM_TIMEOUT).await?;
        Ok(purged.purged)
    }
}
