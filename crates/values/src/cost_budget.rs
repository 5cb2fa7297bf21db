//! How much work one request may make.

use super::limits::{EXPRESSION_STEPS, SCHEMA_STEPS};

/// The steps that are left for judging one request. A batch has no more than a single event, or it would multiply them.
#[derive(Debug)]
pub struct CostBudget {
    /// Of [`SCHEMA_STEPS`].
    pub schema: u64,
    /// Of [`EXPRESSION_STEPS`].
    pub expression: u64,
}

impl Default for CostBudget {
    fn default() -> Self {
        Self { schema: SCHEMA_STEPS, expression: EXPRESSION_STEPS }
    }
}
