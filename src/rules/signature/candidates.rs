//! The signatures in a header.

use super::{
    hmac::{Encoding, Shape},
    key::BASE64,
};
use crate::rules::limits::{SIGNATURE_HEADER_BYTES, SIGNATURES_PER_HEADER};
use base64::Engine;

/// Bytes of the longest signature, that of SHA-512.
const MAX_WIDTH: usize = 64;

/// Room for the base64 decoder, which rounds up.
const SCRATCH: usize = 72;

/// Decoded signatures, kept on the stack.
pub(super) struct Candidates {
    slots: [[u8; MAX_WIDTH]; SIGNATURES_PER_HEADER],
    count: usize,
    width: usize,
}

/// What a signature header holds.
pub(super) struct Parsed<'a> {
    pub(super) candidates: Candidates,
    /// The timestamp, where the shape has one in this header.
    pub(super) timestamp: Option<&'a [u8]>,
}

impl Candidates {
    /// The decoded signatures, all of the width asked for.
    pub(super) fn iter(&self) -> impl Iterator<Item = &[u8]> {
        self.slots.iter().take(self.count).filter_map(|slot| slot.get(..self.width))
    }

    /// Decodes one; what is not a signature of the right width is left out, as it cannot match.
    fn push(&mut self, text: &[u8], encoding: Encoding) -> Result<(), &'static str> {
        let Some(slot) = self.slots.get_mut(self.count) else { return Err("holds too many signatures") };
        let Some(slot) = slot.get_mut(..self.width) else { return Ok(()) };
        let decoded = match encoding {
            Encoding::Hex => hex::decode_to_slice(text, slot).is_ok(),
            Encoding::Base64 => {
                let mut scratch = [0; SCRATCH];
                match BASE64.decode_slice(text, &mut scratch) {
                    Ok(length) if length == self.width => {
                        slot.iter_mut().zip(scratch).for_each(|(to, from)| *to = from);
                        true
                    }
                    _ => false,
                }
            }
        };
        self.count += usize::from(decoded);
        Ok(())
    }
}

impl Shape {
    /// Takes a header apart; signatures have `width` bytes. The error says what is wrong with the header.
    pub(super) fn parse<'a>(
        &self,
        header: &'a [u8],
        encoding: Encoding,
        width: usize,
    ) -> Result<Parsed<'a>, &'static str> {
        if header.len() > SIGNATURE_HEADER_BYTES {
            return Err("is too long");
        }
        let slots = [[0; MAX_WIDTH]; SIGNATURES_PER_HEADER];
        let mut candidates = Candidates { slots, count: 0, width };
        let mut timestamp = None;
        match self {
            Self::Prefixed(prefix) => {
                let text = header.strip_prefix(prefix.as_bytes()).ok_or("lacks the prefix of a signature")?;
                candidates.push(text, encoding)?;
            }
            Self::Pairs { signature, timestamp: timestamp_key } => {
                for pair in header.split(|byte| *byte == b',') {
                    let Some((key, value)) = split_once(pair.trim_ascii(), b'=') else { continue };
                    if key == signature.as_bytes() {
                        candidates.push(value, encoding)?;
                    } else if timestamp_key.as_ref().is_some_and(|wanted| key == wanted.as_bytes())
                        && timestamp.replace(value).is_some()
                    {
                        return Err("holds more than one timestamp");
                    }
                }
            }
            Self::List { version } => {
                for entry in header.split(|byte| *byte == b' ') {
                    if let Some((found, value)) = split_once(entry, b',')
                        && found == version.as_bytes()
                    {
                        candidates.push(value, encoding)?;
                    }
                }
            }
        }
        if candidates.count == 0 {
            return Err("holds no well-formed signature");
        }
        Ok(Parsed { candidates, timestamp })
    }
}

fn split_once(text: &[u8], separator: u8) -> Option<(&[u8], &[u8])> {
    let at = text.iter().position(|byte| *byte == separator)?;
    let (before, after) = text.split_at_checked(at)?;
    Some((before, after.get(1..)?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(shape: &Shape, header: &str, encoding: Encoding) -> Result<(Vec<Vec<u8>>, Option<String>), &'static str> {
        let parsed = shape.parse(header.as_bytes(), encoding, 2)?;
        let timestamp = parsed.timestamp.map(|text| String::from_utf8(text.to_vec()).unwrap());
        Ok((parsed.candidates.iter().map(<[u8]>::to_vec).collect(), timestamp))
    }

    #[test]
    fn one_with_a_prefix() {
        let shape = Shape::Prefixed("sha256=".into());
        assert_eq!(parse(&shape, "sha256=aBcD", Encoding::Hex), Ok((vec![vec![0xab, 0xcd]], None)));
        for header in ["abcd", "SHA256=abcd", "sha256=", "sha256=abc", "sha256=abcdef", "sha256=zzzz", "sha256= abcd"] {
            assert!(parse(&shape, header, Encoding::Hex).is_err(), "{header}");
        }
        let bare = Shape::Prefixed(String::new());
        assert_eq!(parse(&bare, "q80=", Encoding::Base64), Ok((vec![vec![0xab, 0xcd]], None)));
        assert_eq!(parse(&bare, "q80", Encoding::Base64), Ok((vec![vec![0xab, 0xcd]], None)));
        for header in ["q80==", "q80=,q80=", "q8", "q81=", "q83N", "-_8="] {
            assert!(parse(&bare, header, Encoding::Base64).is_err(), "{header}");
        }
    }

    #[test]
    fn pairs() {
        let shape = Shape::Pairs { signature: "v1".into(), timestamp: Some("t".into()) };
        let both = Ok((vec![vec![0xab, 0xcd], vec![0, 1]], Some("17".into())));
        assert_eq!(parse(&shape, "t=17,v1=abcd,v0=ffff,v1=0001", Encoding::Hex), both);
        assert_eq!(parse(&shape, "v1=abcd, t=17 ,v1=no,x,v1=0001,", Encoding::Hex), both);
        assert_eq!(parse(&shape, "v1=abcd", Encoding::Hex), Ok((vec![vec![0xab, 0xcd]], None)));
        assert!(parse(&shape, "t=1,t=2,v1=abcd", Encoding::Hex).is_err());
        assert!(parse(&shape, "t=17,v0=abcd", Encoding::Hex).is_err());
    }

    #[test]
    fn a_list() {
        let shape = Shape::List { version: "v1".into() };
        assert_eq!(parse(&shape, "v1a,AAAA v1,q80= v2,q80= v1,AAE=", Encoding::Base64).unwrap().0.len(), 2);
        for header in ["q80=", "v1q80=", "v1a,q80=", "v1,", " ", ","] {
            assert!(parse(&shape, header, Encoding::Base64).is_err(), "{header}");
        }
    }

    #[test]
    fn too_much_is_refused() {
        let shape = Shape::List { version: "v1".into() };
        let full = vec!["v1,q80="; SIGNATURES_PER_HEADER].join(" ");
        assert_eq!(parse(&shape, &full, Encoding::Base64).unwrap().0.len(), SIGNATURES_PER_HEADER);
        assert!(parse(&shape, &format!("{full} v1,q80="), Encoding::Base64).is_err());
        assert!(parse(&shape, &"v1,q80= ".repeat(10_000), Encoding::Base64).is_err());
    }

    #[test]
    fn the_widest_signature_fits() {
        let shape = Shape::Prefixed(String::new());
        let signature = BASE64.encode([9; 64]);
        let parsed = shape.parse(signature.as_bytes(), Encoding::Base64, 64).unwrap();
        assert_eq!(parsed.candidates.iter().collect::<Vec<_>>(), [&[9; 64]]);
    }

    fn shapes() -> impl Strategy<Value = Shape> {
        prop_oneof![
            "[a-z=]{0,4}".prop_map(Shape::Prefixed),
            Just(Shape::Pairs { signature: "v1".into(), timestamp: Some("t".into()) }),
            Just(Shape::Pairs { signature: "v1".into(), timestamp: None }),
            Just(Shape::List { version: "v1".into() }),
        ]
    }

    proptest! {
        #[test]
        fn no_header_panics(
            shape in shapes(),
            header in prop_oneof![
                proptest::collection::vec(any::<u8>(), 0..200),
                "((t|v1|v0)[=,][0-9a-f=/+]{0,90}[, ]{0,2}){0,20}".prop_map(String::into_bytes),
            ],
            base64 in any::<bool>(),
            width in prop_oneof![Just(20usize), Just(32), Just(64)],
        ) {
            let encoding = if base64 { Encoding::Base64 } else { Encoding::Hex };
            if let Ok(parsed) = shape.parse(&header, encoding, width) {
                prop_assert!((1..=SIGNATURES_PER_HEADER).contains(&parsed.candidates.iter().count()));
                prop_assert!(parsed.candidates.iter().all(|candidate| candidate.len() == width));
            }
        }
    }
}
