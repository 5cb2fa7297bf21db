use std::{collections::HashSet, io::Write};

use nkeys::KeyPair;

use super::*;

/// The state of a connection, as long as it has none.
fn reason(broker: &Broker) -> Option<String> {
    match &*broker.state().borrow() {
        ConnectionState::Disconnected(reason) => Some(reason.clone()),
        _ => None,
    }
}

#[tokio::test]
async fn a_broker_that_was_killed_and_is_back_serves_again() {
    let (mut cluster, broker) = one().await;
    broker.ensure_stream(&config("s")).await.unwrap();
    broker.publish(&after("s.a", 0), TIMEOUT).await.unwrap();
    cluster.kill(0);
    let lost = broker.publish(&after("s.b", 0), Duration::from_millis(300)).await;
    assert!(matches!(lost, Err(PublishError::Unavailable(_))), "{lost:?}");
    eventually("the end of the connection", async || !broker.is_connected()).await;
    let lost = broker.get("s", 1, ReadFrom::Leader).await;
    assert!(matches!(lost, Err(BrokerError::Disconnected(_))), "{lost:?}");
    broker.notify("wake".into(), "".into());
    cluster.restart(0);
    // Sent before the broker serves: it waits for the connection.
    let stored = eventually("a stored message", async || broker.publish(&after("s.b", 0), TIMEOUT).await);
    assert_eq!(stored.await, 2);
    assert_eq!(broker.stream("s").await.unwrap().unwrap().messages, 2);
}

#[tokio::test]
async fn a_request_whose_connection_breaks_fails_at_once() {
    let (mut cluster, broker) = one().await;
    let _listens = broker.subscribe("questions".into()).await.unwrap();
    broker.flush().await.unwrap();
    let asking = tokio::spawn({
        let broker = broker.clone();
        // Longer than any test may run.
        async move { broker.request("questions".into(), "?".into(), Duration::from_secs(3600)).await }
    });
    broker.flush().await.unwrap();
    cluster.kill(0);
    let failed = asking.await.unwrap();
    assert!(matches!(failed, Err(BrokerError::Disconnected(_) | BrokerError::NoResponders(_))), "{failed:?}");
}

#[tokio::test]
async fn another_connection_is_made_on_demand() {
    let (_cluster, broker) = one().await;
    let _listens = broker.subscribe("questions".into()).await.unwrap();
    broker.flush().await.unwrap();
    let mut states = broker.state();
    states.borrow_and_update();
    // Unanswered: what waits for the old connection is told.
    let asking = tokio::spawn({
        let broker = broker.clone();
        async move { broker.request("questions".into(), "?".into(), Duration::from_secs(3600)).await }
    });
    broker.flush().await.unwrap();
    broker.reconnect().await;
    let failed = asking.await.unwrap();
    assert!(matches!(failed, Err(BrokerError::Disconnected(_))), "{failed:?}");
    states.changed().await.unwrap();
    eventually("a connection", async || broker.is_connected()).await;
    assert!(broker.ensure_stream(&config("s")).await.is_ok());
}

/// The attempts to connect to it that have failed do not keep the client from another broker.
#[tokio::test]
async fn the_connection_made_on_demand_is_to_another_broker() {
    let mut cluster = NatsCluster::start(3, NatsSettings::default()).await;
    let broker = connect(&cluster).await;
    for node in 0..3 {
        cluster.kill(node);
    }
    eventually("the end of the connection", async || !broker.is_connected()).await;
    cluster.restart(0);
    eventually("a connection to the one that runs", async || broker.is_connected()).await;
    cluster.restart(1);
    cluster.restart(2);
    cluster.ready().await;
    let mut met = HashSet::from([broker.server_id()]);
    for others in 1..=2 {
        broker.reconnect().await;
        let another =
            eventually("another broker", async || Some(broker.server_id()).filter(|id| !met.contains(id))).await;
        met.insert(another);
        assert_eq!(met.len(), others + 1);
        eventually("a connection", async || broker.is_connected()).await;
    }
}

#[tokio::test]
async fn a_connection_is_made_when_the_broker_comes() {
    let (mut cluster, first) = one().await;
    first.close().await;
    eventually("its end", async || *first.state().borrow() == ConnectionState::Closed).await;
    let closed = first.publish(&message("s.a"), TIMEOUT).await;
    assert!(matches!(closed, Err(PublishError::Unavailable(_))), "{closed:?}");
    cluster.kill(0);
    let broker = Broker::connect(options(&cluster)).await.unwrap();
    assert!(!broker.is_connected());
    eventually("a reason", async || reason(&broker).filter(|reason| reason != "not connected yet")).await;
    // Before a connection nobody knows what the brokers accept.
    let large = Publication { payload: vec![0; 2 << 20].into(), ..message("s.a") };
    let unknown = broker.publish(&large, Duration::from_millis(50)).await;
    assert!(matches!(unknown, Err(PublishError::Unavailable(_))), "{unknown:?}");
    cluster.restart(0);
    eventually("a connection", async || broker.is_connected()).await;
}

#[tokio::test]
async fn credentials_let_in_and_others_are_refused_without_being_shown() {
    let (allowed, stranger) = (KeyPair::new_user(), KeyPair::new_user());
    let settings = NatsSettings { users: vec![allowed.public_key()], ..NatsSettings::default() };
    let cluster = NatsCluster::start(1, settings).await;
    let mut file = tempfile::NamedTempFile::new().unwrap();
    let seed = allowed.seed().unwrap();
    writeln!(file, "# a user\n{seed}").unwrap();
    let with = |path: &std::path::Path| BrokerOptions { credentials: Some(path.into()), ..options(&cluster) };
    let broker = Broker::connect(with(file.path())).await.unwrap();
    eventually("a connection", async || broker.is_connected()).await;
    broker.ensure_stream(&config("s")).await.unwrap();

    let other = tempfile::NamedTempFile::new().unwrap();
    let secret = stranger.seed().unwrap();
    std::fs::write(other.path(), &secret).unwrap();
    let refused = Broker::connect(with(other.path())).await.unwrap();
    let why = eventually("the refusal", async || {
        reason(&refused).filter(|reason| reason.contains("authorization violation"))
    });
    let why = why.await;
    assert!(!why.contains(&secret) && !why.contains(&stranger.public_key()), "{why}");
    let unavailable = refused.publish(&message("s.a"), Duration::from_millis(100)).await.unwrap_err();
    assert!(unavailable.to_string().contains("authorization violation"), "{unavailable}");

    // The file is read for every connection.
    std::fs::write(other.path(), &seed).unwrap();
    eventually("a connection", async || refused.is_connected()).await;
}

#[tokio::test]
async fn options_that_cannot_be_used_are_errors() {
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str, content: &str| {
        let path = directory.path().join(name);
        std::fs::write(&path, content).unwrap();
        path
    };
    let missing = directory.path().join("missing");
    let server = || BrokerOptions { urls: vec!["nats://127.0.0.1:1".into()], ..BrokerOptions::default() };
    let with = |credentials| BrokerOptions { credentials: Some(credentials), ..server() };
    let error = async |options| Broker::connect(options).await.err().expect("it cannot be used");
    assert!(matches!(error(with(missing.clone())).await, ConnectError::Credentials { .. }));
    let sesame = file("creds", "SUsesame");
    let wrong = error(with(sesame)).await;
    assert!(matches!(wrong, ConnectError::Credentials { .. }));
    assert!(!format!("{wrong:?} {wrong}").contains("sesame"), "{wrong:?}");
    let ca = BrokerOptions { ca: Some(missing.clone()), ..server() };
    assert!(matches!(error(ca).await, ConnectError::File { .. }));
    let half = BrokerOptions { certificate: Some(file("certificate", "")), ..server() };
    assert!(matches!(error(half).await, ConnectError::HalfAnIdentity));
    let url = BrokerOptions { urls: vec!["http://x".into()], ..server() };
    assert!(matches!(error(url).await, ConnectError::Urls));
}

#[tokio::test]
async fn three_brokers_serve_while_one_is_killed() {
    let mut cluster = NatsCluster::start(3, NatsSettings::default()).await;
    let broker = connect(&cluster).await;
    let three = StreamConfig { replicas: 3, ..config("s") };
    let leader = broker.ensure_stream(&three).await.unwrap().leader;
    for n in 0..100 {
        broker.publish(&after(&format!("s.{n}"), 0), TIMEOUT).await.unwrap();
    }
    let leader = cluster.find(&leader.expect("a leader"));
    cluster.kill(leader);
    let publish = async || match broker.publish(&after("s.later", 0), Duration::from_secs(2)).await {
        // An earlier try may have been stored without an answer.
        Ok(sequence) | Err(PublishError::WrongLast(sequence)) => Ok(sequence),
        Err(error) => Err(error.to_string()),
    };
    assert_eq!(eventually("a message stored by the others", publish).await, 101);
    let mut seen = Vec::new();
    let last = broker.heads("s", 1, "s.>", &mut |head| seen.push(head.sequence)).await.unwrap();
    assert_eq!((last, seen), (101, (1..=101).collect::<Vec<_>>()));
    cluster.restart(leader);
    cluster.ready().await;
    let differs = broker.ensure_stream(&config("s")).await;
    assert!(matches!(differs, Err(StreamError::Differs { .. })), "{differs:?}");
}
