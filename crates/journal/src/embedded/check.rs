//! Offline check of a journal, and repair of a damaged one.

use std::{io, path::Path, sync::Arc};

use grapnel_api::ObjectKey;

use super::{
    EmbeddedJournal, EmbeddedOptions, Engine, OpenError,
    files::{Directory, Layout},
    frame::Kind,
    ids::{Run, RunName},
    index::SealedIndex,
    log_files::log_files,
    rewrite,
    segment::Reader,
    segment_name::SegmentName,
    segments::{index_seed, scan},
    task::Task,
};
use crate::{JournalError, Sequence};

/// The contents of a journal directory.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CheckReport {
    /// Log files, oldest first.
    pub segments: Vec<SegmentReport>,
    /// Index files that are damaged or missing. The next start rebuilds them.
    pub indexes: Vec<String>,
}

/// One log file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SegmentReport {
    /// File name.
    pub file: String,
    /// File length in bytes.
    pub bytes: u64,
    /// Number of intact records, including events.
    pub records: u64,
    /// Number of events, including those no longer kept.
    pub events: u64,
    /// Ranges without an intact record: offset and length.
    pub damage: Vec<(u64, u64)>,
    /// Bytes after the last intact record: in the newest file, an unfinished write.
    pub unfinished: u64,
}

/// The result of a repair.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Repaired {
    /// Number of log files rewritten without the damaged parts.
    pub rewritten: usize,
    /// Acknowledged events that cannot be read: endpoint, first and last sequence.
    pub lost: Vec<(ObjectKey, Sequence, Sequence)>,
}

impl CheckReport {
    /// Returns whether records are damaged, other than by an unfinished write at the end.
    pub fn is_damaged(&self) -> bool {
        let last = self.segments.len().saturating_sub(1);
        let damaged = |(at, segment): (usize, &SegmentReport)| {
            !segment.damage.is_empty() || (segment.unfinished > 0 && at != last)
        };
        self.segments.iter().enumerate().any(damaged)
    }
}

/// Reads a whole journal that no process has open. Changes only files that a start would remove as well.
///
/// # Errors
///
/// When the directory is not a journal, is in use, or cannot be read.
pub fn check(directory: &Path) -> Result<CheckReport, OpenError> {
    if !directory.join("FORMAT").exists() {
        return Err(OpenError::NotAJournal(directory.join("FORMAT")));
    }
    let held = Directory::open(directory)?;
    look(&held.layout).map_err(|source| OpenError::Unusable { path: directory.to_owned(), source })
}

fn look(layout: &Layout) -> io::Result<CheckReport> {
    let mut report = CheckReport::default();
    for file in log_files(layout)? {
        let reader = Reader::open(&layout.log_file(file.name), layout.salt, file.name)?;
        let bytes = reader.len()?;
        let (mut records, mut events) = (0, 0);
        let scanned = scan(&reader, bytes, &mut |record, _| {
            records += 1;
            events += u64::from(record.frame.kind == Kind::Event);
        })?;
        report.segments.push(SegmentReport {
            file: file.name.log_file(),
            bytes,
            records,
            events,
            damage: scanned.damage.iter().map(|damage| (damage.from, damage.bytes())).collect(),
            unfinished: scanned.torn,
        });
        if !is_index_whole(layout, file.name, scanned.end) {
            report.indexes.push(file.name.index_file());
        }
    }
    // The newest segment has no index until the next start.
    if let Some(newest) = report.segments.last().and_then(|segment| SegmentName::parse(&segment.file)) {
        report.indexes.retain(|file| *file != newest.index_file());
    }
    for name in layout.list(&layout.index())? {
        let Some(run) = RunName::parse(&name) else { continue };
        if Run::open(layout.index().join(&name), layout.salt, run).and_then(|run| run.verify()).is_err() {
            report.indexes.push(name);
        }
    }
    Ok(report)
}

fn is_index_whole(layout: &Layout, name: SegmentName, len: u64) -> bool {
    let opened = SealedIndex::open(layout.index_file(name), index_seed(layout.salt, name), len);
    opened.and_then(|index| index.verify()).is_ok()
}

/// Opens a damaged journal, records what is lost, and rewrites the damaged files without the damaged parts.
///
/// # Errors
///
/// When the directory is not a journal, is in use, or cannot be read or written.
pub fn repair(directory: &Path) -> Result<Repaired, OpenError> {
    let before = check(directory)?;
    let options =
        EmbeddedOptions { directory: directory.to_owned(), max_bytes: 0, namespace_share: Some(0), strict: false };
    let journal = EmbeddedJournal::open(options)?;
    let engine = &journal.engine;
    let unusable = |error: JournalError| OpenError::Unusable {
        path: directory.to_owned(),
        source: io::Error::other(error.to_string()),
    };
    let mut repaired = Repaired::default();
    let damaged = before.segments.iter().filter(|segment| !segment.damage.is_empty());
    for name in damaged.filter_map(|segment| SegmentName::parse(&segment.file)) {
        repaired.rewritten += usize::from(write_anew(engine, name).map_err(unusable)?);
    }
    for endpoint in engine.endpoints.read().iter() {
        let state = endpoint.state.lock();
        repaired.lost.extend(state.damaged.iter().map(|(first, last)| (endpoint.key.clone(), first, last)));
    }
    repaired.lost.sort_unstable();
    engine.ask_blocking(Task::Close).map_err(unusable)?;
    Ok(repaired)
}

fn write_anew(engine: &Arc<Engine>, name: SegmentName) -> Result<bool, JournalError> {
    let Some(segment) = engine.segments.all().into_iter().find(|segment| segment.name == name) else {
        return Ok(false);
    };
    let Some(rewritten) = rewrite::rewrite(engine, &[segment])? else { return Ok(false) };
    engine.ask_blocking(|answer| Task::Replace { rewritten, answer })?;
    Ok(true)
}
