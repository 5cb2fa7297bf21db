//! Bounds of connections, on both servers.

use std::time::Duration;

grapnel_values::bounds! {
    /// How long a connection may wait for its client when others need its place. Whoever has something to send has sent it by
    /// then, over any network but the worst.
    pub const CROWD_PATIENCE: Duration = Duration::from_secs(1);

    /// When all places are taken, one in so many connections is asked to go at once.
    pub const CROWD_SHARE: usize = 16;

    /// How often connections are looked over while one waits for a place.
    pub const CROWD_CHECK: Duration = Duration::from_millis(100);

    /// How long a connection that was asked to make room may take to end in order.
    pub const CROWD_GRACE: Duration = Duration::from_millis(100);

    /// Least time between two log lines about a lack of room.
    pub const CROWD_LOG_INTERVAL: Duration = Duration::from_secs(60);
}
