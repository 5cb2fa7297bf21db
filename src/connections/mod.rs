//! The connections of a server: the activity of each, and which of them close when all slots are taken. The public
//! server and the admin server share this protection against idle and slow clients.

mod activity;
mod connection_limit;
pub(crate) mod limits;

pub(crate) use activity::{Activity, Patience, RequestGuard};
pub(crate) use connection_limit::ConnectionLimiter;
