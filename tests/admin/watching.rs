//! `--watch`: rows are printed as they are added and change.

use std::process::Stdio;

use grapnel::admin::Access;
use grapnel_journal::{Claim, Exchange, Journal, Settlement};
use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt, BufReader, Lines},
    process::{Child, ChildStdout},
};

use super::{Server, arrival, billing, grapnel, now, start, with_deliveries};

fn watching(server: &Server, args: &[&str]) -> (Child, Lines<BufReader<ChildStdout>>) {
    let args = [args, &["--watch", "--interval", "20ms"]].concat();
    let mut child = grapnel(server.address, &args).stdout(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    (child, lines)
}

/// The next line.
async fn next(lines: &mut Lines<BufReader<ChildStdout>>) -> String {
    lines.next_line().await.unwrap().unwrap()
}

async fn deliver(server: &Server, sequence: u64) {
    let exchange = Exchange { time: now(), status: Some(200), took: std::time::Duration::ZERO };
    server.journal.settle(&billing(), vec![(sequence, Settlement::Delivered(exchange))]).await.unwrap();
}

#[tokio::test]
async fn deliveries_are_printed_again_when_they_change() {
    let server = start(Access::LoopbackOnly).await;
    with_deliveries(&server).await;
    let (mut child, mut lines) = watching(&server, &["deliveries", "list", "billing", "--limit", "2", "-o", "json"]);
    let row = async |lines: &mut _| -> (String, String) {
        let row: Value = serde_json::from_str(&next(lines).await).unwrap();
        (row["eventId"].as_str().unwrap().to_owned(), row["state"].as_str().unwrap().to_owned())
    };
    let expected = |id: &str, state: &str| (id.to_owned(), state.to_owned());
    assert_eq!(row(&mut lines).await, expected("e3", "inFlight"));
    assert_eq!(row(&mut lines).await, expected("e4", "pending"));
    deliver(&server, 4).await;
    assert_eq!(row(&mut lines).await, expected("e3", "settled"), "not the rows before those of the list");
    server.append(vec![arrival("new", "t", now(), None, b"{}")]).await;
    assert_eq!(row(&mut lines).await, expected("new", "pending"));
    child.kill().await.unwrap();
    server.end().await;
}

#[tokio::test]
async fn no_new_delivery_is_missed() {
    let server = start(Access::LoopbackOnly).await;
    with_deliveries(&server).await;
    let (mut child, mut lines) = watching(&server, &["deliveries", "list", "billing", "--limit", "1"]);
    assert!(next(&mut lines).await.starts_with("OUTCOME"));
    assert!(next(&mut lines).await.contains(" e4 "));
    // More than one request returns.
    server.append((0..350).map(|n| arrival(&format!("new{n}"), "t", now(), None, b"{}")).collect()).await;
    for n in 0..350 {
        let line = next(&mut lines).await;
        assert!(line.contains(&format!(" new{n} ")), "{n}: {line}");
    }
    let claimed = server.journal.claim(&billing(), Claim::new(1, now())).await.unwrap();
    assert_eq!(&*claimed.deliveries[0].event.id, "e4");
    child.kill().await.unwrap();
    server.end().await;
}

#[tokio::test]
async fn events_follow_the_list() {
    let server = start(Access::LoopbackOnly).await;
    server.append((0..5).map(|n| arrival(&format!("old{n}"), "a.b", now(), None, b"{}")).collect()).await;
    let list = ["events", "list", "orders", "--limit", "2", "--type", "a.*"];
    let (mut child, mut lines) = watching(&server, &list);
    for word in ["AGE", " old3 ", " old4 "] {
        assert!(next(&mut lines).await.contains(word), "{word}");
    }
    server.append(vec![arrival("other", "b", now(), None, b"{}"), arrival("new", "a.c", now(), None, b"{}")]).await;
    assert!(next(&mut lines).await.contains(" new "));
    child.kill().await.unwrap();
    server.end().await;
}
