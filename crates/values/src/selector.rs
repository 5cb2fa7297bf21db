//! Label selectors.

use std::collections::BTreeMap;

use super::{limits::LABEL_CHARS, name::is_subdomain};

/// Requirements on labels, all of which must hold. The empty selector matches any labels, as in Kubernetes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selector(Vec<(String, Requirement)>);

/// A requirement on one label.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Requirement {
    /// The label has one of these values.
    In(Vec<String>),
    /// The label is absent or has none of these values.
    NotIn(Vec<String>),
    /// The label is present.
    Exists,
    /// The label is absent.
    DoesNotExist,
}

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
    /// `In` or `NotIn` has no values.
    #[error("values are needed for the operators In and NotIn")]
    NoValues,
}

impl Selector {
    /// Adds a requirement.
    ///
    /// # Errors
    ///
    /// [`LabelError`] when no valid label can meet the requirement.
    pub fn require(&mut self, key: &str, requirement: Requirement) -> Result<(), LabelError> {
        check_key(key)?;
        if let Requirement::In(values) | Requirement::NotIn(values) = &requirement {
            if values.is_empty() {
                return Err(LabelError::NoValues);
            }
            values.iter().try_for_each(|value| check_value(value))?;
        }
        self.0.push((key.to_owned(), requirement));
        Ok(())
    }

    /// Returns whether the labels meet every requirement.
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.0.iter().all(|(key, requirement)| match (requirement, labels.get(key)) {
            (Requirement::In(values), Some(value)) => values.contains(value),
            (Requirement::In(_), None) => false,
            (Requirement::NotIn(values), Some(value)) => !values.contains(value),
            (Requirement::NotIn(_), None) => true,
            (Requirement::Exists, value) => value.is_some(),
            (Requirement::DoesNotExist, value) => value.is_none(),
        })
    }
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

    fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    fn selector(requirements: &[(&str, Requirement)]) -> Selector {
        let mut selector = Selector::default();
        for (key, requirement) in requirements {
            selector.require(key, requirement.clone()).unwrap();
        }
        selector
    }

    fn values(values: &[&str]) -> Vec<String> {
        values.iter().map(|value| (*value).to_owned()).collect()
    }

    #[test]
    fn each_operator() {
        let (team, other, none) = (labels(&[("team", "a")]), labels(&[("team", "c")]), labels(&[("x", "a")]));
        for (requirement, expected) in [
            (Requirement::In(values(&["a", "b"])), [true, false, false]),
            (Requirement::NotIn(values(&["a", "b"])), [false, true, true]),
            (Requirement::Exists, [true, true, false]),
            (Requirement::DoesNotExist, [false, false, true]),
        ] {
            let selector = selector(&[("team", requirement.clone())]);
            assert_eq!([&team, &other, &none].map(|labels| selector.matches(labels)), expected, "{requirement:?}");
        }
    }

    #[test]
    fn everything_is_required_and_nothing_matches_all() {
        assert!(Selector::default().matches(&labels(&[])));
        let both = selector(&[("a", Requirement::Exists), ("b", Requirement::In(values(&["1", ""])))]);
        assert!(both.matches(&labels(&[("a", ""), ("b", "1")])));
        assert!(both.matches(&labels(&[("a", ""), ("b", "")])), "an empty value is a value");
        assert!(!both.matches(&labels(&[("a", ""), ("b", "2")])));
        assert!(!both.matches(&labels(&[("b", "1")])));
    }

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
        let mut selector = Selector::default();
        assert_eq!(selector.require("a", Requirement::In(Vec::new())), Err(LabelError::NoValues));
        assert!(selector.require("a", Requirement::NotIn(values(&["no/value"]))).is_err());
        assert_eq!(selector, Selector::default());
    }
}
