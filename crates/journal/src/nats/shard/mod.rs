//! The state of one shard: which events its endpoints keep, and what each consumer has done with them.
//!
//! The state is pure: no clock, no network. The owner of the shard asks it for [`Change`]s, appends them to the shard's
//! state log as one [`Record`], and applies them once they are durable. The state is therefore the replay of that log
//! ([`Replay`]), combined with the index of the kept events, which comes from a scan of the event stream.
//!
//! ```text
//! state log ──▶ Replay ──▶ ShardState ◀── index(head) ◀── event stream
//!                          │        ▲
//!              propose_*, begin_*   │ apply(change), once durable
//!                          ▼        │
//!                     Vec<Change> ──┴─▶ state log
//! ```

mod change;
mod claim;
mod head;
mod lists;
mod record;
mod redelivery;
mod replay;
mod room;
mod state;
mod sweep;

pub(crate) use self::{
    change::Change,
    head::Head,
    lists::{ListedDelivery, ListedEvents},
    record::{CheckpointChunk, Entry, Record},
    replay::{Replay, ReplayError},
    room::{NamespaceBytes, Shares},
    state::{Notifies, ShardState},
    sweep::{Removal, Sweep, SweepStep},
};
