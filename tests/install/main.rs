//! Installing: the chart, the manifests made of it, the image, and the rights that they give.
//!
//! nextest starts one API server for the run (`.config/nextest.toml`); tests in `own` bring one of their own.

mod alerts;
mod chart;
mod dashboard;
#[path = "../cluster/fixture/mod.rs"]
#[allow(dead_code, unused_imports, reason = "shared: every test binary uses its part")]
mod fixture;
mod helm_test;
mod image;
mod manifests;
mod own;
mod ownership;
mod pods;
#[path = "../program/mod.rs"]
#[allow(dead_code, unused_imports, reason = "shared: every test binary uses its part")]
mod program;
mod prometheus;
mod release;
mod rights;
mod server;
mod values;
