//! Judged by others: what the providers' own SDKs sign is accepted, and what Grapnel signs they verify.
//!
//! The SDKs come from PyPI and npm (`scripts/sdks`); each is asked through a small program in its own language.

mod cloudevents;
mod github;
#[path = "../standalone/home.rs"]
#[allow(dead_code, reason = "shared: every test binary uses its part")]
mod home;
#[path = "../program/mod.rs"]
#[allow(dead_code, reason = "shared: every test binary uses its part")]
mod program;
mod sdk;
mod signatures;
mod snippets;
mod twilio;
