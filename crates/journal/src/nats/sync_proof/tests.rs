use std::collections::BTreeMap;

use super::{
    SyncProof,
    facts::{BrokerFacts, Storage},
    judge::judge,
};

/// A broker of a cluster of three that is as it has to be.
fn broker(name: &str) -> BrokerFacts {
    let storage = Storage { syncs_always: true, cluster_size: 3, silent: Vec::new() };
    BrokerFacts { name: name.into(), id: format!("{name}-1"), version: "2.15.1".into(), storage: Some(storage) }
}

fn change(mut facts: BrokerFacts, change: impl Fn(&mut Storage)) -> BrokerFacts {
    change(facts.storage.as_mut().unwrap());
    facts
}

fn remembered(names: &[&str]) -> BTreeMap<String, BrokerFacts> {
    names.iter().map(|name| ((*name).to_owned(), broker(name))).collect()
}

fn proven(servers: &[&str]) -> SyncProof {
    SyncProof::Proven { servers: servers.iter().map(|name| (*name).to_owned()).collect() }
}

fn missing(proof: &SyncProof) -> &str {
    proof.missing().expect("no proof")
}

#[test]
fn every_broker_of_the_cluster_must_say_that_it_syncs() {
    let all = [broker("a"), broker("b"), broker("c")];
    assert_eq!(judge(&all, &BTreeMap::new(), Some("a-1"), &[]), proven(&["a", "b", "c"]));

    let two = judge(&all[..2], &BTreeMap::new(), Some("a-1"), &["http://c: no answer in time".into()]);
    assert!(missing(&two).contains("1 of 3") && missing(&two).contains("http://c"), "{two:?}");

    let none = judge(&[], &BTreeMap::new(), None, &[]);
    assert!(missing(&none).contains("no NATS server"), "{none:?}");
}

#[test]
fn one_broker_alone_is_a_cluster_of_one() {
    let alone = change(broker("a"), |storage| storage.cluster_size = 1);
    assert_eq!(judge(&[alone], &BTreeMap::new(), Some("a-1"), &[]), proven(&["a"]));
}

#[test]
fn a_broker_that_does_not_sync_is_named_with_the_setting() {
    let all = [broker("a"), change(broker("b"), |storage| storage.syncs_always = false), broker("c")];
    // What it said earlier does not count.
    let proof = judge(&all, &remembered(&["a", "b", "c"]), Some("a-1"), &[]);
    assert!(missing(&proof).contains("server b ") && missing(&proof).contains("sync_interval: always"), "{proof:?}");
}

#[test]
fn versions_are_compared_as_numbers() {
    for (version, enough) in [
        ("2.15.0", true),
        ("2.15.0-dev", true),
        ("2.100.0", true),
        ("3.0.0", true),
        ("2.14.9", false),
        ("2.9.1", false),
        ("", false),
        ("x", false),
    ] {
        let all = [broker("a"), broker("b"), BrokerFacts { version: version.into(), ..broker("c") }];
        let proof = judge(&all, &BTreeMap::new(), Some("a-1"), &[]);
        assert_eq!(proof.missing().is_none(), enough, "{version}: {proof:?}");
        if !enough {
            assert!(missing(&proof).contains("server c ") && missing(&proof).contains("2.15"), "{proof:?}");
        }
    }
}

#[test]
fn a_broker_that_was_proven_counts_while_a_majority_answers() {
    let failures = ["http://c: the broker's monitoring cannot be reached".to_owned()];
    let known = remembered(&["a", "b", "c"]);
    let all = [broker("a"), broker("b")];
    assert_eq!(judge(&all, &known, Some("a-1"), &failures), proven(&["a", "b", "c"]));
    // The connection to it may not have been given up yet.
    assert_eq!(judge(&all, &known, Some("c-1"), &failures), proven(&["a", "b", "c"]));
    let one = judge(&all[..1], &known, Some("a-1"), &failures);
    assert!(missing(&one).contains("only 1 of 3"), "{one:?}");
}

#[test]
fn a_broker_that_the_leader_does_not_hear_of_stores_nothing() {
    let leader = change(broker("a"), |storage| storage.silent = vec!["c".into()]);
    let failures = ["http://c: no answer in time".to_owned()];
    assert_eq!(judge(&[leader, broker("b")], &BTreeMap::new(), Some("a-1"), &failures), proven(&["a", "b"]));
}

#[test]
fn the_connected_broker_must_be_among_those_that_were_asked() {
    let all = [broker("a"), broker("b"), broker("c")];
    for connected in ["d-1", "a-2"] {
        let proof = judge(&all, &BTreeMap::new(), Some(connected), &[]);
        assert!(missing(&proof).contains("connected"), "{proof:?}");
    }
}

#[test]
fn the_same_broker_twice_counts_once() {
    let all = [broker("a"), broker("b"), broker("b")];
    let proof = judge(&all, &BTreeMap::new(), Some("a-1"), &[]);
    assert!(missing(&proof).contains("1 of 3"), "{proof:?}");
}

#[test]
fn a_broker_without_jetstream_stores_nothing() {
    let idle = BrokerFacts { storage: None, ..broker("d") };
    let all = [broker("a"), broker("b"), broker("c"), idle];
    assert_eq!(judge(&all, &BTreeMap::new(), Some("d-1"), &[]), proven(&["a", "b", "c"]));
}

#[test]
fn answers_are_read_as_brokers_give_them() {
    let monitor = r#"{"server_id":"ID","server_name":"n0","version":"2.15.1","jetstream":{"config":{"max_memory":1,"sync_always":true},
        "meta":{"leader":"n0","cluster_size":3,"replicas":[{"name":"n1","current":true,"active":1000},
        {"name":"n2","current":false,"offline":true,"active":1},{"name":"n3","current":false,"active":11000000000}]}}}"#;
    let facts = BrokerFacts::from_monitor(&monitor.into()).unwrap();
    let storage = Storage { syncs_always: true, cluster_size: 3, silent: vec!["n2".into(), "n3".into()] };
    assert_eq!(
        facts,
        BrokerFacts { name: "n0".into(), id: "ID".into(), version: "2.15.1".into(), storage: Some(storage) }
    );

    // Without `sync_interval: always` the field is left out.
    let system = r#"{"server":{},"data":{"server_id":"ID","server_name":"n0","version":"2.15.1","jetstream":{"config":{"max_memory":1}}}}"#;
    let facts = BrokerFacts::from_system(&system.into()).unwrap();
    assert_eq!(facts.storage, Some(Storage { syncs_always: false, cluster_size: 1, silent: Vec::new() }));

    let idle = r#"{"server_id":"ID","server_name":"n0","version":"2.15.1","jetstream":{}}"#;
    assert_eq!(BrokerFacts::from_monitor(&idle.into()).unwrap().storage, None);
    for wrong in ["", "[]", "{}", "<html>"] {
        BrokerFacts::from_monitor(&wrong.into()).unwrap_err();
    }
    BrokerFacts::from_system(&r#"{"error":{"code":401}}"#.into()).unwrap_err();
}

mod with_brokers {
    use grapnel_test_support::{
        eventually,
        nats::{NatsCluster, NatsSettings},
    };

    use super::*;
    use crate::nats::{
        broker::{Broker, BrokerOptions},
        sync_proof::SyncCheck,
    };

    async fn connect(cluster: &NatsCluster) -> Broker {
        let options = BrokerOptions { urls: cluster.urls(), name: "test".into(), ..BrokerOptions::default() };
        let broker = Broker::connect(options).await.unwrap();
        eventually("a connection", async || broker.is_connected()).await;
        broker
    }

    #[tokio::test]
    async fn a_cluster_is_proven_and_stays_so_while_one_broker_is_down() {
        let settings = NatsSettings { sync_always: true, ..NatsSettings::default() };
        let mut cluster = NatsCluster::start(3, settings).await;
        let broker = connect(&cluster).await;
        let mut check = SyncCheck::default();
        let two = check.check(&broker, &cluster.monitors()[..2], false).await;
        assert!(two.missing().is_some(), "{two:?}");
        let all = check.check(&broker, &cluster.monitors(), false).await;
        assert_eq!(all, proven(&["n0", "n1", "n2"]));
        cluster.kill(1);
        eventually("a connection", async || broker.is_connected()).await;
        let proof = check.check(&broker, &cluster.monitors(), false).await;
        assert_eq!(proof, proven(&["n0", "n1", "n2"]));
        assert_eq!(SyncCheck::default().check(&broker, &[], true).await, SyncProof::Trusted);
    }

    #[tokio::test]
    async fn a_broker_with_the_default_is_named() {
        let cluster = NatsCluster::start(1, NatsSettings::default()).await;
        let broker = connect(&cluster).await;
        let proof = SyncCheck::default().check(&broker, &cluster.monitors(), false).await;
        assert!(missing(&proof).contains("server n0 ") && missing(&proof).contains("sync_interval"), "{proof:?}");
        // Nothing tells it in an ordinary account, and what is not a broker does not either.
        let proof = SyncCheck::default().check(&broker, &[], false).await;
        assert!(missing(&proof).contains("--nats-monitor"), "{proof:?}");
        for wrong in ["http://127.0.0.1:1", "https://127.0.0.1:1", "http://user:sesame@127.0.0.1:1", "sesame@x", ""] {
            let proof = SyncCheck::default().check(&broker, &[wrong.to_owned()], false).await;
            assert!(!missing(&proof).contains("sesame"), "{proof:?}");
        }
    }

    #[tokio::test]
    async fn an_account_that_imports_the_question_gets_the_answers() {
        let more = "system_account: SYS
            accounts: {
                SYS: { exports: [{ service: \"$SYS.REQ.SERVER.PING.VARZ\", response_type: stream }] }
                APP: { jetstream: enabled, users: [{ user: app, password: app }]
                       imports: [{ service: { account: SYS, subject: \"$SYS.REQ.SERVER.PING.VARZ\" } }] }
            }
            no_auth_user: app";
        let settings = NatsSettings { sync_always: true, more: more.into(), ..NatsSettings::default() };
        let cluster = NatsCluster::start(1, settings).await;
        let broker = connect(&cluster).await;
        assert_eq!(SyncCheck::default().check(&broker, &[], false).await, proven(&["n0"]));
    }
}
