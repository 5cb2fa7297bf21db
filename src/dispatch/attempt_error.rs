//! Why an attempt has no response: the error of the step at which it ended.

use super::{body::BuildError, filter::FilterError, send_error::SendError};

/// Why an attempt has no response.
#[derive(Debug, thiserror::Error)]
pub enum AttemptError {
    /// It is not known whether the event is wanted.
    #[error(transparent)]
    Filter(#[from] FilterError),
    /// The request could not be built.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// The exchange failed.
    #[error(transparent)]
    Send(#[from] SendError),
}

impl AttemptError {
    /// The reason in one word: the label of metrics and the field of logs.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Filter(_) => "filter_failed",
            Self::Build(BuildError::Transform(_)) => "transform_failed",
            Self::Build(BuildError::Write(_) | BuildError::Interrupted) => "io",
            Self::Send(error) => error.reason(),
        }
    }

    /// Whether the subscription itself is at fault: nothing was sent, so the receiver is not to blame.
    pub fn is_own(&self) -> bool {
        matches!(self, Self::Filter(_) | Self::Build(_))
    }
}
