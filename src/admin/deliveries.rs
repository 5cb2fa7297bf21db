//! Deliveries of a subscription.

use std::sync::Arc;

use axum::{
    extract::{Path, RawPathParams, State},
    http::Uri,
    response::Response,
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize, de::value::StrDeserializer};

use super::{
    Shared,
    answer::{self, Page, Problem},
    authority::{self, Ask, Resource, Verb},
    events::cut,
    query::Query,
};
use crate::{
    api::ObjectKey,
    journal::{DeliveryQuery, DeliveryRecord, DeliveryState, Failure, JournalError, Sequence},
    rules::limits::ADMIN_READ_BATCH,
};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Item {
    event_id: Box<str>,
    r#type: Box<str>,
    received_time: Timestamp,
    sequence: Sequence,
    state: DeliveryState,
    attempts: u32,
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
    message: Box<str>,
}

impl Item {
    fn of(record: DeliveryRecord) -> Self {
        Self {
            event_id: record.event.id.clone(),
            r#type: record.event.kind.clone(),
            received_time: record.event.received,
            sequence: record.event.sequence,
            state: record.state,
            attempts: record.attempts,
            next_attempt_time: record.due,
            last_failure: record.failure.map(LastFailure::of),
        }
    }
}

impl LastFailure {
    fn of(failure: Failure) -> Self {
        Self { time: failure.time, reason: failure.reason, status_code: failure.status, message: failure.message }
    }
}

/// What it takes to see deliveries of a subscription.
pub(super) fn asks(params: &RawPathParams, _: &Uri) -> Result<Vec<Ask>, Problem> {
    authority::one(Verb::Get, Resource::Deliveries, params)
}

/// `GET /api/v1/namespaces/{namespace}/subscriptions/{name}/deliveries`
pub(super) async fn list(
    State(shared): State<Arc<Shared>>,
    Path((namespace, name)): Path<(String, String)>,
    uri: Uri,
) -> Result<Response, Problem> {
    let query = Query::parse(&uri, &["state", "limit", "after"])?;
    let limit = query.limit()?;
    let mut wanted =
        DeliveryQuery { state: query.get("state").map(state).transpose()?, after: query.after()?, limit: 0 };
    let subscription = ObjectKey::new(namespace, name);
    shared.subscription_exists(&subscription)?;
    let _turn = shared.turn().await?;
    let mut items: Vec<Item> = Vec::new();
    // In small steps, as in the list of events.
    while items.len() <= limit {
        wanted.limit = ADMIN_READ_BATCH.min(limit + 1 - items.len());
        let records = match shared.admin.journal.deliveries(&subscription, wanted.clone()).await {
            // An object that has never compiled has no deliveries.
            Err(JournalError::UnknownConsumer(_)) => Vec::new(),
            records => records?,
        };
        let (found, last) = (records.len(), records.last().map(|record| record.event.sequence));
        items.extend(records.into_iter().map(Item::of));
        match last {
            Some(last) if found == wanted.limit => wanted.after = last,
            _ => break,
        }
    }
    let next = cut(&mut items, limit, |item| item.sequence);
    Ok(answer::ok(&Page { items, next }))
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
