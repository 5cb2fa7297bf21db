//! Bounds of the admin server.

use std::time::Duration;

grapnel_values::bounds! {
    /// Duration of a journal write after which the process is not ready: senders time out after 3 to 10 seconds.
    pub const JOURNAL_STALLED: Duration = Duration::from_secs(5);

    /// Duration of a journal write after which the process is not live, so that it is restarted.
    pub const JOURNAL_STUCK: Duration = Duration::from_secs(300);

    /// Maximum connections to the admin server. A further one replaces a connection that has waited for its client for
    /// [`CROWD_PATIENCE`]; if there is none, it waits, and later ones wait in the kernel's queue.
    pub const ADMIN_CONNECTIONS: usize = 256;

    /// Timeout for a request's head on the admin server; also how long an idle connection is kept.
    pub const ADMIN_HEAD_TIMEOUT: Duration = Duration::from_secs(10);

    /// Maximum size of the head of a request to the admin server, in bytes. Hyper requires at least 8 KiB.
    pub const ADMIN_HEAD_BYTES: usize = 32 * 1024;

    /// Time in which the admin server answers a request, if only with an error.
    pub const ADMIN_REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

    /// How long a client of the admin server may read nothing of its response before its connection is closed.
    pub const ADMIN_WRITE_TIMEOUT: Duration = Duration::from_secs(10);

    /// How long the admin server waits for requests in flight at shutdown.
    pub const ADMIN_DRAIN: Duration = Duration::from_secs(5);

    /// Maximum length of the bearer token in a token file, in bytes; Kubernetes' own are about 1 KiB.
    pub const ADMIN_TOKEN_BYTES: usize = 8 * 1024;

    /// Default number of items of a page of the admin API.
    pub const ADMIN_LIST_DEFAULT: usize = 100;

    /// Maximum items of a page of the admin API.
    pub const ADMIN_LIST_MAX: usize = 1000;

    /// Bytes of specs after which a page of the configuration ends.
    pub const ADMIN_CONFIGURATION_BYTES: usize = 8 * 1024 * 1024;

    /// Bytes of bodies after which a page of an endpoint's history ends.
    pub const ADMIN_HISTORY_BYTES: usize = 8 * 1024 * 1024;

    /// Events of an endpoint's history that are looked up in one step.
    pub const ADMIN_HISTORY_STEP: usize = 100;

    /// Time after which a request to the admin API stops reading the journal, and returns what it has found and where
    /// to continue.
    pub const ADMIN_READ_TIME: Duration = Duration::from_secs(2);

    /// Maximum events that one request to the admin API redelivers, and the default.
    pub const ADMIN_REDELIVERY_MAX: usize = 1000;

    /// Maximum steps of [`REDELIVERY_SCAN`] rows that one redelivery request scans.
    pub const ADMIN_REDELIVERY_STEPS: usize = 32;

    /// Maximum event ids in one redelivery request.
    pub const ADMIN_REDELIVERY_IDS: usize = 1000;

    /// Maximum size of the body of a redelivery request, in bytes: it holds the maximum number of ids of
    /// [`EVENT_ID_BYTES`], even if JSON has to escape some of them.
    pub const ADMIN_REDELIVERY_BODY_BYTES: usize = 1024 * 1024;

    /// Requests to the admin API that read the journal concurrently; further ones wait, so that lists use up neither
    /// memory nor disk bandwidth.
    pub const ADMIN_JOURNAL_READS: usize = 4;

    /// Events or deliveries on a page of the console.
    pub const CONSOLE_LIST: usize = 50;

    /// Objects of each kind on a page of the console's overview.
    pub const CONSOLE_OBJECTS: usize = 100;

    /// Subscriptions whose outcomes the console's page of an event shows; each costs one read of the journal.
    pub const CONSOLE_OUTCOMES: usize = 32;

    /// Bytes of a payload, or of an object's YAML, that a page of the console shows.
    pub const CONSOLE_PAYLOAD_BYTES: usize = 64 * 1024;

    /// Maximum size of a JSON payload that the console indents, in bytes; the start of a larger one is shown as received.
    pub const CONSOLE_PRETTY_BYTES: usize = 1024 * 1024;

    /// How long the console tells what a redelivery has done: a link that is opened later shows no message.
    pub const CONSOLE_NOTICE_TIME: Duration = Duration::from_secs(600);

    /// Events for which the page of a subscription in mode Shadow shows what would be sent.
    pub const CONSOLE_SHADOWS: usize = 3;

    /// Bytes of each body that would be sent, on that page.
    pub const CONSOLE_SHADOW_BYTES: usize = 2048;

    /// Live views of events that are open at the same time; a further one is rejected with 503.
    pub const CONSOLE_TAILS: usize = 16;

    /// How often a live view of events reads the journal.
    pub const CONSOLE_TAIL_INTERVAL: Duration = Duration::from_secs(1);

    /// Time after which a live view ends; the browser continues it with a new request, which is authorized again.
    pub const CONSOLE_TAIL_TIME: Duration = Duration::from_secs(300);

    /// Objects whose statuses a request reads before it lets others go on.
    pub const OBJECTS_AT_A_TIME: usize = 256;

    /// Objects for which the counts of the last hour are kept, at most 480 bytes each; further ones have no chart.
    pub const RATES_OBJECTS: usize = 4096;

    /// Minutes for which counts are kept, with the current one.
    pub const RATES_MINUTES: usize = 60;
}
