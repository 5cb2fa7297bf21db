//! Rows of the board about deliveries: what the replica that delivers a subscription knows of its receiver.

use bytes::Bytes;
use grapnel_api::{Incarnation, ObjectKey, ShadowCounts};
use grapnel_delivery::breaker::OpenCircuit;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::row::{RowError, RowTooLarge, VERSION, Versioned, beginning};
use crate::{
    catalog::{
        SubscriptionReading,
        observed::{Failed, LastDelivery, LastResult},
    },
    runtime::limits::{FACTS_MESSAGE_BYTES, FACTS_ROW_BYTES},
};

/// What a replica knows of one subscription.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Standing {
    pub(super) subscription: Incarnation,
    /// Since when the replica delivers it, in microseconds since the Unix epoch; `None` if it no longer does.
    pub(super) serving: Option<i64>,
    pub(super) reading: SubscriptionReading,
}

#[derive(Serialize, Deserialize)]
struct Encoded {
    version: u32,
    subscriptions: Vec<EncodedStanding>,
}

/// Times are microseconds since the Unix epoch.
#[derive(Serialize, Deserialize)]
struct EncodedStanding {
    namespace: String,
    name: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    uid: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    serving: Option<i64>,
    outcome: Outcome,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    delivery: Option<EncodedDelivery>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    failure: Option<EncodedFailure>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    circuit: Option<EncodedCircuit>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pause: Option<i64>,
    /// Absent in the rows of earlier versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    shadow: Option<EncodedShadow>,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Outcome {
    None,
    Succeeding,
    Failing,
    Gone,
    Unprepared,
}

#[derive(Serialize, Deserialize)]
struct EncodedDelivery {
    time: i64,
    event: String,
    status: u16,
    milliseconds: u64,
}

#[derive(Serialize, Deserialize)]
struct EncodedFailure {
    time: i64,
    event: String,
    reason: String,
    status: Option<u16>,
    message: String,
    next: Option<i64>,
    gone: bool,
    own: bool,
}

#[derive(Serialize, Deserialize)]
struct EncodedShadow {
    sent: u64,
    failed: u64,
}

#[derive(Serialize, Deserialize)]
struct EncodedCircuit {
    since: i64,
    failures: u32,
    probe: i64,
}

/// Encodes a row, if need be without the messages of failures.
pub(super) fn encode(standings: &[Standing]) -> Result<Bytes, RowTooLarge> {
    let encoded = |message_bytes: usize| {
        let subscriptions = standings.iter().map(|standing| standing.encoded(message_bytes)).collect();
        // These types can always be serialized.
        serde_json::to_vec(&Encoded { version: VERSION, subscriptions }).unwrap_or_default()
    };
    let mut bytes = encoded(FACTS_MESSAGE_BYTES);
    if bytes.len() > FACTS_ROW_BYTES {
        bytes = encoded(0);
    }
    match bytes.len() {
        fits if fits <= FACTS_ROW_BYTES => Ok(bytes.into()),
        bytes => Err(RowTooLarge { objects: standings.len(), bytes }),
    }
}

/// Decodes a row.
pub(super) fn decode(value: &[u8]) -> Result<Vec<Standing>, RowError> {
    let Versioned { version } = serde_json::from_slice(value)?;
    if version != VERSION {
        return Err(RowError::Version(version));
    }
    let encoded: Encoded = serde_json::from_slice(value)?;
    encoded.subscriptions.into_iter().map(EncodedStanding::decoded).collect()
}

impl Standing {
    fn encoded(&self, message_bytes: usize) -> EncodedStanding {
        let reading = &self.reading;
        EncodedStanding {
            namespace: self.subscription.key.namespace.to_string(),
            name: self.subscription.key.name.to_string(),
            uid: self.subscription.uid.to_string(),
            serving: self.serving,
            outcome: match reading.outcome {
                LastResult::None => Outcome::None,
                LastResult::Succeeding => Outcome::Succeeding,
                LastResult::Failing => Outcome::Failing,
                LastResult::Gone => Outcome::Gone,
                LastResult::Unprepared => Outcome::Unprepared,
            },
            delivery: reading.last_delivery.as_ref().map(|delivery| EncodedDelivery {
                time: delivery.time.as_microsecond(),
                event: delivery.event_id.to_string(),
                status: delivery.status,
                milliseconds: delivery.duration_ms,
            }),
            failure: reading.last_failure.as_ref().map(|failed| EncodedFailure {
                time: failed.time.as_microsecond(),
                event: failed.event_id.to_string(),
                reason: failed.reason.to_string(),
                status: failed.status,
                message: beginning(&failed.message, message_bytes).to_owned(),
                next: failed.next_attempt.map(Timestamp::as_microsecond),
                gone: failed.gone,
                own: failed.own,
            }),
            circuit: reading.circuit.map(|circuit| EncodedCircuit {
                since: circuit.since.as_microsecond(),
                failures: circuit.failures,
                probe: circuit.next_probe.as_microsecond(),
            }),
            pause: reading.pause.map(Timestamp::as_microsecond),
            shadow: Some(reading.shadow)
                .filter(|counts| *counts != ShadowCounts::default())
                .map(|counts| EncodedShadow { sent: counts.would_send, failed: counts.failed }),
        }
    }
}

impl EncodedStanding {
    fn decoded(self) -> Result<Standing, RowError> {
        let time = Timestamp::from_microsecond;
        let last_delivery = match self.delivery {
            None => None,
            Some(delivery) => Some(LastDelivery {
                time: time(delivery.time)?,
                event_id: delivery.event.into(),
                status: delivery.status,
                duration_ms: delivery.milliseconds,
            }),
        };
        let last_failure = match self.failure {
            None => None,
            Some(failure) => Some(Failed {
                time: time(failure.time)?,
                event_id: failure.event.into(),
                reason: failure.reason.into(),
                status: failure.status,
                message: failure.message.into(),
                next_attempt: failure.next.map(time).transpose()?,
                gone: failure.gone,
                own: failure.own,
            }),
        };
        let circuit = match self.circuit {
            None => None,
            Some(circuit) => Some(OpenCircuit {
                since: time(circuit.since)?,
                failures: circuit.failures,
                next_probe: time(circuit.probe)?,
            }),
        };
        let outcome = match self.outcome {
            Outcome::None => LastResult::None,
            Outcome::Succeeding => LastResult::Succeeding,
            Outcome::Failing => LastResult::Failing,
            Outcome::Gone => LastResult::Gone,
            Outcome::Unprepared => LastResult::Unprepared,
        };
        let pause = self.pause.map(time).transpose()?;
        let shadow = self.shadow.map_or_else(ShadowCounts::default, |counts| ShadowCounts {
            would_send: counts.sent,
            failed: counts.failed,
        });
        let reading = SubscriptionReading {
            outcome,
            last_delivery,
            last_failure,
            circuit,
            pause,
            shadow,
            ..SubscriptionReading::default()
        };
        let subscription = Incarnation::new(ObjectKey::new(self.namespace, self.name), self.uid);
        Ok(Standing { subscription, serving: self.serving, reading })
    }
}
