//! Opens a URL in the user's browser.

use std::process::{Command, Stdio};

/// Opens a URL. Returns whether a program that does so was started.
pub(super) fn open(url: &str) -> bool {
    let opener = if cfg!(target_os = "macos") { "open" } else { "xdg-open" };
    let started =
        Command::new(opener).arg(url).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    let Ok(mut child) = started else { return false };
    // It may run as long as the browser does.
    std::thread::spawn(move || child.wait());
    true
}
