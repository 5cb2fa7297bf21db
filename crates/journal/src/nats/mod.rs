//! The replicated engine, on NATS JetStream.

#[allow(dead_code, unused_imports)] // The engine that uses it follows.
mod ownership;
