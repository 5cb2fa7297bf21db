//! The copies of records of endpoints and consumers, for those that the log lacks.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    io,
    sync::{Arc, atomic::Ordering},
};

use super::{
    super::{
        Engine,
        consumer::Consumer,
        endpoint::Endpoint,
        entry::{Mark, NewConsumer, NewEndpoint},
        frame::Kind,
        log_files::LogFile,
        members::{apply_attach, apply_endpoint},
        segment::{Found, Reader, Record, Scan},
    },
    heads::{Heads, State},
};

/// Endpoints and consumers according to the copies beside the segments.
#[derive(Default)]
pub(super) struct Copies {
    pub(super) endpoints: HashMap<(u32, u32), NewEndpoint>,
    pub(super) consumers: BTreeMap<u32, NewConsumer>,
    pub(super) detached: HashSet<u32>,
    /// The last mark before the journal was closed.
    pub(super) closing: Option<Mark>,
}

impl Copies {
    fn take(&mut self, record: &Record) {
        let number = record.frame.number;
        let payload = record.payload.clone();
        match record.frame.kind {
            Kind::Endpoint => {
                if let Ok(new) = NewEndpoint::decode(payload) {
                    self.endpoints.insert((number, new.incarnation), new);
                }
            }
            Kind::Attach => {
                if let Ok(new) = NewConsumer::decode(payload) {
                    self.consumers.insert(number, new);
                }
            }
            Kind::Detach => {
                self.detached.insert(number);
            }
            Kind::Mark => self.closing = Mark::decode(payload).ok(),
            _ => {}
        }
    }

    pub(super) fn add(&mut self, other: Self) {
        self.endpoints.extend(other.endpoints);
        self.consumers.extend(other.consumers);
        self.detached.extend(other.detached);
        // Files are read from newest to oldest, and only the newest may have been closed last.
        self.closing = self.closing.take().or(other.closing);
    }

    /// Returns an endpoint that the log refers to, even if the record that introduces it is damaged.
    pub(super) fn endpoint(&self, engine: &Engine, number: u32, incarnation: u32) -> Option<Arc<Endpoint>> {
        let known = engine.endpoint_numbered(number);
        if known.as_ref().is_none_or(|known| known.present_incarnation() < incarnation)
            && let Some(new) = self.endpoints.get(&(number, incarnation))
        {
            engine.next_endpoint.fetch_max(number + 1, Ordering::AcqRel);
            return Some(apply_endpoint(engine, number, new));
        }
        known
    }

    /// Returns a consumer that the log refers to, even if the record that introduces it is damaged.
    pub(super) fn consumer(&self, engine: &Engine, number: u32) -> Option<Arc<Consumer>> {
        engine.consumer_numbered(number).or_else(|| {
            self.attach(engine, number);
            engine.consumer_numbered(number)
        })
    }

    fn attach(&self, engine: &Engine, number: u32) {
        let Some(new) = self.consumers.get(&number).filter(|_| !self.detached.contains(&number)) else { return };
        // The newest known incarnation of its endpoint.
        let incarnation = self.endpoints.keys().filter(|(of, _)| *of == new.endpoint).map(|(_, n)| *n).max();
        if let Some(endpoint) = self.endpoint(engine, new.endpoint, incarnation.unwrap_or(1)) {
            apply_attach(engine, number, new, &endpoint);
            engine.next_consumer.fetch_max(number + 1, Ordering::AcqRel);
        }
    }

    /// Attaches consumers whose record is damaged and that the log does not mention otherwise.
    pub(super) fn attach_missing(&self, engine: &Engine) {
        for number in self.consumers.keys() {
            self.consumer(engine, *number);
        }
    }
}

/// Reads the copy beside a segment: the state at the head, if that is intact, and everything since.
pub(super) fn read_copy(engine: &Engine, file: &LogFile) -> io::Result<(Option<State>, Copies)> {
    let (mut heads, mut state, mut copies) = (Heads::default(), None, Copies::default());
    let path = engine.layout.copy_file(file.name);
    let reader = match Reader::open(&path, engine.layout.salt, file.name.copy()) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((None, copies)),
        opened => opened?,
    };
    let mut scan = Scan::new(&reader, 0, reader.len()?);
    let mut whole = true;
    loop {
        match scan.next()? {
            Found::Record(record) => {
                if heads.take(&record) == Some(false) && whole {
                    state = std::mem::take(&mut heads).whole();
                }
                copies.take(&record);
            }
            Found::Damage { .. } => whole = false,
            Found::End { .. } => return Ok((state, copies)),
        }
    }
}
