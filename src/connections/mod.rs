//! The connections of a server: what is known of each, and which of them make room when all places are taken. The public
//! server and the admin server have the same trouble with clients that stay and say nothing.

mod activity;
mod connection_limit;
pub(crate) mod limits;

pub(crate) use activity::{Activity, Patience, RequestGuard};
pub(crate) use connection_limit::ConnectionLimiter;
