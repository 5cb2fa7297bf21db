//! Tests with a control plane of their own.

mod many;
mod outage;
mod routes;
mod unreadable;
