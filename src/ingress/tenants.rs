//! Bounds the requests in progress of each namespace.
//!
//! The bounds on connections and on memory for bodies apply to the whole server. A request that has been read keeps its
//! connection until it is answered, and is never closed to make room. Without this bound, a namespace whose requests
//! take long, for example because the keys of its sender cannot be fetched, could take all connections and lock out
//! other namespaces.
//!
//! Requests that are still being read do not count: their connections are closed when others need room (see
//! [`connections`](crate::connections)), and a sender that cannot sign could use up the bound with slow bodies.

use std::{collections::HashMap, sync::Arc};

use parking_lot::Mutex;

use super::reject::Rejected;
use crate::ingress::limits::{NAMESPACE_REQUESTS_MIN, NAMESPACE_SHARE};

/// The requests in progress of all namespaces.
#[derive(Debug)]
pub(super) struct Tenants {
    most: usize,
    /// Counts by namespace, without namespaces that have none.
    requests: Mutex<HashMap<Arc<str>, usize>>,
}

/// A request in progress; it ends when this is dropped.
#[derive(Debug)]
pub(super) struct InProgress<'a> {
    tenants: &'a Tenants,
    namespace: &'a Arc<str>,
}

impl Tenants {
    /// For a server with at most `max_connections`.
    pub(super) fn new(max_connections: usize) -> Self {
        let most = (max_connections / NAMESPACE_SHARE).max(NAMESPACE_REQUESTS_MIN);
        Self { most, requests: Mutex::default() }
    }

    /// Begins a request of a namespace.
    ///
    /// # Errors
    /// Returns [`Rejected::Crowded`] if the namespace has its maximum number of requests in progress.
    pub(super) fn begin<'a>(&'a self, namespace: &'a Arc<str>) -> Result<InProgress<'a>, Rejected> {
        let mut requests = self.requests.lock();
        match requests.get_mut(namespace) {
            Some(count) if *count >= self.most => return Err(Rejected::Crowded),
            Some(count) => *count += 1,
            None => {
                requests.insert(Arc::clone(namespace), 1);
            }
        }
        Ok(InProgress { tenants: self, namespace })
    }
}

impl Drop for InProgress<'_> {
    fn drop(&mut self) {
        let mut requests = self.tenants.requests.lock();
        if let Some(count) = requests.get_mut(self.namespace) {
            *count -= 1;
            if *count == 0 {
                requests.remove(self.namespace);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_namespace_has_its_own_bound() {
        let tenants = Tenants::new(NAMESPACE_SHARE * (NAMESPACE_REQUESTS_MIN + 1));
        let (shop, other) = (Arc::from("shop"), Arc::from("other"));
        let mut all: Vec<_> = (0..=NAMESPACE_REQUESTS_MIN).map(|_| tenants.begin(&shop).unwrap()).collect();
        assert!(matches!(tenants.begin(&shop), Err(Rejected::Crowded)));
        drop(tenants.begin(&other).unwrap());
        all.pop();
        all.push(tenants.begin(&shop).unwrap());
        assert!(tenants.begin(&shop).is_err());
        drop(all);
        assert!(tenants.requests.lock().is_empty());
    }

    #[test]
    fn a_small_server_still_takes_some() {
        assert_eq!(Tenants::new(1).most, NAMESPACE_REQUESTS_MIN);
    }
}
