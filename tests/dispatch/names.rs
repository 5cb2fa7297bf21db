//! Names that do not resolve, and receivers that have only IPv6.

use std::{
    future::Future,
    io,
    net::{IpAddr, Ipv6Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures_util::future::{BoxFuture, FutureExt};
use grapnel::dispatch::{ClientOptions, Names};
use grapnel_delivery::egress::EgressPolicy;
use grapnel_journal::DeliveryState;
use tokio::net::TcpListener;
use url::Url;

use crate::{
    faults::{TIMEOUT, answer},
    stage::{Receiver, Stage, subscription},
};

/// A resolver that answers as told.
struct Dns<F>(F);

impl<F, A> Names for Dns<F>
where
    F: Fn() -> A + Send + Sync + 'static,
    A: Future<Output = io::Result<Vec<IpAddr>>> + Send + 'static,
{
    fn lookup<'a>(&'a self, _: &'a str) -> BoxFuture<'a, io::Result<Vec<IpAddr>>> {
        (self.0)().boxed()
    }
}

fn resolving<F, A>(answer: F) -> ClientOptions
where
    F: Fn() -> A + Send + Sync + 'static,
    A: Future<Output = io::Result<Vec<IpAddr>>> + Send + 'static,
{
    let names = Arc::new(Dns(answer));
    ClientOptions { names, ..ClientOptions::new(EgressPolicy::default().allowing_loopback()) }
}

#[tokio::test]
async fn failing_lookups_are_failures_of_the_delivery_and_end_with_it() {
    let healthy = Arc::new(AtomicBool::new(false));
    for (name, reason) in [("error", "dns"), ("empty", "dns"), ("hangs", "timeout")] {
        healthy.store(false, Ordering::SeqCst);
        let lookup = {
            let healthy = healthy.clone();
            move || {
                let healthy = healthy.load(Ordering::SeqCst);
                async move {
                    match name {
                        _ if healthy => Ok(vec![IpAddr::from([127, 0, 0, 1])]),
                        "error" => Err(io::Error::other("SERVFAIL")),
                        "empty" => Ok(Vec::new()),
                        _ => {
                            // As a resolver does that gives up long after everybody else has.
                            tokio::time::sleep(2 * TIMEOUT).await;
                            Err(io::Error::from(io::ErrorKind::TimedOut))
                        }
                    }
                }
            }
        };
        let mut stage = Stage::with_options(resolving(lookup), 0).await;
        let mut receiver = Receiver::statuses(&[200]).await;
        let mut url = receiver.url.clone();
        url.set_host(Some("receiver.example")).unwrap();
        let mut billing = subscription("billing", &url, &stage.metrics);
        billing.target.timeout = TIMEOUT;
        billing.retry.max_attempts = 100;
        stage.publish([billing]).await;
        stage.append("evt_1", "t").await;
        let failure = stage.delivery("billing", DeliveryState::Retrying).await.failure.unwrap();
        assert_eq!(&*failure.reason, reason, "{name}: {}", failure.message);
        healthy.store(true, Ordering::SeqCst);
        stage
            .until("billing", "delivered", |progress| {
                if progress.in_flight == 0 {
                    stage.clock.advance(Duration::from_secs(60));
                }
                progress.delivered == 1
            })
            .await;
        assert_eq!(receiver.next().await.header("webhook-id"), "evt_1");
        stage.stop().await;
    }
}

/// Answers 200 on the IPv6 loopback, and counts.
async fn only_ipv6() -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).await.unwrap();
    let (address, count) = (listener.local_addr().unwrap(), Arc::new(AtomicUsize::new(0)));
    tokio::spawn({
        let count = count.clone();
        async move {
            while let Ok((connection, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::SeqCst);
                let _ = answer(connection, b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").await;
            }
        }
    });
    (address, count)
}

#[tokio::test]
async fn receivers_that_have_only_ipv6_are_reached_by_address_and_by_name() {
    let (address, count) = only_ipv6().await;
    let only = || async { Ok(vec![IpAddr::from(Ipv6Addr::LOCALHOST)]) };
    // Nobody listens at that port of the first address.
    let both = || async { Ok(vec![IpAddr::from([127, 0, 0, 77]), IpAddr::from(Ipv6Addr::LOCALHOST)]) };
    let port = address.port();
    let by_name = format!("http://six.example:{port}/hook");
    let stages = [
        (format!("http://{address}/hook"), Stage::with_options(resolving(only), 0).await),
        (by_name.clone(), Stage::with_options(resolving(only), 0).await),
        (by_name, Stage::with_options(resolving(both), 0).await),
    ];
    for (number, (url, mut stage)) in stages.into_iter().enumerate() {
        let six = subscription("six", &Url::parse(&url).unwrap(), &stage.metrics);
        stage.publish([six]).await;
        stage.append("evt_1", "t").await;
        stage.until("six", "delivered", |progress| progress.delivered == 1).await;
        assert_eq!(count.load(Ordering::SeqCst), number + 1, "{url}");
        stage.stop().await;
    }
}

/// Names that begin with `hangs` are never answered; the others are this machine's.
struct Partly;

impl Names for Partly {
    fn lookup<'a>(&'a self, name: &'a str) -> BoxFuture<'a, io::Result<Vec<IpAddr>>> {
        let hangs = name.starts_with("hangs");
        async move {
            if hangs {
                std::future::pending::<()>().await;
            }
            Ok(vec![IpAddr::from([127, 0, 0, 1])])
        }
        .boxed()
    }
}

#[tokio::test]
async fn a_receiver_is_reached_while_the_names_of_hundreds_hang() {
    let options = ClientOptions::new(EgressPolicy::default().allowing_loopback());
    let mut stage = Stage::with_options(ClientOptions { names: Arc::new(Partly), ..options }, 0).await;
    // It closes each connection, so that its name is looked up for each delivery.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((connection, _)) = listener.accept().await {
            let _ = answer(connection, b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").await;
        }
    });
    let to = |stage: &Stage, name: &str, host: &str| {
        subscription(name, &Url::parse(&format!("http://{host}:{port}/")).unwrap(), &stage.metrics)
    };
    let works = || to(&stage, "works", "works.example");
    let (first, works) = (works(), works());
    stage.publish([first]).await;
    stage.append("evt_1", "t").await;
    stage.until("works", "delivered", |progress| progress.delivered == 1).await;

    let hanging: Vec<_> = (0..200)
        .map(|number| {
            let mut hangs = to(&stage, &format!("hangs-{number}"), &format!("hangs-{number}.example"));
            hangs.target.timeout = TIMEOUT;
            hangs
        })
        .collect();
    stage.publish(hanging.into_iter().chain([works])).await;
    stage.append("evt_2", "t").await;
    // Its first attempt, not one after the others have been given up.
    stage.until("works", "delivered", |progress| progress.delivered == 2).await;
    let failure = stage.delivery("hangs-199", DeliveryState::Retrying).await.failure.unwrap();
    assert_eq!(&*failure.reason, "timeout", "{}", failure.message);
    stage.stop().await;
}
