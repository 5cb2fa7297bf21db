//! How much work one request may make.

use super::limits::{EXPRESSION_STEPS, SCHEMA_STEPS};

/// The steps that are left for judging one request. A batch has no more than a single event, or it would multiply them.
#[derive(Debug)]
pub struct Allowance {
    /// Of [`SCHEMA_STEPS`].
    pub(super) schema: u64,
    /// Of [`EXPRESSION_STEPS`].
    pub(super) expression: u64,
}

impl Default for Allowance {
    fn default() -> Self {
        Self { schema: SCHEMA_STEPS, expression: EXPRESSION_STEPS }
    }
}
