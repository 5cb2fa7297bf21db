//! Error responses.

use axum::http::StatusCode;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// An error.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Error")]
pub struct ErrorBody {
    /// What is wrong, where, and what to do.
    pub error: String,
    /// The kind of error.
    pub code: ErrorCode,
}

/// The kind of an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ErrorCode {
    /// A query parameter or the body is not valid.
    InvalidParameter,
    /// No bearer token, or one that is not valid.
    Unauthorized,
    /// The caller is not allowed to do this.
    Forbidden,
    /// There is no such path, object or event.
    NotFound,
    /// The path does not support the method.
    MethodNotAllowed,
    /// The state of the object does not allow this.
    Conflict,
    /// The body is too large, or ended early.
    BodyTooLarge,
    /// The body is not declared as JSON.
    UnsupportedMediaType,
    /// The journal failed; the operator's log has details.
    Internal,
    /// Temporarily unavailable; retry later.
    Unavailable,
    /// The request took too long; use a smaller limit.
    Timeout,
}

impl ErrorCode {
    /// The status of the response.
    pub fn status(self) -> StatusCode {
        match self {
            Self::InvalidParameter => StatusCode::BAD_REQUEST,
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::Forbidden => StatusCode::FORBIDDEN,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::Conflict => StatusCode::CONFLICT,
            Self::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::UnsupportedMediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Unavailable | Self::Timeout => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// What the status means, in the OpenAPI document.
    pub fn about(self) -> &'static str {
        match self {
            Self::InvalidParameter => "A query parameter or the body is not valid",
            Self::Unauthorized => "No bearer token, or one that is not valid",
            Self::Forbidden => "The caller is not allowed to do this",
            Self::NotFound => "There is no such object or event",
            Self::MethodNotAllowed => "The path does not support the method",
            Self::Conflict => "The subscription has never been accepted",
            Self::BodyTooLarge => "The body is too large, or ended early",
            Self::UnsupportedMediaType => "The header Content-Type is not application/json",
            Self::Internal => "The journal failed; the operator's log has details",
            Self::Unavailable | Self::Timeout => "Temporarily unavailable, or the request took too long; retry later",
        }
    }
}
