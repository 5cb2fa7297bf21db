use super::*;

#[tokio::test]
async fn a_message_is_stored_if_what_it_expects_is_true() {
    let (_cluster, broker) = one().await;
    broker.ensure_stream(&config("s")).await.unwrap();
    assert_eq!(broker.publish(&after("s.a", 0), TIMEOUT).await.unwrap(), 1);
    assert_eq!(broker.publish(&message("s.b"), TIMEOUT).await.unwrap(), 2);
    // Its own last sequence, not the stream's.
    let twice = broker.publish(&after("s.a", 0), TIMEOUT).await;
    assert!(matches!(twice, Err(PublishError::WrongLast(1))), "{twice:?}");
    assert_eq!(broker.publish(&after("s.a", 1), TIMEOUT).await.unwrap(), 3);
    let none = broker.publish(&after("s.c", 7), TIMEOUT).await;
    assert!(matches!(none, Err(PublishError::WrongLast(0))), "{none:?}");

    let log = |last| Publication { expected: Some(Expected::LastInStream(last)), ..message("s.log") };
    let late = broker.publish(&log(2), TIMEOUT).await;
    assert!(matches!(late, Err(PublishError::WrongLast(3))), "{late:?}");
    assert_eq!(broker.publish(&log(3), TIMEOUT).await.unwrap(), 4);
    assert_eq!(broker.stream("s").await.unwrap().unwrap().messages, 4);
}

#[tokio::test]
async fn of_equal_messages_at_once_one_is_stored() {
    let (_cluster, broker) = one().await;
    broker.ensure_stream(&config("s")).await.unwrap();
    let equal = after("s.a", 0);
    let tries = (0..64).map(|_| broker.publish(&equal, TIMEOUT));
    let outcomes = futures_util::future::join_all(tries).await;
    let stored = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
    let known =
        |outcome: &Result<u64, _>| matches!(outcome, Ok(1) | Err(PublishError::WrongLast(1) | PublishError::InFlight));
    assert_eq!(stored, 1);
    assert!(outcomes.iter().all(known), "{outcomes:?}");
}

#[tokio::test]
async fn a_message_with_a_time_to_live_goes_by_itself() {
    let (_cluster, broker) = one().await;
    broker.ensure_stream(&config("s")).await.unwrap();
    // Rounded up to what the brokers accept.
    let short = Publication { ttl: Some(Duration::from_millis(10)), ..message("s.short") };
    broker.publish(&short, TIMEOUT).await.unwrap();
    let long = Publication { ttl: Some(Duration::from_secs(3600)), ..message("s.long") };
    broker.publish(&long, TIMEOUT).await.unwrap();
    assert_eq!(broker.get("s", 1, ReadFrom::Leader).await.unwrap().unwrap().header("Nats-TTL"), Some("1"));
    eventually("the end of the message", async || broker.get("s", 1, ReadFrom::Leader).await.unwrap().is_none()).await;
    assert!(broker.get("s", 2, ReadFrom::Leader).await.unwrap().is_some());
}

#[tokio::test]
async fn a_batch_is_stored_all_or_none() {
    let (_cluster, broker) = one().await;
    broker.ensure_stream(&config("s")).await.unwrap();
    let thousand: Vec<Publication> = (0..1000).map(|n| after(&format!("s.{n}"), 0)).collect();
    assert_eq!(broker.publish_batch(&thousand, TIMEOUT).await.unwrap(), 1..=1000);

    let mut one_wrong: Vec<Publication> = (0..10).map(|n| after(&format!("s.new.{n}"), 0)).collect();
    one_wrong[4] = after("s.17", 0);
    let refused = broker.publish_batch(&one_wrong, TIMEOUT).await;
    assert!(matches!(refused, Err(PublishError::WrongLast(18))), "{refused:?}");
    assert_eq!(broker.stream("s").await.unwrap().unwrap().messages, 1000);
    // The last and the first are requests, the others are not.
    for wrong in [0, 9] {
        let mut batch: Vec<Publication> = (0..10).map(|n| after(&format!("s.new.{n}"), 0)).collect();
        batch[wrong] = after("s.17", 0);
        let refused = broker.publish_batch(&batch, TIMEOUT).await;
        assert!(matches!(refused, Err(PublishError::WrongLast(18))), "{refused:?}");
    }
    assert_eq!(broker.stream("s").await.unwrap().unwrap().messages, 1000);

    one_wrong[4] = after("s.17", 18);
    assert_eq!(broker.publish_batch(&one_wrong, TIMEOUT).await.unwrap(), 1001..=1010);
    assert_eq!(broker.publish_batch(&[after("s.single", 0)], TIMEOUT).await.unwrap(), 1011..=1011);
}

#[tokio::test]
async fn a_batch_that_cannot_be_is_refused() {
    let (_cluster, broker) = one().await;
    broker.ensure_stream(&config("s")).await.unwrap();
    let more: Vec<Publication> = (0..1001).map(|n| message(&format!("s.{n}"))).collect();
    for batch in [&more[..], &[]] {
        let refused = broker.publish_batch(batch, TIMEOUT).await;
        assert!(matches!(refused, Err(PublishError::Refused { .. })), "{refused:?}");
    }
    broker.ensure_stream(&StreamConfig { allow_atomic: false, ..config("plain") }).await.unwrap();
    let refused = broker.publish_batch(&[message("plain.a"), message("plain.b")], TIMEOUT).await;
    assert!(matches!(refused, Err(PublishError::Refused { code: 10174, .. })), "{refused:?}");
    for stream in ["s", "plain"] {
        assert_eq!(broker.stream(stream).await.unwrap().unwrap().messages, 0);
    }
}

#[tokio::test]
async fn many_batches_at_once_are_stored_or_refused_as_busy() {
    let (_cluster, broker) = one().await;
    broker.ensure_stream(&config("s")).await.unwrap();
    let batches: Vec<Vec<Publication>> =
        (0..100).map(|batch| (0..50).map(|n| message(&format!("s.{batch}.{n}"))).collect()).collect();
    let outcomes =
        futures_util::future::join_all(batches.iter().map(|batch| broker.publish_batch(batch, TIMEOUT))).await;
    let stored = outcomes.iter().filter(|outcome| outcome.is_ok()).count() as u64;
    assert!(outcomes.iter().all(|outcome| matches!(outcome, Ok(_) | Err(PublishError::Busy(_)))), "{outcomes:?}");
    assert_eq!(broker.stream("s").await.unwrap().unwrap().messages, stored * 50);
}

#[tokio::test]
async fn a_full_stream_refuses_the_new_message() {
    let (_cluster, broker) = one().await;
    let small = StreamConfig { max_bytes: Some(64 << 10), ..config("s") };
    broker.ensure_stream(&small).await.unwrap();
    let big = |n: u64| Publication { payload: vec![0; 10 << 10].into(), ..after(&format!("s.{n}"), 0) };
    let mut stored = 0;
    let refused = loop {
        match broker.publish(&big(stored), TIMEOUT).await {
            Ok(_) => stored += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(refused, PublishError::Full(_)), "{refused:?}");
    assert_eq!(broker.stream("s").await.unwrap().unwrap().messages, stored);
    assert!(broker.delete("s", 1).await.unwrap());
    broker.publish(&big(stored), TIMEOUT).await.unwrap();
}

#[tokio::test]
async fn a_message_that_is_too_large_is_not_sent() {
    let (_cluster, broker) = one_with(NatsSettings { max_payload: 1 << 20, ..NatsSettings::default() }).await;
    broker.ensure_stream(&config("s")).await.unwrap();
    assert_eq!(broker.max_payload(), 1 << 20);
    let sized = |bytes: usize| Publication { payload: vec![0; bytes].into(), ..message("s.a") };
    // Its headers count.
    for bytes in [1 << 20, 2 << 20] {
        let refused = broker.publish(&sized(bytes), TIMEOUT).await;
        assert!(matches!(refused, Err(PublishError::TooLarge { max: 1_048_576, .. })), "{refused:?}");
        let refused = broker.publish_batch(&[message("s.b"), sized(bytes)], TIMEOUT).await;
        assert!(matches!(refused, Err(PublishError::TooLarge { .. })), "{refused:?}");
    }
    assert_eq!(broker.publish(&sized((1 << 20) - 1024), TIMEOUT).await.unwrap(), 1);
}

#[tokio::test]
async fn what_cannot_be_sent_is_refused_and_nothing_panics() {
    let (_cluster, broker) = one().await;
    broker.ensure_stream(&config("s")).await.unwrap();
    let line_break = Publication { headers: vec![("Grapnel-Head", "a\r\nb".into())], ..message("s.a") };
    for wrong in [line_break, message("s.a b"), message("")] {
        let refused = broker.publish(&wrong, TIMEOUT).await;
        assert!(matches!(refused, Err(PublishError::Refused { code: 0, .. })), "{refused:?}");
    }
    let nowhere = broker.publish(&message("elsewhere"), TIMEOUT).await;
    assert!(matches!(nowhere, Err(PublishError::Unavailable(_))), "{nowhere:?}");
}
