//! How long an append takes while retention runs, and how the disk shrinks afterwards.
//!
//! Three runs of the same load on the journal itself, each in a directory of its own: so many appends at once, and a
//! subscription that settles all of them.
//!
//! - quiet: nothing is removed;
//! - by age: a sweep follows another without a pause, each removes what is settled;
//! - by size: `--journal-max-bytes` is a quarter of what comes in, so that appends themselves have to make room.
//!
//! Printed are the rate, the percentiles of single appends, and the real bytes of the directory: at its largest, and
//! after everything is removed and the journal was left alone for a while.
//!
//! `cargo bench --bench retention -- [--events N] [--at-once N] [--body BYTES] [--only quiet|age|size]`
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // How a bench fails.

mod load;

use std::time::Duration;

use load::{Options, Removal};

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let text = |name: &str| {
        let at = arguments.iter().position(|argument| argument == name)?;
        arguments.get(at + 1)
    };
    let number = |name: &str, default: usize| text(name).map_or(default, |text| text.parse().unwrap());
    let options = Options {
        events: number("--events", 200_000),
        at_once: number("--at-once", 64),
        body_bytes: number("--body", 1536),
    };
    let only = text("--only").cloned();
    println!(
        "{} events of {} bytes, {} appends at once, {} cores",
        options.events,
        options.body_bytes,
        options.at_once,
        std::thread::available_parallelism().map_or(0, usize::from)
    );
    println!(
        "\n{:<8} {:>9} {:>9} {:>9} {:>9} {:>9} {:>11} {:>11} {:>11}",
        "removal", "events/s", "p50 ms", "p99 ms", "p99.9 ms", "max ms", "peak MiB", "after MiB", "resident"
    );
    tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
        .with_writer(std::io::stderr)
        .init();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    for (name, removal) in [("quiet", Removal::None), ("age", Removal::ByAge), ("size", Removal::BySize)] {
        if only.as_ref().is_some_and(|only| only != name) {
            continue;
        }
        let measured = runtime.block_on(load::run(&options, removal));
        let ms = |time: Duration| format!("{:.2}", time.as_secs_f64() * 1e3);
        println!(
            "{name:<8} {:>9.0} {:>9} {:>9} {:>9} {:>9} {:>11} {:>11} {:>11}",
            options.events as f64 / measured.time.as_secs_f64(),
            ms(measured.percentile(0.5)),
            ms(measured.percentile(0.99)),
            ms(measured.percentile(0.999)),
            ms(measured.percentile(1.0)),
            measured.peak_bytes >> 20,
            measured.after_bytes >> 20,
            measured.resident_bytes >> 20,
        );
    }
}
