//! Bounds of HTTPRoutes.

use std::time::Duration;

grapnel_values::bounds! {
    /// How often HTTPRoutes are compared with the endpoints that want them.
    pub const ROUTE_PASS: Duration = Duration::from_secs(1);

    /// Timeout of one request about an HTTPRoute or a Gateway, unless a write must end earlier because of the Lease.
    pub const ROUTE_TIMEOUT: Duration = Duration::from_secs(5);

    /// Delay before a failed request about one HTTPRoute is repeated; it doubles up to [`ROUTE_RETRY_MAX`].
    pub const ROUTE_RETRY: Duration = Duration::from_secs(2);

    /// Maximum delay before a failed request about one HTTPRoute is repeated. Also how long it may take until the end of
    /// a conflict is noticed.
    pub const ROUTE_RETRY_MAX: Duration = Duration::from_secs(60);

    /// How long an HTTPRoute must stay as it was written before the updates that another writer undid are forgotten.
    pub const ROUTE_CALM: Duration = Duration::from_secs(300);

    /// Updates of one HTTPRoute in a row, for the same generation of its endpoint, that are one more than a person makes
    /// necessary: the log names it.
    pub const ROUTE_UPDATES_CONTESTED: u32 = 3;

    /// Delay of all requests after one that failed for a reason common to all, or of those of a namespace in which a right
    /// is missing; it doubles up to [`ROUTE_PAUSE_MAX`]. A longer `Retry-After` is honoured up to that maximum.
    pub const ROUTE_PAUSE: Duration = Duration::from_secs(1);

    /// Maximum of that delay.
    pub const ROUTE_PAUSE_MAX: Duration = Duration::from_secs(120);

    /// How long the listeners of a Gateway are cached.
    pub const GATEWAY_FRESH: Duration = Duration::from_secs(60);

    /// Maximum length of a message of a Gateway in a condition, in characters.
    pub const ROUTE_MESSAGE_CHARS: usize = 512;
}
