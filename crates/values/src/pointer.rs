//! JSON pointers (RFC 6901).
//!
//! ```
//! use grapnel_values::pointer::{JsonPointer, escaped};
//!
//! let pointer = JsonPointer::parse("/data/a~1b")?;
//! assert_eq!(pointer.tokens().last().map(|token| &**token), Some("a/b"));
//! assert_eq!(escaped("a/b"), "a~1b");
//! # Ok::<(), grapnel_values::pointer::PointerError>(())
//! ```

use std::{borrow::Cow, fmt};

use jsonptr::{ParseError, Pointer, Token};

use super::limits::POINTER_BYTES;

/// A location in a JSON document. Its tokens are decoded once, not for each document.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct JsonPointer {
    source: Box<str>,
    tokens: Box<[Box<str>]>,
}

/// Why a text is not a JSON pointer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PointerError {
    /// The text does not begin with a slash.
    #[error("`{0}` is not a JSON pointer: it must be empty or begin with `/`, as in /event/type")]
    NoSlash(String),
    /// A `~` is not followed by `0` or `1`.
    #[error("`{0}` is not a JSON pointer: `~` must be followed by 0 or 1 (RFC 6901, 3)")]
    Escape(String),
    /// The text exceeds [`POINTER_BYTES`].
    #[error("a JSON pointer has {0} bytes, more than the {POINTER_BYTES} allowed")]
    TooLong(usize),
}

impl JsonPointer {
    /// Parses a pointer of at most [`POINTER_BYTES`]. The empty pointer is the whole document.
    ///
    /// # Errors
    ///
    /// [`PointerError`] says what is wrong.
    pub fn parse(source: &str) -> Result<Self, PointerError> {
        if source.len() > POINTER_BYTES {
            return Err(PointerError::TooLong(source.len()));
        }
        let pointer = Pointer::parse(source).map_err(|error| match error {
            ParseError::NoLeadingSlash => PointerError::NoSlash(source.into()),
            ParseError::InvalidEncoding { .. } => PointerError::Escape(source.into()),
        })?;
        let tokens = pointer.tokens().map(|token| token.decoded().into());
        Ok(Self { source: source.into(), tokens: tokens.collect() })
    }

    /// Returns the unescaped reference tokens.
    pub fn tokens(&self) -> &[Box<str>] {
        &self.tokens
    }

    /// Returns the source text.
    pub fn as_str(&self) -> &str {
        &self.source
    }
}

/// Escapes a name as a reference token (RFC 6901, 3).
pub fn escaped(name: &str) -> Cow<'_, str> {
    match name.contains(['~', '/']) {
        true => Cow::Owned(Token::new(name).encoded().to_owned()),
        false => Cow::Borrowed(name),
    }
}

/// Parses a decoded token as the index of an array (RFC 6901, 4): no sign, no leading zeros.
pub fn array_index(token: &str) -> Option<usize> {
    // Not by the library, whose error has a copy of the token: every lookup of a name in an array would allocate.
    let canonical = token == "0" || (!token.starts_with('0') && token.bytes().all(|byte| byte.is_ascii_digit()));
    canonical.then(|| token.parse().ok()).flatten()
}

impl fmt::Display for JsonPointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.source)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_read_as_the_name_that_was_escaped() {
        for name in ["", "plain", "a/b", "m~n", "~1", "~/~0/"] {
            let pointer = JsonPointer::parse(&format!("/{}", escaped(name))).unwrap();
            assert_eq!(pointer.tokens(), [Box::from(name)]);
        }
        assert_eq!(escaped("~/a"), "~0~1a");
    }

    #[test]
    fn tokens_are_unescaped_in_the_right_order() {
        let tokens = |source: &str| {
            JsonPointer::parse(source).unwrap().tokens().iter().map(|token| token.to_string()).collect::<Vec<_>>()
        };
        assert!(tokens("").is_empty());
        assert_eq!(tokens("/"), [""]);
        assert_eq!(tokens("/event/type"), ["event", "type"]);
        assert_eq!(tokens("/a~1b/m~0n/~01"), ["a/b", "m~n", "~1"]);
    }

    #[test]
    fn indexes_are_canonical() {
        assert_eq!(["0", "7", "10"].map(array_index), [Some(0), Some(7), Some(10)]);
        for token in ["", "-", "-1", "+1", "01", "1.0", "1e1", " 1", "١", "99999999999999999999999"] {
            assert_eq!(array_index(token), None, "{token}");
        }
    }

    #[test]
    fn what_is_no_pointer_is_refused() {
        assert!(matches!(JsonPointer::parse("type"), Err(PointerError::NoSlash(_))));
        assert!(matches!(JsonPointer::parse("#/type"), Err(PointerError::NoSlash(_))));
        for text in ["/a~", "/~2", "/~~0"] {
            assert!(matches!(JsonPointer::parse(text), Err(PointerError::Escape(_))), "{text}");
        }
        assert!(matches!(JsonPointer::parse(&"/".repeat(POINTER_BYTES + 1)), Err(PointerError::TooLong(_))));
    }
}
