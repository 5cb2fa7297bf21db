//! What a replay would select from the events that are stored now.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
};

use grapnel_api::ObjectKey;
use grapnel_journal::{DeliveryState, Selection, Sequence, StoredEvent, limits::REDELIVERY_SKEW};
use jiff::Timestamp;

use super::{
    configuration::Configuration,
    difference::{Difference, DifferenceKind},
    report::{ReplayMatches, ReplayReport},
};
use crate::{
    catalog::{ObjectKind, Replay, Subscription},
    dispatch::preview,
};

/// Fields that can be changed after the start of a replay.
const CHANGEABLE: [&str; 2] = ["suspend", "ttlSecondsAfterFinished"];

/// What happens to a replay. Its events are not counted yet.
pub(super) fn replay_report(
    key: &ObjectKey,
    difference: Difference,
    old: &Configuration,
    new: &Configuration,
) -> ReplayReport {
    let version = if new.defines(ObjectKind::Replay, key) { new } else { old };
    let (compiled, Difference { kind, fields, not_rehearsed: _ }) = (version.replay(key), difference);
    ReplayReport {
        namespace: key.namespace.to_string(),
        name: key.name.to_string(),
        change: kind,
        fields,
        subscription: version.text(ObjectKind::Replay, key, "/subscriptionRef/name").unwrap_or_default().to_owned(),
        dry_run: compiled.is_some_and(|replay| replay.dry_run),
        suspended: compiled.is_some_and(|replay| replay.suspended),
        matches: None,
        ended: None,
    }
}

impl ReplayReport {
    /// Whether it would select events anew: it is new, or a field has changed that cannot be changed in a cluster.
    pub(super) fn selects(&self) -> bool {
        match self.change {
            DifferenceKind::Added => true,
            DifferenceKind::Changed => self.restarts(),
            DifferenceKind::Deleted | DifferenceKind::Affected => false,
        }
    }

    /// Whether a field has changed that cannot be changed in a cluster. Without a cluster the replay runs again.
    pub(super) fn restarts(&self) -> bool {
        self.change == DifferenceKind::Changed && self.fields.iter().any(|field| !CHANGEABLE.contains(&&**field))
    }

    /// Whether events may be delivered, or are no longer delivered, because of it.
    pub(super) fn has_effect(&self) -> bool {
        match self.change {
            DifferenceKind::Deleted => self.ended == Some(false) && !self.dry_run,
            DifferenceKind::Changed => self.restarts() || self.fields.iter().any(|field| field == "suspend"),
            DifferenceKind::Added | DifferenceKind::Affected => !self.dry_run,
        }
    }
}

/// Counts the events that a replay would select now. Show it the deliveries of its subscription, the newest first, and then
/// those events that [`needs`](Self::needs) names.
#[derive(Debug)]
pub struct ReplayCount {
    replay: Arc<Replay>,
    /// The live subscription, and its endpoint.
    subscription: Arc<Subscription>,
    /// The ids that have not been found yet.
    ids: HashSet<Box<str>>,
    /// The selected events that the filter has not judged yet, and whether they wait for delivery.
    unjudged: BTreeMap<Sequence, bool>,
    matches: ReplayMatches,
}

/// A delivery of the subscription.
#[derive(Debug, Clone, Copy)]
pub struct ReplayCandidate<'a> {
    /// The position of the event.
    pub sequence: Sequence,
    /// The id of the event; `None` if its record is damaged.
    pub id: Option<&'a str>,
    /// When the event was received.
    pub received: Option<Timestamp>,
    /// The state of the delivery.
    pub state: DeliveryState,
}

impl ReplayCount {
    /// Begins to count. `None` if the subscription is not live, so that it has no events.
    pub(super) fn of(replay: &Arc<Replay>, live: &Configuration) -> Option<Self> {
        let subscription = Arc::clone(live.subscription(&replay.subscription)?);
        let ids = match &replay.selection {
            Selection::Events(ids) => ids.iter().cloned().collect(),
            _ => HashSet::new(),
        };
        let replay = Arc::clone(replay);
        Some(Self { replay, subscription, ids, unjudged: BTreeMap::new(), matches: ReplayMatches::default() })
    }

    /// The replay.
    pub fn key(&self) -> &ObjectKey {
        &self.replay.key
    }

    /// The subscription whose deliveries to show.
    pub fn subscription(&self) -> &ObjectKey {
        &self.replay.subscription
    }

    /// The endpoint of the events.
    pub fn endpoint(&self) -> &ObjectKey {
        &self.subscription.endpoint.key
    }

    /// The state of the deliveries to show; `None` for those in every state.
    pub fn state(&self) -> Option<DeliveryState> {
        matches!(self.replay.selection, Selection::DeadLettered).then_some(DeliveryState::DeadLettered)
    }

    /// Looks at a delivery. Returns whether an older one may be selected too.
    pub fn look(&mut self, candidate: ReplayCandidate<'_>) -> bool {
        let ReplayCandidate { sequence, id, received, state } = candidate;
        let (is_selected, goes_on) = match &self.replay.selection {
            Selection::DeadLettered => (state == DeliveryState::DeadLettered, true),
            Selection::Retrying => (state == DeliveryState::Retrying, true),
            Selection::Events(_) => (id.is_some_and(|id| self.ids.remove(id)), !self.ids.is_empty()),
            Selection::Sequences(all) => (all.contains(&sequence), true),
            Selection::Received { since, until } => {
                let is_in = |received: Timestamp| {
                    since.is_none_or(|since| received >= since) && until.is_none_or(|until| received < until)
                };
                // Events are stored in nearly the order of receipt.
                let oldest = since.map(|since| since.checked_sub(REDELIVERY_SKEW).unwrap_or(Timestamp::MIN));
                let is_before = oldest.zip(received).is_some_and(|(oldest, received)| received < oldest);
                (received.is_some_and(is_in), !is_before)
            }
        };
        let waits = !matches!(state, DeliveryState::Settled | DeliveryState::DeadLettered);
        match &self.replay.filter {
            _ if !is_selected => {}
            None => self.matches.add(waits),
            Some(_) => drop(self.unjudged.insert(sequence, waits)),
        }
        goes_on
    }

    /// The first and the last of the events that the filter has to judge, if there are any.
    pub fn needs(&self) -> Option<(Sequence, Sequence)> {
        let (first, last) = (self.unjudged.first_key_value()?, self.unjudged.last_key_value()?);
        Some((*first.0, *last.0))
    }

    /// Lets the filter judge an event, if it is selected.
    pub fn judge(&mut self, event: &StoredEvent) {
        let Some(waits) = self.unjudged.remove(&event.sequence) else { return };
        let Some(filter) = &self.replay.filter else { return };
        match preview::admits(filter, &self.subscription, event.clone()) {
            Ok(true) => self.matches.add(waits),
            Ok(false) => {}
            Err(_) => self.matches.filter_errors += 1,
        }
    }

    /// Records that there are more events than were looked at.
    pub fn cut(&mut self) {
        self.matches.is_partial = true;
    }

    /// The result.
    pub(super) fn matches(self) -> ReplayMatches {
        ReplayMatches { unread: self.unjudged.len() as u64, ..self.matches }
    }
}

impl ReplayMatches {
    fn add(&mut self, waits: bool) {
        self.matched += 1;
        self.waiting += u64::from(waits);
    }
}
