//! The count of events so far, on a terminal.
//!
//! The number of all events is not known: to find it, the operator would have to search the journal a second time.

use std::io::{self, IsTerminal, Write};

/// Shows progress on standard error if it is a terminal.
pub(super) struct Progress {
    shown: bool,
}

impl Progress {
    /// Shows nothing yet, and never anything without a terminal.
    pub(super) fn new(wanted: bool) -> Self {
        Self { shown: wanted && io::stderr().is_terminal() }
    }

    pub(super) fn show(&self, done: u64) {
        if self.shown {
            write(&format!("\r{done} so far\u{1b}[K"));
        }
    }

    /// Removes the count.
    pub(super) fn clear(&self) {
        if self.shown {
            write("\r\u{1b}[K");
        }
    }
}

fn write(text: &str) {
    let mut out = io::stderr().lock();
    // A closed terminal must not stop the command.
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}
