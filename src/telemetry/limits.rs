//! Bounds of metrics.

grapnel_values::bounds! {
    /// Maximum series of `webhook_deliveries_abandoned_total`: deleted subscriptions whose loss is still shown.
    pub const ABANDONED_SERIES: usize = 256;

    /// Maximum distinct event types of an endpoint with their own metric label; further ones are counted as `other`.
    pub const TYPE_LABELS: usize = 64;

    /// Maximum length of an event type with its own metric label, in characters.
    pub const TYPE_LABEL_CHARS: usize = 64;
}
