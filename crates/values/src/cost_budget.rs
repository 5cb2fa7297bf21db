//! Limits on the work of one request.

use super::limits::{EXPRESSION_STEPS, SCHEMA_STEPS};

/// The steps left for one request. A batch has the same budget as a single event; otherwise a batch would multiply it.
#[derive(Debug)]
pub struct CostBudget {
    /// Steps left of [`SCHEMA_STEPS`].
    pub schema: u64,
    /// Steps left of [`EXPRESSION_STEPS`].
    pub expression: u64,
}

impl Default for CostBudget {
    fn default() -> Self {
        Self { schema: SCHEMA_STEPS, expression: EXPRESSION_STEPS }
    }
}
