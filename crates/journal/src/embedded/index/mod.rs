//! The index of a segment: the positions of its events, and the outcomes recorded in it.
//!
//! The index of the segment being written is in memory ([`ActiveIndex`]); that of any other segment is a file of blocks
//! ([`SealedIndex`]). Both are derived: a missing or damaged index file is rebuilt from the log.

mod active;
mod sealed;

use std::io;

pub(super) use self::{active::ActiveIndex, sealed::SealedIndex};
use super::frame::Kind;
use crate::{Sequence, machine::Micros};

/// The position of an event in its segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Position {
    pub(super) sequence: Sequence,
    pub(super) offset: u32,
    /// Length of the record, including its frame.
    pub(super) len: u32,
    pub(super) received: Micros,
}

impl Position {
    /// Creates the position of a record of `len` bytes at `offset`. A segment is far smaller than 4 GiB.
    pub(super) fn new(sequence: Sequence, offset: u64, len: u64, received: Micros) -> Self {
        let number = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
        Self { sequence, offset: number(offset), len: number(len), received }
    }
}

/// The events of one endpoint in one segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Part {
    /// Number of the endpoint.
    pub(super) endpoint: u32,
    pub(super) first: Sequence,
    pub(super) last: Sequence,
    pub(super) count: u64,
    pub(super) bytes: u64,
    /// Every event of the part was received between `oldest` and `newest`.
    pub(super) oldest: Micros,
    pub(super) newest: Micros,
}

/// The outcome of a delivery in the segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct OutcomeRow {
    consumer: u32,
    sequence: Sequence,
    offset: u32,
}

/// The index of one segment.
#[derive(Debug)]
pub(super) enum Index {
    Active(ActiveIndex),
    Sealed(SealedIndex),
}

impl Index {
    /// Returns the parts, ascending by endpoint.
    pub(super) fn parts(&self) -> Vec<Part> {
        match self {
            Self::Active(active) => active.parts(),
            Self::Sealed(sealed) => sealed.parts().to_vec(),
        }
    }

    /// Returns the part of one endpoint.
    pub(super) fn part(&self, endpoint: u32) -> Option<Part> {
        match self {
            Self::Active(active) => active.part(endpoint),
            Self::Sealed(sealed) => sealed.part(endpoint),
        }
    }

    /// Returns the positions of an endpoint's events between `first` and `last`, ascending, at most `limit`.
    pub(super) fn positions(
        &self,
        endpoint: u32,
        first: Sequence,
        last: Sequence,
        limit: usize,
    ) -> io::Result<Vec<Position>> {
        match self {
            Self::Active(active) => Ok(active.positions(endpoint, first, last, limit)),
            Self::Sealed(sealed) => sealed.positions(endpoint, first, last, limit),
        }
    }

    /// Reads the whole file to verify its checksums.
    pub(super) fn verify(&self) -> io::Result<()> {
        match self {
            Self::Active(_) => Ok(()),
            Self::Sealed(sealed) => sealed.verify(),
        }
    }

    /// Returns the number of outcomes.
    pub(super) fn outcome_count(&self) -> u64 {
        match self {
            Self::Active(active) => active.rows().1 as u64,
            Self::Sealed(sealed) => sealed.outcome_count(),
        }
    }

    /// Calls `visit` with the consumer and sequence of each outcome, consumer by consumer, until it returns false.
    pub(super) fn visit_outcomes(&self, visit: &mut dyn FnMut(u32, Sequence) -> bool) -> io::Result<()> {
        match self {
            Self::Active(active) => {
                active.visit_outcomes(visit);
                Ok(())
            }
            Self::Sealed(sealed) => sealed.visit_outcomes(visit),
        }
    }

    /// Returns every outcome of a consumer's events between `first` and `last` as sequence and record offset, ascending
    /// by sequence, then by age.
    pub(super) fn outcomes(&self, consumer: u32, first: Sequence, last: Sequence) -> io::Result<Vec<(Sequence, u32)>> {
        match self {
            Self::Active(active) => Ok(active.outcomes(consumer, first, last)),
            Self::Sealed(sealed) => sealed.outcomes(consumer, first, last),
        }
    }
}

/// Returns whether records of that kind hold outcomes.
pub(super) fn holds_outcomes(kind: Kind) -> bool {
    matches!(kind, Kind::Ended | Kind::Outcomes)
}
