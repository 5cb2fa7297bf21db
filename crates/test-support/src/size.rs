//! Sizes of tests.

use std::{fmt::Display, str::FromStr};

/// Returns the size that the environment variable sets, or `default`, which fits into every run.
///
/// # Panics
///
/// If the variable is set to anything but a number.
pub fn size<N: FromStr<Err: Display>>(variable: &str, default: N) -> N {
    let Ok(text) = std::env::var(variable) else { return default };
    text.parse().unwrap_or_else(|error| panic!("{variable}={text}: {error}"))
}
