//! Grapnel, a webhook operator: teams declare what they receive ([`grapnel_api::WebhookEndpoint`]) and what they
//! deliver ([`grapnel_api::WebhookSubscription`]), and Grapnel verifies, validates, deduplicates, stores and delivers
//! events.
//!
//! # The path of an event
//!
//! 1. [`ingress`] receives a request and checks it, cheapest checks first. Nothing is parsed before `grapnel_signature`
//!    has verified the raw bytes, which gives a `Verified` body.
//! 2. `grapnel_event` determines the event's id and type and validates it, which gives a `Validated` event, the only
//!    kind that the journal accepts.
//! 3. `grapnel_journal` deduplicates the event and makes it durable. Only then does the sender get a 2xx.
//! 4. [`dispatch`] claims the event for each subscription, builds and signs a request, sends it through the egress
//!    guard, and settles it: delivered, retrying, or dead.
//! 5. Outcomes go to the objects' status by [`catalog::observed`], and to [`telemetry`].
//!
//! Configuration goes the other way: [`controller`] (in a cluster) or [`files`] (standalone) reads objects, [`catalog`]
//! compiles them into an immutable snapshot, and [`runtime`] makes it live while the servers run.
//!
//! # Layers
//!
//! The crates below `crates/` contain what does not depend on servers; each uses only those after it:
//! `grapnel_journal`, `grapnel_event`, `grapnel_signature`, `grapnel_payload`, `grapnel_expression`; `grapnel_delivery`
//! and `grapnel_api`; `grapnel_values`. The modules of this crate use only those after them: [`cli`], [`runtime`],
//! [`controller`] and [`files`], [`admin`], [`plan`], [`replay`], [`ingress`], `connections`, [`dispatch`], [`catalog`]
//! and [`telemetry`], `cache`, `fast_map` and `kept_file`.

pub mod admin;
mod cache;
pub mod catalog;
pub mod cli;
mod connections;
pub mod controller;
pub mod dispatch;
mod fast_map;
pub mod files;
pub mod ingress;
mod kept_file;
pub mod plan;
pub mod replay;
pub mod runtime;
pub mod telemetry;

#[doc(hidden)]
pub use connections::limits::BOUNDS as CONNECTION_BOUNDS;
