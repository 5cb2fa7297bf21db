//! Receivers that are away, ask to be left alone, or answer more than they were asked.

use std::{sync::Arc, time::Duration};

use grapnel_journal::{DeliveryState, Journal, RedeliveryStep, Selection};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpSocket},
};
use url::Url;

use crate::{
    faults::{answer, read},
    stage::{Stage, file, subscription},
};

#[tokio::test]
async fn retry_after_of_any_kind_never_shortens_nor_outlasts_the_policy() {
    // The policy says 1 s, and 60 s at most.
    for (status, headers, seconds) in [
        (429, "", 1),
        (429, "retry-after: 17\r\n", 17),
        (429, "retry-after: Sun, 01 Mar 2026 12:00:33 GMT\r\n", 33),
        (429, "retry-after: 0\r\n", 1),
        (429, "retry-after: -5\r\n", 1),
        (429, "retry-after: 1e9\r\n", 1),
        (429, "retry-after: soon\r\n", 1),
        (429, "retry-after: \r\n", 1),
        (429, "retry-after: \u{ff}\r\n", 1),
        (429, "retry-after: Thu, 01 Jan 1970 00:00:00 GMT\r\n", 1),
        (429, "retry-after: Fri, 31 Dec 9999 23:59:59 GMT\r\n", 60),
        (429, "retry-after: 99999999999999999999999999\r\n", 60),
        (429, "retry-after: 17\r\nretry-after: 40\r\n", 17),
        (503, "retry-after: 44\r\n", 44),
        (500, "retry-after: 44\r\n", 1),
        (302, "retry-after: 44\r\n", 1),
    ] {
        let head = format!("HTTP/1.1 {status} No\r\n{headers}content-length: 0\r\n\r\n");
        // Bytes as they stand: what is not ASCII is one byte each.
        let head: Arc<[u8]> = head.chars().map(|character| character as u8).collect();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = Url::parse(&format!("http://{}/hook", listener.local_addr().unwrap())).unwrap();
        tokio::spawn(async move {
            while let Ok((connection, _)) = listener.accept().await {
                let _ = answer(connection, &head).await;
            }
        });
        let mut stage = Stage::new().await;
        stage.publish([subscription("billing", &url, &stage.metrics)]).await;
        stage.append("evt_1", "t").await;
        let due = stage.delivery("billing", DeliveryState::Retrying).await.due;
        assert_eq!(due, Some(stage.now() + Duration::from_secs(seconds)), "{status} {headers}");
        stage.stop().await;
    }
}

#[tokio::test]
async fn down_for_longer_than_the_retries_is_a_dead_letter_that_is_delivered_on_demand() {
    // Bound and not listening: refuses, and nobody else can take the port.
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let url = Url::parse(&format!("http://{}/hook", socket.local_addr().unwrap())).unwrap();
    let mut stage = Stage::new().await;
    let mut down = subscription("down", &url, &stage.metrics);
    down.retry.initial = Duration::from_millis(1);
    stage.publish([down]).await;
    for number in 0..3 {
        stage.append(&format!("evt_{number}"), "t").await;
    }
    stage
        .until("down", "given up", |progress| {
            if progress.retrying > 0 && progress.in_flight == 0 {
                stage.clock.advance(Duration::from_millis(2));
            }
            progress.dead == 3
        })
        .await;
    for letter in stage.deliveries("down", DeliveryState::DeadLettered).await {
        assert_eq!((letter.attempts, &*letter.failure.unwrap().reason), (3, "connect"));
    }
    let listener = socket.listen(16).unwrap();
    let delivered = tokio::spawn(async move {
        let mut ids = Vec::new();
        while ids.len() < 3 {
            let (mut connection, _) = listener.accept().await.unwrap();
            let mut head = vec![0; 4096];
            let count = connection.read(&mut head).await.unwrap();
            let head = String::from_utf8_lossy(&head[..count]).into_owned();
            ids.extend(head.lines().find_map(|line| line.strip_prefix("webhook-id: ").map(str::to_owned)));
            connection.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").await.unwrap();
        }
        ids.sort();
        ids
    });
    let step = RedeliveryStep { from: None, limit: 100, dry_run: false, now: stage.now() };
    let queued = stage.journal.redeliver(&file("down"), &Selection::DeadLettered, step).await.unwrap();
    assert_eq!(queued.queued, 3);
    assert_eq!(delivered.await.unwrap(), ["evt_0", "evt_1", "evt_2"]);
    let progress = stage.until("down", "delivered", |progress| progress.delivered == 3).await;
    assert_eq!((progress.dead, progress.retrying, progress.pending), (0, 0, 0));
    stage.stop().await;
}

#[tokio::test]
async fn an_unsolicited_response_is_not_taken_for_that_of_the_next_event() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = Url::parse(&format!("http://{}/hook", listener.local_addr().unwrap())).unwrap();
    tokio::spawn(async move {
        while let Ok((mut connection, _)) = listener.accept().await {
            tokio::spawn(async move {
                while read(&mut connection).await.is_ok() {
                    let two =
                        b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\nHTTP/1.1 410 Gone\r\ncontent-length: 0\r\n\r\n";
                    if connection.write_all(two).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    let mut stage = Stage::new().await;
    let mut billing = subscription("billing", &url, &stage.metrics);
    billing.max_in_flight = 1.try_into().unwrap();
    billing.retry.max_attempts = 100;
    billing.retry.initial = Duration::from_millis(1);
    billing.retry.max_delay = Duration::from_millis(1);
    stage.publish([billing]).await;
    for number in 0..50 {
        stage.append(&format!("evt_{number}"), "t").await;
    }
    let progress = stage
        .until("billing", "ended", |progress| {
            stage.clock.advance(Duration::from_millis(1));
            progress.delivered + progress.dead == 50
        })
        .await;
    assert_eq!(progress.dead, 0);
    stage.stop().await;
}
