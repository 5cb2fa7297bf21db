//! Servers in processes of their own.

use std::{
    io::{BufRead, BufReader},
    net::SocketAddr,
    path::Path,
    process::{Child, Command, Stdio},
};

/// A server that ends when this is dropped.
pub(crate) struct Server {
    child: Child,
    /// Where it takes webhooks.
    pub(crate) address: SocketAddr,
}

impl Server {
    /// The floor, served by this program.
    pub(crate) fn floor() -> Self {
        let mut child =
            Command::new(std::env::current_exe().unwrap()).arg("floor-server").stdout(Stdio::piped()).spawn().unwrap();
        let address = first_address(BufReader::new(child.stdout.take().unwrap()), "http://");
        Self { child, address }
    }

    /// Grapnel with its defaults, quiet but for warnings and its addresses.
    pub(crate) fn grapnel(manifest: &Path, data: &Path) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_grapnel"))
            .args(["standalone", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "-f"])
            .arg(manifest)
            .arg("--data-dir")
            .arg(data)
            .env("RUST_LOG", "warn,grapnel::runtime=info")
            .env_remove("RUST_BACKTRACE")
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap());
        let address = first_address(&mut lines, "serving webhooks url=http://");
        std::thread::spawn(move || {
            for line in lines.lines().map_while(Result::ok) {
                if !line.contains("INFO") {
                    eprintln!("grapnel: {line}");
                }
            }
        });
        Self { child, address }
    }

    /// Resident memory in bytes.
    pub(crate) fn resident(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn first_address(lines: impl BufRead, before: &str) -> SocketAddr {
    for line in lines.lines() {
        let line = line.unwrap();
        if let Some((_, rest)) = line.split_once(before) {
            return rest.split_whitespace().next().unwrap().parse().unwrap();
        }
        eprintln!("{line}");
    }
    panic!("the server ended before it said where it listens");
}
