//! Servers in processes of their own.

use std::{
    ffi::OsString,
    fs,
    io::{BufRead, BufReader},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use grapnel_test_support::program;
use rustix::process::{Pid, Signal, kill_process};

use crate::{Options, floor};

/// A server; killed when this is dropped.
pub(crate) struct Server {
    child: Child,
    /// Where it takes webhooks.
    pub(crate) address: SocketAddr,
    /// Where Grapnel's admin server is.
    admin: Option<SocketAddr>,
    start: Instant,
    /// From its start until it served.
    pub(crate) started_in: Duration,
}

impl Server {
    /// A floor, served by this program; one that stores what it takes in `file`.
    pub(crate) fn floor(file: Option<PathBuf>) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.arg(floor::ARGUMENT).args(file);
        let start = Instant::now();
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let address = first_address(BufReader::new(child.stdout.take().unwrap()), "http://");
        Self { child, address, admin: None, start, started_in: start.elapsed() }
    }

    /// Grapnel with its defaults and a data directory.
    pub(crate) fn grapnel(options: &Options, manifests: &Path, data: &Path) -> Self {
        Self::grapnel_with(options, manifests, &["--data-dir".into(), data.into()])
    }

    /// Grapnel with the flags of a journal.
    pub(crate) fn grapnel_with(options: &Options, manifests: &Path, journal: &[OsString]) -> Self {
        let start = Instant::now();
        let mut child = Command::new(&options.program)
            .args(["standalone", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "-f"])
            .arg(manifests)
            .args(journal)
            .env("RUST_LOG", &options.log)
            .env_remove("RUST_BACKTRACE")
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap());
        let address = first_address(&mut lines, "serving webhooks url=http://");
        let started_in = start.elapsed();
        let admin = first_address(&mut lines, "serving health, metrics, the admin API and the console url=http://");
        std::thread::spawn(move || {
            for line in lines.lines().map_while(Result::ok) {
                if !line.contains("INFO") {
                    eprintln!("grapnel: {line}");
                }
            }
        });
        Self { child, address, admin: Some(admin), start, started_in }
    }

    /// Waits until Grapnel is ready, which then counts as the end of its start.
    pub(crate) async fn until_ready(mut self) -> Self {
        let url = format!("http://{}/readyz", self.admin.expect("a floor has no admin server"));
        let client = program::client();
        loop {
            let status = client.get(&url).send().await.map(|answer| answer.status().as_u16());
            if status.is_ok_and(|status| status == 200) {
                self.started_in = self.start.elapsed();
                return self;
            }
            assert!(self.start.elapsed() < crate::PATIENCE, "Grapnel is not ready");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Resident memory in bytes.
    pub(crate) fn resident(&self) -> u64 {
        program::memory(self.child.id(), "VmRSS")
    }

    /// CPU time of all threads that there are.
    pub(crate) fn cpu(&self) -> Duration {
        cpu(self.child.id())
    }

    /// Ends it by SIGTERM and returns how long that took.
    pub(crate) fn terminate(mut self) -> Duration {
        let start = Instant::now();
        kill_process(Pid::from_child(&self.child), Signal::TERM).unwrap();
        self.child.wait().unwrap();
        start.elapsed()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // SIGKILL, unless it has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// CPU time of all threads that a process has.
pub(crate) fn cpu(process: u32) -> Duration {
    let threads = fs::read_dir(format!("/proc/{process}/task")).unwrap();
    // A thread may end while it is looked at.
    let times = threads.filter_map(|thread| fs::read_to_string(thread.ok()?.path().join("schedstat")).ok());
    Duration::from_nanos(times.map(|line| line.split(' ').next().unwrap().parse::<u64>().unwrap()).sum())
}

fn first_address(lines: impl BufRead, before: &str) -> SocketAddr {
    for line in lines.lines() {
        let line = line.unwrap();
        if let Some((_, rest)) = line.split_once(before) {
            return rest.split_whitespace().next().unwrap().parse().unwrap();
        }
        if !line.contains("INFO") {
            eprintln!("{line}");
        }
    }
    panic!("the server ended before it printed its address");
}
