//! The public server over real sockets, with a real journal.

mod answers;
mod client;
mod connections;
mod events;
mod fixture;
mod payloads;
mod signatures;
mod tls;
mod trouble;
