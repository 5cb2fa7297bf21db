//! Compares Grapnel with the bare floor in one run, and prints a table.
//!
//! - ingest floor: an axum handler that only checks the HMAC of the body and answers;
//! - ingest: the same requests through `grapnel standalone`: verified, de-duplicated, fsynced, answered;
//! - delivery floor: a plain reqwest loop that posts the same bodies to the same receiver;
//! - delivery: the same events from Grapnel's journal to that receiver, signed;
//! - memory: resident size at idle and after every event.
//!
//! Servers run in processes of their own; the load comes from this one, over a bounded number of connections.
//!
//! `cargo bench --bench walk -- [--events N] [--connections N] [--in-flight N]`

#[path = "walk/floor.rs"]
mod floor;
#[path = "walk/load.rs"]
mod load;
#[path = "walk/process.rs"]
mod process;
#[path = "walk/receiver.rs"]
mod receiver;

use std::{fs, path::Path, sync::Arc, time::Duration};

use process::Server;

/// The body's size: a usual webhook.
const BODY_BYTES: usize = 1536;
/// The secret of both servers.
const SECRET: &str = "bench-secret-of-a-decent-length";
/// How long anything may take before the run gives up.
const PATIENCE: Duration = Duration::from_secs(600);

struct Options {
    events: usize,
    connections: usize,
    in_flight: usize,
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    if arguments.first().is_some_and(|first| first == "floor-server") {
        return runtime.block_on(floor::serve());
    }
    let number = |name: &str, default: usize| {
        let at = arguments.iter().position(|argument| argument == name);
        at.and_then(|at| arguments.get(at + 1)).map_or(default, |text| text.parse().unwrap())
    };
    let options = Options {
        events: number("--events", 100_000),
        connections: number("--connections", 64),
        in_flight: number("--in-flight", 64),
    };
    let _ = rustls::crypto::ring::default_provider().install_default();
    runtime.block_on(run(options));
}

async fn run(options: Options) {
    let body = Arc::new(load::body());
    println!(
        "{} events of {BODY_BYTES} bytes, {} connections, {} cores",
        options.events,
        options.connections,
        std::thread::available_parallelism().map_or(0, usize::from)
    );

    let floor = Server::floor();
    let ingest_floor = load::run(floor.address, &body, options.events, options.connections, "floor").await;
    drop(floor);

    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let receiver = receiver::Receiver::start().await;
    let manifest = directory.path().join("bench.yaml");
    write_manifest(&manifest, receiver.address, options.in_flight, true);
    let grapnel = Server::grapnel(&manifest, &directory.path().join("data"));
    let idle = grapnel.resident();
    let ingest = load::run(grapnel.address, &body, options.events, options.connections, "grapnel").await;
    let after_ingest = grapnel.resident();

    let delivery_floor = receiver.plain_loop(&body, options.events, options.in_flight).await;
    receiver.expect(options.events);
    write_manifest(&manifest, receiver.address, options.in_flight, false);
    let delivery = receiver.wait(PATIENCE).await;
    let after_delivery = grapnel.resident();
    drop(grapnel);

    let rate = |events: usize, time: Duration| events as f64 / time.as_secs_f64();
    let row = |name: &str, rate: f64, floor: f64, latency: Option<(Duration, Duration)>| {
        let percent = rate / floor * 100.0;
        let (p50, p99) = latency.map_or_else(
            || ("-".into(), "-".into()),
            |(p50, p99)| (format!("{:.2}", p50.as_secs_f64() * 1e3), format!("{:.2}", p99.as_secs_f64() * 1e3)),
        );
        println!("{name:<34} {rate:>10.0} {percent:>8.0} % {p50:>9} {p99:>9}");
    };
    println!("\n{:<34} {:>10} {:>10} {:>9} {:>9}", "", "events/s", "of floor", "p50 ms", "p99 ms");
    let floor_rate = rate(options.events, ingest_floor.time);
    row("ingest floor (axum, HMAC only)", floor_rate, floor_rate, Some(ingest_floor.latency()));
    row("ingest (durable, de-duplicated)", rate(options.events, ingest.time), floor_rate, Some(ingest.latency()));
    let floor_rate = rate(options.events, delivery_floor);
    row("delivery floor (plain client loop)", floor_rate, floor_rate, None);
    row("delivery (from the journal, signed)", rate(options.events, delivery), floor_rate, None);
    println!(
        "\nresident: {} MiB at idle, {} MiB after ingest, {} MiB after delivery",
        idle >> 20,
        after_ingest >> 20,
        after_delivery >> 20
    );
}

fn write_manifest(path: &Path, receiver: std::net::SocketAddr, in_flight: usize, suspend: bool) {
    let text = format!(
        r#"
apiVersion: grapnel.dev/v1alpha1
kind: WebhookEndpoint
metadata: {{ name: bench }}
spec:
  verification:
    hmac: {{ header: X-Webhook-Signature, algorithm: SHA256, encoding: Hex }}
    secretRefs: [{{ name: bench, key: secret }}]
  event:
    id: {{ header: X-Event-Id }}
    type: {{ value: bench }}
---
apiVersion: grapnel.dev/v1alpha1
kind: WebhookSubscription
metadata: {{ name: bench }}
spec:
  endpointRef: {{ name: bench }}
  target: {{ url: "http://{receiver}/" }}
  signing:
    scheme: StandardWebhooks
    secretRefs: [{{ name: bench, key: signing }}]
  maxInFlight: {in_flight}
  suspend: {suspend}
---
apiVersion: v1
kind: Secret
metadata: {{ name: bench }}
stringData: {{ secret: {SECRET}, signing: whsec_YmVuY2gtc2lnbmluZy1rZXktb2YtMzItYnl0ZXMtISE= }}
"#
    );
    // As an editor does it, so that nobody reads half a file.
    let fresh = path.with_extension("new");
    fs::write(&fresh, text).unwrap();
    fs::rename(fresh, path).unwrap();
}
