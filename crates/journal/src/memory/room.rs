//! Bounds on what is kept: by the journal, by each namespace, and by each endpoint.

use std::collections::{BTreeMap, BTreeSet};

use grapnel_api::{Incarnation, ObjectKey};

use super::{
    MemoryOptions,
    scope::{Needed, RejectedAppend, RoomScope},
    state::MemoryState,
};
use crate::{EndpointUsage, JournalError, NamespaceUsage, Result, Sequence};

impl MemoryState {
    /// Removes settled events, oldest first, until every scope has room for what is needed. Removes nothing if any
    /// scope cannot have enough room.
    pub(super) fn make_room(&mut self, options: &MemoryOptions, needed: &BTreeMap<Incarnation, Needed>) -> Result<()> {
        let mut bounds: BTreeMap<RoomScope, RejectedAppend> = BTreeMap::new();
        for (endpoint, Needed { bytes, max_bytes }) in needed {
            let scopes = [
                (RoomScope::Endpoint(endpoint.clone()), max_bytes.unwrap_or(0)),
                (RoomScope::Namespace(endpoint.key.namespace.as_ref().into()), namespace_share(options)),
                (RoomScope::Journal, options.max_bytes),
            ];
            for (scope, max_bytes) in scopes {
                bounds.entry(scope).or_insert(RejectedAppend { needed: 0, max_bytes }).needed += bytes;
            }
        }
        let mut removals = BTreeSet::new();
        // Endpoints first, the whole journal last.
        for (scope, bound) in &bounds {
            if let Err(error) = self.choose_removals(scope, *bound, &mut removals) {
                self.refusals.insert(scope.clone(), *bound);
                return Err(error);
            }
        }
        for scope in bounds.keys() {
            self.refusals.remove(scope);
        }
        for (endpoint, sequence) in removals {
            self.remove(&endpoint, sequence);
        }
        Ok(())
    }

    /// Adds settled events of the scope to `removals`, oldest first, until what is needed fits in `max_bytes`; 0 means
    /// no limit.
    fn choose_removals(
        &self,
        scope: &RoomScope,
        RejectedAppend { needed, max_bytes }: RejectedAppend,
        removals: &mut BTreeSet<(ObjectKey, Sequence)>,
    ) -> Result<()> {
        if max_bytes == 0 {
            return Ok(());
        }
        let of_scope = self.kept_events().filter(|(at, kept)| scope.holds(kept) && !removals.contains(at));
        let mut bytes: u64 = of_scope.map(|(_, kept)| kept.bytes).sum();
        let settled = self.settled_events().filter(|(at, kept)| scope.holds(kept) && !removals.contains(at));
        let mut settled: Vec<_> = settled.map(|(at, kept)| (kept.event.received, at, kept.bytes)).collect();
        settled.sort_unstable();
        for (_, at, freed) in settled {
            if bytes + needed <= max_bytes {
                break;
            }
            bytes -= freed;
            removals.insert(at);
        }
        if bytes + needed <= max_bytes { Ok(()) } else { Err(scope.error(bytes, max_bytes)) }
    }

    /// Returns why the last append rejected for lack of room in `scope` would be rejected now.
    fn refused(&self, scope: &RoomScope) -> Option<JournalError> {
        let refusal = self.refusals.get(scope)?;
        self.choose_removals(scope, *refusal, &mut BTreeSet::new()).err()
    }

    /// Returns the bytes of all kept events.
    pub(super) fn kept_bytes(&self) -> u64 {
        self.bytes_of(&RoomScope::Journal)
    }

    fn bytes_of(&self, scope: &RoomScope) -> u64 {
        self.kept_events().filter(|(_, kept)| scope.holds(kept)).map(|(_, kept)| kept.bytes).sum()
    }

    pub(super) fn storage(&self, endpoint: &Incarnation) -> EndpointUsage {
        let own = RoomScope::Endpoint(endpoint.clone());
        let namespace = RoomScope::Namespace(endpoint.key.namespace.as_ref().into());
        let exhausted = match self.refused(&own).or_else(|| self.refused(&namespace)) {
            Some(JournalError::ShareExhausted(share)) => Some(share),
            _ => None,
        };
        EndpointUsage { bytes: self.bytes_of(&own), exhausted }
    }

    pub(super) fn namespaces(&self, options: &MemoryOptions) -> Vec<NamespaceUsage> {
        let names: BTreeSet<String> = self.logs.keys().map(|key| key.namespace.as_ref().into()).collect();
        let usage = |namespace: String| NamespaceUsage {
            bytes: self.bytes_of(&RoomScope::Namespace(namespace.clone())),
            namespace,
            max_bytes: namespace_share(options),
        };
        names.into_iter().map(usage).collect()
    }

    pub(super) fn trouble(&self) -> Option<JournalError> {
        self.refused(&RoomScope::Journal)
    }
}

/// Returns the maximum bytes of the events of one namespace; 0 for no limit.
fn namespace_share(options: &MemoryOptions) -> u64 {
    options.namespace_share.unwrap_or(options.max_bytes / 2)
}
