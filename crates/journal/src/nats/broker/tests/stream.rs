use super::*;

#[tokio::test]
async fn a_stream_is_created_once_and_compared() {
    let (_cluster, broker) = one().await;
    assert!(broker.stream("s").await.unwrap().is_none());
    let config = StreamConfig { max_bytes: Some(1 << 20), max_msgs_per_subject: Some(2), ..config("s") };
    let created = broker.ensure_stream(&config).await.unwrap();
    assert_eq!((&created.config, created.messages, created.last_sequence), (&config, 0, 0));
    broker.publish(&message("s.a"), TIMEOUT).await.unwrap();

    let found = broker.ensure_stream(&config).await.unwrap();
    assert_eq!((&found.config, found.created, found.messages), (&config, created.created, 1));
    assert_eq!((found.first_sequence, found.last_sequence), (1, 1));
    assert!(found.bytes > 4);

    let other = StreamConfig {
        subjects: vec!["other.>".into()],
        discard: Discard::Old,
        allow_direct: false,
        max_msgs_per_subject: None,
        ..config.clone()
    };
    let Err(StreamError::Differs { stream, differences }) = broker.ensure_stream(&other).await else {
        panic!("it differs");
    };
    assert_eq!(stream, "s");
    assert_eq!(
        differences,
        [
            "subjects is s.> instead of other.>",
            "max_msgs_per_subject is 2 instead of unlimited",
            "discard is new instead of old",
            "allow_direct is true instead of false",
        ]
    );
    assert_eq!(broker.stream("s").await.unwrap().unwrap().config, config);
}

#[tokio::test]
async fn a_stream_grows_and_never_shrinks() {
    let (_cluster, broker) = one().await;
    let sized = |max_bytes| StreamConfig { max_bytes, ..config("s") };
    broker.ensure_stream(&sized(Some(1 << 20))).await.unwrap();
    for (wanted, then) in
        [(Some(2 << 20), Some(2 << 20)), (Some(1 << 20), Some(2 << 20)), (None, None), (Some(1 << 20), None)]
    {
        let info = broker.ensure_stream(&sized(wanted)).await.unwrap();
        assert_eq!(info.config.max_bytes, then);
        assert_eq!(broker.stream("s").await.unwrap().unwrap().config, sized(then));
    }
}

#[tokio::test]
async fn replicas_that_create_the_same_stream_agree() {
    let (cluster, broker) = one().await;
    let other = connect(&cluster).await;
    let config = config("s");
    let (one, two) = tokio::join!(broker.ensure_stream(&config), other.ensure_stream(&config));
    assert_eq!(one.unwrap().created, two.unwrap().created);
}

#[tokio::test]
async fn messages_are_removed_one_by_one_or_up_to_a_sequence() {
    let (_cluster, broker) = one().await;
    broker.ensure_stream(&config("s")).await.unwrap();
    for n in 0..10 {
        broker.publish(&message(&format!("s.{n}")), TIMEOUT).await.unwrap();
    }
    assert!(broker.delete("s", 5).await.unwrap());
    assert!(!broker.delete("s", 5).await.unwrap());
    assert!(!broker.delete("s", 11).await.unwrap());
    assert!(broker.get("s", 5, ReadFrom::Leader).await.unwrap().is_none());

    assert_eq!(broker.purge_below("s", 0).await.unwrap(), 0);
    assert_eq!(broker.purge_below("s", 1).await.unwrap(), 0);
    assert_eq!(broker.purge_below("s", 8).await.unwrap(), 6);
    let info = broker.stream("s").await.unwrap().unwrap();
    assert_eq!((info.first_sequence, info.last_sequence, info.messages), (8, 10, 3));
    for missing in [broker.delete("none", 1).await.map(u64::from), broker.purge_below("none", 2).await] {
        assert!(matches!(missing, Err(BrokerError::Refused { code: 10059, .. })), "{missing:?}");
    }
}
