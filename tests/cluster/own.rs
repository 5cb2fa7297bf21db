//! Tests with a control plane of their own.

mod many;
mod migration;
mod outage;
mod unreadable;
