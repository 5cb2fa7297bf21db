//! Signatures by HMAC (RFC 2104).

use std::{fmt, time::Duration};

use hmac::{Hmac, KeyInit, Mac, digest::OutputSizeUser};
use http::{HeaderMap, HeaderName};
use jiff::Timestamp;
use sha1::Sha1;
use sha2::{Sha256, Sha512};
use subtle::{Choice, ConstantTimeEq};
use zeroize::Zeroizing;

use super::{Content, KeyError, KeyForm, KeyProblem, Refusal, candidates::Candidates, content::Fields, key, single};
use crate::rules::{duration, limits::TIMESTAMP_DIGITS, secret::Secret};

/// How a sender signs with an HMAC.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HmacScheme {
    /// Header that carries the signature.
    pub header: HeaderName,
    /// Hash function.
    pub algorithm: Algorithm,
    /// How a signature is written.
    pub encoding: Encoding,
    /// How the header is put together.
    pub shape: Shape,
    /// What is signed.
    pub content: Content,
    /// Where the time of signing is.
    pub timestamp: Option<TimestampSource>,
    /// Header that carries the id, where that is signed.
    pub id_header: Option<HeaderName>,
    /// How far the timestamp may be from now, either way; `None` does not look at it.
    pub tolerance: Option<Duration>,
    /// How secrets are written.
    pub key_form: KeyForm,
}

/// Hash function of an HMAC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// SHA-1. Broken for collisions, not for HMAC (RFC 6151, 2.3 argues the same for MD5).
    Sha1,
    /// SHA-256.
    Sha256,
    /// SHA-512.
    Sha512,
}

/// How a signature is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// Hexadecimal, either case.
    Hex,
    /// Base64 in the standard alphabet, with or without padding.
    Base64,
}

/// How a signature header is put together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shape {
    /// One signature after a literal prefix: `sha256=…`, `v0=…`, or no prefix at all.
    Prefixed(String),
    /// Comma-separated pairs `key=value`, as Stripe's `t=…,v1=…,v1=…`. Unknown keys are ignored.
    Pairs {
        /// Key of the signatures.
        signature: String,
        /// Key of the timestamp, where it is in this header.
        timestamp: Option<String>,
    },
    /// Space-separated entries `version,signature`, as in Standard Webhooks. Unknown versions are ignored.
    List {
        /// Version of the signatures.
        version: String,
    },
}

/// Where the time of signing is: whole seconds since 1970 in decimal digits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TimestampSource {
    /// In a header of its own.
    Header(HeaderName),
    /// In the signature header, under [`Shape::Pairs`]'s timestamp key.
    InSignature,
}

/// An HMAC scheme with its keys.
pub(super) struct HmacVerifier {
    scheme: HmacScheme,
    keys: Keys,
}

impl fmt::Debug for HmacVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HmacVerifier").field("scheme", &self.scheme).finish_non_exhaustive()
    }
}

impl HmacVerifier {
    pub(super) fn new(scheme: HmacScheme, secrets: &[Secret]) -> Result<Self, KeyError> {
        scheme.check().map_err(|problem| problem.at(0))?;
        let keys = key::each(secrets, |secret| scheme.key_form.key(secret))?;
        let keys = Keys::new(scheme.algorithm, &keys)?;
        Ok(Self { scheme, keys })
    }

    pub(super) fn scheme(&self) -> &HmacScheme {
        &self.scheme
    }

    pub(super) fn verify(&self, headers: &HeaderMap, body: &[u8], now: Timestamp) -> Result<(), Refusal> {
        let scheme = &self.scheme;
        let header = &scheme.header;
        let signature = single(headers, header, "signature")?;
        let timestamp = match &scheme.timestamp {
            Some(TimestampSource::Header(name)) => Some((name, single(headers, name, "timestamp")?.as_bytes())),
            Some(TimestampSource::InSignature) | None => None,
        };
        let id = match &scheme.id_header {
            Some(name) => single(headers, name, "id")?.as_bytes(),
            None => &[],
        };
        let parsed = scheme
            .shape
            .parse(signature.as_bytes(), scheme.encoding, scheme.algorithm.width())
            .map_err(|what| Refusal::InvalidSignature(format!("header {header} {what}")))?;
        let timestamp = match (&scheme.timestamp, parsed.timestamp) {
            (Some(TimestampSource::InSignature), None) => {
                return Err(Refusal::InvalidSignature(format!("header {header} holds no timestamp")));
            }
            (Some(TimestampSource::InSignature), Some(text)) => Some((header, text)),
            _ => timestamp,
        };
        let time = match timestamp {
            Some((name, text)) => Some((
                name,
                seconds(text).ok_or_else(|| {
                    let sentence = format!("the timestamp in header {name} is not a number of seconds since 1970");
                    Refusal::InvalidSignature(sentence)
                })?,
            )),
            None => None,
        };
        let timestamp = timestamp.map_or(&[][..], |(_, text)| text);
        let fields = Fields { timestamp, id, body };
        if !self.keys.any_matches(&scheme.content, fields, &parsed.candidates) {
            let sentence = format!("no signature in header {header} is that of this body made with any of the secrets");
            return Err(Refusal::InvalidSignature(sentence));
        }
        match (time, scheme.tolerance) {
            (Some((name, time)), Some(tolerance)) => recent(name, time, tolerance, now),
            _ => Ok(()),
        }
    }
}

impl HmacScheme {
    /// Finds contradictions, which would otherwise refuse every request or, worse, check less than was meant.
    fn check(&self) -> Result<(), KeyProblem> {
        let in_signature = self.timestamp == Some(TimestampSource::InSignature);
        let has_key = matches!(self.shape, Shape::Pairs { timestamp: Some(_), .. });
        let problem = if self.content.uses_timestamp() && self.timestamp.is_none() {
            "the signed content has {timestamp}, but no header is named to take it from"
        } else if self.content.uses_id() && self.id_header.is_none() {
            "the signed content has {id}, but no header is named to take it from"
        } else if in_signature && !has_key {
            "the timestamp is to be in the signature header, but nothing says under which key"
        } else if self.tolerance.is_some() && self.timestamp.is_none() {
            "there is a tolerance, but no timestamp to compare with it"
        } else {
            return Ok(());
        };
        Err(KeyProblem::Scheme(problem))
    }

    /// The signature that one secret makes, as text.
    pub(super) fn sign(&self, secret: &Secret, fields: Fields<'_>) -> Result<String, KeyProblem> {
        self.check()?;
        let key = self.key_form.key(secret)?;
        let keys = Keys::new(self.algorithm, &[key]).map_err(|error| error.problem)?;
        Ok(self.encoding.encode(keys.tags(&self.content, fields).first().map_or(&[][..], Vec::as_slice)))
    }
}

/// Seconds since 1970. What does not fit into 64 bits counts as the largest: a moment no tolerance reaches. `None`
/// when it is not a plain decimal number of at most [`TIMESTAMP_DIGITS`].
fn seconds(text: &[u8]) -> Option<u64> {
    if text.is_empty() || text.len() > TIMESTAMP_DIGITS || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let digit = |byte: &u8| u64::from(byte.saturating_sub(b'0'));
    Some(text.iter().fold(0u64, |sum, byte| sum.saturating_mul(10).saturating_add(digit(byte))))
}

fn recent(name: &HeaderName, time: u64, tolerance: Duration, now: Timestamp) -> Result<(), Refusal> {
    let now = now.as_nanosecond();
    let distance = (i128::from(time) * 1_000_000_000 - now).unsigned_abs();
    if distance <= tolerance.as_nanos() {
        return Ok(());
    }
    let way = if i128::from(time) * 1_000_000_000 < now { "too long ago" } else { "in the future" };
    let tolerance = duration::format(tolerance);
    let sentence = format!("the timestamp in header {name} is {way}; it may be {tolerance} from now at most");
    Err(Refusal::StaleTimestamp(sentence))
}

impl Algorithm {
    /// Bytes of a signature.
    fn width(self) -> usize {
        match self {
            Self::Sha1 => Sha1::output_size(),
            Self::Sha256 => Sha256::output_size(),
            Self::Sha512 => Sha512::output_size(),
        }
    }
}

impl Encoding {
    pub(super) fn encode(self, bytes: &[u8]) -> String {
        match self {
            Self::Hex => hex::encode(bytes),
            Self::Base64 => base64::Engine::encode(&key::BASE64, bytes),
        }
    }
}

/// Keyed states, ready to be copied for each message: the key's two blocks are hashed once and not for each request.
pub(super) enum Keys {
    Sha1(Vec<Hmac<Sha1>>),
    Sha256(Vec<Hmac<Sha256>>),
    Sha512(Vec<Hmac<Sha512>>),
}

impl Keys {
    pub(super) fn new(algorithm: Algorithm, keys: &[Zeroizing<Vec<u8>>]) -> Result<Self, KeyError> {
        fn keyed<M: KeyInit>(keys: &[Zeroizing<Vec<u8>>]) -> Result<Vec<M>, KeyError> {
            let keyed = |(index, key): (usize, &Zeroizing<Vec<u8>>)| {
                // HMAC takes keys of every length, so the error never comes.
                M::new_from_slice(key).map_err(|_| KeyProblem::TooLong(key.len()).at(index))
            };
            keys.iter().enumerate().map(keyed).collect()
        }
        Ok(match algorithm {
            Algorithm::Sha1 => Self::Sha1(keyed(keys)?),
            Algorithm::Sha256 => Self::Sha256(keyed(keys)?),
            Algorithm::Sha512 => Self::Sha512(keyed(keys)?),
        })
    }

    /// Whether any key makes any of the signatures. All of both are compared, in constant time, whatever was found.
    fn any_matches(&self, content: &Content, fields: Fields<'_>, candidates: &Candidates) -> bool {
        fn any<M: Mac + Clone>(keys: &[M], content: &Content, fields: Fields<'_>, candidates: &Candidates) -> bool {
            let mut found = Choice::from(0);
            for key in keys {
                let tag = tag(key, content, fields);
                for candidate in candidates.iter() {
                    found |= tag.as_ref().ct_eq(candidate);
                }
            }
            found.into()
        }
        match self {
            Self::Sha1(keys) => any(keys, content, fields, candidates),
            Self::Sha256(keys) => any(keys, content, fields, candidates),
            Self::Sha512(keys) => any(keys, content, fields, candidates),
        }
    }

    /// The signature of every key.
    pub(super) fn tags(&self, content: &Content, fields: Fields<'_>) -> Vec<Vec<u8>> {
        fn all<M: Mac + Clone>(keys: &[M], content: &Content, fields: Fields<'_>) -> Vec<Vec<u8>> {
            keys.iter().map(|key| tag(key, content, fields).as_ref().to_vec()).collect()
        }
        match self {
            Self::Sha1(keys) => all(keys, content, fields),
            Self::Sha256(keys) => all(keys, content, fields),
            Self::Sha512(keys) => all(keys, content, fields),
        }
    }
}

fn tag<M: Mac + Clone>(key: &M, content: &Content, fields: Fields<'_>) -> impl AsRef<[u8]> {
    let mut mac = key.clone();
    content.feed(fields, |bytes| mac.update(bytes));
    mac.finalize().into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamps_are_plain_decimal_numbers() {
        assert_eq!(seconds(b"0"), Some(0));
        assert_eq!(seconds(b"1614265330"), Some(1_614_265_330));
        assert_eq!(seconds(b"0001614265330"), Some(1_614_265_330));
        assert_eq!(seconds(b"18446744073709551615"), Some(u64::MAX));
        assert_eq!(seconds(b"99999999999999999999"), Some(u64::MAX), "saturates");
        let too_long = [b'1'; TIMESTAMP_DIGITS + 1];
        for text in [&b""[..], b"-1", b"+1", b" 1", b"1 ", b"1.5", b"1e9", b"0x1", b"\xff", "١".as_bytes(), &too_long]
        {
            assert_eq!(seconds(text), None, "{text:?}");
        }
    }

    #[test]
    fn the_edge_of_the_tolerance_is_within() {
        let name = HeaderName::from_static("t");
        let now = Timestamp::from_second(1000).unwrap();
        let minute = Duration::from_secs(60);
        for time in [940, 1000, 1060] {
            assert!(recent(&name, time, minute, now).is_ok(), "{time}");
        }
        for time in [0, 939, 1061, u64::MAX] {
            assert!(matches!(recent(&name, time, minute, now), Err(Refusal::StaleTimestamp(_))), "{time}");
        }
        assert!(recent(&name, u64::MAX, Duration::MAX, Timestamp::MIN).is_ok());
        assert!(recent(&name, 0, Duration::ZERO, Timestamp::UNIX_EPOCH).is_ok());
    }
}
