//! What the model knows of redelivery.

use std::sync::Arc;

use grapnel::journal::{Journal, JournalError, Redelivered, Selection, Step};
use proptest::prelude::*;

use super::{Model, State, consumer};
use crate::journal::arrivals::at;

#[derive(Debug, Clone)]
pub(crate) enum Pick {
    DeadLettered,
    Events(Vec<u8>),
    /// So long ago.
    Received(Option<i64>, Option<i64>),
}

pub(super) fn pick() -> impl Strategy<Value = Pick> {
    let side = || prop::option::weighted(0.7, 0i64..150);
    prop_oneof![
        2 => Just(Pick::DeadLettered),
        2 => prop::collection::vec(0u8..45, 0..8).prop_map(Pick::Events),
        3 => (side(), side()).prop_map(|(since, until)| Pick::Received(since, until)),
    ]
}

impl Model {
    /// Runs a redelivery to its end, on both.
    pub(super) async fn redeliver(
        &mut self,
        journal: &Arc<dyn Journal>,
        number: usize,
        pick: &Pick,
        limit: usize,
        dry_run: bool,
        what: &str,
    ) {
        let ago = |seconds: &Option<i64>| seconds.map(|seconds| self.now - seconds);
        let id = |id: &u8| format!("event-{id}");
        let selection = match pick {
            Pick::DeadLettered => Selection::DeadLettered,
            Pick::Events(ids) => Selection::Events(ids.iter().map(|n| id(n).into()).collect()),
            Pick::Received(since, until) => {
                Selection::Received { since: ago(since).map(at), until: ago(until).map(at) }
            }
        };
        let mut step = Step { from: None, limit, dry_run, now: at(self.now) };
        let mut total = Redelivered::default();
        let outcome = loop {
            let done = match journal.redeliver(&consumer(number), &selection, step).await {
                Ok(done) => done,
                Err(error) => break Err(error),
            };
            assert!(done.queued <= limit as u64, "{what}");
            total.queued += done.queued;
            total.skipped += done.skipped;
            total.gone += done.gone;
            total.gone_ids.extend(done.gone_ids);
            total.gone_before = total.gone_before.or(done.gone_before);
            match done.next {
                Some(next) => step.from = Some(next),
                None => break Ok(()),
            }
        };
        let Some(reader) = self.readers.get_mut(&number) else {
            assert!(matches!(outcome, Err(JournalError::UnknownConsumer(_))), "{what}");
            return;
        };
        outcome.unwrap();
        let log = &self.logs[reader.endpoint];
        let now = self.now;
        let ago = |seconds: &Option<i64>| seconds.map(|seconds| now - seconds);
        let mut gone_ids: Vec<Box<str>> = Vec::new();
        let (mut selected, mut skipped): (Vec<u64>, u64) = (Vec::new(), 0);
        match pick {
            Pick::DeadLettered => {
                let dead = reader.states.iter().filter(|(_, state)| matches!(state, State::Dead(..)));
                selected.extend(dead.map(|(sequence, _)| *sequence));
            }
            Pick::Events(ids) => {
                for id in ids.iter().map(id) {
                    match log.ids.get(&id).map(|known| known.0).filter(|sequence| log.events.contains_key(sequence)) {
                        Some(sequence) if sequence > reader.start => selected.push(sequence),
                        Some(_) => skipped += 1,
                        None => gone_ids.push(id.into()),
                    }
                }
            }
            Pick::Received(since, until) => {
                let (since, until) = (ago(since), ago(until));
                let holds = |received: i64| since.is_none_or(|s| received >= s) && until.is_none_or(|u| received < u);
                let of = log.events.range(reader.start + 1..);
                selected.extend(of.filter(|(_, (_, received))| holds(*received)).map(|(sequence, _)| *sequence));
                // Not all of what is gone can be known, but nothing else is called gone.
                let of = log.removed.range(reader.start + 1..);
                let gone = of.filter(|(_, received)| holds(**received)).count() as u64;
                assert!(total.gone <= gone, "{what}: {total:?} of {gone}");
                assert!(total.gone == gone || until.is_some() || total.gone_before.is_some(), "{what}: {total:?}");
            }
        }
        let mut queued = 0;
        let mut seen = Vec::new();
        for sequence in selected {
            match reader.states.get(&sequence) {
                // A dry run queues nothing, so that an id that is given again in another step counts again.
                Some(State::Settled | State::Dead(..)) if !seen.contains(&sequence) => {
                    queued += 1;
                    seen.push(sequence);
                }
                _ => skipped += 1,
            }
        }
        if dry_run {
            assert_eq!(total.queued + total.skipped, queued + skipped, "{what}");
            assert!(total.queued >= queued, "{what}");
        } else {
            assert_eq!((total.queued, total.skipped), (queued, skipped), "{what}");
            reader.states.extend(seen.into_iter().map(|sequence| (sequence, State::Retrying(1, now))));
        }
        if matches!(pick, Pick::Events(_)) {
            assert_eq!((total.gone, total.gone_ids), (gone_ids.len() as u64, gone_ids), "{what}");
        }
    }
}
