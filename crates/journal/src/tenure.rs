//! Which endpoints this process delivers.

use std::{fmt, sync::Arc};

use grapnel_api::ObjectKey;

/// Returns the epoch in which an endpoint is served.
type Epochs = dyn Fn(&ObjectKey) -> Option<u64> + Send + Sync;

/// Which endpoints' subscriptions this process delivers at present. Every process accepts events for every endpoint.
///
/// Each uninterrupted service of an endpoint has an *epoch*. If an endpoint is lost and served again, its epoch differs:
/// what was claimed in the earlier one may have been claimed by another process since, and must not be settled.
#[derive(Clone, Default)]
pub struct Tenure {
    /// `None` serves all endpoints.
    epochs: Option<Arc<Epochs>>,
}

impl Tenure {
    /// Every endpoint, for the lifetime of the process: a single-process engine.
    pub fn all() -> Self {
        Self::default()
    }

    /// The endpoints for which `epoch` returns one.
    pub fn of(epoch: impl Fn(&ObjectKey) -> Option<u64> + Send + Sync + 'static) -> Self {
        Self { epochs: Some(Arc::new(epoch)) }
    }

    /// Returns the epoch in which this process delivers the events of `endpoint`; `None` if it does not deliver them.
    pub fn epoch(&self, endpoint: &ObjectKey) -> Option<u64> {
        self.epochs.as_ref().map_or(Some(0), |epoch| epoch(endpoint))
    }

    /// Returns whether this process delivers the events of `endpoint`.
    pub fn serves(&self, endpoint: &ObjectKey) -> bool {
        self.epoch(endpoint).is_some()
    }
}

impl fmt::Debug for Tenure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.epochs.is_some() { "Tenure(some)" } else { "Tenure(all)" })
    }
}
