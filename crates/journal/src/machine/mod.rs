//! The state machine of a consumer, common to all engines: what it has attempted, what it retries, what is dead, and
//! what is in flight.
//!
//! It is pure: no clock, no disk, no network. An engine keeps one [`ConsumerState`] for each consumer that it delivers.
//! It asks the machine what to claim, makes each [`Ended`] attempt durable in its own way (a record of a log, a row of
//! a store), and then applies it. Applying the same changes in the same order gives the same state, so that recovery is
//! a replay.

mod attempt;
mod consumer;
mod ranges;
mod redelivery;
mod retries;
#[cfg(test)]
mod tests;
mod time;

pub(crate) use self::{
    attempt::{End, Ended, Taken, Upcoming},
    consumer::{ConsumerState, Durable},
    ranges::RangeSet,
    redelivery::{Chosen, Overlap, ReceiptRange},
    retries::{QUEUED_ATTEMPT, Retry},
    time::Micros,
};
