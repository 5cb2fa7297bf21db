//! Grapnel, a webhook operator: teams declare what comes in ([`api::WebhookEndpoint`]) and what goes out
//! ([`api::WebhookSubscription`]), and Grapnel verifies, validates, de-duplicates, keeps and delivers.
//!
//! # The walk of one event
//!
//! 1. A request comes in at [`ingress`], which walks it through the checks of its endpoint, cheapest first. Nothing is
//!    parsed before [`rules::signature`] has verified the raw bytes, and that gives a `Verified` body.
//! 2. [`rules::identity`] says who the event is, [`rules::schema`] whether it is well-formed; only that gives a
//!    `Validated` event, and only such a one is taken by the next.
//! 3. [`journal`] recognises duplicates and makes the event durable. Now, not before, the sender gets its 2xx.
//! 4. [`dispatch`] claims it for each subscription, builds and signs a request, sends it past the egress guard, and
//!    settles: delivered, once more later, or dead.
//! 5. What happened flows up through [`catalog::observed`] to the objects' status and to [`telemetry`].
//!
//! Configuration flows the other way: [`controller`] (in a cluster) or [`files`] (standalone) reads objects, [`catalog`]
//! compiles them into an immutable snapshot, and [`runtime`] makes it live under the servers while they run.
//!
//! Modules import only downwards in this order: [`cli`], [`runtime`], [`controller`] and [`files`], [`admin`], [`ingress`],
//! `connections` (of both servers), [`dispatch`], [`journal`], [`catalog`], [`api`], [`rules`] and [`telemetry`].

#![warn(missing_docs)]
// Input from outside must never end the process: a refusal has a name and an answer.
#![deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

pub mod admin;
pub mod api;
pub mod catalog;
pub mod cli;
mod connections;
pub mod controller;
pub mod dispatch;
pub mod files;
pub mod ingress;
pub mod journal;
pub mod rules;
pub mod runtime;
pub mod telemetry;
