//! Names to addresses, through the egress policy.

use std::{
    collections::HashMap,
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    task::{Context, Poll},
};

use futures_util::{
    FutureExt, TryFutureExt,
    future::{BoxFuture, Shared},
};
use hyper_util::client::legacy::connect::dns::Name;
use parking_lot::Mutex;
use tokio::{sync::oneshot, task::JoinSet};
use tower::Service;

use crate::rules::egress::{EgressPolicy, Forbidden};

/// A name all of whose addresses are forbidden.
#[derive(Debug, thiserror::Error)]
#[error("{name} resolves to a forbidden address: {refusal}")]
pub(super) struct ForbiddenName {
    name: String,
    /// Of one of its addresses.
    refusal: Forbidden,
}

/// Why there is no address to connect to.
#[derive(Debug, thiserror::Error)]
pub(super) enum LookupError {
    /// The policy allows none.
    #[error(transparent)]
    Forbidden(#[from] ForbiddenName),
    /// The name does not resolve.
    #[error("{0}")]
    Failed(Arc<io::Error>),
}

type Answer = Result<Arc<[IpAddr]>, Arc<io::Error>>;
type Lookup = Shared<BoxFuture<'static, Answer>>;

/// Who knows the addresses of names.
pub trait Names: Send + Sync + 'static {
    /// The addresses of a name.
    fn lookup<'a>(&'a self, name: &'a str) -> BoxFuture<'a, io::Result<Vec<IpAddr>>>;
}

/// The system's resolver.
pub(super) struct SystemNames;

impl Names for SystemNames {
    fn lookup<'a>(&'a self, name: &'a str) -> BoxFuture<'a, io::Result<Vec<IpAddr>>> {
        Box::pin(async move { Ok(tokio::net::lookup_host((name, 0)).await?.map(|address| address.ip()).collect()) })
    }
}

/// Asks for addresses, and lets through only what the policy allows. Lookups of one name at one time are one lookup: the
/// system's resolver blocks a thread until it gives up, and a name that hangs must not take a thread for each delivery.
#[derive(Clone)]
pub(super) struct GuardedResolver {
    egress: Arc<EgressPolicy>,
    names: Arc<dyn Names>,
    lookups: Arc<Mutex<Lookups>>,
}

/// Lookups under way. Each goes when it ends, so there are at most as many as threads that block in lookups.
#[derive(Default)]
struct Lookups {
    by_name: HashMap<Box<str>, Lookup>,
    tasks: JoinSet<()>,
}

impl GuardedResolver {
    pub(super) fn new(egress: Arc<EgressPolicy>, names: Arc<dyn Names>) -> Self {
        Self { egress, names, lookups: Arc::default() }
    }

    /// The same lookups under another policy.
    pub(super) fn under(&self, egress: Arc<EgressPolicy>) -> Self {
        Self { egress, ..self.clone() }
    }

    pub(super) fn policy(&self) -> Arc<EgressPolicy> {
        Arc::clone(&self.egress)
    }

    fn lookup(&self, name: &str) -> Lookup {
        let mut lookups = self.lookups.lock();
        if let Some(lookup) = lookups.by_name.get(name) {
            return lookup.clone();
        }
        while lookups.tasks.try_join_next().is_some() {}
        let (answer, answered) = oneshot::channel::<Answer>();
        let lookup: Lookup =
            answered.unwrap_or_else(|_| Err(Arc::new(io::Error::other("the lookup was given up")))).boxed().shared();
        lookups.by_name.insert(name.into(), lookup.clone());
        let (owner, names, name) = (Arc::downgrade(&self.lookups), Arc::clone(&self.names), Box::<str>::from(name));
        // Its own task, so that it ends and leaves the table also when every delivery that waits for it is given up.
        lookups.tasks.spawn(async move {
            let found = names.lookup(&name).await;
            // Nothing to connect to is not a network that cannot be reached.
            let found = found.and_then(|found| match found.is_empty() {
                true => Err(io::Error::new(io::ErrorKind::NotFound, "the name has no addresses")),
                false => Ok(found),
            });
            if let Some(lookups) = owner.upgrade() {
                lookups.lock().by_name.remove(&name);
            }
            // Nobody may be waiting any more.
            let _ = answer.send(found.map(Arc::from).map_err(Arc::new));
        });
        lookup
    }
}

impl GuardedResolver {
    /// The addresses of a name, whatever they are: of what the operator itself names, such as a proxy.
    pub(super) async fn addresses(&self, name: &str) -> Answer {
        self.lookup(name).await
    }

    /// Those that may be called of what was found for a name.
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

/// An address whose port the connector fills in.
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
        assert!(resolver.lookups.lock().by_name.is_empty());
    }
}
