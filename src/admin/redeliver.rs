//! Redelivery and resuming; one request redelivers a bounded number of events.

use std::sync::Arc;

use axum::{
    body::{Body, Bytes, to_bytes},
    extract::{Extension, Path, RawPathParams, State},
    http::{HeaderMap, Uri, header},
    response::Response,
};
use grapnel_api::{Incarnation, ObjectKey};
use grapnel_journal::{
    JournalError, Redelivered, RedeliveryPosition, RedeliveryStep, Selection, limits::REDELIVERY_STEP,
};
use jiff::Timestamp;
use serde::de::DeserializeOwned;

use super::{
    Shared,
    authn::Caller,
    authz::{self, Ask, Resource, Verb},
    contract::{Operation, RedeliveryOrder, RedeliveryResult, ResumeOrder, ResumeResult},
    query::{self, Query},
    read::Read,
    response::{self, Problem},
};
use crate::admin::limits::{
    ADMIN_REDELIVERY_BODY_BYTES, ADMIN_REDELIVERY_IDS, ADMIN_REDELIVERY_MAX, ADMIN_REDELIVERY_STEPS,
};

/// The access required to redeliver a subscription's events.
pub(super) fn asks(params: &RawPathParams, _: &Uri) -> Result<Vec<Ask>, Problem> {
    authz::one(Verb::Update, Resource::Deliveries, params)
}

/// `POST /api/v1/namespaces/{namespace}/subscriptions/{name}/redeliver`
pub(super) async fn order(
    State(shared): State<Arc<Shared>>,
    Extension(caller): Extension<Caller>,
    Path((namespace, name)): Path<(String, String)>,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    Query::parse(&uri, Operation::Redeliver)?;
    let order: RedeliveryOrder = parse(&read_json(&headers, body).await?)?;
    Ok(response::ok(&shared.redeliver(&ObjectKey::new(namespace, name), &order, &caller).await?))
}

/// `POST /api/v1/namespaces/{namespace}/subscriptions/{name}/resume`: makes every retrying event due now, and probes
/// the receiver if the circuit is open. Only the process that delivers the subscription makes the probe.
pub(super) async fn resume(
    State(shared): State<Arc<Shared>>,
    Extension(caller): Extension<Caller>,
    Path((namespace, name)): Path<(String, String)>,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    Query::parse(&uri, Operation::Resume)?;
    let body = read_json(&headers, body).await?;
    // Only the requests that continue need a body.
    let order: ResumeOrder = if body.is_empty() { ResumeOrder::default() } else { parse(&body)? };
    let key = ObjectKey::new(namespace, name);
    Ok(response::ok(&shared.resume(&key, order.from.as_deref(), &caller).await?))
}

impl Shared {
    /// Carries out one request for redelivery.
    pub(super) async fn redeliver(
        &self,
        key: &ObjectKey,
        order: &RedeliveryOrder,
        caller: &Caller,
    ) -> Result<RedeliveryResult, Problem> {
        let now = self.admin.clock.now();
        let selection = order.selection(now)?;
        let (limit, from, dry_run) = (order.limit()?, position(order.from.as_deref())?, order.dry_run);
        let subscription = self.subscription(key)?;
        let (step, by) = (RedeliveryStep { from, limit, dry_run, now }, caller);
        let caller = caller.clone();
        let mut done = self.read(move |read| redeliver(read, subscription, selection, step, caller)).await?;
        done.sending = self.sending(key);
        if order.probe && !dry_run {
            self.probe(key, by);
        }
        Ok(done)
    }

    /// Carries out one request to resume: makes retrying events due now, and probes the receiver at the beginning.
    pub(super) async fn resume(
        &self,
        key: &ObjectKey,
        from: Option<&str>,
        caller: &Caller,
    ) -> Result<ResumeResult, Problem> {
        let from = position(from)?;
        let begins = from.is_none();
        let subscription = self.subscription(key)?;
        let now = self.admin.clock.now();
        let step = RedeliveryStep { from, limit: usize::MAX, dry_run: false, now };
        let by = caller.clone();
        let mut done = self.read(move |read| redeliver(read, subscription, Selection::Retrying, step, by)).await?;
        done.sending = self.sending(key);
        // Each further probe would disregard what the receiver has answered to the first.
        if begins {
            self.probe(key, caller);
        }
        // Retrying events that are skipped are due already.
        let due = done.hastened.saturating_add(done.skipped);
        Ok(ResumeResult { done, due })
    }

    /// Requests a probe of the receiver, if the circuit of the subscription is open.
    fn probe(&self, key: &ObjectKey, caller: &Caller) {
        if let Some(subscription) = self.admin.snapshot.borrow().subscription(key) {
            if subscription.facts.read().circuit.is_some() {
                tracing::info!(
                    namespace = %key.namespace, subscription = %key.name, caller = %caller.name,
                    "a probe of the receiver was requested"
                );
            }
            subscription.facts.request_probe();
        }
    }
}

/// Reads a body that is declared as JSON. A page in a browser may post some other content types to this machine without
/// a preflight (the CORS protocol's safelist).
async fn read_json(headers: &HeaderMap, body: Body) -> Result<Bytes, Problem> {
    if !is_json(headers) {
        return Err(Problem::unsupported_media_type(
            "the body must be JSON, with the header Content-Type: application/json",
        ));
    }
    to_bytes(body, ADMIN_REDELIVERY_BODY_BYTES).await.map_err(|_| {
        Problem::too_large(format!("the body is larger than {ADMIN_REDELIVERY_BODY_BYTES} bytes, or ended early"))
    })
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Problem> {
    serde_json::from_slice(body).map_err(|error| Problem::parameter(format!("the body: {error}")))
}

/// Redelivers at most `whole.limit` events, in steps.
async fn redeliver(
    read: Read,
    subscription: Incarnation,
    selection: Selection,
    whole: RedeliveryStep,
    caller: Caller,
) -> Result<RedeliveryResult, Problem> {
    let mut done = RedeliveryResult { dry_run: whole.dry_run, ..RedeliveryResult::default() };
    if let Selection::Received { since, until } = &selection {
        (done.since, done.until) = (*since, *until);
    }
    let mut step = whole;
    for _ in 0..ADMIN_REDELIVERY_STEPS {
        let room = whole.limit.saturating_sub(usize::try_from(done.moved()).unwrap_or(usize::MAX));
        step.limit = REDELIVERY_STEP.min(room);
        let outcome = read.journal.redeliver(&subscription, &selection, step).await;
        let outcome = outcome.map_err(|error| refused(error, &subscription))?;
        step.from = outcome.next;
        done.add(RedeliveryResult::of(outcome));
        if step.from.is_none() || done.moved() >= whole.limit as u64 || read.is_over() {
            break;
        }
    }
    done.next = step.from.map(|next| next.to_string());
    if !done.dry_run {
        tracing::info!(
            namespace = %subscription.key.namespace,
            subscription = %subscription.key.name,
            queued = done.queued,
            hastened = done.hastened,
            skipped = done.skipped,
            gone = done.gone,
            caller = %caller.name,
            "events queued for redelivery"
        );
    }
    Ok(done)
}

/// Whether a body is a valid redelivery request at `now`. For checking bodies without a server.
#[doc(hidden)]
pub fn understands_order(body: &[u8], now: Timestamp) -> bool {
    let Ok(order) = serde_json::from_slice::<RedeliveryOrder>(body) else { return false };
    order.selection(now).is_ok() && order.limit().is_ok() && position(order.from.as_deref()).is_ok()
}

impl RedeliveryOrder {
    fn selection(&self, now: Timestamp) -> Result<Selection, Problem> {
        const ONE: &str = "exactly one of deadLettered, retrying, eventIds, and since and until (one of them or both)";
        let span = self.since.is_some() || self.until.is_some();
        match self.retrying {
            None => {}
            Some(true) if self.dead_lettered.is_none() && self.event_ids.is_none() && !span => {
                return Ok(Selection::Retrying);
            }
            Some(true) => return Err(Problem::parameter(format!("the body must have {ONE}"))),
            Some(false) => return Err(Problem::parameter("retrying must be true or absent")),
        }
        match (self.dead_lettered, &self.event_ids, span) {
            (Some(true), None, false) => Ok(Selection::DeadLettered),
            (Some(false), ..) => Err(Problem::parameter("deadLettered must be true or absent")),
            (None, Some(ids), false) if (1..=ADMIN_REDELIVERY_IDS).contains(&ids.len()) => {
                Ok(Selection::Events(ids.clone()))
            }
            (None, Some(_), false) => {
                Err(Problem::parameter(format!("eventIds must name from 1 to {ADMIN_REDELIVERY_IDS} events")))
            }
            (None, None, true) => {
                let time =
                    |name, text: &Option<String>| text.as_deref().map(|text| query::time(name, text, now)).transpose();
                let (since, until) = (time("since", &self.since)?, time("until", &self.until)?);
                if let (Some(since), Some(until)) = (since, until)
                    && since >= until
                {
                    return Err(Problem::parameter(format!("since ({since}) must be before until ({until})")));
                }
                Ok(Selection::Received { since, until })
            }
            (None, None, false) => Err(Problem::parameter(format!("the body must select events: {ONE}"))),
            _ => Err(Problem::parameter(format!("the body must have {ONE}"))),
        }
    }

    fn limit(&self) -> Result<usize, Problem> {
        let limit = self.limit.unwrap_or(ADMIN_REDELIVERY_MAX);
        if (1..=ADMIN_REDELIVERY_MAX).contains(&limit) {
            Ok(limit)
        } else {
            Err(Problem::parameter(format!("limit must be a number from 1 to {ADMIN_REDELIVERY_MAX}, not {limit}")))
        }
    }
}

/// The position at which a previous response ended.
fn position(text: Option<&str>) -> Result<Option<RedeliveryPosition>, Problem> {
    text.map(str::parse).transpose().map_err(|_| {
        Problem::parameter("continue must be the value from the previous response, with the same selection")
    })
}

impl RedeliveryResult {
    /// The counts of one step.
    fn of(step: Redelivered) -> Self {
        let Redelivered { queued, hastened, skipped, gone, gone_ids, gone_before, sequences: _, next: _ } = step;
        Self { queued, hastened, skipped, gone, gone_ids, gone_before, ..Self::default() }
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    value.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("application/json")
}

fn refused(error: JournalError, subscription: &Incarnation) -> Problem {
    match error {
        JournalError::UnknownConsumer(_) => Problem::conflict(format!(
            "WebhookSubscription {subscription} has received no events yet; see the conditions in its status"
        )),
        error => error.into(),
    }
}
