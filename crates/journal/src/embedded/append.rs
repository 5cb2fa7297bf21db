//! Appends: encoded by the caller, positioned by the writer.

use tokio::sync::oneshot;

use super::{
    Engine,
    incoming::{Append, Incoming},
    staged::Decision,
    writer::Writer,
};
use crate::{Appended, Arrival, JournalError, Result, Sequence, limits::JOURNAL_RECORD_BYTES};

/// Appends events and waits until they are durable.
pub(super) async fn append(engine: &Engine, arrivals: Vec<Arrival>) -> Result<Vec<Appended>> {
    if engine.is_closing() {
        return Err(JournalError::Closed);
    }
    let mut events = Vec::with_capacity(arrivals.len());
    let mut bytes = 0;
    for arrival in &arrivals {
        let (endpoint, incarnation) = engine.resolve(&arrival.endpoint).await?;
        // Encoded on the caller's thread to relieve the writer.
        let incoming = Incoming::new(endpoint, incarnation, arrival);
        if incoming.cost() > JOURNAL_RECORD_BYTES {
            return Err(JournalError::TooLarge { bytes: incoming.cost(), max: JOURNAL_RECORD_BYTES });
        }
        bytes += incoming.payload.len();
        events.push(incoming);
    }
    drop(arrivals);
    if events.is_empty() {
        return Ok(Vec::new());
    }
    let (answer, answered) = oneshot::channel();
    engine.inbox.append(Append { events, answer }, bytes).await?;
    answered.await.map_err(|_| JournalError::Closed)?
}

impl Writer {
    /// Adds the events of one call to the round, or responds with the error.
    pub(super) fn stage_append(&mut self, append: Append) {
        let Append { events, answer } = append;
        match self.admit(&events) {
            Ok(decisions) => {
                let appended = self.place(events, &decisions);
                self.staged.answers.push((answer, appended));
            }
            Err(error) => {
                let _ = answer.send(Err(error));
            }
        }
    }

    fn admit(&mut self, events: &[Incoming]) -> Result<Vec<Decision>> {
        let decisions = self.staged.decide(&self.engine, events)?;
        let new = events.iter().zip(&decisions).filter(|(_, decision)| matches!(decision, Decision::New));
        let new: Vec<&Incoming> = new.map(|(event, _)| event).collect();
        self.make_room(&new)?;
        // Making room may have written the round so far, but none of these events.
        Ok(decisions)
    }

    fn place(&mut self, events: Vec<Incoming>, decisions: &[Decision]) -> Vec<Appended> {
        let mut appended: Vec<Appended> = Vec::with_capacity(events.len());
        for (event, decision) in events.into_iter().zip(decisions) {
            appended.push(match decision {
                Decision::New => Appended::Stored(self.place_event(event)),
                Decision::DuplicateOf(sequence) => Appended::Duplicate(*sequence),
                Decision::DuplicateOfCall(earlier) => match appended.get(*earlier) {
                    Some(Appended::Stored(sequence) | Appended::Duplicate(sequence)) => Appended::Duplicate(*sequence),
                    None => Appended::Duplicate(0),
                },
            });
        }
        appended
    }

    fn place_event(&mut self, event: Incoming) -> Sequence {
        let sequence = self.staged.count(&event);
        let offset = self.log.event(event.frame(sequence), &event.payload);
        self.pending.sync();
        self.staged.add(event, sequence, offset);
        sequence
    }
}
