//! The history of an endpoint, and what a subscription makes of one of its events.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::{EventDetail, ItemSkip, Page};

/// A page of events with their headers and bodies. It ends early if its bodies are large.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "PageOfHistory")]
pub struct HistoryPage {
    /// The events.
    #[serde(flatten)]
    pub page: Page<EventDetail>,
    /// Events left out, because their record is damaged or a newer event has their id; absent if there are none.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub omitted: u64,
}

/// What a subscription, as configured now, makes of an event. The body is in at most one of `payload`, `payloadText` and
/// `payloadBase64`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "DeliveryPreview")]
pub struct PreviewItem {
    /// Position of the event in the endpoint's log.
    pub sequence: u64,
    /// Why the subscription skips the event, if it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub skip_reason: Option<ItemSkip>,
    /// Why the filter or the transformation fails, if one does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// `Content-Type` of the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_type: Option<Box<str>>,
    /// A JSON body.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<serde_json::Value>")]
    pub payload: Option<Box<RawValue>>,
    /// A body that is other text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload_text: Option<String>,
    /// A body that is not text, in base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload_base64: Option<String>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde requires")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}
