//! Limits on values.

use std::time::Duration;

crate::bounds! {
    /// Maximum length of a JSON pointer, in bytes.
    pub const POINTER_BYTES: usize = 512;

    /// Maximum length of a glob, in bytes.
    pub const GLOB_BYTES: usize = 256;

    /// Maximum number of steps to validate one request, or all events of one batch, against the schemas of their types.
    /// A step takes a few nanoseconds, so one request occupies a thread for little more than a tenth of a second.
    pub const SCHEMA_STEPS: u64 = 10_000_000;

    /// Maximum number of steps to evaluate one expression, or all expressions that determine the ids and types of the
    /// events of one request. Every evaluation of a part of an expression is one step, and so is every 16 bytes of text
    /// copied, compared or searched. A regular expression takes one step per byte of text, or one per 128 bytes of its
    /// compiled size if that exceeds 1024 bytes. The limit bounds time (about ten milliseconds, a few tens for the
    /// worst regular expressions) and memory (about ten MiB).
    pub const EXPRESSION_STEPS: u64 = 500_000;

    /// Maximum duration that can be configured, about a hundred years.
    pub const MAX_DURATION: Duration = Duration::from_secs(100 * 8766 * 3600);

    /// Maximum length of a duration or quantity, in bytes of text.
    pub const SCALAR_BYTES: usize = 64;

    /// Maximum length of an unknown name for which a similar known name is suggested, in letters and digits.
    pub const MEANT_CHARS: usize = 64;

    /// Maximum length of an object name, as in Kubernetes (RFC 1123 subdomain).
    pub const NAME_CHARS: usize = 253;

    /// Maximum length of a namespace, as in Kubernetes (RFC 1123 label).
    pub const NAMESPACE_CHARS: usize = 63;

    /// Maximum length of a label value, and of a label key without its prefix, as in Kubernetes.
    pub const LABEL_CHARS: usize = 63;
}
