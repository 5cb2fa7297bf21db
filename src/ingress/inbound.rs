//! A request whose body has not been read.

use std::{net::IpAddr, sync::Arc};

use http::{HeaderMap, Method, Uri};
use jiff::Timestamp;
use tokio::time::Instant;

use crate::catalog::Endpoint;

/// A request whose body has not been read.
pub(super) struct Inbound {
    pub(super) endpoint: Arc<Endpoint>,
    pub(super) method: Method,
    pub(super) uri: Uri,
    pub(super) headers: HeaderMap,
    pub(super) peer: IpAddr,
    pub(super) remote: IpAddr,
    pub(super) received: Timestamp,
    pub(super) deadline: Instant,
}
