//! Which endpoints this process delivers.

use std::{fmt, sync::Arc};

use grapnel_api::ObjectKey;

/// Says whether an endpoint is served.
type Serves = dyn Fn(&ObjectKey) -> bool + Send + Sync;

/// Which endpoints' subscriptions this process delivers at present. Every process takes events in for every endpoint.
#[derive(Clone, Default)]
pub struct Tenure {
    /// `None` serves all.
    serves: Option<Arc<Serves>>,
}

impl Tenure {
    /// Every endpoint, for as long as the process lives: an engine of one process.
    pub fn all() -> Self {
        Self::default()
    }

    /// The endpoints for which `serves` holds.
    pub fn of(serves: impl Fn(&ObjectKey) -> bool + Send + Sync + 'static) -> Self {
        Self { serves: Some(Arc::new(serves)) }
    }

    /// Whether this process delivers the events of `endpoint`.
    pub fn serves(&self, endpoint: &ObjectKey) -> bool {
        self.serves.as_ref().is_none_or(|serves| serves(endpoint))
    }
}

impl fmt::Debug for Tenure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.serves.is_some() { "Tenure(some)" } else { "Tenure(all)" })
    }
}
