//! Limits on events.

grapnel_values::bounds! {
    /// Maximum length of an event id, in bytes.
    pub const EVENT_ID_BYTES: usize = 256;

    /// Maximum length of an event type, in bytes.
    pub const EVENT_TYPE_BYTES: usize = 128;

    /// Maximum number of schemas of one endpoint.
    pub const SCHEMAS: usize = 64;

    /// Maximum size of a schema, in bytes of compact JSON.
    pub const SCHEMA_BYTES: usize = 256 * 1024;

    /// Maximum nesting depth of a schema.
    pub const SCHEMA_DEPTH: usize = 64;

    /// Maximum depth of a schema with its references followed. Validation recurses through that depth at each of the
    /// [`JSON_DEPTH`] levels of a body, on a stack of 2 MiB.
    pub const SCHEMA_REACH: usize = 128;

    /// Maximum number of subschemas of a schema with its references followed. A subschema that is referenced twice
    /// counts twice.
    pub const SCHEMA_WEIGHT: u64 = 50_000;

    /// Maximum size of a compiled regular expression of a schema, in bytes.
    pub const SCHEMA_PATTERN_BYTES: usize = 1 << 20;

    /// Maximum size of all compiled regular expressions of one schema together, in bytes. With more than eight
    /// expressions, each may take an equal part of it.
    pub const SCHEMA_PATTERNS_BYTES: usize = 8 << 20;

    /// Maximum number of violations reported for one event.
    pub const VIOLATIONS: usize = 10;

    /// Maximum length of the message or path of one violation, in bytes.
    pub const VIOLATION_BYTES: usize = 256;

    /// Maximum number of endpoints that a dead letter passes through in sequence.
    pub const DEAD_LETTER_HOPS: usize = 8;

    /// Maximum size in bytes of a body that is verified and parsed on the thread that received it. A larger body would
    /// delay other requests of that thread by milliseconds.
    pub const INLINE_BODY_BYTES: usize = 256 * 1024;
}
