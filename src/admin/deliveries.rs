//! Deliveries of a subscription.

use std::{sync::Arc, time::Duration};

use axum::{
    extract::{Path, RawPathParams, State},
    http::Uri,
    response::Response,
};
use grapnel_api::{Incarnation, ObjectKey};
use grapnel_journal::{
    DeliveryPage, DeliveryQuery, DeliveryRecord, DeliveryState, EventEntry, Failure, Journal, JournalError, Outcome,
    Sequence, SkipReason,
};

use super::{
    Shared,
    authz::{self, Ask, Resource, Verb},
    contract::{self, DeliveryItem, ItemFailure, ItemOutcome, ItemSkip, ItemState, ListOrder, Operation, Page},
    query::Query,
    read::{ListStep, Read, begin},
    response::{self, Problem},
};

impl DeliveryItem {
    pub(super) fn of(record: DeliveryRecord) -> Self {
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
            state: state.into(),
            outcome: outcome.into(),
            skip_reason: match outcome {
                Outcome::Skipped(reason) => Some(reason.into()),
                _ => None,
            },
            attempts,
            last_attempt_time: attempted.map(|exchange| exchange.time),
            last_status_code: attempted.and_then(|exchange| exchange.status),
            duration_ms: attempted.map(|exchange| milliseconds(exchange.took)),
            answer: None,
            next_attempt_time: due,
            last_failure: failure.map(ItemFailure::of),
        }
    }
}

impl ItemFailure {
    fn of(failure: Failure) -> Self {
        let Failure { time, reason, status, took, message } = failure;
        Self { time, reason, status_code: status, duration_ms: milliseconds(took), message }
    }
}

impl From<Outcome> for ItemOutcome {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Pending => Self::Pending,
            Outcome::Retrying => Self::Retrying,
            Outcome::Dead => Self::DeadLettered,
            Outcome::Delivered => Self::Delivered,
            Outcome::Skipped(_) => Self::Skipped,
            Outcome::Unknown => Self::Unknown,
        }
    }
}

impl From<SkipReason> for ItemSkip {
    fn from(reason: SkipReason) -> Self {
        match reason {
            SkipReason::Filter => Self::Filter,
            SkipReason::Type => Self::Type,
            SkipReason::Shadow => Self::Shadow,
        }
    }
}

impl From<DeliveryState> for ItemState {
    fn from(state: DeliveryState) -> Self {
        match state {
            DeliveryState::Pending => Self::Pending,
            DeliveryState::InFlight => Self::InFlight,
            DeliveryState::Retrying => Self::Retrying,
            DeliveryState::DeadLettered => Self::DeadLettered,
            DeliveryState::Settled => Self::Settled,
        }
    }
}

impl From<ItemState> for DeliveryState {
    fn from(state: ItemState) -> Self {
        match state {
            ItemState::Pending => Self::Pending,
            ItemState::InFlight => Self::InFlight,
            ItemState::Retrying => Self::Retrying,
            ItemState::DeadLettered => Self::DeadLettered,
            ItemState::Settled => Self::Settled,
        }
    }
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// The access required to list the deliveries of a subscription.
pub(super) fn asks(params: &RawPathParams, _: &Uri) -> Result<Vec<Ask>, Problem> {
    authz::one(Verb::Get, Resource::Deliveries, params)
}

/// Reads one step of the deliveries of a subscription.
pub(super) async fn step(
    journal: &dyn Journal,
    subscription: &Incarnation,
    query: DeliveryQuery,
) -> Result<DeliveryPage, Problem> {
    match journal.deliveries(subscription, query).await {
        // An object that never compiled has no deliveries.
        Err(JournalError::UnknownConsumer(_)) => Ok(DeliveryPage::default()),
        page => Ok(page?),
    }
}

/// `GET /api/v1/namespaces/{namespace}/subscriptions/{name}/deliveries`
pub(super) async fn list(
    State(shared): State<Arc<Shared>>,
    Path((namespace, name)): Path<(String, String)>,
    uri: Uri,
) -> Result<Response, Problem> {
    let query = Query::parse(&uri, Operation::ListDeliveries)?;
    let (limit, order, after) = (query.limit()?, query.order()?, query.after()?);
    let state = query.state()?.map(DeliveryState::from);
    let key = ObjectKey::new(namespace, name);
    let subscription = shared.subscription(&key)?;
    let page = shared.deliveries_page(subscription, state, order, limit, after).await?;
    Ok(response::ok(&contract::DeliveriesPage { page, sending: shared.sending(&key) }))
}

impl Shared {
    /// Reads a page of the deliveries of a subscription.
    pub(super) async fn deliveries_page(
        &self,
        subscription: Incarnation,
        state: Option<DeliveryState>,
        order: ListOrder,
        limit: usize,
        after: Option<Sequence>,
    ) -> Result<Page<DeliveryItem>, Problem> {
        let newest_first = order == ListOrder::Desc;
        let key = subscription.key.clone();
        let page = self.read(async move |read: Read| {
            let journal = &*read.journal;
            let items = async |after, limit| {
                let query = DeliveryQuery { state, after, newest_first, limit };
                let DeliveryPage { deliveries, next } = step(journal, &subscription, query).await?;
                Ok(ListStep { items: deliveries.into_iter().map(DeliveryItem::of).collect(), next })
            };
            read.page(limit, begin(order, after), items, |delivery| delivery.sequence).await
        });
        let mut page = page.await?;
        self.add_answers(&key, &mut page.items);
        Ok(page)
    }

    /// Adds what the receiver answered, as far as this process remembers it.
    pub(super) fn add_answers(&self, subscription: &ObjectKey, items: &mut [DeliveryItem]) {
        let Some(live) = self.admin.snapshot.borrow().subscription(subscription).map(Arc::clone) else { return };
        for item in items.iter_mut().filter(|item| item.outcome == ItemOutcome::Delivered) {
            item.answer = live.facts.answers.of(item.sequence);
        }
    }
}
