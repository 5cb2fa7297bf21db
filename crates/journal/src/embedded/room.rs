//! Making room for events: in the share of their endpoint and namespace, and in the journal.
//!
//! Settled events are removed before their retention has passed, oldest first; unsettled events stay. If that is not
//! enough, the append is rejected.

use std::sync::Arc;

use super::{
    Engine, endpoint::Endpoint, incoming::Incoming, index::Index, keeper_inbox::Work, outcomes, segments::Segment,
    sweep, writer::Writer, writer_health::RefusedShare,
};
use crate::{
    JournalError, Result, ShareExhausted, ShareScope,
    limits::{JOURNAL_ORDINARY_BYTES, RECLAIM_BYTES, RECLAIM_SHARE},
};

impl Writer {
    /// Ensures that the events fit, removing settled events early if necessary.
    pub(super) fn make_room(&mut self, new: &[&Incoming]) -> Result<()> {
        if new.is_empty() {
            return Ok(());
        }
        self.make_share_room(new)?;
        let wanted = new.iter().map(|event| event.cost()).sum();
        let outcome = self.make_journal_room(wanted);
        // A large event that does not fit says nothing about other events.
        if outcome.is_err() && wanted <= JOURNAL_ORDINARY_BYTES.min(self.engine.limits.max_bytes) {
            self.health.refuse(wanted);
        }
        outcome
    }

    fn make_share_room(&mut self, new: &[&Incoming]) -> Result<()> {
        for (at, event) in new.iter().enumerate() {
            let endpoint = &event.endpoint;
            let first = |other: &&Incoming| other.endpoint.number == endpoint.number;
            if new.iter().take(at).any(first) {
                continue;
            }
            if let Some(max_bytes) = event.max_bytes {
                let wanted = new.iter().copied().filter(first).map(Incoming::cost).sum();
                self.make_endpoint_room(endpoint, wanted, max_bytes)?;
            }
            if self.engine.limits.namespace_share > 0 {
                let same = |other: &&&Incoming| other.endpoint.key.namespace == endpoint.key.namespace;
                let wanted = new.iter().filter(same).map(|event| event.cost()).sum();
                self.make_namespace_room(endpoint, wanted)?;
            }
        }
        Ok(())
    }

    fn make_endpoint_room(&mut self, endpoint: &Arc<Endpoint>, wanted: u64, max_bytes: u64) -> Result<()> {
        let kept = |writer: &Self| endpoint.state.lock().own.bytes + writer.staged.bytes_of(endpoint.number);
        let over = (kept(self) + wanted).saturating_sub(max_bytes);
        if over > 0 {
            self.reclaim(&[Arc::clone(endpoint)], over + slack(max_bytes))?;
        }
        let bytes = kept(self);
        if bytes + wanted <= max_bytes && self.health.shares.is_empty() {
            return Ok(());
        }
        let scope = ShareScope::Endpoint(endpoint.key.clone());
        if bytes + wanted <= max_bytes {
            if self.health.shares.remove(&scope).is_some() {
                endpoint.state.lock().exhausted = None;
            }
            return Ok(());
        }
        let exhausted = ShareExhausted { scope: scope.clone(), bytes, max_bytes };
        endpoint.state.lock().exhausted = Some(exhausted.clone());
        self.health.refuse_share(scope, endpoint, wanted, max_bytes);
        Err(exhausted.into())
    }

    fn make_namespace_room(&mut self, endpoint: &Arc<Endpoint>, wanted: u64) -> Result<()> {
        let (namespace, max_bytes) = (&endpoint.key.namespace, self.engine.limits.namespace_share);
        let kept = |writer: &Self| {
            let stored = writer.engine.namespaces.lock().get(namespace).copied().unwrap_or_default();
            stored + writer.staged.bytes_of_namespace(namespace)
        };
        let over = (kept(self) + wanted).saturating_sub(max_bytes);
        if over > 0 {
            let mut endpoints = self.engine.endpoints.read().all();
            endpoints.retain(|other| other.key.namespace == *namespace);
            self.reclaim(&endpoints, over + slack(max_bytes))?;
        }
        let bytes = kept(self);
        if bytes + wanted <= max_bytes && self.health.shares.is_empty() {
            return Ok(());
        }
        let scope = ShareScope::Namespace(namespace.to_string());
        if bytes + wanted <= max_bytes {
            if self.health.shares.remove(&scope).is_some() {
                self.engine.exhausted.lock().remove(namespace);
            }
            return Ok(());
        }
        let exhausted = ShareExhausted { scope: scope.clone(), bytes, max_bytes };
        self.engine.exhausted.lock().insert(Arc::clone(namespace), exhausted.clone());
        self.health.refuse_share(scope, endpoint, wanted, max_bytes);
        Err(exhausted.into())
    }

    /// Checks whether exhausted shares have room again for the smallest append that they rejected.
    pub(super) fn ease_shares(&mut self) {
        for (scope, refused) in self.health.shares.clone() {
            let RefusedShare { endpoint, wanted, max_bytes } = refused;
            let _ = match scope {
                ShareScope::Endpoint(_) => self.make_endpoint_room(&endpoint, wanted, max_bytes),
                ShareScope::Namespace(_) => self.make_namespace_room(&endpoint, wanted),
            };
        }
    }

    /// Removes settled events of these endpoints, oldest first, until `wanted` bytes are free or none is left.
    fn reclaim(&mut self, endpoints: &[Arc<Endpoint>], wanted: u64) -> Result<()> {
        let settled = self.settled;
        let mut searchable: Vec<_> = endpoints
            .iter()
            .filter(|endpoint| self.searched.get(&endpoint.number) != Some(&settled))
            .cloned()
            .collect();
        if searchable.is_empty() {
            return Ok(());
        }
        // Staged events count once they are written.
        self.flush().map_err(|error| error.clone_for_caller())?;
        let mut freed = 0;
        for segment in self.engine.segments.all() {
            for endpoint in &searchable {
                let plan = sweep::plan_any(&self.engine, endpoint, &segment, wanted - freed)?;
                if let Some(removal) = plan {
                    let bytes = removal.bytes();
                    if self.remove(removal)?.is_some() {
                        freed += bytes;
                    }
                }
                if freed >= wanted {
                    self.engine.keeper.send(Work::Tidy);
                    return Ok(());
                }
            }
        }
        for endpoint in searchable.drain(..) {
            self.searched.insert(endpoint.number, settled);
        }
        if freed > 0 {
            self.engine.keeper.send(Work::Tidy);
        }
        Ok(())
    }

    /// Ensures that the directory has room for `wanted` bytes of events.
    pub(super) fn make_journal_room(&mut self, wanted: u64) -> Result<()> {
        let limits = self.engine.limits;
        if limits.max_bytes == 0 {
            return Ok(());
        }
        // Reserve room for the next segment's head, and for rewriting a segment.
        let max = limits.max_bytes.saturating_sub(2 * limits.segment_bytes);
        // Measured once per round; afterwards the bytes added by the round are counted.
        let (disk, at) = *self.disk.get_or_insert_with(|| {
            let (log, index) = self.engine.disk();
            (log + index, self.log.position())
        });
        if disk + self.log.end().saturating_sub(at) + wanted + wanted / 8 <= max {
            return Ok(());
        }
        let used = |writer: &Self| {
            let (log, index) = writer.engine.disk();
            let unwritten = writer.log.end() - writer.log.position();
            log + index + unwritten + wanted + wanted / 8
        };
        self.disk = None;
        if used(self) <= max {
            return Ok(());
        }
        self.flush().map_err(|error| error.clone_for_caller())?;
        let goal = max.saturating_sub(slack(limits.max_bytes));
        self.reclaim_segments(|writer, reducible| used(writer).saturating_sub(reducible) <= goal)?;
        if used(self) <= max {
            return Ok(());
        }
        // Many segments may hold little that is kept, or only outcomes.
        self.engine.keeper.send(Work::Compact);
        Err(full(&self.engine))
    }

    /// Removes settled events of any age, segment by segment, and deletes segments of which nothing is kept, until
    /// `enough`. That gets the bytes that the keeper can free further by reducing segments to their outcomes.
    fn reclaim_segments(&mut self, enough: impl Fn(&Self, u64) -> bool) -> Result<()> {
        if self.searched.get(&0) == Some(&self.settled) {
            return Ok(());
        }
        let settled = self.settled;
        let mut rotated = false;
        loop {
            let segments = self.engine.segments.all();
            let Some((active, full)) = segments.split_last() else { return Ok(()) };
            let (mut follows_kept, mut reducible) = (false, 0);
            for segment in full {
                self.remove_settled(segment)?;
                if segment.live_events() > 0 {
                    follows_kept = true;
                } else if follows_kept && outcomes::has_kept(&self.engine, segment)? {
                    reducible += bytes_of_events(segment);
                } else {
                    self.drop_segments(&[segment.name])?;
                }
                if enough(self, reducible) {
                    return Ok(());
                }
            }
            // Settled events of the segment being written can be removed once the next one is begun.
            if rotated || active.live_events() == 0 {
                self.searched.insert(0, settled);
                return Ok(());
            }
            rotated = true;
            self.rotate()?;
        }
    }

    /// Removes the settled events of a segment, whatever their age.
    fn remove_settled(&mut self, segment: &Arc<Segment>) -> Result<()> {
        for part in segment.index(Index::parts) {
            let Some(endpoint) = self.engine.endpoint_numbered(part.endpoint) else { continue };
            while let Some(removal) = sweep::plan_any(&self.engine, &endpoint, segment, u64::MAX)? {
                self.remove(removal)?;
            }
        }
        Ok(())
    }
}

/// Returns the error of a journal that has reached its maximum size.
pub(super) fn full(engine: &Engine) -> JournalError {
    let ((log, index), max) = (engine.disk(), engine.limits.max_bytes);
    JournalError::Full(format!(
        "it uses {} of {max} bytes, and no settled event is left to remove; raise --journal-max-bytes, or fix the \
         subscriptions with the backlog",
        log + index
    ))
}

/// Returns the bytes of all events in a segment, kept or not.
fn bytes_of_events(segment: &Segment) -> u64 {
    segment.index(Index::parts).iter().map(|part| part.bytes).sum()
}

/// Some more than an append needs, so that not every append has to search for removable events.
fn slack(max_bytes: u64) -> u64 {
    (max_bytes / RECLAIM_SHARE).min(RECLAIM_BYTES)
}
