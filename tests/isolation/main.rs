//! Nobody in: where deliveries may go, what tenants learn of each other, and where secrets may be seen. Every test makes
//! the attack, on the real program and real sockets.

mod debug;
#[path = "../standalone/home.rs"]
#[allow(dead_code, reason = "shared: every test binary uses its part")]
mod home;
mod hosts;
mod memory;
#[path = "../program/mod.rs"]
#[allow(dead_code, reason = "shared: every test binary uses its part")]
mod program;
mod proxy;
mod rebinding;
mod redirects;
mod secrets;
#[path = "../dispatch/secure.rs"]
#[allow(dead_code, reason = "shared: every test binary uses its part")]
mod secure;
mod targets;
mod tenancy;
mod urls;
mod world;
