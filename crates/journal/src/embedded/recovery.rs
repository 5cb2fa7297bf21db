//! Carries out what [`writer_health`](super::writer_health) decides: checks the causes that prevent writes, begins a new
//! segment, and reports.

use std::time::Instant;

use super::{room::full, writer::Writer, writer_health::Report};
use crate::Result;

impl Writer {
    /// Checks that writing is possible.
    pub(super) fn can_write(&self) -> Result<()> {
        self.health.write_error().map_or(Ok(()), Err)
    }

    /// Rejects appends while writing is not possible or the volume is nearly full.
    pub(super) fn can_append(&mut self) -> Result<()> {
        if !self.health.is_broken() {
            self.look();
        }
        self.health.append_error().map_or(Ok(()), Err)
    }

    /// Checks whether the causes are gone.
    pub(super) fn ease(&mut self) {
        self.heal();
        if self.health.is_broken() {
            return;
        }
        if self.health.is_low() {
            self.look();
        }
        self.ease_shares();
        if let Some(wanted) = self.health.refused()
            && self.make_journal_room(wanted).is_ok()
        {
            self.health.fits();
        }
    }

    /// Checks the free space of the volume, if it is time.
    fn look(&mut self) {
        let now = Instant::now();
        if self.health.must_look(now) {
            self.health.looked(now, self.engine.layout.volume().ok());
        }
    }

    /// Begins a new segment after a failed write, if it is time.
    fn heal(&mut self) {
        if !self.health.try_to_heal(Instant::now()) {
            return;
        }
        match self.engine.layout.probe().and_then(|()| self.rotate()) {
            Ok(()) => {
                tracing::info!("the journal accepts writes again");
                self.health.healed();
            }
            Err(error) => {
                if self.health.not_healed(&error.to_string()) {
                    tracing::error!(%error, "cannot start a new segment; retrying every second");
                }
            }
        }
    }

    /// Publishes the current cause.
    pub(super) fn report(&mut self) {
        let error = self.health.error(|| full(&self.engine));
        let Some(report) = self.health.report(error.is_some()) else { return };
        match (report, &error) {
            (Report::Began, Some(error)) => tracing::warn!(kind = error.kind(), %error, "events are rejected"),
            (Report::Ended, _) => tracing::info!("events are accepted again"),
            (Report::Began | Report::Lasts, _) => {}
        }
        *self.engine.trouble.lock() = error;
    }
}

/// A guard held by the writer. If the writer panics, memory and disk may differ, and no caller would be answered: the
/// process ends at once, and the next start recovers from disk, as after a crash.
pub(super) struct CrashOnly;

impl Drop for CrashOnly {
    fn drop(&mut self) {
        if std::thread::panicking() {
            tracing::error!(
                "the journal's writer panicked; the process exits, and the next start recovers from the disk"
            );
            std::process::abort();
        }
    }
}
