//! Measures Grapnel against two floors in one run, and prints tables. Nothing is judged.
//!
//! | scenario | what it measures |
//! |---|---|
//! | `ingest` | floor 1: a handler that only checks the HMAC; floor 2: the same, and a file with group commit; Grapnel |
//! | `delivery` | a backlog of signed deliveries to one receiver, against a plain client loop |
//! | `through` | ingest, storage and delivery at the same time; the time from request to arrival at a fixed rate |
//! | `fanout` | ingest while `--subscriptions` subscriptions of one endpoint deliver |
//! | `objects` | `--objects` endpoints and as many subscriptions: start, memory, idle CPU, time of a change |
//! | `growth` | `--events` events (3,000,000 by default): rate, disk, restart after SIGKILL, SIGTERM |
//! | `nats-ingest` | ingest on three NATS brokers that sync what they store, against a plain publish loop on them |
//! | `nats-through` | the same as `through` on the brokers, at 500 requests a second |
//! | `nats-failover` | two replicas: the longest wait of a sender while a replica or the leading broker is killed |
//! | `nats-objects` | two replicas with 1,000 objects, and with `--objects`: start, memory, idle CPU |
//!
//! All but `growth` run by default. Servers are processes of their own and share this machine with the load and the
//! receiver, which come from this process; so do the NATS brokers. Grapnel is used by its command line only.
//!
//! `cargo bench --bench walk -- [SCENARIO...] [--events N] [--connections N] [--in-flight N] [--subscriptions N]
//! [--objects N] [--seconds N] [--rate N] [--program PATH] [--log FILTER]`
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // How a bench fails.

mod delivery;
mod fanout;
mod floor;
mod growth;
mod ingest;
mod load;
mod manifest;
mod nats;
mod objects;
mod payload;
mod process;
mod receiver;
mod report;
mod through;

use std::{path::PathBuf, time::Duration};

/// The size of every body: a usual webhook.
const BODY_BYTES: usize = 1536;
/// The HMAC secret of all servers.
const SECRET: &str = "bench-secret-of-a-decent-length";
/// How long a scenario waits for anything before the run ends with an error.
const PATIENCE: Duration = Duration::from_secs(600);
const SCENARIOS: [&str; 10] = [
    "ingest",
    "delivery",
    "through",
    "fanout",
    "objects",
    "growth",
    "nats-ingest",
    "nats-through",
    "nats-failover",
    "nats-objects",
];

/// What to measure, and how much of it.
struct Options {
    scenarios: Vec<String>,
    /// Events of a closed loop; each scenario has its own default.
    events: Option<usize>,
    /// Client connections.
    connections: usize,
    /// `maxInFlight` of subscriptions.
    in_flight: usize,
    subscriptions: usize,
    objects: usize,
    /// Length of measurements that are bounded by time.
    seconds: u64,
    /// Requests a second where the rate is fixed.
    rate: usize,
    program: PathBuf,
    /// `RUST_LOG` of Grapnel.
    log: String,
}

impl Options {
    fn parse(arguments: &[String]) -> Self {
        let text = |name: &str| {
            let at = arguments.iter().position(|argument| argument == name);
            at.and_then(|at| arguments.get(at + 1))
        };
        let number = |name: &str| text(name).map(|text| text.parse::<usize>().unwrap());
        let named = |scenario: &&&str| arguments.iter().any(|argument| argument == **scenario);
        let mut scenarios: Vec<String> = SCENARIOS.iter().filter(named).map(|name| name.to_string()).collect();
        if scenarios.is_empty() {
            scenarios = SCENARIOS.iter().filter(|name| **name != "growth").map(|name| name.to_string()).collect();
        }
        Self {
            scenarios,
            events: number("--events"),
            connections: number("--connections").unwrap_or(64),
            in_flight: number("--in-flight").unwrap_or(64),
            subscriptions: number("--subscriptions").unwrap_or(200),
            objects: number("--objects").unwrap_or(10_000),
            seconds: number("--seconds").unwrap_or(10) as u64,
            rate: number("--rate").unwrap_or(2_000),
            program: text("--program").map_or_else(|| env!("CARGO_BIN_EXE_grapnel").into(), PathBuf::from),
            log: text("--log").cloned().unwrap_or_else(|| "warn,grapnel::runtime=info".into()),
        }
    }

    /// The events of a closed loop.
    fn events(&self) -> usize {
        self.events.unwrap_or(200_000)
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    if arguments.first().is_some_and(|first| first == floor::ARGUMENT) {
        return runtime.block_on(floor::serve(arguments.get(1).map(PathBuf::from)));
    }
    let _ = rustls::crypto::ring::default_provider().install_default();
    runtime.block_on(run(Options::parse(&arguments)));
}

async fn run(options: Options) {
    println!(
        "bodies of {BODY_BYTES} bytes, {} connections, {} cores, {}",
        options.connections,
        std::thread::available_parallelism().map_or(0, usize::from),
        options.program.display()
    );
    for scenario in &options.scenarios {
        match scenario.as_str() {
            "ingest" => ingest::run(&options).await,
            "delivery" => delivery::run(&options).await,
            "through" => through::run(&options).await,
            "fanout" => fanout::run(&options).await,
            "objects" => objects::run(&options).await,
            "nats-ingest" => nats::ingest::run(&options).await,
            "nats-through" => nats::through::run(&options).await,
            "nats-failover" => nats::failover::run(&options).await,
            "nats-objects" => nats::objects::run(&options).await,
            _ => growth::run(&options).await,
        }
    }
}
