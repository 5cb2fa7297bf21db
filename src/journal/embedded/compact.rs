//! Giving the room of removed events back to the disk.
//!
//! A removal is a row of its own; what was removed lies on the disk until both meet in a compaction, and `fjall` compacts
//! only when enough has been written. While events come in that takes care of itself. When they stop coming, the garbage
//! would stay: so after a sweep, when there is much of it and hardly anything has come in since the sweep before, the
//! write buffers are written out, which also frees the older files of the write-ahead log, and the events are compacted.
//!
//! It waits for such a calm because write buffers are not written out meanwhile: with [`EVENT_WRITE_BUFFER_BYTES`] since
//! the last sweep there are minutes before appends would have to wait, and a burst has four buffers to go into.

use std::{
    fs, io,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::time::{Instant, sleep};

use super::{
    Engine,
    commit::Task,
    store::{Store, from_fjall, from_io},
};
use crate::{
    journal::Result,
    rules::limits::{
        COMPACT_BYTES, COMPACT_FLUSH, COMPACT_GAIN, COMPACT_ROUNDS, COMPACT_TABLE_BYTES, EVENT_WRITE_BUFFER_BYTES,
    },
};

/// A key of `state` that no row has.
const NO_ROW: [u8; 1] = [0xff];

/// How often to look whether the write buffers are written out.
const LOOK: Duration = Duration::from_millis(10);

/// What is known of removed events.
#[derive(Default)]
pub(super) struct Garbage {
    /// Bytes of all events removed since the start.
    removed: AtomicU64,
    seen: Mutex<Seen>,
}

/// How it was when the last sweep ended.
#[derive(Default)]
struct Seen {
    /// Bytes of all events that had come in, those from before the start included.
    appended: u64,
    /// Bytes removed up to the last compaction; `None` before the first one.
    compacted: Option<u64>,
}

impl Garbage {
    /// So many bytes of events have been removed.
    pub(super) fn removed(&self, bytes: u64) {
        self.removed.fetch_add(bytes, Ordering::AcqRel);
    }

    /// Whether less than a write buffer has come in since the last sweep, with `live` bytes of events kept.
    fn is_calm(&self, live: u64) -> bool {
        let appended = live + self.removed.load(Ordering::Acquire);
        appended.saturating_sub(self.seen.lock().appended) < EVENT_WRITE_BUFFER_BYTES
    }

    /// Whether to compact now, with `live` bytes of events kept on `disk` bytes.
    fn is_due(&self, live: u64, disk: u64) -> bool {
        let calm = self.is_calm(live);
        let removed = self.removed.load(Ordering::Acquire);
        let much = COMPACT_BYTES.max(live / 4);
        let mut seen = self.seen.lock();
        seen.appended = live + removed;
        // What the last compaction had to leave would be left again.
        let anew = seen.compacted.is_none_or(|compacted| removed - compacted >= much);
        if !(calm && anew && disk.saturating_sub(live) >= much) {
            return false;
        }
        seen.compacted = Some(removed);
        true
    }
}

/// Compacts, if it is time to. Returns when that is done.
pub(super) async fn tidy(engine: &Arc<Engine>) -> Result<()> {
    let live = engine.live_bytes.load(Ordering::Acquire);
    let disk = engine.read(|store| Ok(store.events.disk_space()))?;
    if !engine.garbage.is_due(live, disk) {
        return Ok(());
    }
    let began = Instant::now();
    engine.blocking(Store::write_out).await?;
    while !engine.read(|store| Ok(store.is_written_out()))? {
        if began.elapsed() >= COMPACT_FLUSH || engine.is_closing() {
            return Ok(());
        }
        sleep(LOOK).await;
    }
    for round in 0..COMPACT_ROUNDS {
        if engine.is_closing() || !engine.garbage.is_calm(engine.live_bytes.load(Ordering::Acquire)) {
            break;
        }
        let worth = engine.blocking(Store::compact).await?;
        // The first one only finds out which files are mostly garbage.
        if round > 0 && !worth {
            break;
        }
    }
    // The files are removed with the last version of the tree that has them, and a version with the next buffer that is
    // written out after it. That needs something in it.
    engine.ask(|answer| Task::Erase(vec![Bytes::from_static(&NO_ROW)], answer)).await?;
    engine.blocking(|store| store.state.rotate_memtable().map(drop).map_err(from_fjall)).await?;
    let left = engine.read(|store| Ok(store.events.disk_space()))?;
    tracing::debug!(before = disk, after = left, took_ms = began.elapsed().as_millis(), "compacted");
    Ok(())
}

impl Store {
    /// Begins to write all write buffers to files of their own.
    fn write_out(&self) -> Result<()> {
        // `state` comes last: every removal writes a row of it, so that its buffer is not empty after one, and with it
        // `fjall` takes what was removed before for compactable.
        for keyspace in [&self.events, &self.index, &self.state] {
            keyspace.rotate_memtable().map_err(from_fjall)?;
        }
        Ok(())
    }

    fn is_written_out(&self) -> bool {
        [&self.events, &self.index, &self.state].iter().all(|keyspace| keyspace.sealed_memtable_count() == 0)
    }

    /// One round; false when another one is not worth it.
    fn compact(&self) -> Result<bool> {
        let tables = self.events.path().join("tables");
        let bytes = size(&tables).map_err(|error| from_io(tables.display().to_string(), error))?;
        if bytes > COMPACT_TABLE_BYTES {
            return Ok(false);
        }
        let before = self.events.disk_space();
        self.events.major_compact().map_err(from_fjall)?;
        Ok(before.saturating_sub(self.events.disk_space()) >= COMPACT_GAIN)
    }
}

/// Bytes of the files in a directory.
fn size(directory: &Path) -> io::Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(directory)? {
        // A compaction may have removed it just now.
        bytes += entry?.metadata().map_or(0, |metadata| metadata.len());
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn much_garbage_is_given_back_once_it_is_calm() {
        let garbage = Garbage::default();
        assert!(!garbage.is_due(100 * MIB, 400 * MIB), "nobody knows what came in before the first sweep");
        assert!(!garbage.is_due(100 * MIB, 124 * MIB), "little garbage");
        assert!(garbage.is_due(100 * MIB, 125 * MIB));
        assert!(!garbage.is_due(100 * MIB, 125 * MIB), "what that had to leave would be left again");
        garbage.removed(18 * MIB);
        assert!(!garbage.is_due(82 * MIB, 125 * MIB), "less than a quarter of what is kept has gone since");
        garbage.removed(6 * MIB);
        assert!(!garbage.is_due(84 * MIB, 125 * MIB), "8 MiB have come in meanwhile");
        assert!(garbage.is_due(84 * MIB, 125 * MIB));
    }

    #[test]
    fn a_little_garbage_stays() {
        let garbage = Garbage::default();
        garbage.removed(15 * MIB);
        assert!(!garbage.is_due(0, 15 * MIB));
        assert!(!garbage.is_due(0, 15 * MIB));
    }
}
