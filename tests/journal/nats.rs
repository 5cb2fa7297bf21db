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
    Journal,
    nats::{NatsJournal, NatsOptions, testing::expire_leases},
};
use grapnel_test_support::nats::{NatsCluster, NatsSettings};
use tokio::runtime::Runtime;

use super::session::{Bounds, Engine};

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
