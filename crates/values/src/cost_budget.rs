//! Limits on the work of one request.
//!
//! ```
//! use grapnel_values::cost_budget::CostBudget;
//!
//! let mut budget = CostBudget::default();
//! let before = budget.schema;
//! budget.schema -= 10;
//! assert_eq!(before - budget.schema, 10, "the events of a batch take from the same budget");
//! ```

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
