//! The process ends: at any moment, at every call that changes a file, and with the power.

use std::{
    io::{BufRead, BufReader},
    process::{Command, Stdio},
    time::Duration,
};

use crate::{
    program::Grapnel,
    random,
    shim::{Action, EIO, Fault, Files, calls},
    site::{IN_FLIGHT, Site},
    size,
    traffic::{HOPELESS, Traffic},
};

/// Most ended attempts that wait to be settled (`UNSETTLED`).
const UNSETTLED: u64 = 256;

/// SIGKILL at random moments under load, and now and then while it starts.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_random_moments() {
    let kills = size("FAULTS_KILLS", 25);
    let traffic = Traffic::start(200).await;
    let site = Site::new(&traffic.receiver);
    for kill in 0..kills {
        if kill % 5 == 4 {
            kill_while_it_starts(site.command()).await;
            continue;
        }
        let grapnel = site.start();
        traffic.to(&grapnel);
        traffic.more(10_000);
        tokio::time::sleep(Duration::from_micros(random(150_000))).await;
        traffic.pause();
        grapnel.kill();
        traffic.enough();
    }
    let grapnel = site.start();
    traffic.to(&grapnel);
    traffic.all_accepted(&grapnel).await;
    let duplicates = traffic.assert_nothing_lost(&grapnel).await;
    eprintln!("{kills} kills, {} events accepted, none lost; duplicates {duplicates:?}", traffic.accepted());
    assert!(traffic.accepted() > kills, "only {} events were accepted", traffic.accepted());
    for subscription in ["all", "fussy"] {
        let most = kills * (IN_FLIGHT + UNSETTLED);
        assert!(duplicates[subscription] <= most, "{subscription}: {duplicates:?}");
    }
    assert!(duplicates["orderly"] <= kills, "one in flight: {duplicates:?}");
}

async fn kill_while_it_starts(mut command: Command) {
    let mut child = command.args(["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"]);
    child = child.stderr(Stdio::piped());
    let mut child = child.spawn().unwrap();
    tokio::time::sleep(Duration::from_micros(random(60_000))).await;
    child.kill().unwrap();
    child.wait().unwrap();
    let log: Vec<_> = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok).collect();
    assert!(!log.iter().any(|line| line.contains("panicked") || line.contains("cannot be opened")), "{log:#?}");
}

/// One row of the table of places to die at.
struct Place {
    name: &'static str,
    calls: u64,
    files: Files,
    /// Calls of that kind that pass at most, before the one that it dies at.
    depth: u64,
}

const PLACES: [Place; 7] = [
    Place { name: "commit and settle: the write", calls: calls::WRITE, files: Files::Logs, depth: 150 },
    Place { name: "commit: the sync", calls: calls::SYNC, files: Files::Logs, depth: 20 },
    Place {
        name: "a new segment, rewriting and recovery",
        calls: calls::CREATE | calls::UNLINK | calls::TRUNCATE,
        files: Files::Logs,
        depth: 4,
    },
    Place { name: "index and ids: the writes", calls: calls::WRITE, files: Files::Others, depth: 24 },
    Place { name: "index and ids: new files", calls: calls::CREATE, files: Files::Others, depth: 12 },
    Place {
        name: "index and ids: syncs and renames",
        calls: calls::SYNC | calls::RENAME,
        files: Files::Others,
        depth: 24,
    },
    Place { name: "index and ids: what is removed", calls: calls::UNLINK, files: Files::Others, depth: 6 },
];

/// SIGKILL before, in the middle of and after calls that change a file: inside commits, settlements, retention, new
/// segments, their rewriting and their indexes. The journal is bounded, so that settled events go early all the time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_chosen_calls() {
    let points = size("FAULTS_POINTS", 14);
    let traffic = Traffic::start(64 << 10).await;
    let site = Site::new(&traffic.receiver).with(&bounded(points, 64 << 10));
    let mut hits = [0; PLACES.len()];
    for point in 0..points {
        let at = usize::try_from(point).unwrap() % PLACES.len();
        let place = &PLACES[at];
        let action = [Action::Kill, Action::Tear, Action::KillAfter][usize::try_from(random(3)).unwrap()];
        let fault = Fault::once(place.calls, place.files, action, random(place.depth));
        hits[at] += u64::from(dies_at(&site, &traffic, fault).await);
    }
    site.shim.clear();
    let grapnel = site.start();
    traffic.to(&grapnel);
    traffic.all_accepted(&grapnel).await;
    let duplicates = traffic.assert_nothing_lost(&grapnel).await;
    for (place, hits) in PLACES.iter().zip(hits) {
        eprintln!("{}: died {hits} times", place.name);
    }
    eprintln!("{points} points, {} events accepted, none lost; duplicates {duplicates:?}", traffic.accepted());
    assert!(hits[0] > 0 && hits[1] > 0 && hits[3] + hits[4] + hits[5] > 0, "{hits:?}");
    // A place at which nothing ever dies is not tested.
    assert!(points < 10 * PLACES.len() as u64 || hits.iter().all(|hits| *hits > 0), "{hits:?}");
}

/// At most so many events are sent between two faults.
const EVENTS: u64 = 240;

/// A bound on the journal that leaves room for the dead letters, which stay, and for little else.
fn bounded(rounds: u64, padding: u64) -> [String; 2] {
    let dead = rounds * EVENTS / HOPELESS * padding;
    ["--journal-max-bytes".to_owned(), (dead + (16 << 20)).to_string()]
}

/// Runs under load until the fault kills it, or for as long as some events take. True if it died of the fault.
async fn dies_at(site: &Site, traffic: &Traffic, fault: Fault) -> bool {
    site.shim.set(fault);
    match site.try_start() {
        Ok(grapnel) => {
            let goal = traffic.accepted() + EVENTS * 3 / 4;
            traffic.more(EVENTS);
            traffic.to(&grapnel);
            let over = || site.shim.acted() > 0 || traffic.accepted() >= goal;
            traffic.until("the fault or the end of the load", &grapnel, over).await;
            traffic.pause();
            traffic.enough();
            // Whether it is dead by now or not.
            end(grapnel);
        }
        Err(log) => assert!(log.contains("signal: 9"), "{fault:?}: it did not start:\n{log}"),
    }
    site.shim.acted() > 0
}

fn end(grapnel: Grapnel) {
    assert!(!grapnel.log().contains("panicked"), "{}", grapnel.log());
    grapnel.kill();
}

/// The process, or the power, dies at each call of the very first start, one after another: the next start works.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_every_call_of_the_first_start() {
    let step = size("FAULTS_FIRST_STEP", 20);
    let traffic = Traffic::start(10).await;
    let site = Site::new(&traffic.receiver).with_power_cuts();
    let mut skip = random(step);
    loop {
        site.erase();
        let action = match random(3) {
            0 => Action::Kill,
            1 => Action::Tear,
            _ => Action::PowerCut { seed: random(1 << 32) },
        };
        let fault = Fault::once(calls::CHANGES, Files::Any, action, skip);
        site.shim.set(fault);
        let started = site.try_start();
        let died = site.shim.acted() > 0;
        site.shim.clear();
        drop(started);
        let grapnel = site.start();
        let body = br#"{"id":"e-0"}"#;
        assert_eq!(grapnel.post("/default/in", &[], *body).await.0, 200, "after {fault:?}");
        grapnel.kill();
        if !died {
            break;
        }
        skip += step;
    }
    assert!(skip > 20, "only {skip} calls");
    eprintln!("a start makes {skip} calls that change a file; it may die at any of them");
}

/// The power goes: what was not synced is gone, or half of it. What was answered 2xx is there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost_with_the_power() {
    let cuts = size("FAULTS_POWER_CUTS", 9);
    let traffic = Traffic::start(64 << 10).await;
    let site = Site::new(&traffic.receiver).with(&bounded(cuts, 64 << 10)).with_power_cuts();
    let mut hits = 0;
    for cut in 0..cuts {
        let (files, depth) =
            [(Files::Logs, 400), (Files::Others, 400), (Files::Any, 1200)][usize::try_from(cut % 3).unwrap()];
        let action = Action::PowerCut { seed: random(1 << 32) };
        let fault = Fault::once(calls::CHANGES, files, action, random(depth));
        hits += u64::from(dies_at(&site, &traffic, fault).await);
    }
    site.shim.clear();
    let grapnel = site.start();
    traffic.to(&grapnel);
    traffic.all_accepted(&grapnel).await;
    let duplicates = traffic.assert_nothing_lost(&grapnel).await;
    eprintln!("{hits} power cuts, {} events accepted, none lost; duplicates {duplicates:?}", traffic.accepted());
    // What is listed can be read: the removal of an event is not lost, while the event is.
    assert_eq!(grapnel.metric("grapnel_journal_damaged_records_total ").await, 0.0, "{}", grapnel.log());
    assert!(hits > cuts / 9, "only {hits} of {cuts}");
}

/// A sync fails, and for the kernel the pages are clean from then on: no later sync writes them. Then the power goes. What
/// was confirmed in between does not rest on them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_sync_and_then_the_power() {
    let cuts = size("FAULTS_POWER_CUTS", 9_u64).div_ceil(3);
    let traffic = Traffic::start(1000).await;
    let site = Site::new(&traffic.receiver).with_power_cuts();
    for _ in 0..cuts {
        let grapnel = site.start();
        traffic.to(&grapnel);
        traffic.more(100_000);
        let before = traffic.accepted();
        traffic.until("the load", &grapnel, || traffic.accepted() > before + 20).await;
        site.shim.set(Fault::once(calls::SYNC, Files::Logs, Action::Fail(EIO), random(20)));
        traffic.until("the failure", &grapnel, || site.shim.acted() > 0).await;
        let before = traffic.accepted();
        traffic.until("going on", &grapnel, || traffic.accepted() > before + 20).await;
        let action = Action::PowerCut { seed: random(1 << 32) };
        site.shim.set(Fault::once(calls::CHANGES, Files::Logs, action, random(100)));
        traffic.until("the power cut", &grapnel, || site.shim.acted() > 0).await;
        traffic.pause();
        end(grapnel);
        traffic.enough();
        site.shim.clear();
    }
    let grapnel = site.start();
    traffic.to(&grapnel);
    traffic.all_accepted(&grapnel).await;
    let duplicates = traffic.assert_nothing_lost(&grapnel).await;
    eprintln!("{cuts} failed syncs, {} events accepted, none lost; duplicates {duplicates:?}", traffic.accepted());
}
