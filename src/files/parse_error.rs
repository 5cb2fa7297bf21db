//! Errors of YAML.

use serde_yaml::{MessageFormatter, UserMessageFormatter, budget::BudgetBreach};

use super::limits;

/// Why a file is not valid YAML.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ParseError {
    /// Line, from 1; 0 if it is not known.
    pub line: u64,
    /// What is wrong.
    pub message: String,
}

impl From<serde_yaml::Error> for ParseError {
    fn from(error: serde_yaml::Error) -> Self {
        let error = error.without_snippet();
        let message = bound(error).unwrap_or_else(|| UserMessageFormatter.format_message(error).into_owned());
        Self {
            line: error.location().map_or(0, |location| location.line()),
            message: message.chars().take(limits::PROBLEM_CHARS).collect(),
        }
    }
}

/// Returns which bound a file exceeds, if that is what is wrong.
fn bound(error: &serde_yaml::Error) -> Option<String> {
    let serde_yaml::Error::Budget { breach, .. } = error else { return None };
    Some(match breach {
        BudgetBreach::Documents { .. } => {
            format!("a file has at most {} documents: use several files", limits::DOCUMENTS)
        }
        BudgetBreach::Nodes { .. } | BudgetBreach::Events { .. } => {
            format!("a file has at most {} values: use several files", limits::VALUES)
        }
        BudgetBreach::Depth { .. } => format!("lists and maps are nested at most {} deep", limits::DEPTH),
        _ => "its aliases or merge keys stand for too much: write the values out".to_owned(),
    })
}
