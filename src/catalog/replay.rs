//! Replays: what a `WebhookReplay` asks for, how far it is, and what its status says.
//!
//! The facts are the whole progress of a replay. They are written into the status (in a cluster) or into a file (without
//! one), and read from there after a restart, so that nothing is examined twice.

mod conditions;
mod facts;
mod sequences;

use std::{fmt, sync::Arc};

use grapnel_api::ObjectKey;
use grapnel_delivery::rate_limit::RateLimiter;
use grapnel_expression::Expression;
use grapnel_journal::Selection;

pub(super) use self::conditions::conditions;
pub use self::{
    facts::{ReplayCounts, ReplayEnd, ReplayFacts, ReplayHold, ReplayPhase, ReplayReading},
    sequences::Sequences,
};

/// A compiled `WebhookReplay`.
pub struct Replay {
    /// Its name.
    pub key: ObjectKey,
    /// The subscription that delivers the events again.
    pub subscription: ObjectKey,
    /// Which events.
    pub selection: Selection,
    /// The filter; `None` takes all selected events.
    pub filter: Option<Arc<Expression>>,
    /// How fast events are queued; `None` for no limit. It is shared with earlier versions of the same object.
    pub rate: Option<Arc<RateLimiter>>,
    /// Whether events are counted only.
    pub dry_run: bool,
    /// Whether no more events are queued.
    pub suspended: bool,
    /// Digest of the part of the spec that cannot be changed.
    pub digest: Arc<str>,
    /// Its progress.
    pub facts: Arc<ReplayFacts>,
}

impl fmt::Debug for Replay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Replay").field("key", &self.key).field("selection", &self.selection).finish_non_exhaustive()
    }
}
