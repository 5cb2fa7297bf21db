//! Requests that are genuine and cannot be understood.

/// A request that cannot be understood although its signature is valid. The sentence says what is wrong and where, and
/// holds no value of the request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{sentence}")]
pub struct MalformedPayload {
    /// What is wrong.
    pub sentence: String,
}

impl MalformedPayload {
    /// Creates an error with this sentence.
    pub fn new(sentence: impl Into<String>) -> Self {
        Self { sentence: sentence.into() }
    }
}
