//! Signature headers: their layouts, and how they are parsed and written.

use std::borrow::Cow;

use base64::Engine;

use super::{key::BASE64, public_key::Curve};
use crate::limits::{PUBLIC_KEY_SIGNATURES_PER_HEADER, SIGNATURE_HEADER_BYTES, SIGNATURES_PER_HEADER};

/// Maximum length of a signature in bytes: ECDSA on P-256 in DER. Those of SHA-512 have 64.
const MAX_WIDTH: usize = 72;

/// Encoding of a signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SignatureEncoding {
    /// Hexadecimal, in either case.
    Hex,
    /// Base64 in the standard alphabet, with or without padding.
    Base64,
}

/// Layout of a signature header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shape {
    /// One signature after a literal prefix: `sha256=…`, `v0=…`, or no prefix at all.
    Prefixed(Cow<'static, str>),
    /// Comma-separated `key=value` pairs, as in Stripe's `t=…,v1=…,v1=…`. Unknown keys are ignored.
    Pairs {
        /// Key of the signatures.
        signature: Cow<'static, str>,
        /// Key of the timestamp, if it is in this header.
        timestamp: Option<Cow<'static, str>>,
    },
    /// Space-separated entries `version,signature`, as in Standard Webhooks. Unknown versions are ignored.
    List {
        /// Version of HMAC signatures.
        version: Cow<'static, str>,
        /// Version of public-key signatures.
        public_version: Cow<'static, str>,
    },
}

/// The signatures to look for.
#[derive(Debug, Clone, Copy)]
pub(super) struct SignatureShape {
    /// Minimum length in bytes.
    shortest: usize,
    /// Maximum length in bytes.
    longest: usize,
    /// Maximum number of signatures in one header.
    most: usize,
    /// Whether they are public-key signatures.
    public: bool,
}

impl SignatureShape {
    /// HMACs of `width` bytes.
    pub(super) fn mac(width: usize) -> Self {
        Self { shortest: width, longest: width, most: SIGNATURES_PER_HEADER, public: false }
    }

    /// Public-key signatures on a curve.
    pub(super) fn public(curve: Curve) -> Self {
        let (shortest, longest) = curve.widths();
        Self { shortest, longest, most: PUBLIC_KEY_SIGNATURES_PER_HEADER, public: true }
    }
}

/// Decoded signatures, stored on the stack.
pub(super) struct Candidates {
    slots: [([u8; MAX_WIDTH], usize); SIGNATURES_PER_HEADER],
    count: usize,
    wanted: SignatureShape,
}

impl Candidates {
    fn new(wanted: SignatureShape) -> Self {
        Self { slots: [([0; MAX_WIDTH], 0); SIGNATURES_PER_HEADER], count: 0, wanted }
    }

    /// Iterates over the decoded signatures, all of an accepted length.
    pub(super) fn iter(&self) -> impl Iterator<Item = &[u8]> {
        self.slots.iter().take(self.count).filter_map(|(slot, width)| slot.get(..*width))
    }

    /// Decodes one signature. A text of the wrong length is skipped, because it cannot match.
    fn push(&mut self, text: &[u8], encoding: SignatureEncoding) -> Result<(), &'static str> {
        let Some((slot, width)) = self.slots.get_mut(..self.wanted.most).and_then(|slots| slots.get_mut(self.count))
        else {
            return Err("has too many signatures");
        };
        let decoded = match encoding {
            SignatureEncoding::Hex => {
                let half = text.len() / 2;
                slot.get_mut(..half).and_then(|slot| hex::decode_to_slice(text, slot).ok()).map(|()| half)
            }
            SignatureEncoding::Base64 => BASE64.decode_slice(text, slot).ok(),
        };
        if let Some(length) = decoded.filter(|length| (self.wanted.shortest..=self.wanted.longest).contains(length)) {
            *width = length;
            self.count += 1;
        }
        Ok(())
    }
}

impl Shape {
    /// Parses the signatures in a header. The error says what is wrong with the header.
    pub(super) fn parse(
        &self,
        header: &[u8],
        encoding: SignatureEncoding,
        wanted: SignatureShape,
    ) -> Result<Candidates, &'static str> {
        bounded(header)?;
        let mut candidates = Candidates::new(wanted);
        match self {
            Self::Prefixed(prefix) => {
                let text = header.strip_prefix(prefix.as_bytes()).ok_or("does not start with the signature prefix")?;
                candidates.push(text, encoding)?;
            }
            Self::Pairs { signature, .. } => {
                for (key, value) in pairs(header) {
                    if key == signature.as_bytes() {
                        candidates.push(value, encoding)?;
                    }
                }
            }
            Self::List { version, public_version } => {
                let version = if wanted.public { public_version } else { version };
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
            return Err("has no well-formed signature");
        }
        Ok(candidates)
    }

    /// Returns the timestamp in a signature header, if the shape has one.
    pub(super) fn timestamp<'a>(&self, header: &'a [u8]) -> Result<Option<&'a [u8]>, &'static str> {
        let Self::Pairs { timestamp: Some(wanted), .. } = self else { return Ok(None) };
        bounded(header)?;
        let mut timestamps = pairs(header).filter(|(key, _)| *key == wanted.as_bytes()).map(|(_, value)| value);
        match (timestamps.next(), timestamps.next()) {
            (_, Some(_)) => Err("holds more than one timestamp"),
            (timestamp, None) => Ok(timestamp),
        }
    }

    /// Composes a header with one signature.
    pub(super) fn compose(&self, signature: &str, timestamp: &str, public: bool) -> String {
        match self {
            Self::Prefixed(prefix) => format!("{prefix}{signature}"),
            Self::Pairs { signature: key, timestamp: None } => format!("{key}={signature}"),
            Self::Pairs { signature: key, timestamp: Some(time) } => format!("{time}={timestamp},{key}={signature}"),
            Self::List { public_version, .. } if public => format!("{public_version},{signature}"),
            Self::List { version, .. } => format!("{version},{signature}"),
        }
    }
}

impl SignatureEncoding {
    pub(super) fn encode(self, bytes: &[u8]) -> String {
        match self {
            Self::Hex => hex::encode(bytes),
            Self::Base64 => BASE64.encode(bytes),
        }
    }
}

fn bounded(header: &[u8]) -> Result<(), &'static str> {
    if header.len() > SIGNATURE_HEADER_BYTES { Err("is too long") } else { Ok(()) }
}

/// Iterates over comma-separated `key=value` pairs.
fn pairs(header: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    header.split(|byte| *byte == b',').filter_map(|pair| split_once(pair.trim_ascii(), b'='))
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

    fn parse(
        shape: &Shape,
        header: &str,
        encoding: SignatureEncoding,
    ) -> Result<(Vec<Vec<u8>>, Option<String>), &'static str> {
        let timestamp = shape.timestamp(header.as_bytes())?.map(|text| String::from_utf8(text.to_vec()).unwrap());
        let candidates = shape.parse(header.as_bytes(), encoding, SignatureShape::mac(2))?;
        Ok((candidates.iter().map(<[u8]>::to_vec).collect(), timestamp))
    }

    #[test]
    fn one_with_a_prefix() {
        let shape = Shape::Prefixed("sha256=".into());
        assert_eq!(parse(&shape, "sha256=aBcD", SignatureEncoding::Hex), Ok((vec![vec![0xab, 0xcd]], None)));
        for header in ["abcd", "SHA256=abcd", "sha256=", "sha256=abc", "sha256=abcdef", "sha256=zzzz", "sha256= abcd"] {
            assert!(parse(&shape, header, SignatureEncoding::Hex).is_err(), "{header}");
        }
        let bare = Shape::Prefixed("".into());
        assert_eq!(parse(&bare, "q80=", SignatureEncoding::Base64), Ok((vec![vec![0xab, 0xcd]], None)));
        assert_eq!(parse(&bare, "q80", SignatureEncoding::Base64), Ok((vec![vec![0xab, 0xcd]], None)));
        for header in ["q80==", "q80=,q80=", "q8", "q81=", "q83N", "-_8="] {
            assert!(parse(&bare, header, SignatureEncoding::Base64).is_err(), "{header}");
        }
    }

    #[test]
    fn pairs() {
        let shape = Shape::Pairs { signature: "v1".into(), timestamp: Some("t".into()) };
        let both = Ok((vec![vec![0xab, 0xcd], vec![0, 1]], Some("17".into())));
        assert_eq!(parse(&shape, "t=17,v1=abcd,v0=ffff,v1=0001", SignatureEncoding::Hex), both);
        assert_eq!(parse(&shape, "v1=abcd, t=17 ,v1=no,x,v1=0001,", SignatureEncoding::Hex), both);
        assert_eq!(parse(&shape, "v1=abcd", SignatureEncoding::Hex), Ok((vec![vec![0xab, 0xcd]], None)));
        assert!(parse(&shape, "t=1,t=2,v1=abcd", SignatureEncoding::Hex).is_err());
        assert!(parse(&shape, "t=17,v0=abcd", SignatureEncoding::Hex).is_err());
    }

    #[test]
    fn a_list() {
        let shape = Shape::List { version: "v1".into(), public_version: "v1a".into() };
        assert_eq!(parse(&shape, "v1a,AAAA v1,q80= v2,q80= v1,AAE=", SignatureEncoding::Base64).unwrap().0.len(), 2);
        for header in ["q80=", "v1q80=", "v1a,q80=", "v1,", " ", ","] {
            assert!(parse(&shape, header, SignatureEncoding::Base64).is_err(), "{header}");
        }
    }

    #[test]
    fn too_much_is_refused() {
        let shape = Shape::List { version: "v1".into(), public_version: "v1a".into() };
        let full = vec!["v1,q80="; SIGNATURES_PER_HEADER].join(" ");
        assert_eq!(parse(&shape, &full, SignatureEncoding::Base64).unwrap().0.len(), SIGNATURES_PER_HEADER);
        assert!(parse(&shape, &format!("{full} v1,q80="), SignatureEncoding::Base64).is_err());
        assert!(parse(&shape, &"v1,q80= ".repeat(10_000), SignatureEncoding::Base64).is_err());
    }

    #[test]
    fn the_widest_signature_fits() {
        let shape = Shape::Prefixed("".into());
        let signature = BASE64.encode([9; 64]);
        let parsed = shape.parse(signature.as_bytes(), SignatureEncoding::Base64, SignatureShape::mac(64)).unwrap();
        assert_eq!(parsed.iter().collect::<Vec<_>>(), [&[9; 64]]);
        let signature = BASE64.encode([9; 72]);
        let wanted = SignatureShape::public(Curve::P256);
        let parsed = shape.parse(signature.as_bytes(), SignatureEncoding::Base64, wanted).unwrap();
        assert_eq!(parsed.iter().collect::<Vec<_>>(), [&[9; 72]]);
        for wrong in [BASE64.encode([9; 73]), BASE64.encode([9; 7]), BASE64.encode([9; 300])] {
            assert!(shape.parse(wrong.as_bytes(), SignatureEncoding::Base64, wanted).is_err(), "{wrong}");
        }
    }

    #[test]
    fn fewer_signatures_by_public_keys_are_tried() {
        let shape = Shape::List { version: "v1".into(), public_version: "v1a".into() };
        let entry = format!("v1a,{}", BASE64.encode([9; 64]));
        let list = |count| vec![entry.as_str(); count].join(" ");
        let parse = |text: String| {
            shape
                .parse(text.as_bytes(), SignatureEncoding::Base64, SignatureShape::public(Curve::Ed25519))
                .map(|found| found.count)
        };
        let most = PUBLIC_KEY_SIGNATURES_PER_HEADER;
        assert_eq!(parse(list(most)), Ok(most));
        assert!(parse(list(most + 1)).is_err());
        assert!(parse(list(1).replace("v1a", "v1")).is_err());
    }

    fn shapes() -> impl Strategy<Value = Shape> {
        prop_oneof![
            "[a-z=]{0,4}".prop_map(|prefix| Shape::Prefixed(prefix.into())),
            Just(Shape::Pairs { signature: "v1".into(), timestamp: Some("t".into()) }),
            Just(Shape::Pairs { signature: "v1".into(), timestamp: None }),
            Just(Shape::List { version: "v1".into(), public_version: "v1a".into() }),
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
            let encoding = if base64 { SignatureEncoding::Base64 } else { SignatureEncoding::Hex };
            let _ = shape.timestamp(&header);
            let _ = shape.parse(&header, encoding, SignatureShape::public(Curve::P256));
            if let Ok(parsed) = shape.parse(&header, encoding, SignatureShape::mac(width)) {
                prop_assert!((1..=SIGNATURES_PER_HEADER).contains(&parsed.iter().count()));
                prop_assert!(parsed.iter().all(|candidate| candidate.len() == width));
            }
        }
    }
}
