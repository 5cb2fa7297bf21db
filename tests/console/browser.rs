//! The browser as a test drives it.

use std::{
    path::PathBuf,
    process::{Command, Stdio},
};

use grapnel_test_support::PATIENCE;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines},
    process::{Child, ChildStdin, ChildStdout},
    time::timeout,
};

/// A headless Chromium with one page.
pub(crate) struct Browser {
    _child: Child,
    commands: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
}

/// The size of the window.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Window {
    pub(crate) width: u32,
    pub(crate) height: u32,
    pub(crate) scheme: &'static str,
}

pub(crate) const DESKTOP: Window = Window { width: 1280, height: 800, scheme: "light" };
/// The narrowest telephone.
pub(crate) const TELEPHONE: Window = Window { width: 360, height: 640, scheme: "light" };

/// Where `scripts/browser` has put the packages; brings them when they are not there.
fn packages() -> PathBuf {
    let output = Command::new("scripts/browser")
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .stderr(Stdio::inherit())
        .output()
        .unwrap();
    assert!(output.status.success(), "scripts/browser cannot bring what drives the browser: see above");
    PathBuf::from(String::from_utf8(output.stdout).unwrap().trim())
}

impl Browser {
    pub(crate) async fn start() -> Self {
        let mut child = tokio::process::Command::new("node")
            // As an argument, so that packages are looked for where it runs and not where it is written.
            .args(["--input-type=module", "-e", include_str!("browser/driver.mjs")])
            .current_dir(packages())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let commands = child.stdin.take().unwrap();
        let answers = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut browser = Self { _child: child, commands, answers };
        browser.open(true).await;
        browser
    }

    /// Asks the driver for something.
    pub(crate) async fn ask<T: DeserializeOwned>(&mut self, command: &str, mut options: Value) -> T {
        options["command"] = command.into();
        self.commands.write_all(format!("{options}\n").as_bytes()).await.unwrap();
        let line = timeout(PATIENCE, self.answers.next_line()).await.unwrap_or_else(|_| panic!("{options}: no answer"));
        let answer: Value = serde_json::from_str(&line.unwrap().expect("the browser has ended: see above")).unwrap();
        assert!(answer["error"].is_null(), "{}", answer["error"].as_str().unwrap());
        serde_json::from_value(answer["value"].clone()).unwrap()
    }

    async fn tell(&mut self, command: &str, options: Value) {
        self.ask::<Value>(command, options).await;
    }

    /// A fresh browser, without cookies.
    pub(crate) async fn open(&mut self, script: bool) {
        self.tell("open", json!({ "script": script, "width": DESKTOP.width, "height": DESKTOP.height })).await;
    }

    pub(crate) async fn size(&mut self, window: Window) {
        let Window { width, height, scheme } = window;
        self.tell("size", json!({ "width": width, "height": height, "scheme": scheme })).await;
    }

    pub(crate) async fn goto(&mut self, url: &str) -> Option<u16> {
        self.ask("goto", json!({ "url": url })).await
    }

    pub(crate) async fn link(&mut self, name: &str) {
        self.tell("click", json!({ "role": "link", "name": name })).await;
    }

    pub(crate) async fn button(&mut self, name: &str) {
        self.tell("click", json!({ "role": "button", "name": name })).await;
    }

    pub(crate) async fn check(&mut self, name: &str) {
        self.tell("check", json!({ "name": name })).await;
    }

    pub(crate) async fn fill(&mut self, label: &str, value: &str) {
        self.tell("fill", json!({ "label": label, "value": value })).await;
    }

    pub(crate) async fn press(&mut self, key: &str) {
        self.tell("press", json!({ "key": key })).await;
    }

    pub(crate) async fn text(&mut self) -> String {
        self.ask("text", json!({})).await
    }

    /// Waits until the page has this text.
    pub(crate) async fn see(&mut self, text: &str) -> String {
        self.ask("see", json!({ "text": text })).await
    }

    /// Reloads the page until it has this text.
    pub(crate) async fn reload_until(&mut self, text: &str) -> String {
        self.ask("reloadUntil", json!({ "text": text })).await
    }

    pub(crate) async fn count(&mut self, selector: &str) -> usize {
        self.ask("count", json!({ "selector": selector })).await
    }

    /// Checks that nothing went wrong in pages, and that every request went to this origin.
    pub(crate) async fn assert_confined_to(&mut self, origin: &str) {
        let taken: Value = self.ask("taken", json!({})).await;
        assert_eq!(taken, json!({ "problems": [], "origins": [origin] }));
    }

    /// Checks the page that is shown: accessible, and not wider than the window, in light and dark, on a desktop and on a
    /// telephone.
    pub(crate) async fn assert_usable(&mut self) {
        let address: String = self.ask("address", json!({})).await;
        for window in [DESKTOP, TELEPHONE] {
            for scheme in ["light", "dark"] {
                self.size(Window { scheme, ..window }).await;
                let overflow: u32 = self.ask("overflow", json!({})).await;
                assert_eq!(overflow, 0, "{address} is wider than {} pixels", window.width);
                let report: Value = self.ask("accessibility", json!({})).await;
                assert_eq!(report["violations"], json!([]), "{address}, {scheme}, {} pixels", window.width);
                assert!(report["passes"].as_u64().unwrap() > 10, "the rules were applied: {report}");
            }
        }
        self.size(DESKTOP).await;
    }

    /// Writes a picture of the page for the documentation, if the environment asks for it.
    pub(crate) async fn picture(&mut self, name: &str) {
        let Some(directory) = std::env::var_os("GRAPNEL_SCREENSHOTS") else { return };
        let directory = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(directory);
        self.tell("screenshot", json!({ "path": directory.join(format!("{name}.png")) })).await;
    }
}
