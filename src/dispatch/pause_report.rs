//! Reports the pause that a receiver has asked for with `Retry-After`: in the facts and metrics of its subscription.

use jiff::Timestamp;

use crate::catalog::Subscription;

/// The reported pause of one subscription.
#[derive(Debug, Default)]
pub(super) struct PauseReport {
    /// The end that was published last.
    published: Option<Timestamp>,
}

impl PauseReport {
    /// The report of a new worker. An earlier one may have left a pause.
    pub(super) fn new(subscription: &Subscription) -> Self {
        publish(subscription, None);
        Self::default()
    }

    /// Publishes the end of the pause, if it has changed.
    pub(super) fn update(&mut self, subscription: &Subscription, until: Option<Timestamp>) {
        if until != self.published {
            self.published = until;
            publish(subscription, until);
        }
    }
}

fn publish(subscription: &Subscription, until: Option<Timestamp>) {
    subscription.facts.pause(until);
    subscription.metrics.paused(until.is_some());
}
