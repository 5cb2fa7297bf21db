//! Many objects: start, memory, idle CPU, and the time until a change is live.

use grapnel_test_support::directory;
use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use crate::{Options, load::Connection, manifest, process::Server, report};

/// Endpoints in one file, with as many subscriptions.
const PER_FILE: usize = 100;
/// Changes that are timed.
const CHANGES: usize = 11;

pub(crate) async fn run(options: &Options) {
    let directory = directory::temporary();
    let manifests = directory.path().join("manifests");
    let files = write(&manifests, options.objects, "http://127.0.0.1:9/");
    // Otherwise the files are so young that a reader may not trust their times.
    tokio::time::sleep(Duration::from_secs(3)).await;
    let server = Server::grapnel(options, &manifests, &directory.path().join("data"));
    let (ready, resident) = (server.started_in, server.resident());

    tokio::time::sleep(Duration::from_secs(3)).await;
    let (before, since) = (server.cpu(), Instant::now());
    tokio::time::sleep(Duration::from_secs(options.seconds)).await;
    let idle = (server.cpu() - before).as_secs_f64() / since.elapsed().as_secs_f64() * 100.0;

    // The middle file changes: its first endpoint is suspended, and resumed.
    let number = files / 2 * PER_FILE;
    let file = manifests.join(format!("{}.yaml", files / 2));
    let text = fs::read_to_string(&file).unwrap();
    let suspended = text.replacen("suspend: false", "suspend: true", 1);
    let probe = format!("POST /default/in-{number} HTTP/1.1\r\nhost: bench\r\ncontent-length: 0\r\n\r\n");
    let mut connection = Connection::open(server.address).await;
    let mut times = Vec::new();
    for change in 0..CHANGES {
        // 503 while it is suspended, 401 for a request that is not signed.
        let (text, status) = if change % 2 == 0 { (&suspended, 503) } else { (&text, 401) };
        let start = Instant::now();
        manifest::write(&file, text);
        while connection.send(probe.as_bytes()).await != status {
            assert!(start.elapsed() < crate::PATIENCE, "the change is not live");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        times.push(start.elapsed());
        tokio::time::sleep(Duration::from_millis(317)).await;
    }
    times.sort_unstable();

    println!("\n{} endpoints and {} subscriptions in {files} files", options.objects, options.objects);
    report::figure("ready after", report::time(ready));
    report::figure("resident when ready", report::mebibytes(resident));
    report::figure("CPU at idle", format!("{idle:.1} %"));
    report::figure("a change is live after (median)", report::time(times[CHANGES / 2]));
    report::figure("a change is live after (longest)", report::time(times[CHANGES - 1]));
    report::figure("resident after", report::mebibytes(server.resident()));
    report::figure("SIGTERM takes", report::time(server.terminate()));
}

/// Writes so many endpoints, each with a subscription to the same URL, into a new directory, and returns the number of
/// files.
pub(crate) fn write(manifests: &Path, objects: usize, url: &str) -> usize {
    fs::create_dir(manifests).unwrap();
    manifest::write(&manifests.join("secret.yaml"), &manifest::secret());
    let files = objects.div_ceil(PER_FILE);
    for file in 0..files {
        let numbers = file * PER_FILE..((file + 1) * PER_FILE).min(objects);
        let pair = |number| {
            let (inward, outward) = (format!("in-{number}"), format!("out-{number}"));
            manifest::endpoint(&inward, false) + &manifest::subscription(&outward, &inward, url, 16, false)
        };
        manifest::write(&manifests.join(format!("{file}.yaml")), &numbers.map(pair).collect::<String>());
    }
    files
}
