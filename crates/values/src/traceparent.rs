//! The `traceparent` header of W3C Trace Context (Level 1, 3.2).
//!
//! ```
//! use grapnel_values::traceparent::Traceparent;
//!
//! let parent = Traceparent::parse("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01").unwrap();
//! let child = parent.child([7; 8]);
//! assert!(child.is_sampled());
//! assert_eq!((child.trace(), child.span()), (parent.trace(), [7; 8]));
//! ```

use std::fmt;

/// One span of a trace, as propagated between services.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Traceparent {
    trace: [u8; 16],
    span: [u8; 8],
    flags: u8,
}

/// The flag for a trace that the caller may have recorded.
const SAMPLED: u8 = 1;

impl Traceparent {
    /// Parses a header strictly: lower-case hexadecimal, no all-zero identifier, version not `ff`, and nothing after
    /// the flags in version 00. For later versions, only the known part is parsed (3.2.4). `None` starts a new trace.
    pub fn parse(value: &str) -> Option<Self> {
        if value.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return None;
        }
        let mut fields = value.split('-');
        let [version] = decode(fields.next()?)?;
        let trace = decode(fields.next()?)?;
        let span = decode(fields.next()?)?;
        let [flags] = decode(fields.next()?)?;
        let known = version != 0xff && (version != 0 || fields.next().is_none());
        (known && trace != [0; 16] && span != [0; 8]).then_some(Self { trace, span, flags })
    }

    /// Parses the header of a request. More than one `traceparent` header is invalid.
    pub fn single<'a>(mut values: impl Iterator<Item = &'a [u8]>) -> Option<Self> {
        let value = values.next().filter(|_| values.next().is_none())?;
        Self::parse(std::str::from_utf8(value).ok()?)
    }

    /// Creates a span with these identifiers; `None` when either is all zero, which is invalid.
    pub fn of(trace: [u8; 16], span: [u8; 8], sampled: bool) -> Option<Self> {
        let flags = if sampled { SAMPLED } else { 0 };
        (trace != [0; 16] && span != [0; 8]).then_some(Self { trace, span, flags })
    }

    /// Creates the root span of a new, recorded trace.
    pub fn fresh(entropy: [u8; 24]) -> Self {
        let mut trace = [0; 16];
        let mut span = [0; 8];
        for (to, from) in trace.iter_mut().chain(&mut span).zip(entropy) {
            *to = from;
        }
        Self { trace: nonzero(trace), span: nonzero(span), flags: SAMPLED }
    }

    /// Creates a child span, in the same trace and with the same sampling decision.
    #[must_use]
    pub fn child(&self, entropy: [u8; 8]) -> Self {
        // Flags of later versions must not be propagated (3.2.2.5).
        Self { span: nonzero(entropy), flags: self.flags & SAMPLED, ..*self }
    }

    /// Returns the identifier of the trace.
    pub fn trace(&self) -> [u8; 16] {
        self.trace
    }

    /// Returns the identifier of the span.
    pub fn span(&self) -> [u8; 8] {
        self.span
    }

    /// Returns whether the caller may have recorded the trace.
    pub fn is_sampled(&self) -> bool {
        self.flags & SAMPLED != 0
    }

    /// Returns the identifier of the trace in hexadecimal.
    pub fn trace_id(&self) -> String {
        hex::encode(self.trace)
    }
}

impl fmt::Display for Traceparent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{}-{}-{:02x}", hex::encode(self.trace), hex::encode(self.span), self.flags)
    }
}

fn decode<const N: usize>(text: &str) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    hex::decode_to_slice(text, &mut bytes).ok()?;
    Some(bytes)
}

/// An all-zero identifier is invalid.
fn nonzero<const N: usize>(mut bytes: [u8; N]) -> [u8; N] {
    if bytes == [0; N]
        && let Some(last) = bytes.last_mut()
    {
        *last = 1;
    }
    bytes
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The example of the specification, 3.2.3.
    const EXAMPLE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn the_example_is_read_and_written() {
        let parent = Traceparent::parse(EXAMPLE).unwrap();
        assert_eq!(parent.to_string(), EXAMPLE);
        assert_eq!(parent.trace_id(), "4bf92f3577b34da6a3ce929d0e0e4736");
        assert_eq!(parent.child([1; 8]).to_string(), "00-4bf92f3577b34da6a3ce929d0e0e4736-0101010101010101-01");
    }

    #[test]
    fn later_versions_are_read_as_far_as_known() {
        for later in [EXAMPLE.replacen("00", "cc", 1), EXAMPLE.replacen("00", "cc", 1) + "-what-ever"] {
            assert_eq!(Traceparent::parse(&later).unwrap().to_string(), EXAMPLE);
        }
        assert!(Traceparent::parse(&(EXAMPLE.replacen("00", "cc", 1) + ".x")).is_none());
    }

    #[test]
    fn what_is_no_traceparent_is_refused() {
        for value in [
            "",
            "00",
            &EXAMPLE.to_uppercase(),
            &EXAMPLE.replacen("00", "ff", 1),
            &format!("{EXAMPLE}-"),
            &format!("{EXAMPLE} "),
            &format!("{EXAMPLE}-00"),
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4bf92f3577b34da6a3ce929d0e0e473-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "00-4bf92f3577b34da6a3ce929d0e0e473g-00f067aa0ba902b7-01",
        ] {
            assert!(Traceparent::parse(value).is_none(), "{value}");
        }
    }

    proptest! {
        #[test]
        fn what_is_made_can_be_read(entropy in any::<[u8; 24]>(), child in any::<[u8; 8]>()) {
            let fresh = Traceparent::fresh(entropy);
            prop_assert_eq!(Traceparent::parse(&fresh.to_string()), Some(fresh));
            let child = fresh.child(child);
            prop_assert_eq!(Traceparent::parse(&child.to_string()), Some(child));
            prop_assert_eq!(child.trace_id(), fresh.trace_id());
        }

        #[test]
        fn nothing_panics(value in prop_oneof![any::<String>(), "[0-9a-f]{2}-[0-9a-f]{31,33}-[0-9a-f]{16}-[0-9]{2}.?"]) {
            let _ = Traceparent::parse(&value);
        }
    }

    #[test]
    fn no_entropy_still_makes_identifiers() {
        assert!(Traceparent::parse(&Traceparent::fresh([0; 24]).to_string()).is_some());
        assert!(Traceparent::parse(&Traceparent::fresh([1; 24]).child([0; 8]).to_string()).is_some());
    }
}
