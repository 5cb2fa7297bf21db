//! Batches (CloudEvents JSON Event Format 1.0, "JSON Batch Format").

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{SeqAccess, Visitor},
};
use serde_json::value::RawValue;

use crate::{lenient::without_bom, limits::CLOUDEVENTS_BATCH, malformed::MalformedPayload};

/// Returns the events of a batch as they are written in it, at most [`CLOUDEVENTS_BATCH`]. A batch may be empty.
///
/// # Errors
///
/// [`MalformedPayload`] when the body is not an array, or has too many elements.
pub fn batch(body: &[u8]) -> Result<Vec<&RawValue>, MalformedPayload> {
    let malformed = |why: String| MalformedPayload::new(format!("invalid batch of CloudEvents: {why}"));
    // The parser's message about data would disclose it.
    let Elements { events, more } = serde_json::from_slice(without_bom(body)).map_err(|error| {
        malformed(if error.is_data() { "it is not an array".into() } else { format!("it is not valid JSON: {error}") })
    })?;
    if more {
        return Err(malformed(format!("it has more than the {CLOUDEVENTS_BATCH} events allowed")));
    }
    Ok(events)
}

struct Elements<'a> {
    events: Vec<&'a RawValue>,
    /// The array has more elements than are kept.
    more: bool,
}

impl<'de> Deserialize<'de> for Elements<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Array;

        impl<'de> Visitor<'de> for Array {
            type Value = Elements<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an array of events")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Self::Value, A::Error> {
                let mut events = Vec::new();
                let mut more = false;
                while let Some(event) = elements.next_element()? {
                    if events.len() < CLOUDEVENTS_BATCH {
                        events.push(event);
                    } else {
                        more = true;
                    }
                }
                Ok(Elements { events, more })
            }
        }

        deserializer.deserialize_seq(Array)
    }
}
