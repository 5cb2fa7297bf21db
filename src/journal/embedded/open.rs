//! From files to memory.
//!
//! The newest segment with a whole head says what the state was when it was begun. The records behind that head, and those
//! of later segments whose heads are damaged, are applied in order; everything before is only indexed. Then a new segment is
//! begun: nothing is ever written behind an end that is in doubt.
//!
//! What is damaged costs the damaged records alone. Sequences of an endpoint have no gaps in the log, and marks repeat the
//! newest ones, so that it is known which events are missing. Those that were durable before the last mark are remembered as
//! damaged; what is missing behind that was never acknowledged for certain, and its sequences are passed over.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    fs, io,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
};

use parking_lot::{Mutex, RwLock};

use super::{
    EmbeddedOptions, Engine, Ids, Limits, OpenError,
    batch::OpenSegment,
    consumer::Consumer,
    endpoint::{Endpoint, Endpoints, Kept},
    entry::{self, ConsumerRow, EndpointState, Mark, NewConsumer, NewEndpoint, SegmentHead, StateEnd},
    files::{Directory, Layout},
    frame::Kind,
    ids::{ActiveIds, Run, RunName},
    inbox::Inbox,
    index::{Index, SealedIndex},
    keeper,
    segment::{Reader, Record, SegmentName},
    segments::{Damage, Scanned, Segment, Segments, decode_event, index_seed, scan},
    tasks::{apply_attach, apply_detach, apply_endpoint, insert_consumer},
    writer,
};
use crate::{
    journal::{
        Sequence,
        machine::{ConsumerState, Micros},
    },
    rules::limits::{SEGMENT_BYTES, SEGMENT_BYTES_LEAST, SEGMENT_SHARE},
};

/// Opens the journal in a directory, with everything that was acknowledged, and the segment to write.
pub(super) fn open(options: &EmbeddedOptions) -> Result<(Engine, OpenSegment), OpenError> {
    let directory = Directory::open(&options.directory)?;
    let unusable = |error| OpenError::Unusable { path: options.directory.clone(), source: error };
    let engine = empty(options, directory);
    let mut found = Recovery::default();
    let files = log_files(&engine.layout).map_err(unusable)?;
    found.replay(&engine, &files, options.strict).map_err(|failed| match failed {
        Failed::Io(error) => unusable(error),
        Failed::Refused(refused) => refused,
    })?;
    found.open_ids(&engine, &files).map_err(unusable)?;
    found.count(&engine).map_err(unusable)?;
    let last = files.last().map_or(0, |file| file.head.map_or(file.name.id, |head| head.last.max(file.name.id)));
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
        endpoints: RwLock::new(Endpoints::default()),
        consumers: RwLock::new(HashMap::new()),
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

/// A file of the log.
pub(super) struct LogFile {
    pub(super) name: SegmentName,
    /// What it says of itself; `None` if that is damaged.
    pub(super) head: Option<SegmentHead>,
}

/// The files of the log, ascending: without those that were replaced, which are deleted, and those whose rewriting was not
/// finished.
pub(super) fn log_files(layout: &Layout) -> io::Result<Vec<LogFile>> {
    let mut files = Vec::new();
    for name in layout.list(&layout.log())? {
        let Some(name) = SegmentName::parse(&name) else { continue };
        let reader = Reader::open(&layout.log_file(name), layout.salt, name)?;
        let record = reader.record(0, None)?.filter(|record| record.frame.kind == Kind::Segment);
        let head = record.and_then(|record| SegmentHead::decode(record.payload).ok());
        if name.generation > 0 && !(head.is_some() && is_finished(&reader)?) {
            let superseded = layout
                .list(&layout.log())?
                .iter()
                .filter_map(|n| SegmentName::parse(n))
                .any(|other| other.id == name.id && other.generation < name.generation);
            if superseded {
                // What it was to replace is still there.
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
            let last = by.head.map_or(by.name.id, |head| head.last);
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

/// Whether the last record of a rewritten segment is there.
fn is_finished(reader: &Reader) -> io::Result<bool> {
    let len = reader.len()?;
    let end = len.checked_sub(super::frame::FRAME as u64);
    let Some(end) = end else { return Ok(false) };
    Ok(reader.record(end, None)?.is_some_and(|record| record.frame.kind == Kind::End))
}

/// Why the log cannot be replayed.
enum Failed {
    Io(io::Error),
    Refused(OpenError),
}

impl From<io::Error> for Failed {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// What recovery has found so far.
#[derive(Default)]
struct Recovery {
    /// Ids of segments that were read, for the files of ids that are missing.
    ids: HashMap<u64, ActiveIds>,
    /// Segments of which something is damaged, the first with its place.
    damaged_files: usize,
    first_damage: Option<String>,
}

/// Events that are missing.
struct Gap {
    endpoint: Arc<Endpoint>,
    first: Sequence,
    last: Sequence,
    /// Where the damage before them begins.
    from: Option<u64>,
}

impl Recovery {
    fn replay(&mut self, engine: &Engine, files: &[LogFile], strict: bool) -> Result<(), Failed> {
        // The newest head that is whole.
        let mut from = None;
        for (at, file) in files.iter().enumerate().rev() {
            if read_state(engine, file)? {
                from = Some(at);
                break;
            }
        }
        if from.is_none() && files.iter().any(|file| file.head.is_some_and(|head| head.last > 1) || file.name.id > 1) {
            return Err(Failed::Refused(OpenError::NoState));
        }
        for (at, file) in files.iter().enumerate() {
            let next = files.get(at + 1);
            let before = |head: &SegmentHead| file.name.generation == 0 && head.previous == file.name.id;
            let end = next.and_then(|next| next.head).filter(before).map(|head| head.previous_end);
            let segment = if from.is_some_and(|from| at >= from) {
                self.apply(engine, file, end, next.is_none())?
            } else {
                self.index(engine, file, end)?
            };
            if let Some(segment) = segment {
                engine.segments.push(segment);
            }
        }
        if strict && let Some(first) = self.first_damage.take() {
            return Err(Failed::Refused(OpenError::Damaged { files: self.damaged_files, first }));
        }
        Ok(())
    }

    /// Opens a segment whose records are in the state already.
    fn index(&mut self, engine: &Engine, file: &LogFile, end: Option<u64>) -> io::Result<Option<Arc<Segment>>> {
        let (layout, name) = (&engine.layout, file.name);
        let len = length(layout, name, end)?;
        let head = file.head.unwrap_or(SegmentHead { last: name.id, time: Micros(0), previous: 0, previous_end: 0 });
        let opened = SealedIndex::open(layout.index_file(name), index_seed(layout.salt, name), len);
        if let Ok(sealed) = opened {
            return Ok(Some(Arc::new(Segment::new(layout, name, head, len, Index::Sealed(sealed)))));
        }
        let reader = Reader::open(&layout.log_file(name), layout.salt, name)?;
        let scanned = scan(&reader, len, &mut |_, _| {})?;
        self.say(&reader, &scanned, true);
        self.seal(engine, name, head, len, scanned)
    }

    /// Opens a segment and applies its records to the state.
    fn apply(
        &mut self,
        engine: &Engine,
        file: &LogFile,
        end: Option<u64>,
        newest: bool,
    ) -> io::Result<Option<Arc<Segment>>> {
        let (layout, name) = (&engine.layout, file.name);
        let len = length(layout, name, end)?;
        let reader = Reader::open(&layout.log_file(name), layout.salt, name)?;
        let mut gaps: Vec<Gap> = Vec::new();
        let mut damage: Option<Damage> = None;
        let scanned = scan(&reader, len, &mut |record, before| {
            damage = before.or(damage);
            apply(engine, record, &mut |endpoint, first, last| {
                gaps.push(Gap { endpoint, first, last, from: damage.map(|damage| damage.from) });
            });
        })?;
        // Behind what was durable when the last mark was written, an end in pieces is an unfinished write.
        let durable = if newest && !scanned.ended { scanned.durable } else { u64::MAX };
        for gap in gaps {
            let lost = gap.from.is_none_or(|from| from < durable);
            let mut state = gap.endpoint.state.lock();
            if lost {
                state.damaged.insert(gap.first, gap.last);
                state.appended += gap.last - gap.first + 1;
                engine.damaged_records.fetch_add(gap.last - gap.first + 1, Ordering::AcqRel);
                tracing::error!(
                    endpoint = %gap.endpoint.key, first = gap.first, last = gap.last, file = %reader.path().display(),
                    offset = gap.from,
                    "acknowledged events cannot be read; they are listed as damaged, and their deliveries become dead letters"
                );
            } else {
                state.removed.insert(gap.first, gap.last);
            }
        }
        let finished =
            Scanned { damage: scanned.damage.iter().copied().filter(|d| d.from < durable).collect(), ..scanned };
        self.say(&reader, &finished, newest);
        let valid = finished.end;
        if valid < reader.len()? {
            // Whatever is left behind the end must not be taken for records later.
            fs::OpenOptions::new().write(true).open(reader.path())?.set_len(valid)?;
        }
        let head = file.head.unwrap_or(SegmentHead { last: name.id, time: Micros(0), previous: 0, previous_end: 0 });
        self.seal(engine, name, head, valid, finished)
    }

    /// Says what is damaged.
    fn say(&mut self, reader: &Reader, scanned: &Scanned, newest: bool) {
        let file = reader.path().display();
        for damage in &scanned.damage {
            tracing::error!(%file, offset = damage.from, bytes = damage.bytes(), "records of the journal are damaged");
        }
        if scanned.torn > 0 {
            tracing::warn!(
                %file, offset = scanned.end, bytes = scanned.torn,
                "the last write to the journal was not finished; nothing whole follows, and it is cut off"
            );
        }
        let damaged =
            scanned.damage.first().map(|damage| damage.from).or((scanned.torn > 0 && !newest).then_some(scanned.end));
        if let Some(offset) = damaged {
            self.damaged_files += 1;
            self.first_damage.get_or_insert_with(|| format!("{file} at offset {offset}"));
        }
    }

    /// Writes the index of a segment that was read.
    fn seal(
        &mut self,
        engine: &Engine,
        name: SegmentName,
        head: SegmentHead,
        len: u64,
        scanned: Scanned,
    ) -> io::Result<Option<Arc<Segment>>> {
        self.ids.insert(name.id, scanned.ids);
        let segment = Arc::new(Segment::new(&engine.layout, name, head, len, Index::Active(scanned.index)));
        segment.seal(&engine.layout)?;
        Ok(Some(segment))
    }

    /// Opens the files of ids, and makes those that are missing.
    fn open_ids(&mut self, engine: &Engine, files: &[LogFile]) -> io::Result<()> {
        let layout = &engine.layout;
        let names: Vec<RunName> =
            layout.list(&layout.index())?.iter().filter_map(|name| RunName::parse(name)).collect();
        let mut runs = Vec::new();
        for name in &names {
            // Merged, but not deleted yet.
            let path = layout.index().join(name.to_string());
            if names.iter().any(|other| other != name && other.covers(*name)) {
                fs::remove_file(&path)?;
                continue;
            }
            match Run::open(path, layout.salt, *name) {
                Ok(run) => runs.push(run),
                Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                    tracing::error!(file = %name, %error, "a file of ids is damaged; ids of events that are gone are forgotten");
                }
                Err(error) => return Err(error),
            }
        }
        let known = |id: u64| runs.iter().any(|run| (run.name.first..=run.name.last).contains(&id));
        let missing: Vec<_> = engine.segments.all().into_iter().filter(|segment| !known(segment.name.id)).collect();
        let mut made = Vec::new();
        for segment in missing {
            let ids = match self.ids.remove(&segment.name.id) {
                Some(ids) => ids,
                None => scan(&segment.reader()?, segment.len(), &mut |_, _| {})?.ids,
            };
            if !ids.is_empty() {
                made.push(keeper::write_ids(engine, &segment, &ids)?);
            }
        }
        let _ = files;
        let mut loaded = Vec::new();
        for run in runs {
            loaded.push(keeper::load(engine, run)?);
        }
        loaded.extend(made);
        loaded.sort_unstable_by_key(|run| run.name);
        engine.ids.write().runs = loaded;
        Ok(())
    }

    /// Counts what is kept: by endpoint, by namespace and by segment.
    fn count(&self, engine: &Engine) -> io::Result<()> {
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
}

/// What is kept of an endpoint's events in a segment.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Live {
    pub(super) endpoint: u32,
    /// Of the present incarnation.
    pub(super) own: Kept,
    /// Of earlier ones.
    pub(super) former: Kept,
}

/// What is kept in a segment.
pub(super) fn live(engine: &Engine, segment: &Segment) -> io::Result<Vec<Live>> {
    let mut all = Vec::new();
    for part in segment.index(Index::parts) {
        let Some(endpoint) = engine.endpoints.read().numbered(part.endpoint).cloned() else { continue };
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

/// How much of a log file counts.
fn length(layout: &Layout, name: SegmentName, end: Option<u64>) -> io::Result<u64> {
    let len = fs::metadata(layout.log_file(name))?.len();
    Ok(end.filter(|end| *end > 0).map_or(len, |end| end.min(len)))
}

/// Takes the state at the head of a segment, if it is whole.
fn read_state(engine: &Engine, file: &LogFile) -> io::Result<bool> {
    if file.head.is_none() || file.name.generation > 0 {
        return Ok(false);
    }
    let reader = Reader::open(&engine.layout.log_file(file.name), engine.layout.salt, file.name)?;
    let mut offset = 0;
    let (mut endpoints, mut consumers) = (Vec::new(), Vec::new());
    loop {
        let Some(record) = reader.record(offset, None)? else { return Ok(false) };
        offset = record.end();
        let number = record.frame.number;
        match record.frame.kind {
            Kind::Segment => {}
            Kind::EndpointState => match EndpointState::decode(record.payload) {
                Ok(state) => endpoints.push((number, state)),
                Err(_) => return Ok(false),
            },
            Kind::ConsumerState => match ConsumerRow::decode(record.payload) {
                Ok(row) => consumers.push((number, row)),
                Err(_) => return Ok(false),
            },
            Kind::StateEnd => {
                let Ok(end) = StateEnd::decode(record.payload) else { return Ok(false) };
                if (end.endpoints, end.consumers) != (endpoints.len() as u64, consumers.len() as u64) {
                    return Ok(false);
                }
                take_state(engine, endpoints, consumers, end);
                return Ok(true);
            }
            _ => return Ok(false),
        }
    }
}

fn take_state(
    engine: &Engine,
    endpoints: Vec<(u32, EndpointState)>,
    consumers: Vec<(u32, ConsumerRow)>,
    end: StateEnd,
) {
    for (number, state) in endpoints {
        engine.endpoints.write().insert(Arc::new(Endpoint::restore(number, state)));
    }
    for (number, row) in consumers {
        let Some(endpoint) = engine.endpoints.read().numbered(row.endpoint).cloned() else { continue };
        insert_consumer(engine, Consumer::new(row.consumer, number, endpoint, ConsumerState::restore(row.state)));
    }
    engine.next_endpoint.store(end.next_endpoint, Ordering::Release);
    engine.next_consumer.store(end.next_consumer, Ordering::Release);
    engine.retired_head.store(end.retired_head, Ordering::Release);
}

/// Applies a record to the state. `missing` takes events that should have come before it.
fn apply(engine: &Engine, record: &Record, missing: &mut dyn FnMut(Arc<Endpoint>, Sequence, Sequence)) {
    let number = record.frame.number;
    let payload = record.payload.clone();
    let endpoint = || engine.endpoints.read().numbered(number).cloned();
    let consumer = || engine.consumers.read().values().find(|consumer| consumer.number == number).cloned();
    match record.frame.kind {
        Kind::Event => {
            let Some(endpoint) = endpoint() else { return };
            let Some((event, window)) = decode_event(record) else { return };
            let head = endpoint.head();
            if event.sequence <= head {
                return;
            }
            if event.sequence > head + 1 {
                missing(Arc::clone(&endpoint), head + 1, event.sequence - 1);
            }
            let received = Micros::floor(event.received);
            let mut state = endpoint.state.lock();
            state.appended += 1;
            state.ids_until = state.ids_until.max(window.map_or(received, |window| received.after(window)));
            endpoint.set_head(event.sequence);
        }
        Kind::Mark => {
            for (number, sequence) in Mark::decode(payload).unwrap_or_default().heads {
                let Some(endpoint) = engine.endpoints.read().numbered(number).cloned() else { continue };
                let head = endpoint.head();
                if sequence > head {
                    endpoint.set_head(sequence);
                    missing(endpoint, head + 1, sequence);
                }
            }
        }
        Kind::Endpoint => {
            if let Ok(new) = NewEndpoint::decode(payload) {
                apply_endpoint(engine, number, &new);
                engine.next_endpoint.fetch_max(number + 1, Ordering::AcqRel);
            }
        }
        Kind::Attach => {
            if let Ok(new) = NewConsumer::decode(payload) {
                let found = engine.endpoints.read().numbered(new.endpoint).cloned();
                if let Some(endpoint) = found {
                    apply_attach(engine, number, &new, &endpoint);
                }
                engine.next_consumer.fetch_max(number + 1, Ordering::AcqRel);
            }
        }
        Kind::Detach => {
            if let Some(consumer) = consumer() {
                apply_detach(engine, &consumer);
            }
        }
        Kind::Ended => {
            if let Some(consumer) = consumer() {
                let mut state = consumer.state();
                for ended in entry::decode_ends(payload).unwrap_or_default() {
                    state.apply_ended(&ended);
                }
            }
        }
        Kind::Redelivered | Kind::Hastened => {
            if let (Some(consumer), Ok((due, sequences))) = (consumer(), entry::decode_due(payload)) {
                let mut state = consumer.state();
                for sequence in sequences {
                    match record.frame.kind {
                        Kind::Redelivered => state.apply_redelivered(sequence, due),
                        _ => state.apply_hastened(sequence, due),
                    }
                }
            }
        }
        Kind::Purged => {
            if let (Some(consumer), Ok(sequences)) = (consumer(), entry::decode_sequences(payload)) {
                let mut state = consumer.state();
                for sequence in sequences {
                    state.apply_purged(sequence);
                }
            }
        }
        Kind::Removed | Kind::Damaged => {
            if let (Some(endpoint), Ok(ranges)) = (endpoint(), entry::decode_ranges(payload)) {
                let mut state = endpoint.state.lock();
                for (first, last) in ranges {
                    if record.frame.kind == Kind::Removed {
                        state.removed.insert(first, last);
                        state.damaged.remove(first, last);
                    } else {
                        state.damaged.insert(first, last);
                    }
                }
            }
        }
        Kind::Retention => {
            let mut payload = payload;
            if let (Some(endpoint), Ok(seconds)) = (endpoint(), entry::get_var(&mut payload, "retention")) {
                endpoint.state.lock().retention = Some(std::time::Duration::from_secs(seconds));
            }
        }
        Kind::Segment | Kind::EndpointState | Kind::ConsumerState | Kind::StateEnd | Kind::Outcomes | Kind::End => {}
    }
}
