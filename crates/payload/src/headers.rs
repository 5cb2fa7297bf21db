//! Which headers are secret, and which are forwarded.
//!
//! ```
//! use grapnel_payload::headers::{HeaderGlobs, is_credential};
//! use http::{HeaderName, header::AUTHORIZATION};
//!
//! assert!(is_credential(&AUTHORIZATION), "never stored");
//! let forwarded = HeaderGlobs::parse(&["x-shop-*"]).unwrap();
//! assert!(forwarded.matches(&HeaderName::from_static("x-shop-region")));
//! assert!(!forwarded.matches(&AUTHORIZATION));
//! ```

use grapnel_values::glob::{Glob, GlobError};
use http::HeaderName;

use super::limits::GLOBS;

/// Headers that identify the sender. They are never stored. Nor are the headers of the endpoint's own verification,
/// which come from [`Verifier::credential_headers`](grapnel_signature::Verifier::credential_headers).
const CREDENTIALS: &[&str] = &["authorization", "proxy-authorization", "cookie", "set-cookie"];

/// Headers that belong to one connection or frame one message (RFC 9110, 7.6.1 and 8.6), or address only the next hop:
/// they say nothing about an event and break a request that they are copied into.
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

/// Returns whether a header is a credential, which is never stored.
pub fn is_credential(name: &HeaderName) -> bool {
    CREDENTIALS.contains(&name.as_str())
}

/// Returns whether a header frames a request, so that only its sender may set it.
pub fn is_framing(name: &HeaderName) -> bool {
    FRAMING.contains(&name.as_str())
}

/// Returns whether a header proves, or by its name seems to prove, the sender of a request: a credential, a token or a
/// signature. Wildcards never match it.
pub fn is_sensitive(name: &HeaderName) -> bool {
    const WORDS: &[&str] = &["signature", "token", "secret", "password", "authorization", "api-key", "apikey", "hmac"];
    // The signature headers of known senders whose names do not show it.
    const OTHERS: &[&str] = &["paypal-transmission-sig", "x-jfrog-event-auth", "x-trello-webhook"];
    let name_contains = |word: &&str| name.as_str().contains(*word);
    is_credential(name) || WORDS.iter().any(name_contains) || OTHERS.contains(&name.as_str())
}

/// A list of headers to forward.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HeaderGlobs(Vec<Glob>);

/// Why a list of headers is not valid.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HeaderGlobError {
    /// An entry is not a glob.
    #[error("entry {number}: {error}", number = index + 1)]
    Glob {
        /// Index of the entry, from 0.
        index: usize,
        /// Why the entry is not a glob.
        #[source]
        error: GlobError,
    },
    /// An entry cannot match any header name.
    #[error(
        "entry {number}: `{glob}` cannot match a header name; use letters, digits, hyphens and globs",
        number = index + 1
    )]
    NoName {
        /// Index of the entry, from 0.
        index: usize,
        /// The entry.
        glob: String,
    },
    /// An entry names a header that must not be copied.
    #[error("entry {number}: header {name} frames the request and is never forwarded; remove it", number = index + 1)]
    Framing {
        /// Index of the entry, from 0.
        index: usize,
        /// The header.
        name: String,
    },
    /// The list has more than [`GLOBS`] entries.
    #[error("there are {0} entries, more than the {GLOBS} allowed")]
    TooMany(usize),
}

impl HeaderGlobs {
    /// Parses a list of header names and globs, which are case-insensitive.
    ///
    /// # Errors
    ///
    /// [`HeaderGlobError`] names the first invalid entry.
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

    /// Returns whether a header is forwarded. Framing headers never are; headers that look like credentials or
    /// signatures are forwarded only if an entry without a wildcard names them.
    pub fn matches(&self, name: &HeaderName) -> bool {
        if self.0.is_empty() || is_framing(name) {
            return false;
        }
        let sensitive = is_sensitive(name);
        self.0.iter().any(|glob| (glob.is_literal() || !sensitive) && glob.matches(name.as_str()))
    }

    /// Returns whether the list is empty, so that nothing is forwarded.
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
