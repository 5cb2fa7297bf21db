//! The log files of a directory: those that count, and those that a rewrite has replaced or left unfinished.

use std::{collections::HashSet, io};

use super::{
    entry::SegmentHead,
    files::Layout,
    frame::{FRAME, Kind},
    segment::Reader,
    segment_name::SegmentName,
};
use crate::machine::Micros;

/// A log file.
pub(super) struct LogFile {
    pub(super) name: SegmentName,
    /// The contents of its head; `None` if damaged.
    pub(super) head: Option<SegmentHead>,
}

impl LogFile {
    /// Returns the contents of its head, or what is known without it.
    pub(super) fn head_or_default(&self) -> SegmentHead {
        self.head.unwrap_or(SegmentHead { last: self.name.id, time: Micros(0), previous: 0, previous_end: 0 })
    }
}

/// Returns the log files in ascending order. Files that were replaced, and files whose rewrite was not finished, are
/// left out and deleted.
pub(super) fn log_files(layout: &Layout) -> io::Result<Vec<LogFile>> {
    let mut files = Vec::new();
    let names: Vec<_> = layout.list(&layout.log())?.iter().filter_map(|name| SegmentName::parse(name)).collect();
    for name in names.iter().copied() {
        let reader = Reader::open(&layout.log_file(name), layout.salt, name)?;
        let head = match head_of(&reader)? {
            None if layout.copy_file(name).exists() => {
                head_of(&Reader::open(&layout.copy_file(name), layout.salt, name.copy())?)?
            }
            head => head,
        };
        if name.generation > 0 && !(head.is_some() && is_finished(&reader)?) {
            let last = head.map_or(name.id, |head| head.last);
            let is_source =
                |other: &SegmentName| (name.id..=last).contains(&other.id) && other.generation < name.generation;
            if names.iter().any(is_source) {
                // The segments that it was to replace still exist, except those deleted because nothing of them was kept.
                layout.remove(name)?;
                continue;
            }
        }
        files.push(LogFile { name, head });
    }
    let replaced: HashSet<SegmentName> = files
        .iter()
        .filter(|file| file.name.generation > 0)
        .flat_map(|by| {
            let last = by.head_or_default().last;
            let inside = move |file: &&LogFile| {
                (by.name.id..=last).contains(&file.name.id) && file.name.generation < by.name.generation
            };
            files.iter().filter(inside).map(|file| file.name).collect::<Vec<_>>()
        })
        .collect();
    for name in &replaced {
        layout.remove(*name)?;
    }
    files.retain(|file| !replaced.contains(&file.name));
    files.sort_unstable_by_key(|file| file.name);
    Ok(files)
}

/// Reads the head of a segment, or of its copy.
fn head_of(reader: &Reader) -> io::Result<Option<SegmentHead>> {
    let record = reader.record(0, None)?.filter(|record| record.frame.kind == Kind::Segment);
    Ok(record.and_then(|record| SegmentHead::decode(record.payload).ok()))
}

/// Returns whether a rewritten segment has its last record.
fn is_finished(reader: &Reader) -> io::Result<bool> {
    let Some(end) = reader.len()?.checked_sub(FRAME as u64) else { return Ok(false) };
    Ok(reader.record(end, None)?.is_some_and(|record| record.frame.kind == Kind::End))
}
