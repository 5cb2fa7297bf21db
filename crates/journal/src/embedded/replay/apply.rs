//! Records applied to the state.

use std::sync::{Arc, atomic::Ordering};

use super::{
    super::{
        Engine,
        endpoint::Endpoint,
        entry::{self, Mark, NewConsumer, NewEndpoint},
        frame::Kind,
        members::{apply_attach, apply_detach, apply_endpoint},
        segment::Record,
        segments::decode_event,
    },
    copies::Copies,
};
use crate::{Sequence, machine::Micros, record::codec::get_var};

/// Applies a record to the state. `missing` receives events that should have come before it.
pub(super) fn apply(
    engine: &Engine,
    record: &Record,
    copies: &mut Copies,
    missing: &mut dyn FnMut(Arc<Endpoint>, Sequence, Sequence),
) {
    let number = record.frame.number;
    let payload = record.payload.clone();
    let endpoint = || engine.endpoint_numbered(number);
    let consumer = || copies.consumer(engine, number);
    match record.frame.kind {
        Kind::Event => {
            let Some(endpoint) = copies.endpoint(engine, number, record.frame.incarnation) else { return };
            let Some((event, window)) = decode_event(record) else { return };
            let head = endpoint.head();
            if event.sequence <= head {
                return;
            }
            if event.sequence > head + 1 {
                missing(Arc::clone(&endpoint), head + 1, event.sequence - 1);
            }
            let received = Micros::floor(event.received);
            let mut state = endpoint.state.lock();
            state.appended += 1;
            state.ids_until = state.ids_until.max(window.map_or(received, |window| received.after(window)));
            endpoint.set_head(event.sequence);
        }
        Kind::Mark => {
            for (number, sequence) in Mark::decode(payload).unwrap_or_default().heads {
                let Some(endpoint) = engine.endpoint_numbered(number) else { continue };
                let head = endpoint.head();
                if sequence > head {
                    endpoint.set_head(sequence);
                    missing(endpoint, head + 1, sequence);
                }
            }
        }
        Kind::Endpoint => {
            if let Ok(new) = NewEndpoint::decode(payload) {
                apply_endpoint(engine, number, &new);
                engine.next_endpoint.fetch_max(number + 1, Ordering::AcqRel);
            }
        }
        Kind::Attach => {
            if let Ok(new) = NewConsumer::decode(payload) {
                if let Some(endpoint) = engine.endpoint_numbered(new.endpoint) {
                    apply_attach(engine, number, &new, &endpoint);
                }
                engine.next_consumer.fetch_max(number + 1, Ordering::AcqRel);
            }
        }
        Kind::Detach => {
            if let Some(consumer) = consumer() {
                apply_detach(engine, &consumer);
            }
            copies.detached.insert(number);
        }
        Kind::Ended => {
            if let Some(consumer) = consumer() {
                let mut state = consumer.state();
                for ended in entry::decode_ends(payload).unwrap_or_default() {
                    state.apply_ended(&ended);
                }
            }
        }
        Kind::Redelivered | Kind::Hastened => {
            if let (Some(consumer), Ok((due, sequences))) = (consumer(), entry::decode_due(payload)) {
                let mut state = consumer.state();
                for sequence in sequences {
                    match record.frame.kind {
                        Kind::Redelivered => state.apply_redelivered(sequence, due),
                        _ => state.apply_hastened(sequence, due),
                    }
                }
            }
        }
        Kind::Purged => {
            if let (Some(consumer), Ok(sequences)) = (consumer(), entry::decode_sequences(payload)) {
                let mut state = consumer.state();
                for sequence in sequences {
                    state.apply_purged(sequence);
                }
            }
        }
        Kind::Removed | Kind::Damaged => {
            if let (Some(endpoint), Ok(ranges)) = (endpoint(), entry::decode_ranges(payload)) {
                let mut state = endpoint.state.lock();
                for (first, last) in ranges {
                    if record.frame.kind == Kind::Removed {
                        state.remove(first, last);
                    } else {
                        state.damaged.insert(first, last);
                    }
                }
            }
        }
        Kind::Retention => {
            let mut payload = payload;
            if let (Some(endpoint), Ok(seconds)) = (endpoint(), get_var(&mut payload, "retention")) {
                endpoint.state.lock().retention = Some(std::time::Duration::from_secs(seconds));
            }
        }
        Kind::Segment | Kind::EndpointState | Kind::ConsumerState | Kind::StateEnd | Kind::Outcomes | Kind::End => {}
    }
}
