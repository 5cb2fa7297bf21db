//! Errors of YAML.

use serde_yaml::{MessageFormatter, UserMessageFormatter};

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
        let message = UserMessageFormatter.format_message(error);
        Self {
            line: error.location().map_or(0, |location| location.line()),
            message: message.chars().take(limits::PROBLEM_CHARS).collect(),
        }
    }
}
