//! Recovery from files to memory: which files exist, what their records say ([`replay`]), which ids are known, and
//! which events are kept.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    fs, io,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, AtomicU64},
    },
};

use parking_lot::{Mutex, RwLock};

use super::{
    EmbeddedOptions, Engine, Ids, Limits, OpenError,
    batch::OpenSegment,
    endpoint::Kept,
    entry::SegmentHead,
    files::{Directory, Layout},
    frame::{FRAME, Kind},
    ids::{ActiveIds, Run, RunName},
    inbox::Inbox,
    index::Index,
    keeper, replay,
    segment::Reader,
    segment_name::SegmentName,
    segments::{Segment, Segments, scan},
    writer,
};
use crate::{
    Sequence,
    limits::{SEGMENT_BYTES, SEGMENT_BYTES_LEAST, SEGMENT_SHARE},
    machine::Micros,
};

/// Opens the journal in a directory, with everything that was acknowledged, and the segment to write.
pub(super) fn open(options: &EmbeddedOptions) -> Result<(Engine, OpenSegment), OpenError> {
    let directory = Directory::open(&options.directory)?;
    let unusable = |error| OpenError::Unusable { path: options.directory.clone(), source: error };
    let engine = empty(options, directory);
    let files = log_files(&engine.layout).map_err(unusable)?;
    let replayed = replay::replay(&engine, &files).map_err(unusable)?;
    if options.strict
        && let Some(first) = replayed.first_damage
    {
        return Err(OpenError::Damaged { files: replayed.damaged_files, first });
    }
    open_ids(&engine, replayed.ids).map_err(unusable)?;
    count(&engine).map_err(unusable)?;
    let last = files.last().map_or(0, |file| file.head_or_default().last.max(file.name.id));
    let before = engine.segments.all().last().map(|segment| (segment.name.id, segment.len()));
    let log = writer::begin(&engine, SegmentName { id: last + 1, generation: 0 }, before).map_err(unusable)?;
    engine.segments.push(Arc::clone(&log.segment));
    Ok((engine, log))
}

fn empty(options: &EmbeddedOptions, directory: Directory) -> Engine {
    let max_bytes = options.max_bytes;
    let segment_bytes = match max_bytes {
        0 => SEGMENT_BYTES,
        max => (max / SEGMENT_SHARE).clamp(SEGMENT_BYTES_LEAST, SEGMENT_BYTES),
    };
    let namespace_share = options.namespace_share.unwrap_or(max_bytes / 2);
    Engine {
        layout: directory.layout.clone(),
        directory: Mutex::new(Some(directory)),
        limits: Limits { max_bytes, namespace_share, segment_bytes },
        segments: Segments::default(),
        ids: RwLock::new(Ids::default()),
        inbox: Inbox::new(),
        keeper: keeper::Inbox::default(),
        endpoints: RwLock::default(),
        consumers: RwLock::default(),
        next_endpoint: AtomicU32::new(1),
        next_consumer: AtomicU32::new(1),
        retired_head: AtomicU64::new(0),
        namespaces: Mutex::new(BTreeMap::new()),
        exhausted: Mutex::new(BTreeMap::new()),
        closing: AtomicBool::new(false),
        trouble: Mutex::new(None),
        busy: Mutex::new(None),
        damaged_records: AtomicU64::new(0),
        checkpoint: AtomicU64::new(0),
        sweeping: tokio::sync::Mutex::default(),
        redelivering: tokio::sync::Mutex::default(),
    }
}

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
                writer::remove_files(layout, name)?;
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
        writer::remove_files(layout, *name)?;
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

/// Opens the files of ids, and creates the missing ones.
fn open_ids(engine: &Engine, mut read: HashMap<u64, ActiveIds>) -> io::Result<()> {
    let layout = &engine.layout;
    let names: Vec<RunName> = layout.list(&layout.index())?.iter().filter_map(|name| RunName::parse(name)).collect();
    for name in &names {
        // Merged, but not deleted yet.
        let path = layout.index().join(name.to_string());
        if names.iter().any(|other| other != name && other.covers(*name)) {
            fs::remove_file(&path)?;
            continue;
        }
        match Run::open(path, layout.salt, *name).and_then(|run| keeper::load(run, keeper::filter_bytes(engine))) {
            Ok(run) => engine.ids.write().insert(run),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                tracing::error!(file = %name, %error, "a file of ids is damaged; ids of removed events are lost");
            }
            Err(error) => return Err(error),
        }
    }
    let runs = engine.ids.read().runs.clone();
    let known = |id: u64| runs.iter().any(|run| (run.name.first..=run.name.last).contains(&id));
    let missing: Vec<_> = engine.segments.all().into_iter().filter(|segment| !known(segment.name.id)).collect();
    for segment in missing {
        let ids = match read.remove(&segment.name.id) {
            Some(ids) => ids,
            None => scan(&segment.reader()?, segment.len(), &mut |_, _| {})?.ids,
        };
        if !ids.is_empty() {
            let run = keeper::write_ids(engine, &segment, &ids)?;
            engine.ids.write().insert(run);
        }
    }
    Ok(())
}

/// Counts the kept events by endpoint, namespace and segment.
fn count(engine: &Engine) -> io::Result<()> {
    let mut kept: HashMap<u32, Live> = HashMap::new();
    for segment in engine.segments.all() {
        for live in live(engine, &segment)? {
            segment.add_live(live.own.events + live.former.events, live.own.bytes + live.former.bytes);
            let sum = kept.entry(live.endpoint).or_insert(Live { endpoint: live.endpoint, ..Live::default() });
            sum.own.add(live.own);
            sum.former.add(live.former);
        }
    }
    let mut namespaces = engine.namespaces.lock();
    for endpoint in engine.endpoints.read().all() {
        let live = kept.remove(&endpoint.number).unwrap_or_default();
        let mut state = endpoint.state.lock();
        (state.own, state.earlier) = (live.own, live.former);
        let bytes = live.own.bytes + live.former.bytes;
        if bytes > 0 {
            *namespaces.entry(Arc::clone(&endpoint.key.namespace)).or_default() += bytes;
        }
    }
    Ok(())
}

/// The kept events of an endpoint in a segment.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Live {
    pub(super) endpoint: u32,
    /// Kept events of the current incarnation.
    pub(super) own: Kept,
    /// Kept events of earlier incarnations.
    pub(super) former: Kept,
}

/// Returns the kept events of a segment by endpoint.
pub(super) fn live(engine: &Engine, segment: &Segment) -> io::Result<Vec<Live>> {
    let mut all = Vec::new();
    for part in segment.index(Index::parts) {
        let Some(endpoint) = engine.endpoint_numbered(part.endpoint) else { continue };
        let (begin, kept) = {
            let state = endpoint.state.lock();
            (state.begin, state.removed.outside(part.first, part.last))
        };
        let mut live = Live { endpoint: part.endpoint, ..Live::default() };
        let side = |live: &mut Live, sequence: Sequence, kept: Kept| {
            if sequence >= begin { live.own.add(kept) } else { live.former.add(kept) }
        };
        if kept.first() == Some(&(part.first..=part.last)) && (part.first >= begin || part.last < begin) {
            side(&mut live, part.first, Kept { events: part.count, bytes: part.bytes });
            all.push(live);
            continue;
        }
        for range in kept {
            let (first, last) = range.into_inner();
            for position in segment.index(|index| index.positions(part.endpoint, first, last, usize::MAX))? {
                side(&mut live, position.sequence, Kept { events: 1, bytes: position.len.into() });
            }
        }
        if live.own.events + live.former.events > 0 {
            all.push(live);
        }
    }
    Ok(all)
}
