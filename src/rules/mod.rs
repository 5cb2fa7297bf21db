//! Pure rules: no I/O, no async, no Kubernetes, no HTTP server.
//!
//! An event walks through them in this order: [`ratelimit`], [`signature`] (the only way to a `Verified` body),
//! [`payload`], [`identity`], [`schema`] (the only way to a `Validated` event); a delivery through [`breaker`],
//! [`headers`], [`egress`], [`signature`] again, and [`retry`].

pub mod allowance;
pub mod breaker;
pub mod clock;
pub mod cloudevents;
pub mod content;
pub mod crc32;
pub mod dead_letter;
pub mod duration;
pub mod egress;
pub mod egress_proxy;
pub mod expression;
pub mod glob;
pub mod headers;
pub mod identity;
mod json;
pub mod jwt;
pub mod limits;
pub mod meant;
pub mod name;
pub mod payload;
pub mod pointer;
pub mod quantity;
pub mod ratelimit;
pub mod retry;
pub mod schema;
pub mod secret;
pub mod selector;
pub mod signature;
pub mod trace;
