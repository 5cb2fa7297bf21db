//! Answering the questions of other replicas.

use std::sync::Arc;

use futures_util::StreamExt;
use tokio::sync::Semaphore;

use super::{
    Answer, Report, Request,
    wire::{ReportedConsumer, ReportedEndpoint, decode_request, encode_answer},
};
use crate::{
    JournalError, Result,
    limits::{NATS_REPORT_ROWS, NATS_REQUESTS},
    nats::{broker::Subscription, owner::OwnedShard, replica::Replica},
};

/// Answers questions until the tenure of the shard ends.
pub(in crate::nats) async fn serve(replica: Arc<Replica>, shard: Arc<OwnedShard>, mut requests: Subscription) {
    let permits = Arc::new(Semaphore::new(NATS_REQUESTS));
    loop {
        let request = tokio::select! {
            request = requests.next() => request,
            () = shard.ended() => return,
        };
        let Some(request) = request else { return };
        let Some(reply) = request.reply else { continue };
        let Ok(permit) = Arc::clone(&permits).acquire_owned().await else { return };
        let (replica, shard) = (Arc::clone(&replica), Arc::clone(&shard));
        tokio::spawn(async move {
            if !shard.serves() {
                // Its next owner answers if there is one.
                return;
            }
            let answer = match decode_request(&request.payload) {
                Ok(request) => answer(&replica, &shard, request).await,
                Err(error) => Err(error),
            };
            // An answer that cannot be sent is one that does not arrive: the other replica asks again.
            if let Ok(payload) = encode_answer(answer) {
                let _ = replica.broker.respond(reply, payload.into()).await;
            }
            drop(permit);
        });
    }
}

async fn answer(replica: &Replica, shard: &Arc<OwnedShard>, request: Request) -> Result<Answer> {
    if !shard.serves() {
        return Err(JournalError::Unavailable("the shard moves to another replica".into()));
    }
    Ok(match request {
        Request::Attach { consumer, endpoint, start } => {
            Answer::Attached(shard.attach(&consumer.into(), &endpoint.into(), start).await?)
        }
        Request::Detach { consumer } => Answer::Detached(shard.detach(&consumer.into()).await?),
        Request::Redeliver { consumer, selection, step } => {
            Answer::Redelivered(shard.redeliver(&consumer.into(), &selection, step).await?)
        }
        Request::Deliveries { consumer, query } => {
            Answer::Deliveries(shard.deliveries(&consumer.into(), &query).await?)
        }
        Request::Belonging { consumer, sequences } => {
            Answer::Belonging(shard.state().belonging(&consumer.into(), &sequences)?)
        }
        Request::Events { endpoint, query } => Answer::Events(shard.events(&endpoint.into(), &query).await?),
        Request::Room { endpoint, room } => {
            replica.make_own_room(shard, &endpoint.into(), room).await?;
            Answer::Room
        }
        Request::Report { part } => Answer::Report(report(replica, shard, part)),
    })
}

/// Returns one part of the counts of a shard.
fn report(replica: &Replica, shard: &OwnedShard, part: usize) -> Report {
    let state = shard.state();
    let skipped = part.saturating_mul(NATS_REPORT_ROWS);
    let (consumers, endpoints) = (state.consumers(), state.endpoints());
    let more = consumers.len().max(endpoints.len()) > skipped.saturating_add(NATS_REPORT_ROWS);
    let consumers = consumers
        .iter()
        .skip(skipped)
        .take(NATS_REPORT_ROWS)
        .filter_map(|attached| Some(ReportedConsumer::new(attached, state.progress(&attached.consumer)?)));
    let consumers = consumers.collect();
    let endpoints = endpoints.iter().skip(skipped).take(NATS_REPORT_ROWS).map(|endpoint| {
        let usage = state.storage(endpoint, &replica.shares(shard.shard, &endpoint.key.namespace));
        ReportedEndpoint { endpoint: endpoint.into(), bytes: usage.bytes, exhausted: usage.exhausted }
    });
    let endpoints = endpoints.collect();
    let namespaces = match part {
        0 => state.namespaces().into_iter().map(|usage| (usage.namespace.to_string(), usage.bytes)).collect(),
        _ => Vec::new(),
    };
    Report { consumers, endpoints, namespaces, more }
}
