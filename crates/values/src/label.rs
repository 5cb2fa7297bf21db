//! The syntax of Kubernetes labels.
//!
//! ```
//! use grapnel_values::label::{check_key, check_value};
//!
//! assert!(check_key("kubernetes.io/metadata.name").is_ok());
//! assert!(check_value("").is_ok(), "an empty value is a value");
//! assert!(check_value("a/b").is_err());
//! ```

use super::{limits::LABEL_CHARS, name::is_subdomain};

/// Why a text is not part of a valid label
/// (<https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#syntax-and-character-set>).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LabelError {
    /// The key is not valid.
    #[error(
        "`{0}` is not the key of a label: up to 63 letters, digits and -_. between letters or digits, after an optional DNS name and a slash"
    )]
    Key(String),
    /// The value is not valid.
    #[error("`{0}` is not the value of a label: up to 63 letters, digits and -_. between letters or digits")]
    Value(String),
}

/// Checks that the text is a valid label key.
///
/// # Errors
///
/// [`LabelError::Key`].
pub fn check_key(key: &str) -> Result<(), LabelError> {
    let good = match key.split_once('/') {
        Some((prefix, name)) => is_subdomain(prefix) && is_word(name),
        None => is_word(key),
    };
    if good { Ok(()) } else { Err(LabelError::Key(key.chars().take(LABEL_CHARS).collect())) }
}

/// Checks that the text is a valid label value.
///
/// # Errors
///
/// [`LabelError::Value`].
pub fn check_value(value: &str) -> Result<(), LabelError> {
    let good = value.is_empty() || is_word(value);
    if good { Ok(()) } else { Err(LabelError::Value(value.chars().take(LABEL_CHARS).collect())) }
}

fn is_word(text: &str) -> bool {
    let end = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    text.len() <= LABEL_CHARS
        && end(text.chars().next())
        && end(text.chars().next_back())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_label_can_be_is_refused() {
        for key in ["a", "kubernetes.io/metadata.name", "a-b_c.D", &"x".repeat(63)] {
            assert_eq!(check_key(key), Ok(()), "{key}");
        }
        for key in ["", "/a", "a/", "a/b/c", "A.io/b", "-a", "a b", "ä", &"x".repeat(64)] {
            assert!(check_key(key).is_err(), "{key}");
        }
        for value in ["", "a", "1.2-3_4"] {
            assert_eq!(check_value(value), Ok(()), "{value}");
        }
        for value in ["a/b", " ", "-", &"x".repeat(64)] {
            assert!(check_value(value).is_err(), "{value}");
        }
    }
}
