//! Estimates of the memory that parsed events take.

use grapnel_payload::cloudevents::{Attribute, CloudEvent};
use serde_json::Value;

/// Bytes of an entry of an object besides its key and value: hash, place in the index, and spare capacity.
const ENTRY: usize = 24;

/// Estimated bytes of a tree. Recurses as deep as the tree, whose depth the parser bounds.
pub(super) fn of_tree(value: &Value) -> usize {
    let content = match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => 0,
        Value::String(text) => text.capacity(),
        Value::Array(elements) => {
            let spare = elements.capacity().saturating_sub(elements.len());
            elements.iter().map(of_tree).sum::<usize>() + spare * size_of::<Value>()
        }
        Value::Object(entries) => {
            entries.iter().map(|(key, value)| key.capacity() + size_of::<String>() + ENTRY + of_tree(value)).sum()
        }
    };
    size_of::<Value>() + content
}

/// Estimated bytes of the attributes of a CloudEvent.
pub(super) fn of_attributes(event: &CloudEvent<'_>) -> usize {
    let others = event.others.iter().map(|(name, value)| {
        let text = match value {
            Attribute::Text(text) => text.len(),
            Attribute::Bool(_) | Attribute::Integer(_) => 0,
        };
        name.len() + text + size_of_val(name) + size_of_val(value)
    });
    let content_type = event.content.content_type.as_ref().map_or(0, |text| text.len());
    size_of_val(event) + event.id.len() + event.source.len() + event.kind.len() + content_type + others.sum::<usize>()
}
