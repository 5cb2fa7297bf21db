//! Bounds of events.

grapnel_values::bounds! {
    /// Longest event id, in bytes.
    pub const EVENT_ID_BYTES: usize = 256;

    /// Longest event type, in bytes.
    pub const EVENT_TYPE_BYTES: usize = 128;

    /// Most schemas of one endpoint.
    pub const SCHEMAS: usize = 64;

    /// Largest schema, in bytes of compact JSON.
    pub const SCHEMA_BYTES: usize = 256 * 1024;

    /// Deepest nesting of a schema.
    pub const SCHEMA_DEPTH: usize = 64;

    /// Most levels of a schema when its references are followed. Validation recurses through them at each of the
    /// [`JSON_DEPTH`] levels of a body, on a stack of 2 MiB.
    pub const SCHEMA_REACH: usize = 128;

    /// Most subschemas of a schema when its references are followed, those met twice counted twice.
    pub const SCHEMA_WEIGHT: u64 = 50_000;

    /// Largest compiled regular expression of a schema, in bytes.
    pub const SCHEMA_PATTERN_BYTES: usize = 1 << 20;

    /// All compiled regular expressions of one schema together, in bytes: where there are more than eight, each may have its
    /// part of this.
    pub const SCHEMA_PATTERNS_BYTES: usize = 8 << 20;

    /// Most violations that are reported of one event.
    pub const VIOLATIONS: usize = 10;

    /// Longest message or path of one violation, in bytes.
    pub const VIOLATION_BYTES: usize = 256;

    /// Most endpoints that a dead letter comes through, one after another.
    pub const DEAD_LETTER_HOPS: usize = 8;

    /// Largest body in bytes that is verified and parsed on the thread that received it; a larger one would keep other
    /// requests of that thread waiting for milliseconds.
    pub const INLINE_BODY_BYTES: usize = 256 * 1024;
}
