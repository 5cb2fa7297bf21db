//! Looks at the files twice a second and publishes what changed.

use std::collections::{BTreeMap, BTreeSet};

use tokio::{sync::watch::Sender, time};
use tokio_util::sync::CancellationToken;

use super::{FilesError, Report, Source};
use crate::{
    api::ObjectKey,
    catalog::{Change, Index, Kind, Namespaces, Problem, Published},
    rules::limits,
};

/// The files and the index that they fill.
pub struct Watch {
    source: Source,
    index: Index,
    namespaces: Namespaces,
    /// What has been said already.
    reported: BTreeSet<Report>,
}

impl Watch {
    /// A watch that has not looked yet.
    pub fn new(source: Source, index: Index) -> Self {
        Self { source, index, namespaces: Namespaces::All, reported: BTreeSet::new() }
    }

    /// A watch of objects in these namespaces that has looked once, and what it saw.
    ///
    /// # Errors
    /// When a named path is not there.
    pub fn start(source: Source, index: Index, namespaces: Namespaces) -> Result<(Self, Published), FilesError> {
        let mut watch = Self { namespaces, ..Self::new(source, index) };
        let (published, _) = watch.look()?;
        Ok((watch, published.unwrap_or_default()))
    }

    /// How many objects are defined, by kind.
    pub fn counts(&self) -> BTreeMap<&'static str, usize> {
        self.source.counts()
    }

    /// Looks once: what changed, if anything did, and everything that is wrong.
    ///
    /// # Errors
    /// When a named path is not there.
    pub fn look(&mut self) -> Result<(Option<Published>, Vec<Report>), FilesError> {
        let (changes, mut reports) = self.source.scan()?;
        let counts = |change: &Change| change.namespace().is_none_or(|namespace| self.namespaces.contains(namespace));
        for change in changes.into_iter().filter(counts) {
            self.index.apply(change);
        }
        let published = self.index.publish();
        reports.extend(self.problems());
        reports.sort();
        self.log(reports.iter().cloned().collect());
        Ok((published, reports))
    }

    /// Problems of the objects, with their places.
    pub fn problems(&self) -> Vec<Report> {
        let report = |(kind, key, problem): (Kind, &ObjectKey, &Problem)| {
            Some(Report {
                place: self.source.place(kind, key, &problem.pointer)?,
                object: Some(format!("{} {key}", kind.as_str())),
                reason: problem.reason,
                message: problem.to_string(),
            })
        };
        self.index.problems().filter_map(report).collect()
    }

    /// Logs problems that are new and problems that are gone.
    fn log(&mut self, now: BTreeSet<Report>) {
        for report in now.difference(&self.reported) {
            tracing::error!(reason = report.reason.as_str(), "{report}");
        }
        for report in self.reported.difference(&now) {
            tracing::info!(place = %report.place, object = report.object, "mended: {}", report.reason);
        }
        self.reported = now;
    }
}

/// Looks at the files until `shutdown`, and sends what changed.
pub async fn watch(mut watch: Watch, published: Sender<Published>, shutdown: CancellationToken) {
    let mut ticks = time::interval(limits::FILES_INTERVAL);
    ticks.set_missed_tick_behavior(time::MissedTickBehavior::Delay);
    let mut last_error = None;
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            _ = ticks.tick() => {}
        }
        // Reading files blocks; the watch travels to a thread where that is allowed, and back.
        let looked = tokio::task::spawn_blocking(move || {
            let looked = watch.look();
            (watch, looked)
        });
        let Ok((back, looked)) = looked.await else { return };
        watch = back;
        let error = match looked {
            Ok((changed, _)) => {
                if let Some(changed) = changed {
                    tracing::info!("configuration changed");
                    published.send_replace(changed);
                }
                None
            }
            Err(error) => Some(error.to_string()),
        };
        if error != last_error {
            if let Some(error) = &error {
                tracing::warn!(error, "configuration cannot be read; the last good one is still in use");
            }
            last_error = error;
        }
    }
}
