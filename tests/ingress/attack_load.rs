//! What legitimate senders notice of attacks: the real program, attacked from all sides at once.
//!
//! `GRAPNEL_ATTACK_EVENTS` sets how many events are sent each time, `GRAPNEL_ATTACK_CONNECTIONS` how many hostile
//! connections there are of each kind. Attackers, senders and program share this machine, so there are three rows: calm;
//! while another program is attacked, which is what the work of attacking and refusing costs everybody here; and while the
//! same one is. The times are printed, not judged; what is judged is that every event is answered with 2xx.

use std::{
    env,
    net::SocketAddr,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    runtime,
    sync::oneshot,
    task::JoinSet,
    time::{interval, sleep, timeout},
};

use super::{
    attack_h2,
    client::{Post, Wire},
};
use crate::program::Grapnel;

const MANIFEST: &str = r#"
apiVersion: grapnel.dev/v1beta1
kind: WebhookEndpoint
metadata: {name: orders, namespace: shop}
spec:
  verification: {provider: {name: GitHub}, secretRefs: [{name: s, key: k}]}
  event: {id: {pointer: /id}}
  schemas: [{types: ["*"], schema: {type: object, required: [id]}}]
---
apiVersion: v1
kind: Secret
metadata: {name: s, namespace: shop}
stringData: {k: "It's a Secret to Everybody"}
"#;

/// Connections that the program serves at once in this test: fewer than the attackers have.
const ROOM: usize = 64;

fn size(variable: &str, default: usize) -> usize {
    env::var(variable).map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{variable} is no number")))
}

/// Sends events one after the other over kept connections, as a provider's workers do; a connection that was closed while
/// it was idle is opened anew. The times from the first byte of a request to the answer, in order.
async fn send(address: SocketAddr, events: usize, name: &str) -> Vec<Duration> {
    const WORKERS: usize = 4;
    let mut workers = JoinSet::new();
    for worker in 0..WORKERS {
        let name = name.to_owned();
        workers.spawn(async move {
            let mut wire = Wire::open(address).await;
            let mut times = Vec::new();
            for number in 0..events / WORKERS {
                let id = format!("{name}-{worker}-{number}");
                let post = Post::signed("/shop/orders", format!(r#"{{"id":"{id}","fill":"{}"}}"#, "x".repeat(1000)));
                let began = Instant::now();
                // A place is to be had at the latest when others have waited for a second.
                let answer = timeout(Duration::from_secs(30), async {
                    loop {
                        let answered = match wire.stream.write_all(&post.bytes()).await {
                            Ok(()) => wire.try_answer(true).await,
                            Err(_) => None,
                        };
                        match answered {
                            Some(answer) => return answer,
                            None => wire = Wire::open(address).await,
                        }
                    }
                });
                let answer = answer.await.unwrap_or_else(|_| panic!("{id} was not answered"));
                assert_eq!((answer.status, answer.json()["id"].as_str()), (200, Some(&*id)));
                times.push(began.elapsed());
                sleep(Duration::from_millis(2)).await;
            }
            times
        });
    }
    let mut times: Vec<_> = workers.join_all().await.concat();
    times.sort();
    times
}

/// One who keeps doing the same to the program, on a new connection whenever the last one has ended.
async fn attack(address: SocketAddr, kind: usize, done: Arc<AtomicU64>) {
    loop {
        let Ok(mut socket) = TcpStream::connect(address).await else {
            sleep(Duration::from_millis(50)).await;
            continue;
        };
        let (first, then, pause): (Vec<u8>, Vec<u8>, u64) = match kind {
            // Silence; then an idle connection; a slow head; a slow body.
            0 => (Vec::new(), Vec::new(), 1000),
            1 => (Post::to("/shop/nothing", "{}").bytes(), Vec::new(), 1000),
            2 => (b"POST /shop/orders HTTP/1.1\r\nX: ".to_vec(), b"y".to_vec(), 200),
            3 => (Post::to("/shop/orders", "").header("Content-Length", "900000").head(), b"y".to_vec(), 200),
            // Wrong signatures; a bomb; a request that is two.
            4 => (
                Vec::new(),
                Post::to("/shop/orders", "x".repeat(10_000)).header("X-Hub-Signature-256", "sha256=00").bytes(),
                20,
            ),
            5 => (
                Post::to("/shop/orders", "x".repeat(10_000)).header("Content-Encoding", "gzip").bytes(),
                Vec::new(),
                20,
            ),
            6 => (
                b"POST /shop/orders HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
                    .to_vec(),
                Vec::new(),
                20,
            ),
            // Rapid reset; pings; a head without an end.
            7 => (attack_h2::opening(), attack_h2::rapid_reset(50), 20),
            8 => (attack_h2::opening(), attack_h2::pings(50), 20),
            _ => (attack_h2::opening(), attack_h2::endless_head(), 20),
        };
        if socket.write_all(&first).await.is_err() {
            continue;
        }
        let (mut read, mut write) = socket.into_split();
        let mut ticks = interval(Duration::from_millis(pause));
        let mut answer = vec![0; 16 * 1024];
        loop {
            tokio::select! {
                read = read.read(&mut answer) => match read {
                    Ok(0) | Err(_) => break,
                    Ok(_) => {}
                },
                _ = ticks.tick() => {
                    if write.write_all(&then).await.is_err() {
                        break;
                    }
                    done.fetch_add(1, Relaxed);
                }
            }
        }
        // Attackers, too, have only so much of a machine.
        sleep(Duration::from_millis(pause)).await;
    }
}

const KINDS: usize = 10;

fn report(what: &str, times: &[Duration], program: &Grapnel) {
    let at = |part: f64| times[((times.len() - 1) as f64 * part) as usize];
    let resident = program.memory("VmRSS") >> 10;
    println!(
        "{what}: {} events, p50 {:?}, p99 {:?}, p99.9 {:?}, longest {:?}; resident {resident} kB",
        times.len(),
        at(0.5),
        at(0.99),
        at(0.999),
        at(1.0)
    );
}

/// Attackers of a program, on a thread of their own: those who measure do not queue behind them. They end with this.
struct Attackers {
    end: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Attackers {
    /// Lets them loose, and waits until they are under way.
    async fn on(address: SocketAddr, connections: usize) -> Self {
        let (end, ended) = oneshot::channel::<()>();
        let done = Arc::new(AtomicU64::new(0));
        let deeds = Arc::clone(&done);
        let attack_all = async move {
            let mut attackers = JoinSet::new();
            for number in 0..connections * KINDS {
                attackers.spawn(attack(address, number % KINDS, Arc::clone(&deeds)));
            }
            let _ = ended.await;
        };
        let thread =
            thread::spawn(|| runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(attack_all));
        while done.load(Relaxed) < connections as u64 {
            sleep(Duration::from_millis(20)).await;
        }
        Self { end: Some(end), thread: Some(thread) }
    }
}

impl Drop for Attackers {
    fn drop(&mut self) {
        self.end.take();
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

fn start(directory: &Path, name: &str, room: usize) -> Grapnel {
    let manifest = directory.join("shop.yaml");
    std::fs::write(&manifest, MANIFEST).unwrap();
    let (data, room) = (directory.join(name), room.to_string());
    let [manifest, data] = [&manifest, &data].map(|path| path.to_str().unwrap());
    Grapnel::start(["standalone", "-f", manifest, "--data-dir", data, "--max-connections", &room])
}

fn address(program: &Grapnel) -> SocketAddr {
    program.webhooks.strip_prefix("http://").unwrap().trim_end_matches('/').parse().unwrap()
}

#[tokio::test]
async fn legitimate_events_are_taken_during_attacks() {
    let events = size("GRAPNEL_ATTACK_EVENTS", 400);
    let connections = size("GRAPNEL_ATTACK_CONNECTIONS", 20);
    let room = size("GRAPNEL_ATTACK_ROOM", ROOM);
    let directory = grapnel_test_support::directory::temporary();
    let program = start(directory.path(), "data", room);

    let calm = send(address(&program), events, "calm").await;
    report("calm", &calm, &program);
    let elsewhere = {
        let other = start(directory.path(), "other", room);
        let _attackers = Attackers::on(address(&other), connections).await;
        send(address(&program), events, "elsewhere").await
    };
    report("another program attacked", &elsewhere, &program);
    let attacked = {
        let _attackers = Attackers::on(address(&program), connections).await;
        send(address(&program), events, "attacked").await
    };
    report(&format!("attacked by {} connections", connections * KINDS), &attacked, &program);
    let (status, _) = program.admin("/healthz").await;
    assert_eq!(status, 200);
    let stored = program.metric(r#"webhook_processed_total{namespace="shop",endpoint="orders",type="unknown"}"#).await;
    let sent = [calm, elsewhere, attacked].concat().len();
    assert_eq!(stored, sent as f64, "what was sent, and nothing else");
}
