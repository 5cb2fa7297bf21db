//! Judged by others: what the providers' own SDKs sign is accepted, and what Grapnel signs they verify.
//!
//! The SDKs come from PyPI and npm (`scripts/sdks`); each is asked through a small program in its own language.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // How a test fails.

mod cloudevents;
mod github;
mod sdk;
mod signatures;
mod snippets;
mod twilio;

use grapnel_test_support::{home, program};
