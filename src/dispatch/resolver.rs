//! Resolves names to addresses that the egress policy allows.

use std::{
    convert::Infallible,
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    task::{Context, Poll},
    time::Instant,
};

use futures_util::{FutureExt, future::BoxFuture};
use grapnel_delivery::egress::{EgressPolicy, Forbidden};
use hyper_util::client::legacy::connect::dns::Name;
use tokio::sync::{Semaphore, SemaphorePermit};
use tower::Service;

use crate::{
    cache::{BoundedCache, InFlightFetch, SingleFlight},
    dispatch::limits,
};

/// A name whose addresses are all forbidden.
#[derive(Debug, thiserror::Error)]
#[error("{name} resolves to a forbidden address: {refusal}")]
pub(super) struct ForbiddenName {
    name: String,
    /// Why one of its addresses is forbidden.
    refusal: Forbidden,
}

/// Why there is no address to connect to.
#[derive(Debug, thiserror::Error)]
pub(super) enum LookupError {
    /// The policy allows none of the addresses.
    #[error(transparent)]
    Forbidden(#[from] ForbiddenName),
    /// The name does not resolve.
    #[error("{0}")]
    Failed(Arc<io::Error>),
}

type Resolution = Result<Arc<[IpAddr]>, Arc<io::Error>>;

/// A name resolver.
pub trait Names: Send + Sync + 'static {
    /// Resolves a name to its addresses.
    fn lookup<'a>(&'a self, name: &'a str) -> BoxFuture<'a, io::Result<Vec<IpAddr>>>;
}

/// The system's resolver.
pub(super) struct SystemNames;

impl Names for SystemNames {
    fn lookup<'a>(&'a self, name: &'a str) -> BoxFuture<'a, io::Result<Vec<IpAddr>>> {
        Box::pin(async move { Ok(tokio::net::lookup_host((name, 0)).await?.map(|address| address.ip()).collect()) })
    }
}

/// Resolves names and returns only the addresses that the policy allows. Concurrent lookups of one name share one
/// lookup: the system's resolver blocks a thread until it times out, and a name that hangs must not take a thread for
/// each delivery.
///
/// Many names that hang must not take all threads either. The number of lookups is therefore bounded, well below the
/// number of blocking threads, and further lookups wait while the delivery's timeout runs. Only names that were
/// answered promptly the last time may use the whole bound, so that working receivers are reached while hundreds of
/// others hang.
#[derive(Clone)]
pub(super) struct GuardedResolver {
    egress: Arc<EgressPolicy>,
    lookups: Arc<Lookups>,
    /// Lookups that run or wait for a slot; they end with this.
    flights: Arc<SingleFlight<Box<str>, Resolution>>,
}

/// What all lookups share.
struct Lookups {
    names: Arc<dyn Names>,
    slots: Slots,
    /// Names that were answered promptly the last time.
    prompt: BoundedCache<Box<str>, ()>,
}

/// The bound on concurrent lookups.
struct Slots {
    all: Semaphore,
    /// Names not known to be answered promptly need a permit of this semaphore as well.
    unproven: Semaphore,
}

impl Slots {
    fn new() -> Self {
        Self {
            all: Semaphore::new(limits::DNS_LOOKUPS),
            unproven: Semaphore::new(limits::DNS_LOOKUPS - limits::DNS_LOOKUPS_RESERVED),
        }
    }

    /// Waits for a slot. Never returns `None`, since the semaphores are never closed.
    async fn acquire(&self, prompt: bool) -> Option<(SemaphorePermit<'_>, Option<SemaphorePermit<'_>>)> {
        let unproven = match prompt {
            true => None,
            false => Some(self.unproven.acquire().await.ok()?),
        };
        Some((self.all.acquire().await.ok()?, unproven))
    }
}

impl Lookups {
    async fn lookup(&self, name: Box<str>) -> Resolution {
        let began = Instant::now();
        let found = self.names.lookup(&name).await;
        self.ended(name, began.elapsed() < limits::DNS_PROMPT);
        // An empty result is not an unreachable network.
        let found = found.and_then(|found| match found.is_empty() {
            true => Err(io::Error::new(io::ErrorKind::NotFound, "the name has no address")),
            false => Ok(found),
        });
        found.map(Arc::from).map_err(Arc::new)
    }

    fn ended(&self, name: Box<str>, prompt: bool) {
        match prompt {
            true => self.prompt.insert(name, ()),
            false => self.prompt.remove(&name),
        }
    }
}

impl GuardedResolver {
    pub(super) fn new(egress: Arc<EgressPolicy>, names: Arc<dyn Names>) -> Self {
        let lookups = Lookups { names, slots: Slots::new(), prompt: BoundedCache::new(limits::DNS_PROMPT_NAMES) };
        Self { egress, lookups: Arc::new(lookups), flights: Arc::default() }
    }

    /// The same lookups under another policy.
    pub(super) fn under(&self, egress: Arc<EgressPolicy>) -> Self {
        Self { egress, ..self.clone() }
    }

    pub(super) fn policy(&self) -> Arc<EgressPolicy> {
        Arc::clone(&self.egress)
    }

    fn lookup(&self, name: &str) -> InFlightFetch<Resolution> {
        let name = Box::<str>::from(name);
        let Ok(flight) = self.flights.join(&name, |_| Ok::<_, Infallible>(self.begin(name.clone())));
        flight
    }

    /// A lookup that waits for a slot as long as a delivery waits for it. Once it has a slot it blocks a thread until
    /// the system's resolver answers; it then ends and leaves the table even when no delivery waits any more.
    fn begin(&self, name: Box<str>) -> BoxFuture<'static, Resolution> {
        let (lookups, flights) = (Arc::clone(&self.lookups), Arc::downgrade(&self.flights));
        async move {
            let prompt = lookups.prompt.get(&name).is_some();
            let _slot = lookups.slots.acquire(prompt).await;
            if let Some(flights) = flights.upgrade() {
                flights.keep(&name);
            }
            lookups.lookup(name).await
        }
        .boxed()
    }
}

impl GuardedResolver {
    /// The addresses of a name without the policy, for names that the operator configures, such as a proxy.
    pub(super) async fn addresses(&self, name: &str) -> Resolution {
        self.lookup(name).await
    }

    /// The addresses found for a name that may be called.
    pub(super) fn allowed(&self, name: &str, found: &[IpAddr]) -> Result<Vec<IpAddr>, ForbiddenName> {
        allowed(&self.egress, name, found)
    }
}

impl Service<Name> for GuardedResolver {
    type Response = std::iter::Map<std::vec::IntoIter<IpAddr>, fn(IpAddr) -> SocketAddr>;
    type Error = LookupError;
    type Future = BoxFuture<'static, Result<Self::Response, LookupError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), LookupError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let lookup = self.lookup(name.as_str());
        let egress = Arc::clone(&self.egress);
        Box::pin(async move {
            let found = lookup.await.map_err(LookupError::Failed)?;
            let addresses = allowed(&egress, name.as_str(), &found)?;
            Ok(addresses.into_iter().map(without_port as fn(_) -> _))
        })
    }
}

/// An address whose port the connector sets.
fn without_port(address: IpAddr) -> SocketAddr {
    SocketAddr::new(address, 0)
}

/// The addresses that may be called.
fn allowed(egress: &EgressPolicy, name: &str, found: &[IpAddr]) -> Result<Vec<IpAddr>, ForbiddenName> {
    let mut refusal = None;
    let mut addresses = Vec::with_capacity(found.len());
    for &address in found {
        match egress.check_address(address) {
            Ok(()) => addresses.push(address),
            Err(forbidden) => refusal = Some(forbidden),
        }
    }
    match refusal {
        Some(refusal) if addresses.is_empty() => Err(ForbiddenName { name: name.to_owned(), refusal }),
        _ => Ok(addresses),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

    use super::*;

    #[test]
    fn forbidden_addresses_are_left_out_and_named_when_nothing_remains() {
        let policy = EgressPolicy::default();
        let public: IpAddr = "93.184.216.34".parse().unwrap();
        let private: IpAddr = "10.0.0.7".parse().unwrap();
        let kept = allowed(&policy, "mixed.test", &[private, public]).unwrap();
        assert_eq!(kept, [public]);
        let refusal = allowed(&policy, "inside.test", &[private]).unwrap_err().to_string();
        assert!(refusal.starts_with("inside.test resolves to a forbidden address"), "{refusal}");
        assert!(refusal.contains("10.0.0.7"), "{refusal}");
        assert!(allowed(&policy, "none.test", &[]).unwrap().is_empty());
    }

    #[tokio::test]
    async fn lookups_of_one_name_are_shared_and_leave_the_table() {
        let resolver = GuardedResolver::new(Arc::new(EgressPolicy::default()), Arc::new(SystemNames));
        let (first, second) = (resolver.lookup("localhost"), resolver.lookup("localhost"));
        assert!(first.ptr_eq(&second));
        let found = first.await.unwrap();
        assert!(found.iter().all(IpAddr::is_loopback) && !found.is_empty());
        assert_eq!(resolver.flights.len(), 0);
    }

    /// Names that begin with `hangs` hang until they are released; the others have an address.
    #[derive(Default)]
    struct Hanging {
        lookups: AtomicUsize,
        released: tokio::sync::Notify,
    }

    impl Names for Hanging {
        fn lookup<'a>(&'a self, name: &'a str) -> BoxFuture<'a, io::Result<Vec<IpAddr>>> {
            self.lookups.fetch_add(1, Relaxed);
            Box::pin(async move {
                if name.starts_with("hangs") {
                    self.released.notified().await;
                }
                Ok(vec![IpAddr::from([192, 0, 2, 1])])
            })
        }
    }

    async fn settle() {
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn names_that_hang_leave_places_to_those_that_do_not() {
        let names = Arc::new(Hanging::default());
        let resolver = GuardedResolver::new(Arc::new(EgressPolicy::default()), names.clone());
        resolver.lookup("works.test").await.unwrap();
        let hanging = (0..700).map(|number| resolver.lookup(&format!("hangs-{number}.test")));
        let mut hanging = futures_util::future::join_all(hanging);
        assert!(futures_util::poll!(&mut hanging).is_pending());
        let bound = limits::DNS_LOOKUPS - limits::DNS_LOOKUPS_RESERVED;
        assert_eq!(names.lookups.load(Relaxed), 1 + bound);
        resolver.lookup("works.test").await.unwrap();
        assert!(resolver.lookup("unknown.test").now_or_never().is_none(), "it waits behind those that hang");
        assert_eq!(names.lookups.load(Relaxed), 2 + bound);

        // All waiters are gone: lookups that hang end, and the others are not even started.
        drop(hanging);
        names.released.notify_waiters();
        settle().await;
        assert_eq!(names.lookups.load(Relaxed), 2 + bound);
        assert_eq!(resolver.flights.len(), 0);
        resolver.lookup("unknown.test").await.unwrap();
    }

    #[test]
    fn a_name_that_has_become_slow_is_not_preferred() {
        let resolver = GuardedResolver::new(Arc::new(EgressPolicy::default()), Arc::new(SystemNames));
        let lookups = resolver.lookups;
        lookups.ended("works.test".into(), true);
        assert!(lookups.prompt.get("works.test").is_some());
        lookups.ended("works.test".into(), false);
        assert!(lookups.prompt.get("works.test").is_none());
    }
}
