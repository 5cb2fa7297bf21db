//! How the attempts of the kept events ended, for one consumer.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use super::texts::{FailureTexts, TextPool};
use crate::{
    Exchange, Failure, Outcome, Sequence, SkipReason,
    machine::{End, Ended, Micros},
};

/// The outcomes of one consumer. One takes about 60 bytes, and 40 more once an attempt has failed.
#[derive(Debug, Default)]
pub(super) struct Outcomes {
    rows: BTreeMap<Sequence, OutcomeRow>,
    texts: TextPool,
}

/// How the attempts of one event ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct OutcomeRow {
    pub(super) ending: Ending,
    /// Number of attempts that ended since the event was last redelivered.
    pub(super) attempts: u32,
    pub(super) last: Exchanged,
    /// The last failure, which may be that of an earlier attempt than the last one.
    pub(super) failure: Option<Box<Failed>>,
}

/// How the last attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    Delivered,
    Skipped(SkipReason),
    Retrying,
    Dead,
}

/// An [`Exchange`] in few bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Exchanged {
    pub(super) time: Micros,
    /// In microseconds, at most 71 minutes.
    pub(super) took: u32,
    pub(super) status: Option<u16>,
}

/// A failed attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failed {
    pub(super) exchange: Exchanged,
    pub(super) texts: Arc<FailureTexts>,
}

impl Exchanged {
    fn of(exchange: &Exchange) -> Self {
        let took = u32::try_from(exchange.took.as_micros()).unwrap_or(u32::MAX);
        Self { time: Micros::floor(exchange.time), took, status: exchange.status }
    }

    fn of_failure(Failure { time, status, took, .. }: &Failure) -> Self {
        Self::of(&Exchange { time: *time, status: *status, took: *took })
    }

    pub(super) fn exchange(self) -> Exchange {
        let took = Duration::from_micros(self.took.into());
        Exchange { time: self.time.timestamp(), status: self.status, took }
    }
}

impl Failed {
    fn failure(&self) -> Failure {
        let Exchange { time, status, took } = self.exchange.exchange();
        let FailureTexts { reason, message } = &*self.texts;
        Failure { time, reason: reason.clone(), status, took, message: message.clone() }
    }
}

impl OutcomeRow {
    pub(super) fn outcome(&self) -> Outcome {
        match self.ending {
            Ending::Delivered => Outcome::Delivered,
            Ending::Skipped(reason) => Outcome::Skipped(reason),
            Ending::Retrying => Outcome::Retrying,
            Ending::Dead => Outcome::Dead,
        }
    }

    /// Returns the last failure.
    pub(super) fn failure(&self) -> Option<Failure> {
        self.failure.as_ref().map(|failed| failed.failure())
    }
}

impl Outcomes {
    pub(super) fn get(&self, sequence: Sequence) -> Option<&OutcomeRow> {
        self.rows.get(&sequence)
    }

    /// Adds the end of an attempt.
    pub(super) fn ended(&mut self, Ended { sequence, attempt, end, .. }: &Ended) {
        let (ending, attempts, last, failure) = match end {
            End::Delivered(exchange) => (Ending::Delivered, *attempt, Exchanged::of(exchange), None),
            End::Skipped { reason, time } => {
                let last = Exchanged { time: *time, took: 0, status: None };
                (Ending::Skipped(*reason), attempt.saturating_sub(1), last, None)
            }
            End::Retry { failure, .. } => (Ending::Retrying, *attempt, Exchanged::of_failure(failure), Some(failure)),
            End::Dead { failure } => (Ending::Dead, *attempt, Exchanged::of_failure(failure), Some(failure)),
            End::Gone => return self.remove(*sequence),
        };
        let failed = failure.map(|Failure { reason, message, .. }| {
            Box::new(Failed { exchange: last, texts: self.texts.share(reason, message) })
        });
        let row = OutcomeRow { ending, attempts, last, failure: failed };
        match self.rows.get_mut(sequence) {
            None => {
                self.rows.insert(*sequence, row);
            }
            Some(known) => {
                let before = known.failure.take();
                *known = row;
                known.failure = known.failure.take().or(before);
            }
        }
    }

    /// Adds a row as it was stored.
    pub(super) fn restore(&mut self, sequence: Sequence, row: OutcomeRow) {
        let texts = &mut self.texts;
        let failure = row.failure.map(|failed| {
            let texts = texts.share(&failed.texts.reason, &failed.texts.message);
            Box::new(Failed { texts, ..*failed })
        });
        self.rows.insert(sequence, OutcomeRow { failure, ..row });
    }

    /// Removes what is known of an event: it begins again, or is gone.
    pub(super) fn remove(&mut self, sequence: Sequence) {
        self.rows.remove(&sequence);
    }

    pub(super) fn retain(&mut self, is_kept: impl Fn(Sequence) -> bool) {
        self.rows.retain(|sequence, _| is_kept(*sequence));
    }

    /// Iterates over the outcomes, ascending by sequence.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Sequence, &OutcomeRow)> {
        self.rows.iter().map(|(sequence, row)| (*sequence, row))
    }
}
