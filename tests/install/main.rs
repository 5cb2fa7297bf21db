//! Installing: the chart, the manifests made of it, the image, and the rights that they give.
//!
//! nextest starts one API server for the run (`.config/nextest.toml`); tests in `own` bring one of their own.

mod chart;
#[path = "../cluster/fixture/mod.rs"]
#[allow(dead_code, unused_imports, reason = "shared: every test binary uses its part")]
mod fixture;
mod image;
mod manifests;
mod monitoring;
mod own;
mod pods;
mod policies;
#[path = "../program/mod.rs"]
#[allow(dead_code, unused_imports, reason = "shared: every test binary uses its part")]
mod program;
mod rights;
mod server;
