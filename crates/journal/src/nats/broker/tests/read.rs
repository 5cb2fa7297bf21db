use super::*;

#[tokio::test]
async fn a_message_is_read_as_it_was_published() {
    let (_cluster, broker) = one().await;
    broker.ensure_stream(&config("s")).await.unwrap();
    let large = Publication { payload: vec![7; 3 << 20].into(), ..message("s.large") };
    broker.publish(&message("s.a"), TIMEOUT).await.unwrap();
    broker.publish(&large, TIMEOUT).await.unwrap();
    broker.publish(&Publication { headers: Vec::new(), payload: "".into(), ..message("s.a") }, TIMEOUT).await.unwrap();
    for from in [ReadFrom::Leader, ReadFrom::Any] {
        let first = broker.get("s", 1, from).await.unwrap().unwrap();
        assert_eq!((first.sequence, first.subject.as_str(), &first.payload[..]), (1, "s.a", &b"body"[..]));
        assert_eq!(first.header("Grapnel-Head"), Some("head of s.a"));
        assert!(first.time > broker.stream("s").await.unwrap().unwrap().created);
        assert_eq!(broker.get("s", 2, from).await.unwrap().unwrap().payload, large.payload);
        let last = broker.last("s", "s.a", from).await.unwrap().unwrap();
        assert_eq!((last.sequence, last.payload.len(), last.header("Grapnel-Head")), (3, 0, None));
        assert_eq!(broker.last("s", "s.>", from).await.unwrap().unwrap().sequence, 3);
        assert!(broker.get("s", 4, from).await.unwrap().is_none());
        assert!(broker.last("s", "s.none", from).await.unwrap().is_none());
    }
    let missing = broker.get("none", 1, ReadFrom::Leader).await;
    assert!(matches!(missing, Err(BrokerError::Refused { code: 10059, .. })), "{missing:?}");
    let missing = broker.get("none", 1, ReadFrom::Any).await;
    assert!(matches!(missing, Err(BrokerError::NoResponders(_))), "{missing:?}");
}

#[tokio::test]
async fn a_batch_is_bounded_and_tells_what_is_left() {
    let (_cluster, broker) = one().await;
    broker.ensure_stream(&config("s")).await.unwrap();
    for n in 0..20 {
        broker.publish(&message(&format!("s.{}.{n}", if n % 2 == 0 { "even" } else { "odd" })), TIMEOUT).await.unwrap();
    }
    let sequences = |batch: &Batch| batch.messages.iter().map(|message| message.sequence).collect::<Vec<_>>();
    let batch = broker.batch("s", 0, "s.>", 5, 1 << 20).await.unwrap();
    assert_eq!((sequences(&batch), batch.pending), (vec![1, 2, 3, 4, 5], 15));
    // By which a lost answer is noticed.
    assert_eq!(batch.messages[1].header("Nats-Last-Sequence"), Some("1"));
    let batch = broker.batch("s", 4, "s.even.*", 100, 1 << 20).await.unwrap();
    assert_eq!((sequences(&batch), batch.pending), (vec![5, 7, 9, 11, 13, 15, 17, 19], 0));
    // At least one, however few bytes may be sent.
    let batch = broker.batch("s", 4, "s.even.*", 100, 1).await.unwrap();
    assert_eq!((sequences(&batch), batch.pending), (vec![5], 7));
    assert_eq!(batch.messages[0].header("Grapnel-Head"), Some("head of s.even.4"));
    for (from, filter) in [(21, "s.>"), (1000, "s.>"), (1, "s.none")] {
        let batch = broker.batch("s", from, filter, 5, 1 << 20).await.unwrap();
        assert_eq!((batch.messages.len(), batch.pending), (0, 0));
    }
}

#[tokio::test]
async fn a_scan_passes_every_head_once_and_in_order() {
    const EACH: u64 = 1000;
    let (_cluster, broker) = one().await;
    broker.ensure_stream(&config("s")).await.unwrap();
    for round in 0..20 {
        let batch: Vec<Publication> = (0..EACH).map(|n| message(&format!("s.{round}.{n}"))).collect();
        broker.publish_batch(&batch, TIMEOUT).await.unwrap();
    }
    let mut seen = Vec::new();
    let mut each = |head: Message| {
        assert!(head.payload.is_empty());
        assert_eq!(head.header("Grapnel-Head"), Some(format!("head of {}", head.subject).as_str()));
        seen.push(head.sequence);
    };
    assert_eq!(broker.heads("s", 1, "s.>", &mut each).await.unwrap(), 20 * EACH);
    assert_eq!(seen, (1..=20 * EACH).collect::<Vec<_>>());

    // From a sequence on, with a filter, and without what was removed.
    broker.delete("s", 19_500).await.unwrap();
    let mut seen = Vec::new();
    let last = broker.heads("s", 18_990, "s.19.*", &mut |head| seen.push(head.sequence)).await;
    assert_eq!(last.unwrap(), 20 * EACH);
    assert_eq!(seen, (19_001..=20_000).filter(|sequence| *sequence != 19_500).collect::<Vec<_>>());

    // The last message may be gone: the end is that of the stream.
    broker.delete("s", 20_000).await.unwrap();
    for (from, filter, expected) in [(20_000, "s.>", 0), (30_000, "s.>", 0), (1, "s.none", 0), (1, "s.0.*", EACH)] {
        let mut count = 0;
        let last = broker.heads("s", from, filter, &mut |_| count += 1).await.unwrap();
        assert_eq!((last >= 20_000, count), (true, expected), "{from} {filter}");
    }
    let missing = broker.heads("none", 1, ">", &mut |_| {}).await;
    assert!(matches!(missing, Err(BrokerError::Refused { code: 10059, .. })), "{missing:?}");
}

#[tokio::test]
async fn rows_are_the_last_message_of_each_subject() {
    let (_cluster, broker) = one().await;
    let rows = StreamConfig { max_msgs_per_subject: Some(1), discard: Discard::Old, ..config("s") };
    broker.ensure_stream(&rows).await.unwrap();
    assert!(broker.rows("s", "s.>").await.unwrap().is_empty());
    for round in 0..3 {
        for n in 0..1500 {
            let row = Publication { payload: format!("{round}").into(), ..message(&format!("s.row.{n:04}")) };
            broker.publish(&row, TIMEOUT).await.unwrap();
            if round == 0 && n == 10 {
                break;
            }
        }
    }
    broker.publish(&message("s.other"), TIMEOUT).await.unwrap();
    let found = broker.rows("s", "s.row.*").await.unwrap();
    assert_eq!(found.len(), 1500);
    assert!(found.iter().all(|row| &row.payload[..] == b"2"));
    assert!(found.is_sorted_by_key(|row| row.subject.clone()));
    assert_eq!(broker.rows("s", "s.>").await.unwrap().len(), 1501);
}
