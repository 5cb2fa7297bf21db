//! Bounds of replays.

use std::time::Duration;

grapnel_values::bounds! {
    /// Maximum events that one step of a replay with a filter reads with their bodies.
    pub const REPLAY_FILTER_STEP: usize = 64;

    /// Maximum lists of deliveries that are read at a time to find out what became of queued events.
    pub const REPLAY_OUTCOME_READS: usize = 64;

    /// Maximum deliveries in one of those lists.
    pub const REPLAY_OUTCOME_ROWS: usize = 128;

    /// How often a replay that queues events at a rate, or whose events are being delivered, is continued.
    pub const REPLAY_TICK: Duration = Duration::from_millis(250);

    /// How often a replay that can do nothing is looked at.
    pub const REPLAY_LOOK: Duration = Duration::from_secs(1);

    /// How often outcomes are read although the counts of the subscription have not changed.
    pub const REPLAY_OUTCOMES_ANYWAY: Duration = Duration::from_secs(10);

    /// Without a cluster, minimum time between two writes of the progress of replays to the data directory.
    pub const REPLAY_RECORD: Duration = Duration::from_secs(1);

    /// Maximum size of the file with the progress of replays, in bytes.
    pub const REPLAY_FILE_BYTES: u64 = 256 << 20;
}
