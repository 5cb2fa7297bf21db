//! Installing: the chart, the manifests made of it, the image, and the rights that they give.
//!
//! nextest starts one API server for the run (`.config/nextest.toml`); tests in `own` bring one of their own.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // How a test fails.

mod alerts;
mod chart;
mod dashboard;
mod helm_test;
mod image;
mod manifests;
mod own;
mod ownership;
mod pods;
mod policies;
mod prometheus;
mod release;
mod replicas;
mod rights;
mod server;
mod values;

use grapnel_test_support::{cluster as fixture, program};
