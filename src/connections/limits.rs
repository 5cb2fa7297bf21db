//! Bounds of the connections of both servers.

use std::time::Duration;

grapnel_values::bounds! {
    /// How long a connection may wait for its client when others need its slot. Clients send within this time over all
    /// but the worst networks.
    pub const CROWD_PATIENCE: Duration = Duration::from_secs(1);

    /// Divisor of the maximum number of connections for the number that are asked to close together when all slots are
    /// taken.
    pub const CROWD_SHARE: usize = 16;

    /// How often connections are checked while one waits for a slot.
    pub const CROWD_CHECK: Duration = Duration::from_millis(100);

    /// How long a connection that was asked to make room may take to close gracefully.
    pub const CROWD_GRACE: Duration = Duration::from_millis(100);

    /// Minimum time between two log lines about a lack of slots.
    pub const CROWD_LOG_INTERVAL: Duration = Duration::from_secs(60);
}
