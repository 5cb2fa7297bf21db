//! The API `grapnel.dev/v1beta1`: types only. What they mean is decided in `catalog::compile`.
//!
//! ```
//! use grapnel_api::WebhookSubscriptionSpec;
//! use serde_json::json;
//!
//! let spec: WebhookSubscriptionSpec = serde_json::from_value(json!({
//!     "endpointRef": { "name": "orders" },
//!     "target": { "url": "https://hooks.example/in" },
//! }))?;
//! assert_eq!(spec.endpoint_ref.name, "orders");
//! # Ok::<(), serde_json::Error>(())
//! ```

// KubeSchema emits a private copy of each type, and with it its `pub`.
#![allow(unreachable_pub)]
// Every printcolumn has a name and a type of its own.
#![allow(clippy::duplicated_attributes)]

pub mod completion;
mod condition;
mod convention;
pub mod definition;
mod delivery;
mod endpoint;
mod key;
mod replay;
mod route;
pub mod rules;
mod scalar;
mod selector;
mod subscription;
mod target;
mod verification;

pub use condition::{Condition, ConditionStatus, ConditionType, Reason};
pub use delivery::{CircuitBreaker, Ordering};
pub use endpoint::{
    AllowedSubscribers, DeduplicateBy, Deduplication, Event, EventSource, Limits, Payload, PayloadFormat, ProbeMethod,
    RateLimit, RateLimitScope, Rejection, Response, SchemaRule, Storage, SubscribersFrom, UnmatchedTypes,
    WebhookEndpoint, WebhookEndpointSpec, WebhookEndpointStatus,
};
pub use grapnel_values::provider::ProviderName;
pub use key::{Incarnation, ObjectKey};
pub use replay::{
    ReplayPosition, ReplaySelection, SubscriptionReference, WebhookReplay, WebhookReplaySpec, WebhookReplayStatus,
};
pub use route::{GatewayRoute, ParentReference};
pub use scalar::{ByteSize, Factor, GoDuration};
pub use selector::{LabelOperator, LabelRequirement, LabelSelector};
pub use subscription::{
    DeadLetter, DeletionPolicy, DeliveryFailure, DeliveryMode, DeliverySuccess, EndpointReference, Format, Jitter,
    OutboundRateLimit, OwnEndpointReference, Retry, ShadowCounts, Signing, SigningScheme, StartFrom,
    WebhookSubscription, WebhookSubscriptionSpec, WebhookSubscriptionStatus,
};
pub use target::{
    BasicAuth, BearerAuth, CertificateSource, ClientAuthentication, ClientCredentials, HeaderFromSecret, HeaderValue,
    ServiceScheme, ServiceTarget, Target, TargetAuth, TargetTls, UrlSource,
};
pub use verification::{
    Algorithm, Basic, Encoding, Hmac, Jwt, KeyReference, NoVerification, Provider, SecretReference,
    ServiceAccountReference, ServiceAccountVerification, Token, Verification,
};

/// The API group.
pub const GROUP: &str = "grapnel.dev";
/// The version in which objects are stored, watched and written.
pub const VERSION: &str = "v1beta1";
/// The earlier version, of the same shape, which is still served and read from files.
pub const DEPRECATED_VERSION: &str = "v1alpha1";
