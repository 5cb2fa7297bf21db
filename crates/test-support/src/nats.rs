//! NATS brokers of a test's own: one, or a cluster of three, with JetStream.

use std::{
    collections::hash_map::RandomState,
    fmt::Write as _,
    fs,
    hash::{BuildHasher, Hasher},
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use serde_json::Value;
use tempfile::TempDir;

use crate::{directory, disk::Disk, eventually_every, program::client};

/// Time between two questions to the brokers.
const PAUSE: Duration = Duration::from_millis(20);

/// Ports outside of the range from which the system takes the ports of clients: with a client's port in that range, a client
/// that tries to reach a broker that is down may connect to itself and keep the port.
const PORTS: std::ops::Range<u64> = 12_000..32_000;

/// Size of a broker's disk, if it has one of its own.
const DISK_BYTES: u64 = 1 << 30;

/// How the brokers are configured.
#[derive(Debug, Clone)]
pub struct NatsSettings {
    /// Whether JetStream syncs before it acknowledges.
    pub sync_always: bool,
    /// Maximum bytes of a message.
    pub max_payload: usize,
    /// Public keys of the only users that are let in; empty for anybody.
    pub users: Vec<String>,
    /// Further lines of the configuration.
    pub more: String,
    /// Whether each has a disk of its own, whose power can be cut.
    pub disks: bool,
}

impl Default for NatsSettings {
    fn default() -> Self {
        Self { sync_always: false, max_payload: 8 << 20, users: Vec::new(), more: String::new(), disks: false }
    }
}

/// Running brokers. They end with the test; their logs are printed if it fails.
pub struct NatsCluster {
    nodes: Vec<Node>,
    directory: TempDir,
}

struct Node {
    ports: Ports,
    process: Option<Child>,
    disk: Option<Disk>,
}

#[derive(Debug, Clone, Copy)]
struct Ports {
    clients: u16,
    cluster: u16,
    monitor: u16,
}

impl NatsCluster {
    /// Starts `count` brokers, 1 or 3, and returns when JetStream serves.
    pub async fn start(count: usize, settings: NatsSettings) -> Self {
        let directory = directory::temporary();
        let ports: Vec<Ports> = {
            // All are held until all are known.
            let mut held = Vec::new();
            let mut port = || {
                let listener = free();
                let port = listener.local_addr().unwrap().port();
                held.push(listener);
                port
            };
            (0..count).map(|_| Ports { clients: port(), cluster: port(), monitor: port() }).collect()
        };
        let mut cluster = Self { nodes: Vec::new(), directory };
        for (node, own) in ports.iter().enumerate() {
            let home = cluster.home(node);
            fs::create_dir_all(&home).unwrap();
            fs::write(home.join("nats.conf"), configuration(node, own, &ports, &home, &settings)).unwrap();
            let disk = settings.disks.then(|| {
                let mounted = store(&home);
                fs::create_dir_all(&mounted).unwrap();
                Disk::new(home.join("disk"), mounted, DISK_BYTES)
            });
            cluster.nodes.push(Node { ports: *own, process: None, disk });
        }
        for node in 0..count {
            cluster.spawn(node);
        }
        cluster.ready().await;
        cluster
    }

    /// The URL of each broker.
    pub fn urls(&self) -> Vec<String> {
        self.nodes.iter().map(|node| format!("nats://127.0.0.1:{}", node.ports.clients)).collect()
    }

    /// One URL with all brokers, as `--journal` takes it.
    pub fn url(&self) -> String {
        let hosts: Vec<String> = self.nodes.iter().map(|node| format!("127.0.0.1:{}", node.ports.clients)).collect();
        format!("nats://{}", hosts.join(","))
    }

    /// The monitoring URL of each broker.
    pub fn monitors(&self) -> Vec<String> {
        self.nodes.iter().map(|node| format!("http://127.0.0.1:{}", node.ports.monitor)).collect()
    }

    /// Number of brokers.
    pub fn size(&self) -> usize {
        self.nodes.len()
    }

    /// The process of a broker that runs.
    pub fn pid(&self, node: usize) -> u32 {
        self.nodes[node].process.as_ref().expect("it runs").id()
    }

    /// The name of a broker, with which the brokers name the leader of a stream.
    pub fn name(&self, node: usize) -> String {
        format!("n{node}")
    }

    /// Which broker has that name.
    pub fn find(&self, name: &str) -> usize {
        (0..self.size()).find(|node| self.name(*node) == name).expect("a broker of this cluster")
    }

    /// Ends a broker at once, as a crash does.
    pub fn kill(&mut self, node: usize) {
        let mut process = self.nodes[node].process.take().expect("it runs");
        process.kill().unwrap();
        process.wait().unwrap();
    }

    /// Cuts the power of these brokers at the same time, and returns it to their disks: they have lost what they had not
    /// synced. They can be started again.
    pub fn cut_power(&mut self, nodes: &[usize]) {
        // From here on they answer nothing.
        nodes.iter().for_each(|node| self.stop(*node));
        nodes.iter().for_each(|node| self.disk(*node).power_off());
        nodes.iter().for_each(|node| self.kill(*node));
        nodes.iter().for_each(|node| self.disk(*node).power_on());
    }

    /// Ends a broker in order, and returns when it has ended.
    pub async fn terminate(&mut self, node: usize) {
        self.signal(node, "TERM");
        let process = self.nodes[node].process.as_mut().unwrap();
        eventually_every(PAUSE, "the end of a broker", async || process.try_wait().unwrap()).await;
        self.nodes[node].process = None;
    }

    /// Stops a broker where it is, so that it answers nothing.
    pub fn stop(&self, node: usize) {
        self.signal(node, "STOP");
    }

    /// Lets a stopped broker go on.
    pub fn resume(&self, node: usize) {
        self.signal(node, "CONT");
    }

    /// Starts a broker that was ended, with its address and its data. Does not wait until it serves.
    pub fn restart(&mut self, node: usize) {
        assert!(self.nodes[node].process.is_none(), "it runs already");
        self.spawn(node);
    }

    /// Separates a broker that was ended from the others: when it is started again, it serves clients and finds no other
    /// broker.
    pub fn separate(&mut self, node: usize) {
        assert!(self.nodes[node].process.is_none(), "it runs");
        let file = self.home(node).join("nats.conf");
        let text = fs::read_to_string(&file).unwrap();
        let (begin, rest) = text.split_once("routes: [").unwrap();
        let (_, end) = rest.split_once(']').unwrap();
        // Without any route it does not start.
        let apart = format!("{begin}routes: [nats://127.0.0.1:1]{end}")
            .replace("cluster: { name: test,", "cluster: { name: apart,");
        assert_ne!(apart, text);
        fs::write(file, apart).unwrap();
    }

    /// Waits until every broker that runs has everything and JetStream has a leader.
    pub async fn ready(&self) {
        let client = client();
        for node in self.nodes.iter().filter(|node| node.process.is_some()) {
            let url = format!("http://127.0.0.1:{}", node.ports.monitor);
            eventually_every(PAUSE, "a broker that is ready", async || {
                let health = client.get(format!("{url}/healthz")).send().await.map_err(|error| error.to_string())?;
                let health = health.text().await.map_err(|error| error.to_string())?;
                let known: Value = serde_json::from_str(&health).unwrap_or_default();
                if known["status"] != "ok" {
                    return Err(health);
                }
                let jetstream = client.get(format!("{url}/jsz")).send().await.map_err(|error| error.to_string())?;
                let jetstream: Value = jetstream.json().await.map_err(|error| error.to_string())?;
                let led = jetstream["meta_cluster"]["leader"].as_str().is_some_and(|leader| !leader.is_empty());
                let whole = jetstream["meta_cluster"]["cluster_size"] == self.size();
                if self.size() == 1 || (led && whole) { Ok(()) } else { Err(jetstream["meta_cluster"].to_string()) }
            })
            .await;
        }
    }

    /// Number of messages that a broker has in the streams whose names begin with `prefix`.
    pub async fn messages(&self, node: usize, prefix: &str) -> u64 {
        let url = format!("http://127.0.0.1:{}/jsz?accounts=true&streams=true", self.nodes[node].ports.monitor);
        let jetstream: Value = client().get(url).send().await.unwrap().json().await.unwrap();
        let accounts = jetstream["account_details"].as_array().into_iter().flatten();
        let streams = accounts.flat_map(|account| account["stream_detail"].as_array().into_iter().flatten());
        let matching = streams.filter(|stream| stream["name"].as_str().is_some_and(|name| name.starts_with(prefix)));
        matching.filter_map(|stream| stream["state"]["messages"].as_u64()).sum()
    }

    /// What a broker has logged.
    pub fn log(&self, node: usize) -> String {
        fs::read_to_string(self.home(node).join("log")).unwrap_or_default()
    }

    fn disk(&self, node: usize) -> &Disk {
        self.nodes[node].disk.as_ref().expect("it has a disk of its own")
    }

    fn home(&self, node: usize) -> PathBuf {
        self.directory.path().join(self.name(node))
    }

    fn spawn(&mut self, node: usize) {
        let home = self.home(node);
        let log = fs::File::options().create(true).append(true).open(home.join("log")).unwrap();
        // It dies with this process, however that ends.
        let process = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "--"])
            .arg(program())
            .arg("--config")
            .arg(home.join("nats.conf"))
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .expect("setpriv is needed (Debian: apt-get install util-linux)");
        self.nodes[node].process = Some(process);
    }

    fn signal(&self, node: usize, signal: &str) {
        let pid = self.pid(node).to_string();
        assert!(Command::new("kill").args(["-s", signal, &pid]).status().unwrap().success());
    }
}

impl Drop for NatsCluster {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for node in 0..self.size() {
                let log = self.log(node);
                let lines: Vec<&str> = log.lines().collect();
                let last = &lines[lines.len().saturating_sub(200)..];
                eprintln!("the end of the log of broker {}:\n{}", self.name(node), last.join("\n"));
            }
        }
        // Before their disks are unmounted.
        for process in self.nodes.iter_mut().filter_map(|node| node.process.as_mut()) {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

/// Where a broker stores what it keeps.
fn store(home: &Path) -> PathBuf {
    home.join("data")
}

/// The configuration of a broker.
fn configuration(node: usize, own: &Ports, all: &[Ports], home: &Path, settings: &NatsSettings) -> String {
    let mut text = String::new();
    let mut line = |line: String| writeln!(text, "{line}").unwrap();
    line(format!("server_name: n{node}"));
    line(format!("listen: 127.0.0.1:{}", own.clients));
    line(format!("http: 127.0.0.1:{}", own.monitor));
    line(format!("max_payload: {}", settings.max_payload));
    line(format!("max_pending: {}", (settings.max_payload * 4).max(64 << 20)));
    let sync = if settings.sync_always { "sync_interval: always, " } else { "" };
    line(format!("jetstream: {{ store_dir: {:?}, {sync}max_file: 8GB, max_mem: 256MB }}", store(home)));
    if all.len() > 1 {
        let routes: Vec<String> = all.iter().map(|ports| format!("nats://127.0.0.1:{}", ports.cluster)).collect();
        line(format!(
            "cluster: {{ name: test, listen: 127.0.0.1:{}, no_advertise: true, routes: [{}] }}",
            own.cluster,
            routes.join(", ")
        ));
    }
    let users: Vec<String> = settings.users.iter().map(|key| format!("{{ nkey: {key} }}")).collect();
    if !users.is_empty() {
        line(format!("authorization: {{ users: [{}] }}", users.join(", ")));
    }
    line(settings.more.clone());
    text
}

/// The program, which the script brings when it is missing.
fn program() -> PathBuf {
    let output = Command::new(directory::repository().join("scripts/nats-server")).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().into()
}

/// Takes a free port.
fn free() -> TcpListener {
    // Tests run in parallel: each tries other ports.
    let mut random = RandomState::new().build_hasher();
    (0..1000_u32)
        .find_map(|attempt| {
            random.write_u32(attempt);
            let port = PORTS.start + random.finish() % (PORTS.end - PORTS.start);
            TcpListener::bind(("127.0.0.1", u16::try_from(port).unwrap())).ok()
        })
        .expect("a free port")
}
