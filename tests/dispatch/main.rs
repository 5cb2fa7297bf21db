//! Deliveries, with a real journal and real receivers on the loopback.

mod answers;
mod lifecycle;
mod requests;
mod stage;
mod throttle;
