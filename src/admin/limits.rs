//! Bounds of the admin server.

use std::time::Duration;

grapnel_values::bounds! {
    /// A write of the journal that takes longer makes the process not ready: senders hang up after 3 to 10 seconds.
    pub const JOURNAL_STALLED: Duration = Duration::from_secs(5);

    /// A write of the journal that takes longer makes the process not live, so that it is started anew.
    pub const JOURNAL_STUCK: Duration = Duration::from_secs(300);

    /// Connections to the admin server at once. A further one takes the place of one that has waited for its client for
    /// [`CROWD_PATIENCE`]; when there is none, it waits, and those after it wait in the kernel's queue.
    pub const ADMIN_CONNECTIONS: usize = 256;

    /// Time in which the admin server must have read a request's head; also how long an idle connection is kept.
    pub const ADMIN_HEAD_TIMEOUT: Duration = Duration::from_secs(10);

    /// Largest head of a request to the admin server, in bytes. Hyper takes no less than 8 KiB.
    pub const ADMIN_HEAD_BYTES: usize = 32 * 1024;

    /// Time in which the admin server answers a request, or says that it cannot.
    pub const ADMIN_REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

    /// How long a client of the admin server may take nothing of its answer before its connection ends.
    pub const ADMIN_WRITE_TIMEOUT: Duration = Duration::from_secs(10);

    /// How long the admin server waits for requests under way when it ends.
    pub const ADMIN_DRAIN: Duration = Duration::from_secs(5);

    /// Longest bearer token in a token file, in bytes; Kubernetes' own are about 1 KiB.
    pub const ADMIN_TOKEN_BYTES: usize = 8 * 1024;

    /// Items of a page of the admin API when nothing else is said.
    pub const ADMIN_LIST_DEFAULT: usize = 100;

    /// Most items of a page of the admin API.
    pub const ADMIN_LIST_MAX: usize = 1000;

    /// Time after which a request to the admin API takes no further step of reading the journal, and answers with what it has
    /// found and where to continue.
    pub const ADMIN_READ_TIME: Duration = Duration::from_secs(2);

    /// Most events that one request to the admin API queues once more, and as many as when nothing else is said.
    pub const ADMIN_REDELIVERY_MAX: usize = 1000;

    /// Most steps of [`REDELIVERY_SCAN`] rows that one request for a redelivery looks at.
    pub const ADMIN_REDELIVERY_STEPS: usize = 32;

    /// Most event ids in one request for a redelivery.
    pub const ADMIN_REDELIVERY_IDS: usize = 1000;

    /// Longest body of a request for a redelivery, in bytes: as many ids of [`EVENT_ID_BYTES`] fit, also where JSON has to
    /// escape some of it.
    pub const ADMIN_REDELIVERY_BODY_BYTES: usize = 1024 * 1024;

    /// Requests to the admin API that read the journal at once; further ones wait, so that lists take
    /// neither all of the memory nor all of the disk.
    pub const ADMIN_JOURNAL_READS: usize = 4;
}
