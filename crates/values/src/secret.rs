//! Values that must not be disclosed.
//!
//! ```
//! use grapnel_values::secret::Secret;
//!
//! let secret = Secret::from("hush\n");
//! assert!(!format!("{secret:?}").contains("hush"), "logs show no secret");
//! assert_eq!(secret.without_line_ending(), b"hush");
//! ```

use std::fmt;

use bytes::Bytes;
use http::{HeaderValue, header::InvalidHeaderValue};
use serde_json::Value;
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, Zeroizing};

/// A secret: zeroed on drop, printed as `***` by `Debug`, and neither displayable nor serializable.
#[derive(Clone)]
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    /// Returns the bytes.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// Returns the bytes without the line ending of a single line of text. Secrets created from files often end with a
    /// newline that the sender does not know of. Binary and multi-line keys are returned unchanged.
    pub fn without_line_ending(&self) -> &[u8] {
        let bytes = self.expose();
        let Some(line) = bytes.strip_suffix(b"\r\n").or_else(|| bytes.strip_suffix(b"\n")) else { return bytes };
        match std::str::from_utf8(line) {
            Ok(text) if !text.chars().any(char::is_control) => line,
            _ => bytes,
        }
    }
}

/// Creates a header value from a secret. It is marked sensitive, so it is not printed; its copies share one buffer,
/// which is zeroed when the last copy is dropped.
///
/// # Errors
/// When the bytes are not allowed in a header.
pub fn header_value(bytes: Zeroizing<Vec<u8>>) -> Result<HeaderValue, InvalidHeaderValue> {
    let mut value = HeaderValue::from_maybe_shared(Bytes::from_owner(bytes))?;
    value.set_sensitive(true);
    Ok(value)
}

/// JSON that may hold secrets: its strings are zeroed on drop, and `Debug` prints `***`.
pub struct Wiped(pub Value);

impl fmt::Debug for Wiped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl Drop for Wiped {
    fn drop(&mut self) {
        // The parser bounds the recursion depth.
        fn wipe(value: &mut Value) {
            match value {
                Value::String(text) => text.zeroize(),
                Value::Array(items) => items.iter_mut().for_each(wipe),
                Value::Object(entries) => entries.values_mut().for_each(wipe),
                Value::Null | Value::Bool(_) | Value::Number(_) => {}
            }
        }
        wipe(&mut self.0);
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.expose().ct_eq(other.expose()).into()
    }
}

impl Eq for Secret {}

impl From<Vec<u8>> for Secret {
    fn from(bytes: Vec<u8>) -> Self {
        Self(Zeroizing::new(bytes))
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self::from(text.into_bytes())
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Self::from(text.as_bytes().to_vec())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_nothing() {
        assert_eq!(format!("{:?}", Secret::from("hunter2")), "***");
        assert_eq!(format!("{:?}", vec![Secret::from("hunter2")]), "[***]");
    }

    #[test]
    fn header_values_are_sensitive_and_share_their_bytes() {
        let value = header_value(Zeroizing::new(b"hunter2".to_vec())).unwrap();
        assert_eq!((value.as_bytes(), format!("{value:?}").as_str()), (&b"hunter2"[..], "Sensitive"));
        let copy = value.clone();
        assert!(copy.is_sensitive());
        assert_eq!(copy.as_bytes().as_ptr(), value.as_bytes().as_ptr(), "one place to overwrite");
        assert!(header_value(Zeroizing::new(b"two\nlines".to_vec())).is_err());
        assert_eq!(format!("{:?}", Wiped(serde_json::json!({ "a": ["hunter2"] }))), "***");
    }

    #[test]
    fn equality_is_that_of_the_bytes() {
        assert_eq!(Secret::from("a"), Secret::from(vec![b'a']));
        assert_ne!(Secret::from("a"), Secret::from("b"));
        assert_ne!(Secret::from("a"), Secret::from("aa"));
    }

    #[test]
    fn one_line_ending_goes_and_nothing_else() {
        for (given, left) in [
            (&b"key"[..], &b"key"[..]),
            (b"key\n", b"key"),
            (b"key\r\n", b"key"),
            (b"key\n\n", b"key\n\n"),
            (b"two\nlines\n", b"two\nlines\n"),
            (b"\xff\x00\n", b"\xff\x00\n"),
            (b"key ", b"key "),
            (b"\n", b""),
        ] {
            assert_eq!(Secret::from(given.to_vec()).without_line_ending(), left, "{given:?}");
        }
    }
}
