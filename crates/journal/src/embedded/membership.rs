//! Tasks that register endpoints, and attach and detach consumers.

use std::sync::{Arc, atomic::Ordering};

use grapnel_api::Incarnation;

use super::{
    endpoint::Endpoint,
    entry::{NewConsumer, NewEndpoint},
    frame::Kind,
    members::{apply_attach, apply_detach, apply_endpoint},
    task::{Answer, Attach},
    writer::Writer,
};
use crate::{Attached, Detached, JournalError, Sequence, Start};

impl Writer {
    /// Writes the round first if another of its tasks concerns the same object.
    fn alone(&mut self, key: &grapnel_api::ObjectKey) {
        if !self.pending.admits(key) {
            let _ = self.flush();
            self.pending.admits(key);
        }
    }

    pub(super) fn endpoint(&mut self, endpoint: Incarnation, answer: Answer<(Arc<Endpoint>, u32)>) {
        self.alone(&endpoint.key);
        let known = self.engine.endpoint(&endpoint.key);
        let (number, incarnation, begin) = match &known {
            Some(known) => match known.incarnation_of(&endpoint.uid) {
                Err(error) => {
                    let _ = answer.send(Err(error));
                    return;
                }
                Ok(Some(incarnation)) => {
                    let _ = answer.send(Ok((Arc::clone(known), incarnation)));
                    return;
                }
                Ok(None) => (known.number, known.present_incarnation() + 1, known.head() + 1),
            },
            None => (self.next_endpoint(), 1, self.engine.retired_head.load(Ordering::Acquire) + 1),
        };
        let new = NewEndpoint { endpoint: endpoint.clone(), incarnation, begin };
        self.log.identity(Kind::Endpoint, number, &new.encode());
        self.effect(move |engine, outcome| {
            let made = outcome.map(|()| apply_endpoint(engine, number, &new));
            let _ = answer.send(match made {
                Ok(endpoint) => Ok((endpoint, incarnation)),
                Err(error) => Err(error.clone_for_caller()),
            });
        });
    }

    pub(super) fn attach(&mut self, attach: Attach, answer: Answer<Attached>) {
        let Attach { consumer, endpoint, incarnation, start } = attach;
        self.alone(&consumer.key);
        if endpoint.present_incarnation() != incarnation {
            let _ = answer.send(Err(JournalError::EndpointReplaced(endpoint.key.clone())));
            return;
        }
        let attached = self.engine.consumers.read().get(&consumer.key).cloned();
        let replaced = match attached {
            Some(old) if old.object.uid == consumer.uid => {
                let outcome = if old.endpoint.number == endpoint.number {
                    Ok(Attached::default())
                } else {
                    Err(JournalError::EndpointChanged { consumer: consumer.key, endpoint: old.endpoint.key.clone() })
                };
                let _ = answer.send(outcome);
                return;
            }
            other => other,
        };
        if let Some(old) = &replaced {
            self.log.identity(Kind::Detach, old.number, &[]);
        }
        let number = self.next_consumer();
        let (start, appended_before) = begin(&endpoint, start);
        let new = NewConsumer { consumer, endpoint: endpoint.number, start, appended_before };
        self.log.identity(Kind::Attach, number, &new.encode());
        self.pending.sync();
        self.effect(move |engine, outcome| {
            let attached = outcome.map(|()| {
                let replaced = replaced.map(|old| apply_detach(engine, &old));
                apply_attach(engine, number, &new, &endpoint);
                Attached { replaced }
            });
            let _ = answer.send(attached.map_err(JournalError::clone_for_caller));
        });
    }

    pub(super) fn detach(&mut self, consumer: &Incarnation, answer: Answer<Option<Detached>>) {
        self.alone(&consumer.key);
        let Ok(found) = self.engine.consumer(consumer) else {
            let _ = answer.send(Ok(None));
            return;
        };
        self.log.identity(Kind::Detach, found.number, &[]);
        self.pending.sync();
        self.settled += 1;
        self.effect(move |engine, outcome| {
            let detached = outcome.map(|()| Some(apply_detach(engine, &found)));
            let _ = answer.send(detached.map_err(JournalError::clone_for_caller));
        });
    }
}

/// Returns where a new consumer begins, and how many events its endpoint had stored before.
fn begin(endpoint: &Endpoint, start: Start) -> (Sequence, u64) {
    let head = endpoint.head();
    let state = endpoint.state.lock();
    match start {
        Start::Now => (head.max(state.begin.saturating_sub(1)), state.appended),
        Start::Earliest => {
            let first = state.removed.next_outside(state.begin);
            let start = first.saturating_sub(1);
            let kept = (head + 1).saturating_sub(first) - state.removed.count(first, head);
            (start, state.appended.saturating_sub(kept))
        }
    }
}
