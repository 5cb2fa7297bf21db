//! The whole walk, as a user has it: the real program, real files, real HTTP.

mod check;
mod commands;
mod eval;
mod expressions;
mod home;
mod journal;
#[path = "../program/mod.rs"]
#[allow(dead_code, reason = "shared: every test binary uses its part")]
mod program;
mod providers;
mod redeliver;
mod reload;
mod restart;
#[path = "../dispatch/secure.rs"]
#[allow(dead_code, reason = "shared: every test binary uses its part")]
mod secure;
mod targets;
mod tenancy;
mod traces;
mod walk;
