//! Rows of subscriptions.

use grapnel_api::{DeliveryFailure, Reason, ShadowCounts, WebhookSubscriptionStatus};
use grapnel_values::age;
use jiff::Timestamp;

use super::problem::ready;
use crate::{
    admin::contract::{CircuitName, SubscriptionItem},
    cli::print::or_dash,
};

pub(super) fn titles(wide: bool) -> Vec<&'static str> {
    let titles =
        ["SUBSCRIPTION", "ENDPOINT", "READY", "DELIVERED", "PENDING", "RETRYING", "DEAD", "CIRCUIT", "LAST-FAILURE"];
    let more: &[&str] = if wide { &["LAST-DELIVERY", "SOURCE", "FAILURE"] } else { &[] };
    titles.iter().chain(more).copied().collect()
}

pub(super) fn cells(item: &SubscriptionItem, now: Timestamp, wide: bool) -> Vec<String> {
    let status = &item.status;
    let failure = status.last_failure.as_ref();
    let endpoint_namespace = item.endpoint_namespace.as_ref().unwrap_or(&item.namespace);
    let mut cells = vec![
        format!("{}/{}", item.namespace, item.name),
        or_dash(item.endpoint.as_ref().map(|endpoint| format!("{endpoint_namespace}/{endpoint}"))),
        ready(&status.conditions),
        or_dash(status.delivered),
        or_dash(unsettled(status)),
        or_dash(status.retrying),
        or_dash(status.dead_lettered),
        circuit(item, now),
        or_dash(failure.map(|failure| short(failure, now))),
    ];
    if wide {
        cells.push(or_dash(status.last_delivery.as_ref().map(|delivery| age::since(delivery.time.0, now))));
        cells.push(or_dash(item.source.as_ref()));
        cells.push(or_dash(failure.map(|failure| &failure.message)));
    }
    cells
}

/// Events that are not settled, as the metric `webhook_deliveries_pending` counts them.
fn unsettled(status: &WebhookSubscriptionStatus) -> Option<u64> {
    let rest = [status.in_flight, status.retrying].into_iter().flatten();
    Some(rest.fold(status.pending?, u64::saturating_add))
}

/// The state of the circuit. A replica that does not deliver for the subscription knows it from the conditions only.
fn circuit(item: &SubscriptionItem, now: Timestamp) -> String {
    if item.sending.suspended == Some(true) {
        return "suspended".into();
    }
    if item.sending.mode.is_some() {
        return match item.status.shadow {
            Some(ShadowCounts { would_send, failed: 0 }) => format!("shadow (would send {would_send})"),
            Some(ShadowCounts { would_send, failed }) => format!("shadow (would send {would_send}, failed {failed})"),
            None => "shadow".into(),
        };
    }
    let is_open = item.status.conditions.iter().any(|condition| condition.reason == Reason::CircuitOpen.as_str());
    match item.sending.circuit {
        Some(CircuitName::Closed) => match item.sending.asked_pause(now) {
            Some(until) => format!("closed (paused for {}: Retry-After)", age::until(until, now)),
            None => "closed".into(),
        },
        None if !is_open => "-".into(),
        _ => match item.sending.next_probe_time.filter(|time| *time > now) {
            Some(time) => format!("open (probe in {})", age::until(time, now)),
            None => "open".into(),
        },
    }
}

fn short(failure: &DeliveryFailure, now: Timestamp) -> String {
    let status = failure.status_code.map_or_else(String::new, |status| format!(" {status}"));
    format!("{}{status} ({} ago)", failure.reason, age::since(failure.time.0, now))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const NOW: &str = "2026-01-31T12:00:00Z";

    fn item(value: serde_json::Value) -> SubscriptionItem {
        serde_json::from_value(value).unwrap()
    }

    fn row(item: &SubscriptionItem) -> Vec<String> {
        cells(item, NOW.parse().unwrap(), false)
    }

    #[test]
    fn what_is_not_settled_is_pending() {
        let item = item(json!({
            "namespace": "shop", "name": "billing", "endpoint": "orders", "endpointNamespace": "hub",
            "suspended": false, "circuit": "open", "nextProbeTime": "2026-01-31T12:00:25Z",
            "status": {
                "pending": 3, "inFlight": 1, "retrying": 2, "deadLettered": 4, "delivered": 5,
                "lastFailure": {
                    "time": "2026-01-31T11:55:00Z", "eventId": "e", "reason": "status", "statusCode": 500,
                    "message": "out of order",
                },
            },
        }));
        let expected =
            ["shop/billing", "hub/orders", "Unknown", "5", "6", "2", "4", "open (probe in 25s)", "status 500 (5m ago)"];
        assert_eq!(row(&item), expected);
        assert_eq!(cells(&item, NOW.parse().unwrap(), true).len(), titles(true).len());
        assert_eq!(titles(false).len(), expected.len());
    }

    #[test]
    fn a_shadow_says_what_it_would_have_sent() {
        let with = |shadow: serde_json::Value| {
            let item = item(json!({
                "namespace": "shop", "name": "billing", "mode": "Shadow", "status": { "shadow": shadow },
            }));
            row(&item)[7].clone()
        };
        assert_eq!(with(json!(null)), "shadow");
        assert_eq!(with(json!({ "wouldSend": 12, "failed": 0 })), "shadow (would send 12)");
        assert_eq!(with(json!({ "wouldSend": 12, "failed": 1 })), "shadow (would send 12, failed 1)");
    }

    #[test]
    fn a_pause_of_the_receiver_is_shown() {
        let item = item(json!({
            "namespace": "shop", "name": "billing", "circuit": "closed", "pausedUntil": "2026-01-31T12:00:25Z",
            "status": {},
        }));
        assert_eq!(row(&item)[7], "closed (paused for 25s: Retry-After)");
    }

    #[test]
    fn a_replica_that_does_not_deliver_knows_the_circuit_from_the_condition() {
        let with = |reason: &str| {
            let condition = json!({
                "type": "Delivering", "status": "False", "reason": reason, "message": "m", "lastTransitionTime": NOW,
            });
            let status = json!({ "conditions": [condition] });
            row(&item(json!({ "namespace": "shop", "name": "billing", "status": status })))[7].clone()
        };
        assert_eq!((with("CircuitOpen"), with("TargetFailing")), ("open".into(), "-".into()));
    }
}
