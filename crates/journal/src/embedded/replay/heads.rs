//! The state at the head of a segment.

use std::{
    io,
    sync::{Arc, atomic::Ordering},
};

use crate::embedded::{
    Engine,
    consumer::Consumer,
    endpoint::Endpoint,
    entry::{ConsumerRow, EndpointState, StateEnd},
    frame::Kind,
    log_files::LogFile,
    members::insert_consumer,
    segment::{Reader, Record},
};
use crate::machine::ConsumerState;

/// The state at the head of a segment.
pub(super) struct State {
    endpoints: Vec<(u32, EndpointState)>,
    consumers: Vec<(u32, ConsumerRow)>,
    end: StateEnd,
}

/// The head of a segment, as far as it has been read.
#[derive(Default)]
pub(super) struct Heads {
    endpoints: Vec<(u32, EndpointState)>,
    consumers: Vec<(u32, ConsumerRow)>,
    end: Option<StateEnd>,
}

impl Heads {
    /// Takes a record: true if more follow, false if it was the last, `None` if it belongs to no head.
    pub(super) fn take(&mut self, record: &Record) -> Option<bool> {
        let number = record.frame.number;
        match record.frame.kind {
            Kind::Segment => {}
            Kind::EndpointState => self.endpoints.push((number, EndpointState::decode(record.payload.clone()).ok()?)),
            Kind::ConsumerState => self.consumers.push((number, ConsumerRow::decode(record.payload.clone()).ok()?)),
            Kind::StateEnd => {
                self.end = StateEnd::decode(record.payload.clone()).ok();
                return Some(false);
            }
            _ => return None,
        }
        Some(true)
    }

    /// Returns the state, if it is complete.
    pub(super) fn whole(self) -> Option<State> {
        let Self { endpoints, consumers, end } = self;
        let end = end?;
        let counts = (endpoints.len() as u64, consumers.len() as u64);
        (counts == (end.endpoints, end.consumers)).then_some(State { endpoints, consumers, end })
    }
}

/// Reads the state in the head of a segment, if it is intact.
pub(super) fn read_state(engine: &Engine, file: &LogFile) -> io::Result<Option<State>> {
    if file.name.generation > 0 {
        return Ok(None);
    }
    let reader = Reader::open(&engine.layout.log_file(file.name), engine.layout.salt, file.name)?;
    let mut heads = Heads::default();
    let mut offset = 0;
    while let Some(record) = reader.record(offset, None)? {
        offset = record.end();
        match heads.take(&record) {
            Some(true) => {}
            Some(false) => return Ok(heads.whole()),
            None => break,
        }
    }
    Ok(None)
}

/// Restores endpoints and consumers.
pub(super) fn take_state(engine: &Engine, state: State) {
    let State { endpoints, consumers, end } = state;
    for (number, state) in endpoints {
        engine.endpoints.write().insert(Arc::new(Endpoint::restore(number, state)));
    }
    for (number, row) in consumers {
        let Some(endpoint) = engine.endpoint_numbered(row.endpoint) else { continue };
        insert_consumer(engine, Consumer::new(row.consumer, number, endpoint, ConsumerState::restore(row.state)));
    }
    engine.next_endpoint.store(end.next_endpoint, Ordering::Release);
    engine.next_consumer.store(end.next_consumer, Ordering::Release);
    engine.retired_head.store(end.retired_head, Ordering::Release);
}
