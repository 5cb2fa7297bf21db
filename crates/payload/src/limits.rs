//! Bounds of payloads.

grapnel_values::bounds! {
    /// Deepest nesting of a JSON body. It is `serde_json`'s own bound, and keeps every later walk of the value off the end
    /// of the stack.
    pub const JSON_DEPTH: usize = 127;

    /// Most fields of a form body.
    pub const FORM_FIELDS: usize = 1024;

    /// Most globs in one list.
    pub const GLOBS: usize = 64;

    /// Most events of one batch of CloudEvents.
    pub const CLOUDEVENTS_BATCH: usize = 1000;

    /// Most extension attributes of one CloudEvent that are passed on; the specification asks for few.
    pub const CLOUDEVENTS_EXTENSIONS: usize = 64;
}
