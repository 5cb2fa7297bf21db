//! Endpoints and consumers: registered, attached and detached once the record that says so is durable.

use std::sync::Arc;

use super::{
    Engine,
    consumer::Consumer,
    endpoint::Endpoint,
    entry::{NewConsumer, NewEndpoint},
};
use crate::{Detached, machine::ConsumerState};

/// Registers an incarnation of an endpoint whose record is durable.
pub(super) fn apply_endpoint(engine: &Engine, number: u32, new: &NewEndpoint) -> Arc<Endpoint> {
    let mut endpoints = engine.endpoints.write();
    if let Some(known) = endpoints.numbered(number) {
        if known.present_incarnation() < new.incarnation {
            known.reincarnate(&new.endpoint.uid, new.incarnation, new.begin);
            known.next_epoch();
        }
        return Arc::clone(known);
    }
    let endpoint = Arc::new(Endpoint::new(&new.endpoint, number, new.incarnation, new.begin));
    endpoints.insert(Arc::clone(&endpoint));
    endpoint
}

/// Attaches a consumer whose record is durable.
pub(super) fn apply_attach(engine: &Engine, number: u32, new: &NewConsumer, endpoint: &Arc<Endpoint>) {
    let state = ConsumerState::new(new.start, new.appended_before);
    insert_consumer(engine, Consumer::new(new.consumer.clone(), number, Arc::clone(endpoint), state));
}

/// Adds a consumer to its endpoint and to the registry.
pub(super) fn insert_consumer(engine: &Engine, consumer: Consumer) {
    let consumer = Arc::new(consumer);
    let endpoint = Arc::clone(&consumer.endpoint);
    endpoint.consumers.write().push(Arc::clone(&consumer.machine));
    endpoint.next_epoch();
    engine.consumers.write().insert(consumer);
}

/// Detaches a consumer whose record is durable.
pub(super) fn apply_detach(engine: &Engine, consumer: &Arc<Consumer>) -> Detached {
    let detached = consumer.progress().into();
    engine.consumers.write().remove(consumer);
    consumer.endpoint.consumers.write().retain(|other| other.number != consumer.number);
    consumer.state().detach();
    consumer.machine.notify.notify_waiters();
    detached
}
