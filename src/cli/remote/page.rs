//! Pages of lists, as the operator wrote them.

use anyhow::Context;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Map, Value, value::RawValue};

use super::UNEXPECTED;

/// A page of a list, with its items as the operator wrote them.
#[derive(Debug, Default, Deserialize, Serialize)]
pub(in crate::cli) struct RawPage {
    pub(in crate::cli) items: Vec<Item>,
    #[serde(rename = "continue", default, skip_serializing_if = "Option::is_none")]
    pub(in crate::cli) next: Option<String>,
    /// What the page tells about all its items.
    #[serde(flatten)]
    pub(in crate::cli) rest: Map<String, Value>,
}

/// An item of a list as the operator wrote it.
pub(in crate::cli) type Item = Box<RawValue>;

impl RawPage {
    /// The items as this version of grapnel parses them.
    pub(in crate::cli) fn rows<T: DeserializeOwned>(&self) -> anyhow::Result<Vec<T>> {
        self.items.iter().map(|item| row(item)).collect()
    }

    /// What the page tells about all its items, as this version of grapnel parses it.
    pub(in crate::cli) fn about<T: DeserializeOwned>(&self) -> anyhow::Result<T> {
        serde_json::from_value(self.rest.clone().into()).context(UNEXPECTED)
    }
}

/// An item as this version of grapnel parses it.
pub(in crate::cli) fn row<T: DeserializeOwned>(item: &RawValue) -> anyhow::Result<T> {
    serde_json::from_str(item.get()).context(UNEXPECTED)
}

/// The `continue` of a list in ascending order: the sequence after which it continues.
pub(in crate::cli) fn position(next: &str) -> anyhow::Result<u64> {
    next.parse().context(UNEXPECTED)
}
