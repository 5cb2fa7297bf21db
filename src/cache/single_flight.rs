//! One fetch for all callers that wait for the same result.

use std::{
    collections::HashMap,
    hash::Hash,
    pin::Pin,
    sync::{Arc, Weak},
    task::{Context, Poll},
};

use futures_util::{
    FutureExt,
    future::{BoxFuture, Shared, WeakShared},
};
use parking_lot::Mutex;
use tokio::{task::JoinSet, time::Instant};

/// The fetches in flight, at most one for each key.
///
/// A fetch is polled by the callers that wait for it, and is cancelled when the last of them has gone. A fetch that has
/// been [kept](Self::keep) continues without callers, and is cancelled when this is dropped.
///
/// Results are not cached here: a fetch stores its result itself, before it ends.
pub(crate) struct SingleFlight<K, T> {
    table: Arc<Mutex<Table<K, T>>>,
    /// Polls the fetches that are kept. Not part of the table, because fetches refer to it.
    kept: Mutex<JoinSet<()>>,
}

struct Table<K, T> {
    flights: HashMap<K, FlightEntry<T>>,
    /// Number of fetches begun.
    begun: u64,
}

struct FlightEntry<T> {
    number: u64,
    answer: WeakShared<BoxFuture<'static, T>>,
    begun: Instant,
    kept: bool,
}

/// A fetch in flight. Resolves to its result; a caller that drops it no longer waits.
#[derive(Clone)]
pub(crate) struct InFlightFetch<T: Clone> {
    answer: Shared<BoxFuture<'static, T>>,
    begun: Instant,
}

impl<K, T> Default for SingleFlight<K, T> {
    fn default() -> Self {
        let table = Table { flights: HashMap::new(), begun: 0 };
        Self { table: Arc::new(Mutex::new(table)), kept: Mutex::default() }
    }
}

impl<K, T> SingleFlight<K, T>
where
    K: Clone + Eq + Hash + Send + 'static,
    T: Clone + Send + Sync + 'static,
{
    /// The fetch in flight for a key. If there is none, `begin` gets the number of fetches in flight, and returns the
    /// fetch to begin or why there is none. No fetch of any key begins or leaves this table meanwhile: a result that
    /// `begin` does not find where fetches store theirs is not being fetched.
    ///
    /// # Errors
    /// Those of `begin`, which must not call this again.
    pub(crate) fn join<E>(
        &self,
        key: &K,
        begin: impl FnOnce(usize) -> Result<BoxFuture<'static, T>, E>,
    ) -> Result<InFlightFetch<T>, E> {
        let mut table = self.table.lock();
        if let Some(flight) = table.flight(key) {
            return Ok(flight);
        }
        let fetch = begin(table.flights.len())?;
        table.begun += 1;
        let landing = Landing { table: Arc::downgrade(&self.table), key: key.clone(), number: table.begun };
        let (number, begun) = (table.begun, Instant::now());
        let answer = landing.after(fetch).boxed().shared();
        if let Some(weak) = answer.downgrade() {
            table.flights.insert(key.clone(), FlightEntry { number, answer: weak, begun, kept: false });
        }
        Ok(InFlightFetch { answer, begun })
    }

    /// Lets the fetch in flight for a key, if any, continue when no caller waits for it. Must be called within a tokio
    /// runtime, which from then on polls the fetch.
    pub(crate) fn keep(&self, key: &K) {
        let Some(flight) = self.table.lock().flight_to_keep(key) else { return };
        let mut kept = self.kept.lock();
        while kept.try_join_next().is_some() {}
        kept.spawn(async move {
            flight.await;
        });
    }

    /// Number of fetches in flight.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.table.lock().flights.len()
    }
}

impl<K: Eq + Hash, T: Clone> Table<K, T> {
    fn flight(&self, key: &K) -> Option<InFlightFetch<T>> {
        let entry = self.flights.get(key)?;
        // Without callers it is being dropped.
        Some(InFlightFetch { answer: entry.answer.upgrade()?, begun: entry.begun })
    }

    /// The fetch in flight for a key, which counts as kept from now on, unless it already is.
    fn flight_to_keep(&mut self, key: &K) -> Option<InFlightFetch<T>> {
        let entry = self.flights.get_mut(key).filter(|entry| !entry.kept)?;
        let answer = entry.answer.upgrade()?;
        entry.kept = true;
        Some(InFlightFetch { answer, begun: entry.begun })
    }
}

impl<T: Clone> InFlightFetch<T> {
    /// When the fetch began.
    pub(crate) fn begun(&self) -> Instant {
        self.begun
    }

    #[cfg(test)]
    pub(crate) fn ptr_eq(&self, other: &Self) -> bool {
        self.answer.ptr_eq(&other.answer)
    }
}

impl<T: Clone> Future for InFlightFetch<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        self.answer.poll_unpin(context)
    }
}

/// Removes a fetch from the table when it has ended or is cancelled.
struct Landing<K: Eq + Hash, T> {
    table: Weak<Mutex<Table<K, T>>>,
    key: K,
    number: u64,
}

impl<K: Eq + Hash, T> Landing<K, T> {
    async fn after(self, fetch: impl Future<Output = T>) -> T {
        fetch.await
    }
}

impl<K: Eq + Hash, T> Drop for Landing<K, T> {
    fn drop(&mut self) {
        let Some(table) = self.table.upgrade() else { return };
        let mut table = table.lock();
        // Another one may have begun since the last caller has gone.
        if table.flights.get(&self.key).is_some_and(|entry| entry.number == self.number) {
            table.flights.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        convert::Infallible,
        sync::atomic::{AtomicUsize, Ordering::SeqCst},
    };

    use futures_util::poll;
    use tokio::sync::Notify;

    use super::*;

    type Flights = Arc<SingleFlight<&'static str, usize>>;

    /// Fetches that wait until they are released. The result is the number of the fetch.
    #[derive(Clone, Default)]
    struct Source {
        begun: Arc<AtomicUsize>,
        live: Arc<()>,
        released: Arc<Notify>,
    }

    impl Source {
        fn fetch(&self) -> BoxFuture<'static, usize> {
            let Self { begun, live, released } = self.clone();
            let fetch = async move {
                let _live = live;
                let number = begun.fetch_add(1, SeqCst) + 1;
                released.notified().await;
                number
            };
            fetch.boxed()
        }

        fn join(&self, flights: &Flights, key: &'static str) -> InFlightFetch<usize> {
            flights.join(&key, |_| Ok::<_, Infallible>(self.fetch())).unwrap()
        }

        /// Number of fetches that have not ended.
        fn live(&self) -> usize {
            Arc::strong_count(&self.live) - 1
        }
    }

    #[tokio::test]
    async fn callers_share_one_fetch_which_the_first_of_them_does_not_end() {
        let (flights, source) = (Flights::default(), Source::default());
        let mut waiting: Vec<_> = (0..50).map(|_| source.join(&flights, "a")).collect();
        for one in &mut waiting {
            assert!(poll!(one).is_pending());
        }
        drop(waiting.remove(0));
        source.released.notify_one();
        for one in waiting {
            assert_eq!(one.await, 1);
        }
        assert_eq!((source.begun.load(SeqCst), flights.len()), (1, 0));
        source.released.notify_one();
        assert_eq!(source.join(&flights, "a").await, 2, "the result is not cached");
    }

    #[tokio::test]
    async fn a_fetch_without_callers_is_cancelled_and_another_can_begin() {
        let (flights, source) = (Flights::default(), Source::default());
        let mut first = source.join(&flights, "a");
        assert!(poll!(&mut first).is_pending());
        drop(first);
        assert_eq!((source.live(), flights.len()), (0, 0));
        drop(source.join(&flights, "a"));
        assert_eq!((source.live(), flights.len()), (0, 0), "also one that was never polled");
        source.released.notify_one();
        assert_eq!(source.join(&flights, "a").await, 2);
    }

    #[tokio::test]
    async fn a_fetch_that_is_kept_needs_no_caller_and_ends_with_the_table() {
        let (flights, source) = (Flights::default(), Source::default());
        drop(source.join(&flights, "a"));
        flights.keep(&"a");
        assert_eq!(flights.len(), 0, "there is nothing left to keep");
        let first = source.join(&flights, "a");
        flights.keep(&"a");
        flights.keep(&"a");
        assert_eq!(flights.kept.lock().len(), 1);
        drop(first);
        while source.begun.load(SeqCst) == 0 {
            tokio::task::yield_now().await;
        }
        let second = source.join(&flights, "a");
        source.released.notify_one();
        assert_eq!((second.await, flights.len()), (1, 0));

        drop(source.join(&flights, "b"));
        let third = source.join(&flights, "b");
        flights.keep(&"b");
        drop(third);
        drop(flights);
        while source.live() > 0 {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn a_fetch_may_keep_itself() {
        let (flights, source) = (Flights::default(), Source::default());
        let owner = Arc::downgrade(&flights);
        let fetch = source.fetch();
        let fetch = async move {
            owner.upgrade().unwrap().keep(&"a");
            fetch.await
        };
        let mut first = flights.join(&"a", |_| Ok::<_, Infallible>(fetch.boxed())).unwrap();
        assert!(poll!(&mut first).is_pending());
        drop(first);
        assert_eq!(flights.len(), 1);
        source.released.notify_one();
        while flights.len() > 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(source.begun.load(SeqCst), 1);
    }

    #[tokio::test]
    async fn a_refusal_to_begin_leaves_nothing() {
        let (flights, source) = (Flights::default(), Source::default());
        let _first = source.join(&flights, "a");
        assert_eq!(flights.join(&"b", Err).err(), Some(1), "the number of fetches in flight");
        assert_eq!(flights.len(), 1);
    }
}
