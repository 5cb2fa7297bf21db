//! The state of one shard: which events its endpoints keep, and what each consumer has done with them.
//!
//! The state is pure: no clock, no network. The owner of the shard asks it for [`Change`]s, appends them to the shard's
//! state log as one [`Record`], and applies them once they are durable. The state is therefore the replay of that log
//! ([`Replay`]), combined with the index of the kept events, which comes from a scan of the event stream.
//!
//! ```text
//! state log ──▶ Replay ──▶ ShardState ◀── index(head) ◀── event stream
//!                          │        ▲
//!       propose_*, begin_*, sweep   apply(change), once durable
//!                          ▼        │
//!                     Vec<Change> ──┴─▶ state log
//! ```
//!
//! Changes are applied in the order of the log, and are proposed and queued for it under one lock: a change that is
//! proposed later is written later.

mod apply;
mod change;
mod changes;
mod checkpoint;
mod claim;
mod consumer;
mod endpoint;
mod gaps;
mod head;
mod lists;
mod outcome_rows;
mod outcomes;
mod received;
mod record;
mod redelivery;
mod removal;
mod replay;
mod restore;
mod room;
mod rows;
mod state;
mod sweep;
#[cfg(test)]
mod tests;
mod texts;
mod usage;

pub(crate) use self::{
    change::Change,
    checkpoint::CheckpointChunk,
    head::Head,
    lists::ListedEvents,
    record::{Entry, Record},
    removal::Removal,
    replay::Replay,
    room::Shares,
    state::ShardState,
    sweep::Sweep,
};
#[cfg(test)]
pub(crate) use self::{lists::ListedDelivery, replay::ReplayError};
