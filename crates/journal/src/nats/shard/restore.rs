//! The state that a checkpoint has.

use std::collections::BTreeMap;

use grapnel_api::{Incarnation, ObjectKey};

use super::{
    CheckpointChunk, ShardState, checkpoint::Part, consumer::ShardConsumer, endpoint::ShardEndpoint, outcomes::Outcomes,
};
use crate::{machine::Durable, record::RecordError};

/// A consumer of which not all parts are known.
#[derive(Debug)]
struct Restoring {
    object: Incarnation,
    endpoint: ObjectKey,
    life: u32,
    durable: Durable,
    outcomes: Outcomes,
}

/// Builds the state of a complete checkpoint. Its index is empty.
pub(super) fn restored(chunks: &[CheckpointChunk]) -> Result<ShardState, RecordError> {
    let mut state = ShardState::new();
    let mut consumers: BTreeMap<ObjectKey, Restoring> = BTreeMap::new();
    for chunk in chunks {
        for part in chunk.parts()? {
            add(&mut state.endpoints, &mut consumers, part);
        }
    }
    for (key, Restoring { object, endpoint, life, durable, outcomes }) in consumers {
        let log = state.endpoints.entry(endpoint.clone()).or_default();
        log.add_consumer(durable.start, key.clone(), life);
        state.consumers.insert(key, ShardConsumer::restore(object, endpoint, life, durable, outcomes));
    }
    Ok(state)
}

fn add(endpoints: &mut BTreeMap<ObjectKey, ShardEndpoint>, consumers: &mut BTreeMap<ObjectKey, Restoring>, part: Part) {
    let mut of = |consumer: ObjectKey, change: &mut dyn FnMut(&mut Restoring)| {
        if let Some(restoring) = consumers.get_mut(&consumer) {
            change(restoring);
        }
    };
    match part {
        Part::Endpoint { endpoint, lives } => endpoints.entry(endpoint).or_default().restore_lives(lives),
        Part::Gaps { endpoint, gaps } => {
            let log = endpoints.entry(endpoint).or_default();
            gaps.into_iter().for_each(|gap| log.gaps.restore(gap));
        }
        Part::Consumer { consumer, endpoint, life, start, delivered } => {
            let durable = Durable { start, delivered, ..Durable::default() };
            let key = consumer.key.clone();
            let restoring = Restoring { object: consumer, endpoint, life, durable, outcomes: Outcomes::default() };
            consumers.insert(key, restoring);
        }
        Part::Attempted { consumer, ranges } => of(consumer, &mut |it| it.durable.attempted.extend(&ranges)),
        Part::Retries { consumer, retries } => of(consumer, &mut |it| it.durable.retries.extend(&retries)),
        Part::Dead { consumer, dead } => of(consumer, &mut |it| it.durable.dead.extend(&dead)),
        Part::Outcomes { consumer, rows } => of(consumer, &mut |it| {
            rows.iter().for_each(|(sequence, row)| it.outcomes.restore(*sequence, row.clone()));
        }),
    }
}
