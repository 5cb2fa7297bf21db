//! Replay of the log's records.
//!
//! The newest segment with an intact head holds the state at the time it was begun. The records behind that head, and
//! those of later segments with damaged heads, are applied in order; everything before is only indexed. Then a new
//! segment is begun: nothing is ever written behind a doubtful end.
//!
//! Damage costs only the damaged records. Sequences of an endpoint have no gaps in the log, and marks repeat the newest
//! ones, so that missing events are detected. Missing events that were durable before the last mark are recorded as
//! damaged; missing events behind it were never acknowledged for certain, and their sequences are skipped. Records of
//! endpoints and consumers are also in a copy beside the segment, which is used when the log lacks them.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    fs, io,
    sync::{Arc, atomic::Ordering},
};

use super::{
    Engine,
    consumer::Consumer,
    endpoint::Endpoint,
    entry::{self, ConsumerRow, EndpointState, Mark, NewConsumer, NewEndpoint, SegmentHead, StateEnd},
    files::Layout,
    frame::Kind,
    ids::ActiveIds,
    index::{Index, SealedIndex},
    open::LogFile,
    segment::{Found, Reader, Record, Scan},
    segment_name::SegmentName,
    segments::{Damage, Scanned, Segment, decode_event, index_seed, scan},
    tasks::{apply_attach, apply_detach, apply_endpoint, insert_consumer},
};
use crate::{
    Sequence,
    machine::{ConsumerState, Micros},
    record::codec::get_var,
};

/// The result of recovery.
#[derive(Default)]
pub(super) struct Replayed {
    /// Ids of the segments read, for files of ids that are missing.
    pub(super) ids: HashMap<u64, ActiveIds>,
    /// Number of damaged segments.
    pub(super) damaged_files: usize,
    /// The first damaged segment, and the position of the damage.
    pub(super) first_damage: Option<String>,
}

/// Missing events.
struct Gap {
    endpoint: Arc<Endpoint>,
    first: Sequence,
    last: Sequence,
    /// Where the damage before them begins.
    from: Option<u64>,
}

/// Endpoints and consumers according to the copies beside the segments.
#[derive(Default)]
struct Copies {
    endpoints: HashMap<(u32, u32), NewEndpoint>,
    consumers: BTreeMap<u32, NewConsumer>,
    detached: HashSet<u32>,
    /// The last mark before the journal was closed.
    closing: Option<Mark>,
}

/// The state at the head of a segment.
struct State {
    endpoints: Vec<(u32, EndpointState)>,
    consumers: Vec<(u32, ConsumerRow)>,
    end: StateEnd,
}

/// Replays the log files into an empty engine.
pub(super) fn replay(engine: &Engine, files: &[LogFile]) -> io::Result<Replayed> {
    let mut replayed = Replayed::default();
    let mut copies = Copies::default();
    // The newest intact head; without any, everything is applied to an empty state.
    let mut from = 0;
    for (at, file) in files.iter().enumerate().rev() {
        let (in_copy, further) = read_copy(engine, file)?;
        copies.add(further);
        if let Some(state) = read_state(engine, file)?.or(in_copy) {
            take_state(engine, state);
            from = at;
            break;
        }
        if at == 0 && file.name.id > 1 {
            tracing::error!("no segment has an intact head; all readable events and consumers are restored");
        }
    }
    for (at, file) in files.iter().enumerate() {
        let next = files.get(at + 1);
        let before = |head: &SegmentHead| file.name.generation == 0 && head.previous == file.name.id;
        let end = next.and_then(|next| next.head).filter(before).map(|head| head.previous_end);
        let segment = if at >= from {
            replayed.apply(engine, file, &mut copies, end, next.is_none())?
        } else {
            replayed.index(engine, file, end)?
        };
        engine.segments.push(segment);
    }
    copies.attach_missing(engine);
    Ok(replayed)
}

impl Replayed {
    /// Opens a segment whose records the state already includes.
    fn index(&mut self, engine: &Engine, file: &LogFile, end: Option<u64>) -> io::Result<Arc<Segment>> {
        let (layout, name) = (&engine.layout, file.name);
        let len = length(layout, name, end)?;
        let head = file.head_or_default();
        let opened = SealedIndex::open(layout.index_file(name), index_seed(layout.salt, name), len);
        if let Ok(sealed) = opened {
            return Ok(Arc::new(Segment::new(layout, name, head, len, Index::Sealed(sealed))));
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
        copies: &mut Copies,
        end: Option<u64>,
        newest: bool,
    ) -> io::Result<Arc<Segment>> {
        let (layout, name) = (&engine.layout, file.name);
        let len = length(layout, name, end)?;
        let reader = Reader::open(&layout.log_file(name), layout.salt, name)?;
        let mut gaps: Vec<Gap> = Vec::new();
        let mut damage: Option<Damage> = None;
        let scanned = scan(&reader, len, &mut |record, before| {
            damage = before.or(damage);
            apply(engine, record, copies, &mut |endpoint, first, last| {
                gaps.push(Gap { endpoint, first, last, from: damage.map(|damage| damage.from) });
            });
        })?;
        let closing = copies.closing.take_if(|_| newest).unwrap_or_default();
        for (number, sequence) in closing.heads {
            let Some(endpoint) = engine.endpoint_numbered(number) else { continue };
            let head = endpoint.head();
            if sequence > head {
                endpoint.set_head(sequence);
                gaps.push(Gap { endpoint, first: head + 1, last: sequence, from: Some(scanned.end) });
            }
        }
        // Behind the offset that was durable at the last mark, a torn end is an unfinished write.
        let durable = if newest && !scanned.ended { scanned.durable.max(closing.durable) } else { u64::MAX };
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
                    "accepted events are damaged; they are listed as damaged, and their deliveries become dead letters"
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
            // Bytes left behind the end must never be taken for records later.
            fs::OpenOptions::new().write(true).open(reader.path())?.set_len(valid)?;
        }
        self.seal(engine, name, file.head_or_default(), valid, finished)
    }

    /// Logs the damage.
    fn say(&mut self, reader: &Reader, scanned: &Scanned, newest: bool) {
        let file = reader.path().display();
        for damage in &scanned.damage {
            tracing::error!(%file, offset = damage.from, bytes = damage.bytes(), "records of the journal are damaged");
        }
        if scanned.torn > 0 {
            tracing::warn!(
                %file, offset = scanned.end, bytes = scanned.torn,
                "the last write to the journal is unfinished and is removed"
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
    ) -> io::Result<Arc<Segment>> {
        self.ids.insert(name.id, scanned.ids);
        let segment = Arc::new(Segment::new(&engine.layout, name, head, len, Index::Active(scanned.index)));
        segment.seal(&engine.layout)?;
        Ok(segment)
    }
}

/// Returns the valid length of a log file.
fn length(layout: &Layout, name: SegmentName, end: Option<u64>) -> io::Result<u64> {
    let len = fs::metadata(layout.log_file(name))?.len();
    Ok(end.filter(|end| *end > 0).map_or(len, |end| end.min(len)))
}

/// Reads the state in the head of a segment, if it is intact.
fn read_state(engine: &Engine, file: &LogFile) -> io::Result<Option<State>> {
    if file.name.generation > 0 {
        return Ok(None);
    }
    let reader = Reader::open(&engine.layout.log_file(file.name), engine.layout.salt, file.name)?;
    let mut heads = Heads::default();
    let mut offset = 0;
    while let Some(record) = reader.record(offset, None)? {
        offset = record.end();
        match heads.take(&record) {
            Some(true) => {}
            Some(false) => return Ok(heads.whole()),
            None => break,
        }
    }
    Ok(None)
}

/// Reads the copy beside a segment: the state at the head, if that is intact, and everything since.
fn read_copy(engine: &Engine, file: &LogFile) -> io::Result<(Option<State>, Copies)> {
    let (mut heads, mut state, mut copies) = (Heads::default(), None, Copies::default());
    let path = engine.layout.copy_file(file.name);
    let reader = match Reader::open(&path, engine.layout.salt, file.name.copy()) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((None, copies)),
        opened => opened?,
    };
    let mut scan = Scan::new(&reader, 0, reader.len()?);
    let mut whole = true;
    loop {
        match scan.next()? {
            Found::Record(record) => {
                if heads.take(&record) == Some(false) && whole {
                    state = std::mem::take(&mut heads).whole();
                }
                copies.take(&record);
            }
            Found::Damage { .. } => whole = false,
            Found::End { .. } => return Ok((state, copies)),
        }
    }
}

/// The head of a segment, as far as it has been read.
#[derive(Default)]
struct Heads {
    endpoints: Vec<(u32, EndpointState)>,
    consumers: Vec<(u32, ConsumerRow)>,
    end: Option<StateEnd>,
}

impl Heads {
    /// Takes a record: true if more follow, false if it was the last, `None` if it belongs to no head.
    fn take(&mut self, record: &Record) -> Option<bool> {
        let number = record.frame.number;
        match record.frame.kind {
            Kind::Segment => {}
            Kind::EndpointState => self.endpoints.push((number, EndpointState::decode(record.payload.clone()).ok()?)),
            Kind::ConsumerState => self.consumers.push((number, ConsumerRow::decode(record.payload.clone()).ok()?)),
            Kind::StateEnd => {
                self.end = StateEnd::decode(record.payload.clone()).ok();
                return Some(false);
            }
            _ => return None,
        }
        Some(true)
    }

    /// Returns the state, if it is complete.
    fn whole(self) -> Option<State> {
        let Self { endpoints, consumers, end } = self;
        let end = end?;
        let counts = (endpoints.len() as u64, consumers.len() as u64);
        (counts == (end.endpoints, end.consumers)).then_some(State { endpoints, consumers, end })
    }
}

impl Copies {
    fn take(&mut self, record: &Record) {
        let number = record.frame.number;
        let payload = record.payload.clone();
        match record.frame.kind {
            Kind::Endpoint => {
                if let Ok(new) = NewEndpoint::decode(payload) {
                    self.endpoints.insert((number, new.incarnation), new);
                }
            }
            Kind::Attach => {
                if let Ok(new) = NewConsumer::decode(payload) {
                    self.consumers.insert(number, new);
                }
            }
            Kind::Detach => {
                self.detached.insert(number);
            }
            Kind::Mark => self.closing = Mark::decode(payload).ok(),
            _ => {}
        }
    }

    fn add(&mut self, other: Self) {
        self.endpoints.extend(other.endpoints);
        self.consumers.extend(other.consumers);
        self.detached.extend(other.detached);
        // Files are read from newest to oldest, and only the newest may have been closed last.
        self.closing = self.closing.take().or(other.closing);
    }

    /// Returns an endpoint that the log refers to, even if the record that introduces it is damaged.
    fn endpoint(&self, engine: &Engine, number: u32, incarnation: u32) -> Option<Arc<Endpoint>> {
        let known = engine.endpoint_numbered(number);
        if known.as_ref().is_none_or(|known| known.present_incarnation() < incarnation)
            && let Some(new) = self.endpoints.get(&(number, incarnation))
        {
            engine.next_endpoint.fetch_max(number + 1, Ordering::AcqRel);
            return Some(apply_endpoint(engine, number, new));
        }
        known
    }

    /// Returns a consumer that the log refers to, even if the record that introduces it is damaged.
    fn consumer(&self, engine: &Engine, number: u32) -> Option<Arc<Consumer>> {
        engine.consumer_numbered(number).or_else(|| {
            self.attach(engine, number);
            engine.consumer_numbered(number)
        })
    }

    fn attach(&self, engine: &Engine, number: u32) {
        let Some(new) = self.consumers.get(&number).filter(|_| !self.detached.contains(&number)) else { return };
        // The newest known incarnation of its endpoint.
        let incarnation = self.endpoints.keys().filter(|(of, _)| *of == new.endpoint).map(|(_, n)| *n).max();
        if let Some(endpoint) = self.endpoint(engine, new.endpoint, incarnation.unwrap_or(1)) {
            apply_attach(engine, number, new, &endpoint);
            engine.next_consumer.fetch_max(number + 1, Ordering::AcqRel);
        }
    }

    /// Attaches consumers whose record is damaged and that the log does not mention otherwise.
    fn attach_missing(&self, engine: &Engine) {
        for number in self.consumers.keys() {
            self.consumer(engine, *number);
        }
    }
}

fn take_state(engine: &Engine, state: State) {
    let State { endpoints, consumers, end } = state;
    for (number, state) in endpoints {
        engine.endpoints.write().insert(Arc::new(Endpoint::restore(number, state)));
    }
    for (number, row) in consumers {
        let Some(endpoint) = engine.endpoint_numbered(row.endpoint) else { continue };
        insert_consumer(engine, Consumer::new(row.consumer, number, endpoint, ConsumerState::restore(row.state)));
    }
    engine.next_endpoint.store(end.next_endpoint, Ordering::Release);
    engine.next_consumer.store(end.next_consumer, Ordering::Release);
    engine.retired_head.store(end.retired_head, Ordering::Release);
}

/// Applies a record to the state. `missing` receives events that should have come before it.
fn apply(
    engine: &Engine,
    record: &Record,
    copies: &mut Copies,
    missing: &mut dyn FnMut(Arc<Endpoint>, Sequence, Sequence),
) {
    let number = record.frame.number;
    let payload = record.payload.clone();
    let endpoint = || engine.endpoint_numbered(number);
    let consumer = || copies.consumer(engine, number);
    match record.frame.kind {
        Kind::Event => {
            let Some(endpoint) = copies.endpoint(engine, number, record.frame.incarnation) else { return };
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
                let Some(endpoint) = engine.endpoint_numbered(number) else { continue };
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
                if let Some(endpoint) = engine.endpoint_numbered(new.endpoint) {
                    apply_attach(engine, number, &new, &endpoint);
                }
                engine.next_consumer.fetch_max(number + 1, Ordering::AcqRel);
            }
        }
        Kind::Detach => {
            if let Some(consumer) = consumer() {
                apply_detach(engine, &consumer);
            }
            copies.detached.insert(number);
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
                        state.remove(first, last);
                    } else {
                        state.damaged.insert(first, last);
                    }
                }
            }
        }
        Kind::Retention => {
            let mut payload = payload;
            if let (Some(endpoint), Ok(seconds)) = (endpoint(), get_var(&mut payload, "retention")) {
                endpoint.state.lock().retention = Some(std::time::Duration::from_secs(seconds));
            }
        }
        Kind::Segment | Kind::EndpointState | Kind::ConsumerState | Kind::StateEnd | Kind::Outcomes | Kind::End => {}
    }
}
