//! Which endpoints this process delivers.

use std::{fmt, sync::Arc};

use grapnel_api::ObjectKey;

/// Returns whether an endpoint is served.
type Serves = dyn Fn(&ObjectKey) -> bool + Send + Sync;

/// Which endpoints' subscriptions this process delivers at present. Every process accepts events for every endpoint.
#[derive(Clone, Default)]
pub struct Tenure {
    /// `None` serves all endpoints.
    serves: Option<Arc<Serves>>,
}

impl Tenure {
    /// Every endpoint, for the lifetime of the process: a single-process engine.
    pub fn all() -> Self {
        Self::default()
    }

    /// The endpoints for which `serves` returns true.
    pub fn of(serves: impl Fn(&ObjectKey) -> bool + Send + Sync + 'static) -> Self {
        Self { serves: Some(Arc::new(serves)) }
    }

    /// Returns whether this process delivers the events of `endpoint`.
    pub fn serves(&self, endpoint: &ObjectKey) -> bool {
        self.serves.as_ref().is_none_or(|serves| serves(endpoint))
    }
}

impl fmt::Debug for Tenure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.serves.is_some() { "Tenure(some)" } else { "Tenure(all)" })
    }
}
