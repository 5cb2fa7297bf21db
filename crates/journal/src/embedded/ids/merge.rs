//! Merging of runs, so that a lookup of an id reads few files.

use std::{io, path::Path, sync::Arc};

use super::{IdHash, KnownId, Run, RunName, run::RunIter};
use crate::{
    limits::{ID_MERGE_RUNS, ID_RUN_IDS},
    machine::Micros,
};

/// Returns the runs to merge next: [`ID_MERGE_RUNS`] neighbours of about the same size, the smallest first. A run grows
/// to at most [`ID_RUN_IDS`] ids, so that ids whose windows have ended can be removed.
pub(in crate::embedded) fn next_merge(runs: &[Arc<Run>]) -> Option<std::ops::Range<usize>> {
    let tier = |run: &Run| run.ids().max(1).ilog2() / ID_MERGE_RUNS.ilog2();
    let mut best: Option<(u32, usize)> = None;
    for start in 0..runs.len() {
        let Some(window) = runs.get(start..start + ID_MERGE_RUNS) else { break };
        let highest = window.iter().map(|run| tier(run)).max().unwrap_or(0);
        let lowest = window.iter().map(|run| tier(run)).min().unwrap_or(0);
        let ids: u64 = window.iter().map(|run| run.ids()).sum();
        // A small run between larger ones is merged with them; otherwise it would stay forever.
        let even =
            highest - lowest <= 1 || window.iter().filter(|run| tier(run) == highest).count() * 2 <= ID_MERGE_RUNS;
        if even && ids <= ID_RUN_IDS && best.is_none_or(|(tier, _)| highest < tier) {
            best = Some((highest, start));
        }
    }
    best.map(|(_, start)| start..start + ID_MERGE_RUNS)
}

/// Merges neighbouring runs, oldest first, into one. For an id in several runs, the newest event counts. Blocks.
pub(in crate::embedded) fn merge(directory: &Path, salt: u64, runs: &[Arc<Run>]) -> io::Result<Run> {
    let (Some(oldest), Some(newest)) = (runs.first(), runs.last()) else {
        return Err(io::Error::other("no runs to merge"));
    };
    let name = RunName { first: oldest.name.first, last: newest.name.last };
    let most = runs.iter().map(|run| run.ids()).sum();
    let keep_until = runs.iter().map(|run| run.keep_until).max().unwrap_or(Micros(0));
    let sources = runs.iter().map(|run| Source { run: run.iter(), next: None }).collect();
    Run::write(directory, salt, name, Merge { sources, started: false }, most, keep_until)
}

struct Source<'a> {
    run: RunIter<'a>,
    next: Option<(IdHash, KnownId)>,
}

/// The ids of all sources, sorted. There are few sources, so the smallest id is found by a linear search.
struct Merge<'a> {
    sources: Vec<Source<'a>>,
    started: bool,
}

impl Merge<'_> {
    fn advance(source: &mut Source<'_>) -> io::Result<()> {
        source.next = source.run.next().transpose()?;
        Ok(())
    }

    fn take(&mut self) -> io::Result<Option<(IdHash, KnownId)>> {
        if !std::mem::replace(&mut self.started, true) {
            for source in &mut self.sources {
                Self::advance(source)?;
            }
        }
        let Some(id) = self.sources.iter().filter_map(|source| source.next.map(|(id, _)| id)).min() else {
            return Ok(None);
        };
        let mut newest = None;
        for source in &mut self.sources {
            if let Some((_, known)) = source.next.filter(|(other, _)| *other == id) {
                // Later sources are newer.
                newest = Some((id, known));
                Self::advance(source)?;
            }
        }
        Ok(newest)
    }
}

impl Iterator for Merge<'_> {
    type Item = io::Result<(IdHash, KnownId)>;

    fn next(&mut self) -> Option<Self::Item> {
        self.take().transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::embedded::ids::ActiveIds;

    fn id(n: u64) -> IdHash {
        IdHash::of(1, 1, &n.to_string())
    }

    fn run(directory: &Path, segment: u64, ids: std::ops::Range<u64>) -> Arc<Run> {
        let mut active = ActiveIds::default();
        for n in ids {
            active.insert(id(n), KnownId { sequence: 1000 * segment + n, received: Micros(5) }, Micros(segment as i64));
        }
        let name = RunName { first: segment, last: segment };
        let sorted = active.sorted();
        let ids = sorted.iter().copied().map(Ok);
        Arc::new(Run::write(directory, 9, name, ids, sorted.len() as u64, active.keep_until()).unwrap())
    }

    #[test]
    fn every_id_is_found_before_and_after_a_merge() {
        let directory = tempfile::tempdir().unwrap();
        let runs: Vec<_> =
            (1..=8).map(|segment| run(directory.path(), segment, 500 * segment..500 * segment + 700)).collect();
        assert_eq!(next_merge(&runs), Some(0..8));
        assert_eq!(next_merge(&runs[..7]), None);
        let mut merged = merge(directory.path(), 9, &runs).unwrap();
        assert_eq!((merged.ids(), merged.keep_until), (4200, Micros(8)));
        assert_eq!(RunName::parse(&merged.name.to_string()), Some(merged.name));
        for loaded in [false, true] {
            if loaded {
                merged.load_filter().unwrap();
            }
            for n in 500..4700 {
                let newest = (n / 500).min(8);
                let known = KnownId { sequence: 1000 * newest + n, received: Micros(5) };
                assert_eq!(merged.get(&id(n)).unwrap(), Some(known), "{n}");
                assert_eq!(runs[newest as usize - 1].get(&id(n)).unwrap(), Some(known));
            }
            assert!((4700..6000).all(|n| merged.get(&id(n)).unwrap().is_none()));
        }
    }
}
