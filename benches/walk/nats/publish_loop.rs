//! The floor: a plain client that publishes to a stream of its own, with as many publishes in flight as Grapnel has
//! connections. What it is acknowledged is as durable as what Grapnel acknowledges.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use async_nats::{Client, ConnectOptions, HeaderMap};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::brokers::Brokers;
use crate::{load::Measured, payload::Payloads};

/// What the floor promises besides durability.
#[derive(Clone, Copy)]
pub(crate) enum Promise {
    /// Nothing.
    Stored,
    /// One message for each id, by the comparison that Grapnel's de-duplication uses.
    StoredOnce,
}

/// A connection and a stream with three copies.
pub(crate) struct PublishLoop {
    client: Client,
}

impl PublishLoop {
    /// Connects, and makes the stream.
    pub(crate) async fn start(brokers: &Brokers) -> Self {
        let client = ConnectOptions::new().connect(brokers.0.urls()).await.unwrap();
        let stream = json!({
            "name": "FLOOR", "subjects": ["floor.>"], "num_replicas": 3, "storage": "file", "retention": "limits",
            "discard": "new", "max_age": 0, "allow_direct": true,
        });
        let answer = client.request("$JS.API.STREAM.CREATE.FLOOR", stream.to_string().into()).await.unwrap();
        let answer: Value = serde_json::from_slice(&answer.payload).unwrap();
        assert!(answer["error"].is_null(), "{answer}");
        Self { client }
    }

    /// Publishes so many bodies, each on a subject of its own.
    pub(crate) async fn run(
        &self,
        payloads: &Arc<Payloads>,
        in_flight: usize,
        events: usize,
        name: &str,
        promise: Promise,
    ) -> Measured {
        let next = Arc::new(AtomicUsize::new(0));
        let start = Instant::now();
        let mut tasks = JoinSet::new();
        for _ in 0..in_flight {
            let (client, payloads, next) = (self.client.clone(), Arc::clone(payloads), Arc::clone(&next));
            let name = name.to_owned();
            tasks.spawn(async move {
                let mut samples: Vec<(Duration, Duration)> = Vec::new();
                loop {
                    let number = next.fetch_add(1, Relaxed);
                    if number >= events {
                        return samples;
                    }
                    let sent = Instant::now();
                    publish(&client, format!("floor.{name}.{number}"), payloads.body(number), promise).await;
                    samples.push((start.elapsed(), sent.elapsed()));
                }
            });
        }
        let samples = tasks.join_all().await.concat();
        Measured::of(start.elapsed(), samples)
    }
}

async fn publish(client: &Client, subject: String, body: &[u8], promise: Promise) {
    let body = body.to_vec().into();
    let answer = match promise {
        Promise::Stored => client.request(subject, body).await,
        Promise::StoredOnce => {
            let mut headers = HeaderMap::new();
            headers.insert("Nats-Expected-Last-Subject-Sequence", "0");
            client.request_with_headers(subject, headers, body).await
        }
    };
    let answer: Value = serde_json::from_slice(&answer.unwrap().payload).unwrap();
    assert!(answer["seq"].as_u64().is_some_and(|sequence| sequence > 0), "{answer}");
}
