//! A progress bar on a terminal.

use std::io::{self, IsTerminal, Write};

const WIDTH: u64 = 30;

/// Shows progress on standard error if it is a terminal.
pub(super) struct Progress {
    shown: bool,
    total: u64,
}

impl Progress {
    /// Shows nothing yet, and never anything without a terminal.
    pub(super) fn new(wanted: bool) -> Self {
        Self { shown: wanted && io::stderr().is_terminal(), total: 0 }
    }

    pub(super) fn is_shown(&self) -> bool {
        self.shown
    }

    /// Sets the total.
    pub(super) fn of(&mut self, total: u64) {
        self.total = total;
    }

    pub(super) fn show(&self, done: u64) {
        if self.shown {
            write(&format!("\r{}\u{1b}[K", bar(done, self.total)));
        }
    }

    /// Removes the bar.
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

/// A bar if the total is known, otherwise a count.
fn bar(done: u64, total: u64) -> String {
    if total == 0 {
        return format!("{done} so far");
    }
    let done = done.min(total);
    let part = |of: u64| u64::try_from(u128::from(done) * u128::from(of) / u128::from(total)).unwrap_or(of);
    let filled = part(WIDTH);
    let cells: String = (0..WIDTH).map(|cell| if cell < filled { '#' } else { '.' }).collect();
    format!("[{cells}] {:>3}%  {done} of {total}", part(100))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bar_fills() {
        assert_eq!(bar(0, 100), "[..............................]   0%  0 of 100");
        assert_eq!(bar(50, 100), "[###############...............]  50%  50 of 100");
        assert_eq!(bar(120, 100), "[##############################] 100%  100 of 100");
        assert_eq!(bar(u64::MAX / 2, u64::MAX).matches('#').count(), 14);
        assert_eq!(bar(7, 0), "7 so far");
    }
}
