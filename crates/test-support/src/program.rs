//! The program as a child process.

use std::{
    ffi::OsStr,
    io::{BufRead, BufReader, Lines},
    path::PathBuf,
    process::{Child, Command, ExitStatus, Output, Stdio},
    sync::{Arc, Mutex, Once},
    time::Duration,
};

use hmac::{Hmac, KeyInit, Mac};
use serde_json::Value;
use sha2::Sha256;

use crate::{Outcome, directory, eventually_every};
pub use crate::{PATIENCE, leaks, namespace, receiver};

/// Time between two checks: most of them are requests to the program.
const PAUSE: Duration = Duration::from_millis(20);

/// `grapnel standalone` or `grapnel run`, on free ports.
pub struct Grapnel {
    child: Child,
    log: Arc<Mutex<Vec<String>>>,
    /// URL of the server for webhooks.
    pub webhooks: String,
    /// URL of the admin server.
    pub admin: String,
    client: reqwest::Client,
}

impl Grapnel {
    /// Starts it with `arguments` and returns when it serves.
    pub fn start<I: AsRef<OsStr>>(arguments: impl IntoIterator<Item = I>) -> Self {
        Self::start_with(&[], "127.0.0.1:0", arguments)
    }

    /// The same, with webhooks coming in at `listen`.
    pub fn start_at<I: AsRef<OsStr>>(listen: &str, arguments: impl IntoIterator<Item = I>) -> Self {
        Self::start_with(&[], listen, arguments)
    }

    /// The same with an environment.
    pub fn start_in<I: AsRef<OsStr>>(environment: &[(&str, &str)], arguments: impl IntoIterator<Item = I>) -> Self {
        Self::start_with(environment, "127.0.0.1:0", arguments)
    }

    pub(crate) fn start_with<I: AsRef<OsStr>>(
        environment: &[(&str, &str)],
        listen: &str,
        arguments: impl IntoIterator<Item = I>,
    ) -> Self {
        let mut command = command();
        command.args(arguments).envs(environment.iter().copied());
        match Self::try_start_at(listen, command) {
            Ok(grapnel) => grapnel,
            Err(log) => panic!("it ended before it served:\n{log}"),
        }
    }

    /// Starts it by a command and returns when it serves, or what it said when it ended before.
    pub fn try_start(command: Command) -> Result<Self, String> {
        Self::try_start_at("127.0.0.1:0", command)
    }

    fn try_start_at(listen: &str, mut command: Command) -> Result<Self, String> {
        let mut child = command
            .args(["--listen", listen, "--admin-listen", "127.0.0.1:0"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = Arc::new(Mutex::new(Vec::new()));
        follow(BufReader::new(child.stdout.take().unwrap()).lines(), &log);
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut address = |what: &str| loop {
            let Some(line) = lines.next() else {
                let ended = child.wait().unwrap();
                return Err(format!("{}\n{ended}", log.lock().unwrap().join("\n")));
            };
            let line = line.unwrap();
            log.lock().unwrap().push(line.clone());
            if let Some((_, rest)) = line.split_once(what) {
                // As text or as JSON.
                let url = &rest[rest.find("http").unwrap()..];
                return Ok(url.split([' ', '"']).next().unwrap().to_owned());
            }
        };
        let webhooks = address("serving webhooks")?;
        let admin = address("serving health")?;
        follow(lines, &log);
        Ok(Self { child, log, webhooks, admin, client: client() })
    }

    /// What it has printed and logged.
    pub fn log(&self) -> String {
        self.log.lock().unwrap().join("\n")
    }

    /// Posts a body to an endpoint; status and JSON answer.
    pub async fn post(&self, path: &str, headers: &[(&str, &str)], body: impl Into<Vec<u8>>) -> (u16, Value) {
        let answer = self.try_post(path, headers, body).await.unwrap();
        let status = answer.status().as_u16();
        (status, serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap_or_default())
    }

    /// The same with the whole response, or why there is none.
    pub async fn try_post(
        &self,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Vec<u8>>,
    ) -> reqwest::Result<reqwest::Response> {
        let mut request = self.client.post(format!("{}{path}", self.webhooks)).body(body.into());
        if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-type")) {
            request = request.header("content-type", "application/json");
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.send().await
    }

    /// Asks the admin server; status and text.
    pub async fn admin(&self, path: &str) -> (u16, String) {
        let answer = self.client.get(format!("{}{path}", self.admin)).send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    }

    /// Asks the admin API for JSON, which must be there.
    pub async fn api(&self, path: &str) -> Value {
        let (status, text) = self.admin(path).await;
        assert_eq!(status, 200, "{path}: {text}");
        serde_json::from_str(&text).unwrap()
    }

    /// The value of a series whose line begins with `series`.
    pub async fn metric(&self, series: &str) -> f64 {
        let (_, text) = self.admin("/metrics").await;
        let line = text.lines().find_map(|line| line.strip_prefix(series));
        line.unwrap_or_else(|| panic!("{series} is not in\n{text}")).trim().parse().unwrap()
    }

    /// The status of an object.
    pub async fn status(&self, kind: &str, name: &str) -> Value {
        let objects = self.api("/api/v1/objects").await;
        let items = objects["items"].as_array().unwrap();
        let object = items.iter().find(|object| object["kind"] == kind && object["name"] == name);
        object.map(|object| object["status"].clone()).unwrap_or_default()
    }

    /// A condition as (status, reason, message).
    pub async fn condition(&self, kind: &str, name: &str, condition: &str) -> (String, String, String) {
        let status = self.status(kind, name).await;
        let conditions = status["conditions"].as_array().cloned().unwrap_or_default();
        let found = conditions.iter().find(|found| found["type"] == condition).cloned().unwrap_or_default();
        let text = |field: &str| found[field].as_str().unwrap_or_default().to_owned();
        (text("status"), text("reason"), text("message"))
    }

    /// Waits until `check` holds. A test that fails prints the log.
    pub async fn eventually<O: Outcome>(&self, what: &str, check: impl AsyncFnMut() -> O) -> O::Value {
        eventually_every(PAUSE, what, check).await
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// A line of `/proc/PID/status`, as `VmRSS`, in bytes.
    pub fn memory(&self, line: &str) -> u64 {
        memory(self.pid(), line)
    }

    /// As a power cut does it.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Sends a signal, such as `TERM`.
    pub fn send_signal(&self, signal: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-s", signal, &pid]).status().unwrap().success());
    }

    /// Waits for the end.
    pub async fn ended(mut self) -> (ExitStatus, String) {
        let status = eventually_every(PAUSE, "its end", async || self.child.try_wait().unwrap()).await;
        (status, self.log())
    }
}

impl Drop for Grapnel {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("what grapnel said:\n{}", self.log());
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Keeps what is said.
fn follow(lines: Lines<impl BufRead + Send + 'static>, log: &Arc<Mutex<Vec<String>>>) {
    let log = Arc::clone(log);
    std::thread::spawn(move || {
        for line in lines.map_while(Result::ok) {
            log.lock().unwrap().push(line);
        }
    });
}

/// Where cargo has put the program, which it builds with every test and bench of its package.
pub fn path() -> PathBuf {
    directory::profile().join("grapnel")
}

/// A line of `/proc/PID/status`, as `VmRSS`, in bytes.
pub fn memory(pid: u32, line: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let found = status.lines().find_map(|text| text.strip_prefix(line)?.strip_prefix(':')).unwrap();
    found.trim().strip_suffix(" kB").unwrap().parse::<u64>().unwrap() << 10
}

/// The program, without what the environment would tell it.
pub fn command() -> Command {
    let mut command = Command::new(path());
    for (name, _) in std::env::vars().filter(|(name, _)| {
        ["GRAPNEL_", "OTEL_"].iter().any(|prefix| name.starts_with(prefix))
            || ["RUST_LOG", "KUBECONFIG", "POD_NAME"].contains(&name.as_str())
    }) {
        command.env_remove(name);
    }
    command
}

/// Runs a command to its end.
pub fn run(arguments: &[&str]) -> Output {
    command().args(arguments).output().unwrap()
}

/// An HTTP client that uses no proxy.
pub fn client() -> reqwest::Client {
    static PROVIDER: Once = Once::new();
    PROVIDER.call_once(|| {
        let _ = rustls::crypto::ring::default_provider().install_default();
    });
    // A connection that waits for its next request may be closed by the server at the moment of that request.
    reqwest::Client::builder().no_proxy().pool_max_idle_per_host(0).build().unwrap()
}

/// Hexadecimal HMAC-SHA256, made here and not by the code under test.
pub fn hmac_hex(secret: &str, body: &[u8]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    mac.update(body);
    hex::encode(mac.finalize().into_bytes())
}
