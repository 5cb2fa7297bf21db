//! More connections than there is room for.

use std::time::Duration;

use grapnel::catalog::Endpoint;
use tokio::{io::AsyncWriteExt, net::TcpStream, task::JoinSet};

use super::{
    attack_h2,
    client::{Post, Wire},
    fixture::{Plan, endpoint},
    tls,
    trouble::troubled,
};

fn event(id: &str) -> Post {
    Post::signed("/shop/orders", format!(r#"{{"id":"{id}"}}"#))
}

/// With few places, and without any other reason to end a connection while a test lasts.
fn narrow(connections: usize) -> Plan {
    const LONG: Duration = Duration::from_secs(3600);
    let mut plan = Plan::of([Endpoint { timeout: LONG, ..endpoint("orders") }]);
    plan.options.max_connections = connections;
    plan.options.head_timeout = LONG;
    plan.options.idle_timeout = LONG;
    plan
}

/// Every connection that the server allows is taken by somebody who keeps it for as long as the server lets him; a
/// request that is sent whole is answered all the same.
async fn get_past(hold: impl AsyncFn(&mut Wire)) {
    let served = narrow(4).serve().await;
    let mut holders = Vec::new();
    for _ in 0..4 {
        let mut wire = Wire::open(served.address).await;
        hold(&mut wire).await;
        holders.push(wire);
    }
    for number in 0..3 {
        let id = format!("e{number}");
        assert_eq!(event(&id).send(served.address).await.accepted(), id);
    }
    assert_eq!(served.stored("orders").await.len(), 3);
    drop(holders);
}

#[tokio::test]
async fn silent_connections_keep_nobody_out() {
    get_past(async |_: &mut Wire| {}).await;
}

#[tokio::test]
async fn idle_connections_keep_nobody_out() {
    get_past(async |wire: &mut Wire| {
        wire.exchange(&Post::to("/shop/nothing", "{}").bytes()).await.refused(404, "not_found");
    })
    .await;
}

#[tokio::test]
async fn slow_heads_keep_nobody_out() {
    get_past(async |wire: &mut Wire| wire.send(b"POST /shop/orders HTTP/1.1\r\nHost: x\r\nX-").await).await;
}

#[tokio::test]
async fn slow_bodies_keep_nobody_out() {
    get_past(async |wire: &mut Wire| {
        wire.send(&Post::signed("/shop/orders", "").header("Content-Length", "1000").head()).await;
        wire.send(b"{").await;
    })
    .await;
}

#[tokio::test]
async fn http2_without_requests_or_with_slow_ones_keeps_nobody_out() {
    get_past(async |wire: &mut Wire| wire.send(&attack_h2::opening()).await).await;
    get_past(async |wire: &mut Wire| {
        wire.send(&attack_h2::opening()).await;
        wire.send(&attack_h2::request(1, "/shop/orders", false)).await;
    })
    .await;
}

#[tokio::test]
async fn tls_handshakes_that_do_not_go_on_keep_nobody_out() {
    let directory = tempfile::tempdir().unwrap();
    let certificate = tls::write(directory.path());
    let mut plan = narrow(4);
    plan.tls = Some(tls::files(directory.path()).load().unwrap());
    let served = plan.serve().await;
    let mut holders = Vec::new();
    for _ in 0..4 {
        let mut wire = Wire::open(served.address).await;
        // The beginning of a ClientHello.
        wire.send(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03").await;
        holders.push(wire);
    }
    let stream = tls::connect(&served, &certificate, &["http/1.1"]).await.unwrap();
    assert_eq!(Wire::over(stream).exchange(&event("through").bytes()).await.accepted(), "through");
    drop(holders);
}

/// A byte now and then makes no difference.
#[tokio::test]
async fn dripping_connections_keep_nobody_out() {
    let served = narrow(4).serve().await;
    let mut drips = JoinSet::new();
    for beginning in ["POST /shop/orders HTTP/1.1\r\nX: ", "POST /shop/orders HTTP/1.1\r\nContent-Length: 9000\r\n\r\n"]
    {
        for _ in 0..2 {
            let mut socket = TcpStream::connect(served.address).await.unwrap();
            socket.write_all(beginning.as_bytes()).await.unwrap();
            drips.spawn(async move {
                let mut ticks = tokio::time::interval(Duration::from_millis(20));
                while socket.write_all(b"y").await.is_ok() {
                    ticks.tick().await;
                }
            });
        }
    }
    assert_eq!(event("through").send(served.address).await.accepted(), "through");
    assert!(drips.join_next().await.unwrap().is_ok(), "at least one had to go");
}

/// Nobody is asked to go while nobody needs the place.
#[tokio::test]
async fn with_room_for_all_nobody_goes() {
    let served = narrow(2).serve().await;
    let mut idle = Wire::open(served.address).await;
    idle.exchange(&event("1").bytes()).await.accepted();
    let mut other = Wire::open(served.address).await;
    other.exchange(&event("2").bytes()).await.accepted();
    // Both have by now waited for longer than anybody must when there is no room.
    tokio::time::sleep(Duration::from_millis(1500)).await;
    idle.exchange(&event("3").bytes()).await.accepted();
    other.exchange(&event("4").bytes()).await.accepted();
}

/// A request that has been read is answered, however long that takes and whoever waits.
#[tokio::test]
async fn who_is_being_answered_stays() {
    let (served, troubled) = troubled(narrow(1)).await;
    let mut busy = Wire::open(served.address).await;
    busy.send(&event("busy").bytes()).await;
    troubled.has_arrived().await;
    let mut late = Wire::open(served.address).await;
    late.send(&event("late").bytes()).await;
    // Longer than a connection without a request would be left alone.
    tokio::time::sleep(Duration::from_millis(1500)).await;
    troubled.permit(1);
    assert_eq!(busy.answer().await.accepted(), "busy");
    troubled.permit(1);
    assert_eq!(late.answer().await.accepted(), "late");
}
