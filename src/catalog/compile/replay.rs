//! Compiles `WebhookReplay` to [`Replay`].

use std::sync::Arc;

use grapnel_api::{ObjectKey, Reason, ReplaySelection, WebhookReplaySpec};
use grapnel_expression::{ExpectedType, Scope};
use grapnel_journal::Selection;
use serde_json::json;
use sha2::{Digest, Sha256};

use super::{Compiled, Options, ReferencedValues, field::Field, pacing, run::Compilation};
use crate::catalog::{
    limits,
    replay::{Replay, ReplayFacts},
};

/// Inputs of a replay from its object, from other objects and from its earlier versions.
pub struct ReplayInputs<'a> {
    /// Whether its subscription can deliver again.
    pub standing: SubscriptionStanding,
    /// Its progress.
    pub facts: Arc<ReplayFacts>,
    /// The version that runs now; an unchanged rate keeps its state.
    pub previous: Option<&'a Replay>,
}

/// Whether a subscription that a replay names can deliver again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SubscriptionStanding {
    /// It exists.
    Open,
    /// It does not exist.
    Absent,
    /// It has another class than the replay, so that another operator serves it.
    OtherClass,
}

/// The subscription that a replay names, in its own namespace.
pub fn subscription_of(key: &ObjectKey, spec: &WebhookReplaySpec) -> ObjectKey {
    ObjectKey::new(Arc::clone(&key.namespace), spec.subscription_ref.name.as_str())
}

/// The digest of the part of a spec that cannot be changed.
pub fn replay_digest(spec: &WebhookReplaySpec) -> Arc<str> {
    let fixed = WebhookReplaySpec { suspend: None, ttl_seconds_after_finished: None, ..spec.clone() };
    // A default that the API server has set does not count.
    let fixed = WebhookReplaySpec { dry_run: fixed.dry_run.filter(|dry_run| *dry_run), ..fixed };
    hex::encode(Sha256::digest(json!(fixed).to_string())).into()
}

/// Compiles a replay.
pub fn replay(
    key: &ObjectKey,
    spec: &WebhookReplaySpec,
    options: &Options,
    sources: &dyn ReferencedValues,
    inputs: ReplayInputs<'_>,
) -> Compiled<Replay> {
    let run = Compilation::new(key, options, sources);
    let spec = Field::object(&run).at("spec", spec);
    let digest = replay_digest(&spec);
    check_unchanged(&spec, &digest, &inputs.facts);
    // Its own mistakes first: the subscription may appear.
    let complete = read(&spec);
    check_subscription(&spec, inputs.standing);
    let replay = complete.map(|complete| complete(digest, inputs));
    run.end(replay)
}

fn check_subscription(spec: &Field<'_, WebhookReplaySpec>, standing: SubscriptionStanding) {
    let reference = spec.at("subscriptionRef", &spec.subscription_ref);
    let name = reference.at("name", &reference.name);
    let (namespace, text) = (spec.namespace(), name.value());
    match standing {
        SubscriptionStanding::Open => {}
        SubscriptionStanding::Absent => name.problem(
            Reason::SubscriptionNotFound,
            format!(
                "WebhookSubscription {text} does not exist in namespace {namespace}; create it or correct the name"
            ),
        ),
        SubscriptionStanding::OtherClass => name.problem(
            Reason::ClassMismatch,
            format!("WebhookSubscription {text} has another spec.className than this replay; give both the same"),
        ),
    }
}

/// API servers without CEL rules accept any change.
fn check_unchanged(spec: &Field<'_, WebhookReplaySpec>, digest: &str, facts: &ReplayFacts) {
    let begun = facts.read().digest;
    if !begun.is_empty() && *begun != *digest {
        let message =
            "only suspend and ttlSecondsAfterFinished can be changed after the start; create a new WebhookReplay";
        spec.problem(Reason::InvalidSpec, message);
    }
}

/// Reads the spec. Returns the function that completes it to a replay, or `None` if it cannot run.
pub(super) fn read(
    spec: &Field<'_, WebhookReplaySpec>,
) -> Option<impl FnOnce(Arc<str>, ReplayInputs<'_>) -> Replay + use<>> {
    let key = spec.run().key().clone();
    let subscription = subscription_of(&key, spec);
    let selection = selection(&spec.at("select", &spec.select));
    let filter =
        spec.at("filter", &spec.filter).given().map(|source| source.expression(Scope::Delivery, ExpectedType::Bool));
    let rate = spec.at("rate", &spec.rate).given().and_then(|rate| pacing::outbound_rate(&rate));
    let (dry_run, suspended) = (spec.dry_run.unwrap_or(false), spec.suspend.unwrap_or(false));
    if spec.run().refuses() {
        return None;
    }
    let selection = selection?;
    let filter = match filter {
        None => None,
        Some(compiled) => Some(compiled?),
    };
    Some(move |digest, inputs: ReplayInputs<'_>| Replay {
        key,
        subscription,
        selection,
        filter,
        rate: rate.map(|rate| pacing::kept(rate, inputs.previous.and_then(|previous| previous.rate.as_ref()))),
        dry_run,
        suspended,
        digest,
        facts: inputs.facts,
    })
}

fn selection(select: &Field<'_, ReplaySelection>) -> Option<Selection> {
    let ReplaySelection { dead_lettered, since, until, ids } = select.value();
    match (dead_lettered, ids, since, until) {
        (Some(true), None, None, None) => Some(Selection::DeadLettered),
        (Some(false), ..) => {
            select.at("deadLettered", dead_lettered).fail(Reason::InvalidSpec, "must be true or absent")
        }
        (None, Some(ids), None, None) if (1..=limits::REPLAY_IDS).contains(&ids.len()) => {
            Some(Selection::Events(ids.iter().map(|id| id.as_str().into()).collect()))
        }
        (None, Some(given), None, None) => {
            let message = format!("must have from 1 to {} ids, not {}", limits::REPLAY_IDS, given.len());
            select.at("ids", ids).fail(Reason::InvalidSpec, message)
        }
        (None, None, Some(since), Some(end)) if since.0 >= end.0 => {
            select.at("until", until).fail(Reason::InvalidSpec, "must be after since")
        }
        (None, None, Some(_), _) | (None, None, _, Some(_)) => Some(Selection::Received {
            since: since.as_ref().map(|time| time.0),
            until: until.as_ref().map(|time| time.0),
        }),
        _ => select.fail(
            Reason::InvalidSpec,
            "must have exactly one of deadLettered, ids, and since and until (one of them or both)",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(more: serde_json::Value) -> WebhookReplaySpec {
        let mut spec = json!({ "subscriptionRef": { "name": "out" }, "select": { "deadLettered": true } });
        spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        serde_json::from_value(spec).unwrap()
    }

    #[test]
    fn the_digest_changes_with_everything_that_cannot_be_changed() {
        let digest = |more| replay_digest(&spec(more));
        let plain = digest(json!({}));
        for same in [json!({ "suspend": true }), json!({ "ttlSecondsAfterFinished": 1 }), json!({ "dryRun": false })] {
            assert_eq!(digest(same.clone()), plain, "{same}");
        }
        for other in [
            json!({ "dryRun": true }),
            json!({ "filter": "true" }),
            json!({ "className": "web" }),
            json!({ "rate": { "requests": 1 } }),
            json!({ "select": { "ids": ["a"] } }),
            json!({ "subscriptionRef": { "name": "other" } }),
        ] {
            assert_ne!(digest(other.clone()), plain, "{other}");
        }
    }
}
