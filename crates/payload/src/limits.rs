//! Limits on payloads.

grapnel_values::bounds! {
    /// Maximum nesting depth of a JSON body. It is `serde_json`'s own limit, and prevents every later traversal of the
    /// value from overflowing the stack.
    pub const JSON_DEPTH: usize = 127;

    /// Maximum number of fields in a form body.
    pub const FORM_FIELDS: usize = 1024;

    /// Maximum number of globs in one list.
    pub const GLOBS: usize = 64;

    /// Maximum number of events in one batch of CloudEvents.
    pub const CLOUDEVENTS_BATCH: usize = 1000;

    /// Maximum number of forwarded extension attributes of one CloudEvent. The specification recommends few.
    pub const CLOUDEVENTS_EXTENSIONS: usize = 64;
}
