//! Kills, ends and starts again.

use std::collections::BTreeSet;

use crate::{
    home::Home,
    program::{Grapnel, hmac_hex, receiver::Receiver},
    walk::{ORDERS, RECEIVER},
};

fn order(number: usize) -> Vec<u8> {
    format!(r#"{{"id":"order-{number}","type":"order.created","total":{number}}}"#).into_bytes()
}

/// The quickstart with a receiver that may be away for longer.
fn patient(receiver: &Receiver) -> Home {
    let home = Home::quickstart(&receiver.url);
    let orders = home
        .read("orders.yaml")
        .replace("maxAttempts: 3", "maxAttempts: 50")
        .replace("requests: 100", "requests: 100000");
    home.write("orders.yaml", &orders);
    home
}

#[tokio::test]
async fn what_was_accepted_survives_a_kill_and_keeps_its_id_and_attempts() {
    let receiver = Receiver::start().await;
    receiver.answer(503);
    let home = patient(&receiver);
    let grapnel = home.start();
    for number in 0..5 {
        let body = order(number);
        let signature = hmac_hex(ORDERS, &body);
        assert_eq!(grapnel.post("/default/orders", &[("X-Webhook-Signature", &signature)], body).await.0, 200);
    }
    // Each has been tried once before the power goes.
    let mut tried = BTreeSet::new();
    while tried.len() < 5 {
        tried.insert(receiver.next().await.header("webhook-id").to_owned());
    }
    grapnel.kill();

    let grapnel = home.start();
    receiver.answer(200);
    let mut delivered = BTreeSet::new();
    while delivered.len() < 5 {
        let arrived = receiver.next().await;
        arrived.assert_signed(RECEIVER);
        if arrived.status() == Some(200) {
            delivered.insert(arrived.header("webhook-id").to_owned());
        }
    }
    assert_eq!(delivered, tried);

    let body = order(3);
    let signature = hmac_hex(ORDERS, &body);
    let (status, answer) = grapnel.post("/default/orders", &[("X-Webhook-Signature", &signature)], body).await;
    assert_eq!((status, answer["duplicate"].as_bool()), (200, Some(true)), "duplicates are known across restarts");
}

#[tokio::test]
async fn every_event_answered_2xx_under_load_is_delivered_although_it_is_killed() {
    let receiver = Receiver::start().await;
    let home = patient(&receiver);
    let mut accepted = BTreeSet::new();
    let mut delivered = BTreeSet::new();
    let mut number = 0;
    for round in 0..4 {
        let grapnel = home.start();
        let mut answers = tokio::task::JoinSet::new();
        for _ in 0..60 {
            let body = order(number);
            let id = format!("order-{number}");
            number += 1;
            let signature = hmac_hex(ORDERS, &body);
            let (client, url) = (crate::program::client(), format!("{}/default/orders", grapnel.webhooks));
            answers.spawn(async move {
                let request = client.post(url).header("x-webhook-signature", signature);
                let answer = request.header("content-type", "application/json").body(body).send().await;
                answer.is_ok_and(|answer| answer.status() == 200).then_some(id)
            });
        }
        // Killed in the middle: some are answered, some are not.
        let half = 30 + round;
        for _ in 0..half {
            accepted.extend(answers.join_next().await.unwrap().unwrap());
        }
        grapnel.kill();
        while let Some(answer) = answers.join_next().await {
            accepted.extend(answer.unwrap());
        }
    }
    assert!(accepted.len() >= 4 * 30, "only {} were accepted", accepted.len());
    let _grapnel = home.start();
    while !accepted.is_subset(&delivered) {
        delivered.insert(receiver.next().await.header("webhook-id").to_owned());
    }
}

#[tokio::test]
async fn sigterm_finishes_requests_in_flight_and_exits_with_0() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    let receiver = Receiver::start().await;
    let home = Home::quickstart(&receiver.url);
    let grapnel = home.start();
    let body = order(1);
    let signature = hmac_hex(ORDERS, &body);
    let mut stream = tokio::net::TcpStream::connect(grapnel.webhooks.strip_prefix("http://").unwrap()).await.unwrap();
    let head = format!(
        "POST /default/orders HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\nexpect: 100-continue\r\n\
         x-webhook-signature: {signature}\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    // The interim answer says that the request has begun.
    let mut interim = [0; 25];
    stream.read_exact(&mut interim).await.unwrap();
    assert!(interim.starts_with(b"HTTP/1.1 100"), "{}", String::from_utf8_lossy(&interim));
    grapnel.send_signal("TERM");
    grapnel.eventually("the shutdown", async || grapnel.log().contains("shutting down").then_some(())).await;
    stream.write_all(&body).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let (status, log) = grapnel.ended().await;
    assert_eq!(status.code(), Some(0), "{log}");

    let _grapnel = home.start();
    assert_eq!(receiver.next().await.header("webhook-id"), "order-1", "delivered before the end or after the start");
}

#[tokio::test]
async fn a_second_process_on_one_directory_is_refused() {
    let receiver = Receiver::start().await;
    let home = Home::quickstart(&receiver.url);
    let _first = home.start();
    let manifests = home.manifests();
    let data = home.data();
    let output = crate::program::run(&[
        "standalone",
        "--listen",
        "127.0.0.1:0",
        "--admin-listen",
        "127.0.0.1:0",
        "-f",
        manifests.to_str().unwrap(),
        "--data-dir",
        data.to_str().unwrap(),
    ]);
    assert_eq!(output.status.code(), Some(1));
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(error.contains("in use by another process"), "{error}");
}

#[tokio::test]
async fn the_order_holds_although_the_receiver_fails_and_the_program_is_killed() {
    let receiver = Receiver::start().await;
    let home = patient(&receiver);
    let orders = home.read("orders.yaml");
    let ordered = orders
        .replace("  target:", "  ordering: Ordered\n  circuitBreaker: { failures: 3, cooldown: 10ms }\n  target:");
    assert_ne!(orders, ordered);
    let quick = ordered.replace("initialDelay: 1s", "initialDelay: 5ms\n    maxDelay: 20ms");
    assert_ne!(ordered, quick);
    home.write("orders.yaml", &quick);
    let mut arrived: Vec<crate::program::receiver::Received> = Vec::new();
    for round in 0..3 {
        receiver.answer(503);
        let grapnel = home.start();
        for number in round * 20..(round + 1) * 20 {
            let body = order(number);
            let signature = hmac_hex(ORDERS, &body);
            assert_eq!(grapnel.post("/default/orders", &[("X-Webhook-Signature", &signature)], body).await.0, 200);
        }
        for _ in 0..5 {
            arrived.push(receiver.next().await);
        }
        receiver.answer(200);
        while arrived.last().is_some_and(|last| last.status() != Some(200)) {
            arrived.push(receiver.next().await);
        }
        // Killed while one event after another is delivered, or fails again.
        receiver.answer(if round == 1 { 200 } else { 500 });
        grapnel.kill();
    }
    receiver.answer(200);
    let _grapnel = home.start();
    let number = |id: &str| id.strip_prefix("order-").unwrap().parse::<usize>().unwrap();
    while !arrived.last().is_some_and(|last| last.status() == Some(200) && last.header("webhook-id") == "order-59") {
        arrived.push(receiver.next().await);
    }
    // What was answered 200 just before a kill may come again, because nobody could take note of it, and then all that
    // follows. Nothing overtakes what was not delivered.
    let numbers: Vec<_> = arrived.iter().map(|request| number(request.header("webhook-id"))).collect();
    let mut next = 0;
    for (request, number) in arrived.iter().zip(&numbers) {
        assert!(*number <= next, "order-{number} came before order-{next} was delivered: {numbers:?}");
        if request.status() == Some(200) && *number == next {
            next += 1;
        }
    }
    assert_eq!(next, 60);
    let back = numbers.windows(2).filter(|pair| pair[1] < pair[0]).count();
    assert!(back <= 3, "one step back a kill at most: {numbers:?}");
}

#[tokio::test]
async fn before_a_delayed_shutdown_it_is_not_ready_and_refuses_nothing() {
    let receiver = Receiver::start().await;
    // A delay that never ends in this test: the second signal ends it.
    let home = patient(&receiver).with(&["--shutdown-delay", "5m"]);
    let grapnel = home.start();
    assert_eq!(grapnel.admin("/readyz").await.0, 200);
    grapnel.send_signal("TERM");
    let said = grapnel
        .eventually("not being ready", async || {
            let (status, said) = grapnel.admin("/readyz").await;
            (status == 503).then_some(said)
        })
        .await;
    assert_eq!(said, "shutdown: shutting down\n");
    assert_eq!(grapnel.admin("/healthz").await.0, 200);
    let body = order(1);
    let signature = hmac_hex(ORDERS, &body);
    assert_eq!(grapnel.post("/default/orders", &[("X-Webhook-Signature", &signature)], body).await.0, 200);
    assert_eq!(receiver.next().await.header("webhook-id"), "order-1", "deliveries go on");
    grapnel.send_signal("TERM");
    let (status, log) = grapnel.ended().await;
    assert!(status.success(), "{log}");
}

#[tokio::test]
async fn endpoints_go_on_counting() {
    let receiver = Receiver::start().await;
    let home = patient(&receiver);
    let grapnel = home.start();
    let (body, other) = (order(1), order(2));
    let (signature, of_other) = (hmac_hex(ORDERS, &body), hmac_hex(ORDERS, &other));
    let post = async |grapnel: &Grapnel, signature: &str| {
        grapnel.post("/default/orders", &[("X-Webhook-Signature", signature)], body.clone()).await.0
    };
    for (signature, status) in [(&signature, 200), (&signature, 200), (&of_other, 401)] {
        assert_eq!(post(&grapnel, signature).await, status);
    }
    let counts = async |grapnel: &Grapnel| {
        let status = grapnel.status("WebhookEndpoint", "orders").await;
        ["received", "rejected", "duplicates"].map(|name| status[name].as_u64().unwrap())
    };
    let before = grapnel.status("WebhookEndpoint", "orders").await;
    assert_eq!(counts(&grapnel).await, [1, 1, 1], "{before}");
    grapnel.send_signal("TERM");
    assert!(grapnel.ended().await.0.success());

    let grapnel = home.start();
    let after = grapnel.eventually("its counts", async || {
        let status = grapnel.status("WebhookEndpoint", "orders").await;
        if status["received"] == 1 { Ok(status) } else { Err(status) }
    });
    let after = after.await;
    assert_eq!(
        (&after["lastRejection"], &after["lastReceivedTime"]),
        (&before["lastRejection"], &before["lastReceivedTime"])
    );
    assert_eq!(post(&grapnel, &signature).await, 200);
    assert_eq!(counts(&grapnel).await, [1, 1, 2]);
}
