//! Nobody in: where deliveries may go, what tenants learn of each other, and where secrets may be seen. Every test makes
//! the attack, on the real program and real sockets.

mod debug;
mod hosts;
mod memory;
mod proxy;
mod rebinding;
mod redirects;
mod secrets;
mod targets;
mod tenancy;
mod urls;
mod world;

use grapnel_test_support::{home, program};
