//! The interface for reviewing tokens of callers inside the cluster.

use futures_util::future::BoxFuture;
use grapnel_signature::{Refusal, Review};

use super::reject::Rejected;

/// Reviews tokens.
pub trait Callers: Send + Sync + 'static {
    /// Reviews a token: its owner, and for which of `audiences` (at least one) it was issued. Recent reviews are
    /// cached.
    ///
    /// # Errors
    /// Returns [`ReviewError`], which contains no part of the token.
    fn review<'a>(&'a self, token: &'a str, audiences: &'a [Box<str>]) -> BoxFuture<'a, Result<Review, ReviewError>>;
}

/// Why a token has no review.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ReviewError {
    /// It is not a token that a cluster issues to a ServiceAccount.
    #[error("the bearer token is not a ServiceAccount token; send a ServiceAccount token")]
    Malformed,
    /// Its own expiry has passed.
    #[error("the bearer token has expired; read the token file again, or request a new token")]
    Expired,
    /// Its own audiences do not include any of the requested ones.
    #[error(
        "the bearer token has another audience; request one for an audience of spec.verification.serviceAccount.audiences"
    )]
    Audience,
    /// The cluster does not accept it.
    #[error(
        "the cluster does not accept the bearer token for an audience of this endpoint; send an unexpired one that was issued for one of spec.verification.serviceAccount.audiences to a ServiceAccount that exists"
    )]
    Refused,
    /// It cannot be reviewed now.
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
