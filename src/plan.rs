//! A rehearsal: what a changed configuration would make of events that are already stored.
//!
//! Pure: [`Configuration`] compiles two versions with the compiler of the operator, [`Rehearsal`] shows both the same
//! events, and [`Report`] says what differs. Secrets are not needed: stored events have been verified, and nothing is
//! sent. Both versions judge an event by the code that handles requests and deliveries ([`crate::ingress::preview`],
//! [`crate::dispatch::preview`]).

mod body_diff;
mod configuration;
mod difference;
pub mod limits;
mod markdown;
mod rehearsal;
mod replay;
mod report;
#[cfg(test)]
mod tests;
mod text;
mod verdict;

pub use self::{
    body_diff::DiffLine,
    configuration::Configuration,
    difference::{Difference, DifferenceKind, compare},
    rehearsal::Rehearsal,
    replay::{ReplayCandidate, ReplayCount},
    report::{
        BodyChange, EndpointReport, Example, Group, ReplayMatches, ReplayReport, Report, SubscriptionReport,
        Undelivered,
    },
};
