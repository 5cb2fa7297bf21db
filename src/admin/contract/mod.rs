//! The contract of the admin API: its operations, and the types of requests and answers.
//!
//! The server writes these types, commands read them, and the OpenAPI document (`super::openapi`) is generated from
//! them. Doc comments here become descriptions in that document, where some types have shorter names: the Rust names are
//! unique in the workspace.

mod configuration;
mod delivery;
mod event;
mod history;
mod object;
mod operation;
mod page;
mod problem;
mod redelivery;

pub use configuration::{ConfigurationPage, ConfiguredObject};
pub use delivery::{CircuitName, DeliveriesPage, DeliveryItem, ItemFailure, ItemOutcome, ItemSkip, ItemState, Sending};
pub use event::{EventDetail, EventHeader, EventItem};
pub use history::{HistoryPage, PreviewItem};
pub use object::{EndpointItem, ObjectItem, ReplayItem, SubscriptionItem};
pub use operation::{Operation, QueryParameter, Success};
pub use page::{ListOrder, Page};
pub use problem::{ErrorBody, ErrorCode};
pub use redelivery::{RedeliveryOrder, RedeliveryResult, ResumeOrder, ResumeResult};
