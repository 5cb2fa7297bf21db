//! Scans the files when the system reports changes, and periodically without reports, and publishes what has changed.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use grapnel_api::{ConditionType, ObjectKey};
use tokio::{sync::watch::Sender, time};
use tokio_util::sync::CancellationToken;

use super::{
    FileLocation, FileSource, FilesError, InUse, LocatedProblem, ObjectName, Severity, SourceScan,
    file::overwrite_stack, notify::Notify,
};
use crate::{
    catalog::{Change, Namespaces, ObjectIndex, ObjectKind, Problem, Published},
    files::limits,
};

/// The files and the index that they fill.
pub struct FileWatch {
    source: FileSource,
    index: ObjectIndex,
    namespaces: Namespaces,
    /// The problems logged last.
    reported: BTreeSet<LocatedProblem>,
    /// The number of objects of other kinds, by kind.
    skipped: BTreeMap<Box<str>, usize>,
    /// The number of objects of other classes, as logged last.
    elsewhere: usize,
}

impl FileWatch {
    /// A watch that has not scanned yet. The source checks every object that it reads.
    pub fn new(source: FileSource, index: ObjectIndex) -> Self {
        Self {
            source,
            index: index.of_checked_objects(),
            namespaces: Namespaces::All,
            reported: BTreeSet::new(),
            skipped: BTreeMap::new(),
            elsewhere: 0,
        }
    }

    /// A watch of objects in these namespaces after its first scan, with the result.
    ///
    /// # Errors
    /// Returns an error if a given path does not exist.
    pub fn start(
        source: FileSource,
        index: ObjectIndex,
        namespaces: Namespaces,
    ) -> Result<(Self, Published), FilesError> {
        let mut watch = Self { namespaces, ..Self::new(source, index) };
        let (published, _) = watch.look()?;
        Ok((watch, published.unwrap_or_default()))
    }

    /// Number of defined objects, by kind.
    pub fn counts(&self) -> BTreeMap<&'static str, usize> {
        self.source.counts()
    }

    /// Number of objects that are ignored because of their class.
    pub fn elsewhere(&self) -> usize {
        self.index.elsewhere()
    }

    /// Number of skipped objects of other kinds, by kind.
    pub fn skipped(&self) -> BTreeMap<Box<str>, usize> {
        self.source.skipped()
    }

    /// Scans once. Returns the new configuration, if anything has changed, and all problems.
    ///
    /// # Errors
    /// Returns an error if a given path does not exist.
    pub fn look(&mut self) -> Result<(Option<Published>, Vec<LocatedProblem>), FilesError> {
        let Some(SourceScan { changes, reports }) = self.source.scan()? else {
            return Ok((None, self.reported.iter().cloned().collect()));
        };
        let counts = |change: &Change| change.namespace().is_none_or(|namespace| self.namespaces.contains(namespace));
        for change in changes.into_iter().filter(counts) {
            self.index.apply(change);
        }
        let published = self.index.publish();
        overwrite_stack();
        // A rule of the API and the compiler may both have something to say of a field.
        let told: HashSet<_> = reports.iter().map(|report| (report.object.clone(), report.pointer.clone())).collect();
        let news = self.problems();
        let news = news.into_iter().filter(|it| !told.contains(&(it.object.clone(), it.pointer.clone())));
        let reports: BTreeSet<_> = news.chain(reports).collect();
        self.log(reports);
        Ok((published, self.reported.iter().cloned().collect()))
    }

    /// Problems of the objects, with their locations.
    pub fn problems(&self) -> Vec<LocatedProblem> {
        let report = |(kind, key, problem): (ObjectKind, &ObjectKey, &Problem)| {
            Some(LocatedProblem {
                place: self.source.place(kind, key, &problem.pointer)?,
                severity: Severity::Error,
                object: Some(ObjectName { kind: kind.as_str(), key: key.clone() }),
                pointer: problem.pointer.clone(),
                reason: problem.reason,
                message: problem.to_string(),
                in_use: match self.index.is_in_use(kind, key) {
                    false => InUse::Nothing,
                    true if problem.condition() == ConditionType::Accepted => InUse::Earlier,
                    // With some of its Secrets.
                    true => InUse::Newest,
                },
            })
        };
        self.index.problems().filter_map(report).collect()
    }

    /// The location of a field of an object.
    pub fn place(&self, kind: ObjectKind, key: &ObjectKey, pointer: &str) -> Option<FileLocation> {
        self.source.place(kind, key, pointer)
    }

    /// Logs problems that are new or resolved, and what is skipped.
    fn log(&mut self, now: BTreeSet<LocatedProblem>) {
        for report in now.difference(&self.reported) {
            let reason = report.reason.as_str();
            match (report.severity, report.in_use) {
                (Severity::Warning, _) => tracing::warn!(reason, "{report}"),
                (Severity::Error, InUse::Nothing) => tracing::error!(reason, "{report}; it is not in use"),
                (Severity::Error, InUse::Newest | InUse::Earlier) => tracing::error!(reason, "{report}"),
            }
        }
        for report in self.reported.difference(&now) {
            let object = report.object.as_ref().map(ToString::to_string);
            tracing::info!(place = %report.place, object, "mended: {}", report.reason);
        }
        self.reported = now;
        let skipped = self.source.skipped();
        if skipped != self.skipped && !skipped.is_empty() {
            let kinds: Vec<_> = skipped.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
            tracing::info!(kinds = kinds.join(", "), "objects of other kinds are skipped");
        }
        self.skipped = skipped;
        let elsewhere = self.elsewhere();
        if elsewhere != self.elsewhere && elsewhere > 0 {
            tracing::info!(objects = elsewhere, "objects of other classes are not served; --class selects them");
        }
        self.elsewhere = elsewhere;
    }
}

/// Watches the files until `shutdown`, and publishes changes.
pub async fn watch(mut watch: FileWatch, published: Sender<Published>, shutdown: CancellationToken) {
    let mut notify = match Notify::new(watch.source.paths().to_vec()) {
        Ok(notify) => Some(notify),
        Err(error) => {
            tracing::debug!(%error, "the system does not report file changes; manifests are polled");
            None
        }
    };
    let mut last_error = None;
    // The first scan finds what changed before notifications were set up.
    loop {
        // Reading files blocks, so the watch moves to a blocking thread and back.
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
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = changed(&mut notify, last_error.is_some()) => {}
        }
    }
}

/// Waits until the files may have changed, or the next periodic scan is due.
async fn changed(notify: &mut Option<Notify>, failing: bool) {
    let interval = match notify {
        // A missing path may have no directory that can be watched.
        Some(_) if !failing => limits::FILES_INTERVAL_NOTIFIED,
        _ => limits::FILES_INTERVAL,
    };
    let noticed = async {
        match notify {
            Some(notify) => notify.changed().await,
            None => std::future::pending().await,
        }
    };
    match time::timeout(interval, noticed).await {
        // A burst of changes causes one scan.
        Ok(Ok(())) => time::sleep(limits::FILES_GATHER).await,
        Ok(Err(error)) => {
            tracing::debug!(%error, "the system does not report file changes; manifests are polled");
            *notify = None;
        }
        Err(_) => {}
    }
}
