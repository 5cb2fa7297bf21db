//! Callers inside the cluster: what the walk needs to know of them, and nothing of how it is found out.

use futures_util::future::BoxFuture;
use grapnel_signature::{Refusal, Review};

use super::reject::Rejected;

/// Who says to whom a token belongs.
pub trait Callers: Send + Sync + 'static {
    /// To whom a token belongs and for which of `audiences` it was issued, which is at least one. A token that was
    /// reviewed a moment ago costs no call.
    ///
    /// # Errors
    /// [`ReviewError`]; none of it holds a part of the token.
    fn review<'a>(&'a self, token: &'a str, audiences: &'a [Box<str>]) -> BoxFuture<'a, Result<Review, ReviewError>>;
}

/// Why a token has no review.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ReviewError {
    /// It cannot be a token that a cluster issues to a ServiceAccount.
    #[error("the bearer token is not a ServiceAccount token; send a ServiceAccount token")]
    Malformed,
    /// It says of itself that it is over.
    #[error("the bearer token has expired; read the token file again, or request a new token")]
    Expired,
    /// It says of itself that it was issued for others.
    #[error(
        "the bearer token has another audience; request one for an audience of spec.verification.serviceAccount.audiences"
    )]
    Audience,
    /// The cluster does not know it.
    #[error(
        "the cluster does not accept the bearer token for an audience of this endpoint; send an unexpired one that was issued for one of spec.verification.serviceAccount.audiences to a ServiceAccount that exists"
    )]
    Refused,
    /// Nobody can say now.
    #[error("the bearer token cannot be reviewed, because the API server is unavailable; retry later")]
    Unavailable,
}

impl From<ReviewError> for Rejected {
    fn from(error: ReviewError) -> Self {
        match error {
            ReviewError::Unavailable => Self::Unreviewed,
            refused => Self::Unverified(Refusal::InvalidSignature(refused.to_string())),
        }
    }
}
