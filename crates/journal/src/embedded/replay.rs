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

mod apply;
mod copies;
mod heads;

use std::{
    collections::HashMap,
    fs, io,
    sync::{Arc, atomic::Ordering},
};

use self::{
    apply::apply,
    copies::{Copies, read_copy},
    heads::{read_state, take_state},
};
use super::{
    Engine,
    endpoint::Endpoint,
    entry::SegmentHead,
    files::Layout,
    ids::ActiveIds,
    index::{Index, SealedIndex},
    log_files::LogFile,
    segment::Reader,
    segment_name::SegmentName,
    segments::{Damage, Scanned, Segment, index_seed, scan},
};
use crate::Sequence;

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
