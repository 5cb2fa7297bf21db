//! Requests in progress of each namespace, and the bound on them.
//!
//! The bounds on connections and on memory for bodies are those of the whole server. A request that has been read keeps
//! its connection until it is answered, and is never closed to make room. So a namespace whose requests take long, because
//! the keys of its sender do not come for example, could keep all connections and lock out the other namespaces.
//!
//! Requests that are still being read do not count here: their connections are closed when there is no room for others
//! (see [`connections`](crate::connections)), and a sender that cannot sign could fill the bound with slow bodies.

use std::{collections::HashMap, sync::Arc};

use parking_lot::Mutex;

use super::reject::Rejected;
use crate::ingress::limits::{NAMESPACE_REQUESTS_MIN, NAMESPACE_SHARE};

/// The requests in progress of all namespaces.
#[derive(Debug)]
pub(super) struct Tenants {
    most: usize,
    /// Of namespaces that have any.
    requests: Mutex<HashMap<Arc<str>, usize>>,
}

/// A request in progress; it ends when this is dropped.
#[derive(Debug)]
pub(super) struct InProgress<'a> {
    tenants: &'a Tenants,
    namespace: &'a Arc<str>,
}

impl Tenants {
    /// For a server with so many connections.
    pub(super) fn new(max_connections: usize) -> Self {
        let most = (max_connections / NAMESPACE_SHARE).max(NAMESPACE_REQUESTS_MIN);
        Self { most, requests: Mutex::default() }
    }

    /// Begins a request of a namespace.
    ///
    /// # Errors
    /// [`Rejected::Crowded`] when the namespace has as many as it may have.
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
