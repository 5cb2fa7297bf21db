//! The catalog: objects and their references, compiled into the form that the data plane uses.
//!
//! `compile` turns one object into a runtime [`Endpoint`] or [`Subscription`], or into problems that say what to do.
//! `index` holds the objects and publishes immutable [`Snapshot`]s to the data plane. `observed` carries facts from the
//! data plane back to the objects. Both modes share all of it, so `grapnel check`, the file source and the controller
//! report the same problems in the same words.

pub mod admission;
pub mod advice;
pub mod class;
pub mod compile;
pub mod id_sources;
pub mod index;
pub mod limits;
pub mod namespaces;
pub mod observed;
pub mod replay;
pub mod routing;
pub mod snapshot;
pub mod status;
pub mod target;

pub use class::Class;
pub use compile::{Options, Problem, Reference};
pub use id_sources::IdSources;
pub use index::{Age, Applied, Change, ObjectIndex, Published, Unreadable};
pub use namespaces::Namespaces;
pub use observed::{EndpointFacts, EndpointReading, SubscriptionFacts, SubscriptionReading};
pub use replay::{Replay, ReplayFacts, ReplayReading};
pub use routing::{RouteSpec, RouteState};
pub use snapshot::{DeadLetterEndpoint, Deduplicate, Endpoint, Reply, Route, Snapshot, Subscription};
pub use status::{Facts, JournalReading, ObjectKind, ObjectView, ObjectViews};
pub use target::{DeliveryTarget, OAuthClient, TlsIdentity};
