//! Deliveries of a subscription.

use std::{sync::Arc, time::Duration};

use axum::{
    extract::{Path, RawPathParams, State},
    http::Uri,
    response::Response,
};
use grapnel_api::ObjectKey;
use grapnel_journal::{
    DeliveryPage, DeliveryQuery, DeliveryRecord, DeliveryState, EventEntry, Failure, JournalError, Outcome, Sequence,
    SkipReason,
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize, de::value::StrDeserializer};

use super::{
    Shared,
    authz::{self, Ask, Resource, Verb},
    query::Query,
    read::Read,
    response::{self, Problem},
};

/// An event with the state of its delivery. Of a damaged event only the sequence is known.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Item {
    #[serde(skip_serializing_if = "Option::is_none")]
    event_id: Option<Box<str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    r#type: Option<Box<str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    received_time: Option<Timestamp>,
    sequence: Sequence,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    damaged: bool,
    state: DeliveryState,
    outcome: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    skip_reason: Option<SkipReason>,
    attempts: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_attempt_time: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_status_code: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    duration_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_attempt_time: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_failure: Option<LastFailure>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct LastFailure {
    time: Timestamp,
    reason: Box<str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status_code: Option<u16>,
    duration_ms: u64,
    message: Box<str>,
}

impl Item {
    fn of(record: DeliveryRecord) -> Self {
        let DeliveryRecord { event, state, outcome, attempts, due, last, failure } = record;
        let sequence = event.sequence();
        let event = match event {
            EventEntry::Kept(event) => Some(event),
            EventEntry::Damaged(_) => None,
        };
        let damaged = event.is_none();
        let received_time = event.as_ref().map(|event| event.received);
        let (event_id, kind) = event.map(|event| (event.id, event.kind)).unzip();
        // A skipped event had no attempt, unless an earlier version of the subscription made one.
        let attempted = last.filter(|_| attempts > 0);
        Self {
            event_id,
            r#type: kind,
            received_time,
            sequence,
            damaged,
            state,
            outcome: outcome.as_str(),
            skip_reason: match outcome {
                Outcome::Skipped(reason) => Some(reason),
                _ => None,
            },
            attempts,
            last_attempt_time: attempted.map(|exchange| exchange.time),
            last_status_code: attempted.and_then(|exchange| exchange.status),
            duration_ms: attempted.map(|exchange| milliseconds(exchange.took)),
            next_attempt_time: due,
            last_failure: failure.map(LastFailure::of),
        }
    }
}

impl LastFailure {
    fn of(failure: Failure) -> Self {
        let Failure { time, reason, status, took, message } = failure;
        Self { time, reason, status_code: status, duration_ms: milliseconds(took), message }
    }
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// The access required to list the deliveries of a subscription.
pub(super) fn asks(params: &RawPathParams, _: &Uri) -> Result<Vec<Ask>, Problem> {
    authz::one(Verb::Get, Resource::Deliveries, params)
}

/// `GET /api/v1/namespaces/{namespace}/subscriptions/{name}/deliveries`
pub(super) async fn list(
    State(shared): State<Arc<Shared>>,
    Path((namespace, name)): Path<(String, String)>,
    uri: Uri,
) -> Result<Response, Problem> {
    let query = Query::parse(&uri, &["state", "limit", "after"])?;
    let limit = query.limit()?;
    let (state, after) = (query.get("state").map(state).transpose()?, query.after()?);
    let subscription = shared.subscription(&ObjectKey::new(namespace, name))?;
    let page = shared.read(async move |read: Read| {
        let step = async |after, limit| {
            let page = match read.journal.deliveries(&subscription, DeliveryQuery { state, after, limit }).await {
                // An object that never compiled has no deliveries.
                Err(JournalError::UnknownConsumer(_)) => DeliveryPage::default(),
                page => page?,
            };
            Ok((page.deliveries.into_iter().map(Item::of).collect(), page.next))
        };
        read.page(limit, after, step, |item| item.sequence).await
    });
    Ok(response::ok(&page.await?))
}

fn state(text: &str) -> Result<DeliveryState, Problem> {
    DeliveryState::deserialize(StrDeserializer::<serde::de::value::Error>::new(text)).map_err(|_| {
        Problem::parameter(format!("state must be pending, inFlight, retrying, deadLettered or settled, not {text:?}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_are_named_as_they_are_shown() {
        for expected in [
            DeliveryState::Pending,
            DeliveryState::InFlight,
            DeliveryState::Retrying,
            DeliveryState::DeadLettered,
            DeliveryState::Settled,
        ] {
            let name = serde_json::to_value(expected).unwrap();
            let name = name.as_str().unwrap();
            assert_eq!(state(name).unwrap(), expected);
            assert!(format!("{:?}", state("dead").unwrap_err()).contains(name));
        }
    }
}
