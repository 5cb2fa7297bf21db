//! Bounds of metrics.

grapnel_values::bounds! {
    /// Series of `webhook_deliveries_abandoned_total`: deleted subscriptions whose loss is still shown.
    pub const ABANDONED_SERIES: usize = 256;

    /// Most distinct event types of an endpoint that have a metric label of their own; further ones are `other`.
    pub const TYPE_LABELS: usize = 64;

    /// Longest event type that has a metric label of its own, in characters.
    pub const TYPE_LABEL_CHARS: usize = 64;
}
