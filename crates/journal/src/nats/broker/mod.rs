//! The brokers as the engine uses them: one connection, JetStream by its JSON API, and core messages.
//!
//! [`Broker`] is a cheap handle. Every call is one attempt with a deadline; the caller decides whether to repeat it. JetStream
//! is spoken directly, because the engine needs what a client library leaves out: the number in `wrong last sequence`, atomic
//! batches, and batched direct reads.
//!
//! A write whose acknowledgement does not arrive may still be stored, even much later: see [`PublishError::Unavailable`].

mod api;
mod connection;
mod core;
mod credentials;
mod error;
mod heads;
mod message;
mod publish;
mod publish_batch;
mod read;
mod replies;
mod rotation;
mod rows;
mod stream;
#[cfg(test)]
mod tests;

#[cfg(test)]
pub(crate) use self::read::Batch;
pub(crate) use self::{
    connection::{Broker, BrokerOptions, ConnectError, ConnectionState},
    core::Subscription,
    error::{BrokerError, PublishError},
    message::{Expected, Message, Publication},
    read::ReadFrom,
    stream::{Discard, StreamConfig, StreamError},
};
