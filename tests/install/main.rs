//! Installing: the chart, the manifests made of it, the image, and the rights that they give.
//!
//! nextest starts one API server for the run (`.config/nextest.toml`); tests in `own` bring one of their own.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // How a test fails.

mod chart;
mod image;
mod manifests;
mod monitoring;
mod own;
mod pods;
mod rights;
mod server;

use grapnel_test_support::{cluster as fixture, program};
