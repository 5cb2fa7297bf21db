//! Entry points of the fuzzers: the readers of the journal's files, given any bytes with valid checksums. They panic if
//! a reader breaks a promise.

use std::{
    fmt::Debug,
    fs, io,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

use bytes::Bytes;

use super::{
    blocks::{BLOCK_DATA, BlockFile, Seed},
    entry::{
        self, ConsumerRow, EndpointState, Mark, NewConsumer, NewEndpoint, SegmentHead, StateEnd, decode_due,
        decode_ends, decode_ranges, decode_sequences,
    },
    ids::{Run, RunName},
    index::{Index, SealedIndex},
};
use crate::record::RecordError;

const SALT: u64 = 7;
/// Rows of an index that are read.
const MOST: usize = 100;

/// Reads a payload of each kind of record other than events: the first byte selects the kind.
pub fn record(data: &[u8]) {
    let Some((kind, payload)) = data.split_first() else { return };
    let payload = || Bytes::copy_from_slice(payload);
    match kind % 11 {
        0 => is_stable(payload(), SegmentHead::decode, SegmentHead::encode),
        1 => is_stable(payload(), EndpointState::decode, EndpointState::encode),
        2 => is_stable(payload(), ConsumerRow::decode, ConsumerRow::encode),
        3 => is_stable(payload(), StateEnd::decode, StateEnd::encode),
        4 => is_stable(payload(), NewEndpoint::decode, NewEndpoint::encode),
        5 => is_stable(payload(), NewConsumer::decode, NewConsumer::encode),
        6 => is_stable(payload(), Mark::decode, Mark::encode),
        7 => is_stable(payload(), decode_ends, |ends| entry::encode_ends(ends)),
        8 => is_stable(payload(), decode_due, |(due, sequences)| entry::encode_due(*due, sequences)),
        9 => is_stable(payload(), decode_sequences, |sequences| entry::encode_sequences(sequences)),
        _ => is_stable(payload(), decode_ranges, |ranges| entry::encode_ranges(ranges)),
    }
}

/// What was decoded can be written and read again. Times beyond what a timestamp can represent are cut once.
fn is_stable<T: Debug + PartialEq>(
    payload: Bytes,
    decode: impl Fn(Bytes) -> Result<T, RecordError>,
    encode: impl Fn(&T) -> Bytes,
) {
    let Ok(first) = decode(payload) else { return };
    let again = decode(encode(&first));
    let stable = again.as_ref().ok().map(|second| decode(encode(second)));
    assert!(again.is_ok() && stable.as_ref() == Some(&again), "{first:?} became {again:?}");
}

/// Reads the index of a segment.
pub fn index(data: &[u8]) {
    let seed = Seed { salt: SALT, number: 1 };
    let file = Scratch::of(data, seed);
    let Ok(log_len) = BlockFile::open(&file.0, seed).map(|blocks| blocks.tag[0]) else { return };
    if let Ok(sealed) = SealedIndex::open(file.0.clone(), seed, log_len) {
        read_index(&Index::Sealed(sealed));
    }
}

fn read_index(index: &Index) {
    let mut consumers = Vec::new();
    let _ = index.visit_outcomes(&mut |consumer, _| {
        consumers.push(consumer);
        consumers.len() < MOST
    });
    for consumer in consumers {
        for (first, last) in [(0, u64::MAX), (5, 9), (9, 5)] {
            let found = index.outcomes(consumer, first, last).unwrap_or_default();
            assert!(found.iter().all(|(sequence, _)| *sequence <= last), "{found:?}");
        }
    }
    for part in index.parts().into_iter().take(MOST) {
        for (first, last) in [(part.first, part.last), (0, u64::MAX), (part.last, part.first)] {
            let found = index.positions(part.endpoint, first, last, MOST).unwrap_or_default();
            assert!(found.len() <= MOST && found.iter().all(|position| position.sequence <= last), "{found:?}");
        }
    }
    let _ = index.verify();
}

/// Reads a file of ids, with its filter in memory and without.
pub fn ids(data: &[u8]) {
    let name = RunName { first: 1, last: 2 };
    let file = Scratch::of(data, name.seed(SALT));
    let Ok(mut run) = Run::open(file.0.clone(), SALT, name) else { return };
    for _ in 0..2 {
        let found: Vec<_> = run.iter().take(MOST).map_while(Result::ok).collect();
        assert!(found.len() as u64 <= run.ids(), "{} of {}", found.len(), run.ids());
        for (id, _) in found {
            let _ = run.get(&id);
        }
        if run.load_filter().is_err() {
            return;
        }
    }
    let _ = run.verify();
}

/// A file of blocks with valid checksums, deleted when dropped.
struct Scratch(PathBuf);

impl Scratch {
    /// Creates it from blocks that are each a length (u16) and as many bytes; the rest of a block is zero.
    fn of(data: &[u8], seed: Seed) -> Self {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let name = format!("grapnel-fuzz-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let file = Self(directory().join(name));
        let _ = fs::write(&file.0, blocks(data, seed));
        file
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _: io::Result<()> = fs::remove_file(&self.0);
    }
}

/// A directory in memory if there is one.
fn directory() -> PathBuf {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() }
}

fn blocks(data: &[u8], seed: Seed) -> Vec<u8> {
    let (mut file, mut rest, mut number) = (Vec::new(), data, 0);
    while let Some((len, after)) = rest.split_first_chunk::<2>() {
        let len = usize::from(u16::from_le_bytes(*len)).min(BLOCK_DATA).min(after.len());
        let (bytes, after) = after.split_at(len);
        let mut block = bytes.to_vec();
        block.resize(BLOCK_DATA, 0);
        let checksum = seed.checksum(number, &block);
        file.extend_from_slice(&block);
        file.extend_from_slice(&checksum.to_le_bytes());
        number += 1;
        rest = after;
    }
    file
}
