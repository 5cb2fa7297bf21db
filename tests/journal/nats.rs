//! The contract for the replicated engine, on a real NATS server, and what only it promises.

use std::{
    sync::{
        Arc, LazyLock,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    time::Duration,
};

use grapnel_journal::{
    Appended, Journal, Retention,
    nats::{
        NatsJournal, NatsOptions,
        testing::{expire_leases, rows},
    },
};
use grapnel_test_support::nats::{NatsCluster, NatsSettings};
use jiff::Timestamp;
use tokio::runtime::Runtime;

use super::{
    arrivals::{arrival, file, object},
    session::{Bounds, Engine},
};

/// One server for all tests of this process: each journal is an installation of its own.
static SERVER: LazyLock<NatsCluster> = LazyLock::new(|| {
    let settings = NatsSettings { sync_always: false, max_payload: 8 << 20, ..NatsSettings::default() };
    let (sender, started) = mpsc::channel();
    // The thread of the test may be in a runtime of its own; and the server ends with the thread that started it.
    std::thread::spawn(move || {
        sender.send(RUNTIME.block_on(NatsCluster::start(1, settings))).unwrap();
        loop {
            std::thread::park();
        }
    });
    started.recv().expect("a NATS server starts")
});

/// Where the journals' tasks run: the tests' own runtimes end before the journals do, and some have one thread.
static RUNTIME: LazyLock<Runtime> =
    LazyLock::new(|| tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap());

static INSTALLATIONS: AtomicU64 = AtomicU64::new(0);

/// How long a journal may take to open.
const OPENED: Duration = Duration::from_secs(60);

/// An installation of its own.
pub(crate) struct Nats {
    options: NatsOptions,
}

impl Nats {
    pub(crate) fn new(shards: u16, bounds: Bounds) -> Self {
        let Bounds { max_bytes, namespace_share } = bounds;
        let number = INSTALLATIONS.fetch_add(1, Ordering::Relaxed);
        let options = NatsOptions {
            servers: SERVER.url().parse().unwrap(),
            credentials: None,
            ca: None,
            certificate: None,
            key: None,
            monitors: Vec::new(),
            trust_sync: true,
            name: format!("test-{}-{number}", std::process::id()),
            shards,
            replicas: 1,
            replica: String::new(),
            max_bytes,
            namespace_share,
        };
        Self { options }
    }
}

impl Engine for Nats {
    fn open(&self) -> Arc<dyn Journal> {
        let (sender, opened) = mpsc::channel();
        let number = INSTALLATIONS.fetch_add(1, Ordering::Relaxed);
        let options = NatsOptions { replica: format!("replica-{number}"), ..self.options.clone() };
        RUNTIME.spawn(async move {
            // The process before has ended, and the time of its leases has passed.
            expire_leases(&options).await;
            let journal = NatsJournal::open(options).await.unwrap();
            journal.serves_all().await;
            sender.send(Arc::new(journal)).unwrap();
        });
        opened.recv_timeout(OPENED).expect("the journal opens")
    }

    fn bounded(&self, bounds: Bounds) -> Box<dyn Engine> {
        // Bounds are exact within a shard.
        Box::new(Self::new(1, bounds))
    }
}

super::contract::journal_contract!(Nats::new(2, Bounds::default()));

/// The names of endpoints that are gone do not add up on the brokers.
#[test]
fn names_of_endpoints_that_are_gone_are_forgotten() {
    const MANY: usize = 2000;
    let engine = Nats::new(2, Bounds::default());
    let journal = engine.open();
    RUNTIME.block_on(async {
        let endpoint = |n: usize| object(&format!("in-{n}"), "first");
        let (stays, keeps) = (file("stays"), file("keeps"));
        let gone = (0..MANY).map(|n| arrival(&endpoint(n), "a", 0));
        for arrivals in [vec![arrival(&stays, "a", 0), arrival(&keeps, "a", 0)], gone.collect()] {
            let stored = journal.append(arrivals).await.unwrap();
            assert!(stored.iter().all(|appended| matches!(appended, Appended::Stored(_))), "{stored:?}");
        }
        let kept = async || rows(&engine.options, "endpoint.").await;
        let (zero, long) = (Duration::ZERO, Duration::from_secs(1 << 40));
        let known = (0..MANY).map(|n| (endpoint(n), zero)).chain([(stays.clone(), zero), (keeps.clone(), long)]);
        let sweep = async |endpoints: Vec<_>, hours: i64| {
            let now = Timestamp::now() + jiff::SignedDuration::from_hours(hours);
            journal.sweep(Retention { endpoints, consumers: Vec::new() }, now).await.unwrap()
        };
        assert_eq!(sweep(known.collect(), 2).await.events, 1 + MANY as u64);
        assert_eq!(kept().await.len(), MANY + 2, "each has an object");
        // Others may know of an endpoint before the owner does.
        sweep(vec![(stays.clone(), zero)], 0).await;
        assert_eq!(kept().await.len(), MANY + 2, "all are new");
        let mut sweeps = 0;
        while kept().await.len() > 2 {
            sweeps += 1;
            sweep(vec![(stays.clone(), zero)], 2 + sweeps).await;
            assert!(sweeps < 10, "{} are left", kept().await.len());
        }
        assert_eq!(kept().await, ["endpoint.shop.keeps", "endpoint.shop.stays"]);
        assert!(journal.event(&keeps, "a").await.unwrap().is_some());
        // A name that comes back begins anew.
        let again = object("in-0", "second");
        let stored = journal.append(vec![arrival(&again, "a", 9)]).await.unwrap();
        assert!(matches!(stored[..], [Appended::Stored(_)]), "{stored:?}");
        assert!(journal.event(&again, "a").await.unwrap().is_some());
        assert!(journal.event(&endpoint(0), "a").await.unwrap().is_none());
        journal.close().await.unwrap();
    });
}
