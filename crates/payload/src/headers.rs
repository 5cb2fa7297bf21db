//! Which headers are secret, and which are passed on.

use grapnel_values::glob::{Glob, GlobError};
use http::HeaderName;

use super::limits::GLOBS;

/// Headers that say who the sender is. They are never stored; the headers of the endpoint's own verification, which
/// are not either, come from [`Verifier::credential_headers`](grapnel_signature::Verifier::credential_headers).
const CREDENTIALS: &[&str] = &["authorization", "proxy-authorization", "cookie", "set-cookie"];

/// Headers that belong to one connection or frame one message (RFC 9110, 7.6.1 and 8.6), or ask something of the next
/// hop alone: they say nothing about an event and break the request they are copied into.
const FRAMING: &[&str] = &[
    "connection",
    "content-length",
    "expect",
    "host",
    "http2-settings",
    "keep-alive",
    "max-forwards",
    "proxy-authenticate",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Whether a header is a credential, which is never stored.
pub fn is_credential(name: &HeaderName) -> bool {
    CREDENTIALS.contains(&name.as_str())
}

/// Whether a header frames a request, so that only the one who sends it may set it.
pub fn is_framing(name: &HeaderName) -> bool {
    FRAMING.contains(&name.as_str())
}

/// Whether a header is, or by its name looks like, something that proves who sent a request: a credential, a token or
/// a signature. No wildcard passes it on.
pub fn is_sensitive(name: &HeaderName) -> bool {
    const WORDS: &[&str] = &["signature", "token", "secret", "password", "authorization", "api-key", "apikey", "hmac"];
    let name_contains = |word: &&str| name.as_str().contains(*word);
    // The one signature header whose name does not say so.
    is_credential(name) || WORDS.iter().any(name_contains) || name == "paypal-transmission-sig"
}

/// A list of headers to pass on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HeaderGlobs(Vec<Glob>);

/// Why a list of headers cannot be passed on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HeaderGlobError {
    /// An entry that is not a glob.
    #[error("entry {number}: {error}", number = index + 1)]
    Glob {
        /// Which one, from 0.
        index: usize,
        /// Why.
        #[source]
        error: GlobError,
    },
    /// An entry that no header name can match.
    #[error(
        "entry {number}: `{glob}` cannot match a header name; use letters, digits, hyphens and globs",
        number = index + 1
    )]
    NoName {
        /// Which one, from 0.
        index: usize,
        /// As it was written.
        glob: String,
    },
    /// A header that must not be copied.
    #[error("entry {number}: header {name} frames the request and is never forwarded; remove it", number = index + 1)]
    Framing {
        /// Which one, from 0.
        index: usize,
        /// Its name.
        name: String,
    },
    /// More than [`GLOBS`].
    #[error("there are {0} entries, more than the {GLOBS} allowed")]
    TooMany(usize),
}

impl HeaderGlobs {
    /// Reads a list of header names and globs, compared without regard to case.
    ///
    /// # Errors
    ///
    /// [`HeaderGlobError`] names the first entry that is wrong.
    pub fn parse(entries: &[impl AsRef<str>]) -> Result<Self, HeaderGlobError> {
        if entries.len() > GLOBS {
            return Err(HeaderGlobError::TooMany(entries.len()));
        }
        let glob = |(index, entry): (usize, _)| {
            let lower = AsRef::<str>::as_ref(entry).to_ascii_lowercase();
            let glob = Glob::parse(&lower).map_err(|error| HeaderGlobError::Glob { index, error })?;
            let sample = lower.replace(['*', '?'], "x");
            match HeaderName::from_bytes(sample.as_bytes()) {
                Err(_) => Err(HeaderGlobError::NoName { index, glob: lower }),
                Ok(name) if glob.is_literal() && is_framing(&name) => {
                    Err(HeaderGlobError::Framing { index, name: lower })
                }
                Ok(_) => Ok(glob),
            }
        };
        entries.iter().enumerate().map(glob).collect::<Result<_, _>>().map(Self)
    }

    /// Whether a header is passed on. Framing headers never are; those that look like credentials or signatures only
    /// if they are named without a wildcard.
    pub fn matches(&self, name: &HeaderName) -> bool {
        if self.0.is_empty() || is_framing(name) {
            return false;
        }
        let sensitive = is_sensitive(name);
        self.0.iter().any(|glob| (glob.is_literal() || !sensitive) && glob.matches(name.as_str()))
    }

    /// Whether nothing is passed on.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(entries: &[&str], name: &'static str) -> bool {
        HeaderGlobs::parse(entries).unwrap().matches(&HeaderName::from_static(name))
    }

    #[test]
    fn names_and_globs() {
        assert!(matches(&["X-GitHub-*"], "x-github-event"));
        assert!(matches(&["x-a", "X-B"], "x-b"));
        assert!(!matches(&["x-a"], "x-ab"));
        assert!(!matches(&[], "x-a"));
        assert!(HeaderGlobs::default().is_empty());
    }

    #[test]
    fn wildcards_never_match_what_proves_the_sender() {
        let sensitive = [
            "authorization",
            "proxy-authorization",
            "cookie",
            "set-cookie",
            "x-api-key",
            "x-gitlab-token",
            "x-hub-signature-256",
            "x-shopify-hmac-sha256",
            "x-signature-ed25519",
            "paypal-transmission-sig",
            "webhook-signature",
        ];
        for name in sensitive {
            assert!(is_sensitive(&HeaderName::from_static(name)), "{name}");
            assert!(!matches(&["*"], name), "{name}");
            assert!(matches(&["*", name], name), "{name} named exactly");
        }
        assert!(matches(&["*"], "webhook-id") && matches(&["*"], "x-slack-request-timestamp"));
    }

    #[test]
    fn framing_headers_never_pass() {
        for name in FRAMING {
            assert!(!HeaderGlobs::parse(&["*"]).unwrap().matches(&HeaderName::from_static(name)), "{name}");
            let error = HeaderGlobs::parse(&["x-a", name]).unwrap_err();
            assert!(matches!(error, HeaderGlobError::Framing { index: 1, .. }), "{name}: {error}");
        }
    }

    #[test]
    fn mistakes_are_named() {
        assert!(matches!(HeaderGlobs::parse(&["a", ""]), Err(HeaderGlobError::Glob { index: 1, .. })));
        assert!(matches!(HeaderGlobs::parse(&["x foo"]), Err(HeaderGlobError::NoName { index: 0, .. })));
        assert!(matches!(HeaderGlobs::parse(&["a"; GLOBS + 1]), Err(HeaderGlobError::TooMany(_))));
    }
}
