//! Judged by others: what the providers' own SDKs sign is accepted, and what Grapnel signs they verify.
//!
//! The SDKs come from PyPI and npm (`scripts/sdks`); each is asked through a small program in its own language.

mod cloudevents;
mod github;
mod sdk;
mod signatures;
mod twilio;

use grapnel_test_support::{home, program};
