//! Tests with a control plane of their own.

mod budget;
mod many;
mod migration;
mod outage;
mod routes;
mod unreadable;
