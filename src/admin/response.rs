//! JSON responses, including errors.

use axum::{
    http::{HeaderValue, Method, StatusCode, Uri, header},
    response::{IntoResponse, Response},
};
use grapnel_journal::{JournalError, Sequence};
use serde::Serialize;

use super::contract::{ErrorBody, ErrorCode, Page};

/// An error response.
#[derive(Debug)]
pub(super) struct Problem(ErrorBody);

impl Problem {
    fn new(code: ErrorCode, sentence: impl Into<String>) -> Self {
        Self(ErrorBody { error: sentence.into(), code })
    }

    /// The code and the sentence.
    pub(super) fn body(&self) -> &ErrorBody {
        &self.0
    }

    /// An invalid query parameter.
    pub(super) fn parameter(sentence: impl Into<String>) -> Self {
        Self::new(ErrorCode::InvalidParameter, sentence)
    }

    /// Not found.
    pub(super) fn not_found(sentence: impl Into<String>) -> Self {
        Self::new(ErrorCode::NotFound, sentence)
    }

    /// No token, or a wrong one.
    pub(super) fn unauthorized(sentence: impl Into<String>) -> Self {
        Self::new(ErrorCode::Unauthorized, sentence)
    }

    /// The caller is not allowed to do this.
    pub(super) fn forbidden(sentence: impl Into<String>) -> Self {
        Self::new(ErrorCode::Forbidden, sentence)
    }

    /// The object's state does not allow this.
    pub(super) fn conflict(sentence: impl Into<String>) -> Self {
        Self::new(ErrorCode::Conflict, sentence)
    }

    /// The body is too long.
    pub(super) fn too_large(sentence: impl Into<String>) -> Self {
        Self::new(ErrorCode::BodyTooLarge, sentence)
    }

    /// The body has another media type.
    pub(super) fn unsupported_media_type(sentence: impl Into<String>) -> Self {
        Self::new(ErrorCode::UnsupportedMediaType, sentence)
    }

    /// Temporarily unavailable.
    pub(super) fn unavailable(sentence: impl Into<String>) -> Self {
        Self::new(ErrorCode::Unavailable, sentence)
    }

    /// The request took too long.
    pub(super) fn timeout() -> Self {
        Self::new(ErrorCode::Timeout, "the request took too long; use a smaller limit")
    }
}

impl From<JournalError> for Problem {
    fn from(error: JournalError) -> Self {
        tracing::warn!(kind = error.kind(), %error, "the journal did not respond to the admin API");
        match error {
            JournalError::Closed => Self::unavailable("the journal is closed: the operator is shutting down"),
            error => Self::new(ErrorCode::Internal, error.to_string()),
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = self.0.code.status();
        let mut response = json(status, &self.0);
        if status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

impl<T> Page<T> {
    /// A page of at most `limit` items; further ones are cut off. `next` is where the list continues after all of
    /// `items`.
    pub(super) fn of(
        mut items: Vec<T>,
        limit: usize,
        next: Option<Sequence>,
        sequence: impl Fn(&T) -> Sequence,
    ) -> Self {
        let next = if items.len() > limit {
            items.truncate(limit);
            items.last().map(sequence)
        } else {
            next
        };
        Self { items, next: next.map(|next| next.to_string()) }
    }
}

/// A successful response.
pub(super) fn ok(body: &impl Serialize) -> Response {
    json(StatusCode::OK, body)
}

fn json(status: StatusCode, body: &impl Serialize) -> Response {
    match serde_json::to_vec(body) {
        // Payloads are confidential: no cache may store them, and browsers must not guess their type.
        Ok(bytes) => (
            status,
            [
                (header::CONTENT_TYPE, "application/json"),
                (header::CACHE_CONTROL, "no-store"),
                (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
            ],
            bytes,
        )
            .into_response(),
        Err(error) => {
            tracing::error!(%error, "an answer of the admin API cannot be written as JSON");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

/// The response for an unknown path.
pub(super) async fn no_such_path(uri: Uri) -> Problem {
    Problem::not_found(format!(
        "no such path {}; paths are / for the console, /healthz, /readyz, /metrics and those below /api/v1",
        uri.path()
    ))
}

/// The response for a method that the path does not support.
pub(super) async fn wrong_method(method: Method, uri: Uri) -> Problem {
    Problem::new(ErrorCode::MethodNotAllowed, format!("{} does not support {method}; see the Allow header", uri.path()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_goes_on_after_its_last_item() {
        let page = |items, limit, next| {
            let Page { items, next } = Page::of(items, limit, next, |item| *item);
            (items, next)
        };
        assert_eq!(page(vec![3, 5, 9], 2, Some(9)), (vec![3, 5], Some("5".into())));
        assert_eq!(page(vec![3, 5], 2, None), (vec![3, 5], None));
        assert_eq!(page(vec![], 2, Some(7)), (vec![], Some("7".into())), "a short step");
    }
}
