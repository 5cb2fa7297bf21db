//! Byte counts in the syntax of Kubernetes quantities.
//!
//! ```
//! use grapnel_values::quantity;
//!
//! assert_eq!(quantity::parse("1Mi"), Ok(1 << 20));
//! assert!(quantity::parse("1MB").is_err());
//! ```

use super::limits::SCALAR_BYTES;

/// The syntax that [`parse`] accepts, as a regular expression for the rules of a CRD. Only [`parse`] checks that the number
/// of bytes is whole.
pub const PATTERN: &str = "^[0-9]+([.][0-9]+)?([kMGTPE]|[KMGTPE]i)?$";

/// Why a text is not a number of bytes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum QuantityError {
    /// The text is empty.
    #[error("a number of bytes is empty; write one such as 1Mi, 512Ki or 65536")]
    Empty,
    /// The text is longer than any quantity needs to be.
    #[error("a number of bytes has more than {SCALAR_BYTES} characters; write one such as 1Mi, 512Ki or 65536")]
    TooLong,
    /// The number is malformed.
    #[error("`{0}` is not a number of bytes; write one such as 1Mi, 512Ki or 65536")]
    Number(String),
    /// The suffix is unknown.
    #[error(
        "`{text}` ends with the unknown suffix `{suffix}`; known are Ki, Mi, Gi, Ti, Pi, Ei (1024) and k, M, G, T, P, \
         E (1000)"
    )]
    Suffix {
        /// The whole text.
        text: String,
        /// The text in place of the suffix.
        suffix: String,
    },
    /// The quantity is not a whole number of bytes.
    #[error("`{0}` is not a whole number of bytes")]
    Fraction(String),
    /// The quantity exceeds 64 bits.
    #[error("`{0}` is more than 16Ei, the largest number of bytes")]
    TooLarge(String),
}

/// Parses a number of bytes: a decimal number with an optional Kubernetes suffix
/// (`k8s.io/apimachinery/pkg/api/resource`). Exponents and `m` (thousandths) are rejected, because they make no sense
/// for bytes.
///
/// # Errors
///
/// [`QuantityError`] says what is wrong and what a quantity looks like.
pub fn parse(text: &str) -> Result<u64, QuantityError> {
    if text.is_empty() {
        return Err(QuantityError::Empty);
    }
    if text.len() > SCALAR_BYTES {
        return Err(QuantityError::TooLong);
    }
    let not_a_number = || QuantityError::Number(text.into());
    let (whole, rest) = digits(text);
    let (fraction, suffix) = match rest.strip_prefix('.') {
        Some(rest) => digits(rest),
        None => ("0", rest),
    };
    if whole.is_empty() || fraction.is_empty() {
        return Err(not_a_number());
    }
    let scale: u128 = match suffix {
        "" => 1,
        "k" => 1_000,
        "M" => 1_000_000,
        "G" => 1_000_000_000,
        "T" => 1_000_000_000_000,
        "P" => 1_000_000_000_000_000,
        "E" => 1_000_000_000_000_000_000,
        "Ki" => 1 << 10,
        "Mi" => 1 << 20,
        "Gi" => 1 << 30,
        "Ti" => 1 << 40,
        "Pi" => 1 << 50,
        "Ei" => 1 << 60,
        other => return Err(QuantityError::Suffix { text: text.into(), suffix: other.into() }),
    };
    let too_large = || QuantityError::TooLarge(text.into());
    let whole: u128 = whole.parse().map_err(|_| too_large())?;
    let mut bytes = whole.checked_mul(scale).ok_or_else(too_large)?;
    let fraction = fraction.trim_end_matches('0');
    if !fraction.is_empty() {
        let part: u128 = fraction.parse().map_err(|_| QuantityError::Fraction(text.into()))?;
        let places = u32::try_from(fraction.len()).unwrap_or(u32::MAX);
        let denominator = 10u128.checked_pow(places).ok_or_else(|| QuantityError::Fraction(text.into()))?;
        let scaled = part.checked_mul(scale).ok_or_else(|| QuantityError::Fraction(text.into()))?;
        if scaled % denominator != 0 {
            return Err(QuantityError::Fraction(text.into()));
        }
        bytes = bytes.checked_add(scaled / denominator).ok_or_else(too_large)?;
    }
    u64::try_from(bytes).map_err(|_| too_large())
}

fn digits(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    text.split_at_checked(end).unwrap_or((text, ""))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_usual_ones() {
        for (text, bytes) in [
            ("0", 0),
            ("65536", 65536),
            ("512Ki", 512 << 10),
            ("1Mi", 1 << 20),
            ("1Gi", 1 << 30),
            ("100k", 100_000),
            ("1.5Gi", 3 << 29),
            ("0.5k", 500),
            ("1.000", 1),
            ("15Ei", 15 << 60),
            ("18446744073709551615", u64::MAX),
        ] {
            assert_eq!(parse(text), Ok(bytes), "{text}");
        }
    }

    #[test]
    fn the_wrong_ones_say_what_is_wrong() {
        assert_eq!(parse(""), Err(QuantityError::Empty));
        for text in ["-1", "Mi", ".5Mi", "1.Mi", " 1"] {
            assert!(matches!(parse(text), Err(QuantityError::Number(_))), "{text}");
        }
        for text in ["1MB", "1K", "1m", "1e3", "1 Mi", "1Mi ", "1mi"] {
            assert!(matches!(parse(text), Err(QuantityError::Suffix { .. })), "{text}");
        }
        for text in ["0.5", "1.0001k", "0.3Ki"] {
            assert!(matches!(parse(text), Err(QuantityError::Fraction(_))), "{text}");
        }
        for text in ["16Ei", "18446744073709551616", "340282366920938463463374607431768211456"] {
            assert!(matches!(parse(text), Err(QuantityError::TooLarge(_))), "{text}");
        }
        assert_eq!(parse(&"1".repeat(65)), Err(QuantityError::TooLong));
    }

    fn matches_pattern(text: &str) -> bool {
        let schema = serde_json::json!({ "pattern": PATTERN });
        jsonschema::validator_for(&schema).unwrap().is_valid(&text.into())
    }

    proptest! {
        #[test]
        fn plain_numbers_are_themselves(bytes in any::<u64>()) {
            prop_assert_eq!(parse(&bytes.to_string()), Ok(bytes));
        }

        #[test]
        fn what_parses_matches_the_pattern(text in r"[0-9]{0,3}(\.0{0,3})?(k|M|G|T|Ki|Mi|Gi|m|e3|B)?") {
            prop_assert_eq!(parse(&text).is_ok(), matches_pattern(&text), "{}", text);
        }

        #[test]
        fn anything_else_never_panics(text in any::<String>()) {
            let _ = parse(&text);
        }
    }
}
