//! Recovery from files to memory: which files exist, what their records say ([`replay`]), which ids are known, and
//! which events are kept.

use std::{
    collections::{BTreeMap, HashMap},
    fs, io,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, AtomicU64},
    },
};

use parking_lot::{Mutex, RwLock};

use super::{
    EmbeddedOptions, Engine, Limits, OpenError,
    batch::OpenSegment,
    engine::Ids,
    files::Directory,
    ids::{ActiveIds, Run, RunName},
    inbox::Inbox,
    keeper_inbox::KeeperInbox,
    live::{Live, live},
    log_files::log_files,
    replay, rotation, sealing,
    segment_name::SegmentName,
    segments::{Segments, scan},
};
use crate::limits::{SEGMENT_BYTES, SEGMENT_BYTES_LEAST, SEGMENT_SHARE};

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
    let log = rotation::begin(&engine, SegmentName { id: last + 1, generation: 0 }, before).map_err(unusable)?;
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
        keeper: KeeperInbox::default(),
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
        match Run::open(path, layout.salt, *name).and_then(|run| sealing::load(run, sealing::filter_bytes(engine))) {
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
            let run = sealing::write_ids(engine, &segment, &ids)?;
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
