//! Streams that somebody deletes, replaces or changes while replicas use them.

use grapnel_test_support::{eventually, nats::NatsSettings};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
};

use crate::{
    site::{Site, ready},
    stage::Stage,
};

/// Asks a broker as the `nats` command does, in the words of its protocol.
async fn ask(address: &str, subject: &str, request: &Value) -> Value {
    let mut connection = BufReader::new(TcpStream::connect(address).await.unwrap());
    let request = request.to_string();
    let words = format!(
        "CONNECT {{\"verbose\":false,\"pedantic\":false}}\r\nSUB answer 1\r\nPUB {subject} answer {}\r\n{request}\r\n",
        request.len()
    );
    connection.write_all(words.as_bytes()).await.unwrap();
    loop {
        let mut line = String::new();
        assert!(connection.read_line(&mut line).await.unwrap() > 0, "no answer from {subject}");
        if line.starts_with("MSG ") {
            let mut payload = vec![0; line.trim().rsplit(' ').next().unwrap().parse().unwrap()];
            connection.read_exact(&mut payload).await.unwrap();
            let answer: Value = serde_json::from_slice(&payload).unwrap();
            assert!(answer.get("error").is_none(), "{subject}: {answer}");
            return answer;
        }
    }
}

/// Every events stream of the installation.
fn events_streams() -> impl Iterator<Item = String> {
    (0..crate::site::SHARDS).map(|shard| format!("GRAPNEL_EV_{shard}"))
}

async fn stage() -> Stage {
    Stage::at(Site::single(NatsSettings { sync_always: true, ..NatsSettings::default() }).await).await
}

/// A limit by which a stream would drop events: nothing is accepted until it is gone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_changed_stream_is_not_written_to() {
    let stage = stage().await;
    let a = stage.replica("a").await;
    let address = stage.address();
    let mut before = Vec::new();
    for stream in events_streams() {
        let info = ask(&address, &format!("$JS.API.STREAM.INFO.{stream}"), &json!({})).await;
        let mut changed = info["config"].clone();
        before.push((stream.clone(), changed.clone()));
        changed["max_msgs"] = 10.into();
        changed["discard"] = "old".into();
        ask(&address, &format!("$JS.API.STREAM.UPDATE.{stream}"), &changed).await;
    }
    a.eventually("a log line", async || a.log().contains("max_msgs is 10 instead of unlimited")).await;
    stage.refused(&a, "early").await;
    let (_, text) = a.admin("/readyz?verbose").await;
    assert!(text.contains("max_msgs is 10 instead of unlimited"), "{text}");
    for (stream, config) in before {
        ask(&address, &format!("$JS.API.STREAM.UPDATE.{stream}"), &config).await;
    }
    stage.send(&a, "early").await;
    stage.taken("early").await;
}

/// A stream that is deleted is made again, and subscriptions go on with new events.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deleted_stream_is_made_again() {
    let stage = stage().await;
    let a = stage.replica("a").await;
    stage.send(&a, "before").await;
    stage.taken("before").await;
    for stream in events_streams() {
        ask(&stage.address(), &format!("$JS.API.STREAM.DELETE.{stream}"), &json!({})).await;
    }
    a.eventually("a log line", async || a.log().contains("what it held is lost")).await;
    stage.send(&a, "after").await;
    stage.taken("after").await;
}

/// A stream that somebody has made in the place of a deleted one begins with sequences that subscriptions have behind them. It
/// is not written to; deleted, it is made again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replaced_stream_is_not_written_to() {
    let stage = stage().await;
    let a = stage.replica("a").await;
    stage.send(&a, "before").await;
    stage.taken("before").await;
    let address = stage.address();
    for stream in events_streams() {
        let info = ask(&address, &format!("$JS.API.STREAM.INFO.{stream}"), &json!({})).await;
        ask(&address, &format!("$JS.API.STREAM.DELETE.{stream}"), &json!({})).await;
        ask(&address, &format!("$JS.API.STREAM.CREATE.{stream}"), &info["config"]).await;
    }
    // The first acknowledgement shows it, long before the streams are compared again.
    stage.refused(&a, "early").await;
    a.eventually("a log line", async || a.log().contains("made again by somebody else, so")).await;
    stage.refused(&a, "late").await;
    for stream in events_streams() {
        ask(&address, &format!("$JS.API.STREAM.DELETE.{stream}"), &json!({})).await;
    }
    eventually("an accepted event", async || a.post("/default/in-0", &[], *br#"{"id":"probe"}"#).await.0 == 200).await;
    ready(&a).await;
    stage.send(&a, "after").await;
    stage.taken("after").await;
}
