//! The disk is full, fails, is read-only, or holds what it should not.

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use crate::{
    program::{Grapnel, namespace, receiver::Receiver},
    shim::{Action, EIO, ENOSPC, Fault, Files, calls},
    site::Site,
    traffic::Traffic,
};

/// Senders are refused with 503 `unavailable`, and everybody who should know is told `reason` and that it is `words`.
async fn is_in_trouble(grapnel: &Grapnel, traffic: &Traffic, reason: &str, words: &str) {
    grapnel
        .eventually("the refusal of events", async || traffic.refusals().contains_key("503 unavailable").then_some(()))
        .await;
    let readiness = grapnel
        .eventually("that it is not ready", async || {
            let (status, text) = grapnel.admin("/readyz").await;
            (status == 503).then_some(text)
        })
        .await;
    assert!(readiness.starts_with("journal: ") && readiness.contains(words), "{readiness}");
    assert_eq!(grapnel.admin("/healthz").await.0, 200, "starting it anew would not help");
    assert_eq!(grapnel.metric("grapnel_journal_up ").await, 0.0);
    assert!(grapnel.metric(&format!(r#"grapnel_journal_failures_total{{reason="{reason}"}} "#)).await >= 1.0);
    let refused = r#"webhook_failed_total{namespace="default",endpoint="in",type="thing",error="unavailable"} "#;
    assert!(grapnel.metric(refused).await >= 1.0);
    let log = grapnel.log();
    assert!(log.contains("events are rejected") && log.contains(words), "{log}");
}

/// And when it is over, it goes on by itself: nothing that was answered 2xx is missing, also after another start.
async fn goes_on_by_itself(site: &Site, grapnel: Grapnel, traffic: &Traffic) {
    // First without anybody who sends: whoever is told that it is not ready sends nothing.
    traffic.pause();
    grapnel.eventually("that it is ready", async || (grapnel.admin("/readyz").await.0 == 200).then_some(())).await;
    assert_eq!(grapnel.metric("grapnel_journal_up ").await, 1.0);
    assert!(grapnel.log().contains("events are accepted again"), "{}", grapnel.log());
    traffic.to(&grapnel);
    traffic.more(50);
    traffic.all_accepted(&grapnel).await;
    traffic.assert_nothing_lost(&grapnel).await;
    grapnel.kill();
    let grapnel = site.start();
    traffic.to(&grapnel);
    traffic.more(10);
    traffic.all_accepted(&grapnel).await;
    traffic.assert_nothing_lost(&grapnel).await;
}

/// Under load, and some of it is through.
async fn under_load(site: &Site, traffic: &Traffic) -> Grapnel {
    let grapnel = site.start();
    traffic.to(&grapnel);
    traffic.more(100_000);
    grapnel.eventually("the first events", async || (traffic.accepted() >= 40).then_some(())).await;
    grapnel
}

/// Nothing is answered 2xx while nothing can be made durable.
async fn takes_nothing(grapnel: &Grapnel, traffic: &Traffic) {
    let mut before = None;
    for _ in 0..2 {
        let refusals = || traffic.refusals()["503 unavailable"];
        // By the first time every sender has seen that something is wrong.
        let so_far = refusals();
        grapnel.eventually("more refusals", async || (refusals() > so_far + 20).then_some(())).await;
        let accepted = traffic.accepted();
        assert!(before.is_none_or(|before| before == accepted), "a false 2xx");
        before = Some(accepted);
    }
}

/// What fails, for as long as it does.
async fn while_it_fails(fault: Fault, reason: &str, words: &str) {
    let traffic = Traffic::start(1000).await;
    let site = Site::new(&traffic.receiver);
    let grapnel = under_load(&site, &traffic).await;
    site.shim.set(fault);
    is_in_trouble(&grapnel, &traffic, reason, words).await;
    assert!(site.shim.acted() > 0);
    takes_nothing(&grapnel, &traffic).await;
    traffic.enough();
    site.shim.clear();
    goes_on_by_itself(&site, grapnel, &traffic).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failing_sync() {
    while_it_fails(Fault::always(calls::SYNC, Files::Any, Action::Fail(EIO)), "io", "Input/output error").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failing_writes() {
    while_it_fails(Fault::always(calls::WRITE, Files::Any, Action::Fail(EIO)), "io", "Input/output error").await;
}

/// Only the log: a file beside it can be written, so that every attempt to open the log again goes further.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failing_syncs_of_the_log_alone() {
    while_it_fails(Fault::always(calls::SYNC, Files::Logs, Action::Fail(EIO)), "io", "Input/output error").await;
}

/// A disk that does not answer: senders get their 503 all the same, and nobody is told that it is well.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sync_that_does_not_return() {
    let traffic = Traffic::start(1000).await;
    let site = Site::new(&traffic.receiver);
    let grapnel = under_load(&site, &traffic).await;
    site.shim.set(Fault::always(calls::SYNC, Files::Logs, Action::Hang));
    let not_ready = async || {
        let (status, text) = grapnel.admin("/readyz").await;
        (status == 503).then_some(text)
    };
    let readiness = grapnel.eventually("that it is not ready", not_ready).await;
    assert!(readiness.starts_with("journal: a write has been in progress for"), "{readiness}");
    assert_eq!(grapnel.metric("grapnel_journal_up ").await, 0.0);
    assert_eq!(grapnel.admin("/healthz").await.0, 200);
    let before = traffic.accepted();
    let refused = async || traffic.refusals().contains_key("503 unavailable").then_some(());
    grapnel.eventually("the refusal of events", refused).await;
    assert_eq!(traffic.accepted(), before, "a false 2xx");
    assert!(grapnel.metric(r#"grapnel_journal_failures_total{reason="timeout"} "#).await >= 1.0);
    traffic.enough();
    site.shim.clear();
    grapnel.eventually("that it is ready", async || (grapnel.admin("/readyz").await.0 == 200).then_some(())).await;
    traffic.all_accepted(&grapnel).await;
    traffic.assert_nothing_lost(&grapnel).await;
}

/// Full in the middle of a write.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_fills_up() {
    let traffic = Traffic::start(1000).await;
    let site = Site::new(&traffic.receiver);
    let grapnel = under_load(&site, &traffic).await;
    site.shim.leave_room(100_000);
    is_in_trouble(&grapnel, &traffic, "full", "No space left").await;
    takes_nothing(&grapnel, &traffic).await;
    traffic.enough();
    site.shim.clear();
    goes_on_by_itself(&site, grapnel, &traffic).await;
}

/// `--journal-max-bytes` is reached with events for a receiver that is away. When it is back there is room again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_journal_at_its_bound() {
    let traffic = Traffic::start(1000).await;
    // Nobody listens on a port of a listener that is gone.
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let bound = ["--journal-max-bytes=300000".to_owned(), "--namespace-share=300000".to_owned()];
    let site = Site::new(&format!("http://{nobody}")).with(&bound);
    let grapnel = under_load(&site, &traffic).await;
    is_in_trouble(&grapnel, &traffic, "full", "no settled event is left to remove").await;
    traffic.enough();
    traffic.pause();
    site.deliver_to(&traffic.receiver);
    goes_on_by_itself(&site, grapnel, &traffic).await;
}

/// One call fails, once, wherever it is: nothing false is said, and it goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn single_failures_anywhere() {
    let traffic = Traffic::start(64 << 10).await;
    let site = Site::new(&traffic.receiver);
    let mut grapnel = site.start();
    let mut hits = 0;
    for round in 0..crate::size("FAULTS_FAILURES", 6) {
        let error = [EIO, ENOSPC][usize::from(round % 4 >= 2)];
        // 200 events make at least 30 changes of the log; other files change more rarely, so not every such round hits.
        let (files, depth) = [(Files::Others, 200), (Files::Logs, 30)][usize::from(round % 2 == 1)];
        let fault = Fault::once(calls::CHANGES, files, Action::Fail(error), crate::random(depth));
        site.shim.set(fault);
        traffic.to(&grapnel);
        traffic.more(200);
        traffic.all_accepted(&grapnel).await;
        hits += site.shim.acted();
        site.shim.clear();
        assert!(!grapnel.log().contains("panicked"), "{fault:?}: {}", grapnel.log());
        if round % 4 == 1 {
            traffic.pause();
            grapnel.kill();
            grapnel = site.start();
        }
    }
    traffic.to(&grapnel);
    traffic.assert_nothing_lost(&grapnel).await;
    traffic.pause();
    grapnel.kill();
    let grapnel = site.start();
    traffic.to(&grapnel);
    traffic.more(10);
    traffic.all_accepted(&grapnel).await;
    let duplicates = traffic.assert_nothing_lost(&grapnel).await;
    eprintln!("{hits} failures, {} events accepted, none lost; duplicates {duplicates:?}", traffic.accepted());
    assert!(hits > 0);
}

/// What a start says when it must not work.
fn refusal(site: &Site) -> String {
    match site.try_start() {
        Ok(grapnel) => panic!("it started:\n{}", grapnel.log()),
        Err(log) => {
            assert!(log.contains("exit status: 1") && !log.contains("panicked"), "{log}");
            log
        }
    }
}

#[tokio::test]
async fn a_directory_that_cannot_be_written() {
    let receiver = Receiver::start().await;
    let site = Site::new(&receiver.url);
    // Root writes everywhere, so that the answer comes from below.
    for (calls, expected) in
        [(calls::CREATE | calls::OPEN, "Read-only file system"), (calls::WRITE, "Read-only file system")]
    {
        site.erase();
        const EROFS: u64 = 30;
        site.shim.set(Fault::always(calls, Files::Any, Action::Fail(EROFS)));
        let log = refusal(&site);
        assert!(log.contains(expected) && log.contains(site.data().to_str().unwrap()), "{log}");
        site.shim.clear();
    }
    site.start().kill();
    let before = listing(site.data());
    const EACCES: u64 = 13;
    site.shim.set(Fault::always(calls::CREATE | calls::OPEN, Files::Any, Action::Fail(EACCES)));
    assert!(refusal(&site).contains("Permission denied"));
    assert_eq!(listing(site.data()), before, "nothing was concluded from what could not be read");
    site.shim.clear();
    site.start().kill();
}

#[tokio::test]
async fn a_directory_of_another_user() {
    let receiver = Receiver::start().await;
    let site = Site::new(&receiver.url);
    // A file where the directory should be.
    fs::write(site.data(), "not a directory").unwrap();
    assert!(refusal(&site).contains("File exists") || refusal(&site).contains("Not a directory"));
    fs::remove_file(site.data()).unwrap();
    // Newer than this build.
    site.start().kill();
    let format = site.data().join("FORMAT");
    let known = fs::read_to_string(&format).unwrap();
    fs::write(&format, "grapnel-journal 9\n").unwrap();
    let before = listing(site.data());
    let log = refusal(&site);
    assert!(log.contains("has format 9") && log.contains("run a newer Grapnel"), "{log}");
    assert_eq!(listing(site.data()), before, "it was left alone");
    fs::write(&format, known).unwrap();
    // In use.
    let first = site.start();
    assert!(refusal(&site).contains("in use by another process"));
    let (status, _) = first.post("/default/in", &[], br#"{"id":"e-0"}"#).await;
    assert_eq!(status, 200, "the first one is not disturbed");
    first.kill();
    site.start().kill();
}

/// Every file with its size and mode.
fn listing(directory: &Path) -> Vec<(String, u64, u32)> {
    let mut found = Vec::new();
    let mut left = vec![directory.to_owned()];
    while let Some(next) = left.pop() {
        for entry in fs::read_dir(&next).unwrap() {
            let entry = entry.unwrap();
            let metadata = entry.metadata().unwrap();
            found.push((entry.path().display().to_string(), metadata.len(), metadata.permissions().mode()));
            if metadata.is_dir() {
                left.push(entry.path());
            }
        }
    }
    found.sort();
    found
}

/// A small volume fills up with events for a receiver that is away; they are refused while deliveries still have room. When
/// the volume has room again they are taken, with no start in between.
#[test]
fn a_small_volume() {
    let volume = grapnel_test_support::directory::temporary();
    let script = format!(
        "mount -t tmpfs -o size=64m grapnel-test '{path}'\nexport {VOLUME}='{path}'",
        path = volume.path().canonicalize().unwrap().display()
    );
    namespace::inside("disk::a_small_volume_that_is_mounted", &["--mount"], &script, "`mount`");
}

/// Where the volume is, for the inner test.
const VOLUME: &str = "FAULTS_VOLUME";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a_small_volume runs it, where the volume is mounted"]
async fn a_small_volume_that_is_mounted() {
    namespace::assert_inside();
    let volume = std::path::PathBuf::from(std::env::var_os(VOLUME).unwrap());
    let traffic = Traffic::start(64 << 10).await;
    let site = Site::new(&traffic.receiver).with_data(&volume.join("data"));
    // Somebody else takes most of the room.
    let ballast = volume.join("ballast");
    fs::write(&ballast, vec![1; 32 << 20]).unwrap();
    let grapnel = under_load(&site, &traffic).await;
    is_in_trouble(&grapnel, &traffic, "full", "MiB are free on its volume").await;
    assert!(!grapnel.log().contains("rejects writes"), "the log itself never ran out of room:\n{}", grapnel.log());
    traffic.enough();
    // What has been accepted is delivered all the same.
    traffic.pause();
    traffic.assert_nothing_lost(&grapnel).await;
    fs::remove_file(&ballast).unwrap();
    goes_on_by_itself(&site, grapnel, &traffic).await;
    drop(site);
}
