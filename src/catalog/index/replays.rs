//! Replays in the index.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use grapnel_api::{ObjectKey, WebhookReplay};

use super::{
    ObjectIndex, Referent,
    change::Applied,
    entry::{Held, Own},
    recompile::finish,
};
use crate::catalog::{
    compile::{self, ReplayInputs, SubscriptionStanding},
    replay::ReplayReading,
    status::ObjectKind,
};

impl ObjectIndex {
    pub(super) fn apply_replay(&mut self, applied: Applied<WebhookReplay>) {
        if !self.options.class.serves(applied.object.spec.class_name.as_deref()) {
            if self.elsewhere.add_replay(&applied.key) {
                self.remove_replay(&applied.key);
            }
            return;
        }
        self.elsewhere.remove(ObjectKind::Replay, &applied.key);
        let (applied, status) = Held::replay(applied);
        let key = applied.key.clone();
        let entry = self.replays.entry(key.clone()).or_default();
        if entry.has(&applied) {
            return;
        }
        let referents = BTreeSet::from([Referent::Subscription(compile::subscription_of(&key, &applied.spec))]);
        let ttl = applied.spec.ttl_seconds_after_finished.map(|seconds| Duration::from_secs(seconds.into()));
        let dependent = (ObjectKind::Replay, key);
        self.dependencies.replace(&dependent, &mut entry.referents, referents);
        entry.accept(applied);
        entry.facts.set_ttl(ttl);
        if let Some(earlier) = status {
            entry.facts.resume(ReplayReading::of(&earlier));
        }
        self.dependencies.mark(dependent);
    }

    pub(super) fn remove_replay(&mut self, key: &ObjectKey) {
        let Some(mut entry) = self.replays.remove(key) else { return };
        self.dependencies.replace(&(ObjectKind::Replay, key.clone()), &mut entry.referents, BTreeSet::new());
        self.changed = true;
    }

    /// Returns whether it compiled without a problem; `None` if it was not compiled.
    pub(super) fn compile_replay(&mut self, key: &ObjectKey) -> Option<bool> {
        let entry = self.replays.get_mut(key)?;
        let applied = entry.applied.as_ref()?;
        let subscription = compile::subscription_of(key, &applied.spec);
        let class = applied.spec.class_name.as_deref();
        let standing = match self.subscriptions.get(&subscription) {
            Some(found) => match &found.applied {
                Some(applied) if applied.spec.class_name.as_deref() != class => SubscriptionStanding::OtherClass,
                _ => SubscriptionStanding::Open,
            },
            None if self.elsewhere.has_subscription(&subscription) => SubscriptionStanding::OtherClass,
            None => SubscriptionStanding::Absent,
        };
        let inputs = ReplayInputs { standing, facts: Arc::clone(&entry.facts), previous: entry.compiled.as_deref() };
        let compiled = compile::replay(key, &applied.spec, &self.options, &self.dependencies.values, inputs);
        finish((ObjectKind::Replay, key), entry, compiled, Own::default(), &mut self.dependencies, self.rules)
    }
}
