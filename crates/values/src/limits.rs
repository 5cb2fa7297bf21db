//! Bounds of values.

use std::time::Duration;

crate::bounds! {
    /// Longest JSON pointer, in bytes.
    pub const POINTER_BYTES: usize = 512;

    /// Longest glob, in bytes.
    pub const GLOB_BYTES: usize = 256;

    /// Most steps of checking one request against the schemas of its event, or of all events of a batch; a step takes some
    /// nanoseconds, so that no request keeps a thread busy for much more than a tenth of a second.
    pub const SCHEMA_STEPS: u64 = 10_000_000;

    /// Most steps of one evaluation, or of all those that say who the events of one request are: each part of the
    /// expression is one every time that it is evaluated, and so are 16 bytes of text that are copied, compared or
    /// searched; a regular expression takes one for each byte of the text or, if it has more than 1024 bytes when it is
    /// compiled, one for each 128 of them. It bounds time (some ten milliseconds, some tens where regular expressions of
    /// the worst sort search) and memory (some ten MiB).
    pub const EXPRESSION_STEPS: u64 = 500_000;

    /// Longest duration that can be written, about a hundred years.
    pub const MAX_DURATION: Duration = Duration::from_secs(100 * 8766 * 3600);

    /// Longest text of a duration or a quantity, in bytes.
    pub const SCALAR_BYTES: usize = 64;

    /// Longest unknown name for which a known one is looked for that was meant, in letters and digits.
    pub const MEANT_CHARS: usize = 64;

    /// Longest name of an object, as Kubernetes has it (RFC 1123 subdomain).
    pub const NAME_CHARS: usize = 253;

    /// Longest namespace, as Kubernetes has it (RFC 1123 label).
    pub const NAMESPACE_CHARS: usize = 63;

    /// Longest value of a label, and longest key without its prefix, as Kubernetes has it.
    pub const LABEL_CHARS: usize = 63;
}
