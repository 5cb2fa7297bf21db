//! Kubernetes Events, which `kubectl describe` shows below an object.
//!
//! They are derived from the previous and the current status. Events are best effort: they go through a bounded queue,
//! one at a time and without retries, and when the queue is full the newest are dropped and counted.

use grapnel_api::{ConditionType, Incarnation, ObjectKey, Reason, WebhookEndpoint, WebhookReplay, WebhookSubscription};
use k8s_openapi::{api::core::v1::ObjectReference, apimachinery::pkg::apis::meta::v1::Condition};
use kube::{Client, Resource};
use kube_runtime::events::{Event, EventType, Recorder, Reporter};
use serde_json::Value;
use tokio::{sync::mpsc, time};
use tokio_util::sync::CancellationToken;

use super::api_access::{ApiAccess, Cause, Need};
use crate::{
    catalog::{ObjectKind, observed::AbandonedDeliveries},
    controller::limits,
    telemetry::metrics::Metrics,
};

/// The reporting controller of every Event.
pub const CONTROLLER: &str = "grapnel.dev/grapnel";

/// Reason of the Event of a receiver that recovers after deliveries had paused.
const CIRCUIT_CLOSED: &str = "CircuitClosed";

/// Reason of the Event of a subscription that was deleted with unsettled events.
const DELIVERIES_ABANDONED: &str = "DeliveriesAbandoned";

/// An Event with the object that it concerns.
pub struct Announcement {
    event: Event,
    about: ObjectReference,
}

/// Queues Events without waiting.
#[derive(Clone)]
pub struct Announcer {
    queue: mpsc::Sender<Announcement>,
    metrics: Metrics,
}

/// Publishes Events.
pub struct Publisher {
    queue: mpsc::Receiver<Announcement>,
    recorder: Recorder,
    access: ApiAccess,
    metrics: Metrics,
}

/// A publisher and its queue. `client` must not retry by itself; `instance` is this replica's name.
pub fn channel(client: Client, instance: String, access: ApiAccess, metrics: Metrics) -> (Announcer, Publisher) {
    let (sender, queue) = mpsc::channel(limits::EVENTS_QUEUED);
    let reporter = Reporter { controller: CONTROLLER.into(), instance: Some(instance) };
    let recorder = Recorder::new(client, reporter);
    (Announcer { queue: sender, metrics: metrics.clone() }, Publisher { queue, recorder, access, metrics })
}

impl Announcer {
    /// Queues an Event, or drops it if the queue is full.
    pub fn announce(&self, announcement: Announcement) {
        if self.queue.try_send(announcement).is_err() {
            self.metrics.cluster().event("dropped");
        }
    }
}

impl Publisher {
    /// Publishes queued Events until `shutdown`; Events still queued then are dropped.
    pub async fn run(mut self, shutdown: CancellationToken) {
        loop {
            let Announcement { event, about } = tokio::select! {
                () = shutdown.cancelled() => return,
                Some(announcement) = self.queue.recv() => announcement,
                else => return shutdown.cancelled().await,
            };
            let published = time::timeout(limits::EVENT_TIMEOUT, self.recorder.publish(&event, &about));
            let outcome = tokio::select! {
                () = shutdown.cancelled() => return,
                published = published => match published {
                    Ok(Ok(())) => {
                        self.access.recovered(&need());
                        "ok"
                    }
                    Ok(Err(error)) => {
                        tracing::debug!(reason = event.reason, %error, "an Event was not published");
                        // Any other failure concerns this Event only, such as that its namespace is being deleted.
                        if error.is_missing_right() {
                            self.access.failed(need(), &error);
                        }
                        "failed"
                    }
                    Err(_) => "timeout",
                },
            };
            self.metrics.cluster().event(outcome);
        }
    }
}

/// The right that publishing takes.
fn need() -> Need {
    Need::new("create", "events").without_it("no Kubernetes Events are published")
}

/// Announces the events that deleted subscriptions have left behind, until `shutdown`.
pub async fn announce_abandoned(
    announcer: Announcer,
    mut abandoned: mpsc::Receiver<AbandonedDeliveries>,
    shutdown: CancellationToken,
) {
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            Some(deliveries) = abandoned.recv() => announcer.announce(abandonment(&deliveries)),
            else => return shutdown.cancelled().await,
        }
    }
}

/// The Event of a subscription that was deleted with unsettled events. The object is gone; its name and uid remain.
fn abandonment(deliveries: &AbandonedDeliveries) -> Announcement {
    let AbandonedDeliveries { subscription: Incarnation { key, uid }, events, dead_letters } = deliveries;
    let uid = (!uid.is_empty()).then_some(&**uid);
    let unlisted = match dead_letters {
        0 => String::new(),
        1 => ", and its 1 dead letter is no longer listed".to_owned(),
        _ => format!(", and its {dead_letters} dead letters are no longer listed"),
    };
    Announcement {
        event: Event {
            type_: EventType::Warning,
            reason: DELIVERIES_ABANDONED.into(),
            note: Some(format!(
                "the subscription was deleted with {events} unsettled events, which will not be delivered{unlisted}. \
                 With spec.deletionPolicy Drain the deletion waits until all events are settled"
            )),
            action: "Delete".into(),
            secondary: None,
        },
        about: reference(ObjectKind::Subscription, key, uid),
    }
}

/// The Events for a changed status.
pub(super) fn changes(
    kind: ObjectKind,
    key: &ObjectKey,
    uid: Option<&str>,
    before: Option<&Value>,
    after: &Value,
) -> impl Iterator<Item = Announcement> {
    let was = conditions(before);
    let is = conditions(Some(after));
    let mut events: Vec<Event> = Vec::new();
    for condition in &is {
        let previous = was.iter().find(|other| other.type_ == condition.type_);
        if let Some(event) = transition(previous, condition)
            && !events.iter().any(|other| other.reason == event.reason)
        {
            events.push(event);
        }
    }
    let dead = |status: Option<&Value>| status?.get("deadLettered")?.as_u64();
    let (then, now) = (dead(before).unwrap_or_default(), dead(Some(after)).unwrap_or_default());
    if now > then {
        events.push(Event {
            type_: EventType::Warning,
            reason: "DeadLettered".into(),
            note: Some(format!("{} more events were dead-lettered; there are {now} dead letters", now - then)),
            action: "Deliver".into(),
            secondary: None,
        });
    }
    let about = reference(kind, key, uid);
    events.into_iter().map(move |event| Announcement { event, about: about.clone() })
}

/// The conditions of a status that can be parsed.
pub(super) fn conditions(status: Option<&Value>) -> Vec<Condition> {
    let listed = status.and_then(|status| status.get("conditions")).and_then(Value::as_array);
    listed.into_iter().flatten().filter_map(|condition| serde_json::from_value(condition.clone()).ok()).collect()
}

/// The Event for a changed condition. One that became false, for a new reason or in a new generation, is a warning;
/// `Ready` that became true is `Programmed`, and deliveries that resume after a pause are `CircuitClosed`. A replay that
/// completes is `Completed`, and one that fails is a warning; that it is not complete yet causes no Event. `Stalled`,
/// `Reconciling` and `ReferencesResolved` repeat the others and cause none either.
fn transition(previous: Option<&Condition>, condition: &Condition) -> Option<Event> {
    let is = |kind: ConditionType| condition.type_ == kind.as_str();
    let repeats = [ConditionType::Stalled, ConditionType::Reconciling, ConditionType::ReferencesResolved];
    if repeats.into_iter().any(is) {
        return None;
    }
    let as_before = previous.is_some_and(|previous| {
        previous.status == condition.status
            && previous.reason == condition.reason
            && (is(ConditionType::Delivering) || previous.observed_generation == condition.observed_generation)
    });
    let holds = condition.status == "True";
    let failing = match () {
        () if is(ConditionType::Complete) => false,
        () if is(ConditionType::Failed) => holds,
        () => condition.status == "False",
    };
    let programmed = holds && (is(ConditionType::Ready) || is(ConditionType::Complete));
    let paused = previous.is_some_and(|previous| previous.reason == Reason::CircuitOpen.as_str());
    let closed = holds && is(ConditionType::Delivering) && paused;
    if as_before || !(failing || programmed || closed) {
        return None;
    }
    let reason = if closed { CIRCUIT_CLOSED } else { &condition.reason };
    let delivers = [ConditionType::Delivering, ConditionType::Complete].into_iter().any(is);
    let action = if delivers { "Deliver" } else { "Program" };
    Some(Event {
        type_: if failing { EventType::Warning } else { EventType::Normal },
        reason: reason.into(),
        note: Some(shortened(&condition.message)),
        action: action.into(),
        secondary: None,
    })
}

/// Truncates a note to 1 kB, the maximum of events.k8s.io/v1.
fn shortened(message: &str) -> String {
    let mut end = message.len().min(limits::EVENT_NOTE_BYTES);
    while !message.is_char_boundary(end) {
        end = end.saturating_sub(1);
    }
    message.get(..end).unwrap_or_default().to_owned()
}

fn reference(kind: ObjectKind, key: &ObjectKey, uid: Option<&str>) -> ObjectReference {
    let (api_version, kind) = match kind {
        ObjectKind::Endpoint => (WebhookEndpoint::api_version(&()), WebhookEndpoint::kind(&())),
        ObjectKind::Subscription => (WebhookSubscription::api_version(&()), WebhookSubscription::kind(&())),
        ObjectKind::Replay => (WebhookReplay::api_version(&()), WebhookReplay::kind(&())),
    };
    ObjectReference {
        api_version: Some(api_version.into_owned()),
        kind: Some(kind.into_owned()),
        namespace: Some(key.namespace.to_string()),
        name: Some(key.name.to_string()),
        uid: uid.map(str::to_owned),
        ..ObjectReference::default()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn status(ready: &str, reason: &str, generation: i64) -> Value {
        let condition = |kind: &str| {
            json!({
                "type": kind, "status": ready, "reason": reason, "message": "what to do",
                "observedGeneration": generation, "lastTransitionTime": "2026-01-01T00:00:00Z",
            })
        };
        json!({ "conditions": [condition("Accepted"), condition("Ready")] })
    }

    fn reasons(before: Option<&Value>, after: &Value) -> Vec<(bool, String)> {
        let key = ObjectKey::new("shop", "orders");
        changes(ObjectKind::Endpoint, &key, Some("u"), before, after)
            .map(|it| (matches!(it.event.type_, EventType::Warning), it.event.reason))
            .collect()
    }

    #[test]
    fn each_change_is_published_once() {
        let good = status("True", "Programmed", 1);
        let bad = status("False", "InvalidSpec", 2);
        assert_eq!(reasons(None, &good), [(false, "Programmed".into())]);
        assert_eq!(reasons(Some(&good), &good), []);
        assert_eq!(reasons(Some(&good), &bad), [(true, "InvalidSpec".into())], "one for both conditions");
        assert_eq!(reasons(Some(&bad), &bad), []);
        assert_eq!(reasons(Some(&bad), &status("False", "InvalidSpec", 3)).len(), 1, "another spec that is wrong");
        assert_eq!(reasons(Some(&bad), &good), [(false, "Programmed".into())]);
    }

    #[test]
    fn the_end_of_a_replay_is_published_and_its_progress_is_not() {
        let of = |conditions: &[(&str, &str, &str)]| {
            let condition = |(kind, status, reason): &(&str, &str, &str)| {
                json!({
                    "type": kind, "status": status, "reason": reason, "message": "why",
                    "observedGeneration": 1, "lastTransitionTime": "2026-01-01T00:00:00Z",
                })
            };
            json!({ "conditions": conditions.iter().map(condition).collect::<Vec<_>>() })
        };
        let running = of(&[("Accepted", "True", "Accepted"), ("Complete", "False", "Progressing")]);
        assert_eq!(reasons(None, &running), []);
        let complete = of(&[("Accepted", "True", "Accepted"), ("Complete", "True", "Completed")]);
        assert_eq!(reasons(Some(&running), &complete), [(false, "Completed".into())]);
        let reason = "SubscriptionDeleted";
        let failed = of(&[("Complete", "False", reason), ("Failed", "True", reason), ("Stalled", "True", reason)]);
        assert_eq!(reasons(Some(&running), &failed), [(true, reason.into())]);
    }

    #[test]
    fn a_circuit_is_published_when_it_opens_and_when_it_closes() {
        let delivering = |status: &str, reason: &str| {
            json!({ "conditions": [{
                "type": "Delivering", "status": status, "reason": reason, "message": "what to do",
                "observedGeneration": 1, "lastTransitionTime": "2026-01-01T00:00:00Z",
            }] })
        };
        let open = delivering("False", "CircuitOpen");
        let failing = delivering("False", "TargetFailing");
        let well = delivering("True", "Succeeding");
        assert_eq!(reasons(Some(&failing), &open), [(true, "CircuitOpen".into())]);
        assert_eq!(reasons(Some(&open), &open), []);
        assert_eq!(reasons(Some(&open), &well), [(false, "CircuitClosed".into())]);
        assert_eq!(reasons(Some(&open), &failing), [(true, "TargetFailing".into())]);
        assert_eq!(reasons(Some(&failing), &well), [], "it had not opened");
    }

    #[test]
    fn abandoned_deliveries_name_the_deleted_object() {
        let subscription = Incarnation::new(ObjectKey::new("shop", "billing"), "u-1");
        let note = |dead_letters| {
            let deliveries = AbandonedDeliveries { subscription: subscription.clone(), events: 3, dead_letters };
            abandonment(&deliveries).event.note.unwrap()
        };
        assert!(note(0).contains("3 unsettled events") && !note(0).contains("dead letter"), "{}", note(0));
        assert!(
            note(2).contains("will not be delivered, and its 2 dead letters are no longer listed. With"),
            "{}",
            note(2)
        );
        let deliveries = AbandonedDeliveries { subscription: subscription.clone(), events: 3, dead_letters: 0 };
        let Announcement { event, about } = abandonment(&deliveries);
        assert_eq!(&*event.reason, "DeliveriesAbandoned");
        assert_eq!((about.name.as_deref(), about.uid.as_deref()), (Some("billing"), Some("u-1")));
        assert_eq!(about.kind.as_deref(), Some("WebhookSubscription"));
    }

    #[test]
    fn dead_letters_are_published_when_they_grow() {
        let with = |dead: u64| json!({ "deadLettered": dead });
        assert_eq!(reasons(Some(&with(0)), &with(2)), [(true, "DeadLettered".into())]);
        assert_eq!(reasons(Some(&with(2)), &with(2)), []);
        assert_eq!(reasons(Some(&with(2)), &with(0)), []);
    }

    #[test]
    fn long_notes_are_cut_between_characters() {
        let note = shortened(&"é".repeat(2000));
        assert!(note.len() <= limits::EVENT_NOTE_BYTES && note.chars().all(|c| c == 'é') && note.len() > 1000);
    }
}
